//! What all providers have in common: requests of parts, follow-ups, judgement
//! and parsing. Each form of provider is a module of plain functions.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::{Provider, RawRows, edgar, fmp, fred, news, parse::Context, raw::Record, stooq, yahoo};
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
    /// EDGAR: filings, their facts and texts, insider transactions.
    Edgar,
    /// An RSS or Atom feed per symbol.
    Feed,
    /// Articles in the form of NewsAPI.
    Newsapi,
    /// Estimates and price targets in the form of Financial Modeling Prep.
    Fmp,
}

/// What is asked of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Tickers, or ids of series; `TICKER=NAME` where the provider calls a company
    /// otherwise, by its CIK or in words.
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

/// What an answer is part of; tells how it is judged and parsed. Parts are parsed
/// in this order, for some need what others hold.
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
    /// EDGAR: registrants of today's tickers.
    Tickers,
    /// EDGAR: filings of a registrant.
    Submissions,
    /// EDGAR: older filings of a registrant.
    Overflow,
    /// EDGAR: facts of a registrant.
    CompanyFacts,
    /// EDGAR: the main document of a filing.
    Document,
    /// EDGAR: a filing with its exhibits in one file.
    FullSubmission,
    /// EDGAR: an insider form.
    Form4,
    /// A feed of a symbol.
    Feed,
    /// A page of found articles.
    Articles,
    /// FMP: consensus of earnings and revenue.
    Estimates,
    /// FMP: price targets of brokers.
    Targets,
    /// FMP: consensus of price targets.
    TargetConsensus,
}

impl Part {
    /// The kind of record it is first of all read for.
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Chart | Self::History => Kind::Bars,
            Self::Series | Self::Vintages | Self::Observations => Kind::Macro,
            Self::Tickers | Self::Submissions | Self::Overflow => Kind::Filings,
            Self::CompanyFacts => Kind::Facts,
            Self::Document | Self::FullSubmission => Kind::FilingTexts,
            Self::Form4 => Kind::Insider,
            Self::Feed | Self::Articles => Kind::News,
            Self::Estimates | Self::Targets | Self::TargetConsensus => Kind::Estimates,
        }
    }

    /// Returns its name in archives and manifests, e.g. `company_facts`.
    pub(super) fn key(self) -> String {
        let name = serde_json::to_value(self).unwrap_or_default();
        name.as_str().unwrap_or_default().to_owned()
    }

    /// Tells whether records of a kind are read from its answers, or with their help.
    pub(super) const fn serves(self, kind: Kind) -> bool {
        match self {
            Self::Chart => matches!(kind, Kind::Bars | Kind::Actions | Kind::Index),
            Self::History => matches!(kind, Kind::Bars | Kind::Index),
            Self::Observations => matches!(kind, Kind::Macro),
            // When a filing became known, so did all that is in it.
            Self::Submissions | Self::Overflow => {
                matches!(kind, Kind::Filings | Kind::FilingTexts | Kind::Facts | Kind::Insider)
            }
            Self::CompanyFacts => matches!(kind, Kind::Facts),
            Self::Document | Self::FullSubmission => matches!(kind, Kind::FilingTexts),
            Self::Form4 => matches!(kind, Kind::Insider),
            Self::Feed | Self::Articles => matches!(kind, Kind::News),
            Self::Estimates | Self::Targets | Self::TargetConsensus => {
                matches!(kind, Kind::Estimates)
            }
            Self::Series | Self::Vintages | Self::Tickers => false,
        }
    }

    /// Tells whether an answer never changes: a filed document.
    pub(super) const fn is_final(self) -> bool {
        matches!(self, Self::Document | Self::FullSubmission | Self::Form4)
    }
}

/// Which of a provider's addresses a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    /// Its base URL.
    Base,
    /// That of its files.
    Files,
}

/// One GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) part: Part,
    /// Ticker or series it is about.
    pub(super) subject: String,
    pub(super) host: Host,
    /// Path after the base URL, with a slash before it.
    pub(super) path: String,
    /// Without the API key.
    pub(super) query: Vec<(String, String)>,
    /// What the parser has to know that is not in the body.
    pub(super) context: BTreeMap<String, String>,
}

impl Request {
    /// A request below the base URL without context.
    pub(super) fn new(part: Part, subject: &str, path: &str, query: Vec<(&str, String)>) -> Self {
        let query = query.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self {
            part,
            subject: subject.to_owned(),
            host: Host::Base,
            path: path.to_owned(),
            query,
            context: BTreeMap::new(),
        }
    }
}

/// What follows from an answer.
#[derive(Debug, Default)]
pub(super) struct Next {
    pub(super) requests: Vec<Request>,
    /// Symbols the answer shows to be unknown, and what to do about it.
    pub(super) missing: Vec<(String, String)>,
}

/// How answers of different times are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    /// The newest answer to each request; of a record in several the newest.
    NewestStays,
    /// The newest answer of each subject alone.
    NewestAlone,
    /// All answers there ever were; of a record in several the oldest, for it was
    /// known then.
    OldestStays,
}

/// Where a provider takes its API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyPlace {
    /// A parameter of the query.
    Query(&'static str),
    /// A header.
    Header(&'static str),
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
    /// Ticker or series of its rows: the subject, where a universe does not call it
    /// otherwise.
    pub(super) name: &'a str,
    pub(super) fetched_at: DateTime<Utc>,
    pub(super) body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Returns what a parser has to know of an answer about one ticker.
    pub(super) fn context(&self, issuer_ciks: &'a [u64]) -> Context<'a> {
        Context {
            source_id: &self.provider.id,
            ticker: self.name,
            issuer_ciks,
            place: &self.record.url,
        }
    }
}

impl Adapter {
    /// Returns the kinds of record a feed of a universe may name the provider for.
    pub(super) const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Yahoo => &[Kind::Bars, Kind::Actions, Kind::Index],
            Self::Stooq => &[Kind::Bars, Kind::Index],
            Self::Fred => &[Kind::Macro],
            Self::Edgar => &[Kind::Filings, Kind::FilingTexts, Kind::Facts, Kind::Insider],
            Self::Feed | Self::Newsapi => &[Kind::News],
            Self::Fmp => &[Kind::Estimates],
        }
    }

    /// Tells whether what an answer leads to is asked for under the same address on
    /// every day, so that an archive shows whether it has all of it. A search is not:
    /// its window moves.
    pub(super) const fn is_walked(self) -> bool {
        matches!(self, Self::Fred | Self::Edgar)
    }

    /// Refuses what cannot be a symbol of this provider, before it gets into a URL.
    pub(super) fn check_symbol(self, symbol: &str) -> Result<(), String> {
        match self {
            Self::Yahoo => yahoo::check_symbol(symbol),
            Self::Stooq => stooq::check_symbol(symbol),
            Self::Fred => fred::check_symbol(symbol),
            Self::Edgar => edgar::check_symbol(symbol),
            Self::Feed | Self::Newsapi => news::check_symbol(symbol),
            Self::Fmp => fmp::check_symbol(symbol),
        }
    }

    /// Returns the first requests for some symbols; others may follow from the answers.
    pub(super) fn requests(
        self,
        provider: &Provider,
        symbols: &[String],
        window: &Window,
    ) -> Vec<Request> {
        let each = |request: &dyn Fn(&str) -> Request| symbols.iter().map(|s| request(s)).collect();
        match self {
            Self::Yahoo => each(&|symbol| yahoo::request(symbol, window)),
            Self::Stooq => each(&|symbol| stooq::request(symbol, window)),
            Self::Fred => each(&|symbol| fred::request(symbol)),
            Self::Edgar => edgar::requests(symbols, window),
            Self::Feed => each(&|symbol| news::feed_request(provider, symbol)),
            Self::Newsapi => each(&|symbol| news::search_request(symbol, window)),
            Self::Fmp => symbols.iter().flat_map(|symbol| fmp::requests(symbol)).collect(),
        }
    }

    /// Tells whether answers to a part name further requests.
    pub(super) const fn leads_on(self, part: Part) -> bool {
        match self {
            Self::Yahoo | Self::Stooq | Self::Feed | Self::Fmp => false,
            Self::Fred | Self::Newsapi => true,
            Self::Edgar => matches!(part, Part::Tickers | Part::Submissions | Part::Overflow),
        }
    }

    /// Returns what follows from an answer that was judged [`Judgement::Rows`].
    pub(super) fn follow(self, request: &Request, body: &[u8]) -> Result<Next, String> {
        match self {
            Self::Yahoo | Self::Stooq | Self::Feed | Self::Fmp => Ok(Next::default()),
            Self::Fred => {
                fred::follow(request, body).map(|requests| Next { requests, ..Next::default() })
            }
            Self::Edgar => edgar::follow(request, body),
            Self::Newsapi => news::follow(request, body),
        }
    }

    /// Judges a complete answer that is neither a failure of the server nor a
    /// demand to slow down.
    pub(super) fn judge(self, part: Part, status: u16, body: &[u8]) -> Judgement {
        match self {
            Self::Yahoo => yahoo::judge(status, body),
            Self::Stooq => stooq::judge(status, body),
            Self::Fred => fred::judge(part, status, body),
            Self::Edgar => edgar::judge(part, status, body),
            Self::Feed => news::judge_feed(status, body),
            Self::Newsapi => news::judge_search(status, body),
            Self::Fmp => fmp::judge(status, body),
        }
    }

    /// Returns where the API key goes.
    pub(super) const fn key_place(self) -> Option<KeyPlace> {
        match self {
            Self::Yahoo | Self::Stooq | Self::Edgar | Self::Feed => None,
            Self::Fred => Some(KeyPlace::Query("api_key")),
            Self::Newsapi => Some(KeyPlace::Header("x-api-key")),
            Self::Fmp => Some(KeyPlace::Header("apikey")),
        }
    }

    /// Returns how answers of different times are put together.
    pub(super) const fn merge(self) -> Merge {
        match self {
            Self::Yahoo | Self::Fred | Self::Edgar => Merge::NewestStays,
            // Prices that are adjusted to the day they were fetched.
            Self::Stooq => Merge::NewestAlone,
            Self::Feed | Self::Newsapi | Self::Fmp => Merge::OldestStays,
        }
    }

    /// Reads the rows of an answer that was judged [`Judgement::Rows`]; `all` has
    /// those of the parts before.
    pub(super) fn parse(
        self,
        answer: &Answer<'_>,
        all: &RawRows,
        rows: &mut RawRows,
    ) -> Result<(), LakeError> {
        match self {
            Self::Yahoo => yahoo::parse(answer, rows),
            Self::Stooq => stooq::parse(answer, rows),
            Self::Fred => fred::parse(answer, rows),
            Self::Edgar => edgar::parse(answer, all, rows),
            Self::Feed | Self::Newsapi => news::parse(answer, rows),
            Self::Fmp => fmp::parse(answer, rows),
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
