//! A universe: names, the feeds that cover them and macro series,
//! `configs/universes/*.toml`.

use std::{collections::BTreeMap, path::Path};

use chrono::NaiveDate;
use domain::Ticker;
use serde::{Deserialize, Serialize};

use crate::{Kind, LakeError, Market, RetrievalConfig, TableMapping};

/// Where records of one kind come from: a file of a source, or the raw archive of a
/// live provider. A kind may have several feeds, or none.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// Kind of record.
    pub kind: Kind,
    /// Source id.
    pub source: Option<String>,
    /// Form of the source's file.
    pub format: Option<Format>,
    /// Provider id, instead of a source and its format.
    pub provider: Option<String>,
    /// What is read of a provider where records have no ticker: an index, or series,
    /// as `VIX=VIXCLS` where the provider calls it otherwise.
    #[serde(default)]
    pub symbols: Vec<String>,
    /// First filing date of the documents that are read of a provider.
    pub from: Option<NaiveDate>,
    /// Member of the source; the kind's name where absent.
    pub member: Option<String>,
    /// Parts of a member that is one file per part, e.g. quarters.
    #[serde(default)]
    pub parts: Vec<String>,
    /// Whether the source has divided earlier prices for the universe's splits: they are
    /// stored as they were traded.
    #[serde(default)]
    pub undo_splits: bool,
    /// Columns of a [`Format::Table`].
    pub table: Option<TableMapping>,
}

impl FeedConfig {
    /// Returns the member of the source that is read.
    #[must_use]
    pub fn role(&self) -> &str {
        self.member.as_deref().unwrap_or(self.kind.key())
    }

    /// Returns where the records come from.
    ///
    /// # Errors
    /// Fails where the feed names neither or both, which [`Universe::parse`] excludes.
    pub fn origin(&self) -> Result<Origin<'_>, String> {
        match (&self.source, self.format, &self.provider) {
            (Some(id), Some(format), None) => Ok(Origin::Source { id, format }),
            (None, None, Some(id)) => Ok(Origin::Provider(id)),
            _ => Err("it names either `source` and `format`, or `provider`".to_owned()),
        }
    }

    /// Tells what is wrong with the keys of a feed.
    fn check(&self) -> Result<(), String> {
        let is_live = matches!(self.origin()?, Origin::Provider(_));
        if (self.format == Some(Format::Table)) != self.table.is_some() {
            let reason = "[feeds.table] goes with format = \"table\", and only with it";
            return Err(reason.to_owned());
        }
        if is_live && (self.member.is_some() || !self.parts.is_empty() || self.undo_splits) {
            return Err("`member`, `parts` and `undo_splits` go with a source".to_owned());
        }
        let symbols = match self.kind {
            Kind::Index if is_live => 1..=1,
            Kind::Macro if is_live => 1..=usize::MAX,
            _ => 0..=0,
        };
        if !symbols.contains(&self.symbols.len()) {
            return Err("`symbols` goes with a provider: of an index one, of macro series any \
                        number; other kinds are read for the names"
                .to_owned());
        }
        let mut names: Vec<&str> =
            self.symbols.iter().filter_map(|symbol| symbol.split('=').next()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("`symbols` has {} twice", twice[0]));
        }
        let has_documents = matches!(self.kind, Kind::FilingTexts | Kind::Insider);
        if self.from.is_some() != (is_live && has_documents) {
            return Err("`from`, the first filing date, goes with documents of a provider: \
                        filing_texts and insider, and only with them"
                .to_owned());
        }
        Ok(())
    }
}

/// Where the records of a feed come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A file of a source.
    Source {
        /// Id on the allowlist.
        id: &'a str,
        /// Form of the file.
        format: Format,
    },
    /// The raw archive of a live provider, by its id.
    Provider(&'a str),
}

/// Form of a file that holds records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// CSV with a `Date` column and a column of adjusted closes per symbol.
    WideCloses,
    /// CSV with a `Date` column and a column of daily total returns per symbol.
    WideReturns,
    /// The SEC's Financial Statement Data Sets, a zip file per quarter.
    StatementDataSets,
    /// No file: records of the [synthetic market](crate::Market).
    Synthetic,
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

/// A split a source of prices has no record of.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The name.
    pub ticker: Ticker,
    /// First session at the new price.
    pub ex_date: NaiveDate,
    /// New shares for each old one.
    pub ratio: f64,
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

#[derive(Deserialize)]
struct MacroCatalogue {
    #[serde(rename = "macro")]
    series: Vec<MacroSeries>,
}

const MACRO_CATALOGUE: &str = include_str!("../../../configs/macro.toml");

const BUILTIN: [(&str, &str); 6] = [
    ("R20", include_str!("../../../configs/universes/r20.toml")),
    ("R431", include_str!("../../../configs/universes/r431.toml")),
    ("PIT391", include_str!("../../../configs/universes/pit391.toml")),
    ("AAPL", include_str!("../../../configs/universes/aapl.toml")),
    ("LIVE", include_str!("../../../configs/universes/live.toml")),
    ("SYN10", include_str!("../../../configs/universes/syn10.toml")),
];

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
    /// More of them, by their names in `configs/macro.toml`.
    #[serde(default)]
    pub macro_catalogue: Vec<String>,
    /// Splits of names whose source of prices has no record of them.
    #[serde(default)]
    pub splits: Vec<Split>,
    /// The market of [`Format::Synthetic`] feeds.
    pub synthetic: Option<Market>,
    /// How texts are ranked.
    #[serde(default)]
    pub retrieval: RetrievalConfig,
    /// The companies, in order.
    pub names: Vec<Name>,
}

impl Universe {
    /// Returns the universe `R20` this crate was built with.
    ///
    /// # Errors
    /// Fails when the file is not valid, which a test excludes.
    pub fn r20() -> Result<Self, LakeError> {
        Self::builtin("R20")
    }

    /// Returns a universe this crate was built with, by its id in any case.
    ///
    /// # Errors
    /// Fails on an unknown id.
    pub fn builtin(id: &str) -> Result<Self, LakeError> {
        let found = BUILTIN.iter().find(|(known, _)| known.eq_ignore_ascii_case(id));
        let Some((known, text)) = found else {
            return Err(LakeError::Config {
                origin: format!("universe {id:?}"),
                reason: format!(
                    "it is neither built in ({}) nor a .toml file",
                    Self::builtin_ids().collect::<Vec<_>>().join(", ")
                ),
            });
        };
        Self::parse(&format!("configs/universes/{}.toml", known.to_lowercase()), text)
    }

    /// Returns the ids of the universes this crate was built with, the default first.
    pub fn builtin_ids() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(id, _)| *id)
    }

    /// Reads a universe from a file.
    ///
    /// # Errors
    /// Fails when the file cannot be read or is not valid.
    pub fn load(path: &Path) -> Result<Self, LakeError> {
        let text = std::fs::read_to_string(path).map_err(LakeError::io("read", path))?;
        let universe = Self::parse(&path.display().to_string(), &text)?;
        let is_taken =
            |(id, own): &(&str, &str)| id.eq_ignore_ascii_case(&universe.id) && *own != text;
        if BUILTIN.iter().any(is_taken) || universe.id.eq_ignore_ascii_case(crate::store::CURRENT) {
            return Err(LakeError::Config {
                origin: path.display().to_string(),
                reason: format!("id {} is taken by r2r: give your universe another", universe.id),
            });
        }
        Ok(universe)
    }

    /// Parses a universe; `origin` names it in errors. Unknown keys are refused.
    ///
    /// # Errors
    /// Fails on anything that is not a universe, and on a ticker listed twice.
    pub fn parse(origin: &str, text: &str) -> Result<Self, LakeError> {
        let invalid = |reason| LakeError::Config { origin: origin.to_owned(), reason };
        let mut universe: Self = toml::from_str(text).map_err(|e| invalid(e.to_string()))?;
        let catalogue: MacroCatalogue =
            toml::from_str(MACRO_CATALOGUE).map_err(|e| invalid(e.to_string()))?;
        for wanted in std::mem::take(&mut universe.macro_catalogue) {
            let found = catalogue.series.iter().find(|series| series.series == wanted);
            let found = found.ok_or_else(|| {
                invalid(format!("macro_catalogue: {wanted:?} is not in configs/macro.toml"))
            })?;
            universe.macro_series.push(found.clone());
        }
        let mut tickers: Vec<&Ticker> = universe.names.iter().map(|n| &n.ticker).collect();
        tickers.sort();
        if let Some(twice) = tickers.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(invalid(format!("ticker {} is listed twice", twice[0])));
        }
        for feed in &universe.feeds {
            feed.check().map_err(|reason| {
                let of = feed.source.as_ref().or(feed.provider.as_ref());
                let of = of.map(|id| format!(" of {id}")).unwrap_or_default();
                invalid(format!("the feed {}{of}: {reason}", feed.kind.key()))
            })?;
        }
        Ok(universe)
    }

    /// Returns where the records of a feed come from.
    pub(crate) fn origin<'a>(&self, feed: &'a FeedConfig) -> Result<Origin<'a>, LakeError> {
        feed.origin().map_err(|reason| {
            let origin = format!("universe {}, feed {}", self.id, feed.kind.key());
            LakeError::Config { origin, reason }
        })
    }

    /// Returns the source of the prices that the universe states splits of.
    pub(crate) fn split_source(&self) -> Result<&str, LakeError> {
        let bars = self.feeds.iter().find(|feed| feed.kind == Kind::Bars);
        bars.and_then(|feed| feed.source.as_deref()).ok_or_else(|| LakeError::Config {
            origin: format!("universe {}", self.id),
            reason: "[[splits]] go with prices of a source; those of a provider have their own"
                .to_owned(),
        })
    }

    /// Returns the ticker of each SEC registrant behind a name.
    #[must_use]
    pub(crate) fn issuers(&self) -> BTreeMap<u64, &str> {
        let names = self.names.iter();
        names.flat_map(|n| n.issuer_ciks.iter().map(|cik| (*cik, n.ticker.as_str()))).collect()
    }

    /// Returns the ids of all sources the universe needs, each once.
    #[must_use]
    pub fn source_ids(&self) -> Vec<&str> {
        let series = self.macro_series.iter().map(|m| m.source.as_str());
        let mut ids: Vec<&str> =
            self.feeds.iter().filter_map(|feed| feed.source.as_deref()).chain(series).collect();
        ids.extend(self.retrieval.weights.as_deref());
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_universes_are_valid_and_every_source_is_listed() {
        let sources = crate::SourceList::builtin().unwrap();
        for (id, names) in
            [("R20", 20), ("r431", 431), ("PIT391", 391), ("AAPL", 1), ("LIVE", 1), ("SYN10", 10)]
        {
            let universe = Universe::builtin(id).unwrap();
            assert_eq!(universe.names.len(), names, "{id}");
            assert_eq!(universe.id, id.to_uppercase());
            for id in universe.source_ids() {
                sources.get(id).unwrap();
            }
        }
        let error = Universe::builtin("R21").unwrap_err().to_string();
        assert!(error.contains("R20, R431, PIT391, AAPL, LIVE, SYN10"), "{error}");
    }
}
