//! The quarantine of a snapshot, `quarantine.jsonl`: what did not come in, and why.

use domain::Digest;
use serde::{Deserialize, Serialize};

use super::pii::mask;
use crate::{Kind, LakeError, Manifest, Rejected, SnapshotStore};

/// Shorter beginnings of an id are not looked up.
const ID_PREFIX_MIN: usize = 4;

/// Why a record is in quarantine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuarantineClass {
    /// It could not be read, or contradicts itself. Such a record cannot be released: there
    /// is nothing that could come in.
    #[default]
    Schema,
    /// It holds personal data.
    Pii,
    /// It says that it is not public.
    Mnpi,
}

impl QuarantineClass {
    /// Returns the name in files and on screens.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Pii => "pii",
            Self::Mnpi => "mnpi",
        }
    }
}

/// What a classifier has found in a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Name of the pattern, e.g. `email`.
    pub rule: String,
    /// Column of the record.
    pub column: String,
    /// First byte of the finding in the column.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A record that did not come in. Nothing in it shows personal data: excerpts are masked,
/// since the quarantine travels with the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// Names the record in this and later snapshots: a digest of kind, source and record id,
    /// or, of one that could not be read, of all that is known of it.
    pub id: Digest,
    /// Why it is here.
    pub class: QuarantineClass,
    /// Source id.
    pub source_id: String,
    /// Kind of record it would have been.
    pub kind: Kind,
    /// File inside the package and where in it, or the record id.
    pub place: String,
    /// Why it is here, in words.
    pub reason: String,
    /// The beginning of the record, or what is around the first finding, masked.
    pub raw: String,
    /// Digest of the content, of a record that a reviewer may release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What was found in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// A line of the file; before there were classes it had neither class nor id.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<Digest>,
    #[serde(default)]
    class: QuarantineClass,
    source_id: String,
    kind: Kind,
    place: String,
    reason: String,
    raw: String,
    digest: Option<Digest>,
    #[serde(default)]
    findings: Vec<Finding>,
}

/// Characters of the reason of a record that could not be read.
const REASON_MAX: usize = 300;

impl Quarantined {
    /// Takes a record that could not be read; `repeats` counts equal ones before it.
    pub(super) fn unreadable(rejected: &Rejected, repeats: u32) -> Self {
        let Rejected { source_id, kind, place, reason, raw } = rejected;
        let key = format!("{}\0{source_id}\0{place}\0{reason}\0{raw}\0{repeats}", kind.table());
        Self {
            id: Digest::of(key),
            class: QuarantineClass::Schema,
            source_id: source_id.clone(),
            kind: *kind,
            place: place.clone(),
            // It may quote a cell, which is as long as it likes and says what it likes.
            reason: mask(&reason.chars().take(REASON_MAX).collect::<String>()),
            raw: if texts(*kind).is_empty() { raw.clone() } else { mask(raw) },
            digest: None,
            findings: Vec::new(),
        }
    }
}

/// Returns the columns that a person has written freely, which the classifiers read.
///
/// Names of insiders are no such column: the law (Securities Exchange Act, section 16)
/// makes them public, with what they traded, so that everybody can know them.
pub(super) const fn texts(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::News => &["title", "body"],
        Kind::FilingTexts => &["title", "text"],
        Kind::Bars
        | Kind::Actions
        | Kind::Index
        | Kind::Macro
        | Kind::Filings
        | Kind::Facts
        | Kind::Insider
        | Kind::Estimates => &[],
    }
}

/// Returns the id of a record by what stays when its content changes.
pub(super) fn record_key(kind: Kind, source_id: &str, record_id: &str) -> Digest {
    Digest::of(format!("{}\0{source_id}\0{record_id}", kind.table()))
}

impl SnapshotStore {
    /// Reads the quarantine of a snapshot, checked against its digest.
    ///
    /// # Errors
    /// Fails when the file is missing or is not what the manifest promises.
    pub async fn quarantine(&self, manifest: &Manifest) -> Result<Vec<Quarantined>, LakeError> {
        let bytes = self.quarantine_bytes(manifest).await?;
        let bad = |reason: String| LakeError::BadSnapshot {
            path: self.dir(manifest.hash).join("quarantine.jsonl"),
            reason,
        };
        let text = std::str::from_utf8(&bytes).map_err(|e| bad(e.to_string()))?;
        let mut found = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line: Line =
                serde_json::from_str(line).map_err(|e| bad(format!("line {}: {e}", i + 1)))?;
            let Line { class, source_id, kind, place, reason, raw, digest, findings, .. } = line;
            let id = line.id.unwrap_or_else(|| {
                let key = format!("{}\0{source_id}\0{place}\0{reason}\0{i}", kind.table());
                Digest::of(key)
            });
            // Files from before there was a mask hold records as they were.
            let raw = if texts(kind).is_empty() { raw } else { mask(&raw) };
            found.push(Quarantined {
                id,
                class,
                source_id,
                kind,
                place,
                reason,
                raw,
                digest,
                findings,
            });
        }
        Ok(found)
    }
}

/// Returns the record that an id, or its first characters (4 or more), names.
///
/// # Errors
/// Fails when there is none, or several.
pub fn find_quarantined<'a>(
    entries: &'a [Quarantined],
    id: &str,
    snapshot: Digest,
) -> Result<&'a Quarantined, LakeError> {
    let lower = id.to_ascii_lowercase();
    let is_meant = |entry: &&Quarantined| {
        lower.len() >= ID_PREFIX_MIN && entry.id.to_string().starts_with(&lower)
    };
    let found: Vec<&Quarantined> = entries.iter().filter(is_meant).collect();
    match found.as_slice() {
        [only] => Ok(only),
        _ => Err(LakeError::UnknownRecord {
            id: id.to_owned(),
            found: found.len(),
            snapshot: snapshot.short(),
            remedy: "give an id, or its first characters (4 or more), as `r2r data quarantine \
                     list` shows it",
        }),
    }
}
