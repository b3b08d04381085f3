//! What can go wrong between a package and a read, and what to do about it.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use chrono::{DateTime, NaiveDate, Utc};
use datafusion::{arrow::error::ArrowError, error::DataFusionError, parquet::errors::ParquetError};
use domain::{AsOf, Digest, Ticker};
use thiserror::Error;

/// An error of the lake. Messages name the place and the remedy; causes are
/// in the source chain.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LakeError {
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, e.g. `read`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A configuration file does not parse or contradicts itself.
    #[error("{origin} is not valid: {reason}")]
    Config {
        /// The file.
        origin: String,
        /// What is wrong, with the remedy.
        reason: String,
    },
    /// A source is not on the allowlist.
    #[error(
        "source {id:?} is not on the allowlist {origin}: add a table [{id}] with package, version, sha256 and licence after its licence has been reviewed"
    )]
    UnlistedSource {
        /// The source that was asked for.
        id: String,
        /// The allowlist.
        origin: String,
    },
    /// A source on the allowlist states no licence.
    #[error(
        "source {id:?} in {origin} has no licence: review the package's licence and set `licence` to its SPDX id, or remove the source"
    )]
    UnlicensedSource {
        /// The source.
        id: String,
        /// The allowlist.
        origin: String,
    },
    /// A provider is not on the list.
    #[error(
        "provider {id:?} is not on the list {origin} ({known}): add a table [{id}] with its adapter, base_url and licence after its terms have been reviewed"
    )]
    UnlistedProvider {
        /// The provider that was asked for.
        id: String,
        /// The list.
        origin: String,
        /// Ids on it.
        known: String,
    },
    /// A provider on the list states no licence.
    #[error(
        "provider {id:?} in {origin} has no licence: review its terms of use and name them in `licence`, or remove the provider"
    )]
    UnlicensedProvider {
        /// The provider.
        id: String,
        /// The list.
        origin: String,
    },
    /// Nobody has said that the content of a source or provider may be known.
    #[error("{id:?} in {origin} {reason}")]
    NotEntitled {
        /// The source or provider.
        id: String,
        /// The list.
        origin: String,
        /// What is wrong, with the remedy.
        reason: &'static str,
    },
    /// A record cannot be released from quarantine.
    #[error("record {id} cannot be released: {reason}")]
    NotReleasable {
        /// The record's id in the quarantine.
        id: String,
        /// Why not, with the remedy.
        reason: String,
    },
    /// No quarantined record is called so, or several are.
    #[error("{id:?} names {found} records in the quarantine of snapshot {snapshot}: {remedy}")]
    UnknownRecord {
        /// What was asked for.
        id: String,
        /// How many are called so.
        found: usize,
        /// The snapshot.
        snapshot: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The releases are not what was written.
    #[error("{}:{line}: {reason}; restore the file from a copy: a release that cannot be trusted lets nothing in", path.display())]
    BadReleases {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A thesis does not rest on the snapshot it names.
    #[error("{claim}: {reason}")]
    NotThisThesis {
        /// The claim, or the part of the answer.
        claim: String,
        /// What differs, with the remedy.
        reason: String,
    },
    /// A provider cannot be asked, or does not answer as it should.
    #[error("{provider}: {reason}")]
    Provider {
        /// Id of the provider.
        provider: String,
        /// What is wrong, with the remedy.
        reason: String,
    },
    /// A file of the raw archive is not what was written.
    #[error("raw archive: {}: {reason}", path.display())]
    RawArchive {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the remedy.
        reason: String,
    },
    /// The raw archive lacks answers that a feed is read from.
    #[error(
        "universe {universe}, feed {kind} of {provider}: the raw archive has {has}: run `{command}`"
    )]
    NotArchived {
        /// Id of the universe.
        universe: String,
        /// Kind of record.
        kind: &'static str,
        /// Id of the provider.
        provider: String,
        /// What it has too little of, with the tickers.
        has: String,
        /// What brings the answers.
        command: String,
    },
    /// The package client could not fetch an archive.
    #[error("cannot fetch {package} {version}: {reason}")]
    Fetch {
        /// Package name.
        package: String,
        /// Package version.
        version: String,
        /// What the client said, with the remedy.
        reason: String,
    },
    /// A package a snapshot is read with is not in the cache.
    #[error("the snapshot is read with {package}, which is not at {}: run `r2r data fetch`", path.display())]
    NotFetched {
        /// Name and version.
        package: String,
        /// Where it was expected.
        path: PathBuf,
    },
    /// A snapshot needs a part this program was built without.
    #[error(
        "the snapshot ranks texts by {method}, which this program was built without: build it with `--features lake/minilm`, or a snapshot whose universe has another [retrieval] method"
    )]
    MethodNotBuilt {
        /// The method.
        method: &'static str,
    },
    /// The tokenizer did not accept a text.
    #[error("a text cannot be ranked: {reason}")]
    Embed {
        /// What it said.
        reason: String,
    },
    /// A file is not the one that was promised.
    #[error("{} has SHA-256 {found}, expected {expected}: {remedy}", path.display())]
    WrongDigest {
        /// The file.
        path: PathBuf,
        /// The promised digest.
        expected: Digest,
        /// The digest of what is there.
        found: Digest,
        /// What to do.
        remedy: &'static str,
    },
    /// An archive is damaged, hostile, or lacks a member.
    #[error("archive {}: {reason}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A source's file does not have the form its adapter reads.
    #[error("{source_id}: {member} does not have the expected form: {reason}")]
    Format {
        /// The source.
        source_id: String,
        /// The file inside the package.
        member: String,
        /// What is wrong.
        reason: String,
    },
    /// A universe has no snapshot.
    #[error(
        "universe {name} has no snapshot in {}{}: `r2r data build --universe` builds one of {}, or of a .toml file; --data-dir takes another store",
        place.display(), list("; there are ", built), known.join(", ")
    )]
    NoUniverse {
        /// What was asked for.
        name: String,
        /// Where one was expected.
        place: PathBuf,
        /// Names that have one.
        built: Vec<String>,
        /// Universes of the program.
        known: Vec<&'static str>,
    },
    /// There is no snapshot to open.
    #[error("no snapshot at {}: run `r2r data build`, with `--universe` for another than R20", path.display())]
    NoSnapshot {
        /// Where one was expected.
        path: PathBuf,
    },
    /// A snapshot was built by a version that did not share files.
    #[error("{} holds a snapshot of version 1, which this program does not read: run `r2r data build`; `r2r data gc --old` removes what is old", path.display())]
    OldSnapshot {
        /// The directory.
        path: PathBuf,
    },
    /// A snapshot contradicts its manifest or the manifest its schema.
    #[error("snapshot {}: {reason}; run `r2r data build`, which writes what is damaged again", path.display())]
    BadSnapshot {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file that a snapshot needs is not there.
    #[error("{} is missing: run `r2r data build`, which writes the files of the current snapshot again, or copy the snapshot from another store", path.display())]
    MissingFile {
        /// The file.
        path: PathBuf,
    },
    /// A reference does not name a snapshot.
    #[error("reference {}: {reason}; `r2r data build` makes CURRENT and the universe's anew, `r2r data snapshot ID --ref NAME` any", path.display())]
    BadRef {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No reference and no id is called so.
    #[error(
        "{url} has no snapshot {name:?}: give an id, its first characters (4 or more), or a reference{}",
        list(": ", refs)
    )]
    UnknownSnapshot {
        /// What was asked for.
        name: String,
        /// The store.
        url: String,
        /// The references there are.
        refs: Vec<String>,
    },
    /// Several ids begin so.
    #[error("{name:?} is the beginning of several snapshots{}", list(": ", ids))]
    AmbiguousSnapshot {
        /// What was asked for.
        name: String,
        /// The snapshots.
        ids: Vec<Digest>,
    },
    /// Two processes moved a reference at the same time.
    #[error("{} was moved by another process meanwhile: look whether its snapshot is the wanted one, else run the command again", path.display())]
    RefMoved {
        /// The reference.
        path: PathBuf,
    },
    /// Another process works on an object store in a way that excludes this one.
    #[error("another process is at work since {since}, {} says: run the command again when it has ended; one that died stops counting after an hour", place.display())]
    StoreBusy {
        /// Its announcement.
        place: PathBuf,
        /// When it began.
        since: DateTime<Utc>,
    },
    /// Work on an object store took so long that others may disregard it.
    #[error(
        "the work on {url} was not done within {minutes} minutes: run the command again; what was written stays and is not written twice"
    )]
    TooSlow {
        /// The store.
        url: String,
        /// The bound.
        minutes: u64,
    },
    /// A manifest cannot be read, so nobody knows which files it needs.
    #[error("nothing was removed, because {} cannot be read and may need any file: repair it, or remove that directory", path.display())]
    GcStopped {
        /// The snapshot's directory.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<LakeError>,
    },
    /// An object store refused or failed.
    #[error("cannot {action} {}", place.display())]
    Store {
        /// What was tried, e.g. `read`.
        action: &'static str,
        /// Where.
        place: PathBuf,
        /// Why not.
        source: Box<datafusion::object_store::Error>,
    },
    /// A feature file cannot be used.
    #[error("feature file {file}: {reason}")]
    Feature {
        /// The SQL file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no such feature.
    #[error("feature {name:?} is not in the catalogue; near: {near}; see `r2r features list`")]
    UnknownFeature {
        /// The feature that was asked for.
        name: String,
        /// The most similar one.
        near: String,
    },
    /// The universe has no such ticker.
    #[error(
        "ticker {ticker} is not in the universe{}: `r2r data show` lists its names",
        list("; near: ", near)
    )]
    UnknownTicker {
        /// The ticker that was asked for.
        ticker: Ticker,
        /// Similar tickers, the most similar first.
        near: Vec<Ticker>,
    },
    /// The data does not reach to the date.
    #[error("as_of {as_of} is outside the data of this ticker, {first} to {last}")]
    OutOfRange {
        /// The date that was asked for.
        as_of: AsOf,
        /// Session of the first close.
        first: NaiveDate,
        /// Session of the last close.
        last: NaiveDate,
    },
    /// A read contradicts its point in time: a bug in a feature.
    #[error("the read is not valid")]
    Read(#[from] domain::ReadError),
    /// A cluster, or a process of one, cannot be reached or does not do its part.
    #[error("{place}: {reason}")]
    Cluster {
        /// The cluster or process.
        place: String,
        /// What is wrong, with the remedy.
        reason: String,
    },
    /// A query failed.
    #[error("query failed")]
    Query(#[source] Box<DataFusionError>),
    /// Record batches could not be made or converted.
    #[error("record batch")]
    Arrow(#[from] ArrowError),
    /// A Parquet file could not be read or written.
    #[error("Parquet")]
    Parquet(#[from] ParquetError),
}

impl From<DataFusionError> for LakeError {
    fn from(error: DataFusionError) -> Self {
        Self::Query(Box::new(error))
    }
}

impl LakeError {
    /// Returns a closure that says what was done to `path` when I/O failed.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Says why a feature file cannot be used.
    pub(crate) fn feature(file: &str, reason: impl Into<String>) -> Self {
        Self::Feature { file: file.to_owned(), reason: reason.into() }
    }
}

/// Lists what there is, after an introduction; nothing where there is nothing.
fn list(introduction: &str, items: &[impl Display]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    if items.is_empty() { String::new() } else { format!("{introduction}{}", items.join(", ")) }
}
