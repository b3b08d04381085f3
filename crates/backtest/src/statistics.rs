//! Tests of what could be luck: of a mean, of a difference of forecasts, of a Sharpe
//! ratio among many trials, of a choice among trials, of a probability forecast.

mod diebold_mariano;
mod luck;
mod newey_west;
mod overfitting;
mod skill;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF as _, Normal};

pub use diebold_mariano::{diebold_mariano, diebold_mariano_by};
pub use luck::{
    DeflatedSharpe, SharpeSample, deflated_sharpe, expected_best_sharpe, probabilistic_sharpe,
};
pub use newey_west::{Kernel, newey_west};
pub use overfitting::{CSCV_BLOCKS, Overfitting, OverfittingError, probability_of_overfitting};
pub use skill::{DayLosses, Skill, log_loss_skill};

/// A statistic with its two-sided probability under the hypothesis of no effect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// The mean that is tested.
    pub mean: f64,
    /// Variance of that mean.
    pub variance: f64,
    /// The statistic.
    pub statistic: f64,
    /// Probability of a statistic at least as far from 0.
    pub p_value: f64,
    /// Observations.
    pub observations: usize,
}

/// Two-sided probability of a standard normal beyond `statistic`.
fn normal_tails(statistic: f64) -> f64 {
    2.0 * Normal::standard().sf(statistic.abs())
}
