//! Is a mean other than 0, if neighbours in time are alike?

use serde::{Deserialize, Serialize};

use super::{Test, normal_tails};
use crate::metrics::moments::{finite, mean, varies_not};

/// How autocovariances count in the variance of a mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// With 1 - k / (L + 1): the variance cannot be negative (Newey and West 1987).
    Bartlett,
    /// With 1, as the test of Diebold and Mariano (1995) has it.
    Rectangular,
}

impl Kernel {
    fn weight(self, lag: usize, lags: usize) -> f64 {
        match self {
            Self::Bartlett => 1.0 - lag as f64 / (lags + 1) as f64,
            Self::Rectangular => 1.0,
        }
    }
}

/// Tests the mean of a series against 0 by its Newey-West error of `lags`
/// autocovariances, over n without a correction for small samples; normal tails. Undefined
/// for a series without dispersion or of no more than `lags` values.
#[must_use]
pub fn newey_west(series: &[f64], lags: usize) -> Option<Test> {
    if varies_not(series, 0.0) {
        return None;
    }
    let mean = mean(series)?;
    let variance = variance_of_mean(series, mean, lags, Kernel::Bartlett)?;
    let statistic = finite(mean / variance.sqrt())?;
    let p_value = normal_tails(statistic);
    Some(Test { mean, variance, statistic, p_value, observations: series.len() })
}

/// (g_0 + 2 sum over k of 1..=lags of weight x g_k) / n, with autocovariances over n.
/// Undefined if it is not positive or there are too few values.
pub(super) fn variance_of_mean(
    series: &[f64],
    mean: f64,
    lags: usize,
    kernel: Kernel,
) -> Option<f64> {
    let n = series.len();
    if n <= lags {
        return None;
    }
    let covariance = |lag: usize| {
        let pairs = series.iter().zip(&series[lag..]);
        pairs.map(|(early, late)| (early - mean) * (late - mean)).sum::<f64>() / n as f64
    };
    let behind: f64 = (1..=lags).map(|lag| kernel.weight(lag, lags) * covariance(lag)).sum();
    finite((covariance(0) + 2.0 * behind) / n as f64).filter(|variance| *variance > 0.0)
}
