//! Adapters: files inside packages to records with two times each.
//!
//! Every record has a `record_id` that is unique in its file and does not
//! change when data is added, an `event_time` (what it is about) and a
//! `known_at` (when a reader could first know it). A record that cannot be
//! read is not dropped but [`Rejected`] with a reason.

mod bars;
mod facts;
mod insider;
mod macros;
mod news;
mod table;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

pub(crate) use self::table::time_type;
pub(crate) use self::{
    bars::read_bars, facts::read_facts, insider::read_insider, macros::read_macros, news::read_news,
};
use crate::{Archive, LakeError, Source};

/// A kind of record: one Parquet file of a snapshot, one table of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Daily closes of the names, adjusted for later splits and dividends.
    ///
    /// Only ratios of two closes of one name may be used, never levels: an
    /// adjustment multiplies all earlier closes by the same factor, which a
    /// ratio does not see and a level would leak.
    Bars,
    /// Daily closes of the market index.
    Index,
    /// Macro series.
    Macro,
    /// News articles with their tone.
    News,
    /// Facts of filings, every version.
    Facts,
    /// Transactions of insiders, Form 4 and 4/A.
    Insider,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Bars, Self::Index, Self::Macro, Self::News, Self::Facts, Self::Insider];

    /// Returns the name of the table in queries.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Bars => "bars",
            Self::Index => "index_bars",
            Self::Macro => "macro_series",
            Self::News => "news",
            Self::Facts => "facts",
            Self::Insider => "insider",
        }
    }

    /// Returns the name of the file in a snapshot, e.g. `bars.parquet`.
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

/// The records of one kind, sorted, and what was rejected on the way.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) batch: RecordBatch,
    pub(crate) members: Vec<String>,
    pub(crate) rejected: Vec<Rejected>,
}

/// A source, its archive and the kind that is read from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feed<'a> {
    pub(crate) source: &'a Source,
    pub(crate) archive: &'a Archive,
    pub(crate) kind: Kind,
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
