//! The gate between adapters and the store: what may come into a snapshot.
//!
//! ```text
//! source       on the allowlist, licensed, entitled     else refused         SourceList::get
//! texts        no marking of what is not public, no     else quarantined     mnpi, pii
//!              personal data
//! releases     a reviewer's decision on one content     lets it in           releases.jsonl
//! embargo      moves known_at to its end                                     Embargo
//! ```
//!
//! Every record passes here once, after its adapter has read it, whatever adapter that is.
//! What is decided depends on the record and the releases alone, never on the time of the
//! build: the same packages and releases give the same snapshot.

mod checks;
mod mnpi;
mod pii;
mod quarantine;
mod release;
mod terms;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray},
    compute::filter_record_batch,
    datatypes::TimestampMicrosecondType,
    util::display::array_value_to_string,
};
use domain::Digest;

pub(crate) use self::terms::Terms;
use self::{
    pii::mask,
    quarantine::{record_key, texts},
};
pub use self::{
    quarantine::{Finding, QuarantineClass, Quarantined, find_quarantined},
    release::{Release, ReleaseLog, release},
    terms::{Embargo, Entitlement},
};
use crate::{Kind, LakeError, records::Parsed};

/// How much of a record is shown around the first finding, in bytes on either side.
const EXCERPT_BYTES: usize = 80;

/// Lets records through, and keeps account of those it does not.
#[derive(Debug)]
pub(crate) struct Gate<'a> {
    releases: &'a ReleaseLog,
    quarantine: Vec<Quarantined>,
    used: BTreeMap<Digest, Release>,
    /// How often a record that could not be read was seen.
    seen: BTreeMap<Digest, u32>,
}

/// What a gate has let in by decision, and what not.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// In the order of the feeds: what could not be read, then what was held back.
    pub(crate) quarantine: Vec<Quarantined>,
    /// The releases that let a record in, by its id.
    pub(crate) releases: Vec<Release>,
}

impl<'a> Gate<'a> {
    pub(crate) fn new(releases: &'a ReleaseLog) -> Self {
        let (used, seen) = (BTreeMap::new(), BTreeMap::new());
        Self { releases, quarantine: Vec::new(), used, seen }
    }

    /// Takes out of the records of one feed what may not come in, and moves the
    /// knowledge times of the rest to the end of their embargo.
    pub(crate) fn pass(
        &mut self,
        kind: Kind,
        terms: &Terms<'_>,
        parsed: &mut Parsed,
    ) -> Result<(), LakeError> {
        for rejected in &parsed.rejected {
            let first = Quarantined::unreadable(rejected, 0);
            let repeats = self.seen.entry(first.id).or_insert(0);
            let entry = match *repeats {
                0 => first,
                n => Quarantined::unreadable(rejected, n),
            };
            *repeats += 1;
            self.quarantine.push(entry);
        }
        if let Some(kept) = self.classify(kind, terms, &parsed.batch)? {
            parsed.batch = filter_record_batch(&parsed.batch, &kept)?;
        }
        if let Some(embargo) = terms.embargo {
            parsed.batch = delayed(&parsed.batch, embargo)?;
        }
        Ok(())
    }

    /// Returns what was held back and which releases were used.
    pub(crate) fn into_passed(self) -> Passed {
        Passed { quarantine: self.quarantine, releases: self.used.into_values().collect() }
    }

    /// Tells which rows may come in; none where all may.
    fn classify(
        &mut self,
        kind: Kind,
        terms: &Terms<'_>,
        batch: &RecordBatch,
    ) -> Result<Option<BooleanArray>, LakeError> {
        let mut held = BTreeSet::new();
        for row in 0..batch.num_rows() {
            let (class, findings) = findings(kind, batch, row);
            let (Some(class), Some(first)) = (class, findings.first()) else { continue };
            let record_id = text(batch, "record_id", row);
            let id = record_key(kind, terms.source_id, record_id);
            let digest = content_digest(batch, row)?;
            if let Some(release) = self.releases.admits(id, digest) {
                self.used.insert(id, release.clone());
                continue;
            }
            let mut reason = describe(&findings);
            if let Some(other) = self.releases.of(id) {
                reason += &format!(
                    "; {} has released another content of it, {}",
                    other.reviewer,
                    other.digest.short()
                );
            }
            held.insert(row);
            self.quarantine.push(Quarantined {
                id,
                class,
                source_id: terms.source_id.to_owned(),
                kind,
                place: record_id.to_owned(),
                reason,
                raw: excerpt(text(batch, &first.column, row), first.start..first.end),
                digest: Some(digest),
                findings,
            });
        }
        if held.is_empty() {
            return Ok(None);
        }
        Ok(Some((0..batch.num_rows()).map(|row| Some(!held.contains(&row))).collect()))
    }
}

/// Runs the classifiers over the texts of a row. A marking weighs more than personal data.
fn findings(
    kind: Kind,
    batch: &RecordBatch,
    row: usize,
) -> (Option<QuarantineClass>, Vec<Finding>) {
    let (mut marked, mut personal) = (Vec::new(), Vec::new());
    for column in texts(kind) {
        let field = text(batch, column, row);
        let finding = |rule: &str, range: Range<usize>| Finding {
            rule: rule.to_owned(),
            column: (*column).to_owned(),
            start: range.start,
            end: range.end,
        };
        marked.extend(mnpi::find(field).into_iter().map(|(key, range)| finding(key, range)));
        let found = pii::find(field).into_iter();
        personal.extend(found.map(|(rule, range)| finding(rule.key(), range)));
    }
    match (marked.is_empty(), personal.is_empty()) {
        (true, true) => (None, Vec::new()),
        (false, _) => {
            marked.extend(personal);
            (Some(QuarantineClass::Mnpi), marked)
        }
        (true, false) => (Some(QuarantineClass::Pii), personal),
    }
}

/// Says what was found, without showing it.
fn describe(findings: &[Finding]) -> String {
    let place = |f: &Finding| format!("{} in its {} at {}..{}", f.rule, f.column, f.start, f.end);
    let shown: Vec<String> = findings.iter().take(3).map(place).collect();
    let more = findings.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Returns what stands around a finding, masked before it is cut.
fn excerpt(text: &str, range: Range<usize>) -> String {
    let masked = mask(text);
    // A mask may be shorter than what it hides, in bytes.
    let ratio = |i: usize| text[..i].chars().count();
    let (start, end) = (ratio(range.start), ratio(range.end));
    let skipped = start.saturating_sub(EXCERPT_BYTES);
    let shown = masked.chars().skip(skipped).take(end - skipped + EXCERPT_BYTES);
    shown.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Returns the digest of a row's content as its source gave it: every column with its
/// name, in order, as text.
pub(crate) fn content_digest(batch: &RecordBatch, row: usize) -> Result<Digest, LakeError> {
    let mut content = String::new();
    for (name, value) in row_values(batch, row)? {
        let value = value.unwrap_or_else(|| "\0".to_owned());
        content += &format!("{name}\0{}\0{value}\n", value.len());
    }
    Ok(Digest::of(content))
}

/// Returns the columns of a row by name, none for a null.
pub(crate) fn row_values(
    batch: &RecordBatch,
    row: usize,
) -> Result<Vec<(String, Option<String>)>, LakeError> {
    let schema = batch.schema();
    let values = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let value = column.is_valid(row).then(|| array_value_to_string(column, row)).transpose()?;
        Ok((field.name().clone(), value))
    });
    values.collect()
}

/// Returns a column's text in a row; nothing where there is no such column.
pub(crate) fn text<'b>(batch: &'b RecordBatch, column: &str, row: usize) -> &'b str {
    let column = batch.column_by_name(column).and_then(|column| column.as_string_view_opt());
    column.filter(|column| column.is_valid(row)).map_or("", |column| column.value(row))
}

/// Moves knowledge times to the end of an embargo.
fn delayed(batch: &RecordBatch, embargo: Embargo) -> Result<RecordBatch, LakeError> {
    let Ok(index) = batch.schema().index_of("known_at") else { return Ok(batch.clone()) };
    let mut columns = batch.columns().to_vec();
    let Some(times) = columns[index].as_primitive_opt::<TimestampMicrosecondType>() else {
        return Ok(batch.clone());
    };
    let ends = times.values().iter().map(|time| embargo.end(*time));
    let ends: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from_iter_values(ends).with_timezone("UTC"));
    columns[index] = ends;
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}
