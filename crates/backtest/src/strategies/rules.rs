//! Rules that hold all names.

use crate::{Choice, Frame, Strategy};

/// Gives all listed names the same weight, `total` together.
fn equal_weights(frame: &Frame<'_>, total: f64, weights: &mut [f64]) {
    let listed = (0..weights.len()).filter(|name| frame.is_listed(*name));
    let weight = total / listed.clone().count().max(1) as f64;
    listed.for_each(|name| weights[name] = weight);
}

/// Equal weights once, then held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BuyAndHold {
    bought: bool,
}

impl Strategy for BuyAndHold {
    fn name(&self) -> String {
        "buy_and_hold".to_owned()
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        if std::mem::replace(&mut self.bought, true) {
            return Choice::Keep;
        }
        equal_weights(frame, 1.0, weights);
        Choice::RebalanceAll
    }
}

/// Equal weights at each decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EqualWeight;

impl Strategy for EqualWeight {
    fn name(&self) -> String {
        "equal_weight".to_owned()
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        equal_weights(frame, 1.0, weights);
        Choice::Rebalance
    }
}

/// Equal weights, with so much in cash that the volatility of the last sessions would have
/// met a target. Nothing is borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VolatilityTarget {
    /// Target, a year.
    pub target: f64,
    /// Daily returns volatility is estimated of.
    pub window: usize,
}

impl Default for VolatilityTarget {
    fn default() -> Self {
        Self { target: 0.10, window: 60 }
    }
}

impl Strategy for VolatilityTarget {
    fn name(&self) -> String {
        format!("vol_target(target={}, window={})", self.target, self.window)
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        // Without a history nothing says how much would be too much: stay in cash.
        let volatility = frame.market_volatility(self.window).unwrap_or(f64::INFINITY);
        equal_weights(frame, (self.target / volatility).min(1.0), weights);
        Choice::Rebalance
    }
}
