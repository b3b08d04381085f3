//! Answers of providers to rows. Pure: bytes and what their request was about go in,
//! rows and rejected records come out, without I/O.
//!
//! ```text
//! submissions      EDGAR submissions JSON           Filing
//! company_facts    EDGAR companyfacts JSON          Fact; packages hold the same form
//! full_submission  EDGAR submission text (SGML)     Filing, and where its documents lie
//! filing_document  10-K, 10-Q, 8-K, exhibits        FilingText, one per item
//! form4            Form 4 and 4/A XML               Transaction
//! feed             RSS 2.0, RSS 1.0, Atom           Article
//! newsapi          JSON in the form of NewsAPI      Article
//! fmp              FMP analyst estimates, targets   Estimate
//! ```
//!
//! An answer that has not the form is a [`LakeError::Format`]; a record in it that
//! cannot be read is rejected with the reason. No input makes a parser panic.
//! Persons' names that are no part of a public duty - authors of articles, analysts -
//! are not read, nor are addresses.

mod articles;
mod company_facts;
mod feed;
mod filing_text;
mod fmp;
mod form4;
mod full_submission;
mod html;
mod items;
mod newsapi;
mod submissions;
#[cfg(test)]
mod tests;
mod urls;
mod xml;

use chrono::{DateTime, NaiveDate, Utc};

pub(crate) use self::{
    company_facts::company_facts,
    feed::feed,
    filing_text::filing_document,
    fmp::{analyst_estimates, price_target_consensus, price_targets},
    form4::form4,
    full_submission::{SubmittedDocument, full_submission},
    newsapi::newsapi,
    submissions::{known_times, submissions},
    urls::{
        Location, analyst_estimates_at, companyfacts_at, document_at, full_submission_at,
        newsapi_at, ownership_document, price_target_consensus_at, price_targets_at,
        submissions_at, submissions_overflow_at,
    },
};
use crate::{
    LakeError, Rejected, calendar,
    records::{Filing, Head, Record, filing_url},
};

/// Bytes of a rejected record that are kept.
const RAW_CHARS_MAX: usize = 200;

/// What a parser is told beside the bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) source_id: &'a str,
    pub(crate) ticker: &'a str,
    /// SEC registrants behind the ticker; not used where a provider knows none.
    pub(crate) issuer_ciks: &'a [u64],
    /// What errors call the bytes: an URL without secrets, or a file of a package.
    pub(crate) place: &'a str,
}

impl Context<'_> {
    fn reject<R: Record>(&self, place: &str, reason: impl Into<String>, raw: &str) -> Rejected {
        Rejected {
            source_id: self.source_id.to_owned(),
            kind: R::KIND,
            place: format!("{} {place}", self.place),
            reason: reason.into(),
            raw: raw.chars().take(RAW_CHARS_MAX).collect(),
        }
    }

    fn format(&self, reason: impl ToString) -> LakeError {
        LakeError::Format {
            source_id: self.source_id.to_owned(),
            member: self.place.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Refuses an answer about another company.
    fn check_issuer(&self, cik: u64) -> Result<(), LakeError> {
        if self.issuer_ciks.contains(&cik) {
            return Ok(());
        }
        Err(self.format(format!("it is about CIK {cik}, not {}", self.ticker)))
    }

    /// Makes the row of a filing: known when EDGAR showed it, or at the end of its
    /// date where the acceptance is not known.
    pub(crate) fn filing(&self, filing: Filing, accepted: Option<DateTime<Utc>>) -> (Head, Filing) {
        let Filing { cik, accession, form, filed, .. } = &filing;
        let known_at = match accepted {
            Some(accepted) => calendar::accepted_known(accepted, *filed),
            None => calendar::filing_known(*filed),
        };
        let head = Head {
            record_id: format!("{}:{accession}", self.ticker),
            ticker: self.ticker.to_owned(),
            source_id: self.source_id.to_owned(),
            source: format!("SEC Form {form} {accession}"),
            url: format!("{}{}", filing_url(*cik, accession), filing.primary_document),
            event_time: calendar::midnight(filing.period_end.unwrap_or(*filed)),
            known_at,
        };
        (head, filing)
    }
}

/// Reads a date, `YYYY-MM-DD`; what follows, such as the zone of an XML date, is
/// ignored. Four digits of a year only, so that no later arithmetic overflows.
fn date(text: &str) -> Option<NaiveDate> {
    let day = text.trim().get(..10)?;
    day.starts_with(|c: char| c.is_ascii_digit()).then(|| day.parse().ok())?
}

/// Tells whether a text is an accession number, `0000320193-22-000108`.
fn is_accession(text: &str) -> bool {
    let is_digits = |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
    let mut parts = text.split('-');
    let mut next = |len| parts.next().is_some_and(|part| is_digits(part, len));
    next(10) && next(2) && next(6) && text.len() == 20
}

/// Tells whether a text is a plain file name, safe in a path or URL.
pub(super) fn is_file_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !text.is_empty() && !text.starts_with('.') && text.chars().all(is_plain)
}
