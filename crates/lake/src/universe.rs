//! A universe: names, the feeds that cover them and macro series,
//! `configs/universes/*.toml`.

use std::{collections::BTreeMap, path::Path};

use domain::Ticker;
use serde::{Deserialize, Serialize};

use crate::{Kind, LakeError, TableMapping};

/// Where records of one kind come from. A kind may have several feeds, or none.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// Kind of record.
    pub kind: Kind,
    /// Source id.
    pub source: String,
    /// Form of the source's file.
    pub format: Format,
    /// Member of the source; the kind's name where absent.
    pub member: Option<String>,
    /// Columns of a [`Format::Table`].
    pub table: Option<TableMapping>,
}

impl FeedConfig {
    /// Returns the member of the source that is read.
    #[must_use]
    pub fn role(&self) -> &str {
        self.member.as_deref().unwrap_or(self.kind.key())
    }
}

/// Form of a file that holds records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// CSV with a `Date` column and a column of adjusted closes per symbol.
    WideCloses,
    /// JSON articles of the package nasdaq-news.
    NasdaqNews,
    /// EDGAR companyfacts JSON, one file per name.
    Companyfacts,
    /// The SEC's quarterly insider transactions data set.
    Form345,
    /// Any CSV, JSON lines or Parquet file, with [`FeedConfig::table`].
    Table,
}

/// What period an observation of a macro series covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// The dated day.
    Day,
    /// The calendar month that starts at the date.
    Month,
}

/// A macro series and when its observations become known.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MacroSeries {
    /// Short name, the key in features.
    pub series: String,
    /// A person's name for it.
    pub title: String,
    /// Source id.
    pub source: String,
    /// Member of the source.
    pub member: String,
    /// Column of the member.
    pub column: String,
    /// What an observation covers.
    pub period: Period,
    /// Calendar days from the end of the period to publication, not shorter than the truth.
    pub lag_days: u32,
    /// New York time of publication, `HH:MM`.
    pub known_time: String,
}

/// One company of the universe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Name {
    /// Exchange symbol.
    pub ticker: Ticker,
    /// Company name, for texts.
    pub company: String,
    /// SEC registrants behind the ticker in the years of the data.
    pub issuer_ciks: Vec<u64>,
    /// How headlines call the company.
    pub aliases: Vec<String>,
    /// The name's symbol per kind of record, where it is not the ticker.
    #[serde(default)]
    pub symbols: BTreeMap<String, String>,
}

impl Name {
    /// Returns how sources of a kind of record call the name.
    #[must_use]
    pub fn symbol(&self, kind: Kind) -> &str {
        self.symbols.get(kind.key()).map_or(self.ticker.as_str(), String::as_str)
    }
}

/// A universe.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Universe {
    /// Short name, e.g. `R20`.
    pub id: String,
    /// A person's description.
    pub title: String,
    /// Selection bias to state in every report made on the universe.
    pub bias: String,
    /// Where records come from.
    pub feeds: Vec<FeedConfig>,
    /// Macro series in FRED's table form.
    #[serde(rename = "macro", default)]
    pub macro_series: Vec<MacroSeries>,
    /// The companies, in order.
    pub names: Vec<Name>,
}

impl Universe {
    /// Returns the universe `R20` this crate was built with.
    ///
    /// # Errors
    /// Fails when the file is not valid, which a test excludes.
    pub fn r20() -> Result<Self, LakeError> {
        let text = include_str!("../../../configs/universes/r20.toml");
        Self::parse("configs/universes/r20.toml", text)
    }

    /// Reads a universe from a file.
    ///
    /// # Errors
    /// Fails when the file cannot be read or is not valid.
    pub fn load(path: &Path) -> Result<Self, LakeError> {
        let text = std::fs::read_to_string(path).map_err(LakeError::io("read", path))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Parses a universe; `origin` names it in errors. Unknown keys are refused.
    ///
    /// # Errors
    /// Fails on anything that is not a universe, and on a ticker listed twice.
    pub fn parse(origin: &str, text: &str) -> Result<Self, LakeError> {
        let invalid = |reason| LakeError::Config { origin: origin.to_owned(), reason };
        let universe: Self = toml::from_str(text).map_err(|e| invalid(e.to_string()))?;
        let mut tickers: Vec<&Ticker> = universe.names.iter().map(|n| &n.ticker).collect();
        tickers.sort();
        if let Some(twice) = tickers.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(invalid(format!("ticker {} is listed twice", twice[0])));
        }
        for feed in &universe.feeds {
            let kind = feed.kind.key();
            if (feed.format == Format::Table) != feed.table.is_some() {
                return Err(invalid(format!(
                    "the feed {kind} of {}: [feeds.table] goes with format = \"table\", and only with it",
                    feed.source
                )));
            }
        }
        Ok(universe)
    }

    /// Returns the ids of all sources the universe needs, each once.
    #[must_use]
    pub fn source_ids(&self) -> Vec<&str> {
        let series = self.macro_series.iter().map(|m| m.source.as_str());
        let mut ids: Vec<&str> =
            self.feeds.iter().map(|feed| feed.source.as_str()).chain(series).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_universe_is_valid_and_every_source_is_listed() {
        let universe = Universe::r20().unwrap();
        assert_eq!(universe.names.len(), 20);
        let sources = crate::SourceList::builtin().unwrap();
        for id in universe.source_ids() {
            sources.get(id).unwrap();
        }
    }
}
