//! Is a Sharpe ratio more than the luck of its sample, and of the best of many trials?

use std::f64::consts::E;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF as _, Normal};

use crate::metrics::{
    daily_sharpe,
    moments::{finite, mean, shape, squares},
};

/// Euler's constant, of the expected maximum of normals.
const EULER: f64 = 0.577_215_664_901_532_9;

/// A Sharpe ratio of daily returns, not annual, with what its error depends on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SharpeSample {
    /// Sharpe ratio of a day.
    pub sharpe: f64,
    /// Skewness of the returns.
    pub skewness: f64,
    /// Kurtosis of the returns, not in excess.
    pub kurtosis: f64,
    /// Days.
    pub observations: usize,
}

impl SharpeSample {
    /// Measures daily returns: deviation with ddof 1, shape with moments over n.
    /// Undefined below two days and without dispersion.
    #[must_use]
    pub fn of(returns: &[f64]) -> Option<Self> {
        let (skewness, kurtosis) = shape(returns)?;
        let sharpe = daily_sharpe(returns)?;
        Some(Self { sharpe, skewness, kurtosis, observations: returns.len() })
    }
}

/// Probability that the true Sharpe ratio of a day is above `benchmark`: the normal
/// distribution at (SR - benchmark) sqrt(n - 1) / sqrt(1 - g3 SR + (g4 - 1) / 4 SR^2)
/// (Bailey and Lopez de Prado 2012). Undefined if that root is.
#[must_use]
pub fn probabilistic_sharpe(sample: &SharpeSample, benchmark: f64) -> Option<f64> {
    let SharpeSample { sharpe, skewness, kurtosis, observations } = *sample;
    let spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe;
    let degrees = observations.checked_sub(1).filter(|degrees| *degrees > 0)? as f64;
    if spread <= 0.0 {
        return None;
    }
    let distance = finite((sharpe - benchmark) * degrees.sqrt() / spread.sqrt())?;
    // The lower tail as it is, so that a small probability keeps its digits.
    finite(Normal::standard().sf(-distance))
}

/// Expected best Sharpe ratio of a day among `trials` without skill whose ratios have
/// `variance`: sqrt(V) ((1 - g) Z(1 - 1/N) + g Z(1 - 1/(N e))), Z the quantile of the
/// normal and g Euler's constant. 0 for a single trial; undefined for none, and for a
/// variance that is not one.
#[must_use]
pub fn expected_best_sharpe(trials: usize, variance: f64) -> Option<f64> {
    let is_variance = variance.is_finite() && variance >= 0.0;
    match trials {
        0 => None,
        1 => Some(0.0),
        _ if !is_variance => None,
        _ => {
            // Z(1 - x) is -Z(x), which loses no digits of a small x.
            let beyond = |share: f64| -Normal::standard().inverse_cdf(share);
            let n = trials as f64;
            let best = (1.0 - EULER) * beyond(1.0 / n) + EULER * beyond(1.0 / (n * E));
            finite(variance.sqrt() * best)
        }
    }
}

/// A Sharpe ratio judged against the best that luck would find.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeflatedSharpe {
    /// Probability that the true Sharpe ratio is above the best of luck.
    pub probability: f64,
    /// Expected best Sharpe ratio of a day without skill.
    pub best_of_luck: f64,
    /// Trials.
    pub trials: usize,
}

/// Deflated Sharpe ratio (Bailey and Lopez de Prado 2014): [`probabilistic_sharpe`] above
/// [`expected_best_sharpe`] of the Sharpe ratios, of a day, of all trials that were made,
/// the chosen one among them, their variance with ddof 1. Trials that are not independent
/// count fully, which is the strict side. Undefined without trials.
#[must_use]
pub fn deflated_sharpe(sample: &SharpeSample, trial_sharpes: &[f64]) -> Option<DeflatedSharpe> {
    let trials = trial_sharpes.len();
    let centre = mean(trial_sharpes)?;
    let variance = squares(trial_sharpes, centre) / (trials.max(2) - 1) as f64;
    let best_of_luck = expected_best_sharpe(trials, variance)?;
    let probability = probabilistic_sharpe(sample, best_of_luck)?;
    Some(DeflatedSharpe { probability, best_of_luck, trials })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_trials_ask_for_more() {
        let best = [1, 2, 10, 100, 1000].map(|trials| expected_best_sharpe(trials, 0.01).unwrap());
        assert_eq!(best[0], 0.0);
        assert!(best.is_sorted() && best[4] < 0.4, "{best:?}");
        assert_eq!(expected_best_sharpe(0, 0.01), None);
        assert_eq!(expected_best_sharpe(5, f64::NAN), None);
        assert_eq!(expected_best_sharpe(5, -1.0), None);
    }

    #[test]
    fn deflating_takes_the_trials_into_account() {
        let returns: Vec<f64> = (0..500).map(|day| f64::from(day % 7) / 500.0 - 0.005).collect();
        let sample = SharpeSample::of(&returns).unwrap();
        let alone = deflated_sharpe(&sample, &[sample.sharpe]).unwrap();
        assert_eq!(Some(alone.probability), probabilistic_sharpe(&sample, 0.0));
        let trials = [sample.sharpe, 0.1, -0.1, 0.0];
        let among = deflated_sharpe(&sample, &trials).unwrap();
        assert!(among.probability < alone.probability && among.trials == 4);
        assert_eq!(deflated_sharpe(&sample, &[]), None);
    }

    #[test]
    fn is_undefined_where_the_error_is() {
        assert_eq!(SharpeSample::of(&[0.01; 9]), None);
        assert_eq!(SharpeSample::of(&[0.01]), None);
        let odd = SharpeSample { sharpe: 1.0, skewness: 3.0, kurtosis: 3.0, observations: 10 };
        assert_eq!(probabilistic_sharpe(&odd, 0.0), None, "1 - 3 + 1/2 has no root");
        let one = SharpeSample { skewness: 0.0, observations: 1, ..odd };
        assert_eq!(probabilistic_sharpe(&one, 0.0), None);
    }
}
