//! News: a feed per symbol (RSS or Atom), and search in the form of NewsAPI.
//!
//! Both list what is new and forget the rest, so every answer in the archive is
//! read, and of an article the answer that had it first counts.

use chrono::Days;
use domain::Ticker;
use serde::Deserialize;

use super::{
    Provider, RawRows,
    adapter::{Answer, Judgement, Next, Part, Request, Window, excerpt, judge_status},
    parse::{self, Location},
};
use crate::LakeError;

/// Articles of a page.
const PAGE: u64 = 100;
/// A search without a first day reaches back so far.
const DAYS: u64 = 30;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    status: String,
    #[serde(default)]
    total_results: u64,
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Checks `AAPL`, or `AAPL=Apple` where the provider calls the company otherwise.
pub(super) fn check_symbol(symbol: &str) -> Result<(), String> {
    let (ticker, name) = named(symbol);
    ticker.parse::<Ticker>().map_err(|e| e.to_string())?;
    let is_name = (1..=100).contains(&name.trim().len()) && !name.chars().any(char::is_control);
    if is_name {
        Ok(())
    } else {
        Err(format!("{symbol:?} has no name after the =, as in AAPL=Apple"))
    }
}

fn named(symbol: &str) -> (&str, &str) {
    symbol.split_once('=').unwrap_or((symbol, symbol))
}

/// Returns the request of a feed, whose address the list of providers gives.
pub(super) fn feed_request(provider: &Provider, symbol: &str) -> Request {
    let (ticker, name) = named(symbol);
    let pattern = provider.path.as_deref().unwrap_or_default();
    let (path, query) = pattern.split_once('?').unwrap_or((pattern, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = pairs.map(|(key, value)| (key, value.replace("{symbol}", name))).collect();
    // In a path, only a ticker is safe.
    Request::new(Part::Feed, ticker, &path.replace("{symbol}", ticker), query)
}

/// Returns the request of the first page of articles about a company.
pub(super) fn search_request(symbol: &str, window: &Window) -> Request {
    let (ticker, phrase) = named(symbol);
    let from = window.from.unwrap_or(window.to - Days::new(DAYS));
    let Location { path, query } = parse::newsapi_at(phrase, from, window.to, 1);
    Request::new(Part::Articles, ticker, &path, query)
}

pub(super) fn judge_feed(status: u16, body: &[u8]) -> Judgement {
    if status != 200 {
        return judge_status(status, body);
    }
    let head = String::from_utf8_lossy(&body[..body.len().min(4096)]).to_ascii_lowercase();
    let tail = &body[body.len().saturating_sub(64)..];
    let tail = String::from_utf8_lossy(tail).trim_end().to_ascii_lowercase();
    let is_whole = ["rss", "feed", "rdf:rdf"]
        .iter()
        .any(|root| head.contains(&format!("<{root}")) && tail.ends_with(&format!("</{root}>")));
    if is_whole {
        Judgement::Rows
    } else if head.contains("<html") {
        Judgement::Refused(format!("it sent a web page instead of a feed: {}", excerpt(body)))
    } else {
        Judgement::Broken(format!("its body is not a whole feed: {}", excerpt(body)))
    }
}

pub(super) fn judge_search(status: u16, body: &[u8]) -> Judgement {
    let Ok(found) = serde_json::from_slice::<Found>(body) else {
        return match status {
            200 => Judgement::Broken("its body is not the JSON of a search".to_owned()),
            _ => judge_status(status, body),
        };
    };
    match (&*found.status, &*found.code) {
        ("ok", _) => Judgement::Rows,
        // The plan shows no more pages: what came before is all there is.
        (_, "maximumResultsReached") => Judgement::Missing(found.message),
        (_, code) => Judgement::Refused(format!("{code}: {}", found.message)),
    }
}

/// Returns the next page of a search, if there is one.
pub(super) fn follow(request: &Request, body: &[u8]) -> Result<Next, String> {
    let found: Found = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let page = request.query.iter().find(|(key, _)| key == "page");
    let page: u64 = page.and_then(|(_, page)| page.parse().ok()).ok_or("it is no page")?;
    let mut next = Next::default();
    if page * PAGE < found.total_results {
        let mut request = request.clone();
        request.query.retain(|(key, _)| key != "page");
        request.query.push(("page".to_owned(), (page + 1).to_string()));
        next.requests.push(request);
    }
    Ok(next)
}

pub(super) fn parse(answer: &Answer<'_>, rows: &mut RawRows) -> Result<(), LakeError> {
    let context = answer.context(&[]);
    rows.news = match answer.record.part {
        Part::Feed => parse::feed(&context, answer.body, answer.fetched_at)?,
        _ => parse::newsapi(&context, answer.body, answer.fetched_at)?,
    };
    Ok(())
}
