//! What became known of names over time: decisions of a model, estimates, labels.

use chrono::NaiveDate;
use domain::Ticker;

use crate::{Frame, Market};

/// Values of names with the day each became known. The only reads take a [`Frame`], so
/// that a strategy sees of it what it sees of the market: nothing of the days after.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline<T> {
    /// For each name, in order of days.
    values: Vec<Vec<(NaiveDate, T)>>,
}

impl<T> Timeline<T> {
    /// Sorts values by name and day; of several of a day the last one given holds. Names
    /// the market does not have are left out, and their values are counted.
    pub fn new(
        market: &Market,
        values: impl IntoIterator<Item = (Ticker, NaiveDate, T)>,
    ) -> (Self, usize) {
        let mut sorted: Vec<Vec<(NaiveDate, T)>> =
            (0..market.width()).map(|_| Vec::new()).collect();
        let mut strangers = 0;
        for (ticker, known, value) in values {
            match market.position(&ticker) {
                Some(name) => sorted[name].push((known, value)),
                None => strangers += 1,
            }
        }
        // The sort is stable, so that the last of a day stays the last.
        sorted.iter_mut().for_each(|values| values.sort_by_key(|(known, _)| *known));
        (Self { values: sorted }, strangers)
    }

    /// Returns all values of a name that were known, oldest first.
    #[must_use]
    pub fn known(&self, frame: &Frame<'_>, name: usize) -> &[(NaiveDate, T)] {
        let values = self.values.get(name).map_or(&[][..], Vec::as_slice);
        &values[..values.partition_point(|(known, _)| *known <= frame.session())]
    }

    /// Returns the latest value of a name, unless it is older than `days` days.
    #[must_use]
    pub fn latest(&self, frame: &Frame<'_>, name: usize, days: u32) -> Option<&T> {
        let (known, value) = self.known(frame, name).last()?;
        let age = (frame.session() - *known).num_days();
        (age <= i64::from(days)).then_some(value)
    }

    /// Returns whether there is no value at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.iter().all(Vec::is_empty)
    }
}
