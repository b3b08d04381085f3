//! Whole histories of a snapshot for research: features at every session, labels.
//!
//! What is computed here over all times at once equals what a read computes at each
//! of them, because series are causal; a test compares the two.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::NaiveDate;
use datafusion::arrow::{
    array::{
        ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Float64Builder, RecordBatch,
        StringViewArray, TimestampMicrosecondArray, UInt64Array,
    },
    compute::{filter_record_batch, take_record_batch},
    datatypes::{
        DataType, Date32Type, Field, Float64Type, Schema, TimestampMicrosecondType, UInt64Type,
    },
};
use domain::{AsOf, Label, Ticker};
use indicatif::ProgressBar;

use crate::{
    FeatureInfo, HORIZONS, Kind, LabelConfig, LabelRow, LakeError, Snapshot, asof::as_of_join,
    engine::Engine, feature_catalogue, label_rows, read::times, records::time_type,
    store::write_parquet,
};

/// What a panel holds.
#[derive(Debug, Clone, Default)]
pub struct PanelOptions {
    /// Features by name; all series where empty.
    pub features: Vec<String>,
    /// Names; all where empty.
    pub tickers: Vec<Ticker>,
    /// First session.
    pub from: Option<NaiveDate>,
    /// Last session.
    pub to: Option<NaiveDate>,
    /// Every how many sessions of a name a row is kept; 0 stands for 1.
    pub every: usize,
}

/// Features over time: `ticker`, `session`, `event_time`, `known_at`, then a column for
/// each feature, in order of ticker and session. An undefined value is null.
#[derive(Debug, Clone)]
pub struct Panel {
    /// The rows.
    pub batch: RecordBatch,
    /// The features, in the order of their columns.
    pub features: Vec<FeatureInfo>,
}

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
    /// Computes features at every session. Series of all names take one query; a feature
    /// that changes with the arrival of records alone takes a read for each arrival, any
    /// other one for each row, which is told to `progress`.
    ///
    /// # Errors
    /// Fails on an unknown feature or ticker, and when a query fails.
    pub async fn panel(
        &self,
        options: &PanelOptions,
        progress: &ProgressBar,
    ) -> Result<Panel, LakeError> {
        let features = chosen(&options.features)?;
        for ticker in &options.tickers {
            self.check_ticker(ticker)?;
        }
        let engine = Engine::new(&self.tables, features.clone()).await?;
        let sessions = match engine.run_series(Kind::Bars, self.all_tables()?).await? {
            Some(series) => series,
            None => engine.run_closes(self.all_tables()?).await?,
        };
        let sessions = filter_record_batch(&sessions, &rows_of(&sessions, options))?;
        let keys = ["ticker", "session", "event_time", "known_at"];
        let keys = sessions.project(&positions(&sessions, &keys)?)?;
        let mut columns: BTreeMap<String, ArrayRef> = BTreeMap::new();
        for feature in features.iter().filter(|f| f.is_series() && f.kind == Kind::Bars) {
            let column = sessions.column_by_name(&feature.name).cloned();
            columns.extend(column.map(|column| (feature.name.clone(), finite(&column))));
        }
        self.mend_irregular(&features, &keys, &mut columns, progress).await?;
        let (events, others): (Vec<FeatureInfo>, Vec<FeatureInfo>) = features
            .iter()
            .filter(|feature| !columns.contains_key(&feature.name))
            .cloned()
            .partition(|feature| engine.events_of(&feature.name).is_some());
        if !events.is_empty() {
            columns.extend(self.columns_of_events(&events, &keys, progress).await?);
        }
        if !others.is_empty() {
            columns.extend(self.columns_of_reads(&others, &keys, progress).await?);
        }
        let mut fields = keys.schema().fields().to_vec();
        let mut arrays = keys.columns().to_vec();
        for feature in &features {
            fields.push(Arc::new(Field::new(&feature.name, DataType::Float64, true)));
            arrays.extend(columns.remove(&feature.name));
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
        Ok(Panel { batch, features })
    }

    /// Replaces the series of names whose sessions became known out of order by reads.
    async fn mend_irregular(
        &self,
        features: &[FeatureInfo],
        keys: &RecordBatch,
        columns: &mut BTreeMap<String, ArrayRef>,
        progress: &ProgressBar,
    ) -> Result<(), LakeError> {
        let tickers = texts(keys, "ticker")?;
        let is_irregular = |row: &usize| !self.tables.is_regular(tickers.value(*row));
        let rows: Vec<usize> = (0..keys.num_rows()).filter(is_irregular).collect();
        if rows.is_empty() || columns.is_empty() {
            return Ok(());
        }
        let series = features.iter().filter(|feature| columns.contains_key(&feature.name));
        let series: Vec<FeatureInfo> = series.cloned().collect();
        let taken = rows.iter().map(|row| *row as u64).collect::<UInt64Array>();
        let irregular = take_record_batch(keys, &taken)?;
        for (name, values) in self.columns_of_reads(&series, &irregular, progress).await? {
            if let Some(column) = columns.get_mut(&name) {
                let mut merged: Vec<Option<f64>> =
                    column.as_primitive::<Float64Type>().iter().collect();
                let values = values.as_primitive::<Float64Type>();
                rows.iter().zip(values).for_each(|(row, value)| merged[*row] = value);
                *column = Arc::new(merged.into_iter().collect::<Float64Array>());
            }
        }
        Ok(())
    }

    /// Computes features that change with the arrival of records alone: by a read on each
    /// day on which some arrived, joined to the rows.
    async fn columns_of_events(
        &self,
        features: &[FeatureInfo],
        keys: &RecordBatch,
        progress: &ProgressBar,
    ) -> Result<Vec<(String, ArrayRef)>, LakeError> {
        let engine = Engine::new(&self.tables, features.to_vec()).await?;
        let kinds = features.iter().filter_map(|feature| engine.events_of(&feature.name));
        let kinds = kinds.flatten().collect();
        let (mut tickers, mut ends, mut found) = (Vec::new(), Vec::new(), Vec::new());
        let of_keys: Vec<&str> = texts(keys, "ticker")?.iter().flatten().collect();
        let mut of_rows = of_keys.clone();
        of_rows.dedup();
        progress.inc_length(of_rows.len() as u64);
        for text in of_rows {
            let ticker: Ticker = text.parse().map_err(|_| column_error("ticker"))?;
            // Before the first record too: nothing may be what a feature counts.
            let dates = self.tables.dates_of(&kinds, &ticker);
            for date in [NaiveDate::MIN].into_iter().chain(dates) {
                let as_of = AsOf::end_of(date);
                let tables = self.tables.cut(&ticker, as_of)?;
                tickers.push(text);
                ends.push(as_of.instant().timestamp_micros());
                found.push(engine.run(tables.by_name()).await?);
            }
            progress.inc(1);
        }
        let states: ArrayRef = Arc::new((0..).take(found.len()).collect::<UInt64Array>());
        let states = RecordBatch::try_from_iter(
            timed(&tickers, ends).into_iter().chain([("state", states)]),
        )?;
        let sessions = days(keys)?;
        let ends =
            (0..keys.num_rows()).map(|row| end_of(sessions, row).instant().timestamp_micros());
        let rows = RecordBatch::try_from_iter(timed(&of_keys, ends.collect()))?;
        let joined = as_of_join(&rows, &states, "ticker", None)?;
        let states = joined.column_by_name("state").ok_or_else(|| column_error("state"))?;
        let states = states.as_primitive::<UInt64Type>();
        let column = |(i, feature): (usize, &FeatureInfo)| {
            let value = |(row, state): (usize, Option<u64>)| {
                let found = found.get(usize::try_from(state?).ok()?)?[i].as_ref()?;
                times(feature, found, end_of(sessions, row)).map(|_| found.value)
            };
            let values = states.iter().enumerate().map(value).collect::<Float64Array>();
            (feature.name.clone(), Arc::new(values) as ArrayRef)
        };
        Ok(features.iter().enumerate().map(column).collect())
    }

    /// Computes features by a read at the end of the day of each row.
    async fn columns_of_reads(
        &self,
        features: &[FeatureInfo],
        keys: &RecordBatch,
        progress: &ProgressBar,
    ) -> Result<Vec<(String, ArrayRef)>, LakeError> {
        let engine = Engine::new(&self.tables, features.to_vec()).await?;
        let (tickers, sessions) = (texts(keys, "ticker")?, days(keys)?);
        let mut builders: Vec<Float64Builder> =
            features.iter().map(|_| Float64Builder::with_capacity(keys.num_rows())).collect();
        progress.inc_length(keys.num_rows() as u64);
        for row in 0..keys.num_rows() {
            let ticker: Ticker = tickers.value(row).parse().map_err(|_| column_error("ticker"))?;
            let as_of = end_of(sessions, row);
            let tables = self.tables.cut(&ticker, as_of)?;
            let found = engine.run(tables.by_name()).await?;
            for ((feature, row), builder) in features.iter().zip(found).zip(&mut builders) {
                let value = row.and_then(|row| self.feature(feature, row, &tables));
                builder.append_option(value.map(|feature| feature.value));
            }
            progress.inc(1);
        }
        let names = features.iter().map(|feature| feature.name.clone());
        Ok(names.zip(builders.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef)).collect())
    }

    /// Computes the features a name had at a point in time, research ones included: name
    /// and value, in the catalogue's order. Undefined ones are left out.
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
        let features = if names.is_empty() { feature_catalogue()? } else { chosen(names)? };
        let engine = Engine::new(&self.tables, features).await?;
        let tables = self.tables.cut(ticker, as_of)?;
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
        let mut columns = LabelColumns::default();
        let mut stats = BTreeMap::new();
        for closes in self.closes().await? {
            let thresholds = config.thresholds(&closes.ticker);
            let rows = label_rows(&closes.values, config.scheme, thresholds);
            stats.insert(closes.ticker.clone(), count(&rows));
            columns.extend(&closes, &rows);
        }
        Ok((columns.finish()?, stats))
    }

    pub(crate) async fn closes(&self) -> Result<Vec<Closes>, LakeError> {
        let batch = self.engine.run_closes(self.all_tables()?).await?;
        let (tickers, times) = (texts(&batch, "ticker")?, micros(&batch, "known_at")?);
        let sessions = days(&batch)?;
        let closes = batch.column_by_name("close").ok_or_else(|| column_error("close"))?;
        let closes = closes.as_primitive::<Float64Type>();
        let mut found: BTreeMap<&str, Closes> = BTreeMap::new();
        for row in 0..batch.num_rows() {
            let text = tickers.value(row);
            if !found.contains_key(text) {
                let ticker = text.parse().map_err(|_| column_error("ticker"))?;
                let (sessions, known_at, values) = Default::default();
                found.insert(text, Closes { ticker, sessions, known_at, values });
            }
            if let Some(of_ticker) = found.get_mut(text) {
                of_ticker.sessions.push(sessions.value(row));
                of_ticker.known_at.push(times.value(row));
                of_ticker.values.push(closes.value(row));
            }
        }
        Ok(found.into_values().collect())
    }

    fn all_tables(&self) -> Result<BTreeMap<&'static str, RecordBatch>, LakeError> {
        let last = self.range().map(|(_, last)| last).unwrap_or_default();
        Ok(self.tables.whole(AsOf::end_of(last))?.by_name())
    }
}

/// Returns the features of these names, in the catalogue's order; all series of names
/// where none is named.
fn chosen(names: &[String]) -> Result<Vec<FeatureInfo>, LakeError> {
    for name in names {
        FeatureInfo::find(name)?;
    }
    let is_chosen = |feature: &FeatureInfo| {
        let is_series = feature.is_series() && feature.kind == Kind::Bars;
        if names.is_empty() { is_series } else { names.contains(&feature.name) }
    };
    Ok(feature_catalogue()?.into_iter().filter(is_chosen).collect())
}

/// Marks the rows a panel keeps.
fn rows_of(sessions: &RecordBatch, options: &PanelOptions) -> BooleanArray {
    let (Ok(tickers), Ok(days)) = (texts(sessions, "ticker"), days(sessions)) else {
        return BooleanArray::from(vec![false; sessions.num_rows()]);
    };
    let every = options.every.max(1);
    let (mut ticker, mut place) = ("", 0);
    let keep = (0..sessions.num_rows()).map(|row| {
        if tickers.value(row) != ticker {
            (ticker, place) = (tickers.value(row), 0);
        }
        let day = Date32Type::to_naive_date_opt(days.value(row)).unwrap_or_default();
        let is_inside = options.from.is_none_or(|from| day >= from)
            && options.to.is_none_or(|to| day <= to)
            && (options.tickers.is_empty() || options.tickers.iter().any(|t| t.as_str() == ticker));
        let is_kept = is_inside && place % every == 0;
        place += usize::from(is_inside);
        is_kept
    });
    BooleanArray::from(keep.collect::<Vec<bool>>())
}

/// Division by zero leaves an infinity where a value is undefined.
fn finite(column: &ArrayRef) -> ArrayRef {
    let values = column.as_primitive::<Float64Type>();
    Arc::new(values.iter().map(|v| v.filter(|v| v.is_finite())).collect::<Float64Array>())
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

#[derive(Default)]
struct LabelColumns {
    tickers: Vec<String>,
    sessions: Vec<i32>,
    known_at: Vec<Option<i64>>,
    rows: Vec<Option<LabelRow>>,
}

impl LabelColumns {
    fn extend(&mut self, closes: &Closes, rows: &[Option<LabelRow>]) {
        let horizon = HORIZONS[HORIZONS.len() - 1];
        for (i, row) in rows.iter().enumerate() {
            self.tickers.push(closes.ticker.to_string());
            self.sessions.push(closes.sessions[i]);
            self.known_at.push(closes.known_at.get(i + horizon).copied().filter(|_| row.is_some()));
            self.rows.push(*row);
        }
    }

    fn finish(self) -> Result<RecordBatch, LakeError> {
        let floats = |value: fn(&LabelRow) -> f64| -> ArrayRef {
            let values = self.rows.iter().map(|row| row.as_ref().map(value));
            Arc::new(values.collect::<Float64Array>())
        };
        let labels = self.rows.iter().map(|row| row.as_ref().map(|row| row.label.to_string()));
        let labels: ArrayRef = Arc::new(labels.collect::<StringViewArray>());
        let times = TimestampMicrosecondArray::from(self.known_at.clone()).with_timezone("UTC");
        let columns: Vec<(&str, ArrayRef, bool)> = vec![
            ("ticker", Arc::new(StringViewArray::from_iter_values(&self.tickers)), false),
            ("session", Arc::new(Date32Array::from(self.sessions.clone())), false),
            ("known_at", Arc::new(times), true),
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
    let dir = data_dir.join("derived").join(snapshot.id().to_string());
    std::fs::create_dir_all(&dir).map_err(LakeError::io("create", &dir))?;
    let temp = tempfile::tempdir_in(&dir).map_err(LakeError::io("create a directory in", &dir))?;
    let (partial, path) = (temp.path().join(name), dir.join(name));
    write_parquet(&partial, batch)?;
    std::fs::rename(&partial, &path).map_err(LakeError::io("write", &path))?;
    Ok(path)
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

/// Returns the columns that rows are joined on.
fn timed(tickers: &[&str], times: Vec<i64>) -> [(&'static str, ArrayRef); 2] {
    let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
    let tickers = StringViewArray::from_iter_values(tickers);
    [("ticker", Arc::new(tickers)), ("known_at", Arc::new(times))]
}

fn column_error(name: &str) -> LakeError {
    let reason = format!("column {name} is not what it must be");
    LakeError::BadSnapshot { path: "bars".into(), reason }
}
