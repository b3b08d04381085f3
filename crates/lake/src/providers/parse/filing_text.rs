//! Text of filings: documents by item.

use domain::Digest;

use super::{
    Context, SubmittedDocument,
    html::{self, Rendered},
    items::{self, Family},
};
use crate::{
    LakeError,
    records::{Filing, FilingText, Head, Rows, filing_url},
    source_map::SourceMap,
};

/// Reads the items of a 10-K, 10-Q or 8-K; of another document, such as an exhibit,
/// all of its text. `bytes` is the archived file; `document` says where in it the
/// document lies and what it is.
///
/// # Errors
/// Fails when the file ends before the document.
pub(crate) fn filing_document(
    context: &Context<'_>,
    filing: &(Head, Filing),
    bytes: &[u8],
    document: &SubmittedDocument,
) -> Result<Rows<FilingText>, LakeError> {
    let SubmittedDocument { kind, name, range } = document;
    let content = bytes.get(range.clone()).ok_or_else(|| {
        context.format(format!("{name} ends at byte {}, after the file does", range.end))
    })?;
    let Rendered { text, map } = html::render(content);
    let map = map.shifted(range.start);
    let texts = Texts { context, filing, bytes, name, digest: Digest::of(bytes).to_string() };
    let mut found = Rows::default();
    let Some(family) = Family::of(kind) else {
        texts.add(kind, "", &text, map, &mut found);
        return Ok(found);
    };
    let sections = items::sections(&text, family);
    if sections.is_empty() {
        let reason = format!("its text of {} bytes has no heading of an item", text.len());
        found.rejected.push(context.reject::<FilingText>(name, reason, &text));
    }
    for section in sections {
        let body = &text[section.text.clone()];
        texts.add(&section.item, &section.title, body, map.slice(section.text), &mut found);
    }
    Ok(found)
}

/// What the texts of one document have in common.
struct Texts<'a> {
    context: &'a Context<'a>,
    filing: &'a (Head, Filing),
    bytes: &'a [u8],
    name: &'a str,
    digest: String,
}

impl Texts<'_> {
    /// Adds a text, unless its map does not lead back to it.
    fn add(
        &self,
        item: &str,
        title: &str,
        text: &str,
        map: SourceMap,
        found: &mut Rows<FilingText>,
    ) {
        let (head, filing) = self.filing;
        let place = format!("{} {item}", self.name);
        if text.is_empty() {
            let reason = "it has no text";
            found.rejected.push(self.context.reject::<FilingText>(&place, reason, ""));
            return;
        }
        if let Err(reason) = html::check_quote(text, &map, self.bytes, 0..text.len()) {
            found.rejected.push(self.context.reject::<FilingText>(&place, reason, text));
            return;
        }
        let Filing { cik, accession, form, .. } = filing;
        let head = Head {
            record_id: format!("{}:{accession}:{}:{item}", self.context.ticker, self.name),
            source: format!("{}, {}", head.source, source_name(item)),
            url: format!("{}{}", filing_url(*cik, accession), self.name),
            ..head.clone()
        };
        let row = FilingText {
            accession: accession.clone(),
            form: form.clone(),
            item: item.to_owned(),
            title: title.to_owned(),
            text: text.to_owned(),
            document_sha256: self.digest.clone(),
            map,
        };
        found.rows.push((head, row));
    }
}

fn source_name(item: &str) -> String {
    match item.rsplit_once('.') {
        Some((part @ ("I" | "II"), number)) => format!("Part {part} Item {number}"),
        _ if item.starts_with(|c: char| c.is_ascii_digit()) => format!("Item {item}"),
        _ => item.to_owned(),
    }
}
