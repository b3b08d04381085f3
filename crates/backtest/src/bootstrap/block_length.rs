//! How long blocks should be for a series.

use crate::metrics::moments::{finite, mean, varies_not};

/// Mean block length that minimises the error of the stationary bootstrap's variance of
/// the mean, in days: Politis and White (2004) with the correction of Patton, Politis and
/// White (2009). Reported beside the fixed lengths, to judge them. Undefined for a series
/// without dispersion or of fewer than 10 days.
///
/// Autocovariances count up to twice the lag from which on five in a row are
/// insignificant, weighted by a flat-top kernel.
#[must_use]
pub fn optimal_block_length(series: &[f64]) -> Option<f64> {
    let n = series.len();
    if n < 10 || varies_not(series, 0.0) {
        return None;
    }
    let mean = mean(series)?;
    let centred: Vec<f64> = series.iter().map(|value| value - mean).collect();
    let days = n as f64;
    let quiet_lags = (days.log10() as usize).max(5);
    let lag_max = days.sqrt().ceil() as usize + quiet_lags;
    let lags = bandwidth(&centred, quiet_lags, lag_max.min(n - 2));
    let (mut slope, mut long_run) = (0.0, product(&centred, 0) / days);
    for lag in 1..=lags {
        let share = lag as f64 / lags as f64;
        let weight = if share <= 0.5 { 1.0 } else { 2.0 * (1.0 - share) };
        let covariance = 2.0 * weight * product(&centred, lag) / days;
        slope += lag as f64 * covariance;
        long_run += covariance;
    }
    let length = (slope * slope / (long_run * long_run) * days).cbrt();
    let length_max = (3.0 * days.sqrt()).min(days / 3.0).ceil();
    Some(finite(length)?.min(length_max))
}

/// Twice the smallest lag that begins `quiet_lags` correlations in a row below
/// 2 sqrt(log10(n) / n). The paper takes the lag before it; programs in use take this one.
fn bandwidth(centred: &[f64], quiet_lags: usize, lag_max: usize) -> usize {
    let days = centred.len() as f64;
    let bound = 2.0 * (days.log10() / days).sqrt();
    let mut quiet = 0;
    for lag in 1..lag_max {
        quiet = if correlation(centred, lag).abs() < bound { quiet + 1 } else { 0 };
        if quiet == quiet_lags {
            return (2 * (lag + 1 - quiet_lags)).min(lag_max);
        }
    }
    lag_max
}

/// Sum of products of values `lag` apart.
fn product(centred: &[f64], lag: usize) -> f64 {
    centred.iter().zip(&centred[lag..]).map(|(early, late)| early * late).sum()
}

/// Correlation of values `lag` apart, each part by its own sum of squares.
fn correlation(centred: &[f64], lag: usize) -> f64 {
    let squares = |part: &[f64]| product(part, 0);
    let (early, late) = (&centred[..centred.len() - lag], &centred[lag..]);
    product(centred, lag) / (squares(early) * squares(late)).sqrt()
}
