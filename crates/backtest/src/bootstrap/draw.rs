//! Which days a resample takes.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A seeded stationary bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stationary {
    /// Mean length of a block in days; 0 is 1, which draws days one by one.
    pub mean_block: u32,
    /// Resamples.
    pub resamples: u32,
    /// Seed.
    pub seed: u64,
}

/// Fewer blocks than these say nothing of how sure a statistic is.
const BLOCKS_MIN: usize = 5;

impl Stationary {
    /// Tells whether a series of so many days has blocks enough.
    #[must_use]
    pub const fn suits(&self, days: usize) -> bool {
        days >= BLOCKS_MIN * self.mean_block as usize
    }
}

/// Where resamples come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Resampling {
    /// They are drawn.
    Stationary(Stationary),
    /// They are given, so that another program's can be reproduced.
    Given(GivenIndices),
}

/// Resamples as lists of days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenIndices {
    days: usize,
    resamples: Vec<Vec<Run>>,
}

/// A resample names a day that is not there.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "resample {resample}, position {position}: day {day} is not below {days}, the days of the series"
)]
pub struct IndexError {
    /// Resample, from 0.
    pub resample: usize,
    /// Position in it, from 0.
    pub position: usize,
    /// The day.
    pub day: usize,
    /// Days of the series.
    pub days: usize,
}

/// Days in a row, from one below the number of days of the series on; after the last day
/// comes the first. It is not longer than the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    start: u32,
    days: u32,
}

impl Run {
    pub(super) const fn start(self) -> usize {
        self.start as usize
    }

    pub(super) const fn days(self) -> usize {
        self.days as usize
    }

    /// One past the last day, not wrapped.
    pub(super) const fn end(self) -> usize {
        self.start() + self.days()
    }
}

impl Resampling {
    /// Returns the number of resamples.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Stationary(plan) => plan.resamples as usize,
            Self::Given(given) => given.resamples.len(),
        }
    }

    /// Returns the days of a resample (from 0) of a series of `days`; empty if there is
    /// no such resample.
    #[must_use]
    pub fn indices(&self, resample: usize, days: usize) -> Vec<usize> {
        let mut runs = Vec::new();
        self.runs(resample, days, &mut runs);
        runs.iter().flat_map(|run| (run.start()..run.end()).map(|day| day % days)).collect()
    }

    /// Writes the runs of a resample; none if the series is empty or not the given one's.
    pub(super) fn runs(&self, resample: usize, days: usize, runs: &mut Vec<Run>) {
        runs.clear();
        match self {
            Self::Stationary(plan) => plan.draw(resample, days, runs),
            Self::Given(given) if given.days == days => {
                runs.extend(given.resamples.get(resample).into_iter().flatten());
            }
            Self::Given(_) => {}
        }
    }
}

impl Stationary {
    fn draw(self, resample: usize, days: usize, runs: &mut Vec<Run>) {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(resample as u64);
        let Ok(days) = u32::try_from(days) else { return };
        // A block goes on with probability 1 - 1 / mean: its length is geometric. The
        // inverse of its distribution takes one logarithm a block instead of a draw a day.
        let scale = (-1.0 / f64::from(self.mean_block.max(1))).ln_1p().recip();
        let mut left = days;
        while left > 0 {
            let start = random.random_range(0..days);
            let uniform: f64 = random.random();
            // The conversion saturates, and `left` bounds the length.
            let length = ((-uniform).ln_1p() * scale) as u32;
            let run = Run { start, days: length.saturating_add(1).min(left) };
            runs.push(run);
            left -= run.days;
        }
    }
}

impl GivenIndices {
    /// Takes resamples of a series of `days`, each a list of days from 0. Their lengths
    /// are free.
    ///
    /// # Errors
    /// Fails on a day that is not in the series.
    pub fn new(days: usize, resamples: &[Vec<usize>]) -> Result<Self, IndexError> {
        let runs = |(resample, indices): (usize, &Vec<usize>)| -> Result<Vec<Run>, IndexError> {
            let mut runs: Vec<Run> = Vec::new();
            for (position, &day) in indices.iter().enumerate() {
                let error = IndexError { resample, position, day, days };
                let start = u32::try_from(day).ok().filter(|_| day < days).ok_or(error)?;
                match runs.last_mut() {
                    Some(run) if run.end() % days == day && run.days() < days => run.days += 1,
                    _ => runs.push(Run { start, days: 1 }),
                }
            }
            Ok(runs)
        };
        let resamples = resamples.iter().enumerate().map(runs).collect::<Result<_, _>>()?;
        Ok(Self { days, resamples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_the_mean_length_and_start_anywhere() {
        for mean_block in [1, 5, 21] {
            let plan = Stationary { mean_block, resamples: 1, seed: 3 };
            let mut runs = Vec::new();
            plan.draw(0, 1_000_000, &mut runs);
            let mean = 1e6 / runs.len() as f64;
            assert!((mean / f64::from(mean_block) - 1.0).abs() < 0.02, "{mean_block}: {mean}");
            let start = runs.iter().map(|run| run.start() as f64).sum::<f64>() / runs.len() as f64;
            assert!((start / 5e5 - 1.0).abs() < 0.02, "{mean_block}: {start}");
        }
    }

    #[test]
    fn refuses_days_that_are_not_there() {
        let error = GivenIndices::new(3, &[vec![0, 1], vec![2, 3]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "resample 1, position 1: day 3 is not below 3, the days of the series"
        );
    }

    #[test]
    fn given_days_come_back() {
        let resamples = vec![vec![1, 2, 0, 1, 2, 0, 1], vec![0, 0, 2], vec![]];
        let given = Resampling::Given(GivenIndices::new(3, &resamples).unwrap());
        for (resample, indices) in resamples.iter().enumerate() {
            assert_eq!(&given.indices(resample, 3), indices);
        }
        assert!(given.indices(0, 4).is_empty(), "of another series");
        assert!(given.indices(9, 3).is_empty(), "no such resample");
    }
}
