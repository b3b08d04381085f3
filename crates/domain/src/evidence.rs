//! Features and evidence: what a thesis may rest on.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Section;

/// Where a value or a text comes from, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// A person's name for the source, e.g. `SEC Form 10-K 0000320193-21-000105`.
    pub source: String,
    /// Where to find the original, a URI (`https:` or a package URL, `pkg:`).
    pub url: String,
    /// What moment the record is about.
    pub event_time: DateTime<Utc>,
    /// When a reader could first know it.
    pub known_at: DateTime<Utc>,
}

/// How a feature's value is to be read and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A signed change as a fraction: -0.0408 shows as `-4.1%`.
    Change,
    /// A level as a fraction: 0.274 shows as `27.4%`.
    Share,
    /// A signed difference of two shares as a fraction: 0.012 shows as `+1.2pp`.
    ChangePoints,
    /// An index level or oscillator with one decimal.
    Level,
    /// A plain ratio with two decimals.
    Ratio,
    /// A signed score in -1..=1 with two decimals.
    Score,
    /// A whole number.
    Count,
    /// A signed whole number of shares.
    Shares,
}

impl Unit {
    /// Tells whether the sign of a value carries its direction ("rose", "fell").
    #[must_use]
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::Change | Self::ChangePoints | Self::Score | Self::Shares)
    }

    /// Renders a value the one way it appears in prompts, claims and answers.
    /// A value that rounds to zero has no sign.
    #[must_use]
    pub fn render(self, value: f64) -> String {
        let (number, decimals, suffix) = match self {
            Self::Change | Self::Share => (value * 100.0, 1, "%"),
            Self::ChangePoints => (value * 100.0, 1, "pp"),
            Self::Level => (value, 1, ""),
            Self::Ratio | Self::Score => (value, 2, ""),
            Self::Count | Self::Shares => (value, 0, ""),
        };
        let text = format!("{:.decimals$}", number.abs());
        let is_zero = text.bytes().all(|b| matches!(b, b'0' | b'.'));
        let sign = match (is_zero, number < 0.0, self.is_signed()) {
            (true, ..) | (false, false, false) => "",
            (false, true, _) => "-",
            (false, false, true) => "+",
        };
        format!("{sign}{text}{suffix}")
    }
}

/// What a rise of a signed value means for the stock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Polarity {
    /// A rise speaks for the stock: returns, growth, tone.
    #[default]
    Good,
    /// A rise speaks against it: a rising VIX.
    Bad,
    /// Neither.
    Neutral,
}

/// A named value computed from records known at the read's `as_of`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// Stable name, e.g. `ret_10d`.
    pub name: String,
    /// How a sentence calls it, e.g. `10-day return`.
    pub title: String,
    /// How the prompt calls it, in few tokens.
    pub short: String,
    /// The section it speaks to.
    pub section: Section,
    /// How to read `value`.
    pub unit: Unit,
    /// What a rise means for the stock; of signed units only.
    pub polarity: Polarity,
    /// Length of the window in days, where there is one.
    pub window_days: Option<u32>,
    /// The value, finite, in the unit's own scale.
    pub value: f64,
    /// A coverage feature counts the records a section can rest on. It is always
    /// present, and enters the catalogue only where the section has nothing else.
    pub coverage: bool,
    /// Of a coverage feature, why a count of nothing does not mean that nothing
    /// happened: `the archive ends 2006-03-31`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Source and times; `known_at` is that of the latest record it used.
    pub provenance: Provenance,
}

impl Feature {
    /// Renders the value with its unit, e.g. `-4.1%`.
    #[must_use]
    pub fn rendered(&self) -> String {
        self.unit.render(self.value)
    }

    /// Renders title and value, e.g. `10-day return: -4.1%`, and the note where there is one.
    #[must_use]
    pub fn statement(&self) -> String {
        format!("{}: {}{}", self.title, self.rendered(), self.remark())
    }

    /// Returns the note as it follows a value, ` (the archive ends 2006-03-31)`; empty
    /// where there is none.
    #[must_use]
    pub fn remark(&self) -> String {
        self.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default()
    }
}

/// A verbatim piece of an archived text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snippet {
    /// The section it speaks to.
    pub section: Section,
    /// The bytes `start..end` of the archived field, unchanged.
    pub text: String,
    /// The snapshot's table that holds the record, e.g. `news.parquet`; the manifest
    /// lists the files a table is in.
    pub file: String,
    /// The record's id inside that file.
    pub record_id: String,
    /// The column that holds the text.
    pub column: String,
    /// First byte of the snippet inside the field.
    pub start: u32,
    /// One past the last byte of the snippet inside the field.
    pub end: u32,
    /// Source and times.
    pub provenance: Provenance,
}

/// The name of an item in one catalogue: `E1`, `E2`, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EvidenceId(pub u16);

impl fmt::Display for EvidenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{}", self.0)
    }
}

/// One item of the evidence catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceItem {
    /// Position in the catalogue, from 1.
    pub id: EvidenceId,
    /// What it is.
    pub kind: EvidenceKind,
}

/// The two kinds of evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EvidenceKind {
    /// A number computed from records.
    Numeric(Feature),
    /// A verbatim text.
    Text(Snippet),
}

impl EvidenceItem {
    /// Returns the section the item belongs to.
    #[must_use]
    pub const fn section(&self) -> Section {
        match &self.kind {
            EvidenceKind::Numeric(feature) => feature.section,
            EvidenceKind::Text(snippet) => snippet.section,
        }
    }

    /// Returns source and times.
    #[must_use]
    pub const fn provenance(&self) -> &Provenance {
        match &self.kind {
            EvidenceKind::Numeric(feature) => &feature.provenance,
            EvidenceKind::Text(snippet) => &snippet.provenance,
        }
    }

    /// Returns what a claim's numbers must stand in: the feature's statement or the
    /// verbatim text.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.kind {
            EvidenceKind::Numeric(feature) => feature.statement(),
            EvidenceKind::Text(snippet) => snippet.text.clone(),
        }
    }

    /// Tells whether the item only says that its section has no data.
    #[must_use]
    pub const fn is_absence(&self) -> bool {
        matches!(&self.kind, EvidenceKind::Numeric(feature) if feature.coverage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_each_unit_one_way() {
        for (unit, value, text) in [
            (Unit::Change, -0.0408, "-4.1%"),
            (Unit::Change, 0.12, "+12.0%"),
            (Unit::Change, -0.0004, "0.0%"),
            (Unit::Share, 0.2744, "27.4%"),
            (Unit::ChangePoints, 0.0125, "+1.2pp"),
            (Unit::Level, 38.24, "38.2"),
            (Unit::Ratio, -0.314, "-0.31"),
            (Unit::Score, 0.315, "+0.32"),
            (Unit::Count, 0.0, "0"),
            (Unit::Shares, -120_500.0, "-120500"),
        ] {
            assert_eq!(unit.render(value), text, "{unit:?} {value}");
        }
    }
}
