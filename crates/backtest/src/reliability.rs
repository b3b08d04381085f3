//! How good probabilities of classes are: proper scores, and whether what is said to
//! happen with 70 % does so.
//!
//! Probabilities are rows of K; the class of a row is its position, as `Label::index`
//! gives it. Everything is undefined for no rows, for unequal lengths, for a class that is
//! not there, and for rows that are no probabilities.

use serde::{Deserialize, Serialize};

use crate::metrics::moments::finite;

/// Numbers of bins that reports show.
pub const BINS: [usize; 2] = [10, 15];

/// A row may miss a sum of 1 by this, as the probabilities of a label may.
const SUM_TOLERANCE: f64 = 1e-6;

/// One bin of a reliability diagram, (`low`, `high`]; the first holds 0 as well.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Lower border, not in the bin.
    pub low: f64,
    /// Upper border, in the bin.
    pub high: f64,
    /// Forecasts in the bin.
    pub count: usize,
    /// Mean probability that was said; none in an empty bin.
    pub confidence: Option<f64>,
    /// Share of the forecasts that came true; none in an empty bin.
    pub frequency: Option<f64>,
}

/// -ln p, of a probability not below the precision of numbers around 1: what was said to
/// be impossible and came true costs 36 nats, not infinitely many.
#[must_use]
pub fn surprise(p: f64) -> f64 {
    -p.clamp(f64::EPSILON, 1.0).ln()
}

/// Log-loss: the mean of -ln of the probability of what came true, in nats, with the bound
/// of [`surprise`].
#[must_use]
pub fn log_loss<const K: usize>(probs: &[[f64; K]], classes: &[usize]) -> Option<f64> {
    check(probs, classes)?;
    let losses = probs.iter().zip(classes).map(|(row, class)| surprise(row[*class]));
    finite(losses.sum::<f64>() / probs.len() as f64)
}

/// Brier score of several classes: the mean of the sum over classes of (p - y)^2, from 0
/// to 2 (Brier 1950).
#[must_use]
pub fn brier<const K: usize>(probs: &[[f64; K]], classes: &[usize]) -> Option<f64> {
    check(probs, classes)?;
    let score = |(row, class): (&[f64; K], &usize)| -> f64 {
        row.iter().enumerate().map(|(k, p)| (p - f64::from(u8::from(k == *class))).powi(2)).sum()
    };
    finite(probs.iter().zip(classes).map(score).sum::<f64>() / probs.len() as f64)
}

/// Reliability of the top probability, the first on a tie: how often it comes true, by
/// equal-width bins of it.
#[must_use]
pub fn reliability<const K: usize>(
    probs: &[[f64; K]],
    classes: &[usize],
    bins: usize,
) -> Option<Vec<Bin>> {
    check(probs, classes)?;
    let forecast = |(row, class): (&[f64; K], &usize)| {
        let top = (1..K).fold(0, |top, k| if row[k] > row[top] { k } else { top });
        (row[top], top == *class)
    };
    table(probs.iter().zip(classes).map(forecast), bins)
}

/// Reliability of the probability of one class, by equal-width bins of it.
#[must_use]
pub fn class_reliability<const K: usize>(
    probs: &[[f64; K]],
    classes: &[usize],
    class: usize,
    bins: usize,
) -> Option<Vec<Bin>> {
    check(probs, classes)?;
    if class >= K {
        return None;
    }
    let forecast = |(row, true_class): (&[f64; K], &usize)| (row[class], *true_class == class);
    table(probs.iter().zip(classes).map(forecast), bins)
}

/// Expected calibration error of the top label (Guo et al. 2017): the mean over bins of
/// |frequency - confidence|, by their counts; empty bins weigh 0.
#[must_use]
pub fn ece<const K: usize>(probs: &[[f64; K]], classes: &[usize], bins: usize) -> Option<f64> {
    calibration_error(&reliability(probs, classes, bins)?)
}

/// Classwise calibration error (Kull et al. 2019): the mean over classes of the
/// calibration error of that class's probability.
#[must_use]
pub fn classwise_ece<const K: usize>(
    probs: &[[f64; K]],
    classes: &[usize],
    bins: usize,
) -> Option<f64> {
    let error = |class| calibration_error(&class_reliability(probs, classes, class, bins)?);
    let errors: Option<Vec<f64>> = (0..K).map(error).collect();
    finite(errors?.iter().sum::<f64>() / K as f64)
}

/// The mean over bins of |frequency - confidence|, by their counts.
#[must_use]
pub fn calibration_error(bins: &[Bin]) -> Option<f64> {
    let count: usize = bins.iter().map(|bin| bin.count).sum();
    let gap = |bin: &Bin| match (bin.frequency, bin.confidence) {
        (Some(frequency), Some(confidence)) => {
            bin.count as f64 / count as f64 * (frequency - confidence).abs()
        }
        _ => 0.0,
    };
    if count == 0 {
        return None;
    }
    finite(bins.iter().map(gap).sum())
}

fn table(forecasts: impl Iterator<Item = (f64, bool)>, bins: usize) -> Option<Vec<Bin>> {
    if bins == 0 {
        return None;
    }
    let border = |bin: usize| bin as f64 / bins as f64;
    let mut sums = vec![(0_usize, 0.0, 0_usize); bins];
    for (p, came_true) in forecasts {
        // Near a border the product may round across it: the borders themselves decide.
        let guess = ((p * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        let bin = if p <= border(guess) {
            guess.saturating_sub(1)
        } else if p > border(guess + 1) {
            (guess + 1).min(bins - 1)
        } else {
            guess
        };
        let (count, confidence, hits) = &mut sums[bin];
        *count += 1;
        *confidence += p;
        *hits += usize::from(came_true);
    }
    let bin = |(bin, (count, confidence, hits)): (usize, (usize, f64, usize))| Bin {
        low: border(bin),
        high: border(bin + 1),
        count,
        confidence: finite(confidence / count as f64),
        frequency: finite(hits as f64 / count as f64),
    };
    Some(sums.into_iter().enumerate().map(bin).collect())
}

fn check<const K: usize>(probs: &[[f64; K]], classes: &[usize]) -> Option<()> {
    let is_distribution = |row: &[f64; K]| {
        row.iter().all(|p| (0.0..=1.0).contains(p))
            && (row.iter().sum::<f64>() - 1.0).abs() <= SUM_TOLERANCE
    };
    let is_fine = !probs.is_empty()
        && probs.len() == classes.len()
        && classes.iter().all(|class| *class < K)
        && probs.iter().all(is_distribution);
    is_fine.then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bins_hold_their_upper_border_and_the_first_holds_0() {
        for (p, expected) in [(0.0, 0), (0.1, 0), (0.1 + 1e-12, 1), (0.3, 2), (0.7, 6), (1.0, 9)] {
            let bins = table([(p, true)].into_iter(), 10).unwrap();
            assert_eq!(bins.iter().position(|bin| bin.count == 1), Some(expected), "{p}");
        }
        for bins in [10, 15, 7] {
            for border in 1..=bins {
                let p = border as f64 / bins as f64;
                let table = table([(p, true)].into_iter(), bins).unwrap();
                assert_eq!(table.iter().position(|bin| bin.count == 1), Some(border - 1));
            }
        }
    }

    #[test]
    fn scores_of_a_few_forecasts_by_hand() {
        let probs = [[0.8, 0.2], [0.6, 0.4], [0.35, 0.65], [0.5, 0.5]];
        let classes = [0, 1, 1, 0];
        let near = |value: Option<f64>, expected: f64| {
            assert!((value.unwrap() - expected).abs() < 1e-15, "{value:?} {expected}");
        };
        near(brier(&probs, &classes), 2.0 * (0.04 + 0.36 + 0.1225 + 0.25) / 4.0);
        let loss = -(0.8_f64.ln() + 0.4_f64.ln() + 0.65_f64.ln() + 0.5_f64.ln()) / 4.0;
        near(log_loss(&probs, &classes), loss);
        // .5 comes true, .6 not, .65 and .8 do.
        near(ece(&probs, &classes, 10), (0.5 + 0.6 + 0.35 + 0.2) / 4.0);
        // .6 and .65 share (.5, .75].
        near(ece(&probs, &classes, 4), (0.5 + (0.6 + 0.65 - 1.0) + 0.2) / 4.0);
    }

    #[test]
    fn what_was_impossible_costs_much_but_not_infinitely() {
        let loss = log_loss(&[[1.0, 0.0]], &[1]).unwrap();
        assert!((loss - 36.04).abs() < 0.01, "{loss}");
    }

    #[test]
    fn is_undefined_for_what_is_no_forecast() {
        let fine = [[0.5, 0.5]];
        assert_eq!(ece::<2>(&[], &[], 10), None);
        assert_eq!(ece(&fine, &[0], 0), None);
        assert_eq!(brier(&fine, &[2]), None);
        assert_eq!(brier(&fine, &[0, 1]), None);
        assert_eq!(class_reliability(&fine, &[0], 2, 10), None);
        for row in [[0.5, 0.4], [f64::NAN, 1.0], [1.5, -0.5]] {
            assert_eq!(log_loss(&[row], &[0]), None, "{row:?}");
            assert_eq!(classwise_ece(&[row], &[0], 10), None, "{row:?}");
        }
    }

    proptest! {
        #[test]
        fn scores_are_within_their_bounds(
            rows in prop::collection::vec((prop::array::uniform3(0.0..1.0_f64), 0_usize..3), 1..50),
            bins in 1_usize..20,
        ) {
            let normal = |row: [f64; 3]| {
                let sum: f64 = row.iter().sum::<f64>() + 1e-9;
                row.map(|p| (p + 1e-9 / 3.0) / sum)
            };
            let probs: Vec<_> = rows.iter().map(|(row, _)| normal(*row)).collect();
            let classes: Vec<_> = rows.iter().map(|(_, class)| *class).collect();
            prop_assert!((0.0..=2.0).contains(&brier(&probs, &classes).unwrap()));
            prop_assert!((0.0..=1.0).contains(&ece(&probs, &classes, bins).unwrap()));
            prop_assert!((0.0..=1.0).contains(&classwise_ece(&probs, &classes, bins).unwrap()));
            let table = reliability(&probs, &classes, bins).unwrap();
            prop_assert_eq!(table.iter().map(|bin| bin.count).sum::<usize>(), rows.len());
            for bin in table.iter().filter(|bin| bin.count > 0) {
                let confidence = bin.confidence.unwrap();
                prop_assert!(bin.low < confidence + 1e-12 && confidence <= bin.high + 1e-12);
            }
        }
    }
}
