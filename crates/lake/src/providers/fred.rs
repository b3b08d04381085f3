//! FRED and ALFRED: macro series in all vintages.
//!
//! A value is known from the start of its real-time period on. Two traps: that
//! start is cut to the start of the period that was asked for, so the question
//! begins before all vintages; and a question that covers more than 2,000 vintages
//! is refused, so a daily series is asked for in parts. Each part begins at the last
//! vintage of the part before it; rows that start there are either cut or in that
//! part too, and are left out.

use std::collections::BTreeMap;

use chrono::{Days, Months, NaiveDate};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    RawRows,
    adapter::{Answer, Judgement, Part, Request, excerpt, judge_status},
};
use crate::{
    Kind, LakeError, calendar,
    records::{Head, Observation},
};

/// Where real-time periods begin and end; FRED's own bounds.
const FIRST_DAY: &str = "1776-07-04";
const LAST_DAY: &str = "9999-12-31";
/// Vintages a part adds to the one it begins with: 2,000 together.
const PART_VINTAGES: usize = 1999;
/// Largest pages the provider gives.
const VINTAGES_MAX: u64 = 10_000;
const OBSERVATIONS_MAX: u64 = 100_000;
/// A vintage has a date only; most come in the morning. Late is conservative.
const RELEASED_BY: (u32, u32) = (22, 0);

#[derive(Debug, Deserialize)]
struct SeriesPage {
    seriess: Vec<SeriesInfo>,
}

#[derive(Debug, Deserialize)]
struct SeriesInfo {
    title: String,
    frequency_short: String,
}

#[derive(Debug, Deserialize)]
struct VintagesPage {
    count: u64,
    offset: u64,
    limit: u64,
    vintage_dates: Vec<NaiveDate>,
}

#[derive(Debug, Deserialize)]
struct ObservationsPage {
    realtime_start: String,
    output_type: u8,
    count: u64,
    offset: u64,
    limit: u64,
    observations: Vec<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
struct ErrorPage {
    error_message: String,
}

/// A value of a period in a vintage, as the provider spells it.
struct Seen<'a> {
    date: &'a str,
    vintage: &'a str,
    value: &'a str,
}

pub(super) fn check_symbol(symbol: &str) -> Result<(), String> {
    let is_id = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    if (1..=60).contains(&symbol.len()) && symbol.bytes().all(is_id) {
        return Ok(());
    }
    let found: String = symbol.chars().take(24).collect();
    Err(format!("{found:?} is not a FRED series id: expected A-Z, 0-9 and _, as in VIXCLS"))
}

pub(super) fn request(symbol: &str) -> Request {
    page(Part::Series, "/fred/series", symbol, &BTreeMap::new(), vec![])
}

fn page(
    part: Part,
    path: &str,
    symbol: &str,
    context: &BTreeMap<String, String>,
    more: Vec<(&'static str, String)>,
) -> Request {
    let mut query = vec![("series_id", symbol.to_owned()), ("file_type", "json".to_owned())];
    query.extend(more);
    Request { context: context.clone(), ..Request::new(part, symbol, path, query) }
}

fn vintages(symbol: &str, context: &BTreeMap<String, String>, offset: u64) -> Request {
    let more = vec![("limit", VINTAGES_MAX.to_string()), ("offset", offset.to_string())];
    page(Part::Vintages, "/fred/series/vintagedates", symbol, context, more)
}

pub(super) fn judge(part: Part, status: u16, body: &[u8]) -> Judgement {
    if status != 200 {
        return match serde_json::from_slice::<ErrorPage>(body) {
            Ok(page) if page.error_message.contains("api_key") => Judgement::Refused(format!(
                "the API key is missing or not accepted: {}",
                page.error_message
            )),
            Ok(page) if page.error_message.contains("does not exist") => {
                Judgement::Missing(page.error_message)
            }
            Ok(page) => Judgement::Refused(page.error_message),
            Err(_) => judge_status(status, body),
        };
    }
    let whole = match part {
        Part::Series => read::<SeriesPage>(body).map(|_| true),
        Part::Vintages => read::<VintagesPage>(body)
            .map(|p| is_whole(p.vintage_dates.len(), p.count, p.offset, p.limit)),
        _ => read::<ObservationsPage>(body)
            .map(|p| is_whole(p.observations.len(), p.count, p.offset, p.limit)),
    };
    match whole {
        Ok(true) => Judgement::Rows,
        Ok(false) => Judgement::Broken("it has fewer rows than it says".to_owned()),
        Err(reason) => Judgement::Broken(format!("{reason}: {}", excerpt(body))),
    }
}

fn is_whole(rows: usize, count: u64, offset: u64, limit: u64) -> bool {
    rows as u64 == count.saturating_sub(offset).min(limit)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|e| format!("its body is not the JSON of a page ({e})"))
}

/// Returns the vintages after the series, the observations after the vintages,
/// and the next page where one is full.
pub(super) fn follow(request: &Request, body: &[u8]) -> Result<Vec<Request>, String> {
    let symbol = &request.subject;
    match request.part {
        Part::Series => {
            let found: SeriesPage = read(body)?;
            let info = found.seriess.first().ok_or("it describes no series")?;
            let context = [("title", &info.title), ("frequency", &info.frequency_short)]
                .map(|(key, value)| (key.to_owned(), value.clone()))
                .into();
            Ok(vec![vintages(symbol, &context, 0)])
        }
        Part::Vintages => {
            let found: VintagesPage = read(body)?;
            Ok(after_vintages(request, &found))
        }
        _ => {
            let found: ObservationsPage = read(body)?;
            let next = found.offset + found.limit;
            if next >= found.count || found.limit == 0 {
                return Ok(Vec::new());
            }
            let mut page = request.clone();
            page.query.retain(|(key, _)| key != "offset");
            page.query.push(("offset".to_owned(), next.to_string()));
            Ok(vec![page])
        }
    }
}

fn after_vintages(request: &Request, found: &VintagesPage) -> Vec<Request> {
    let mut context = request.context.clone();
    let mut start = context.remove("after").unwrap_or_else(|| FIRST_DAY.to_owned());
    let next = found.offset + found.limit;
    let is_last_page = next >= found.count || found.limit == 0;
    let mut requests = Vec::new();
    let parts: Vec<&[NaiveDate]> = found.vintage_dates.chunks(PART_VINTAGES).collect();
    for (i, part) in parts.iter().enumerate() {
        let Some(last) = part.last() else { continue };
        // An open end keeps the address of the newest part the same from day to day.
        let is_open = is_last_page && i + 1 == parts.len();
        let end = if is_open { LAST_DAY.to_owned() } else { last.to_string() };
        let more = vec![
            ("realtime_start", start),
            ("realtime_end", end),
            ("limit", OBSERVATIONS_MAX.to_string()),
        ];
        let path = "/fred/series/observations";
        requests.push(page(Part::Observations, path, &request.subject, &context, more));
        start = last.to_string();
    }
    if !is_last_page {
        context.insert("after".to_owned(), start);
        requests.push(vintages(&request.subject, &context, next));
    }
    requests
}

/// Reads observations; the other parts only lead to them.
pub(super) fn parse(answer: &Answer<'_>, rows: &mut RawRows) -> Result<(), LakeError> {
    if answer.record.part != Part::Observations {
        return Ok(());
    }
    let page: ObservationsPage = read(answer.body).map_err(|e| answer.format(e))?;
    if !(1..=4).contains(&page.output_type) {
        return Err(answer.format(format!("its output_type is {}", page.output_type)));
    }
    let context = &answer.record.context;
    let frequency = context.get("frequency").map_or("", String::as_str);
    for (i, object) in page.observations.iter().enumerate() {
        let seen = match page.output_type {
            1 | 4 => by_period(object, &page.realtime_start),
            _ => by_vintage(object),
        };
        let seen = seen.map_err(|reason| answer.format(format!("observations[{i}]: {reason}")))?;
        for seen in seen {
            match observation(answer.name, frequency, &seen) {
                Ok((vintage, row)) => rows.macros.rows.push((head(answer, vintage, &row), row)),
                Err(reason) => {
                    let place = format!("observations[{i}]");
                    let raw = format!("{} {} {}", seen.date, seen.vintage, seen.value);
                    let note = answer.reject(Kind::Macro, &place, reason, &raw);
                    rows.macros.rejected.push(note);
                }
            }
        }
    }
    Ok(())
}

/// A row `{realtime_start, realtime_end, date, value}`; none where the part before
/// this one has it.
fn by_period<'a>(
    object: &'a Map<String, Value>,
    asked_from: &str,
) -> Result<Vec<Seen<'a>>, &'static str> {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let date = text("date").ok_or("it has no date")?;
    let vintage = text("realtime_start").ok_or("it has no realtime_start")?;
    let value = text("value").ok_or("it has no value")?;
    let is_cut = vintage == asked_from && asked_from != FIRST_DAY;
    Ok(if is_cut { Vec::new() } else { vec![Seen { date, vintage, value }] })
}

/// A row with a column per vintage, `GDP_20240130`. A column repeats the one
/// before it where nothing was published.
fn by_vintage(object: &Map<String, Value>) -> Result<Vec<Seen<'_>>, &'static str> {
    let date = object.get("date").and_then(Value::as_str).ok_or("it has no date")?;
    let mut columns = Vec::new();
    for (key, value) in object.iter().filter(|(key, _)| *key != "date") {
        let vintage = key.rsplit_once('_').ok_or("a column has no vintage in its name")?.1;
        columns.push((vintage, value.as_str().ok_or("a value is not a text")?));
    }
    columns.sort_unstable();
    columns.dedup_by(|next, kept| next.1 == kept.1);
    Ok(columns.into_iter().map(|(vintage, value)| Seen { date, vintage, value }).collect())
}

fn observation(
    series: &str,
    frequency: &str,
    seen: &Seen<'_>,
) -> Result<(NaiveDate, Observation), &'static str> {
    let date = seen.date.parse::<NaiveDate>().map_err(|_| "its date is not YYYY-MM-DD")?;
    let vintage = ["%Y-%m-%d", "%Y%m%d"]
        .iter()
        .find_map(|form| NaiveDate::parse_from_str(seen.vintage, form).ok())
        .filter(|vintage| vintage.to_string() != FIRST_DAY)
        .ok_or("the day it was published is unknown")?;
    let period_end = period_end(date, frequency).ok_or("its series has no known frequency")?;
    if matches!(seen.value, "." | "") {
        return Err("no observation (.)");
    }
    let value = seen.value.parse::<f64>().ok().filter(|v| v.is_finite());
    let value = value.ok_or("its value is not a number")?;
    Ok((vintage, Observation { series: series.to_owned(), period_end, value }))
}

/// FRED dates a period by its first day, days and weeks by their last.
fn period_end(date: NaiveDate, frequency: &str) -> Option<NaiveDate> {
    let months = match frequency {
        "D" | "W" | "BW" => return Some(date),
        "M" => 1,
        "Q" => 3,
        "SA" => 6,
        "A" => 12,
        _ => return None,
    };
    date.checked_add_months(Months::new(months))?.checked_sub_days(Days::new(1))
}

fn head(answer: &Answer<'_>, vintage: NaiveDate, row: &Observation) -> Head {
    let title = answer.record.context.get("title").map_or(&*row.series, String::as_str);
    Head {
        record_id: format!("{}-{}-{vintage}", row.series, row.period_end),
        ticker: String::new(),
        source_id: answer.provider.id.clone(),
        source: format!("{title}, {}", answer.provider.title),
        url: answer.record.url.clone(),
        event_time: calendar::midnight(row.period_end),
        known_at: calendar::new_york_at(vintage, RELEASED_BY),
    }
}
