//! The leak proof on the real snapshot: changing the future moves nothing, changing the
//! past does, and a feature that looks ahead is caught.

use std::{collections::BTreeMap, error::Error as _, sync::Arc};

use datafusion::arrow::{
    array::{
        ArrayRef, AsArray, Float64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
    },
    datatypes::{DataType, Float64Type, TimestampMicrosecondType},
};
use domain::{AsOf, AsOfRead, EvidenceItem, Section, Ticker};
use lake::{FeatureInfo, Kind, LakeError, LeakProof, Snapshot, SnapshotStore};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{research::universe, support};

type Batches = BTreeMap<Kind, RecordBatch>;

const DAY: i64 = 86_400_000_000;

fn known_at(batch: &RecordBatch) -> &TimestampMicrosecondArray {
    batch.column_by_name("known_at").unwrap().as_primitive::<TimestampMicrosecondType>()
}

/// The frame and the catalogue, and what the model would read of them.
fn render(read: &AsOfRead) -> String {
    let prompt = contract::render(read);
    format!("{}{}{}", serde_json::to_string(read).unwrap(), prompt.day, prompt.user)
}

async fn bytes(snapshot: &Snapshot, ticker: &Ticker, as_of: AsOf) -> String {
    render(&snapshot.read(ticker, as_of).await.unwrap())
}

async fn real() -> (Snapshot, Batches) {
    let snapshot = support::snapshot().await;
    let store = SnapshotStore::local(&support::data_dir());
    let batches = store.batches(snapshot.manifest()).await.unwrap();
    (snapshot, batches)
}

#[test]
fn perturbing_the_future_moves_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let snapshot = runtime.block_on(support::snapshot());
    let proof = runtime.block_on(LeakProof::new(&snapshot, Vec::new())).unwrap();
    let tickers: Vec<Ticker> = snapshot.tickers().iter().map(|t| t.ticker.clone()).collect();
    let (first, last) = snapshot.range().unwrap();
    let days = (last - first).num_days();
    // Half of the dates fall where news, facts or insider records are.
    let date = prop_oneof![0..=days, 5840i64..=5980, 10_680..=days];
    let case = (0..tickers.len(), date, any::<u64>());
    let config =
        ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() };
    let checked = TestRunner::new(config).run(&case, |(ticker, day, seed)| {
        let as_of = AsOf::end_of(first + chrono::Days::new(day as u64));
        let leak = runtime.block_on(proof.case(&tickers[ticker], as_of, seed, render)).unwrap();
        prop_assert_eq!(leak, None);
        Ok(())
    });
    checked.unwrap();
}

/// PIT391 has no source of insider records.
#[tokio::test]
async fn a_universe_that_lacks_a_kind_has_its_proof() {
    let snapshot = universe("PIT391").await;
    let proof = LeakProof::new(&snapshot, Vec::new()).await.unwrap();
    let (ticker, as_of) = ("KO".parse().unwrap(), "2010-06-30".parse().unwrap());
    let read = snapshot.read(&ticker, as_of).await.unwrap();
    assert!(read.section(Section::Insider).all(EvidenceItem::is_absence));
    let defined = proof.defined(&ticker, as_of).await.unwrap();
    assert!(defined.iter().any(|name| name == "return_on_equity"), "{defined:?}");
    for seed in 0..3 {
        assert_eq!(proof.case(&ticker, as_of, seed, render).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_feature_that_looks_ahead_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tomorrow.sql");
    let header = "-- name: tomorrow\n-- title: the next day\n-- section: technicals\n\
                  -- unit: change\n-- kind: bars\n-- formula: planted\n";
    let snapshot = support::snapshot().await;
    let said = |error: LakeError| {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        format!("{error} {cause}")
    };
    let prove = async |expression: &str| {
        std::fs::write(&path, format!("{header}{expression}\n")).unwrap();
        let own = FeatureInfo::load(&path).map_err(said)?;
        let proof = LeakProof::new(&snapshot, own).await.map_err(said)?;
        let (ticker, as_of) = ("KO".parse().unwrap(), "2015-06-30".parse().unwrap());
        proof.case(&ticker, as_of, 7, render).await.map(drop).map_err(said)
    };
    let later = [
        // A comparison of some dates would miss those that look ahead on other days.
        "CASE WHEN ret < -0.1 THEN lead(close) OVER w / close - 1 ELSE ret END",
        "max(close) OVER (ORDER BY session ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING)",
        "lag(close) OVER (ORDER BY session DESC)",
        "max(close) OVER ()",
        "percent_rank() OVER w",
        "max(close) OVER (ORDER BY session RANGE BETWEEN INTERVAL '5 days' PRECEDING AND \
         INTERVAL '-5 days' PRECEDING)",
        "(SELECT max(value) FROM macro_series WHERE period_end = session + INTERVAL '1 day')",
        "close * date_part('day', now ())",
    ];
    for expression in later {
        let said = prove(expression).await.unwrap_err();
        assert!(said.contains("tomorrow.sql: "), "{expression}: {said}");
        assert!(["ahead", "before it", "OVER w", "records only"].iter().any(|w| said.contains(w)));
    }
    for (wrong, reason) in [
        ("ts_mean(close, CASE WHEN close > 20 THEN 5 ELSE 20 END) OVER w", "the same number"),
        ("lag(close, CASE WHEN close > 20 THEN 1 ELSE 2 END) OVER w", "the same number"),
        ("ts_quantile(close, 5, 1.5) OVER w", "a share of 0 to 1"),
        (
            "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT i AS value FROM n",
            "may have no end",
        ),
        (&*["1"; 600].join("+"), "divide it"),
    ] {
        let said = prove(wrong).await.unwrap_err();
        assert!(said.contains(reason), "{wrong}: {said}");
    }
    for causal in ["close / lag(close) OVER w - 1 -- of a day", "ts_mean(close, 5) OVER w / close"]
    {
        assert_eq!(prove(causal).await, Ok(()));
    }
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
        let retriever = snapshot.retriever().clone();
        let other =
            Snapshot::from_batches(snapshot.manifest().clone(), other, retriever).await.unwrap();
        let (before, after) =
            (bytes(&snapshot, &ticker, as_of).await, bytes(&other, &ticker, as_of).await);
        assert_ne!(before, after, "{kind:?}.{column}");
    }
}
