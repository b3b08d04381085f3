//! EDGAR's text file of a whole filing: an SGML header and every document.

use std::ops::Range;

use chrono::NaiveDateTime;
use memchr::memmem;

use super::{Context, date, is_accession};
use crate::{
    LakeError, calendar,
    records::{Filing, Head},
};

/// Bytes in which the header ends.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// A filing with all its documents.
#[derive(Debug)]
pub(crate) struct FullSubmission {
    pub(crate) filing: (Head, Filing),
    /// In the order of the file: the main document first.
    pub(crate) documents: Vec<SubmittedDocument>,
}

/// A document inside the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubmittedDocument {
    /// Type as EDGAR writes it, e.g. `10-K` or `EX-99.1`.
    pub(crate) kind: String,
    pub(crate) name: String,
    /// Where its content lies in the file.
    pub(crate) range: Range<usize>,
}

impl SubmittedDocument {
    /// Returns the main document of a filing that was fetched by itself.
    pub(crate) fn main(filing: &Filing, bytes: &[u8]) -> Self {
        let (kind, name) = (filing.form.clone(), filing.primary_document.clone());
        Self { kind, name, range: 0..bytes.len() }
    }
}

/// Reads the header and finds the documents. `cik` is the registrant the filing is
/// about; of an ownership form that is the issuer.
///
/// # Errors
/// Fails when the header is not that of a submission or does not name the registrant.
pub(crate) fn full_submission(
    context: &Context<'_>,
    cik: u64,
    bytes: &[u8],
) -> Result<FullSubmission, LakeError> {
    let documents = documents(bytes);
    let header_end = documents.first().map_or(bytes.len(), |first| first.range.start);
    let header = String::from_utf8_lossy(&bytes[..header_end.min(HEADER_BYTES_MAX)]);
    let missing = |name: &str| context.format(format!("its header has no usable {name}"));
    let accession = field(&header, "ACCESSION NUMBER:").filter(|text| is_accession(text));
    let accession = accession.ok_or_else(|| missing("ACCESSION NUMBER"))?;
    let form = field(&header, "CONFORMED SUBMISSION TYPE:");
    let form = form.ok_or_else(|| missing("CONFORMED SUBMISSION TYPE"))?;
    let filed = field(&header, "FILED AS OF DATE:").and_then(compact_date);
    let filed = filed.ok_or_else(|| missing("FILED AS OF DATE"))?;
    let mut ciks = fields(&header, "CENTRAL INDEX KEY:").filter_map(|key| key.parse().ok());
    if !ciks.any(|key: u64| key == cik) {
        return Err(context.format(format!("its header does not name CIK {cik}")));
    }
    context.check_issuer(cik)?;
    // The header's clock is New York's, without doubt.
    let accepted = field(&header, "<ACCEPTANCE-DATETIME>")
        .filter(|label| label.len() == 14)
        .and_then(|label| NaiveDateTime::parse_from_str(label, "%Y%m%d%H%M%S").ok());
    let period_end = field(&header, "CONFORMED PERIOD OF REPORT:").and_then(compact_date);
    let filing = Filing {
        cik,
        accession: accession.to_owned(),
        form: form.to_owned(),
        filed,
        period_end: period_end.filter(|end| *end <= filed),
        primary_document: documents.first().map(|d| d.name.clone()).unwrap_or_default(),
    };
    Ok(FullSubmission {
        filing: context.filing(filing, accepted.map(calendar::new_york)),
        documents,
    })
}

/// Returns the documents of a file; without the SGML around it a file has none.
fn documents(bytes: &[u8]) -> Vec<SubmittedDocument> {
    let starts: Vec<usize> = memmem::find_iter(bytes, "<DOCUMENT>").collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let document = |(start, end): (usize, usize)| {
        let text = memmem::find(&bytes[start..end], b"<TEXT>")?;
        let head = String::from_utf8_lossy(&bytes[start..start + text]).into_owned();
        let content = start + text + "<TEXT>".len();
        let close = memmem::rfind(&bytes[content..end], b"</TEXT>");
        let tag = |name| field(&head, name).unwrap_or_default().to_owned();
        let range = content..close.map_or(end, |len| content + len);
        Some(SubmittedDocument { kind: tag("<TYPE>"), name: tag("<FILENAME>"), range })
    };
    starts.iter().copied().zip(ends).filter_map(document).collect()
}

fn field<'h>(header: &'h str, name: &'h str) -> Option<&'h str> {
    fields(header, name).next()
}

/// Returns what stands after a name at the beginning of lines.
fn fields<'h>(header: &'h str, name: &'h str) -> impl Iterator<Item = &'h str> {
    let values = header.lines().filter_map(move |line| line.trim().strip_prefix(name));
    values.map(str::trim).filter(|value| !value.is_empty())
}

fn compact_date(text: &str) -> Option<chrono::NaiveDate> {
    let (year, month, day) = (text.get(..4)?, text.get(4..6)?, text.get(6..8)?);
    date(&format!("{year}-{month}-{day}"))
}
