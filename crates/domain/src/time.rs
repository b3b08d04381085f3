//! The point in time of a read.

use std::{fmt, str::FromStr};

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The date whose knowledge a read may use: everything with
/// `known_at <= 23:59:59.999999 UTC` of that date.
///
/// A New York close (20:00 or 21:00 UTC) of the date itself is inside. A
/// filing accepted late in the New York evening is after midnight UTC, and so
/// belongs to the next date: the conservative side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AsOf(NaiveDate);

/// Why a text is not the date of a read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AsOfError {
    /// It is not spelled as a date.
    #[error("{0:?} is not a date: expected YYYY-MM-DD")]
    Spelling(String),
    /// There is no such day.
    #[error("{0:?} is not a day of the calendar")]
    Calendar(String),
}

impl AsOf {
    /// Takes the end of `date`, UTC.
    #[must_use]
    pub const fn end_of(date: NaiveDate) -> Self {
        Self(date)
    }

    /// Returns the calendar date.
    #[must_use]
    pub const fn date(self) -> NaiveDate {
        self.0
    }

    /// Returns the last instant whose knowledge the read may use.
    #[must_use]
    pub fn instant(self) -> DateTime<Utc> {
        let last = NaiveTime::from_hms_micro_opt(23, 59, 59, 999_999).unwrap_or(NaiveTime::MIN);
        self.0.and_time(last).and_utc()
    }

    /// Tells whether something known at `known_at` may be read.
    #[must_use]
    pub fn admits(self, known_at: DateTime<Utc>) -> bool {
        known_at <= self.instant()
    }
}

impl FromStr for AsOf {
    type Err = AsOfError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // chrono also takes "2022-9-3" and "+2022-09-03": one spelling per date.
        let is_spelled = text.len() == 10
            && text.bytes().enumerate().all(|(i, byte)| match i {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !is_spelled {
            return Err(AsOfError::Spelling(text.chars().take(24).collect()));
        }
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d");
        date.map(Self).map_err(|_| AsOfError::Calendar(text.to_owned()))
    }
}

impl TryFrom<String> for AsOf {
    type Error = AsOfError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AsOf> for String {
    fn from(as_of: AsOf) -> Self {
        as_of.to_string()
    }
}

impl fmt::Display for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_the_new_york_close_but_not_the_next_utc_day() {
        let as_of: AsOf = "2022-09-30".parse().unwrap();
        assert!(as_of.admits("2022-09-30T20:00:00Z".parse().unwrap()));
        assert!(!as_of.admits("2022-10-01T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn has_one_spelling() {
        for bad in ["2022-9-30", "2022-02-30", "20220930", "+022-09-30", "2022-09-30T00:00:00Z", ""]
        {
            assert!(bad.parse::<AsOf>().is_err(), "{bad:?}");
        }
        let error = |text: &str| text.parse::<AsOf>().unwrap_err().to_string();
        assert_eq!(error("2022-02-30"), "\"2022-02-30\" is not a day of the calendar");
        assert_eq!(error("2022-2-28"), "\"2022-2-28\" is not a date: expected YYYY-MM-DD");
    }
}
