//! Walk-forward folds: which sessions a model may be fitted on, and which it is then
//! judged on.
//!
//! Folds are cut by date and never by row, so that all names of a session are on the same
//! side. A label of horizon h looks h sessions ahead, so the sessions before a test block
//! are purged of training rows, and the sessions after it are embargoed: later folds do not
//! train on them (Lopez de Prado, *Advances in Financial Machine Learning*, 2018, 7.4).
//!
//! ```text
//! fold 0   train ........ purged .. test .....
//! fold 1          train ........ purged .. test .....
//! ```

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::BacktestError;

/// How the training window moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The last `train_size` sessions.
    Rolling,
    /// All sessions since the first.
    Expanding,
}

/// Sizes of a walk-forward, in sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalkForward {
    /// Sessions of the first training window, and of each where it rolls.
    pub train_size: usize,
    /// Sessions a fitted model is judged on before it is fitted again.
    pub test_size: usize,
    /// Sessions between training and test that neither uses.
    pub purged_size: usize,
    /// Sessions after a test block that later folds do not train on.
    pub embargo_size: usize,
    /// How the training window moves.
    pub window: Window,
}

impl Default for WalkForward {
    /// Sizes for labels of up to 63 sessions.
    fn default() -> Self {
        Self {
            train_size: 320,
            test_size: 120,
            purged_size: 63,
            embargo_size: 63,
            window: Window::Rolling,
        }
    }
}

/// One fit and what it is judged on. Numbers are positions of sessions in the span the
/// folds were made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fold {
    /// Sessions to train on, in order; embargoes cut the window into pieces.
    pub train: Vec<Range<usize>>,
    /// Sessions to judge on; the last fold's may be fewer.
    pub test: Range<usize>,
}

impl Fold {
    /// Returns the sessions to train on, in order.
    pub fn train_sessions(&self) -> impl Iterator<Item = usize> + '_ {
        self.train.iter().cloned().flatten()
    }
}

impl WalkForward {
    /// Returns the usual sizes for labels that look so many sessions ahead. Beyond 63 of them
    /// windows grow with what is purged and embargoed, which would leave nothing of them.
    #[must_use]
    pub fn for_horizon(horizon: usize) -> Self {
        let usual = Self::default();
        let gap = usual.purged_size.max(horizon);
        if gap == usual.purged_size {
            return usual;
        }
        Self {
            train_size: usual.train_size.max(gap.saturating_mul(2)),
            test_size: usual.test_size.max(gap.saturating_mul(2)),
            purged_size: gap,
            embargo_size: gap,
            ..usual
        }
    }

    /// Cuts a span of `sessions` into folds for labels that look up to `horizon` sessions
    /// ahead. Test blocks follow each other without a gap, to the end of the span.
    ///
    /// # Errors
    /// Fails on a size of zero, where labels of the training window would look into the
    /// test block, where nothing is left to train on, and on a span that has no room for
    /// one fold.
    pub fn folds(&self, sessions: usize, horizon: usize) -> Result<Vec<Fold>, BacktestError> {
        self.check(horizon)?;
        let first_test = self.train_size.saturating_add(self.purged_size);
        let needed = first_test.saturating_add(self.test_size);
        if sessions < needed {
            let what = "train_size, purged_size and test_size";
            return Err(BacktestError::ShortSpan { found: sessions, needed, what });
        }
        let mut folds: Vec<Fold> = Vec::new();
        for start in (first_test..sessions).step_by(self.test_size) {
            let end = start - self.purged_size;
            let begin = match self.window {
                Window::Rolling => end - self.train_size,
                Window::Expanding => 0,
            };
            let embargoes = folds
                .iter()
                .map(|fold| fold.test.end..fold.test.end.saturating_add(self.embargo_size));
            let train = without(begin..end, embargoes);
            if train.is_empty() {
                let value = self.train_size.to_string();
                let remedy = "embargoes leave no session of a window to train on: \
                              make train_size or test_size longer than embargo_size";
                return Err(BacktestError::BadParameter { name: "train_size", value, remedy });
            }
            folds.push(Fold { train, test: start..sessions.min(start + self.test_size) });
        }
        Ok(folds)
    }

    fn check(&self, horizon: usize) -> Result<(), BacktestError> {
        let sizes =
            [("horizon", horizon), ("train_size", self.train_size), ("test_size", self.test_size)];
        if let Some((name, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            let remedy = "give at least one session";
            return Err(BacktestError::BadParameter { name, value: "0".to_owned(), remedy });
        }
        let reason = "the last labels of the training window would be made of test prices";
        let purge = ("purged_size", self.purged_size, reason);
        let reason = "labels of test sessions and of those that follow share prices";
        let embargo = ("embargo_size", self.embargo_size, reason);
        match [purge, embargo].into_iter().find(|(_, size, _)| *size < horizon) {
            Some((name, found, reason)) => {
                Err(BacktestError::LabelOverlap { name, found, horizon, reason })
            }
            None => Ok(()),
        }
    }
}

/// Returns what is left of a range without others, which are in order.
fn without(range: Range<usize>, cuts: impl Iterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let (mut left, mut start) = (Vec::new(), range.start);
    for cut in cuts {
        let before = start..cut.start.min(range.end);
        if before.start < before.end {
            left.push(before);
        }
        start = start.max(cut.end);
    }
    if start < range.end {
        left.push(start..range.end);
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_roll_and_expand() {
        let sizes = WalkForward { embargo_size: 63, ..WalkForward::default() };
        let folds = sizes.folds(800, 63).unwrap();
        let whole = |train: Range<usize>| -> Vec<Range<usize>> { std::iter::once(train).collect() };
        let first = Fold { train: whole(0..320), test: 383..503 };
        // The window holds sessions that follow the first test block: they are embargoed.
        let third = Fold { train: whole(240..503), test: 623..743 };
        assert_eq!((folds.len(), &folds[0], &folds[2]), (4, &first, &third));
        assert_eq!(folds[3].test, 743..800);
        let expanding = WalkForward { window: Window::Expanding, ..sizes };
        assert_eq!(expanding.folds(800, 63).unwrap()[2].train, whole(0..503));
    }

    #[test]
    fn the_usual_sizes_suit_every_horizon() {
        assert_eq!(WalkForward::for_horizon(21), WalkForward::default());
        for horizon in [1, 63, 64, 119, 120, 252, 600] {
            let folds = WalkForward::for_horizon(horizon).folds(8_000, horizon).unwrap();
            assert!(folds.len() > 3, "{horizon}");
        }
    }

    #[test]
    fn what_overlaps_or_has_no_room_is_refused() {
        let message = |sizes: WalkForward, sessions, horizon| {
            sizes.folds(sessions, horizon).unwrap_err().to_string()
        };
        let sizes = WalkForward::default();
        let short = WalkForward { purged_size: 21, ..sizes };
        assert_eq!(
            message(short, 2_000, 63),
            "purged_size is 21, shorter than the longest horizon of 63 sessions: the last labels of \
             the training window would be made of test prices; give at least 63"
        );
        let short = WalkForward { embargo_size: 0, ..sizes };
        assert!(message(short, 2_000, 63).starts_with("embargo_size is 0, shorter than"));
        assert_eq!(
            message(sizes, 502, 63),
            "the span has 502 sessions, fewer than the 503 that train_size, purged_size and \
             test_size take: widen it"
        );
        assert!(sizes.folds(503, 63).is_ok());
        assert!(message(sizes, 2_000, 0).starts_with("horizon is 0"));
    }

    proptest! {
        #[test]
        fn no_label_of_a_training_window_reaches_its_test_block(
            train_size in 1usize..200, test_size in 1usize..100, horizon in 1usize..70,
            more in 0usize..40, sessions in 1usize..2_000, expanding: bool,
        ) {
            let (purged_size, embargo_size) = (horizon + more, horizon + more / 2);
            let window = if expanding { Window::Expanding } else { Window::Rolling };
            let sizes = WalkForward { train_size, test_size, purged_size, embargo_size, window };
            let folds = match sizes.folds(sessions, horizon) {
                Ok(folds) => folds,
                Err(BacktestError::ShortSpan { needed, .. }) => {
                    prop_assert!(sessions < needed);
                    return Ok(());
                }
                Err(error) => {
                    prop_assert!(embargo_size >= train_size.min(test_size), "{}", error);
                    return Ok(());
                }
            };
            let mut next = train_size + purged_size;
            for (i, fold) in folds.iter().enumerate() {
                prop_assert!(fold.test.start == next && fold.test.end > next);
                next = fold.test.end;
                for session in fold.train_sessions() {
                    prop_assert!(session + horizon < fold.test.start);
                    for earlier in &folds[..i] {
                        let embargo = earlier.test.end..earlier.test.end + embargo_size;
                        prop_assert!(!embargo.contains(&session));
                    }
                }
            }
            prop_assert_eq!(next, sessions);
        }
    }
}
