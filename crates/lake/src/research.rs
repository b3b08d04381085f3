//! Whole histories of a snapshot for research: features at every session, labels.
//!
//! What is computed here over all times at once equals what a read computes at each
//! of them, because series are causal; a test compares the two.

mod columns;
mod panel;
mod points;

use std::{
    collections::{BTreeMap, BTreeSet},
    iter::repeat_n,
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::arrow::{
    array::{
        Array, ArrayRef, AsArray, Date32Array, Float64Array, RecordBatch, StringViewArray,
        TimestampMicrosecondArray,
    },
    compute::concat_batches,
    datatypes::{Date32Type, Field, Float64Type, Schema, TimestampMicrosecondType},
};
use domain::{AsOf, Label, Ticker};
use indicatif::ProgressBar;

pub use self::panel::{Panel, PanelOptions};
#[cfg(feature = "ballista")]
pub(crate) use self::{
    columns::{Means, Records},
    panel::{Place, kept},
};
use crate::{
    FeatureInfo, HORIZONS, Kind, LabelConfig, LabelRow, LakeError, Snapshot, feature_catalogue,
    features::sort,
    label_rows,
    parallel::{in_parallel, run_now},
    records::time_type,
    store::write_parquet,
    tables::AsOfTables,
};

/// How many rows have which label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LabelStats {
    /// Rows of each label, in the order of [`Label::ALL`].
    pub counts: [u64; 5],
    /// Rows that have none.
    pub unlabelled: u64,
    /// Rows whose label differs from that of the labelled session before.
    pub flips: u64,
}

impl std::ops::AddAssign for LabelStats {
    fn add_assign(&mut self, other: Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.unlabelled += other.unlabelled;
        self.flips += other.flips;
    }
}

impl LabelStats {
    /// Returns the number of labelled rows.
    #[must_use]
    pub fn labelled(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the share of each label among the labelled rows; 0 where there are none.
    #[must_use]
    pub fn shares(&self) -> [f64; 5] {
        let labelled = self.labelled().max(1) as f64;
        self.counts.map(|count| count as f64 / labelled)
    }
}

/// Closes of a name, adjusted for what was known, oldest first.
pub(crate) struct Closes {
    pub(crate) ticker: Ticker,
    pub(crate) sessions: Vec<i32>,
    pub(crate) known_at: Vec<i64>,
    pub(crate) values: Vec<f64>,
}

impl Snapshot {
    /// Computes the features a name had at a point in time, research ones included, in the
    /// catalogue's order. Undefined ones are left out. Where a thesis may cite all of them,
    /// they are those of a read, and no query is planned.
    ///
    /// # Errors
    /// As [`Snapshot::read`], and on an unknown feature.
    pub async fn values(
        &self,
        ticker: &Ticker,
        as_of: AsOf,
        names: &[String],
    ) -> Result<Vec<domain::Feature>, LakeError> {
        self.check_date(ticker, as_of)?;
        let tables = self.tables.cut(ticker, as_of)?;
        let is_cited = |name: &String| self.features().iter().any(|info| info.name == *name);
        if !names.is_empty() && names.iter().all(is_cited) {
            let mut frame = self.frame(&tables).await?;
            frame.retain(|feature| names.contains(&feature.name));
            return Ok(frame);
        }
        let features = if names.is_empty() { feature_catalogue()? } else { chosen(names)? };
        let engine = self.research(features).await?;
        let rows = engine.run(tables.by_name()).await?;
        let found = engine.features().iter().zip(rows);
        Ok(found.filter_map(|(info, row)| self.feature(info, row?, &tables)).collect())
    }

    /// Computes the label of every session: `ticker`, `session`, `known_at`, `r_5`, `r_21`,
    /// `r_63`, `volatility`, `z`, `label`. Sessions without a label have null in all of
    /// the last six. `known_at` is when the last price a label rests on became known; it
    /// may be a target of training only for decisions after that.
    ///
    /// # Errors
    /// Fails when the prices cannot be read.
    pub async fn labels(
        &self,
        config: &LabelConfig,
    ) -> Result<(RecordBatch, BTreeMap<Ticker, LabelStats>), LakeError> {
        let labelled = self.over_names(&[], &ProgressBar::hidden(), |tables| {
            let batch = run_now(self.engine.run_closes(tables.by_name()))?;
            let Some(closes) = Closes::of(&batch)? else { return Ok(None) };
            let rows = label_rows(&closes.values, config.scheme, config.thresholds(&closes.ticker));
            let Closes { ticker, sessions, known_at, .. } = closes;
            let batch = label_batch(ticker.as_str(), &sessions, &known_at, &rows)?;
            Ok(Some((batch, ticker, count(&rows))))
        })?;
        let (mut batches, mut stats) = (Vec::new(), BTreeMap::new());
        for (batch, ticker, found) in labelled.into_iter().flatten() {
            batches.push(batch);
            stats.insert(ticker, found);
        }
        let nothing = label_batch("", &[], &[], &[])?;
        Ok((concat_batches(&nothing.schema(), &batches)?, stats))
    }

    /// Returns the closes of each name, in order of names.
    pub(crate) fn closes(&self) -> Result<Vec<Closes>, LakeError> {
        let closes = self.over_names(&[], &ProgressBar::hidden(), |tables| {
            Closes::of(&run_now(self.engine.run_closes(tables.by_name()))?)
        })?;
        Ok(closes.into_iter().flatten().collect())
    }

    /// Runs a query over all times of each of these names, all names where none is given, on
    /// all cores: no session of a name depends on another name. Without any name with
    /// sessions it runs once, over nothing.
    fn over_names<R: Send>(
        &self,
        tickers: &[Ticker],
        progress: &ProgressBar,
        query: impl Fn(AsOfTables) -> Result<R, LakeError> + Sync,
    ) -> Result<Vec<R>, LakeError> {
        let as_of = self.last_date();
        let is_asked =
            |name: &&str| tickers.is_empty() || tickers.iter().any(|t| t.as_str() == *name);
        let names = self.tables.tickers(Kind::Bars).into_iter().filter(is_asked);
        let names = names.map(|name| name.parse().map_err(|_| column_error("ticker")));
        let names = names.collect::<Result<Vec<Ticker>, LakeError>>()?;
        if names.is_empty() {
            return Ok(vec![query(self.tables.whole(as_of)?)?]);
        }
        progress.inc_length(names.len() as u64);
        let results = in_parallel(names, |name| {
            let result = query(self.tables.of_ticker(&name, as_of)?);
            progress.inc(1);
            result
        });
        results.into_iter().collect()
    }

    /// Returns the date that ages of all records are counted to: that of the last close.
    pub(crate) fn last_date(&self) -> AsOf {
        AsOf::end_of(self.range().map(|(_, last)| last).unwrap_or_default())
    }
}

impl Closes {
    /// Takes the sessions of one name; none where there are none.
    fn of(batch: &RecordBatch) -> Result<Option<Self>, LakeError> {
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let ticker = texts(batch, "ticker")?.value(0).parse();
        let closes = batch.column_by_name("close").ok_or_else(|| column_error("close"))?;
        Ok(Some(Self {
            ticker: ticker.map_err(|_| column_error("ticker"))?,
            sessions: days(batch)?.values().to_vec(),
            known_at: micros(batch, "known_at")?.values().to_vec(),
            // One that is undefined is no number.
            values: closes
                .as_primitive::<Float64Type>()
                .iter()
                .map(|close| close.unwrap_or(f64::NAN))
                .collect(),
        }))
    }
}

/// Returns the features of these names, in the catalogue's order; all series of names
/// where none is named.
fn chosen(names: &[String]) -> Result<Vec<FeatureInfo>, LakeError> {
    if names.is_empty() {
        let is_chosen = |feature: &FeatureInfo| feature.is_series() && feature.kind == Kind::Bars;
        return Ok(feature_catalogue()?.into_iter().filter(is_chosen).collect());
    }
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let mut features = names.into_iter().map(FeatureInfo::find).collect::<Result<Vec<_>, _>>()?;
    sort(&mut features);
    Ok(features)
}

fn count(rows: &[Option<LabelRow>]) -> LabelStats {
    let mut stats = LabelStats::default();
    let mut before: Option<Label> = None;
    for row in rows {
        let Some(row) = row else {
            stats.unlabelled += 1;
            continue;
        };
        stats.counts[row.label.index()] += 1;
        stats.flips += u64::from(before.is_some_and(|before| before != row.label));
        before = Some(row.label);
    }
    stats
}

/// The labels of one name.
fn label_batch(
    ticker: &str,
    sessions: &[i32],
    known_at: &[i64],
    rows: &[Option<LabelRow>],
) -> Result<RecordBatch, LakeError> {
    let horizon = HORIZONS[HORIZONS.len() - 1];
    let tickers = StringViewArray::from_iter_values(repeat_n(ticker, rows.len()));
    // A label is known when its last price is.
    let known = rows
        .iter()
        .enumerate()
        .map(|(i, row)| known_at.get(i + horizon).copied().filter(|_| row.is_some()));
    let known = known.collect::<TimestampMicrosecondArray>().with_timezone("UTC");
    let floats = |value: fn(&LabelRow) -> f64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row.as_ref().map(value)).collect::<Float64Array>())
    };
    let names = Label::ALL.map(|label| label.to_string());
    let labels = rows.iter().map(|row| row.as_ref().map(|row| &names[row.label.index()]));
    let labels: ArrayRef = Arc::new(labels.collect::<StringViewArray>());
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("ticker", Arc::new(tickers), false),
        ("session", Arc::new(Date32Array::from(sessions.to_vec())), false),
        ("known_at", Arc::new(known), true),
        ("r_5", floats(|row| row.returns[0]), true),
        ("r_21", floats(|row| row.returns[1]), true),
        ("r_63", floats(|row| row.returns[2]), true),
        ("volatility", floats(|row| row.volatility), true),
        ("z", floats(|row| row.z), true),
        ("label", labels, true),
    ];
    let field = |(name, array, nullable): &(&str, ArrayRef, bool)| {
        Field::new(*name, array.data_type().clone(), *nullable)
    };
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let arrays = columns.into_iter().map(|(_, array, _)| array).collect();
    Ok(RecordBatch::try_new(Arc::new(schema), arrays)?)
}

/// Writes what was derived from a snapshot to `<data_dir>/derived/<snapshot>/<name>`, whole
/// or not at all, and returns the path.
///
/// # Errors
/// Fails when the file cannot be written.
pub fn write_derived(
    data_dir: &Path,
    snapshot: &Snapshot,
    name: &str,
    batch: &RecordBatch,
) -> Result<PathBuf, LakeError> {
    let path = data_dir.join("derived").join(snapshot.id().to_string()).join(name);
    write_table(&path, batch)?;
    Ok(path)
}

/// Writes a Parquet file, whole or not at all, and the directories it lies in.
///
/// # Errors
/// Fails when the file cannot be written.
pub fn write_table(path: &Path, batch: &RecordBatch) -> Result<(), LakeError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(LakeError::io("create", dir))?;
    let temp = tempfile::tempdir_in(dir).map_err(LakeError::io("create a directory in", dir))?;
    let partial = temp.path().join("table.parquet");
    write_parquet(&partial, batch)?;
    std::fs::rename(&partial, path).map_err(LakeError::io("write", path))
}

fn positions(batch: &RecordBatch, names: &[&str]) -> Result<Vec<usize>, LakeError> {
    names.iter().map(|name| Ok(batch.schema().index_of(name)?)).collect()
}

fn texts<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b StringViewArray, LakeError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_string_view_opt());
    column.ok_or_else(|| column_error(name))
}

fn days(batch: &RecordBatch) -> Result<&Date32Array, LakeError> {
    let column = batch.column_by_name("session").and_then(|c| c.as_primitive_opt::<Date32Type>());
    column.ok_or_else(|| column_error("session"))
}

fn micros<'b>(
    batch: &'b RecordBatch,
    name: &str,
) -> Result<&'b TimestampMicrosecondArray, LakeError> {
    let column = batch.column_by_name(name).filter(|column| *column.data_type() == time_type());
    let column = column.map(|column| column.as_primitive::<TimestampMicrosecondType>());
    column.ok_or_else(|| column_error(name))
}

fn end_of(sessions: &Date32Array, row: usize) -> AsOf {
    AsOf::end_of(Date32Type::to_naive_date_opt(sessions.value(row)).unwrap_or_default())
}

pub(crate) fn column_error(name: &str) -> LakeError {
    let reason = format!("column {name} is not what it must be");
    LakeError::BadSnapshot { path: "bars".into(), reason }
}
