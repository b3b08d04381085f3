//! The division of a calendar into train, validation and test dates.
//!
//! ```text
//! train | purge | embargo | validation | purge | embargo | test, then dates without labels
//! ```
//!
//! Labels of dates before a border reach across it, and features of dates after it reach
//! back: both are left out (purging and embargo, Lopez de Prado 2018, chapter 7). Dates
//! are divided, never rows: all names of a date are on one side.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use anyhow::ensure;
use chrono::NaiveDate;
use domain::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{RunConfig, Split};

/// What decides which dates are trained on: between runs where this is equal, nothing that
/// one was trained on is held out by the other.
pub(crate) fn division(config: &RunConfig, snapshots: &BTreeMap<String, Digest>) -> Value {
    json!({
        "label_scheme": config.data.label_scheme,
        "sources": config.data.sources,
        "split": config.split,
        "snapshots": snapshots,
    })
}

/// A part of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// What is learned from.
    Train,
    /// What settings are chosen and probabilities calibrated on.
    Validation,
    /// What nothing is chosen on.
    Test,
}

impl Part {
    /// All parts, oldest dates first.
    pub(crate) const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Returns the name of its directory.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// The sessions of snapshots that may know of each other, divided.
#[derive(Debug, Clone)]
pub(crate) struct Calendar {
    dates: Vec<NaiveDate>,
    parts: [Range<usize>; 3],
}

impl Calendar {
    /// Divides the dates up to the last that has a label; dates after it are test dates,
    /// for contexts that need none.
    ///
    /// # Errors
    /// Fails where the dates do not fill the parts and the gaps between them.
    pub(crate) fn new(
        dates: BTreeSet<NaiveDate>,
        last_label: NaiveDate,
        split: &Split,
    ) -> anyhow::Result<Self> {
        let dates: Vec<NaiveDate> = dates.into_iter().collect();
        let labelled = dates.partition_point(|date| *date <= last_label);
        let gap = (split.purged_size + split.embargo_size) as usize;
        let usable = labelled.saturating_sub(2 * gap);
        let size = |share: f64| (share * usable as f64).round() as usize;
        let (train, validation) = (size(split.train_size), size(split.validation_size));
        let test = usable.saturating_sub(train + validation);
        let wanted = [split.train_size, split.validation_size, split.test_size];
        let is_filled = |(n, share): (usize, f64)| n > 0 || share == 0.0;
        ensure!(
            [train, validation, test].into_iter().zip(wanted).all(is_filled),
            "{labelled} sessions with labels are too few for the split: two gaps of {gap} sessions \
             leave {usable}; take an earlier `from` or a longer history"
        );
        let (second, third) = (train + gap, train + gap + validation + gap);
        let end = if split.test_size > 0.0 { dates.len() } else { third };
        Ok(Self { dates, parts: [0..train, second..second + validation, third..end.max(third)] })
    }

    /// Returns the part of a date; none in a gap and outside the calendar.
    pub(crate) fn part(&self, date: NaiveDate) -> Option<Part> {
        let place = self.dates.binary_search(&date).ok()?;
        let parts = Part::ALL.into_iter().zip(&self.parts);
        parts.into_iter().find(|(_, range)| range.contains(&place)).map(|(part, _)| part)
    }

    /// Returns the first date after all of a part that belongs to a later one; none where
    /// there is none.
    pub(crate) fn border(&self, part: Part) -> Option<NaiveDate> {
        let later = self.parts.iter().skip(part as usize + 1);
        let first = later.into_iter().find(|range| !range.is_empty())?;
        self.dates.get(first.start).copied()
    }

    /// Returns the first and last date of a part.
    pub(crate) fn span(&self, part: Part) -> Option<(NaiveDate, NaiveDate)> {
        let range = self.parts.get(part as usize)?;
        let dates = self.dates.get(range.clone())?;
        Some((*dates.first()?, *dates.last()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` days, the last `open` of them without a label.
    fn calendar(n: usize, open: usize, split: &Split) -> anyhow::Result<Calendar> {
        let first = NaiveDate::from_ymd_opt(2022, 1, 3).unwrap();
        let dates: BTreeSet<NaiveDate> = first.iter_days().take(n).collect();
        let last_label = dates.iter().copied().nth(n - open - 1).unwrap();
        Calendar::new(dates, last_label, split)
    }

    /// 600 sessions, 63 without a label: 537 - 252 leave 285, of which 70 % are 200
    /// (rounded from 199.5), 15 % 43 (from 42.75), and 42 remain.
    #[test]
    fn gaps_lie_between_the_parts() {
        let calendar = calendar(600, 63, &Split::default()).unwrap();
        assert_eq!(calendar.parts, [0..200, 326..369, 495..600]);
        let date = |i: usize| calendar.dates[i];
        for (i, part) in [
            (0, Some(Part::Train)),
            (199, Some(Part::Train)),
            (200, None),
            (325, None),
            (326, Some(Part::Validation)),
            (368, Some(Part::Validation)),
            (369, None),
            (494, None),
            (495, Some(Part::Test)),
            (599, Some(Part::Test)),
        ] {
            assert_eq!(calendar.part(date(i)), part, "{i}");
        }
        assert_eq!(calendar.border(Part::Train), Some(date(326)));
        assert_eq!(calendar.border(Part::Validation), Some(date(495)));
        assert_eq!(calendar.border(Part::Test), None);
        assert_eq!(calendar.span(Part::Validation), Some((date(326), date(368))));
        assert_eq!(calendar.part(date(599).succ_opt().unwrap()), None);
    }

    #[test]
    fn a_part_of_no_size_is_empty() {
        let split =
            Split { train_size: 0.8, test_size: 0.0, validation_size: 0.2, ..Split::default() };
        let calendar = calendar(600, 63, &split).unwrap();
        assert!(calendar.parts[2].is_empty());
        assert_eq!(calendar.span(Part::Test), None);
        assert_eq!(calendar.border(Part::Validation), None);
    }

    #[test]
    fn a_history_too_short_is_refused() {
        let error = calendar(300, 63, &Split::default()).unwrap_err().to_string();
        assert!(error.contains("237 sessions with labels are too few"), "{error}");
    }
}
