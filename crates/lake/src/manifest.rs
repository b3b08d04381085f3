//! The manifest of a snapshot, `manifest.json`, and its canonical form.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use domain::{Digest, Ticker};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Kind, RetrievalRef, universe::Name};

/// The schema of `manifest.json`, JSON Schema draft 2020-12.
pub const MANIFEST_SCHEMA: &str = include_str!("../../../schemas/data_manifest.schema.json");

/// Version of the manifest and of the file layout it describes.
pub const MANIFEST_VERSION: u32 = 1;

/// Fields outside the canonical form: they may differ between two builds of the
/// same data.
const NOT_HASHED: [&str; 3] = ["hash", "created_at", "git_commit"];

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
    /// The names the snapshot covers.
    pub universe: UniverseInfo,
    /// One entry per file.
    pub data_sources: Vec<DataSource>,
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
    /// Id on the allowlist.
    pub source_id: String,
    /// A person's name for the source.
    pub title: String,
    /// Package URL of the member, or of the package where there are several.
    pub url: String,
    /// The package.
    pub package: PackageRef,
    /// SPDX id of the licence.
    pub licence: String,
    /// Whether the records may be published.
    pub redistributable: bool,
    /// Files of the package that were read.
    pub members: Vec<String>,
    /// First and last event time.
    pub date_range: DateRange,
    /// Number of records.
    pub record_count: u64,
    /// Tickers that have records, sorted.
    pub tickers: Vec<Ticker>,
    /// File, relative to the manifest.
    pub file_path: String,
    /// Digest of the file.
    pub file_hash: Digest,
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

impl Manifest {
    /// Computes the digest of the canonical form: the manifest without `hash`,
    /// `created_at` and `git_commit`, as JSON with sorted keys and no white space.
    ///
    /// # Errors
    /// Fails when the manifest cannot be serialised.
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        let mut value = serde_json::to_value(self)?;
        if let Some(object) = value.as_object_mut() {
            for field in NOT_HASHED {
                object.remove(field);
            }
        }
        value.sort_all_objects();
        Ok(Digest::of(serde_json::to_vec(&value)?))
    }

    /// Parses a manifest and checks it against the schema and its own hash.
    ///
    /// # Errors
    /// Returns in words what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|e| format!("manifest.json: {e}"))?;
        validate(&value)?;
        let manifest: Self =
            serde_json::from_value(value).map_err(|e| format!("manifest.json: {e}"))?;
        let found = manifest.digest().map_err(|e| e.to_string())?;
        if found != manifest.hash {
            return Err(format!(
                "manifest.json was changed: its content has hash {found}, it says {}",
                manifest.hash
            ));
        }
        Ok(manifest)
    }

    /// Renders the manifest as it is stored.
    ///
    /// # Errors
    /// Fails when the manifest cannot be serialised.
    pub fn render(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Returns the entry of a kind of record.
    #[must_use]
    pub fn source(&self, kind: Kind) -> Option<&DataSource> {
        self.data_sources.iter().find(|s| s.source_type == kind)
    }
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
