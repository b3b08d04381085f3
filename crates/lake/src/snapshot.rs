//! An immutable snapshot, opened and checked, ready for reads.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{DateTime, NaiveDate};
use datafusion::{
    arrow::{
        array::{AsArray, RecordBatch},
        compute::concat_batches,
        datatypes::{Schema, TimestampMicrosecondType},
    },
    parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
};
use domain::{Digest, Ticker};

use crate::{
    FeatureInfo, FeatureRef, Kind, LakeError, Manifest, Retriever, engine::Engine,
    feature_catalogue, features::shared_code, package::verify, records, retrieval::Evidence,
    tables::Tables, universe::Name,
};

/// The universe whose snapshot is served where nothing else is said.
pub const DEFAULT_UNIVERSE: &str = "R20";

/// Returns the name of the file that names the current snapshot of a universe.
pub(crate) fn current_file(universe: &str) -> String {
    let is_default = universe.eq_ignore_ascii_case(DEFAULT_UNIVERSE);
    if is_default { "CURRENT".to_owned() } else { format!("CURRENT-{}", universe.to_uppercase()) }
}

/// A ticker of a snapshot and the span of its closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TickerInfo {
    /// Exchange symbol.
    pub ticker: Ticker,
    /// Company name.
    pub company: String,
    /// Session of the first close.
    pub first: NaiveDate,
    /// Session of the last close.
    pub last: NaiveDate,
}

/// A snapshot in memory. Reads are `as_of` a date; there is no other.
///
/// Cheap to share behind an `Arc`; holds about 40 MB for the universe R20.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) manifest: Manifest,
    pub(crate) tables: Tables,
    pub(crate) engine: Engine,
    pub(crate) evidence: Evidence,
    pub(crate) names: HashMap<Ticker, Name>,
    pub(crate) tickers: Vec<TickerInfo>,
}

impl Snapshot {
    /// Opens the current snapshot of the default universe.
    ///
    /// # Errors
    /// As [`Snapshot::open`]; also when there is no current snapshot.
    pub async fn open_current(data_dir: &Path) -> Result<Self, LakeError> {
        Self::open(&current_dir(data_dir, DEFAULT_UNIVERSE)?).await
    }

    /// Opens the current snapshot of a universe.
    ///
    /// # Errors
    /// As [`Snapshot::open`]; also when there is no current snapshot.
    pub async fn open_universe(data_dir: &Path, universe: &str) -> Result<Self, LakeError> {
        Self::open(&current_dir(data_dir, universe)?).await
    }

    /// Opens a snapshot directory, `<data_dir>/snapshots/<id>`: checks the manifest
    /// against its schema and its hash, every file against its digest, and loads the
    /// weights texts are ranked with from `<data_dir>/packages`.
    ///
    /// # Errors
    /// Fails when something is missing or is not what the manifest promises.
    pub async fn open(dir: &Path) -> Result<Self, LakeError> {
        let path = dir.join("manifest.json");
        if !path.exists() {
            return Err(LakeError::NoSnapshot { path: dir.to_owned() });
        }
        let text = fs::read_to_string(&path).map_err(LakeError::io("read", &path))?;
        let bad = |reason| LakeError::BadSnapshot { path: dir.to_owned(), reason };
        let manifest = Manifest::parse(&text).map_err(bad)?;
        if manifest.features != references(&feature_catalogue()?) {
            let reason = "it was built for other feature files than this program's".to_owned();
            return Err(LakeError::BadSnapshot { path: dir.to_owned(), reason });
        }
        let mut batches = BTreeMap::<Kind, Vec<RecordBatch>>::new();
        for source in &manifest.data_sources {
            // The schema allows plain file names only, so a manifest cannot point elsewhere.
            let file = dir.join(&source.file_path);
            verify(&file, source.file_hash, "remove the snapshot and run `r2r data build`")?;
            batches.entry(source.source_type).or_default().push(read_parquet(&file)?);
        }
        let batches = batches.into_iter().map(|(kind, batches)| Ok((kind, concat(&batches)?)));
        let batches = batches.collect::<Result<_, LakeError>>()?;
        let retriever = Retriever::open(&manifest.retrieval, &packages_dir(dir))?;
        Self::from_batches(manifest, batches, retriever).await
    }

    /// Makes a snapshot of record batches, one per kind, in any order of rows; a kind
    /// without one has no records. The caller vouches for what [`Snapshot::open`] checks.
    ///
    /// # Errors
    /// Fails when a column is missing or the retriever is not that of the manifest.
    pub async fn from_batches(
        manifest: Manifest,
        mut batches: BTreeMap<Kind, RecordBatch>,
        retriever: Retriever,
    ) -> Result<Self, LakeError> {
        if *retriever.reference() != manifest.retrieval {
            let reason = "its manifest names another retrieval than it is opened with".to_owned();
            return Err(LakeError::BadSnapshot { path: "manifest.json".into(), reason });
        }
        for kind in Kind::ALL {
            if let Entry::Vacant(entry) = batches.entry(kind) {
                entry.insert(records::empty(kind)?);
            }
        }
        let tables = Tables::new(batches)?;
        let mut features = feature_catalogue()?;
        features.retain(|feature| feature.evidence);
        let engine = Engine::new(&tables, features).await?;
        let evidence = Evidence::new(&manifest, &tables, retriever)?;
        let names = &manifest.universe.names;
        let tickers = names.iter().filter_map(|name| ticker_info(&tables, name)).collect();
        let names = names.iter().map(|name| (name.ticker.clone(), name.clone())).collect();
        Ok(Self { manifest, tables, engine, evidence, names, tickers })
    }

    /// Returns the id: the hash of the manifest's canonical form.
    #[must_use]
    pub const fn id(&self) -> Digest {
        self.manifest.hash
    }

    /// Returns the manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the tickers that have closes, in the universe's order.
    #[must_use]
    pub fn tickers(&self) -> &[TickerInfo] {
        &self.tickers
    }

    /// Returns the first and last session of any ticker.
    #[must_use]
    pub fn range(&self) -> Option<(NaiveDate, NaiveDate)> {
        let first = self.tickers.iter().map(|t| t.first).min()?;
        Some((first, self.tickers.iter().map(|t| t.last).max()?))
    }

    /// Returns what ranks the texts of this snapshot's reads.
    #[must_use]
    pub fn retriever(&self) -> &Retriever {
        self.evidence.retriever()
    }

    /// Returns the features a thesis may cite, in the order of a read's frame.
    #[must_use]
    pub fn features(&self) -> &[FeatureInfo] {
        self.engine.features()
    }
}

/// Returns the directory of the current snapshot of a universe.
///
/// # Errors
/// Fails when there is none.
pub fn current_dir(data_dir: &Path, universe: &str) -> Result<PathBuf, LakeError> {
    let snapshots = data_dir.join("snapshots");
    let path = snapshots.join(current_file(universe));
    if !path.exists() {
        return Err(LakeError::NoSnapshot { path });
    }
    let id = fs::read_to_string(&path).map_err(LakeError::io("read", &path))?;
    let id: Digest = id.trim().parse().map_err(|_| LakeError::BadSnapshot {
        path: path.clone(),
        reason: "it does not hold a snapshot id".to_owned(),
    })?;
    Ok(snapshots.join(id.to_string()))
}

/// Snapshots and packages lie in one data directory.
fn packages_dir(snapshot: &Path) -> PathBuf {
    snapshot.ancestors().nth(2).unwrap_or(Path::new("")).join("packages")
}

/// Reads a file of a snapshot directory whole.
///
/// # Errors
/// Fails when the file cannot be read as Parquet.
pub fn read_parquet(path: &Path) -> Result<RecordBatch, LakeError> {
    let file = File::open(path).map_err(LakeError::io("open", path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let schema = builder.schema().clone();
    let batches = builder.build()?.collect::<Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}

fn concat(batches: &[RecordBatch]) -> Result<RecordBatch, LakeError> {
    match batches {
        [] => Ok(RecordBatch::new_empty(Arc::new(Schema::empty()))),
        [first, ..] => Ok(concat_batches(&first.schema(), batches)?),
    }
}

/// Returns what a read's values depend on beside the records: the features a thesis
/// may cite, and the views and functions they share.
pub(crate) fn references(features: &[FeatureInfo]) -> Vec<FeatureRef> {
    let cited = features.iter().filter(|feature| feature.evidence);
    cited.map(FeatureInfo::reference).chain([shared_code()]).collect()
}

/// Spans are taken from the times closes became known: a session's close is
/// known on the session's date, in New York and in UTC.
fn ticker_info(tables: &Tables, name: &Name) -> Option<TickerInfo> {
    let rows = tables.rows(Kind::Bars, name.ticker.as_str())?;
    let times = rows.column_by_name("known_at")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let date =
        |row: usize| Some(DateTime::from_timestamp_micros(*times.values().get(row)?)?.date_naive());
    let last = rows.num_rows().checked_sub(1)?;
    Some(TickerInfo {
        ticker: name.ticker.clone(),
        company: name.company.clone(),
        first: date(0)?,
        last: date(last)?,
    })
}
