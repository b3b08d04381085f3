//! Yahoo Finance v8 chart.
//!
//! Its prices, volumes and dividends are in shares of today: every split up to
//! the moment of the answer is worked into all earlier rows. That is knowledge
//! of the future, so it is undone here with the splits in the same answer, and
//! the splits become records of their own. The question therefore always runs to
//! the present, whatever window is wanted: an answer that ends earlier is adjusted
//! for splits it does not show.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Utc};
use chrono_tz::America::New_York;
use domain::Ticker;
use serde::Deserialize;

use super::{
    RawRows,
    adapter::{Answer, Judgement, Part, Request, Window, judge_status},
};
use crate::{
    Kind, LakeError, calendar,
    records::{Action, ActionType, Bar, Head, IndexBar, PriceBasis},
};

/// Start of an ask without a first day; before every series of the provider.
const FIRST_YEAR: i32 = 1900;
/// The open of a regular session: from then on the price is without the dividend.
const OPEN: (u32, u32) = (9, 30);
/// After the close, the closing auction and late prints still change a row.
const SETTLES_MINUTES: i64 = 60;
const ZONE: &str = "America/New_York";

#[derive(Debug, Deserialize)]
struct Envelope {
    chart: Chart,
}

#[derive(Debug, Deserialize)]
struct Chart {
    result: Option<Vec<Series>>,
    error: Option<ChartError>,
}

#[derive(Debug, Deserialize)]
struct ChartError {
    code: String,
    #[serde(default)]
    description: String,
}

#[derive(Debug, Deserialize)]
struct Series {
    meta: Meta,
    /// Opens of sessions; absent where the window has none.
    #[serde(default)]
    timestamp: Vec<i64>,
    #[serde(default)]
    events: Events,
    indicators: Indicators,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    symbol: Option<String>,
    exchange_timezone_name: String,
    data_granularity: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Events {
    #[serde(default)]
    dividends: BTreeMap<String, Cash>,
    #[serde(default)]
    capital_gains: BTreeMap<String, Cash>,
    #[serde(default)]
    splits: BTreeMap<String, Split>,
}

#[derive(Debug, Deserialize)]
struct Cash {
    amount: f64,
    date: i64,
}

#[derive(Debug, Deserialize)]
struct Split {
    date: i64,
    numerator: f64,
    denominator: f64,
}

#[derive(Debug, Deserialize)]
struct Indicators {
    quote: Vec<Quote>,
}

type Column = Vec<Option<f64>>;

#[derive(Debug, Default, Deserialize)]
struct Quote {
    #[serde(default)]
    open: Column,
    #[serde(default)]
    high: Column,
    #[serde(default)]
    low: Column,
    #[serde(default)]
    close: Column,
    #[serde(default)]
    volume: Column,
}

/// A split of the answer: `ratio` new shares for each old one.
struct Ratio {
    ex_date: NaiveDate,
    ratio: f64,
}

pub(super) fn check_symbol(symbol: &str) -> Result<(), String> {
    if is_index(symbol) {
        return Ok(());
    }
    symbol.parse::<Ticker>().map(|_| ()).map_err(|e| e.to_string())
}

/// Tells whether a symbol is that of an index, e.g. `^GSPC`.
pub(super) fn is_index(symbol: &str) -> bool {
    let name = symbol.strip_prefix('^').unwrap_or_default();
    (1..=10).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

pub(super) fn request(symbol: &str, window: &Window) -> Request {
    let seconds = |date: NaiveDate| calendar::midnight(date).timestamp().to_string();
    let first = NaiveDate::from_yo_opt(FIRST_YEAR, 1).unwrap_or_default();
    let from = window.from.unwrap_or(first);
    let query = vec![
        ("period1", seconds(from)),
        ("period2", seconds(window.today + Days::new(1))),
        ("interval", "1d".to_owned()),
        ("events", "div,splits,capitalGains".to_owned()),
    ];
    let name = own_symbol(symbol).replace('^', "%5E");
    Request::new(Part::Chart, symbol, &format!("/v8/finance/chart/{name}"), query)
}

/// Yahoo writes the class of a share with a dash.
fn own_symbol(symbol: &str) -> String {
    symbol.replace('.', "-")
}

pub(super) fn judge(status: u16, body: &[u8]) -> Judgement {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else {
        return match status {
            200 => Judgement::Broken("its body is not the JSON of a chart".to_owned()),
            // Yahoo says in JSON that there is no such symbol; a page is of something else.
            404 | 410 if body.trim_ascii_start().starts_with(b"<") => {
                Judgement::Broken("its body is a page, not the JSON of a chart".to_owned())
            }
            _ => judge_status(status, body),
        };
    };
    match (envelope.chart.error, envelope.chart.result) {
        (Some(error), _) => {
            let said = format!("{}: {}", error.code, error.description);
            match &*error.code {
                // Bad Request: the window lies before the listing or after the delisting.
                "Not Found" | "Bad Request" => Judgement::Missing(said),
                _ => Judgement::Refused(said),
            }
        }
        (None, Some(result)) if !result.is_empty() => judge_status(status, body),
        (None, _) => Judgement::Missing("the chart has no result".to_owned()),
    }
}

/// Reads raw bars and actions of a ticker, or closes of an index. The window of
/// the ask is not applied: what is archived is read.
pub(super) fn parse(answer: &Answer<'_>, rows: &mut RawRows) -> Result<(), LakeError> {
    let envelope: Envelope = serde_json::from_slice(answer.body).map_err(|e| answer.format(e))?;
    for series in envelope.chart.result.unwrap_or_default() {
        let meta = &series.meta;
        if meta.exchange_timezone_name != ZONE || meta.data_granularity != "1d" {
            return Err(answer.format(format!(
                "it has rows of {} in {}; only daily rows of {ZONE} are read",
                meta.data_granularity, meta.exchange_timezone_name
            )));
        }
        let asked = own_symbol(&answer.record.subject);
        if let Some(other) = meta.symbol.as_ref().filter(|symbol| **symbol != asked) {
            return Err(answer.format(format!("it is about {other}, and {asked} was asked for")));
        }
        let Some(quote) = series.indicators.quote.first() else {
            return Err(answer.format("indicators.quote is empty"));
        };
        check_lengths(answer, series.timestamp.len(), quote)?;
        if is_index(&answer.record.subject) {
            read_index(answer, &series, quote, rows);
            continue;
        }
        let splits = read_splits(answer, &series.events, rows);
        read_cash(answer, &series.events, &splits, rows);
        read_bars(answer, &series, quote, &splits, rows);
    }
    Ok(())
}

fn check_lengths(answer: &Answer<'_>, rows: usize, quote: &Quote) -> Result<(), LakeError> {
    let Quote { open, high, low, close, volume } = quote;
    for (name, column) in
        [("open", open), ("high", high), ("low", low), ("close", close), ("volume", volume)]
    {
        // A column that is all null is left out.
        if !column.is_empty() && column.len() != rows {
            let found = column.len();
            return Err(answer.format(format!("{name} has {found} values for {rows} timestamps")));
        }
    }
    Ok(())
}

/// Different splits of a day are one, of their product.
fn read_splits(answer: &Answer<'_>, events: &Events, rows: &mut RawRows) -> Vec<Ratio> {
    let mut of_days: BTreeMap<NaiveDate, Vec<f64>> = BTreeMap::new();
    let today = answer.fetched_at.with_timezone(&New_York).date_naive();
    for (key, split) in &events.splits {
        let ratio = split.numerator / split.denominator;
        let Some(ex_date) = session(split.date).filter(|_| ratio.is_finite() && ratio > 0.0) else {
            let place = format!("events.splits[{key}]");
            let reason = "it has no date or ratio";
            rows.actions.rejected.push(answer.reject(Kind::Actions, &place, reason, key));
            continue;
        };
        if ex_date > today {
            // Prices of the answer cannot have it.
            let place = format!("events.splits[{key}]");
            let reason = "its day is after that of the answer";
            rows.actions.rejected.push(answer.reject(Kind::Actions, &place, reason, key));
            continue;
        }
        let of_day = of_days.entry(ex_date).or_default();
        // One that is listed twice is one.
        if !of_day.contains(&ratio) {
            of_day.push(ratio);
        }
    }
    let product = |(ex_date, ratios): (NaiveDate, Vec<f64>)| Ratio {
        ex_date,
        ratio: ratios.iter().product(),
    };
    let splits: Vec<Ratio> = of_days.into_iter().map(product).collect();
    for &Ratio { ex_date, ratio } in &splits {
        push_action(answer, ex_date, ActionType::Split, ratio, rows);
    }
    splits
}

/// Dividends and distributed capital gains of a day are one payment.
fn read_cash(answer: &Answer<'_>, events: &Events, splits: &[Ratio], rows: &mut RawRows) {
    let mut paid: BTreeMap<NaiveDate, f64> = BTreeMap::new();
    for (key, cash) in events.dividends.iter().chain(&events.capital_gains) {
        match session(cash.date) {
            Some(ex_date) => *paid.entry(ex_date).or_default() += cash.amount,
            None => {
                let place = format!("events.dividends[{key}]");
                let reason = "its date is not a time";
                rows.actions.rejected.push(answer.reject(Kind::Actions, &place, reason, key));
            }
        }
    }
    for (ex_date, amount) in paid {
        let amount = rounded(amount * later_splits(splits, ex_date), 6);
        push_action(answer, ex_date, ActionType::Dividend, amount, rows);
    }
}

fn push_action(
    answer: &Answer<'_>,
    ex_date: NaiveDate,
    action: ActionType,
    value: f64,
    rows: &mut RawRows,
) {
    let known = calendar::new_york_at(ex_date, OPEN);
    let name = match action {
        ActionType::Split => "split",
        ActionType::Dividend => "dividend",
    };
    let id = format!("{}-{ex_date}-{name}", answer.name);
    rows.actions.rows.push((head(answer, id, known), Action { ex_date, action, value }));
}

fn read_bars(
    answer: &Answer<'_>,
    series: &Series,
    quote: &Quote,
    splits: &[Ratio],
    rows: &mut RawRows,
) {
    for (i, &timestamp) in series.timestamp.iter().enumerate() {
        let (session, close) = match closed(answer, quote, i, timestamp) {
            Ok(found) => found,
            Err(reason) => {
                rows.bars.rejected.push(rejected_row(answer, Kind::Bars, i, timestamp, reason));
                continue;
            }
        };
        let factor = later_splits(splits, session);
        let price = |column: &Column| cell(column, i).map(|p| rounded_price(p * factor));
        let bar = Bar {
            session,
            open: price(&quote.open),
            high: price(&quote.high),
            low: price(&quote.low),
            close: rounded_price(close * factor),
            volume: cell(&quote.volume, i).map(|v| (v / factor).round()),
            basis: PriceBasis::Raw,
        };
        let id = format!("{}-{session}", answer.name);
        rows.bars.rows.push((head(answer, id, calendar::session_close(session)), bar));
    }
}

fn read_index(answer: &Answer<'_>, series: &Series, quote: &Quote, rows: &mut RawRows) {
    for (i, &timestamp) in series.timestamp.iter().enumerate() {
        match closed(answer, quote, i, timestamp) {
            Ok((session, close)) => {
                let id = format!("{}-{session}", answer.name);
                let mut head = head(answer, id, calendar::session_close(session));
                head.ticker.clear();
                rows.index.rows.push((head, IndexBar { session, close: rounded_price(close) }));
            }
            Err(reason) => {
                rows.index.rejected.push(rejected_row(answer, Kind::Index, i, timestamp, reason));
            }
        }
    }
}

/// Returns session and close of a row whose session was over when it was fetched.
///
/// While a session runs, the last row is the last quote, with the time of that
/// quote instead of the open.
fn closed(
    answer: &Answer<'_>,
    quote: &Quote,
    i: usize,
    timestamp: i64,
) -> Result<(NaiveDate, f64), &'static str> {
    let session = session(timestamp).ok_or("its timestamp is not a time")?;
    let settled = calendar::session_close(session) + TimeDelta::minutes(SETTLES_MINUTES);
    if answer.fetched_at < settled {
        return Err("its session was not over when it was fetched");
    }
    Ok((session, cell(&quote.close, i).ok_or("it has no close (null)")?))
}

fn rejected_row(
    answer: &Answer<'_>,
    kind: Kind,
    i: usize,
    timestamp: i64,
    reason: &str,
) -> crate::Rejected {
    answer.reject(kind, &format!("timestamp[{i}]"), reason, &timestamp.to_string())
}

fn head(answer: &Answer<'_>, record_id: String, known: DateTime<Utc>) -> Head {
    Head {
        record_id,
        ticker: answer.name.to_owned(),
        source_id: answer.provider.id.clone(),
        source: answer.provider.title.clone(),
        url: answer.record.url.clone(),
        event_time: known,
        known_at: known,
    }
}

/// The New York date of a time in Unix seconds.
fn session(timestamp: i64) -> Option<NaiveDate> {
    let time = DateTime::from_timestamp(timestamp, 0)?;
    let date = time.with_timezone(&New_York).date_naive();
    (date.year() >= FIRST_YEAR).then_some(date)
}

/// The number of today's shares a share of a session has become.
fn later_splits(splits: &[Ratio], session: NaiveDate) -> f64 {
    splits.iter().filter(|s| s.ex_date > session).map(|s| s.ratio).product()
}

/// Yahoo sends 32-bit floats, 130.28 as 130.27999877929688: the shortest decimal that
/// is the same float is what was meant.
fn cell(column: &Column, i: usize) -> Option<f64> {
    let sent = column.get(i).copied().flatten()?;
    let short = sent as f32;
    if f64::from(short) == sent { short.to_string().parse().ok() } else { Some(sent) }
}

/// Prices are quoted in hundredths of a cent, below a dollar finer. What undoing a
/// split leaves beyond that is noise.
fn rounded_price(price: f64) -> f64 {
    rounded(price, if price < 1.0 { 6 } else { 4 })
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
