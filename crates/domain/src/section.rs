//! The six sections of a thesis.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A section of the thesis, in the order in which it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// The index, volatility and rates the name trades in.
    Market,
    /// Growth and margins from filings.
    Fundamentals,
    /// News and its tone.
    Sentiment,
    /// The price series itself.
    Technicals,
    /// Transactions of insiders (Form 4).
    Insider,
    /// What can go wrong: volatility, drawdown, beta.
    Risks,
}

impl Section {
    /// All sections in writing order.
    pub const ALL: [Self; 6] = [
        Self::Market,
        Self::Fundamentals,
        Self::Sentiment,
        Self::Technicals,
        Self::Insider,
        Self::Risks,
    ];

    /// Returns the key of the section in JSON.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Fundamentals => "fundamentals",
            Self::Sentiment => "sentiment",
            Self::Technicals => "technicals",
            Self::Insider => "insider",
            Self::Risks => "risks",
        }
    }

    /// Returns the letter that starts the ids of the section's claims (`F2`).
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Market => 'M',
            Self::Fundamentals => 'F',
            Self::Sentiment => 'S',
            Self::Technicals => 'T',
            Self::Insider => 'I',
            Self::Risks => 'R',
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.key())
    }
}
