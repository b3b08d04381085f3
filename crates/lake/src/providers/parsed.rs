//! The raw archive of a provider to rows, without network.

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
};

use datafusion::arrow::array::RecordBatch;

use super::{Provider, RawArchive, adapter::Answer, raw::Outcome};
use crate::{
    Kind, LakeError, Rejected,
    records::{self, Action, Bar, IndexBar, Observation, Parsed, Record, Rows},
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
}

/// Reads the rows of everything a provider has answered, as `r2r data fetch`
/// archived it. Of several answers to one request the newest counts. Where the
/// answers of different windows overlap, the row that was fetched last stays;
/// answers that cannot be put together give the newest of their subject alone.
///
/// # Errors
/// Fails when a file of the archive was changed. An answer that has not the form
/// its parser reads is rejected as a whole, with the reason.
pub fn parse_raw(provider: &Provider, data_dir: &Path) -> Result<RawRows, LakeError> {
    let archive = RawArchive::new(data_dir, &provider.id);
    let records = archive.records()?;
    let mut answers: Vec<_> = records
        .iter()
        .filter_map(|record| Some((record, record.newest()?)))
        .filter(|(_, response)| response.outcome == Outcome::Rows)
        .collect();
    answers.sort_by(|(a, x), (b, y)| (y.fetched_at, &a.url).cmp(&(x.fetched_at, &b.url)));
    if !provider.adapter.merges() {
        let mut seen = BTreeSet::new();
        answers.retain(|(record, _)| seen.insert((&record.subject, record.part)));
    }
    let (mut all, mut known) = (RawRows::default(), Known::default());
    for (record, response) in answers {
        let body = archive.body(response)?;
        let fetched_at = response.fetched_at;
        let answer = Answer { provider, record, fetched_at, body: &body };
        let mut rows = RawRows::default();
        match provider.adapter.parse(&answer, &mut rows) {
            Ok(()) => {}
            // One answer of another form must not hold up all others.
            Err(LakeError::Format { reason, .. }) => {
                let kind = record.part.kind();
                let raw = String::from_utf8_lossy(&body[..body.len().min(RAW_BYTES)]);
                rows = RawRows::default();
                rows.rejected_mut(kind).push(answer.reject(kind, "", &reason, &raw));
            }
            Err(error) => return Err(error),
        }
        all.add(rows, &mut known, &record.url);
    }
    Ok(all)
}

impl RawRows {
    /// Returns the kinds that have rows.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        let Self { bars, actions, index, macros } = self;
        let counts = [
            (Kind::Bars, bars.rows.len()),
            (Kind::Actions, actions.rows.len()),
            (Kind::Index, index.rows.len()),
            (Kind::Macro, macros.rows.len()),
        ];
        counts.into_iter().filter(|(_, n)| *n > 0).map(|(kind, _)| kind).collect()
    }

    /// Makes the table of a kind, and returns what could not be read.
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
            other => Ok(Parsed {
                batch: records::empty(other)?,
                members: Vec::new(),
                rejected: Vec::new(),
            }),
        }
    }

    /// Where notes on records of a kind that could not be read go.
    pub(super) fn rejected_mut(&mut self, kind: Kind) -> &mut Vec<Rejected> {
        match kind {
            Kind::Actions => &mut self.actions.rejected,
            Kind::Index => &mut self.index.rejected,
            Kind::Macro => &mut self.macros.rejected,
            _ => &mut self.bars.rejected,
        }
    }

    /// Adds the rows of an older answer where a newer one has no such record.
    fn add(&mut self, older: Self, known: &mut Known, url: &str) {
        let Self { bars, actions, index, macros } = older;
        merge(&mut self.bars, bars, &mut known.bars, url);
        merge(&mut self.actions, actions, &mut known.actions, url);
        merge(&mut self.index, index, &mut known.index, url);
        merge(&mut self.macros, macros, &mut known.macros, url);
    }
}

/// Ids of the records of all newer answers. A record that one answer repeats is
/// not among them yet, so that it is set aside with a note and not silently.
#[derive(Debug, Default)]
struct Known {
    bars: HashSet<String>,
    actions: HashSet<String>,
    index: HashSet<String>,
    macros: HashSet<String>,
}

fn merge<R: Record>(
    newer: &mut Rows<R>,
    mut older: Rows<R>,
    known: &mut HashSet<String>,
    url: &str,
) {
    if older.rows.is_empty() && older.rejected.is_empty() {
        return;
    }
    older.rows.retain(|(head, _)| !known.contains(&head.record_id));
    known.extend(older.rows.iter().map(|(head, _)| head.record_id.clone()));
    newer.rows.append(&mut older.rows);
    newer.rejected.append(&mut older.rejected);
    newer.members.push(url.to_owned());
}
