//! The features that are queries, against their definitions computed by plain loops
//! over the raw records: on the synthetic market, and fundamentals on Apple's filings.

mod formulas;
mod raw;

use std::collections::BTreeMap;

use domain::{AsOf, Ticker};
use lake::{Snapshot, SourceList, Universe};

use self::{formulas::Values, raw::World};
use crate::support::{build, data_dir};

async fn universe(id: &str) -> Snapshot {
    let (sources, universe) = (SourceList::builtin().unwrap(), Universe::builtin(id).unwrap());
    let report = build(&data_dir(), &sources, &universe, "2026-01-01T00:00:00Z").unwrap();
    Snapshot::open(&report.dir).await.unwrap()
}

/// Compares all features at many dates; returns at how many each was defined.
async fn compare(
    snapshot: &Snapshot,
    tickers: &[&str],
    dates: &[AsOf],
) -> BTreeMap<&'static str, usize> {
    let world = World::load(snapshot).await;
    let mut defined = BTreeMap::new();
    for ticker in tickers {
        let ticker: Ticker = ticker.parse().unwrap();
        for as_of in dates {
            let expected: Values = world.at(&ticker, *as_of).expected();
            let names: Vec<String> = expected.keys().map(|name| (*name).to_owned()).collect();
            let found = snapshot.values(&ticker, *as_of, &names).await.unwrap();
            let found: BTreeMap<&str, f64> = found.iter().map(|f| (&*f.name, f.value)).collect();
            for (name, expected) in expected {
                let ours = found.get(name).copied();
                let is_same = match (ours, expected) {
                    (Some(ours), Some(expected)) => {
                        (ours - expected).abs() <= 1e-9 * expected.abs().max(1e-3)
                    }
                    (None, None) => true,
                    _ => false,
                };
                assert!(is_same, "{name} of {ticker} as of {as_of}: {ours:?}, not {expected:?}");
                *defined.entry(name).or_default() += usize::from(ours.is_some());
            }
        }
    }
    defined
}

fn dates(first: &str, last: &str, step: usize) -> Vec<AsOf> {
    let (first, last): (chrono::NaiveDate, chrono::NaiveDate) =
        (first.parse().unwrap(), last.parse().unwrap());
    let days = first.iter_days().step_by(step).take_while(|day| *day <= last);
    days.map(AsOf::end_of).collect()
}

#[tokio::test]
async fn features_of_the_synthetic_market_equal_their_definitions() {
    let snapshot = universe("SYN10").await;
    // A step that is no multiple of a week, so that weekends are among the dates.
    let dates = dates("2022-01-10", "2024-04-12", 23);
    let defined = compare(&snapshot, &["NVDA", "META", "AMD"], &dates).await;
    println!("{defined:?}");
    let undefined: Vec<_> = defined.iter().filter(|(_, n)| **n < 20).collect();
    assert!(undefined.is_empty(), "hardly ever defined: {undefined:?}");
}

#[tokio::test]
async fn fundamentals_of_apple_equal_their_definitions() {
    let snapshot = universe("AAPL").await;
    let defined = compare(&snapshot, &["AAPL"], &dates("2019-01-04", "2024-12-20", 37)).await;
    println!("{defined:?}");
    // The package has no cash flow, consensus or Form 4 of these years; the macro series
    // end in 2019.
    for name in [
        "operating_margin",
        "return_on_equity",
        "return_on_assets",
        "debt_to_equity",
        "liabilities_to_assets",
        "current_ratio",
        "asset_growth_yoy",
        "accruals",
        "share_count_change_yoy",
        "earnings_yield",
        "book_to_price",
        "sales_yield",
        "news_attention_7d",
    ] {
        assert!(defined[name] >= 20, "{name}: {}", defined[name]);
    }
    // Shares counted before the split of 2020-08-31 at a price after it: 4.3 billion are
    // 17 billion.
    let value = async |as_of: &str| {
        let (ticker, names) = ("AAPL".parse().unwrap(), ["earnings_yield".to_owned()]);
        snapshot.values(&ticker, as_of.parse().unwrap(), &names).await.unwrap()[0].value
    };
    let (before, after) = (value("2020-08-28").await, value("2020-08-31").await);
    assert!((after / before - 1.0).abs() < 0.06, "{before} and {after}");
}
