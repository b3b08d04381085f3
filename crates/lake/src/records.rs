//! Adapters: files inside packages to records with two times each.
//!
//! Every record has a `record_id` that is unique in its file and does not
//! change when data is added, an `event_time` (what it is about) and a
//! `known_at` (when a reader could first know it). A record that cannot be
//! read is not dropped but [`Rejected`] with a reason.

mod bars;
mod cells;
mod facts;
mod generated;
mod insider;
mod macros;
mod mapped;
mod news;
mod rows;
mod statements;
mod table;
mod tsv;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

pub use self::mapped::{TableMapping, TimeRule};
pub(crate) use self::rows::{
    Action, ActionType, Article, Bar, Estimate, Fact, Filing, FilingText, IndexBar, Observation,
    PriceBasis, Record, Transaction,
};
pub(crate) use self::table::{as_uri, finish, time_type};
pub(crate) use self::{
    bars::{read_wide_closes, read_wide_index, read_wide_returns},
    facts::{filing_url, read_facts},
    generated::Generated,
    insider::{Owner, read_insider},
    macros::read_macros,
    mapped::read_mapped,
    news::{article_id, read_news, tone},
    statements::{read_statement_facts, read_statement_filings},
};
use crate::{Archive, FeedConfig, Format, LakeError, Source, Split, Universe, calendar};

/// A kind of record: some Parquet files of a snapshot, one table of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Sessions of the names: open, high, low, close and volume as traded, or
    /// closes adjusted for later splits and dividends where a source has no others.
    ///
    /// Of adjusted closes only ratios of two of one name may be used, never levels:
    /// an adjustment multiplies all earlier closes by the same factor, which a
    /// ratio does not see and a level would leak.
    Bars,
    /// Splits and dividends.
    Actions,
    /// Daily closes of the market index.
    Index,
    /// Macro series.
    Macro,
    /// News articles with their tone.
    News,
    /// Filings: that they were made, and when.
    Filings,
    /// Sections of the text of filings.
    FilingTexts,
    /// Facts of filings, every version.
    Facts,
    /// Transactions of insiders, Form 4 and 4/A.
    Insider,
    /// Estimates of brokers and their consensus.
    Estimates,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Bars,
        Self::Actions,
        Self::Index,
        Self::Macro,
        Self::News,
        Self::Filings,
        Self::FilingTexts,
        Self::Facts,
        Self::Insider,
        Self::Estimates,
    ];

    /// Returns the name in configuration and manifests.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Macro => "macro",
            other => other.table(),
        }
    }

    /// Returns the name of the table in queries.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Bars => "bars",
            Self::Actions => "actions",
            Self::Index => "index_bars",
            Self::Macro => "macro_series",
            Self::News => "news",
            Self::Filings => "filings",
            Self::FilingTexts => "filing_texts",
            Self::Facts => "facts",
            Self::Insider => "insider",
            Self::Estimates => "estimates",
        }
    }

    /// Returns how evidence calls the records of the kind, whatever files of a
    /// snapshot they are in: `bars.parquet`.
    #[must_use]
    pub fn file(self) -> String {
        format!("{}.parquet", self.table())
    }

    /// Tells whether records belong to a ticker, or else to the market.
    #[must_use]
    pub const fn has_ticker(self) -> bool {
        !matches!(self, Self::Index | Self::Macro)
    }
}

/// A record that could not be read, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Source id.
    pub source_id: String,
    /// Kind of record it would have been.
    pub kind: Kind,
    /// File inside the package, and where in it.
    pub place: String,
    /// Why it was rejected.
    pub reason: String,
    /// The beginning of the record.
    pub raw: String,
}

/// What all records have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Head {
    pub(crate) record_id: String,
    /// Empty for kinds without a ticker.
    pub(crate) ticker: String,
    pub(crate) source_id: String,
    /// A person's name for where the record comes from.
    pub(crate) source: String,
    pub(crate) url: String,
    pub(crate) event_time: DateTime<Utc>,
    pub(crate) known_at: DateTime<Utc>,
}

/// Rows of one kind as an adapter reads them, in any order, and what it could not.
#[derive(Debug)]
pub(crate) struct Rows<R> {
    pub(crate) rows: Vec<(Head, R)>,
    pub(crate) rejected: Vec<Rejected>,
    /// Files they come from.
    pub(crate) members: Vec<String>,
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self { rows: Vec::new(), rejected: Vec::new(), members: Vec::new() }
    }
}

/// The records of one kind, sorted, and what was rejected on the way.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) batch: RecordBatch,
    pub(crate) members: Vec<String>,
    pub(crate) rejected: Vec<Rejected>,
}

/// A source, its archive, and the kind that is read from one of its files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feed<'a> {
    pub(crate) source: &'a Source,
    pub(crate) archive: &'a Archive,
    pub(crate) kind: Kind,
    /// Which of the source's members.
    pub(crate) role: &'a str,
    /// Parts of a member that is one file per part.
    pub(crate) parts: &'a [String],
    /// Whether prices were divided for later splits.
    pub(crate) undo_splits: bool,
}

impl Feed<'_> {
    fn reject(&self, place: String, reason: impl Into<String>, raw: &str) -> Rejected {
        Rejected {
            source_id: self.source.id.clone(),
            kind: self.kind,
            place,
            reason: reason.into(),
            raw: raw.chars().take(200).collect(),
        }
    }

    fn format(&self, member: &str, reason: impl ToString) -> LakeError {
        LakeError::Format {
            source_id: self.source.id.clone(),
            member: member.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// Reads one feed of a universe.
///
/// # Errors
/// Fails when the file has not the stated form, or the form holds no such records.
pub(crate) fn read(
    feed: &Feed<'_>,
    universe: &Universe,
    config: &FeedConfig,
    format: Format,
) -> Result<Parsed, LakeError> {
    match (format, feed.kind) {
        (Format::Table, kind) => {
            let Some(mapping) = &config.table else {
                return Err(no_such_records(feed, "a table without [feeds.table]"));
            };
            read_table(feed, universe, kind, mapping)
        }
        (Format::WideCloses, Kind::Bars) => finish(read_wide_closes(feed, universe)?),
        (Format::WideCloses, Kind::Index) => finish(read_wide_index(feed)?),
        (Format::WideReturns, Kind::Bars) => finish(read_wide_returns(feed, universe)?),
        (Format::StatementDataSets, Kind::Filings) => {
            finish(read_statement_filings(feed, universe)?)
        }
        (Format::StatementDataSets, Kind::Facts) => finish(read_statement_facts(feed, universe)?),
        (Format::Synthetic, kind) => generate(feed, universe, kind),
        (Format::NasdaqNews, Kind::News) => finish(read_news(feed, universe)?),
        (Format::Companyfacts, Kind::Facts) => finish(read_facts(feed, universe)?),
        (Format::Form345, Kind::Insider) => finish(read_insider(feed, universe)?),
        (format, kind) => {
            Err(no_such_records(feed, &format!("the format {format:?} holds no {}", kind.table())))
        }
    }
}

fn generate(feed: &Feed<'_>, universe: &Universe, kind: Kind) -> Result<Parsed, LakeError> {
    let market = Generated::new(universe)?;
    match kind {
        Kind::Bars => finish(market.bars(feed)),
        Kind::Actions => finish(market.actions()),
        Kind::Index => finish(market.index(feed)),
        Kind::Macro => finish(market.macros(feed)),
        Kind::News => finish(market.news(feed)),
        Kind::Filings => finish(market.filings(feed)),
        Kind::FilingTexts => finish(market.filing_texts(feed)),
        Kind::Facts => finish(market.facts(feed)),
        Kind::Insider => finish(market.insider(feed)),
        Kind::Estimates => finish(market.estimates(feed)),
    }
}

fn read_table(
    feed: &Feed<'_>,
    universe: &Universe,
    kind: Kind,
    mapping: &TableMapping,
) -> Result<Parsed, LakeError> {
    match kind {
        Kind::Bars => {
            let mut found = read_mapped::<Bar>(feed, universe, mapping)?;
            if feed.undo_splits {
                found.rows.iter_mut().for_each(|(head, bar)| undo_splits(universe, head, bar));
            }
            finish(found)
        }
        Kind::Actions => finish(read_mapped::<Action>(feed, universe, mapping)?),
        Kind::Index => finish(read_mapped::<IndexBar>(feed, universe, mapping)?),
        Kind::Macro => finish(read_mapped::<Observation>(feed, universe, mapping)?),
        Kind::News => finish(read_mapped::<Article>(feed, universe, mapping)?),
        Kind::Filings => finish(read_mapped::<Filing>(feed, universe, mapping)?),
        Kind::FilingTexts => finish(read_mapped::<FilingText>(feed, universe, mapping)?),
        Kind::Facts => finish(read_mapped::<Fact>(feed, universe, mapping)?),
        Kind::Insider => finish(read_mapped::<Transaction>(feed, universe, mapping)?),
        Kind::Estimates => finish(read_mapped::<Estimate>(feed, universe, mapping)?),
    }
}

/// Turns a bar that was divided for later splits into the one that was traded.
fn undo_splits(universe: &Universe, head: &Head, bar: &mut Bar) {
    let later = universe
        .splits
        .iter()
        .filter(|split| split.ticker.as_str() == head.ticker && bar.session < split.ex_date);
    let ratio: f64 = later.map(|split| split.ratio).product();
    let prices = [&mut bar.open, &mut bar.high, &mut bar.low].into_iter().flatten();
    prices.chain([&mut bar.close]).for_each(|price| *price *= ratio);
    bar.volume = bar.volume.map(|volume| volume / ratio);
}

/// Returns the splits a universe states as records.
pub(crate) fn stated_splits(source: &Source, universe: &Universe) -> Result<Parsed, LakeError> {
    let row = |split: &Split| {
        let open = calendar::session_open(split.ex_date);
        let head = Head {
            record_id: format!("{}-split-{}", split.ticker, split.ex_date),
            ticker: split.ticker.to_string(),
            source_id: source.id.clone(),
            source: format!("universe {}", universe.id),
            url: source.package_url(),
            event_time: open,
            known_at: open,
        };
        (head, Action { ex_date: split.ex_date, action: ActionType::Split, value: split.ratio })
    };
    let rows = universe.splits.iter().map(row).collect();
    let members = vec![format!("configs/universes/{}.toml", universe.id.to_lowercase())];
    finish(Rows { rows, members, ..Rows::default() })
}

/// Returns the table of a kind that has no records.
pub(crate) fn empty(kind: Kind) -> Result<RecordBatch, LakeError> {
    let parsed = match kind {
        Kind::Bars => finish::<Bar>(Rows::default()),
        Kind::Actions => finish::<Action>(Rows::default()),
        Kind::Index => finish::<IndexBar>(Rows::default()),
        Kind::Macro => finish::<Observation>(Rows::default()),
        Kind::News => finish::<Article>(Rows::default()),
        Kind::Filings => finish::<Filing>(Rows::default()),
        Kind::FilingTexts => finish::<FilingText>(Rows::default()),
        Kind::Facts => finish::<Fact>(Rows::default()),
        Kind::Insider => finish::<Transaction>(Rows::default()),
        Kind::Estimates => finish::<Estimate>(Rows::default()),
    };
    Ok(parsed?.batch)
}

fn no_such_records(feed: &Feed<'_>, reason: &str) -> LakeError {
    let origin = format!("universe, feed {} of {}", feed.kind.key(), feed.source.id);
    LakeError::Config { origin, reason: reason.to_owned() }
}
