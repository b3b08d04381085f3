//! The question a backtest answers: span, holding period, delay, costs and limits.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::BacktestError;

/// Beyond it sums lose cents.
const CAPITAL_MAX: f64 = 1e15;
/// Below it rounding is all there is.
const CAPITAL_MIN: f64 = 1.0;

/// One basis point.
pub(crate) const BASIS_POINT: f64 = 1e-4;

/// Everything a result depends on beside the market and the strategy. It is stored with
/// the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// First session on which a strategy decides.
    pub start: NaiveDate,
    /// Last session; what is still held is sold at its close.
    pub end: NaiveDate,
    /// Sessions a decision is held.
    pub horizon: usize,
    /// Sessions from one decision to the next. Where it is shorter than `horizon`, holdings
    /// overlap: each decision moves its share of the portfolio alone (Jegadeesh and Titman,
    /// *Journal of Finance* 48, 1993).
    pub decide_every: usize,
    /// Sessions from the close a decision is made of to the close it is traded at.
    pub delay: usize,
    /// Value of the portfolio before the first trade, in the currency of prices.
    pub capital: f64,
    /// Costs.
    pub costs: Costs,
    /// Limits.
    pub limits: Limits,
    /// Whether orders are rounded down to whole shares.
    pub whole_shares: bool,
    /// Interest on cash, a year; cash that is owed costs the same.
    pub cash_rate: f64,
    /// Return on the last close of a name that leaves the exchange without terms, as -0.3
    /// (Shumway, *Journal of Finance* 52, 1997).
    pub delisting_return: f64,
    /// Seed of strategies that draw.
    pub seed: u64,
}

/// What trading and holding cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// Commission, or all proportional costs in one number: basis points of traded value.
    pub commission_bps: f64,
    /// Half the quoted spread of names that state none, in basis points of traded value.
    pub half_spread_bps: f64,
    /// Factor Y of the square-root law: the price moves by `Y sigma sqrt(Q / ADV)` while an
    /// order of Q is filled, so that it pays two thirds of that on average (Almgren et al.,
    /// *Risk*, July 2005; Toth et al., *Physical Review X* 1, 2011). 0 for no impact.
    pub impact: f64,
    /// Fee on the value of short positions, basis points a year.
    pub borrow_bps: f64,
}

impl Costs {
    /// Returns costs of so many basis points of traded value and no others.
    #[must_use]
    pub const fn proportional(bps: f64) -> Self {
        Self { commission_bps: bps, half_spread_bps: 0.0, impact: 0.0, borrow_bps: 0.0 }
    }
}

/// What a portfolio may not exceed. What a limit cuts off stays in cash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Share of a name's average daily traded value that may be traded on a day; the rest
    /// of an order is carried on.
    pub adv_share: Option<f64>,
    /// Largest weight of a name, long or short.
    pub position: Option<f64>,
    /// Largest sum of the weights of a sector, long and short added.
    pub sector: Option<f64>,
}

impl Config {
    /// Sessions a decision is held where nothing else is said.
    pub const HORIZON: usize = 21;

    /// Returns the conventions of the product for a span: decisions every 21 sessions,
    /// traded at the next close, 5 basis points of traded value.
    #[must_use]
    pub const fn new(start: NaiveDate, end: NaiveDate) -> Self {
        Self {
            start,
            end,
            horizon: Self::HORIZON,
            decide_every: Self::HORIZON,
            delay: 1,
            capital: 1e6,
            costs: Costs::proportional(5.0),
            limits: Limits { adv_share: None, position: None, sector: None },
            whole_shares: false,
            cash_rate: 0.0,
            delisting_return: 0.0,
            seed: 42,
        }
    }

    /// Returns how many decisions share the portfolio.
    #[must_use]
    pub const fn tranches(&self) -> usize {
        self.horizon / self.decide_every
    }

    /// Checks that each parameter is in its range.
    ///
    /// # Errors
    /// Fails on the first one that is not, with what it must be.
    pub fn check(&self) -> Result<(), BacktestError> {
        let bad =
            |name, value: String, remedy| Err(BacktestError::BadParameter { name, value, remedy });
        if self.end < self.start {
            return Err(BacktestError::ReversedDates { start: self.start, end: self.end });
        }
        for (name, value) in [("horizon", self.horizon), ("decide_every", self.decide_every)] {
            if value == 0 {
                return bad(name, "0".to_owned(), "give at least one session");
            }
        }
        if !self.horizon.is_multiple_of(self.decide_every) {
            let remedy = "give a number of sessions that divides the horizon";
            return bad("decide_every", self.decide_every.to_string(), remedy);
        }
        if self.delay == 0 {
            let remedy =
                "a close cannot be traded at by whoever needs it to decide: give at least 1";
            return bad("delay", "0".to_owned(), remedy);
        }
        if !(CAPITAL_MIN..=CAPITAL_MAX).contains(&self.capital) {
            let remedy = "give an amount of 1 to 1e15";
            return bad("capital", shown(self.capital), remedy);
        }
        let costs = [
            ("cost_bps", self.costs.commission_bps, 1e3, "give 0 to 1000, a tenth of the value"),
            (
                "half_spread_bps",
                self.costs.half_spread_bps,
                1e3,
                "give 0 to 1000, a tenth of the value",
            ),
            ("impact", self.costs.impact, 1e2, "give 0 to 100; 1 is usual"),
            ("borrow_bps", self.costs.borrow_bps, 1e5, "give 0 to 100000, ten times the value"),
        ];
        for (name, value, most, remedy) in costs {
            if !(0.0..=most).contains(&value) {
                return bad(name, shown(value), remedy);
            }
        }
        let share = "give a share above 0 and at most 1, as 0.05 for 5 %";
        let limits = [
            ("adv_share", self.limits.adv_share, 1.0, share),
            ("position_limit", self.limits.position, 1.0, share),
            // Long and short are added.
            ("sector_limit", self.limits.sector, f64::MAX, "give a share above 0, as 0.05 for 5 %"),
        ];
        for (name, value, most, remedy) in limits {
            if let Some(value) = value.filter(|value| !(*value > 0.0 && *value <= most)) {
                return bad(name, shown(value), remedy);
            }
        }
        let rates = [("cash_rate", self.cash_rate), ("delisting_return", self.delisting_return)];
        for (name, value) in rates {
            if !(-1.0..=1.0).contains(&value) {
                return bad(name, shown(value), "give a share, as 0.03 for 3 %");
            }
        }
        Ok(())
    }
}

/// Writes a number in as many digits as one reads at a glance.
fn shown(value: f64) -> String {
    let is_plain = value == 0.0 || (1e-6..1e6).contains(&value.abs());
    if is_plain || !value.is_finite() { value.to_string() } else { format!("{value:e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_parameter_has_one_line_that_says_so() {
        let date = |text: &str| text.parse::<NaiveDate>().unwrap();
        let good = Config::new(date("2000-01-03"), date("2001-01-03"));
        assert!(good.check().is_ok());
        let costs = |bps| Costs::proportional(bps);
        let limits = |adv| Limits { adv_share: Some(adv), ..Limits::default() };
        for (bad, message) in [
            (
                Config { start: good.end, end: good.start, ..good.clone() },
                "the span ends on 2000-01-03, before it starts on 2001-01-03: exchange start and end",
            ),
            (Config { horizon: 0, ..good.clone() }, "horizon is 0: give at least one session"),
            (
                Config { decide_every: 5, ..good.clone() },
                "decide_every is 5: give a number of sessions that divides the horizon",
            ),
            (
                Config { delay: 0, ..good.clone() },
                "delay is 0: a close cannot be traded at by whoever needs it to decide: give at least 1",
            ),
            (
                Config { costs: costs(-1.0), ..good.clone() },
                "cost_bps is -1: give 0 to 1000, a tenth of the value",
            ),
            (
                Config { costs: costs(f64::NAN), ..good.clone() },
                "cost_bps is NaN: give 0 to 1000, a tenth of the value",
            ),
            (
                Config { limits: limits(5.0), ..good.clone() },
                "adv_share is 5: give a share above 0 and at most 1, as 0.05 for 5 %",
            ),
            (
                Config { limits: limits(0.0), ..good.clone() },
                "adv_share is 0: give a share above 0 and at most 1, as 0.05 for 5 %",
            ),
            (
                Config { costs: costs(1e308), ..good.clone() },
                "cost_bps is 1e308: give 0 to 1000, a tenth of the value",
            ),
            (Config { capital: 0.0, ..good.clone() }, "capital is 0: give an amount of 1 to 1e15"),
            (
                Config { capital: f64::INFINITY, ..good.clone() },
                "capital is inf: give an amount of 1 to 1e15",
            ),
            (
                Config { cash_rate: 3.0, ..good.clone() },
                "cash_rate is 3: give a share, as 0.03 for 3 %",
            ),
        ] {
            assert_eq!(bad.check().unwrap_err().to_string(), message);
        }
    }
}
