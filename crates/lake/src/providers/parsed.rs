//! The raw archive of a provider to rows, without network.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashSet},
    path::Path,
};

use datafusion::arrow::array::RecordBatch;

use super::{
    Provider, RawArchive,
    adapter::{Answer, Merge},
    raw::{Outcome, Record as RawRecord, Response},
    yahoo,
};
use crate::{
    Kind, LakeError, Rejected,
    records::{
        self, Action, Article, Bar, Estimate, Fact, Filing, FilingText, IndexBar, Observation,
        Parsed, Record, Rows, Transaction,
    },
};

/// How much of an answer that cannot be read is shown with the reason.
const RAW_BYTES: usize = 200;

/// The rows of an archive, by kind.
#[derive(Debug, Default)]
pub struct RawRows {
    pub(crate) bars: Rows<Bar>,
    pub(crate) actions: Rows<Action>,
    pub(crate) index: Rows<IndexBar>,
    pub(crate) macros: Rows<Observation>,
    pub(crate) news: Rows<Article>,
    pub(crate) filings: Rows<Filing>,
    pub(crate) texts: Rows<FilingText>,
    pub(crate) facts: Rows<Fact>,
    pub(crate) insider: Rows<Transaction>,
    pub(crate) estimates: Rows<Estimate>,
}

/// Ids of the records of all answers before. A record that one answer repeats is
/// not among them yet, so that it is set aside with a note and not silently.
pub(super) type Known = HashSet<(Kind, String)>;

/// Reads the rows of everything a provider has answered, as `r2r data fetch`
/// archived it. Where answers of different times overlap, a record of prices, macro
/// series and filings is the one that was fetched last; articles and estimates are
/// read from all answers there were, as they were known first; answers that cannot
/// be put together give the newest of their subject alone.
///
/// # Errors
/// Fails when a file of the archive was changed. An answer that has not the form
/// its parser reads is rejected as a whole, with the reason.
pub fn parse_raw(provider: &Provider, data_dir: &Path) -> Result<RawRows, LakeError> {
    let archive = RawArchive::new(data_dir, &provider.id);
    let records = archive.records()?;
    read_answers(provider, &archive, &records.iter().collect::<Vec<_>>(), None)
}

/// Reads the rows of some requests' answers as [`parse_raw`] does; `name` is the ticker
/// or series of all of them, where it is not their subject.
pub(super) fn read_answers(
    provider: &Provider,
    archive: &RawArchive,
    records: &[&RawRecord],
    name: Option<&str>,
) -> Result<RawRows, LakeError> {
    let (mut all, mut known) = (RawRows::default(), Known::default());
    for (record, response) in in_order(provider.adapter.merge(), records) {
        let body = archive.body(response)?;
        let (name, fetched_at) = (name.unwrap_or(&record.subject), response.fetched_at);
        let answer = Answer { provider, record, name, fetched_at, body: &body };
        let mut rows = RawRows::default();
        match provider.adapter.parse(&answer, &all, &mut rows) {
            Ok(()) => {}
            // One answer of another form must not hold up all others.
            Err(LakeError::Format { reason, .. }) => {
                let kind = kind_of(record);
                let raw = String::from_utf8_lossy(&body[..body.len().min(RAW_BYTES)]);
                rows = RawRows::default();
                rows.rejected_mut(kind).push(answer.reject(kind, "", &reason, &raw));
            }
            Err(error) => return Err(error),
        }
        all.add(rows, &mut known);
    }
    Ok(all)
}

/// Returns the kind of record the answers to a request are first of all read for.
pub(super) fn kind_of(record: &RawRecord) -> Kind {
    match record.part.kind() {
        Kind::Bars if yahoo::is_index(&record.subject) => Kind::Index,
        kind => kind,
    }
}

/// Returns the answers that are read, in the order they are.
pub(super) fn in_order<'r>(
    merge: Merge,
    records: &[&'r RawRecord],
) -> Vec<(&'r RawRecord, &'r Response)> {
    let each = records.iter().copied();
    let mut answers: Vec<(&RawRecord, &Response)> = match merge {
        Merge::OldestStays => each.flat_map(|r| r.responses.iter().map(move |x| (r, x))).collect(),
        _ => each.filter_map(|r| Some((r, r.newest()?))).collect(),
    };
    answers.retain(|(_, response)| response.outcome == Outcome::Rows);
    if merge == Merge::OldestStays {
        answers.sort_by_key(|(r, x)| (r.part, x.fetched_at, &r.url));
    } else {
        answers.sort_by_key(|(r, x)| (r.part, Reverse(x.fetched_at), &r.url));
    }
    if merge == Merge::NewestAlone {
        let mut seen = BTreeSet::new();
        answers.retain(|(record, _)| seen.insert((&record.subject, record.part)));
    }
    answers
}

impl RawRows {
    /// Returns the kinds that have rows.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        let count = |kind| match kind {
            Kind::Bars => self.bars.rows.len(),
            Kind::Actions => self.actions.rows.len(),
            Kind::Index => self.index.rows.len(),
            Kind::Macro => self.macros.rows.len(),
            Kind::News => self.news.rows.len(),
            Kind::Filings => self.filings.rows.len(),
            Kind::FilingTexts => self.texts.rows.len(),
            Kind::Facts => self.facts.rows.len(),
            Kind::Insider => self.insider.rows.len(),
            Kind::Estimates => self.estimates.rows.len(),
        };
        Kind::ALL.into_iter().filter(|kind| count(*kind) > 0).collect()
    }

    /// Takes the rows of a kind: its table, and what could not be read.
    ///
    /// # Errors
    /// Fails when the table cannot be made.
    pub fn table(&mut self, kind: Kind) -> Result<(RecordBatch, Vec<Rejected>), LakeError> {
        let Parsed { batch, rejected, .. } = self.finish(kind)?;
        Ok((batch, rejected))
    }

    /// Takes the rows of a kind, checked, sorted and unique.
    pub(crate) fn finish(&mut self, kind: Kind) -> Result<Parsed, LakeError> {
        match kind {
            Kind::Bars => records::finish(std::mem::take(&mut self.bars)),
            Kind::Actions => records::finish(std::mem::take(&mut self.actions)),
            Kind::Index => records::finish(std::mem::take(&mut self.index)),
            Kind::Macro => records::finish(std::mem::take(&mut self.macros)),
            Kind::News => records::finish(std::mem::take(&mut self.news)),
            Kind::Filings => records::finish(std::mem::take(&mut self.filings)),
            Kind::FilingTexts => records::finish(std::mem::take(&mut self.texts)),
            Kind::Facts => records::finish(std::mem::take(&mut self.facts)),
            Kind::Insider => records::finish(std::mem::take(&mut self.insider)),
            Kind::Estimates => records::finish(std::mem::take(&mut self.estimates)),
        }
    }

    /// Where notes on records of a kind that could not be read go.
    pub(super) fn rejected_mut(&mut self, kind: Kind) -> &mut Vec<Rejected> {
        match kind {
            Kind::Bars => &mut self.bars.rejected,
            Kind::Actions => &mut self.actions.rejected,
            Kind::Index => &mut self.index.rejected,
            Kind::Macro => &mut self.macros.rejected,
            Kind::News => &mut self.news.rejected,
            Kind::Filings => &mut self.filings.rejected,
            Kind::FilingTexts => &mut self.texts.rejected,
            Kind::Facts => &mut self.facts.rejected,
            Kind::Insider => &mut self.insider.rejected,
            Kind::Estimates => &mut self.estimates.rejected,
        }
    }

    /// Adds the rows of another answer where those before have no such record.
    pub(super) fn add(&mut self, other: Self, known: &mut Known) {
        merge(&mut self.bars, other.bars, known);
        merge(&mut self.actions, other.actions, known);
        merge(&mut self.index, other.index, known);
        merge(&mut self.macros, other.macros, known);
        merge(&mut self.news, other.news, known);
        merge(&mut self.filings, other.filings, known);
        merge(&mut self.texts, other.texts, known);
        merge(&mut self.facts, other.facts, known);
        merge(&mut self.insider, other.insider, known);
        merge(&mut self.estimates, other.estimates, known);
    }
}

fn merge<R: Record>(all: &mut Rows<R>, mut other: Rows<R>, known: &mut Known) {
    other.rows.retain(|(head, _)| !known.contains(&(R::KIND, head.record_id.clone())));
    known.extend(other.rows.iter().map(|(head, _)| (R::KIND, head.record_id.clone())));
    all.rows.append(&mut other.rows);
    all.rejected.append(&mut other.rejected);
}
