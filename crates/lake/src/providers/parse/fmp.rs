//! Estimates in the form of Financial Modeling Prep: the consensus of analysts, and
//! dated price targets of brokers. Analysts' names are not read.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde_json::Value;

use super::{Context, date};
use crate::{
    LakeError, calendar,
    records::{Estimate, Head, Rows},
};

/// Metric, and the names of mean, low, high and number of analysts in the older
/// form of the provider and in the newer.
const METRICS: [(&str, [[&str; 2]; 4]); 2] = [
    (
        "eps",
        [
            ["estimatedEpsAvg", "epsAvg"],
            ["estimatedEpsLow", "epsLow"],
            ["estimatedEpsHigh", "epsHigh"],
            ["numberAnalystsEstimatedEps", "numAnalystsEps"],
        ],
    ),
    (
        "revenue",
        [
            ["estimatedRevenueAvg", "revenueAvg"],
            ["estimatedRevenueLow", "revenueLow"],
            ["estimatedRevenueHigh", "revenueHigh"],
            ["numberAnalystEstimatedRevenue", "numAnalystsRevenue"],
        ],
    ),
];
const CONSENSUS: &str = "consensus";

/// Reads the consensus of earnings per share and revenue, by year. The provider does
/// not say since when an estimate stands: it is known when it was fetched.
///
/// # Errors
/// Fails when the provider answers with an error, or in another form.
pub(crate) fn analyst_estimates(
    context: &Context<'_>,
    bytes: &[u8],
    fetched_at: DateTime<Utc>,
) -> Result<Rows<Estimate>, LakeError> {
    let mut found = Rows::default();
    for (i, value) in records(context, bytes)?.iter().enumerate() {
        for (metric, names) in METRICS {
            let row = consensus(value, metric, names).map(|estimate| {
                let period = estimate.period_end.map(|end| end.to_string()).unwrap_or_default();
                let key = format!("{metric}:{period}:{}", fetched_at.to_rfc3339());
                (head(context, &key, fetched_at, fetched_at), estimate)
            });
            add(context, &format!("[{i}] {metric}"), value, row, &mut found);
        }
    }
    Ok(found)
}

/// Reads the consensus of price targets, known when it was fetched.
///
/// # Errors
/// Fails when the provider answers with an error, or in another form.
pub(crate) fn price_target_consensus(
    context: &Context<'_>,
    bytes: &[u8],
    fetched_at: DateTime<Utc>,
) -> Result<Rows<Estimate>, LakeError> {
    let mut found = Rows::default();
    for (i, value) in records(context, bytes)?.iter().enumerate() {
        let mean = number(value, &["targetConsensus"])
            .and_then(|mean| mean.ok_or_else(|| "it has no targetConsensus".to_owned()));
        let row = mean.and_then(|mean| {
            let estimate = Estimate {
                low: number(value, &["targetLow"])?,
                high: number(value, &["targetHigh"])?,
                ..target(CONSENSUS, mean, 0)
            };
            let key = format!("price_target:{CONSENSUS}:{}", fetched_at.to_rfc3339());
            Ok((head(context, &key, fetched_at, fetched_at), estimate))
        });
        add(context, &format!("[{i}]"), value, row, &mut found);
    }
    Ok(found)
}

/// Reads the price targets of brokers, as they were published: what a provider
/// adjusted for later splits is left aside. Times are New York's, whatever letter
/// stands behind them.
///
/// # Errors
/// Fails when the provider answers with an error, or in another form.
pub(crate) fn price_targets(
    context: &Context<'_>,
    bytes: &[u8],
) -> Result<Rows<Estimate>, LakeError> {
    let mut found = Rows::default();
    for (i, value) in records(context, bytes)?.iter().enumerate() {
        let row = price_target(context, value);
        add(context, &format!("[{i}]"), value, row, &mut found);
    }
    Ok(found)
}

fn price_target(context: &Context<'_>, value: &Value) -> Result<(Head, Estimate), String> {
    let published = text(value, &["publishedDate"]).ok_or("it has no publishedDate")?;
    let published = wall_clock(published)
        .ok_or_else(|| format!("its publishedDate {published:?} is no date and time"))?;
    let published = calendar::new_york(published);
    let broker = text(value, &["analystCompany"]).ok_or("it names no broker")?;
    let mean = number(value, &["priceTarget"])?.ok_or("it has no priceTarget")?;
    let key = format!("price_target:{broker}:{}:{mean}", published.to_rfc3339());
    let mut head = head(context, &key, published, published);
    if let Some(url) = text(value, &["newsURL"]).filter(|url| url.starts_with("http")) {
        url.clone_into(&mut head.url);
    }
    if let Some(publisher) = text(value, &["newsPublisher"]) {
        head.source = format!("{broker}, by {publisher}");
    }
    Ok((head, target(broker, mean, 1)))
}

fn consensus(value: &Value, metric: &str, names: [[&str; 2]; 4]) -> Result<Estimate, String> {
    let period_end = text(value, &["date"]).and_then(date).ok_or("its date is not YYYY-MM-DD")?;
    let [mean, low, high, analysts] = names;
    let missing = || format!("it has no {} nor {}", mean[0], mean[1]);
    Ok(Estimate {
        metric: metric.to_owned(),
        period_end: Some(period_end),
        broker: CONSENSUS.to_owned(),
        mean: number(value, &mean)?.ok_or_else(missing)?,
        low: number(value, &low)?,
        high: number(value, &high)?,
        analysts: analysts.iter().find_map(|name| value.get(name)?.as_u64()).unwrap_or(0),
    })
}

fn target(broker: &str, mean: f64, analysts: u64) -> Estimate {
    Estimate {
        metric: "price_target".to_owned(),
        period_end: None::<NaiveDate>,
        broker: broker.to_owned(),
        mean,
        low: None,
        high: None,
        analysts,
    }
}

/// Returns the records of an answer; an error comes as an object, with status 200.
fn records(context: &Context<'_>, bytes: &[u8]) -> Result<Vec<Value>, LakeError> {
    match serde_json::from_slice(bytes).map_err(|e| context.format(e))? {
        Value::Array(records) => Ok(records),
        other => {
            let said = text(&other, &["Error Message", "error", "message"]).unwrap_or("no list");
            Err(context.format(format!("the provider answers: {said}")))
        }
    }
}

fn add(
    context: &Context<'_>,
    place: &str,
    value: &Value,
    row: Result<(Head, Estimate), String>,
    found: &mut Rows<Estimate>,
) {
    // A share class is `BRK-B` here and `BRK.B` there.
    let is_same = |symbol: &str| symbol.replace('-', ".") == context.ticker.replace('-', ".");
    let is_other = text(value, &["symbol"]).is_some_and(|symbol| !is_same(symbol));
    let reason = match row {
        Ok(_) if is_other => "it is about another symbol".to_owned(),
        Ok(row) => {
            found.rows.push(row);
            return;
        }
        Err(reason) => reason,
    };
    // Not the record itself: it may name an analyst.
    let when = text(value, &["publishedDate", "date"]).unwrap_or_default();
    found.rejected.push(context.reject::<Estimate>(place, reason, when));
}

fn head(
    context: &Context<'_>,
    key: &str,
    event_time: DateTime<Utc>,
    known_at: DateTime<Utc>,
) -> Head {
    Head {
        record_id: format!("{}:{key}", context.ticker),
        ticker: context.ticker.to_owned(),
        source_id: context.source_id.to_owned(),
        source: "FMP analyst estimates".to_owned(),
        url: context.place.to_owned(),
        event_time,
        known_at,
    }
}

fn text<'v>(value: &'v Value, names: &[&str]) -> Option<&'v str> {
    let texts = names.iter().find_map(|name| value.get(name)?.as_str());
    texts.map(str::trim).filter(|text| !text.is_empty())
}

fn number(value: &Value, names: &[&str]) -> Result<Option<f64>, String> {
    let found = names.iter().find_map(|name| Some((name, value.get(name)?)));
    match found {
        None | Some((_, Value::Null)) => Ok(None),
        Some((name, number)) => {
            let number = number.as_f64().ok_or_else(|| format!("its {name} is not a number"))?;
            Ok(Some(number))
        }
    }
}

/// Reads a time of day without its zone.
fn wall_clock(text: &str) -> Option<NaiveDateTime> {
    date(text)?;
    let text = text.trim_end_matches('Z').replacen('T', " ", 1);
    NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f").ok()
}
