//! How far and for how long wealth stood below its peak.

use serde::{Deserialize, Serialize};

use super::{moments::finite, returns::volatility};

/// The deepest fall of wealth from a peak. Rows are those of the returns; the peak is the
/// row whose return reached it, or none if it is the wealth of 1 before the first return.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drawdown {
    /// Wealth at the trough over wealth at the peak, less 1: not positive.
    pub depth: f64,
    /// The row that reached the peak.
    pub peak_row: Option<usize>,
    /// The row of the trough.
    pub trough_row: usize,
    /// The first row at which wealth was back at the peak, if it ever was.
    pub recovery_row: Option<usize>,
    /// Days from the peak to the recovery, or to the last row.
    pub days: usize,
}

/// Wealth on its way through the returns, which starts at 1.
struct Path {
    wealth: f64,
    peak: f64,
}

impl Path {
    const START: Self = Self { wealth: 1.0, peak: 1.0 };

    /// Goes on by a day and returns wealth over peak, less 1.
    fn step(&mut self, r: f64) -> f64 {
        self.wealth *= 1.0 + r;
        self.peak = self.peak.max(self.wealth);
        self.wealth / self.peak - 1.0
    }
}

/// Maximum drawdown: the least of wealth over its running maximum, less 1, where wealth
/// starts at 1 before the first return; not positive. Undefined without days.
#[must_use]
pub fn max_drawdown(returns: &[f64]) -> Option<f64> {
    scaled_drawdown(returns, 1.0)
}

/// [`max_drawdown`] of returns that are multiplied by a scale.
fn scaled_drawdown(returns: &[f64], scale: f64) -> Option<f64> {
    let mut path = Path::START;
    let mut depth = 0.0_f64;
    for r in returns {
        depth = depth.min(path.step(r * scale));
    }
    // The minimum passes over NaN, which wealth keeps.
    (!returns.is_empty() && path.wealth.is_finite()).then_some(depth).and_then(finite)
}

/// The deepest drawdown with its rows; none without days or without a loss.
#[must_use]
pub fn deepest_drawdown(returns: &[f64]) -> Option<Drawdown> {
    let depth = max_drawdown(returns).filter(|depth| *depth < 0.0)?;
    let falls = drawdowns(returns)?;
    let trough_row = falls.iter().position(|fall| *fall == depth)?;
    let peak_row = falls[..trough_row].iter().rposition(|fall| *fall >= 0.0);
    let recovery = falls[trough_row..].iter().position(|fall| *fall >= 0.0);
    let recovery_row = recovery.map(|after| trough_row + after);
    let days = recovery_row.unwrap_or(falls.len() - 1) + 1 - peak_row.map_or(0, |row| row + 1);
    Some(Drawdown { depth, peak_row, trough_row, recovery_row, days })
}

/// Wealth over its running maximum, less 1, after each return. None if a return is not
/// finite.
#[must_use]
pub fn drawdowns(returns: &[f64]) -> Option<Vec<f64>> {
    let mut path = Path::START;
    returns.iter().map(|r| finite(path.step(*r))).collect()
}

/// Days of the deepest drawdown, from its peak until wealth is back there or the data
/// ends; 0 without a loss. Undefined without days.
#[must_use]
pub fn max_drawdown_days(returns: &[f64]) -> Option<f64> {
    max_drawdown(returns)?;
    Some(deepest_drawdown(returns).map_or(0.0, |drawdown| drawdown.days as f64))
}

/// The longest time from a peak until wealth is back there or the data ends, in days; 0
/// without a loss. Undefined without days.
#[must_use]
pub fn longest_drawdown_days(returns: &[f64]) -> Option<f64> {
    max_drawdown(returns)?;
    let (mut days, mut longest) = (0, 0);
    for fall in drawdowns(returns)? {
        // The day of the recovery belongs to the time under water.
        longest = if fall < 0.0 || days > 0 { longest.max(days + 1) } else { longest };
        days = if fall < 0.0 { days + 1 } else { 0 };
    }
    Some(longest as f64)
}

/// Maximum drawdown of a strategy at the volatility of a baseline: of its returns times
/// the baseline's volatility over its own. Undefined if either has no dispersion.
#[must_use]
pub fn drawdown_at_equal_volatility(returns: &[f64], baseline: &[f64]) -> Option<f64> {
    let own = volatility(returns).filter(|own| *own > 0.0)?;
    let scale = volatility(baseline).filter(|other| *other > 0.0)? / own;
    scaled_drawdown(returns, scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_a_short_path_by_hand() {
        // Wealth: 1.1, .99, 1.109, .887, .976, 1.220, 1.220, 1.037.
        let returns = [0.1, -0.1, 0.12, -0.2, 0.1, 0.25, 0.0, -0.15];
        let deepest = deepest_drawdown(&returns).unwrap();
        assert!((deepest.depth + 0.2).abs() < 1e-12);
        assert_eq!((deepest.peak_row, deepest.trough_row), (Some(2), 3));
        assert_eq!((deepest.recovery_row, deepest.days), (Some(5), 3));
        assert_eq!(max_drawdown_days(&returns), Some(3.0));
        assert_eq!(longest_drawdown_days(&returns), Some(3.0));
    }

    #[test]
    fn the_start_is_a_peak_and_the_end_no_recovery() {
        let returns = [-0.1, 0.05, 0.02, 0.01];
        let deepest = deepest_drawdown(&returns).unwrap();
        assert_eq!((deepest.peak_row, deepest.recovery_row, deepest.days), (None, None, 4));
        assert_eq!(longest_drawdown_days(&returns), Some(4.0));
        assert_eq!(deepest_drawdown(&[0.1, 0.0]), None);
        assert_eq!(longest_drawdown_days(&[0.1, 0.0]), Some(0.0));
        assert_eq!((max_drawdown(&[]), max_drawdown_days(&[])), (None, None));
    }

    #[test]
    fn a_drawdown_at_equal_volatility_does_not_care_for_leverage() {
        let returns = [0.02, -0.03, 0.01, -0.02, 0.04];
        let baseline = [0.01, -0.01, 0.02, 0.0, -0.02];
        let own = drawdown_at_equal_volatility(&returns, &baseline).unwrap();
        let twice = drawdown_at_equal_volatility(&returns.map(|r| 2.0 * r), &baseline).unwrap();
        assert!((own - twice).abs() < 1e-15);
        let same = drawdown_at_equal_volatility(&returns, &returns);
        assert!((same.unwrap() - max_drawdown(&returns).unwrap()).abs() < 1e-15);
        assert_eq!(drawdown_at_equal_volatility(&returns, &[0.01; 5]), None);
        assert_eq!(drawdown_at_equal_volatility(&[0.0; 5], &baseline), None);
    }

    proptest! {
        #[test]
        fn lies_between_ruin_and_nothing(returns in prop::collection::vec(-1.0..0.5_f64, 1..100)) {
            let depth = max_drawdown(&returns).unwrap();
            prop_assert!((-1.0..=0.0).contains(&depth));
            let falls = drawdowns(&returns).unwrap();
            prop_assert_eq!(falls.iter().copied().fold(0.0, f64::min), depth);
            let (own, longest) =
                (max_drawdown_days(&returns).unwrap(), longest_drawdown_days(&returns).unwrap());
            prop_assert!(own <= longest && longest <= returns.len() as f64);
        }
    }
}
