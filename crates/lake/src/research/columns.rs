//! The values of features at given rows of names and sessions.

use std::sync::Arc;

use chrono::NaiveDate;
use datafusion::arrow::{
    array::{
        ArrayRef, AsArray, Float64Array, Float64Builder, RecordBatch, StringViewArray,
        TimestampMicrosecondArray, UInt64Array,
    },
    datatypes::UInt64Type,
};
use domain::{AsOf, Ticker};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::{column_error, days, end_of, texts};
use crate::{
    FeatureInfo, LakeError, Manifest,
    asof::as_of_join,
    engine::{Engine, FeatureRow},
    parallel::{in_parallel, run_now},
    read::{provenance, times},
    tables::Tables,
};

/// How the values of features at rows are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Means {
    /// By a read on each day on which records of a name arrived, joined to its rows: for
    /// features that change with the arrival of records alone.
    Arrivals,
    /// By a read at the end of the day of each row.
    Reads,
}

/// What values are computed from: records, and what their manifest says of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Records<'s> {
    pub(crate) manifest: &'s Manifest,
    pub(crate) tables: &'s Tables,
}

impl Records<'_> {
    /// Computes a column for each feature: its value at the `ticker` and `session` of each
    /// row, null where it has none. By arrivals, the rows are in order of ticker and session.
    /// What is done is told to `progress`.
    pub(crate) async fn columns(
        &self,
        features: &[FeatureInfo],
        means: Means,
        rows: &RecordBatch,
        progress: &ProgressBar,
    ) -> Result<Vec<ArrayRef>, LakeError> {
        let engine = Engine::new(self.tables, features.to_vec()).await?;
        match means {
            Means::Arrivals => self.by_arrivals(&engine, rows, progress).await,
            Means::Reads => self.by_reads(&engine, rows, progress),
        }
    }

    async fn by_arrivals(
        &self,
        engine: &Engine,
        rows: &RecordBatch,
        progress: &ProgressBar,
    ) -> Result<Vec<ArrayRef>, LakeError> {
        let features = engine.features();
        let kinds = features.iter().filter_map(|feature| engine.events_of(&feature.name));
        let kinds = kinds.flatten().collect();
        let (mut tickers, mut ends, mut found) = (Vec::new(), Vec::new(), Vec::new());
        let of_rows: Vec<&str> = texts(rows, "ticker")?.iter().flatten().collect();
        let mut of_names = of_rows.clone();
        of_names.dedup();
        progress.inc_length(of_names.len() as u64);
        for text in of_names {
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
        let states = timed(&tickers, ends).into_iter().chain([("state", states)]);
        let states = RecordBatch::try_from_iter(states)?;
        let sessions = days(rows)?;
        let ends =
            (0..rows.num_rows()).map(|row| end_of(sessions, row).instant().timestamp_micros());
        let timed_rows = RecordBatch::try_from_iter(timed(&of_rows, ends.collect()))?;
        let joined = as_of_join(&timed_rows, &states, "ticker", None)?;
        let states = joined.column_by_name("state").ok_or_else(|| column_error("state"))?;
        let states = states.as_primitive::<UInt64Type>();
        let column = |(i, feature): (usize, &FeatureInfo)| {
            let value = |(row, state): (usize, Option<u64>)| {
                let found = found.get(usize::try_from(state?).ok()?)?[i].as_ref()?;
                times(feature, found, end_of(sessions, row)).map(|_| found.value)
            };
            Arc::new(states.iter().enumerate().map(value).collect::<Float64Array>()) as ArrayRef
        };
        Ok(features.iter().enumerate().map(column).collect())
    }

    fn by_reads(
        &self,
        engine: &Engine,
        rows: &RecordBatch,
        progress: &ProgressBar,
    ) -> Result<Vec<ArrayRef>, LakeError> {
        let (tickers, sessions) = (texts(rows, "ticker")?, days(rows)?);
        let features = engine.features();
        let mut builders: Vec<Float64Builder> =
            features.iter().map(|_| Float64Builder::with_capacity(rows.num_rows())).collect();
        progress.inc_length(rows.num_rows() as u64);
        let reads = in_parallel((0..rows.num_rows()).collect(), |row| {
            let ticker: Ticker = tickers.value(row).parse().map_err(|_| column_error("ticker"))?;
            let as_of = end_of(sessions, row);
            let tables = self.tables.cut(&ticker, as_of)?;
            let found = features.iter().zip(run_now(engine.run(tables.by_name()))?);
            let value = |(feature, found): (&FeatureInfo, Option<FeatureRow>)| {
                let found = found?;
                provenance(self.manifest, feature, &found, as_of).map(|_| found.value)
            };
            let values: Vec<Option<f64>> = found.map(value).collect();
            progress.inc(1);
            Ok::<_, LakeError>(values)
        });
        for values in reads {
            let values = values?;
            builders.iter_mut().zip(values).for_each(|(builder, v)| builder.append_option(v));
        }
        Ok(builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect())
    }
}

/// Returns the columns that rows are joined on.
fn timed(tickers: &[&str], times: Vec<i64>) -> [(&'static str, ArrayRef); 2] {
    let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
    let tickers = StringViewArray::from_iter_values(tickers);
    [("ticker", Arc::new(tickers)), ("known_at", Arc::new(times))]
}
