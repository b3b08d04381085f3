//! The manifest of a snapshot, `manifest.json`, and its canonical form.

use std::{collections::BTreeMap, sync::LazyLock};

use chrono::{DateTime, Utc};
use domain::{Digest, Ticker};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names;
use crate::{Kind, Release, RetrievalRef, universe::Name};

/// The schema of `manifest.json`, JSON Schema draft 2020-12.
pub const MANIFEST_SCHEMA: &str = include_str!("../../../../schemas/data_manifest.schema.json");

/// Version of the manifest and of the file layout it describes.
///
/// Version 1 had one directory with one file per kind for each snapshot; since
/// version 2 snapshots share their files.
pub const MANIFEST_VERSION: u32 = 2;

/// Fields outside the canonical form: they may differ between two builds of the
/// same data.
const NOT_HASHED: [&str; 4] = ["hash", "seal", "created_at", "git_commit"];

/// The field the seal cannot cover.
const NOT_SEALED: [&str; 1] = ["seal"];

/// Describes one immutable snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`MANIFEST_VERSION`].
    pub manifest_version: u32,
    /// When the snapshot was built. Not hashed.
    pub created_at: DateTime<Utc>,
    /// Commit of the code that built it, or `unknown`. Not hashed.
    pub git_commit: String,
    /// The snapshot's id: digest of the canonical form.
    pub hash: Digest,
    /// Digest of the whole document but this field, so that a changed byte shows
    /// in what the id does not cover, too.
    pub seal: Digest,
    /// The names the snapshot covers.
    pub universe: UniverseInfo,
    /// One entry per file, by kind, source and year.
    pub data_sources: Vec<DataSource>,
    /// The answers of live providers the records were read from, sorted; none, and not
    /// in the document, where all are from packages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub raw_answers: Vec<RawAnswer>,
    /// The records that did not come in.
    pub quarantine: Quarantine,
    /// Reviewers' decisions that have let records in, by id; left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<Release>,
    /// The feature files reads are computed with.
    pub features: Vec<FeatureRef>,
    /// How reads rank the texts they quote.
    pub retrieval: RetrievalRef,
    /// Label schemes stored with the snapshot.
    pub labels: Vec<String>,
}

/// The part of a universe a read needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UniverseInfo {
    /// Short name, e.g. `R20`.
    pub id: String,
    /// A person's description.
    pub title: String,
    /// Selection bias to state in every report.
    pub bias: String,
    /// The companies.
    pub names: Vec<Name>,
}

/// One file of a snapshot and where its records come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSource {
    /// Kind of record.
    pub source_type: Kind,
    /// Id on the allowlist, or of the provider.
    pub source_id: String,
    /// A person's name for the source.
    pub title: String,
    /// Package URL of the member, or of the package where there are several; of a
    /// provider the address of the answer, or its own where there are several.
    pub url: String,
    /// The package; of a provider its id, the day of the newest answer (UTC) and the
    /// digest of all answers.
    pub package: PackageRef,
    /// SPDX id of the licence, or the provider's terms.
    pub licence: String,
    /// Whether the records may be published.
    pub redistributable: bool,
    /// Files of the package that were read; of a provider the parts it answers in.
    pub members: Vec<String>,
    /// Year (UTC) all records became known in; none in a file without records.
    pub known_year: Option<i32>,
    /// First and last event time.
    pub date_range: DateRange,
    /// Number of records.
    pub record_count: u64,
    /// Tickers that have records, sorted.
    pub tickers: Vec<Ticker>,
    /// File, relative to the root of the store: two directories above the manifest.
    pub file_path: String,
    /// Digest of the file, also its name.
    pub file_hash: Digest,
    /// Size of the file.
    pub file_bytes: u64,
}

/// An answer of a live provider, in its raw archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAnswer {
    /// Id of the provider.
    pub provider: String,
    /// What was asked, without the API key.
    pub url: String,
    /// When the answer came: some records are known since then.
    pub fetched_at: DateTime<Utc>,
    /// Digest of the body, also its name in the archive.
    pub sha256: Digest,
}

/// The file `quarantine.jsonl` next to the manifest: a JSON object per rejected
/// record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    /// Number of rejected records.
    pub record_count: u64,
    /// Digest of the file.
    pub file_hash: Digest,
}

/// All files of one kind and source, summed up.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceTotals<'a> {
    /// The first file's entry; what it says of the source holds for all.
    pub source: &'a DataSource,
    /// Number of files.
    pub files: usize,
    /// Number of records.
    pub record_count: u64,
    /// First and last event time.
    pub date_range: DateRange,
    /// Tickers that have records, sorted.
    pub tickers: Vec<&'a Ticker>,
}

/// A package by name, version and digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageRef {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Digest of the archive.
    pub sha256: Digest,
}

/// First and last event time, none in an empty file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DateRange {
    /// First.
    pub start: Option<DateTime<Utc>>,
    /// Last.
    pub end: Option<DateTime<Utc>>,
}

/// A feature file by name and digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureRef {
    /// Name of the feature.
    pub name: String,
    /// Key of its section.
    pub section: String,
    /// Digest of the SQL file.
    pub sha256: Digest,
}

/// Why the text of a manifest is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Version 1, from before snapshots shared files.
    Old,
    /// Damaged, or not a manifest; in words.
    Bad(String),
}

impl Manifest {
    /// Returns the manifest with its id and seal computed.
    ///
    /// # Errors
    /// Fails when the manifest cannot be serialised.
    pub(crate) fn sealed(mut self) -> Result<Self, serde_json::Error> {
        self.hash = self.digest()?;
        self.seal = digest_without(&self, &NOT_SEALED)?;
        Ok(self)
    }

    /// Computes the digest of the canonical form: the manifest without `hash`,
    /// `seal`, `created_at` and `git_commit`, as JSON with sorted keys and no
    /// white space.
    ///
    /// # Errors
    /// Fails when the manifest cannot be serialised.
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        digest_without(self, &NOT_HASHED)
    }

    /// Parses a manifest and checks it against the schema, its own hash and seal,
    /// and the form it is written in: any changed byte is noticed.
    ///
    /// # Errors
    /// Returns in words what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::accept(text).map_err(|refused| match refused {
            Refused::Old => "manifest.json has version 1".to_owned(),
            Refused::Bad(reason) => reason,
        })
    }

    pub(crate) fn accept(text: &str) -> Result<Self, Refused> {
        let bad = |reason: String| Refused::Bad(format!("manifest.json{reason}"));
        let value: Value = serde_json::from_str(text).map_err(|e| bad(format!(": {e}")))?;
        if value.get("manifest_version").and_then(Value::as_u64) == Some(1) {
            return Err(Refused::Old);
        }
        validate(&value).map_err(Refused::Bad)?;
        let manifest: Self = serde_json::from_value(value).map_err(|e| bad(format!(": {e}")))?;
        let said = (manifest.hash, manifest.seal);
        let sealed = manifest.sealed().map_err(|e| bad(format!(": {e}")))?;
        for (what, said, found) in [("hash", said.0, sealed.hash), ("seal", said.1, sealed.seal)] {
            if said != found {
                let reason =
                    format!(" was changed: its content has {what} {found}, it says {said}");
                return Err(bad(reason));
            }
        }
        if sealed.render().map_err(|e| bad(format!(": {e}")))? != text {
            return Err(bad(" was changed: the white space is not as it was written".to_owned()));
        }
        for source in &sealed.data_sources {
            if source.file_path != names::object(source.file_hash) {
                let DataSource { file_path, file_hash, .. } = source;
                return Err(bad(format!(": {file_path} is not named by its digest {file_hash}")));
            }
        }
        Ok(sealed)
    }

    /// Renders the manifest as it is stored.
    ///
    /// # Errors
    /// Fails when the manifest cannot be serialised.
    pub fn render(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Returns the first entry of a kind of record.
    #[must_use]
    pub fn source(&self, kind: Kind) -> Option<&DataSource> {
        self.data_sources.iter().find(|s| s.source_type == kind)
    }

    /// Returns the number of records of all kinds.
    #[must_use]
    pub fn record_count(&self) -> u64 {
        self.data_sources.iter().map(|s| s.record_count).sum()
    }

    /// Sums up the files of each kind and source, ordered by both.
    #[must_use]
    pub fn totals(&self) -> Vec<SourceTotals<'_>> {
        let mut totals = BTreeMap::<(Kind, &str), SourceTotals<'_>>::new();
        for source in &self.data_sources {
            let total = totals.entry((source.source_type, &source.source_id));
            let total = total.or_insert_with(|| SourceTotals {
                source,
                files: 0,
                record_count: 0,
                date_range: source.date_range,
                tickers: Vec::new(),
            });
            total.files += 1;
            total.record_count += source.record_count;
            total.date_range = total.date_range.join(source.date_range);
            total.tickers.extend(&source.tickers);
        }
        let mut totals: Vec<_> = totals.into_values().collect();
        for total in &mut totals {
            total.tickers.sort_unstable();
            total.tickers.dedup();
        }
        totals
    }
}

impl DateRange {
    fn join(self, other: Self) -> Self {
        let start = [self.start, other.start].into_iter().flatten().min();
        let end = [self.end, other.end].into_iter().flatten().max();
        Self { start, end }
    }
}

fn digest_without(manifest: &Manifest, fields: &[&str]) -> Result<Digest, serde_json::Error> {
    let mut value = serde_json::to_value(manifest)?;
    if let Some(object) = value.as_object_mut() {
        for field in fields {
            object.remove(*field);
        }
    }
    value.sort_all_objects();
    Ok(Digest::of(serde_json::to_vec(&value)?))
}

/// Checks a manifest against [`MANIFEST_SCHEMA`].
///
/// # Errors
/// Returns the first violation in words.
pub fn validate(manifest: &Value) -> Result<(), String> {
    static VALIDATOR: LazyLock<Result<jsonschema::Validator, String>> = LazyLock::new(|| {
        let schema: Value = serde_json::from_str(MANIFEST_SCHEMA).map_err(|e| e.to_string())?;
        let options = jsonschema::options().should_validate_formats(true);
        options.build(&schema).map_err(|e| e.to_string())
    });
    let validator = VALIDATOR.as_ref().map_err(Clone::clone)?;
    validator
        .validate(manifest)
        .map_err(|e| format!("manifest.json at {:?}: {e}", e.instance_path().as_str()))
}
