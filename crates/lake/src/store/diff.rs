//! What is different between two snapshots: files, then the records of those files.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use datafusion::arrow::{
    array::{Array, AsArray, RecordBatch},
    row::{RowConverter, SortField},
    util::display::array_value_to_string,
};
use domain::Digest;

use super::{DataSource, Manifest, SnapshotStore, encode, read::Wanted};
use crate::{Kind, LakeError};

/// Records named per kind, source and sort of change.
const EXAMPLES_MAX: usize = 3;
/// Bound on the characters of a value in an example.
const VALUE_CHARS_MAX: usize = 60;

/// What is different between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotDiff {
    /// The earlier side.
    pub from: Digest,
    /// The later side.
    pub to: Digest,
    /// Each kind and source that either side has.
    pub sources: Vec<SourceDiff>,
    /// Names of feature files that were added, removed or changed.
    pub features: Vec<String>,
    /// Whether the universe's description or names differ.
    pub universe_changed: bool,
}

/// What is different in the records of one kind from one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDiff {
    /// Kind of record.
    pub kind: Kind,
    /// Id on the allowlist.
    pub source_id: String,
    /// Files both sides have.
    pub shared_files: usize,
    /// Files the later side has alone.
    pub added_files: usize,
    /// Files the earlier side has alone.
    pub removed_files: usize,
    /// Records the later side has alone, by id.
    pub added: usize,
    /// Records the earlier side has alone.
    pub removed: usize,
    /// Records both sides have with different content.
    pub changed: usize,
    /// The first few of each.
    pub examples: Vec<ChangedRecord>,
}

/// A record that is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedRecord {
    /// The record's id.
    pub record_id: String,
    /// What happened to it.
    pub change: Change,
}

/// What happened to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Columns with their values before and after.
    Changed(Vec<(String, String, String)>),
}

impl SnapshotDiff {
    /// Tells whether the snapshots hold the same records.
    #[must_use]
    pub fn same_records(&self) -> bool {
        self.sources.iter().all(|s| s.added + s.removed + s.changed == 0)
    }
}

impl SnapshotStore {
    /// Compares two snapshots. Files both have are not read.
    ///
    /// # Errors
    /// Fails when a manifest or a file that only one side has is missing or damaged.
    pub async fn diff(&self, from: Digest, to: Digest) -> Result<SnapshotDiff, LakeError> {
        let (before, after) = (self.manifest(from).await?, self.manifest(to).await?);
        let keys = |manifest: &Manifest| -> BTreeSet<(Kind, String)> {
            let sources = manifest.data_sources.iter();
            sources.map(|s| (s.source_type, s.source_id.clone())).collect()
        };
        let mut sources = Vec::new();
        for (kind, source_id) in &keys(&before) | &keys(&after) {
            sources.push(self.diff_source(&before, &after, kind, source_id).await?);
        }
        let sql = |manifest: &Manifest| -> BTreeSet<(String, Digest)> {
            manifest.features.iter().map(|f| (f.name.clone(), f.sha256)).collect()
        };
        let features: BTreeSet<String> =
            (&sql(&before) ^ &sql(&after)).into_iter().map(|(name, _)| name).collect();
        Ok(SnapshotDiff {
            from,
            to,
            sources,
            features: features.into_iter().collect(),
            universe_changed: before.universe != after.universe,
        })
    }

    async fn diff_source(
        &self,
        before: &Manifest,
        after: &Manifest,
        kind: Kind,
        source_id: String,
    ) -> Result<SourceDiff, LakeError> {
        let files = |manifest: &Manifest| -> BTreeSet<Wanted> {
            let is_its = |s: &&DataSource| s.source_type == kind && s.source_id == source_id;
            manifest.data_sources.iter().filter(is_its).map(Wanted::object).collect()
        };
        let (old, new) = (files(before), files(after));
        let removed: Vec<Wanted> = (&old - &new).into_iter().collect();
        let added: Vec<Wanted> = (&new - &old).into_iter().collect();
        let mut diff = SourceDiff {
            kind,
            source_id,
            shared_files: (&old & &new).len(),
            added_files: added.len(),
            removed_files: removed.len(),
            added: 0,
            removed: 0,
            changed: 0,
            examples: Vec::new(),
        };
        let (old, new) = (self.records(&removed).await?, self.records(&added).await?);
        for (id, record) in &new {
            match old.get(id) {
                None => diff.note(id, Change::Added),
                Some(before) if before.content != record.content => {
                    diff.note(id, Change::Changed(before.differences(record)?));
                }
                Some(_) => {}
            }
        }
        for id in old.keys().filter(|id| !new.contains_key(*id)) {
            diff.note(id, Change::Removed);
        }
        Ok(diff)
    }

    /// Reads the records of files by id.
    async fn records(&self, files: &[Wanted]) -> Result<BTreeMap<String, Record>, LakeError> {
        let mut records = BTreeMap::new();
        for file in self.read_each(files, rows).await {
            records.extend(file?);
        }
        Ok(records)
    }
}

impl SourceDiff {
    fn note(&mut self, record_id: &str, change: Change) {
        let count = match change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Changed(_) => &mut self.changed,
        };
        *count += 1;
        if *count <= EXAMPLES_MAX {
            self.examples.push(ChangedRecord { record_id: record_id.to_owned(), change });
        }
    }
}

/// A record and its content in a form that is equal where all columns are.
struct Record {
    content: Digest,
    batch: RecordBatch,
    row: usize,
}

fn rows(bytes: Bytes) -> Result<Vec<(String, Record)>, LakeError> {
    let batch = encode::decode(bytes)?;
    let Some(ids) = batch.column_by_name("record_id").and_then(|c| c.as_string_view_opt()) else {
        let reason = "a file has no column record_id".to_owned();
        return Err(LakeError::BadSnapshot { path: "objects".into(), reason });
    };
    let fields = batch.schema().fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
    let converter = RowConverter::new(fields.into_iter().map(SortField::new).collect())?;
    let rows = converter.convert_columns(batch.columns())?;
    // Columns with other names are another content, whatever is in them.
    let names: String = batch.schema().fields().iter().map(|f| format!("{}\n", f.name())).collect();
    let record = |row: usize| {
        let content = Digest::of([names.as_bytes(), rows.row(row).as_ref()].concat());
        (ids.value(row).to_owned(), Record { content, batch: batch.clone(), row })
    };
    Ok((0..batch.num_rows()).map(record).collect())
}

impl Record {
    fn differences(&self, after: &Self) -> Result<Vec<(String, String, String)>, LakeError> {
        let mut found = Vec::new();
        let (old, new) = (self.batch.schema(), after.batch.schema());
        let names: BTreeSet<&String> =
            old.fields().iter().chain(new.fields()).map(|field| field.name()).collect();
        for name in names {
            let (before, after) = (self.value(name)?, after.value(name)?);
            if before != after {
                found.push((name.clone(), shorten(&before), shorten(&after)));
            }
        }
        Ok(found)
    }

    fn value(&self, column: &str) -> Result<String, LakeError> {
        match self.batch.column_by_name(column) {
            Some(values) if values.is_valid(self.row) => {
                Ok(array_value_to_string(values, self.row)?)
            }
            _ => Ok("-".to_owned()),
        }
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(VALUE_CHARS_MAX).chain("...".chars()).collect()
}
