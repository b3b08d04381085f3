//! Text of filings: documents by item, and the notes in XBRL instances.

use std::{collections::BTreeMap, ops::Range};

use domain::Digest;

use super::{
    Context, SubmittedDocument, date,
    html::{self, Rendered},
    items::{self, Family},
    xml,
};
use crate::{
    LakeError, calendar,
    records::{Filing, FilingText, Head, Rows, filing_url},
    source_map::SourceMap,
};

/// Concepts of XBRL that hold text end so.
const TEXT_BLOCK: &str = "TextBlock";

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

/// Reads the text blocks of an XBRL instance, which hold notes of the statements as
/// HTML inside XML.
///
/// # Errors
/// Fails when it is no XBRL instance in UTF-8, or about another registrant.
pub(crate) fn filing_notes(
    context: &Context<'_>,
    filing: &(Head, Filing),
    bytes: &[u8],
    name: &str,
) -> Result<Rows<FilingText>, LakeError> {
    // Offsets are those of the archived bytes: nothing may be re-encoded.
    let text = std::str::from_utf8(bytes).map_err(|e| context.format(e))?;
    let start = text.len() - text.trim_start_matches('\u{feff}').trim_start().len();
    let text = &text[start..];
    let instance = xml::parse(text).map_err(|e| context.format(e))?;
    let root = instance.root_element();
    if root.tag_name().name() != "xbrl" {
        return Err(context.format("it is no XBRL instance"));
    }
    let cik = xml::child_text(root, "EntityCentralIndexKey").and_then(|cik| cik.parse().ok());
    context
        .check_issuer(cik.ok_or_else(|| context.format("it names no EntityCentralIndexKey"))?)?;
    let period_end = xml::child_text(root, "DocumentPeriodEndDate").and_then(|text| date(&text));
    let filing = {
        let (mut head, filing) = filing.clone();
        head.event_time = period_end.map_or(head.event_time, calendar::midnight);
        (head, filing)
    };
    let digest = Digest::of(bytes).to_string();
    let texts = Texts { context, filing: &filing, bytes, name, digest };
    let mut found = Rows::default();
    let mut seen = BTreeMap::<&str, usize>::new();
    for node in root.children().filter(|node| node.is_element()) {
        let Some(concept) = node.tag_name().name().strip_suffix(TEXT_BLOCK) else {
            continue;
        };
        let (item, title) = (numbered(concept, &mut seen), words(concept));
        let Range { start: from, end } = xml::content_range(node, text);
        let (html, escaped) = xml::unescape(&text.as_bytes()[from..end]);
        let Rendered { text: note, map } = html::render(html.as_bytes());
        let map = map.through(&escaped).shifted(start + from);
        texts.add(&item, &title, &note, map, &mut found);
    }
    Ok(found)
}

/// Returns a concept, with a number where it comes more than once.
fn numbered<'c>(concept: &'c str, seen: &mut BTreeMap<&'c str, usize>) -> String {
    let times = seen.entry(concept).or_insert(0);
    *times += 1;
    if *times == 1 { concept.to_owned() } else { format!("{concept}-{times}") }
}

/// Puts spaces between the words of a concept: `IncomeTaxDisclosure`.
fn words(concept: &str) -> String {
    let mut words = String::with_capacity(concept.len() + 8);
    let mut last = None;
    for c in concept.chars() {
        if c.is_uppercase() && last.is_some_and(char::is_lowercase) {
            words.push(' ');
        }
        words.push(c);
        last = Some(c);
    }
    words
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
            source: format!("{}, {}", head.source, source_name(item, title)),
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

fn source_name(item: &str, title: &str) -> String {
    match item.rsplit_once('.') {
        Some((part @ ("I" | "II"), number)) => format!("Part {part} Item {number}"),
        _ if item.starts_with(|c: char| c.is_ascii_digit()) => format!("Item {item}"),
        _ if title.is_empty() => item.to_owned(),
        _ => format!("note {title}"),
    }
}
