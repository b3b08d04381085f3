//! What all providers have in common: requests of parts, follow-ups, judgement
//! and parsing. Each form of provider is a module of plain functions.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::{Provider, RawRows, fred, raw::Record, stooq, yahoo};
use crate::{Kind, LakeError, Rejected};

/// Form of a provider's requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Adapter {
    /// Yahoo Finance v8 chart: raw prices, splits and dividends of tickers, closes
    /// of indices.
    Yahoo,
    /// Stooq CSV: adjusted prices of tickers.
    Stooq,
    /// FRED and ALFRED: macro series in all vintages.
    Fred,
}

/// What is asked of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Tickers, or ids of series.
    pub symbols: Vec<String>,
    /// First day wanted; none for all there is.
    pub from: Option<NaiveDate>,
    /// Last day wanted; none for today.
    pub to: Option<NaiveDate>,
}

/// Days an ask covers, known to be in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) from: Option<NaiveDate>,
    pub(super) to: NaiveDate,
    pub(super) today: NaiveDate,
}

/// What an answer is part of; tells how it is judged and parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// Yahoo: prices and actions of a symbol.
    Chart,
    /// Stooq: prices of a symbol.
    History,
    /// FRED: what a series is.
    Series,
    /// FRED: when a series was published.
    Vintages,
    /// FRED: observations in some vintages.
    Observations,
}

impl Part {
    /// The kind of record it is first of all read for.
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Chart | Self::History => Kind::Bars,
            Self::Series | Self::Vintages | Self::Observations => Kind::Macro,
        }
    }
}

/// One GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) part: Part,
    /// Ticker or series it is about.
    pub(super) subject: String,
    /// Path after the base URL, with a slash before it.
    pub(super) path: String,
    /// Without the API key.
    pub(super) query: Vec<(&'static str, String)>,
    /// What the parser has to know that is not in the body.
    pub(super) context: BTreeMap<String, String>,
}

/// Where a provider takes its API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyPlace {
    /// A parameter of the query.
    Query(&'static str),
}

/// What a complete answer is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It holds what was asked for.
    Rows,
    /// The provider has nothing of the kind; asking again does not help.
    Missing(String),
    /// The provider does not serve this caller, now or at all: the fetch ends.
    Refused(String),
    /// It is cut short or not what the provider sends when it is well.
    Broken(String),
}

/// An archived answer, ready to be parsed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    pub(super) provider: &'a Provider,
    pub(super) record: &'a Record,
    pub(super) fetched_at: DateTime<Utc>,
    pub(super) body: &'a [u8],
}

impl Adapter {
    /// Refuses what cannot be a symbol of this provider, before it gets into a URL.
    pub(super) fn check_symbol(self, symbol: &str) -> Result<(), String> {
        match self {
            Self::Yahoo => yahoo::check_symbol(symbol),
            Self::Stooq => stooq::check_symbol(symbol),
            Self::Fred => fred::check_symbol(symbol),
        }
    }

    /// Returns the first request for a symbol; others may follow from its answer.
    pub(super) fn request(self, symbol: &str, window: &Window) -> Request {
        match self {
            Self::Yahoo => yahoo::request(symbol, window),
            Self::Stooq => stooq::request(symbol, window),
            Self::Fred => fred::request(symbol),
        }
    }

    /// Tells whether answers to a part name further requests.
    pub(super) const fn leads_on(self, part: Part) -> bool {
        matches!(part, Part::Series | Part::Vintages | Part::Observations)
    }

    /// Returns the requests that follow from an answer that was judged
    /// [`Judgement::Rows`].
    pub(super) fn follow(self, request: &Request, body: &[u8]) -> Result<Vec<Request>, String> {
        match self {
            Self::Yahoo | Self::Stooq => Ok(Vec::new()),
            Self::Fred => fred::follow(request, body),
        }
    }

    /// Judges a complete answer that is neither a failure of the server nor a
    /// demand to slow down.
    pub(super) fn judge(self, part: Part, status: u16, body: &[u8]) -> Judgement {
        match self {
            Self::Yahoo => yahoo::judge(status, body),
            Self::Stooq => stooq::judge(status, body),
            Self::Fred => fred::judge(part, status, body),
        }
    }

    /// Returns where the API key goes.
    pub(super) const fn key_place(self) -> Option<KeyPlace> {
        match self {
            Self::Yahoo | Self::Stooq => None,
            Self::Fred => Some(KeyPlace::Query("api_key")),
        }
    }

    /// Tells whether answers of different days may be put together. Prices that
    /// are adjusted to the day they were fetched may not.
    pub(super) const fn merges(self) -> bool {
        match self {
            Self::Yahoo | Self::Fred => true,
            Self::Stooq => false,
        }
    }

    /// Reads the rows of an answer that was judged [`Judgement::Rows`].
    pub(super) fn parse(self, answer: &Answer<'_>, rows: &mut RawRows) -> Result<(), LakeError> {
        match self {
            Self::Yahoo => yahoo::parse(answer, rows),
            Self::Stooq => stooq::parse(answer, rows),
            Self::Fred => fred::parse(answer, rows),
        }
    }
}

impl Answer<'_> {
    /// Makes the note on a record that could not be read.
    pub(super) fn reject(&self, kind: Kind, place: &str, reason: &str, raw: &str) -> Rejected {
        Rejected {
            source_id: self.provider.id.clone(),
            kind,
            place: format!("{} {place}", self.record.url).trim_end().to_owned(),
            reason: reason.to_owned(),
            raw: raw.chars().take(200).collect(),
        }
    }

    /// Makes the error on an answer that has not the form its parser reads.
    pub(super) fn format(&self, reason: impl ToString) -> LakeError {
        LakeError::Format {
            source_id: self.provider.id.clone(),
            member: self.record.url.clone(),
            reason: reason.to_string(),
        }
    }
}

/// Judges by the status alone, where a provider's body says nothing more.
pub(super) fn judge_status(status: u16, body: &[u8]) -> Judgement {
    let said = excerpt(body);
    match status {
        200 => Judgement::Rows,
        404 | 410 => Judgement::Missing(said),
        401 => Judgement::Refused(format!("the API key is missing or not accepted: {said}")),
        403 => Judgement::Refused(format!("access is denied: {said}")),
        _ => Judgement::Refused(format!("unexpected status {status}: {said}")),
    }
}

/// The beginning of a body in one line, for messages.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(600)]);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().filter(|c| !c.is_control()).take(160).collect();
    if short.is_empty() { "without a word".to_owned() } else { short }
}
