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
#[error(
    "{0:?} is not a ticker: expected one to ten of A-Z and 0-9 starting with a letter, with an optional class suffix as in BRK.B"
)]
pub struct TickerError(String);

impl Ticker {
    /// The same rule as a regular expression, for schemas.
    pub const PATTERN: &str = "^[A-Z][A-Z0-9]{0,9}([.-][A-Z0-9]{1,4})?$";

    /// Returns the symbol.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_symbol(part: &str, max_len: usize) -> bool {
    (1..=max_len).contains(&part.len())
        && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

impl FromStr for Ticker {
    type Err = TickerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (root, class) = match text.split_once(['.', '-']) {
            Some((root, class)) => (root, Some(class)),
            None => (text, None),
        };
        let starts_with_letter = root.starts_with(|c: char| c.is_ascii_uppercase());
        if starts_with_letter && is_symbol(root, 10) && class.is_none_or(|c| is_symbol(c, 4)) {
            Ok(Self(text.to_owned()))
        } else {
            // A hostile input must not travel whole into logs and answers.
            Err(TickerError(text.chars().take(24).collect()))
        }
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
    }
}
