//! Exchange symbols.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An exchange symbol such as `AAPL` or `BRK.B`: one to ten capital letters or
/// digits starting with a letter, and an optional class suffix after `.` or `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ticker(String);

/// The text is not an exchange symbol.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TickerError {
    /// It would be one in capitals and without the space around it.
    #[error("{found:?} is not a ticker; did you mean {meant}?")]
    Spelling {
        /// What was given.
        found: String,
        /// What it would be.
        meant: Ticker,
    },
    /// It is none in any spelling.
    #[error(
        "{0:?} is not a ticker: expected one to ten of A-Z and 0-9 starting with a letter, with an optional class suffix as in BRK.B"
    )]
    NoSymbol(String),
}

impl Ticker {
    /// The same rule as a regular expression, for schemas.
    pub const PATTERN: &str = "^[A-Z][A-Z0-9]{0,9}([.-][A-Z0-9]{1,4})?$";

    /// Returns the symbol.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_ticker(text: &str) -> bool {
    let (root, class) = match text.split_once(['.', '-']) {
        Some((root, class)) => (root, Some(class)),
        None => (text, None),
    };
    let starts_with_letter = root.starts_with(|c: char| c.is_ascii_uppercase());
    starts_with_letter && is_symbol(root, 10) && class.is_none_or(|class| is_symbol(class, 4))
}

fn is_symbol(part: &str, max_len: usize) -> bool {
    (1..=max_len).contains(&part.len())
        && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

impl FromStr for Ticker {
    type Err = TickerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_ticker(text) {
            return Ok(Self(text.to_owned()));
        }
        // A hostile input must not travel whole into logs and answers.
        let found = text.chars().take(24).collect();
        let meant = text.trim().to_ascii_uppercase();
        Err(if is_ticker(&meant) {
            TickerError::Spelling { found, meant: Self(meant) }
        } else {
            TickerError::NoSymbol(found)
        })
    }
}

impl TryFrom<String> for Ticker {
    type Error = TickerError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Ticker> for String {
    fn from(ticker: Ticker) -> Self {
        ticker.0
    }
}

impl fmt::Display for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_symbols_and_share_classes_only() {
        for good in ["A", "AAPL", "BRK.B", "BF-B", "X5", "ABCDEFGHIJ"] {
            assert_eq!(good.parse::<Ticker>().unwrap().as_str(), good);
        }
        for bad in ["", "aapl", "5X", "A B", "BRK.", ".B", "BRK.B.C", "ABCDEFGHIJK", "ÄPL", "A\n"]
        {
            assert!(bad.parse::<Ticker>().is_err(), "{bad:?}");
        }
        let error = " brk.b".parse::<Ticker>().unwrap_err().to_string();
        assert!(error.ends_with("did you mean BRK.B?"), "{error}");
    }
}
