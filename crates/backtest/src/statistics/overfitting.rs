//! Does the choice of the best trial in sample say anything out of sample?

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::metrics::moments::{finite, mean, quantile, squares};

/// Blocks of days that the paper's examples use: 12,870 splits.
pub const CSCV_BLOCKS: usize = 16;

/// More blocks than this make more than 184,756 splits.
const BLOCKS_MAX: usize = 20;

/// Why trials cannot be split.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OverfittingError {
    /// There is no choice among fewer than two.
    #[error("{0} trial(s): a choice among trials takes at least 2")]
    FewTrials(usize),
    /// A trial has other days.
    #[error(
        "trial {trial} has {found} days, the first has {expected}: give all trials the same days"
    )]
    Days {
        /// Trial, from 0.
        trial: usize,
        /// Its days.
        found: usize,
        /// Days of the first.
        expected: usize,
    },
    /// Blocks do not make halves, or too many of them.
    #[error("{0} blocks: give an even number from 2 to {BLOCKS_MAX}, such as {CSCV_BLOCKS}")]
    Blocks(usize),
    /// A block has too few days for a deviation.
    #[error("{days} days make {blocks} blocks of fewer than 2 days: use fewer blocks or more days")]
    FewDays {
        /// Days.
        days: usize,
        /// Blocks.
        blocks: usize,
    },
    /// A return is NaN or infinite.
    #[error("trial {trial}, day {day}: the return is not a number")]
    Return {
        /// Trial, from 0.
        trial: usize,
        /// Day, from 0.
        day: usize,
    },
}

/// What combinatorially symmetric cross-validation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overfitting {
    /// Share of splits with a logit of at most 0: the best in sample is at or below the
    /// median out of sample. Undefined if no trial ever moves.
    pub probability: Option<f64>,
    /// Share of splits in which the best in sample has a negative Sharpe ratio out of it.
    pub probability_of_loss: Option<f64>,
    /// Slope of the Sharpe ratio of the best out of sample on that in sample, by least
    /// squares: below 0, the better the fit the worse the result.
    pub degradation: Option<f64>,
    /// Median over splits of the logit of the relative rank of the best out of sample.
    pub median_logit: Option<f64>,
    /// Trials.
    pub trials: usize,
    /// Splits in which a best was defined.
    pub splits: usize,
}

/// Days, sum and sum of squares of one trial in a set of days.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    sum: f64,
    squares: f64,
}

/// One split: the best trial in sample.
struct Split {
    in_sample: f64,
    out_of_sample: f64,
    logit: f64,
}

/// Probability of backtest overfitting by combinatorially symmetric cross-validation
/// (Bailey, Borwein, Lopez de Prado and Zhu 2017). `trials` are daily returns of each
/// trial over the same days, in order. The days are cut into `blocks` of equal size, the
/// first days left over being dropped; every half of the blocks is in sample once. The
/// trial with the best Sharpe ratio there (the first, if several) has relative rank
/// w = rank / (N + 1) out of sample, ties sharing the middle rank, and logit
/// ln(w / (1 - w)).
///
/// A trial that does not move in a half has no Sharpe ratio there and ranks below all that
/// do. Takes a time of trials x splits x blocks.
///
/// # Errors
/// Fails on fewer than two trials, unequal days, returns that are not finite, and blocks
/// that are odd, too many or too short.
pub fn probability_of_overfitting<T: AsRef<[f64]> + Sync>(
    trials: &[T],
    blocks: usize,
) -> Result<Overfitting, OverfittingError> {
    let block_days = check(trials, blocks)?;
    let table: Vec<Vec<Sums>> =
        trials.par_iter().map(|trial| block_sums(trial.as_ref(), blocks, block_days)).collect();
    let half_days = (block_days * blocks / 2) as f64;
    let halves: Vec<u32> =
        (0..1_u32 << blocks).filter(|half| half.count_ones() as usize == blocks / 2).collect();
    let splits: Vec<Split> = halves
        .par_iter()
        .map_init(Vec::new, |out_of_sample, half| split(&table, *half, half_days, out_of_sample))
        .flatten_iter()
        .collect();
    let share = |is: fn(&Split) -> bool| {
        finite(splits.iter().filter(|split| is(split)).count() as f64 / splits.len() as f64)
    };
    let mut logits: Vec<f64> = splits.iter().map(|split| split.logit).collect();
    Ok(Overfitting {
        probability: share(|split| split.logit <= 0.0),
        probability_of_loss: share(|split| split.out_of_sample < 0.0),
        degradation: slope(&splits),
        median_logit: quantile(&mut logits, 0.5),
        trials: trials.len(),
        splits: splits.len(),
    })
}

/// Returns the days of a block.
fn check<T: AsRef<[f64]>>(trials: &[T], blocks: usize) -> Result<usize, OverfittingError> {
    let [first, _, ..] = trials else { return Err(OverfittingError::FewTrials(trials.len())) };
    let expected = first.as_ref().len();
    if !(2..=BLOCKS_MAX).contains(&blocks) || !blocks.is_multiple_of(2) {
        return Err(OverfittingError::Blocks(blocks));
    }
    if expected / blocks < 2 {
        return Err(OverfittingError::FewDays { days: expected, blocks });
    }
    for (trial, returns) in trials.iter().map(AsRef::as_ref).enumerate() {
        if returns.len() != expected {
            return Err(OverfittingError::Days { trial, found: returns.len(), expected });
        }
        if let Some(day) = returns.iter().position(|r| !r.is_finite()) {
            return Err(OverfittingError::Return { trial, day });
        }
    }
    Ok(expected / blocks)
}

/// Sums by block of the days that fill whole blocks.
fn block_sums(returns: &[f64], blocks: usize, block_days: usize) -> Vec<Sums> {
    let used = &returns[returns.len() - blocks * block_days..];
    let sums = |block: &[f64]| Sums {
        sum: block.iter().sum(),
        squares: block.iter().map(|r| r * r).sum(),
    };
    used.chunks_exact(block_days).map(sums).collect()
}

/// Sharpe ratio of a day; that of what does not move is below all others.
fn sharpe(sums: Sums, days: f64) -> f64 {
    let mean = sums.sum / days;
    let dispersion = sums.squares - sums.sum * mean;
    // The rest that rounding leaves of a constant is of the order of its squares.
    if dispersion <= 1e-13 * sums.squares {
        return f64::NEG_INFINITY;
    }
    mean / (dispersion / (days - 1.0)).sqrt()
}

/// Judges the best of a half of the blocks on the other half; none if nothing moves.
fn split(
    table: &[Vec<Sums>],
    half: u32,
    half_days: f64,
    out_of_sample: &mut Vec<f64>,
) -> Option<Split> {
    out_of_sample.clear();
    let mut best: Option<(usize, f64)> = None;
    for (trial, blocks) in table.iter().enumerate() {
        let mut sides = [Sums::default(); 2];
        for (block, sums) in blocks.iter().enumerate() {
            let side = &mut sides[(half >> block & 1) as usize];
            side.sum += sums.sum;
            side.squares += sums.squares;
        }
        out_of_sample.push(sharpe(sides[0], half_days));
        let in_sample = sharpe(sides[1], half_days);
        if in_sample > best.map_or(f64::NEG_INFINITY, |(_, sharpe)| sharpe) {
            best = Some((trial, in_sample));
        }
    }
    let (trial, in_sample) = best?;
    let own = out_of_sample[trial];
    let below = out_of_sample.iter().filter(|other| **other < own).count() as f64;
    let equal = out_of_sample.iter().filter(|other| **other == own).count() as f64;
    let relative = (below + (equal + 1.0) / 2.0) / (out_of_sample.len() + 1) as f64;
    Some(Split { in_sample, out_of_sample: own, logit: (relative / (1.0 - relative)).ln() })
}

/// Slope of the results out of sample on those in sample, where both are defined.
fn slope(splits: &[Split]) -> Option<f64> {
    let defined = || splits.iter().filter(|split| split.out_of_sample.is_finite());
    let inside: Vec<f64> = defined().map(|split| split.in_sample).collect();
    let outside: Vec<f64> = defined().map(|split| split.out_of_sample).collect();
    let (x, y) = (mean(&inside)?, mean(&outside)?);
    let products: f64 = inside.iter().zip(&outside).map(|(i, o)| (i - x) * (o - y)).sum();
    finite(products / squares(&inside, x))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Trials of noise, to each of which its drift is added.
    fn noise(drifts: &[f64], days: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let trial =
            |drift: &f64| (0..days).map(|_| random.random_range(-0.01..0.01) + drift).collect();
        drifts.iter().map(trial).collect()
    }

    #[test]
    fn the_best_of_noise_is_overfitted_half_the_time_and_skill_never() {
        let mean = (0..20).map(|seed| {
            probability_of_overfitting(&noise(&[0.0; 20], 480, seed), 8)
                .unwrap()
                .probability
                .unwrap()
        });
        let mean = mean.sum::<f64>() / 20.0;
        assert!((0.35..0.65).contains(&mean), "{mean}");
        let mut drifts = [0.0; 20];
        drifts[7] = 0.01;
        let skill = probability_of_overfitting(&noise(&drifts, 480, 1), 8).unwrap();
        assert_eq!((skill.probability, skill.splits, skill.trials), (Some(0.0), 70, 20));
        assert_eq!(skill.probability_of_loss, Some(0.0));
        assert!((skill.median_logit.unwrap() - 20_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn trials_that_agree_are_at_the_median_and_those_that_rest_have_none() {
        let one = noise(&[0.0], 100, 3).remove(0);
        let alike = probability_of_overfitting(&[&one, &one, &one], 4).unwrap();
        assert_eq!((alike.probability, alike.median_logit), (Some(1.0), Some(0.0)));
        let rest = vec![0.001; 100];
        let flat = probability_of_overfitting(&[&rest, &rest], 4).unwrap();
        assert_eq!((flat.probability, flat.degradation, flat.splits), (None, None, 0));
        let beside = probability_of_overfitting(&[&one, &rest], 4).unwrap();
        assert_eq!((beside.probability, beside.splits), (Some(0.0), 6));
    }

    #[test]
    fn refuses_what_cannot_be_split() {
        let trials = noise(&[0.0; 2], 100, 1);
        let error = |trials: &[Vec<f64>], blocks| {
            probability_of_overfitting(trials, blocks).unwrap_err().to_string()
        };
        assert!(error(&trials[..1], 4).starts_with("1 trial(s)"));
        assert!(error(&trials, 5).starts_with("5 blocks"));
        assert!(error(&trials, 22).starts_with("22 blocks"));
        assert!(error(&[trials[0].clone(), vec![0.0; 99]], 4).starts_with("trial 1 has 99 days"));
        assert!(error(&[vec![0.0; 7], vec![0.0; 7]], 4).starts_with("7 days make 4 blocks"));
        let mut broken = trials;
        broken[1][9] = f64::NAN;
        assert_eq!(error(&broken, 4), "trial 1, day 9: the return is not a number");
    }
}
