//! An immutable snapshot, opened and checked, ready for reads.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    panic::resume_unwind,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, NaiveDate};
use datafusion::arrow::{
    array::{AsArray, RecordBatch},
    datatypes::TimestampMicrosecondType,
};
use domain::{Digest, Ticker};
use tokio::task::spawn_blocking;

use crate::{
    FeatureInfo, FeatureRef, Kind, LakeError, Manifest, Retriever, SnapshotStore,
    engine::Engine,
    features::{cited_features, shared_code},
    records,
    retrieval::Evidence,
    tables::Tables,
    universe::Name,
};

/// The universe whose snapshot is served where nothing else is said.
pub const DEFAULT_UNIVERSE: &str = "R20";

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
    /// Of the research that was done last: who does it repeats it.
    research: Mutex<Option<Arc<Engine>>>,
    pub(crate) evidence: Evidence,
    pub(crate) names: HashMap<Ticker, Name>,
    pub(crate) tickers: Vec<TickerInfo>,
}

impl Snapshot {
    /// Opens the current snapshot of the default universe.
    ///
    /// # Errors
    /// As [`Snapshot::load`].
    pub async fn open_current(data_dir: &Path) -> Result<Self, LakeError> {
        Self::open_universe(data_dir, DEFAULT_UNIVERSE).await
    }

    /// Opens the current snapshot of a universe.
    ///
    /// # Errors
    /// As [`Snapshot::load`].
    pub async fn open_universe(data_dir: &Path, universe: &str) -> Result<Self, LakeError> {
        let store = SnapshotStore::local(data_dir);
        let id = store.current(universe).await?;
        Self::load(&store, id).await
    }

    /// Opens a snapshot by its directory, `<data_dir>/snapshots/<id>`.
    ///
    /// # Errors
    /// As [`Snapshot::load`]; also when the directory is not in a store.
    pub async fn open(dir: &Path) -> Result<Self, LakeError> {
        if !dir.join("manifest.json").exists() {
            return Err(LakeError::NoSnapshot { path: dir.to_owned() });
        }
        let absolute = dir.canonicalize().map_err(LakeError::io("find", dir))?;
        let (id, root) = (absolute.file_name(), absolute.ancestors().nth(2));
        let id = id.and_then(|id| id.to_str()?.parse::<Digest>().ok());
        let (Some(id), Some(root)) = (id, root) else {
            return Err(LakeError::NoSnapshot { path: dir.to_owned() });
        };
        Self::load(&SnapshotStore::local(root), id).await
    }

    /// Opens a snapshot of a store: checks the manifest against its schema and its
    /// hash, and every file against its digest.
    ///
    /// # Errors
    /// Fails when something is missing or is not what the manifest promises, and
    /// when it was built for other feature files than this program's.
    pub async fn load(store: &SnapshotStore, id: Digest) -> Result<Self, LakeError> {
        let manifest = store.manifest(id).await?;
        if manifest.features != references()? {
            let reason = "it was built for other feature files than this program's".to_owned();
            return Err(LakeError::BadSnapshot { path: store.dir(id), reason });
        }
        let (retrieval, packages) = (manifest.retrieval.clone(), store.packages_dir());
        let retriever = spawn_blocking(move || Retriever::open(&retrieval, &packages));
        let batches = store.batches(&manifest).await?;
        let retriever =
            retriever.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))?;
        Self::from_batches(manifest, batches, retriever).await
    }

    /// Makes a snapshot of record batches, one per kind, in any order of rows; a kind
    /// without one has no records. The caller vouches for what [`Snapshot::load`] checks.
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
        let engine = Engine::new(&tables, cited_features()?).await?.with_recent_sessions();
        let evidence = Evidence::new(&manifest, &tables, retriever)?;
        let names = &manifest.universe.names;
        let tickers = names.iter().filter_map(|name| ticker_info(&tables, name)).collect();
        let names = names.iter().map(|name| (name.ticker.clone(), name.clone())).collect();
        let research = Mutex::default();
        Ok(Self { manifest, tables, engine, research, evidence, names, tickers })
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

    /// Returns the plans of these features, those of the last call where it asked for the same.
    pub(crate) async fn research(
        &self,
        features: Vec<FeatureInfo>,
    ) -> Result<Arc<Engine>, LakeError> {
        let last = self.research.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(engine) = last.filter(|engine| engine.features() == features) {
            return Ok(engine);
        }
        let engine = Arc::new(Engine::new(&self.tables, features).await?);
        let mut last = self.research.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(engine.clone());
        Ok(engine)
    }

    /// Returns the features a thesis may cite, in the order of a read's frame.
    #[must_use]
    pub fn features(&self) -> &[FeatureInfo] {
        self.engine.features()
    }
}

/// Returns what a read's values depend on beside the records: the features a thesis
/// may cite, and the views and functions they share.
pub(crate) fn references() -> Result<Vec<FeatureRef>, LakeError> {
    let cited = cited_features()?;
    Ok(cited.iter().map(FeatureInfo::reference).chain([shared_code()]).collect())
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
