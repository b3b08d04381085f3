//! Panels: the values of features at every session of names.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use chrono::NaiveDate;
use datafusion::arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch,
        TimestampMicrosecondArray, UInt64Array,
    },
    buffer::{BooleanBuffer, NullBuffer},
    compute::{concat, filter_record_batch, take_record_batch},
    datatypes::{DataType, Date32Type, Field, Float64Type, Schema, SchemaRef},
};
use domain::Ticker;
use indicatif::ProgressBar;

use super::{
    chosen, column_error,
    columns::{Means, Records},
    days, end_of, micros, positions, texts,
};
use crate::{
    FeatureInfo, Kind, LakeError, Snapshot,
    engine::Engine,
    parallel::{in_parallel, run_now},
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
/// each feature, in order of ticker and session; at points `ticker`, `as_of` and the features,
/// in the order of the points. An undefined value is null. `known_at` is that of the session's
/// bar where all features are series of bars, and else the end of the session's day, at which
/// its row is a read.
#[derive(Debug, Clone)]
pub struct Panel {
    /// The rows.
    pub batch: RecordBatch,
    /// The features, in the order of their columns.
    pub features: Vec<FeatureInfo>,
}

impl Panel {
    /// Returns the names of the features that have no value in any row.
    #[must_use]
    pub fn empty_features(&self) -> Vec<&str> {
        // Features are the last columns.
        let keys = self.batch.num_columns().saturating_sub(self.features.len());
        let columns = self.features.iter().zip(&self.batch.columns()[keys..]);
        let empty = columns.filter(|(_, column)| column.null_count() == column.len());
        empty.map(|(feature, _)| &*feature.name).collect()
    }
}

/// Where the queries of a panel run: in this process, or on a cluster. The bits are the same.
#[async_trait]
pub(crate) trait Place: Sync {
    /// Runs the series of an engine over all records of the names of a panel, or the closes of
    /// names where it has no such series. Returns the rows that the panel keeps, a name after
    /// another, and at least one batch.
    async fn series(
        &self,
        snapshot: &Snapshot,
        engine: &Engine,
        options: &PanelOptions,
        progress: &ProgressBar,
    ) -> Result<Vec<RecordBatch>, LakeError>;

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
    async fn series(
        &self,
        snapshot: &Snapshot,
        engine: &Engine,
        options: &PanelOptions,
        progress: &ProgressBar,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        snapshot.over_names(&options.tickers, progress, |tables| {
            let part = match run_now(engine.run_series(Kind::Bars, tables.by_name()))? {
                Some(series) => series,
                None => run_now(engine.run_closes(tables.by_name()))?,
            };
            kept(part, options)
        })
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
    /// Computes features at every session. All series take one query for each name; a feature
    /// that changes with the arrival of records alone takes a read for each arrival, any
    /// other one for each row. `progress` is told of each.
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
        let engine = self.research(features.clone()).await?;
        let parts = place.series(self, &engine, options, progress).await?;
        let schema = parts.first().map(RecordBatch::schema).ok_or_else(|| column_error("close"))?;
        let sessions = joined(&schema, &parts)?;
        let keys = ["ticker", "session", "event_time", "known_at"];
        let keys = sessions.project(&positions(&sessions, &keys)?)?;
        let mut columns = Columns::new();
        for feature in features.iter().filter(|f| f.is_series() && f.kind == Kind::Bars) {
            let column = sessions.column_by_name(&feature.name).cloned();
            columns.extend(column.map(|column| (feature.name.clone(), column)));
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
        if features.iter().any(|feature| !feature.is_series() || feature.kind != Kind::Bars) {
            arrays[keys.schema().index_of("known_at")?] = known_when_read(&keys)?;
        }
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
        let names = self.tables.tickers(Kind::Bars).into_iter();
        let irregular: BTreeSet<&str> = names.filter(|n| !self.tables.is_regular(n)).collect();
        if irregular.is_empty() || columns.is_empty() {
            return Ok(());
        }
        let tickers = texts(keys, "ticker")?;
        let is_irregular = |row: &usize| irregular.contains(tickers.value(*row));
        let rows: Vec<usize> = (0..keys.num_rows()).filter(is_irregular).collect();
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

/// Returns when all of a row that rests on more than bars is known at the latest: at the end of
/// the day it is a read of, since other records arrive after the close as well.
fn known_when_read(keys: &RecordBatch) -> Result<ArrayRef, LakeError> {
    let sessions = days(keys)?;
    let known = micros(keys, "known_at")?.values().iter().enumerate();
    let known = known.map(|(row, known)| {
        let read = end_of(sessions, row).instant().timestamp_micros();
        read.max(*known)
    });
    let known: TimestampMicrosecondArray = known.collect::<Vec<i64>>().into();
    Ok(Arc::new(known.with_timezone("UTC")))
}

/// Returns the rows of one name that a panel keeps.
pub(crate) fn kept(
    sessions: RecordBatch,
    options: &PanelOptions,
) -> Result<RecordBatch, LakeError> {
    let every = options.every.max(1);
    if (options.from, options.to, every) == (None, None, 1) {
        return Ok(sessions);
    }
    let mut place = 0;
    let keep = days(&sessions)?.values().iter().map(|&day| {
        let day = Date32Type::to_naive_date_opt(day).unwrap_or_default();
        let is_inside =
            options.from.is_none_or(|from| day >= from) && options.to.is_none_or(|to| day <= to);
        let is_kept = is_inside && place % every == 0;
        place += usize::from(is_inside);
        is_kept
    });
    let keep = BooleanArray::from(keep.collect::<Vec<bool>>());
    Ok(filter_record_batch(&sessions, &keep)?)
}

/// Joins the parts of a panel, each column on its own, on all cores. A value that is not
/// finite becomes null.
fn joined(schema: &SchemaRef, parts: &[RecordBatch]) -> Result<RecordBatch, LakeError> {
    let columns = in_parallel((0..schema.fields().len()).collect(), |column| {
        let arrays: Vec<&dyn Array> = parts.iter().map(|part| &**part.column(column)).collect();
        let joined = concat(&arrays)?;
        Ok::<_, LakeError>(if *joined.data_type() == DataType::Float64 {
            finite(&joined)
        } else {
            joined
        })
    });
    let columns = columns.into_iter().collect::<Result<Vec<_>, _>>()?;
    // What was not finite is null now.
    let fields = schema.fields().iter().zip(&columns).map(|(field, column)| {
        field.as_ref().clone().with_nullable(field.is_nullable() || column.null_count() > 0)
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// Division by zero leaves an infinity where a value is undefined.
fn finite(column: &ArrayRef) -> ArrayRef {
    let column = column.as_primitive::<Float64Type>();
    let values = column.values();
    let is_finite = BooleanBuffer::collect_bool(values.len(), |row| values[row].is_finite());
    let defined = NullBuffer::union(column.nulls(), Some(&NullBuffer::new(is_finite)));
    let defined = defined.filter(|defined| defined.null_count() > 0);
    Arc::new(Float64Array::new(values.clone(), defined))
}
