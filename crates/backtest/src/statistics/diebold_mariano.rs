//! Does one forecast lose less than another?

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::{Kernel, Test, newey_west::variance_of_mean};
use crate::metrics::moments::{finite, mean};

/// Test of Diebold and Mariano (1995) with the correction of Harvey, Leybourne and Newbold
/// (1997), of forecasts `horizon` steps ahead: d = first less second loss, variance
/// (g_0 + 2 sum over k < h of g_k) / n, factor sqrt((n + 1 - 2h + h(h-1)/n) / n), two-sided
/// t with n - 1 degrees of freedom. Positive: the first loses more.
///
/// Undefined if the lengths differ, the horizon is 0, the variance is not positive, as for
/// equal forecasts, or the factor is not.
#[must_use]
pub fn diebold_mariano(first: &[f64], second: &[f64], horizon: usize) -> Option<Test> {
    diebold_mariano_by(first, second, horizon, Kernel::Rectangular)
}

/// [`diebold_mariano`] with a kernel: Bartlett's keeps the variance positive where the
/// test is undefined, at the price of another size.
#[must_use]
pub fn diebold_mariano_by(
    first: &[f64],
    second: &[f64],
    horizon: usize,
    kernel: Kernel,
) -> Option<Test> {
    let lags = horizon.checked_sub(1)?;
    let observations = first.len();
    if second.len() != observations || observations < 2 {
        return None;
    }
    let differences: Vec<f64> = first.iter().zip(second).map(|(one, two)| one - two).collect();
    if differ_evenly(first, second, &differences) {
        return None;
    }
    let mean = mean(&differences)?;
    let variance = variance_of_mean(&differences, mean, lags, kernel)?;
    let (n, h) = (observations as f64, horizon as f64);
    let correction = (n + 1.0 - 2.0 * h + h * (h - 1.0) / n) / n;
    if correction <= 0.0 {
        return None;
    }
    let statistic = finite(mean / variance.sqrt() * correction.sqrt())?;
    let law = StudentsT::new(0.0, 1.0, n - 1.0).ok()?;
    let p_value = finite(2.0 * law.sf(statistic.abs()))?;
    Some(Test { mean, variance, statistic, p_value, observations })
}

/// Tells whether differences spread no more than the rounding of their losses: their
/// variance is 0 then, whatever is left of it in floats.
fn differ_evenly(first: &[f64], second: &[f64], differences: &[f64]) -> bool {
    let fold =
        |values: &[f64], by: fn(f64, f64) -> f64, start| values.iter().copied().fold(start, by);
    let size = |losses: &[f64]| losses.iter().fold(0.0_f64, |size, loss| size.max(loss.abs()));
    let high = fold(differences, f64::max, f64::NEG_INFINITY);
    let spread = high - fold(differences, f64::min, f64::INFINITY);
    spread <= 4.0 * f64::EPSILON * size(first).max(size(second))
}
