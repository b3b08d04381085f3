//! The records of a snapshot as plain rows.

use std::collections::BTreeMap;

use datafusion::arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use domain::{AsOf, Ticker};
use lake::{Kind, Snapshot, SnapshotStore};

use crate::support::data_dir;

const DAY: f64 = 86_400e6;

/// What all records have, and the rest.
#[derive(Clone)]
pub(super) struct Row<T> {
    pub(super) ticker: String,
    pub(super) id: String,
    /// Microseconds since 1970.
    pub(super) known: i64,
    pub(super) of: T,
}

#[derive(Clone)]
pub(super) struct Bar {
    pub(super) session: i32,
    pub(super) close: f64,
    pub(super) is_raw: bool,
}

#[derive(Clone)]
pub(super) struct Split {
    pub(super) ex_date: i32,
    pub(super) ratio: f64,
}

#[derive(Clone)]
pub(super) struct Fact {
    pub(super) concept: String,
    pub(super) start: Option<i32>,
    pub(super) end: i32,
    pub(super) value: f64,
    pub(super) accession: String,
    pub(super) is_annual: bool,
    pub(super) filed: i32,
}

#[derive(Clone)]
pub(super) struct Trade {
    pub(super) owner: String,
    pub(super) relationship: String,
    pub(super) code: String,
    pub(super) shares: f64,
    pub(super) price: Option<f64>,
}

#[derive(Clone)]
pub(super) struct Estimate {
    pub(super) metric: String,
    pub(super) end: Option<i32>,
    pub(super) broker: String,
    pub(super) mean: f64,
    pub(super) range: Option<f64>,
    pub(super) analysts: i64,
}

#[derive(Clone)]
pub(super) struct Observation {
    pub(super) series: String,
    pub(super) end: i32,
    pub(super) value: f64,
}

/// All records, or those of a ticker that were known at a point in time.
pub(super) struct World {
    pub(super) bars: Vec<Row<Bar>>,
    pub(super) splits: Vec<Row<Split>>,
    pub(super) facts: Vec<Row<Fact>>,
    pub(super) trades: Vec<Row<Trade>>,
    /// Tones.
    pub(super) news: Vec<Row<f64>>,
    pub(super) estimates: Vec<Row<Estimate>>,
    pub(super) macros: Vec<Row<Observation>>,
    /// End of the point in time; the latest instant where nothing is cut.
    pub(super) last: i64,
}

impl World {
    pub(super) async fn load(snapshot: &Snapshot) -> Self {
        let store = SnapshotStore::local(&data_dir());
        let batches = store.batches(snapshot.manifest()).await.unwrap();
        let bars = rows(&batches, Kind::Bars, |c, i| Bar {
            session: c.day("session", i).unwrap(),
            close: c.number("close", i).unwrap(),
            is_raw: c.text("price_basis", i) == "raw",
        });
        let mut splits = rows(&batches, Kind::Actions, |c, i| Split {
            ex_date: c.day("ex_date", i).unwrap(),
            ratio: if c.text("action", i) == "split" { c.number("value", i).unwrap() } else { 1.0 },
        });
        splits.retain(|row| row.of.ratio != 1.0);
        let facts = rows(&batches, Kind::Facts, |c, i| Fact {
            concept: c.text("concept", i),
            start: c.day("period_start", i),
            end: c.day("period_end", i).unwrap(),
            value: c.number("value", i).unwrap(),
            accession: c.text("accession", i),
            is_annual: c.text("form", i).starts_with("10-K"),
            filed: c.day("filed", i).unwrap(),
        });
        let trades = rows(&batches, Kind::Insider, |c, i| Trade {
            owner: c.text("owner_cik", i),
            relationship: c.text("owner_relationship", i),
            code: c.text("code", i),
            shares: c.number("shares", i).unwrap(),
            price: c.number("price", i),
        });
        let estimates = rows(&batches, Kind::Estimates, |c, i| Estimate {
            metric: c.text("metric", i),
            end: c.day("period_end", i),
            broker: c.text("broker", i),
            mean: c.number("mean", i).unwrap(),
            range: c.number("high", i).zip(c.number("low", i)).map(|(high, low)| high - low),
            analysts: c.integer("analysts", i),
        });
        let macros = rows(&batches, Kind::Macro, |c, i| Observation {
            series: c.text("series", i),
            end: c.day("period_end", i).unwrap(),
            value: c.number("value", i).unwrap(),
        });
        let news = rows(&batches, Kind::News, |c, i| c.number("tone", i).unwrap());
        Self { bars, splits, facts, trades, news, estimates, macros, last: i64::MAX }
    }

    /// Returns what was known of a ticker.
    pub(super) fn at(&self, ticker: &Ticker, as_of: AsOf) -> Self {
        let last = as_of.instant().timestamp_micros();
        Self {
            bars: known(&self.bars, ticker, last),
            splits: known(&self.splits, ticker, last),
            facts: known(&self.facts, ticker, last),
            trades: known(&self.trades, ticker, last),
            news: known(&self.news, ticker, last),
            estimates: known(&self.estimates, ticker, last),
            macros: known(&self.macros, ticker, last),
            last,
        }
    }

    /// Returns how many days ago a record became known.
    pub(super) fn age<T>(&self, row: &Row<T>) -> f64 {
        (self.last - row.known) as f64 / DAY
    }

    /// Returns the date, in days since 1970.
    pub(super) fn today(&self) -> i32 {
        (self.last as f64 / DAY).floor() as i32
    }
}

fn known<T: Clone>(rows: &[Row<T>], ticker: &Ticker, last: i64) -> Vec<Row<T>> {
    let is_of = |row: &&Row<T>| row.ticker.is_empty() || row.ticker == ticker.as_str();
    rows.iter().filter(is_of).filter(|row| row.known <= last).cloned().collect()
}

struct Columns<'a>(&'a RecordBatch);

impl Columns<'_> {
    fn column(&self, name: &str) -> &dyn Array {
        self.0.column_by_name(name).unwrap()
    }

    fn text(&self, name: &str, row: usize) -> String {
        self.column(name).as_string_view().value(row).to_owned()
    }

    fn number(&self, name: &str, row: usize) -> Option<f64> {
        let column = self.column(name).as_primitive::<Float64Type>();
        column.is_valid(row).then(|| column.value(row))
    }

    fn integer(&self, name: &str, row: usize) -> i64 {
        self.column(name).as_primitive::<Int64Type>().value(row)
    }

    fn day(&self, name: &str, row: usize) -> Option<i32> {
        let column = self.column(name).as_primitive::<Date32Type>();
        column.is_valid(row).then(|| column.value(row))
    }
}

fn rows<T>(
    batches: &BTreeMap<Kind, RecordBatch>,
    kind: Kind,
    make: impl Fn(&Columns<'_>, usize) -> T,
) -> Vec<Row<T>> {
    let Some(batch) = batches.get(&kind) else { return Vec::new() };
    let columns = Columns(batch);
    let times = columns.column("known_at").as_primitive::<TimestampMicrosecondType>();
    let row = |i: usize| Row {
        ticker: if kind.has_ticker() { columns.text("ticker", i) } else { String::new() },
        id: columns.text("record_id", i),
        known: times.value(i),
        of: make(&columns, i),
    };
    (0..batch.num_rows()).map(row).collect()
}
