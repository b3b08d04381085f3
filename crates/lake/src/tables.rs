//! A snapshot's tables in memory, and the one place where they are cut to what
//! was known.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use chrono::{DateTime, NaiveDate};
use datafusion::arrow::{
    array::{Array, AsArray, Float64Array, RecordBatch, TimestampMicrosecondArray},
    compute::{
        LexicographicalComparator, SortColumn, concat_batches, lexsort_to_indices, partition,
        take_record_batch,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType},
};
use domain::{AsOf, Ticker};

use crate::{
    Kind, LakeError,
    parallel::in_parallel,
    versions::{are_actions_regular, has_action_versions, is_regular, latest},
};

/// How long before the end of the `as_of` date a record became known, in days.
pub(crate) const AGE: &str = "age_days";
const DAY_MICROS: f64 = 86_400e6;

/// All records of a snapshot, per kind and ticker in order of `known_at`.
#[derive(Debug, Clone)]
pub(crate) struct Tables(BTreeMap<Kind, Table>);

#[derive(Debug, Clone)]
struct Table {
    batch: RecordBatch,
    /// Rows of each ticker; the empty ticker for kinds without.
    rows: BTreeMap<String, Range<usize>>,
    /// Tickers with sessions or actions that became known out of order.
    irregular: BTreeSet<String>,
    /// Tickers of which some row is replaced by a later one.
    versioned: BTreeSet<String>,
}

/// What was known of one ticker at one point in time: the only tables a query
/// ever sees, with the column [`AGE`].
#[derive(Debug, Clone)]
pub(crate) struct AsOfTables {
    as_of: AsOf,
    batches: BTreeMap<Kind, RecordBatch>,
}

impl Tables {
    /// Takes one batch per kind, in any order of rows.
    pub(crate) fn new(batches: BTreeMap<Kind, RecordBatch>) -> Result<Self, LakeError> {
        let tables = in_parallel(batches.into_iter().collect(), |(kind, batch)| {
            Ok::<_, LakeError>((kind, Table::new(kind, &batch)?))
        });
        Ok(Self(tables.into_iter().collect::<Result<_, _>>()?))
    }

    /// Returns the schema of each kind as queries see it.
    pub(crate) fn schemas(&self) -> BTreeMap<Kind, SchemaRef> {
        self.0.iter().map(|(kind, table)| (*kind, with_age_schema(&table.batch))).collect()
    }

    /// Returns the tickers that have records of a kind.
    pub(crate) fn tickers(&self, kind: Kind) -> Vec<&str> {
        self.0.get(&kind).map(|t| t.rows.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// Returns all records of a kind and ticker, in order of `known_at`.
    pub(crate) fn rows(&self, kind: Kind, ticker: &str) -> Option<RecordBatch> {
        let table = self.0.get(&kind)?;
        let rows = table.rows.get(ticker)?;
        Some(table.batch.slice(rows.start, rows.len()))
    }

    /// Returns all records, for series that are computed over all times at once. The
    /// ages are those at the end of `as_of`.
    pub(crate) fn whole(&self, as_of: AsOf) -> Result<AsOfTables, LakeError> {
        let last = as_of.instant().timestamp_micros();
        let batches =
            self.0.iter().map(|(kind, t)| Ok((*kind, with_age(&t.latest(*kind)?, last)?)));
        Ok(AsOfTables { as_of, batches: batches.collect::<Result<_, LakeError>>()? })
    }

    /// Tells whether the history of a ticker can be computed over all times at once.
    pub(crate) fn is_regular(&self, ticker: &str) -> bool {
        let has = |kind: Kind, key: &str| {
            self.0.get(&kind).is_some_and(|table| table.irregular.contains(key))
        };
        !has(Kind::Bars, ticker) && !has(Kind::Actions, ticker) && !has(Kind::Index, "")
    }

    /// Returns when the latest record of a kind, of whatever name, became known until the
    /// end of `as_of`; none where there was none.
    pub(crate) fn last_known(&self, kind: Kind, as_of: AsOf) -> Option<i64> {
        let table = self.0.get(&kind)?;
        let (times, last) = (known_at(&table.batch).values(), as_of.instant().timestamp_micros());
        let latest_of = |rows: &Range<usize>| {
            let times = &times[rows.clone()];
            times.get(times.partition_point(|&t| t <= last).checked_sub(1)?).copied()
        };
        table.rows.values().filter_map(latest_of).max()
    }

    /// Returns the table of a kind as it is stored.
    pub(crate) fn batch(&self, kind: Kind) -> &RecordBatch {
        static NONE: std::sync::LazyLock<RecordBatch> =
            std::sync::LazyLock::new(|| RecordBatch::new_empty(Arc::new(Schema::empty())));
        self.0.get(&kind).map_or(&NONE, |table| &table.batch)
    }

    /// Returns the dates on which records of these kinds became known about a ticker or
    /// the market, in order.
    pub(crate) fn dates_of(&self, kinds: &BTreeSet<Kind>, ticker: &Ticker) -> BTreeSet<NaiveDate> {
        let mut dates = BTreeSet::new();
        for kind in kinds {
            let key = if kind.has_ticker() { ticker.as_str() } else { "" };
            let Some(rows) = self.rows(*kind, key) else { continue };
            let date = |time: &i64| DateTime::from_timestamp_micros(*time).map(|t| t.date_naive());
            dates.extend(known_at(&rows).values().iter().filter_map(date));
        }
        dates
    }

    /// Returns all records of a ticker and of the market, whenever they became known. The
    /// ages are those at the end of `as_of`.
    pub(crate) fn of_ticker(&self, ticker: &Ticker, as_of: AsOf) -> Result<AsOfTables, LakeError> {
        self.select(ticker, as_of, |_| true)
    }

    /// Returns the records of a kind among those of [`Tables::of_ticker`]; the ticker is empty
    /// for a kind without.
    #[cfg(feature = "ballista")]
    pub(crate) fn of_kind(
        &self,
        kind: Kind,
        ticker: &str,
        as_of: AsOf,
    ) -> Result<Option<RecordBatch>, LakeError> {
        let last = as_of.instant().timestamp_micros();
        self.0.get(&kind).map(|table| table.select(kind, ticker, last, |_| true)).transpose()
    }

    /// Cuts every table to the ticker's (or the market's) records with
    /// `known_at <= as_of`. Copies no column.
    pub(crate) fn cut(&self, ticker: &Ticker, as_of: AsOf) -> Result<AsOfTables, LakeError> {
        let last = as_of.instant().timestamp_micros();
        self.select(ticker, as_of, |known_at| known_at <= last)
    }

    /// Takes the first of a ticker's records, in order of `known_at`, that are wanted.
    fn select(
        &self,
        ticker: &Ticker,
        as_of: AsOf,
        is_wanted: impl Fn(i64) -> bool,
    ) -> Result<AsOfTables, LakeError> {
        let last = as_of.instant().timestamp_micros();
        let mut batches = BTreeMap::new();
        for (&kind, table) in &self.0 {
            let key = if kind.has_ticker() { ticker.as_str() } else { "" };
            batches.insert(kind, table.select(kind, key, last, &is_wanted)?);
        }
        Ok(AsOfTables { as_of, batches })
    }
}

impl AsOfTables {
    pub(crate) fn as_of(&self) -> AsOf {
        self.as_of
    }

    pub(crate) fn get(&self, kind: Kind) -> Option<&RecordBatch> {
        self.batches.get(&kind)
    }

    /// Returns the tables by the names queries use.
    pub(crate) fn by_name(&self) -> BTreeMap<&'static str, RecordBatch> {
        self.batches.iter().map(|(kind, batch)| (kind.table(), batch.clone())).collect()
    }
}

impl Table {
    fn new(kind: Kind, batch: &RecordBatch) -> Result<Self, LakeError> {
        let batch = sorted(kind, batch)?;
        let rows: BTreeMap<_, _> = runs(kind, &batch)?.into_iter().collect();
        let is_irregular = |rows: &Range<usize>| {
            let rows = batch.slice(rows.start, rows.len());
            match kind {
                Kind::Actions => !are_actions_regular(&rows),
                kind => has_sessions(kind) && !is_regular(&rows),
            }
        };
        let has_versions =
            |rows: &Range<usize>| has_action_versions(&batch.slice(rows.start, rows.len()));
        let of = |is_so: &dyn Fn(&Range<usize>) -> bool| -> BTreeSet<String> {
            let found = rows.iter().filter(|(_, rows)| is_so(rows));
            found.map(|(ticker, _)| ticker.clone()).collect()
        };
        let irregular = of(&is_irregular);
        let versioned = if kind == Kind::Actions { of(&has_versions) } else { irregular.clone() };
        Ok(Self { batch, rows, irregular, versioned })
    }

    /// Takes the first of a ticker's records, in order of `known_at`, that are wanted; of each
    /// session and action the latest version among them. Ages are counted to the time `last`.
    fn select(
        &self,
        kind: Kind,
        key: &str,
        last: i64,
        is_wanted: impl Fn(i64) -> bool,
    ) -> Result<RecordBatch, LakeError> {
        let rows = self.rows.get(key).cloned().unwrap_or(0..0);
        let times = known_at(&self.batch).values();
        let known = times[rows.clone()].partition_point(|&time| is_wanted(time));
        let mut cut = self.batch.slice(rows.start, known);
        if self.versioned.contains(key) {
            cut = latest(kind, &cut)?;
        }
        with_age(&cut, last)
    }

    /// Returns the rows with the latest version alone of each session and action.
    fn latest(&self, kind: Kind) -> Result<RecordBatch, LakeError> {
        if self.versioned.is_empty() {
            return Ok(self.batch.clone());
        }
        let parts =
            self.rows.values().map(|rows| latest(kind, &self.batch.slice(rows.start, rows.len())));
        let parts = parts.collect::<Result<Vec<_>, LakeError>>()?;
        Ok(concat_batches(&self.batch.schema(), &parts)?)
    }
}

/// Returns the runs of rows of one ticker; all rows under the empty ticker for kinds
/// without.
pub(crate) fn runs(
    kind: Kind,
    batch: &RecordBatch,
) -> Result<Vec<(String, Range<usize>)>, LakeError> {
    if batch.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let tickers = batch.column_by_name("ticker").filter(|_| kind.has_ticker());
    let Some(tickers) = tickers else {
        return Ok(vec![(String::new(), 0..batch.num_rows())]);
    };
    let ranges = partition(std::slice::from_ref(tickers))?.ranges();
    let tickers = tickers.as_string_view();
    Ok(ranges.into_iter().map(|rows| (tickers.value(rows.start).to_owned(), rows)).collect())
}

const fn has_sessions(kind: Kind) -> bool {
    matches!(kind, Kind::Bars | Kind::Index)
}

/// Returns the rows by ticker, time and id: the order of a snapshot's files and of
/// its tables. Rows that stand in it already are not copied.
pub(crate) fn sorted(kind: Kind, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
    let has_times = batch.column_by_name("known_at").is_some_and(|c| is_time(c.data_type()));
    let keys: &[&str] = if kind.has_ticker() {
        &["ticker", "known_at", "record_id"]
    } else {
        &["known_at", "record_id"]
    };
    let mut columns = Vec::new();
    for key in keys {
        let Some(values) = batch.column_by_name(key).filter(|_| has_times) else {
            let path = kind.table().into();
            let reason = format!("it lacks the column {key} or its times are not UTC microseconds");
            return Err(LakeError::BadSnapshot { path, reason });
        };
        columns.push(SortColumn { values: values.clone(), options: None });
    }
    let order = LexicographicalComparator::try_new(&columns)?;
    let times = known_at(batch).values();
    let tickers = batch.column_by_name("ticker").and_then(|column| column.as_string_view_opt());
    let tickers = tickers.map(|tickers| tickers.views());
    // Nearly all rows are of the name before and later, which is seen without a comparator.
    let is_of_same = |row: usize| tickers.is_some_and(|views| views[row - 1] == views[row]);
    let is_later =
        |row: usize| (!kind.has_ticker() || is_of_same(row)) && times[row - 1] < times[row];
    if (1..batch.num_rows()).all(|row| is_later(row) || order.compare(row - 1, row).is_le()) {
        return Ok(batch.clone());
    }
    Ok(take_record_batch(batch, &lexsort_to_indices(&columns, None)?)?)
}

fn is_time(data_type: &DataType) -> bool {
    *data_type == crate::records::time_type()
}

/// Returns the column of knowledge times, whose type `Table::new` has checked.
fn known_at(batch: &RecordBatch) -> &TimestampMicrosecondArray {
    static EMPTY: std::sync::LazyLock<TimestampMicrosecondArray> =
        std::sync::LazyLock::new(|| TimestampMicrosecondArray::from(Vec::<i64>::new()));
    let column = batch.column_by_name("known_at");
    column.map_or(&EMPTY, |c| c.as_primitive::<TimestampMicrosecondType>())
}

pub(crate) fn with_age_schema(batch: &RecordBatch) -> SchemaRef {
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(AGE, DataType::Float64, false)));
    Arc::new(Schema::new(fields))
}

fn with_age(batch: &RecordBatch, last: i64) -> Result<RecordBatch, LakeError> {
    let ages = known_at(batch).values().iter().map(|t| (last - t) as f64 / DAY_MICROS);
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(Float64Array::from_iter_values(ages)));
    Ok(RecordBatch::try_new(with_age_schema(batch), columns)?)
}
