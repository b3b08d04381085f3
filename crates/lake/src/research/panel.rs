//! Panels: the values of features at every session of names.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use chrono::NaiveDate;
use datafusion::arrow::{
    array::{ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, UInt64Array},
    compute::{filter_record_batch, take_record_batch},
    datatypes::{DataType, Date32Type, Field, Float64Type, Schema},
};
use domain::Ticker;
use indicatif::ProgressBar;

use super::{
    chosen,
    columns::{Means, Records},
    days, positions, texts,
};
use crate::{FeatureInfo, Kind, LakeError, Snapshot, engine::Engine};

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

/// Where the queries of a panel run: in this process, or on a cluster. The bits are the same.
#[async_trait]
pub(crate) trait Place: Sync {
    /// Runs the series of names of an engine over all records, or the closes of names where
    /// it has no such series. The rows are in order of ticker and session.
    async fn series(&self, snapshot: &Snapshot, engine: &Engine) -> Result<RecordBatch, LakeError>;

    /// As [`Records::columns`].
    async fn columns(
        &self,
        snapshot: &Snapshot,
        features: &[FeatureInfo],
        means: Means,
        rows: &RecordBatch,
        progress: &ProgressBar,
    ) -> Result<Vec<ArrayRef>, LakeError>;
}

/// Values of features by name.
type Columns = BTreeMap<String, ArrayRef>;

/// This process.
struct Here;

#[async_trait]
impl Place for Here {
    async fn series(&self, snapshot: &Snapshot, engine: &Engine) -> Result<RecordBatch, LakeError> {
        match engine.run_series(Kind::Bars, snapshot.all_tables()?).await? {
            Some(series) => Ok(series),
            None => engine.run_closes(snapshot.all_tables()?).await,
        }
    }

    async fn columns(
        &self,
        snapshot: &Snapshot,
        features: &[FeatureInfo],
        means: Means,
        rows: &RecordBatch,
        progress: &ProgressBar,
    ) -> Result<Vec<ArrayRef>, LakeError> {
        snapshot.records().columns(features, means, rows, progress).await
    }
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
        self.panel_at(&Here, options, progress).await
    }

    /// Computes a panel somewhere.
    pub(crate) async fn panel_at(
        &self,
        place: &dyn Place,
        options: &PanelOptions,
        progress: &ProgressBar,
    ) -> Result<Panel, LakeError> {
        let features = chosen(&options.features)?;
        for ticker in &options.tickers {
            self.check_ticker(ticker)?;
        }
        let engine = Engine::new(&self.tables, features.clone()).await?;
        let sessions = place.series(self, &engine).await?;
        let sessions = filter_record_batch(&sessions, &rows_of(&sessions, options))?;
        let keys = ["ticker", "session", "event_time", "known_at"];
        let keys = sessions.project(&positions(&sessions, &keys)?)?;
        let mut columns = Columns::new();
        for feature in features.iter().filter(|f| f.is_series() && f.kind == Kind::Bars) {
            let column = sessions.column_by_name(&feature.name).cloned();
            columns.extend(column.map(|column| (feature.name.clone(), finite(&column))));
        }
        self.mend_irregular(place, &features, &keys, &mut columns, progress).await?;
        let others = features.iter().filter(|feature| !columns.contains_key(&feature.name));
        let (events, others): (Vec<FeatureInfo>, Vec<FeatureInfo>) =
            others.cloned().partition(|feature| engine.events_of(&feature.name).is_some());
        for (features, means) in [(events, Means::Arrivals), (others, Means::Reads)] {
            if !features.is_empty() {
                let found = place.columns(self, &features, means, &keys, progress).await?;
                columns.extend(features.into_iter().map(|feature| feature.name).zip(found));
            }
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
        place: &dyn Place,
        features: &[FeatureInfo],
        keys: &RecordBatch,
        columns: &mut Columns,
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
        let found = place.columns(self, &series, Means::Reads, &irregular, progress).await?;
        for (feature, values) in series.iter().zip(found) {
            if let Some(column) = columns.get_mut(&feature.name) {
                let mut merged: Vec<Option<f64>> =
                    column.as_primitive::<Float64Type>().iter().collect();
                let values = values.as_primitive::<Float64Type>();
                rows.iter().zip(values).for_each(|(row, value)| merged[*row] = value);
                *column = Arc::new(merged.into_iter().collect::<Float64Array>());
            }
        }
        Ok(())
    }

    pub(crate) fn records(&self) -> Records<'_> {
        Records { manifest: &self.manifest, tables: &self.tables }
    }
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
