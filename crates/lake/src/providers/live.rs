//! The raw archive as the source of a universe's feeds: which of the archived answers
//! a feed reads, whether they are all there, and what to run where they are not.
//!
//! What an answer leads to is found out as a fetch does, from the archived answers
//! instead of the provider: a fetch that was stopped is noticed, and of EDGAR's
//! documents those of the feed's window are read, whatever else was fetched.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use chrono::NaiveDate;
use domain::Digest;
use url::Url;

use super::{
    Adapter, Provider, ProviderList, RawArchive, RawRows,
    adapter::{Merge, Request, Window},
    edgar,
    parsed::{Known, in_order, kind_of, read_answers},
    raw::{Outcome, Record, Response},
    yahoo,
};
use crate::{
    FeedConfig, Kind, LakeError, PackageRef, RawAnswer, Rejected, Universe,
    records::Parsed,
    store::FeedSource,
    universe::{Name, Origin},
};

/// Symbols an error names; the command in it has them all.
const NAMED_MAX: usize = 5;

/// A feed that was read from the archive.
pub(crate) struct Live {
    pub(crate) source: FeedSource,
    pub(crate) parsed: Parsed,
    /// What it was read from, sorted.
    pub(crate) answers: Vec<RawAnswer>,
}

/// What a feed has of a provider: one ticker, series or index.
struct Subject {
    /// Ticker or series of its records.
    name: String,
    /// What the archive calls it.
    subject: String,
    /// What `r2r data fetch` takes for it.
    symbols: Vec<String>,
}

/// What the archive has of a subject.
#[derive(Default)]
struct Found<'r> {
    records: Vec<&'r Record>,
    /// Answers that should be there and are not.
    lacking: usize,
}

/// An archived request with the parts of its address.
struct Place<'r> {
    record: &'r Record,
    path: String,
    query: BTreeMap<String, String>,
}

/// Checks that the feeds of a universe that name providers can be read at all.
///
/// # Errors
/// Refuses providers that are not listed or licensed, and feeds they cannot serve.
pub(crate) fn check_feeds(universe: &Universe, providers: &ProviderList) -> Result<(), LakeError> {
    for (config, provider) in live_feeds(universe, providers) {
        let provider = provider?;
        let (kind, adapter) = (config.kind, provider.adapter);
        let refuse = |reason| refused(universe, config, provider, reason);
        if !adapter.kinds().contains(&kind) {
            let kinds: Vec<&str> = adapter.kinds().iter().map(|kind| kind.key()).collect();
            let kinds = kinds.join(", ");
            return Err(refuse(format!("the provider has no such records, it has {kinds}")));
        }
        let has_actions = universe.feeds.iter().any(|feed| feed.kind == Kind::Actions);
        if kind == Kind::Bars && adapter.kinds().contains(&Kind::Actions) && !has_actions {
            let reason = "its prices are as traded: add a feed with kind = \"actions\", or every \
                          split reads as a fall";
            return Err(refuse(reason.to_owned()));
        }
        for symbol in subjects(universe, config, adapter).iter().flat_map(|s| &s.symbols) {
            adapter.check_symbol(symbol).map_err(refuse)?;
            // Of another symbol the provider has a ticker's prices.
            if kind == Kind::Index && !yahoo::is_index(symbol) {
                return Err(refuse(format!("{symbol} is no index, as ^GSPC is one")));
            }
        }
        let unknown = universe.names.iter().find(|name| name.issuer_ciks.is_empty());
        if let Some(name) = unknown.filter(|_| adapter == Adapter::Edgar) {
            let reason = format!("{} has no issuer_ciks, by which EDGAR knows it", name.ticker);
            return Err(refuse(reason));
        }
    }
    Ok(())
}

/// Returns the commands that fetch what the feeds of a universe read, one for each
/// provider.
///
/// # Errors
/// As [`crate::build_snapshot`] for the feeds that name providers.
pub fn fetch_commands(
    universe: &Universe,
    providers: &ProviderList,
) -> Result<Vec<String>, LakeError> {
    check_feeds(universe, providers)?;
    let mut symbols = BTreeMap::<&str, Vec<String>>::new();
    for (config, provider) in live_feeds(universe, providers) {
        let provider = provider?;
        let of_provider = symbols.entry(&provider.id).or_default();
        for symbol in
            subjects(universe, config, provider.adapter).into_iter().flat_map(|s| s.symbols)
        {
            if !of_provider.contains(&symbol) {
                of_provider.push(symbol);
            }
        }
    }
    Ok(symbols.iter().map(|(provider, symbols)| command(universe, provider, symbols)).collect())
}

/// Reads a feed from the archive of its provider.
///
/// # Errors
/// Fails when the archive lacks an answer of a fetch, with the command that brings it,
/// and when a file of the archive was changed.
pub(crate) fn read_live(
    data_dir: &Path,
    universe: &Universe,
    config: &FeedConfig,
    provider: &Provider,
) -> Result<Live, LakeError> {
    let archive = RawArchive::new(data_dir, &provider.id);
    let records = archive.records()?;
    let (mut rows, mut known) = (RawRows::default(), Known::default());
    let mut read = Vec::new();
    let mut lacking = Vec::new();
    for subject in subjects(universe, config, provider.adapter) {
        let own: Vec<&Record> = records.iter().filter(|r| r.subject == subject.subject).collect();
        let found = find(provider, &archive, config, &subject, &own)?;
        if found.lacking > 0 || found.records.is_empty() {
            lacking.push((subject, found));
            continue;
        }
        let name = Some(&*subject.name);
        let mut of_subject = read_answers(provider, &archive, &found.records, name)?;
        note_missing(provider, config.kind, &found.records, &mut of_subject);
        rows.add(of_subject, &mut known);
        read.extend(found.records);
    }
    if !lacking.is_empty() {
        return Err(not_archived(universe, config, provider, &lacking));
    }
    let answers = answers(provider, &read);
    let mut parsed = rows.finish(config.kind)?;
    let parts = read.iter().filter(|r| r.part.serves(config.kind)).map(|r| r.part.key());
    parsed.members = parts.collect::<BTreeSet<_>>().into_iter().collect();
    Ok(Live { source: source(provider, &answers), parsed, answers })
}

/// Returns the feeds that name providers, with these.
fn live_feeds<'a>(
    universe: &'a Universe,
    providers: &'a ProviderList,
) -> impl Iterator<Item = (&'a FeedConfig, Result<&'a Provider, LakeError>)> {
    universe.feeds.iter().filter_map(|config| match config.origin() {
        Ok(Origin::Provider(id)) => Some((config, providers.get(id))),
        _ => None,
    })
}

fn subjects(universe: &Universe, config: &FeedConfig, adapter: Adapter) -> Vec<Subject> {
    if !config.kind.has_ticker() {
        return config.symbols.iter().map(|symbol| market_subject(symbol)).collect();
    }
    universe.names.iter().map(|name| ticker_subject(name, config.kind, adapter)).collect()
}

/// An index, or a series as `VIX=VIXCLS` where the provider calls it otherwise.
fn market_subject(symbol: &str) -> Subject {
    let (name, subject) = symbol.split_once('=').unwrap_or((symbol, symbol));
    Subject {
        name: name.to_owned(),
        subject: subject.to_owned(),
        symbols: vec![subject.to_owned()],
    }
}

fn ticker_subject(name: &Name, kind: Kind, adapter: Adapter) -> Subject {
    let ticker = name.ticker.to_string();
    // Where a fetch takes TICKER=NAME, the archive has it by the ticker.
    let symbols = match adapter {
        Adapter::Edgar => name.issuer_ciks.iter().map(|cik| format!("{ticker}={cik}")).collect(),
        Adapter::Feed | Adapter::Newsapi => {
            let given = name.symbols.get(Kind::News.key());
            let said = given.or(Some(&name.company).filter(|_| adapter == Adapter::Newsapi));
            vec![
                said.filter(|said| **said != ticker)
                    .map_or_else(|| ticker.clone(), |said| format!("{ticker}={said}")),
            ]
        }
        Adapter::Yahoo | Adapter::Stooq => {
            // Actions are those of the prices.
            let kind = if kind == Kind::Actions { Kind::Bars } else { kind };
            let symbol = name.symbol(kind).to_owned();
            return Subject { name: ticker, subject: symbol.clone(), symbols: vec![symbol] };
        }
        Adapter::Fred | Adapter::Fmp => vec![ticker.clone()],
    };
    Subject { name: ticker.clone(), subject: ticker, symbols }
}

/// Finds the requests whose answers a feed reads of a subject: those a fetch sends
/// first, and what their answers lead to.
fn find<'r>(
    provider: &Provider,
    archive: &RawArchive,
    config: &FeedConfig,
    subject: &Subject,
    own: &[&'r Record],
) -> Result<Found<'r>, LakeError> {
    let adapter = provider.adapter;
    let places: Vec<Place<'r>> = own.iter().filter_map(|record| Place::new(record)).collect();
    // Of what is asked for on a given day only the query tells the day.
    let day = NaiveDate::default();
    let window = Window { from: config.from, to: day, today: day };
    let first = adapter.requests(provider, &subject.symbols, &window);
    let (mut found, mut seen) = (Found::default(), BTreeSet::new());
    let mut queue: VecDeque<(Request, bool)> = first.into_iter().map(|r| (r, true)).collect();
    while let Some((request, is_first)) = queue.pop_front() {
        let leads_on = adapter.is_walked() && adapter.leads_on(request.part);
        if !request.part.serves(config.kind) && !leads_on {
            continue;
        }
        let mut fitting: Vec<&Place<'r>> =
            places.iter().filter(|place| place.fits(&request, is_first)).collect();
        fitting.retain(|place| place.record.newest().is_some());
        if fitting.is_empty() {
            found.lacking += 1;
        }
        if leads_on {
            // From several addresses of a provider the list that came last counts.
            fitting.sort_by_key(|p| p.record.newest().map(|newest| newest.fetched_at));
            fitting.drain(..fitting.len().saturating_sub(1));
        }
        for place in fitting.into_iter().filter(|place| seen.insert(&*place.record.url)) {
            found.records.push(place.record);
            let newest = place.record.newest().filter(|r| r.outcome == Outcome::Rows);
            if let Some(newest) = newest.filter(|_| leads_on) {
                let next = follow(provider, archive, config, place, newest)?;
                queue.extend(next.into_iter().map(|request| (request, false)));
            }
        }
    }
    Ok(found)
}

/// Returns what an archived answer leads to.
fn follow(
    provider: &Provider,
    archive: &RawArchive,
    config: &FeedConfig,
    place: &Place<'_>,
    newest: &Response,
) -> Result<Vec<Request>, LakeError> {
    let record = place.record;
    let query = place.query.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let mut request = Request::new(record.part, &record.subject, &place.path, query);
    request.context.clone_from(&record.context);
    if provider.adapter == Adapter::Edgar {
        edgar::rewindow(&mut request.context, config.from);
    }
    let body = archive.body(newest)?;
    let next = provider.adapter.follow(&request, &body).map_err(|reason| LakeError::Format {
        source_id: provider.id.clone(),
        member: record.url.clone(),
        reason,
    })?;
    Ok(next.requests)
}

impl<'r> Place<'r> {
    /// None where the address was not written by a fetch.
    fn new(record: &'r Record) -> Option<Self> {
        let url = Url::parse(&record.url).ok()?;
        let pairs = url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned()));
        Some(Self { record, path: url.path().to_owned(), query: pairs.collect() })
    }

    /// Tells whether it is a request, sent to whatever address of the provider. What a
    /// fetch asks first differs from day to day in its query.
    fn fits(&self, request: &Request, is_first: bool) -> bool {
        self.record.part == request.part
            && self.path.ends_with(&request.path)
            && (is_first
                || (self.query.len() == request.query.len()
                    && request.query.iter().all(|(key, value)| self.query.get(key) == Some(value))))
    }
}

/// Notes what the provider has nothing of: a record that is not there, with a reason.
fn note_missing(provider: &Provider, kind: Kind, records: &[&Record], rows: &mut RawRows) {
    for record in records.iter().filter(|record| kind_of(record) == kind) {
        let had_rows = provider.adapter.merge() == Merge::OldestStays
            && record.responses.iter().any(|r| r.outcome == Outcome::Rows);
        let is_missing = record.newest().is_some_and(|r| r.outcome == Outcome::Missing);
        if is_missing && !had_rows {
            rows.rejected_mut(kind).push(Rejected {
                source_id: provider.id.clone(),
                kind,
                place: record.url.clone(),
                reason: format!("the provider has nothing for {}", record.subject),
                raw: String::new(),
            });
        }
    }
}

/// Returns the answers to some requests that a feed rests on: those that have rows,
/// and those that say there are none.
fn answers(provider: &Provider, records: &[&Record]) -> Vec<RawAnswer> {
    let with_rows = in_order(provider.adapter.merge(), records).into_iter();
    let newest = records.iter().filter_map(|r| Some((*r, r.newest()?)));
    let answers = with_rows.chain(newest).map(|(record, response)| RawAnswer {
        provider: provider.id.clone(),
        url: record.url.clone(),
        fetched_at: response.fetched_at,
        sha256: response.sha256,
    });
    answers.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Describes the answers as a package: its version is the day of the newest one, its
/// digest that of all their digests.
fn source(provider: &Provider, answers: &[RawAnswer]) -> FeedSource {
    let newest = answers.iter().map(|answer| answer.fetched_at).max().unwrap_or_default();
    let line = |a: &RawAnswer| format!("{} {} {}\n", a.url, a.fetched_at.to_rfc3339(), a.sha256);
    let url = match answers {
        [only] => only.url.clone(),
        _ => provider.base_url.clone(),
    };
    FeedSource {
        id: provider.id.clone(),
        title: provider.title.clone(),
        url,
        package: PackageRef {
            name: provider.id.clone(),
            version: newest.date_naive().to_string(),
            sha256: Digest::of(answers.iter().map(line).collect::<String>()),
        },
        licence: provider.licence.clone(),
        redistributable: provider.redistributable,
        embargo: provider.embargo,
    }
}

fn not_archived(
    universe: &Universe,
    config: &FeedConfig,
    provider: &Provider,
    lacking: &[(Subject, Found<'_>)],
) -> LakeError {
    let (none, some): (Vec<_>, Vec<_>) =
        lacking.iter().partition(|(_, found)| found.records.is_empty());
    let named = |what: &str, subjects: Vec<&(Subject, Found<'_>)>| {
        let names: Vec<&str> = subjects.iter().take(NAMED_MAX).map(|(s, _)| &*s.name).collect();
        let more = match subjects.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!names.is_empty()).then(|| format!("{what} for {}{more}", names.join(", ")))
    };
    let lacks = [named("no answer", none), named("only some of the answers", some)];
    let symbols: Vec<String> = lacking.iter().flat_map(|(s, _)| s.symbols.clone()).collect();
    LakeError::NotArchived {
        universe: universe.id.clone(),
        kind: config.kind.key(),
        provider: provider.id.clone(),
        has: lacks.into_iter().flatten().collect::<Vec<_>>().join(", and "),
        command: command(universe, &provider.id, &symbols),
    }
}

/// Returns the command that fetches symbols, with the first day any feed of the
/// provider reads documents of.
fn command(universe: &Universe, provider: &str, symbols: &[String]) -> String {
    let feeds = universe.feeds.iter().filter(|f| f.provider.as_deref() == Some(provider));
    let from = feeds.filter_map(|feed| feed.from).min();
    let from = from.map(|day| format!(" --from {day}")).unwrap_or_default();
    let symbols: Vec<String> = symbols.iter().map(|symbol| quoted(symbol)).collect();
    format!("r2r data fetch {provider} {}{from}", symbols.join(" "))
}

/// Quotes a symbol for a shell, where it needs that.
fn quoted(symbol: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._=^-".contains(c);
    if symbol.chars().all(is_plain) {
        symbol.to_owned()
    } else {
        format!("'{}'", symbol.replace('\'', r"'\''"))
    }
}

fn refused(
    universe: &Universe,
    config: &FeedConfig,
    provider: &Provider,
    reason: String,
) -> LakeError {
    let origin = format!("universe {}, feed {} of {}", universe.id, config.kind.key(), provider.id);
    LakeError::Config { origin, reason }
}
