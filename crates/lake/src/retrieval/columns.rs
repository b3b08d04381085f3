//! The columns of a table of texts.

use chrono::{DateTime, Utc};
use datafusion::arrow::{
    array::{AsArray, RecordBatch, StringViewArray, TimestampMicrosecondArray},
    datatypes::{Float64Type, TimestampMicrosecondType},
};
use domain::{Provenance, Section, Snippet};

use crate::{Kind, LakeError};

/// What records of texts have in common.
pub(super) struct Columns<'a> {
    kind: Kind,
    batch: &'a RecordBatch,
    record_ids: &'a StringViewArray,
    known_at: &'a TimestampMicrosecondArray,
}

impl<'a> Columns<'a> {
    pub(super) fn new(kind: Kind, batch: &'a RecordBatch) -> Result<Self, LakeError> {
        let record_ids = text(kind, batch, "record_id")?;
        Ok(Self { kind, batch, record_ids, known_at: time(kind, batch, "known_at")? })
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a StringViewArray, LakeError> {
        text(self.kind, self.batch, name)
    }

    pub(super) fn record_id(&self, row: usize) -> &'a str {
        self.record_ids.value(row)
    }

    /// Returns when a row became known, in microseconds since 1970 UTC.
    pub(super) fn known_at(&self, row: usize) -> i64 {
        self.known_at.value(row)
    }

    /// Returns the rows younger than `days`, the latest first, then by record id.
    pub(super) fn younger_than(&self, days: u32) -> Result<Vec<usize>, LakeError> {
        let ages = self.batch.column_by_name("age_days");
        let ages = ages.and_then(|column| column.as_primitive_opt::<Float64Type>());
        let ages = ages.ok_or_else(|| lacks(self.kind, "age_days"))?.values();
        let mut rows: Vec<usize> =
            (0..self.batch.num_rows()).filter(|&row| ages[row] < f64::from(days)).collect();
        rows.sort_by_key(|&row| (std::cmp::Reverse(self.known_at(row)), self.record_id(row)));
        Ok(rows)
    }

    /// Returns the snippet that is the bytes `range` of a column.
    pub(super) fn snippet(
        &self,
        section: Section,
        (row, column): (usize, &str),
        (start, end): (usize, usize),
    ) -> Result<Snippet, LakeError> {
        let at = |name| {
            let micros = time(self.kind, self.batch, name)?.value(row);
            DateTime::<Utc>::from_timestamp_micros(micros).ok_or_else(|| lacks(self.kind, name))
        };
        let offset = |bytes| u32::try_from(bytes).map_err(|_| lacks(self.kind, column));
        let field = self.text(column)?.value(row);
        Ok(Snippet {
            section,
            text: field[start..end].to_owned(),
            file: self.kind.file(),
            record_id: self.record_id(row).to_owned(),
            column: column.to_owned(),
            start: offset(start)?,
            end: offset(end)?,
            provenance: Provenance {
                source: self.text("source")?.value(row).to_owned(),
                url: self.text("url")?.value(row).to_owned(),
                event_time: at("event_time")?,
                known_at: at("known_at")?,
            },
        })
    }
}

fn text<'a>(
    kind: Kind,
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a StringViewArray, LakeError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_string_view_opt());
    column.ok_or_else(|| lacks(kind, name))
}

fn time<'a>(
    kind: Kind,
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a TimestampMicrosecondArray, LakeError> {
    let column = batch.column_by_name(name);
    let column = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    column.ok_or_else(|| lacks(kind, name))
}

fn lacks(kind: Kind, name: &str) -> LakeError {
    let reason = format!("its column {name} is missing or not what it should be");
    LakeError::BadSnapshot { path: kind.table().into(), reason }
}
