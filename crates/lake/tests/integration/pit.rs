//! The point-in-time join against a brute-force search: at 10,000 sampled rows of PIT391
//! every fundamental is what a scan of all facts, version by version, finds.

use std::collections::BTreeMap;

use datafusion::arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Date32Type, Float64Type, TimestampMicrosecondType},
};
use domain::AsOf;
use indicatif::ProgressBar;
use lake::{Kind, PanelOptions, SnapshotStore};

use crate::{
    research::universe,
    support::{self, Random},
};

const SAMPLES: usize = 10_000;
const FEATURES: [&str; 6] = [
    "gross_margin",
    "net_margin",
    "net_margin_change_yoy",
    "revenue_growth_yoy",
    "net_income_growth_yoy",
    "eps_growth_yoy",
];
/// Facts of older periods are not used, `ttl_days` of the features.
const TTL_DAYS: i32 = 500;
const DAY_MICROS: i64 = 86_400_000_000;

/// A version of an annual figure.
#[derive(Debug, Clone)]
struct Fact {
    metric: &'static str,
    /// Of concepts that mean the same, the smallest wins within a filing.
    rank: i32,
    period_end: i32,
    value: f64,
    accession: String,
    known_at: i64,
    event_day: i32,
}

fn metric(concept: &str) -> Option<(&'static str, i32)> {
    Some(match concept {
        "us-gaap:RevenueFromContractWithCustomerExcludingAssessedTax" => ("revenue", 0),
        "us-gaap:Revenues" => ("revenue", 1),
        "us-gaap:SalesRevenueNet" => ("revenue", 2),
        "us-gaap:NetIncomeLoss" => ("net_income", 0),
        "us-gaap:EarningsPerShareDiluted" => ("eps", 0),
        "us-gaap:GrossProfit" => ("gross_profit", 0),
        _ => return None,
    })
}

/// All versions of annual figures, by ticker.
fn facts(batch: &RecordBatch) -> BTreeMap<String, Vec<Fact>> {
    let text = |name: &str| batch.column_by_name(name).unwrap().as_string_view();
    let day = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Date32Type>();
    let time =
        |name: &str| batch.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>();
    let values = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>();
    let mut found = BTreeMap::<String, Vec<Fact>>::new();
    for row in 0..batch.num_rows() {
        let Some((metric, rank)) = metric(text("concept").value(row)) else { continue };
        let is_annual_report = ["10-K", "10-K/A"].contains(&text("form").value(row));
        let is_amount = ["USD", "USD/shares"].contains(&text("unit").value(row));
        if !is_annual_report || !is_amount || day("period_start").is_null(row) {
            continue;
        }
        let period_end = day("period_end").value(row);
        if !(350..=380).contains(&(period_end - day("period_start").value(row))) {
            continue;
        }
        let event_day = time("event_time").value(row).div_euclid(DAY_MICROS);
        found.entry(text("ticker").value(row).to_owned()).or_default().push(Fact {
            metric,
            rank,
            period_end,
            value: values.value(row),
            accession: text("accession").value(row).to_owned(),
            known_at: time("known_at").value(row),
            event_day: i32::try_from(event_day).unwrap(),
        });
    }
    found
}

/// The figure of each fiscal year as last reported by a point in time, newest year first.
fn years<'f>(facts: &'f [Fact], metric: &str, at: i64) -> Vec<&'f Fact> {
    let mut years: BTreeMap<i32, &Fact> = BTreeMap::new();
    let order = |fact: &Fact| (fact.known_at, fact.accession.clone(), -fact.rank);
    for fact in facts.iter().filter(|fact| fact.metric == metric && fact.known_at <= at) {
        let best = years.entry(fact.period_end).or_insert(fact);
        if order(fact) > order(best) {
            *best = fact;
        }
    }
    years.into_values().rev().collect()
}

fn growth(years: &[&Fact]) -> Option<f64> {
    let now = years.first()?;
    let is_prior = |prior: &&&Fact| {
        (350..=380).contains(&(now.period_end - prior.period_end)) && prior.value > 0.0
    };
    Some(now.value / years.iter().find(is_prior)?.value - 1.0)
}

/// Shares of revenue by the end of the year, newest first.
fn margins(parts: &[&Fact], revenues: &[&Fact]) -> Vec<(i32, f64)> {
    let margin = |part: &&Fact| {
        let same = |revenue: &&&Fact| revenue.period_end == part.period_end && revenue.value > 0.0;
        Some((part.period_end, part.value / revenues.iter().find(same)?.value))
    };
    parts.iter().filter_map(margin).collect()
}

/// What a search of all facts says about a feature at a point in time.
fn search(facts: &[Fact], feature: &str, as_of: AsOf) -> Option<f64> {
    let at = as_of.instant().timestamp_micros();
    let of = |metric| years(facts, metric, at);
    let latest = |metric| {
        let day = i32::try_from(at.div_euclid(DAY_MICROS)).unwrap();
        of(metric)
            .first()
            .filter(|fact| day - fact.event_day <= TTL_DAYS)
            .map(|fact| fact.period_end)
    };
    let margin = |metric: &'static str| {
        let newest = latest(metric)?;
        let margins = margins(&of(metric), &of("revenue"));
        Some((newest, margins))
            .filter(|(newest, margins)| margins.first().is_some_and(|(end, _)| end == newest))
    };
    match feature {
        "gross_margin" => Some(margin("gross_profit")?.1[0].1),
        "net_margin" => Some(margin("net_income")?.1[0].1),
        "net_margin_change_yoy" => {
            let (newest, margins) = margin("net_income")?;
            let is_prior = |m: &&(i32, f64)| (350..=380).contains(&(newest - m.0));
            Some(margins[0].1 - margins.iter().find(is_prior)?.1)
        }
        "revenue_growth_yoy" => latest("revenue").and_then(|_| growth(&of("revenue"))),
        "net_income_growth_yoy" => latest("net_income").and_then(|_| growth(&of("net_income"))),
        "eps_growth_yoy" => latest("eps").and_then(|_| growth(&of("eps"))),
        other => panic!("{other}"),
    }
    .filter(|value| value.is_finite())
}

#[tokio::test]
async fn fundamentals_are_what_a_search_of_all_facts_finds() {
    let snapshot = universe("PIT391").await;
    let store = SnapshotStore::local(&support::data_dir());
    let batches = store.batches(snapshot.manifest()).await.unwrap();
    let facts = facts(&batches[&Kind::Facts]);
    let options =
        PanelOptions { features: FEATURES.map(str::to_owned).to_vec(), ..PanelOptions::default() };
    let panel = snapshot.panel(&options, &ProgressBar::hidden()).await.unwrap().batch;
    assert!(panel.num_rows() > 9 * SAMPLES, "{}", panel.num_rows());
    let tickers = panel.column_by_name("ticker").unwrap().as_string_view();
    let sessions = panel.column_by_name("session").unwrap().as_primitive::<Date32Type>();
    let (mut random, mut defined) = (Random(391), BTreeMap::<&str, usize>::new());
    for _ in 0..SAMPLES {
        let row = random.below(panel.num_rows());
        let as_of = AsOf::end_of(sessions.value_as_date(row).unwrap());
        let of_ticker = facts.get(tickers.value(row)).map_or(&[][..], Vec::as_slice);
        for feature in FEATURES {
            let column = panel.column_by_name(feature).unwrap().as_primitive::<Float64Type>();
            let joined = column.is_valid(row).then(|| column.value(row));
            let found = search(of_ticker, feature, as_of);
            assert_eq!(joined, found, "{feature} of {} as of {as_of}", tickers.value(row));
            *defined.entry(feature).or_default() += usize::from(found.is_some());
        }
    }
    println!("{SAMPLES} rows, defined: {defined:?}");
    assert!(defined.values().all(|count| *count > 100), "{defined:?}");
}

/// No value rests on a record that became known later, and the provenance says so.
#[tokio::test]
async fn no_value_was_known_later() {
    let snapshot = universe("PIT391").await;
    let mut random = Random(392);
    let mut read = 0;
    for _ in 0..300 {
        let info = &snapshot.tickers()[random.below(snapshot.tickers().len())];
        let days = (info.last - info.first).num_days();
        let date = info.first + chrono::Days::new(random.below(days as usize + 1) as u64);
        let as_of = AsOf::end_of(date);
        for feature in
            snapshot.values(&info.ticker, as_of, &FEATURES.map(str::to_owned)).await.unwrap()
        {
            assert!(as_of.admits(feature.provenance.known_at), "{feature:?} as of {as_of}");
            read += 1;
        }
    }
    assert!(read > 200, "{read}");
}
