//! Whole histories: features equal those of reads, labels have the shares of the
//! reference, splits leave no trace.

use std::collections::BTreeMap;

use datafusion::arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Date32Type, Float64Type, TimestampMicrosecondType},
};
use domain::{AsOf, Label, Ticker};
use indicatif::ProgressBar;
use lake::{
    LabelConfig, LabelScheme, Panel, PanelOptions, Snapshot, SourceList, Universe,
    feature_catalogue,
};

use crate::support::{build, data_dir, snapshot};

pub(crate) async fn universe(id: &str) -> Snapshot {
    let (sources, universe) = (SourceList::builtin().unwrap(), Universe::builtin(id).unwrap());
    let report = build(&data_dir(), &sources, &universe, "2026-01-01T00:00:00Z").unwrap();
    Snapshot::open(&report.dir).await.unwrap()
}

fn value(batch: &RecordBatch, column: &str, row: usize) -> Option<f64> {
    let column = batch.column_by_name(column).unwrap().as_primitive::<Float64Type>();
    column.is_valid(row).then(|| column.value(row))
}

fn keys(batch: &RecordBatch, row: usize) -> (Ticker, AsOf) {
    let ticker = batch.column_by_name("ticker").unwrap().as_string_view().value(row);
    let day = batch.column_by_name("session").unwrap().as_primitive::<Date32Type>().value(row);
    (ticker.parse().unwrap(), AsOf::end_of(Date32Type::to_naive_date_opt(day).unwrap()))
}

/// Every feature at many rows, bit by bit, against a read of the cut tables.
async fn histories_equal_reads(snapshot: &Snapshot, step: usize, panel: &Panel) -> usize {
    let mut compared = 0;
    let features = &panel.features;
    let names: Vec<String> = features.iter().map(|f| f.name.clone()).collect();
    for row in (0..panel.batch.num_rows()).step_by(step) {
        let (ticker, as_of) = keys(&panel.batch, row);
        let read = snapshot.values(&ticker, as_of, &names).await.unwrap();
        // All of a row was known when it says so.
        let known = panel.batch.column_by_name("known_at").unwrap();
        let known = known.as_primitive::<TimestampMicrosecondType>().value(row);
        for feature in &read {
            let rests_on = feature.provenance.known_at.timestamp_micros();
            assert!(rests_on <= known, "{} of {ticker} as of {as_of}", feature.name);
        }
        let read: BTreeMap<&str, f64> = read.iter().map(|f| (&*f.name, f.value)).collect();
        for name in &names {
            let (ours, theirs) = (value(&panel.batch, name, row), read.get(&**name).copied());
            let bits = |v: Option<f64>| v.map(f64::to_bits);
            assert_eq!(bits(ours), bits(theirs), "{name} of {ticker} as of {as_of}");
            compared += usize::from(ours.is_some());
        }
    }
    compared
}

#[tokio::test]
async fn a_history_has_the_values_of_reads() {
    let hidden = ProgressBar::hidden();
    for (id, step) in [("R20", 2_503), ("AAPL", 173), ("SYN10", 997)] {
        let snapshot = universe(id).await;
        let panel = snapshot.panel(&PanelOptions::default(), &hidden).await.unwrap();
        let compared = histories_equal_reads(&snapshot, step, &panel).await;
        assert!(compared > 500, "{id}: {compared}");
    }
    // Features that take a read at each row, of a few rows.
    let snapshot = universe("SYN10").await;
    let all = feature_catalogue().unwrap().into_iter().filter(|f| f.evidence);
    let options = PanelOptions {
        features: all.map(|f| f.name).collect(),
        tickers: vec!["NVDA".parse().unwrap(), "AMD".parse().unwrap()],
        from: Some("2023-03-01".parse().unwrap()),
        every: 60,
        ..PanelOptions::default()
    };
    let panel = snapshot.panel(&options, &hidden).await.unwrap();
    let compared = histories_equal_reads(&snapshot, 1, &panel).await;
    assert!(compared > 100, "{compared}");
}

/// A read looks back on the latest sessions alone.
#[tokio::test]
async fn a_read_says_what_the_whole_history_says() {
    for (id, dates) in [
        ("R20", ["1990-06-29", "1994-02-04", "2008-10-10", "2022-09-30"]),
        ("AAPL", ["2019-02-01", "2020-08-31", "2022-09-30", "2024-12-30"]),
        ("SYN10", ["2022-03-31", "2023-06-30", "2024-03-28", "2024-04-19"]),
    ] {
        let snapshot = universe(id).await;
        let ticker = &snapshot.tickers()[0].ticker;
        let names: Vec<String> = snapshot.features().iter().map(|f| f.name.clone()).collect();
        let mut compared = 0;
        for as_of in dates.map(|date| date.parse().unwrap()) {
            let read = snapshot.read(ticker, as_of).await.unwrap();
            let whole = snapshot.values(ticker, as_of, &names).await.unwrap();
            assert_eq!(read.frame().len(), whole.len(), "{id} {as_of}");
            for (read, whole) in read.frame().iter().zip(&whole) {
                assert_eq!((&read.name, &read.provenance), (&whole.name, &whole.provenance));
                let difference = (read.value - whole.value).abs();
                assert!(difference <= 1e-12 * whole.value.abs().max(1.0), "{read:?} {whole:?}");
                compared += 1;
            }
        }
        assert!(compared > 40, "{id}: {compared}");
    }
}

#[tokio::test]
async fn labels_of_r20_have_the_shares_of_the_reference() {
    let snapshot = snapshot().await;
    for (scheme, expected) in [
        (LabelScheme::SqrtTime, [6.6, 20.8, 26.1, 32.0, 14.5]),
        (LabelScheme::Seed, [28.7, 7.1, 5.1, 7.8, 51.3]),
    ] {
        let config = LabelConfig { scheme, ..LabelConfig::builtin().unwrap() };
        let (batch, stats) = snapshot.labels(&config).await.unwrap();
        assert_eq!((batch.num_rows(), stats.len()), (20 * 8_313, 20));
        let labelled: u64 = stats.values().map(lake::LabelStats::labelled).sum();
        assert_eq!(labelled, 20 * 8_190);
        let targets = snapshot.targets(&config).await.unwrap();
        let mut row = 0;
        for target in targets.values().flatten() {
            assert_eq!(target.label.map(|label| label.z), value(&batch, "z", row));
            assert_eq!(target.label.is_some(), target.known_at.is_some());
            row += 1;
        }
        assert_eq!(row, batch.num_rows());
        for label in Label::ALL {
            let count: u64 = stats.values().map(|stats| stats.counts[label.index()]).sum();
            let share = 100.0 * count as f64 / labelled as f64;
            let expected = expected[label.index()];
            assert!((share - expected).abs() < 0.1, "{scheme:?} {label}: {share}");
        }
    }
}

/// Apple split 4 for 1 on 2020-08-31: before that day the price is as it was traded, and
/// no return has a jump.
#[tokio::test]
async fn a_split_does_not_show_before_it_happens() {
    let snapshot = universe("AAPL").await;
    let config = LabelConfig::builtin().unwrap();
    let (labels, _) = snapshot.labels(&config).await.unwrap();
    let jump = (0..labels.num_rows()).filter_map(|row| value(&labels, "r_5", row));
    assert!(jump.clone().count() > 1_300);
    assert!(jump.clone().all(|r| r.abs() < 0.35), "{:?}", jump.reduce(f64::min));
    let of = async |as_of: &str| {
        let ticker = "AAPL".parse().unwrap();
        let names = ["alpha_vma_5".to_owned(), "vol_20d".to_owned()];
        let values = snapshot.values(&ticker, as_of.parse().unwrap(), &names).await.unwrap();
        values.iter().map(|f| f.value).collect::<Vec<_>>()
    };
    // Volume in shares of one kind, the split's day within the window: no factor of 4.
    for as_of in ["2020-08-28", "2020-08-31", "2020-09-02"] {
        let [vma, vol] = of(as_of).await[..] else { panic!("{as_of}") };
        assert!((0.4..2.5).contains(&vma) && vol < 0.8, "{as_of}: {vma} {vol}");
    }
}

#[tokio::test]
async fn the_synthetic_market_has_evidence_in_all_sections() {
    let snapshot = universe("SYN10").await;
    for ticker in ["NVDA", "SPY", "AMD"] {
        let read = snapshot.read(&ticker.parse().unwrap(), "2024-03-28".parse().unwrap()).await;
        let read = read.unwrap();
        for section in domain::Section::ALL {
            let absent = read.section(section).all(domain::EvidenceItem::is_absence);
            assert!(!absent, "{ticker} {section}");
        }
    }
}

/// Prices and labels of a backtest are those of histories; a file keeps what is missing.
#[tokio::test]
async fn prices_are_those_the_labels_are_made_of() {
    let snapshot = snapshot().await;
    let prices = snapshot.prices().await.unwrap();
    assert_eq!(prices.len(), 20);
    assert!(prices.iter().all(|name| name.sessions.len() == 8_313 && name.actions.is_empty()));
    let config = LabelConfig::builtin().unwrap();
    let labels = snapshot.label_history(&config).await.unwrap();
    assert_eq!(labels.len(), 20 * 8_190);
    let (batch, _) = snapshot.labels(&config).await.unwrap();
    let r_63 = batch.column_by_name("r_63").unwrap().as_primitive::<Float64Type>();
    for (name, of_name) in prices.iter().zip(labels.chunks(8_190)).step_by(7) {
        for (row, label) in of_name.iter().enumerate().step_by(997) {
            let at = |row: usize| name.sessions[60 + row];
            assert_eq!((&label.ticker, label.session), (&name.ticker, at(row).session));
            assert_eq!(
                label.known,
                at(row + 63).session,
                "a label is known when its last price is"
            );
        }
    }
    let first = &prices[0].sessions;
    let change = (first[60 + 63].close - first[60].close) / first[60].close;
    assert_eq!(r_63.value(60).to_bits(), change.to_bits());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("table.parquet");
    let columns = vec![
        ("ticker", lake::Column::Text(vec!["A".to_owned(), "B".to_owned()])),
        ("weight", lake::Column::Number(vec![Some(0.5), None])),
    ];
    lake::write_columns(&path, columns, "a run").unwrap();
    assert!(std::fs::read(&path).unwrap().starts_with(b"PAR1"));
    let uneven = vec![
        ("ticker", lake::Column::Text(vec!["A".to_owned()])),
        ("session", lake::Column::Date(Vec::new())),
    ];
    assert!(lake::write_columns(&path, uneven, "a run").is_err());
}
