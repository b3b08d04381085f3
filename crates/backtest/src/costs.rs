//! What an order costs, and how much of it a day can take.

use serde::Serialize;

use crate::{Config, Market, config::BASIS_POINT};

/// Sessions the average daily traded value is taken of.
const ADV_SESSIONS: usize = 21;

/// Daily returns the volatility of impact is taken of.
const VOLATILITY_SESSIONS: usize = 60;

/// Average over an order that fills evenly of a price move that grows with its square
/// root: the integral of sqrt(x) from 0 to 1.
const AVERAGE_OF_PEAK: f64 = 2.0 / 3.0;

/// Costs of one fill, in the currency of prices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct FillCosts {
    /// Commission.
    pub commission: f64,
    /// Half the spread.
    pub spread: f64,
    /// Market impact.
    pub impact: f64,
}

impl FillCosts {
    /// Returns the sum.
    #[must_use]
    pub const fn total(&self) -> f64 {
        self.commission + self.spread + self.impact
    }
}

/// Returns the price move while an order is filled, as a share of the price:
/// `Y sigma_daily sqrt(Q / ADV)`. An order pays two thirds of it on average. Undefined where
/// nothing is traded on an average day.
#[must_use]
pub fn peak_impact(factor: f64, volatility: f64, order: f64, average_daily: f64) -> Option<f64> {
    let is_traded = average_daily > 0.0;
    is_traded.then(|| factor * volatility * (order / average_daily).sqrt())
}

/// Averages of each name over the sessions before a day, which is what is known of its
/// liquidity when an order is sized. Computed once a day at most, in one pass.
#[derive(Debug)]
pub(crate) struct Liquidity {
    row: Option<usize>,
    /// Average value traded on a day.
    pub(crate) traded_value: Vec<f64>,
    /// Sample standard deviation of daily returns.
    volatility: Vec<f64>,
    sums: Vec<(f64, f64, f64)>,
}

impl Liquidity {
    pub(crate) fn new(width: usize) -> Self {
        let zeros = vec![0.0; width];
        let sums = vec![(0.0, 0.0, 0.0); width];
        Self { row: None, traded_value: zeros.clone(), volatility: zeros, sums }
    }

    /// Brings the averages to the sessions before `row`.
    pub(crate) fn update(&mut self, market: &Market, row: usize) {
        if self.row.replace(row) == Some(row) {
            return;
        }
        let first = row.saturating_sub(ADV_SESSIONS);
        self.traded_value.fill(0.0);
        for before in first..row {
            let Some(values) = market.traded_values(before) else { break };
            self.traded_value.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        let sessions = (row - first).max(1) as f64;
        self.traded_value.iter_mut().for_each(|sum| *sum /= sessions);
        self.sums.fill((0.0, 0.0, 0.0));
        for day in row.saturating_sub(VOLATILITY_SESSIONS).max(1)..row {
            let (before, now) = (market.adjusted(day - 1), market.adjusted(day));
            for (name, sums) in self.sums.iter_mut().enumerate() {
                if before[name] > 0.0 {
                    let value = now[name] / before[name] - 1.0;
                    *sums = (sums.0 + 1.0, sums.1 + value, sums.2 + value * value);
                }
            }
        }
        for (volatility, (count, sum, squares)) in self.volatility.iter_mut().zip(&self.sums) {
            let variance = (squares - sum * sum / count.max(1.0)) / (count - 1.0).max(1.0);
            *volatility = variance.max(0.0).sqrt();
        }
    }

    /// Returns the costs of trading `value` of a name, which is not negative.
    pub(crate) fn costs(
        &self,
        config: &Config,
        half_spread_bps: Option<f64>,
        name: usize,
        value: f64,
    ) -> FillCosts {
        let costs = &config.costs;
        let half_spread = half_spread_bps.unwrap_or(costs.half_spread_bps);
        let (volatility, average) = (self.volatility[name], self.traded_value[name]);
        let peak = match costs.impact > 0.0 {
            // Only the sale at the end of the span meets a name that nobody trades.
            true => peak_impact(costs.impact, volatility, value, average).unwrap_or(0.0),
            false => 0.0,
        };
        FillCosts {
            commission: value * costs.commission_bps * BASIS_POINT,
            spread: value * half_spread * BASIS_POINT,
            impact: value * AVERAGE_OF_PEAK * peak,
        }
    }
}
