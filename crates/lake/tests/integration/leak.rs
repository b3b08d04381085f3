//! The leak proof: whatever happens to records with `known_at > as_of`, in
//! every table, a read does not move.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::arrow::{
    array::{
        Array, ArrayRef, AsArray, Date32Array, Float64Array, RecordBatch, StringViewArray,
        TimestampMicrosecondArray, UInt32Array,
    },
    compute::{concat_batches, take_record_batch},
    datatypes::{DataType, Date32Type, Float64Type, TimestampMicrosecondType},
};
use domain::{AsOf, Ticker};
use lake::{Kind, Snapshot, current_dir, read_parquet};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::support;

type Batches = BTreeMap<Kind, RecordBatch>;

const DAY: i64 = 86_400_000_000;

/// A small generator, so that a failing seed can be replayed anywhere (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

fn known_at(batch: &RecordBatch) -> &TimestampMicrosecondArray {
    batch.column_by_name("known_at").unwrap().as_primitive::<TimestampMicrosecondType>()
}

fn rows(batch: &RecordBatch, keep: impl Fn(i64) -> bool) -> Vec<u32> {
    let times = known_at(batch).values().iter().enumerate();
    times.filter(|(_, t)| keep(**t)).map(|(row, _)| row as u32).collect()
}

/// Replaces every later record: some are deleted, some doubled, all changed in
/// every column, new ones come in (also for names that had none), some known
/// one microsecond after `as_of`. Earlier records change their order only.
fn perturb(batch: &RecordBatch, ticker: &Ticker, as_of: AsOf, random: &mut Random) -> RecordBatch {
    let last = as_of.instant().timestamp_micros();
    let mut known = rows(batch, |t| t <= last);
    let turn = random.below(known.len());
    known.rotate_left(turn);
    let future = rows(batch, |t| t > last);
    // A table without later records gets some made of earlier ones.
    let pool = if future.is_empty() { known.clone() } else { future };
    if pool.is_empty() {
        return batch.clone();
    }
    let count = 20 + random.below(400);
    let picked: Vec<u32> = (0..count).map(|_| pool[random.below(pool.len())]).collect();
    let later = take_record_batch(batch, &UInt32Array::from(picked)).unwrap();
    let schema = later.schema();
    let columns = schema.fields().iter().zip(later.columns());
    let columns =
        columns.map(|(field, column)| change(field.name(), column, ticker, last, random)).collect();
    let later = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let known = take_record_batch(batch, &UInt32Array::from(known)).unwrap();
    concat_batches(&schema, [&later, &known]).unwrap()
}

fn change(
    name: &str,
    column: &ArrayRef,
    ticker: &Ticker,
    last: i64,
    random: &mut Random,
) -> ArrayRef {
    let rows = 0..column.len();
    match (name, column.data_type()) {
        ("known_at", _) => {
            let times = rows.map(|row| {
                last + 1 + if row == 0 { 0 } else { random.below(900) as i64 * DAY / 3 }
            });
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
        }
        (_, DataType::Timestamp(..)) => {
            let times = rows.map(|_| last + (random.below(800) as i64 - 400) * DAY);
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
        }
        ("ticker", _) => {
            let old = column.as_string_view();
            let value = |row| {
                if random.below(2) == 0 { ticker.as_str() } else { old.value(row) }
            };
            Arc::new(StringViewArray::from_iter_values(rows.map(value)))
        }
        // Keys keep their meaning in half of the rows, so that queries would find them.
        (_, DataType::Utf8View) => {
            let old = column.as_string_view();
            let value = |row| match random.below(2) {
                0 => old.value(row).to_owned(),
                _ => format!("{} LEAK {}", ticker.as_str(), random.next()),
            };
            Arc::new(StringViewArray::from_iter_values(rows.map(value)))
        }
        (_, DataType::Float64) => {
            let old = column.as_primitive::<Float64Type>();
            Arc::new(Float64Array::from_iter(rows.map(|row| {
                let factor = (1 + random.below(1000)) as f64 / 7.0;
                old.is_valid(row).then(|| old.value(row) * factor + 1.0)
            })))
        }
        (_, DataType::Date32) => {
            let old = column.as_primitive::<Date32Type>();
            Arc::new(Date32Array::from_iter(rows.map(|row| {
                let shift = random.below(800) as i32 - 400;
                old.is_valid(row).then(|| old.value(row) + shift)
            })))
        }
        (name, other) => panic!("column {name} of type {other} is not perturbed"),
    }
}

/// The frame and the catalogue, and what the model would read of them.
async fn bytes(snapshot: &Snapshot, ticker: &Ticker, as_of: AsOf) -> Vec<u8> {
    let read = snapshot.read(ticker, as_of).await.unwrap();
    let mut bytes = serde_json::to_vec(&read).unwrap();
    let prompt = contract::render(&read);
    bytes.extend(prompt.day.into_bytes());
    bytes.extend(prompt.user.into_bytes());
    bytes
}

async fn real() -> (Snapshot, Batches) {
    let snapshot = support::snapshot().await;
    let dir = current_dir(&support::data_dir()).unwrap();
    let batches = Kind::ALL.map(|kind| (kind, read_parquet(&dir.join(kind.file())).unwrap()));
    (snapshot, batches.into())
}

#[test]
fn perturbing_the_future_does_not_move_a_read() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (snapshot, batches) = runtime.block_on(real());
    let tickers: Vec<Ticker> = snapshot.tickers().iter().map(|t| t.ticker.clone()).collect();
    let (first, last) = snapshot.range().unwrap();
    let days = (last - first).num_days();
    // Half of the dates fall where news, facts or insider records are.
    let date = prop_oneof![0..=days, 5840i64..=5980, 10_680..=days];
    let case = (0..tickers.len(), date, any::<u64>());
    let config =
        ProptestConfig { cases: 240, failure_persistence: None, ..ProptestConfig::default() };
    let checked = TestRunner::new(config).run(&case, |(ticker, day, seed)| {
        let ticker = &tickers[ticker];
        let as_of = AsOf::end_of(first + chrono::Days::new(day as u64));
        let mut random = Random(seed);
        let perturbed: Batches = batches
            .iter()
            .map(|(kind, batch)| (*kind, perturb(batch, ticker, as_of, &mut random)))
            .collect();
        let (before, after) = runtime.block_on(async {
            let other =
                Snapshot::from_batches(snapshot.manifest().clone(), perturbed).await.unwrap();
            // The span of the closes is metadata: a read on its last day stays possible.
            (bytes(&snapshot, ticker, as_of).await, bytes(&other, ticker, as_of).await)
        });
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        prop_assert_eq!(text(&before), text(&after));
        Ok(())
    });
    checked.unwrap();
}

/// The proof can fail: a change of what was known does move the read.
#[tokio::test]
async fn perturbing_the_past_moves_a_read() {
    let (snapshot, batches) = real().await;
    for (kind, column, ticker, as_of) in [
        (Kind::Bars, "close", "AAPL", "2022-09-30"),
        (Kind::Index, "close", "AAPL", "2022-09-30"),
        (Kind::News, "tone", "AAPL", "2022-09-30"),
        (Kind::News, "title", "AAPL", "2022-09-30"),
        (Kind::Facts, "value", "AAPL", "2022-09-30"),
        (Kind::Insider, "shares", "MSFT", "2006-02-15"),
        (Kind::Macro, "value", "KO", "2018-12-20"),
    ] {
        let (ticker, as_of): (Ticker, AsOf) = (ticker.parse().unwrap(), as_of.parse().unwrap());
        let batch = &batches[&kind];
        let index = batch.schema().index_of(column).unwrap();
        let mut columns = batch.columns().to_vec();
        let changed: ArrayRef = match columns[index].data_type() {
            DataType::Float64 => {
                let last = as_of.instant().timestamp_micros();
                let old = columns[index].as_primitive::<Float64Type>().iter();
                let times = known_at(batch).values().iter();
                // Only the last day's records: a factor on all would cancel in ratios.
                let value = |(v, t): (Option<f64>, &i64)| {
                    v.map(|v| {
                        if last - t < 40 * DAY || kind == Kind::Facts { v * 1.1 + 0.1 } else { v }
                    })
                };
                Arc::new(Float64Array::from_iter(old.zip(times).map(value)))
            }
            _ => {
                let old = columns[index].as_string_view();
                Arc::new(StringViewArray::from_iter_values(
                    old.iter().flatten().map(|t| format!("{t}!")),
                ))
            }
        };
        columns[index] = changed;
        let mut other = batches.clone();
        other.insert(kind, RecordBatch::try_new(batch.schema(), columns).unwrap());
        let other = Snapshot::from_batches(snapshot.manifest().clone(), other).await.unwrap();
        let (before, after) =
            (bytes(&snapshot, &ticker, as_of).await, bytes(&other, &ticker, as_of).await);
        assert_ne!(before, after, "{kind:?}.{column}");
    }
}
