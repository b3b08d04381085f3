//! Metrics of daily simple returns.

use super::{
    drawdown::max_drawdown,
    moments::{deviation_from, finite, mean, quantile, sample_deviation, shape},
};

/// Trading days in a year, by which daily figures become annual ones.
pub const DAYS_PER_YEAR: f64 = 252.0;

/// Annual Sharpe ratio: mean over sample standard deviation (ddof 1), times the root of
/// 252, the riskless rate being 0 (Sharpe 1994). Undefined below two days and without
/// dispersion.
#[must_use]
pub fn sharpe(returns: &[f64]) -> Option<f64> {
    finite(daily_sharpe(returns)? * DAYS_PER_YEAR.sqrt())
}

/// Sharpe ratio of a day, which PSR and DSR are stated in.
pub(crate) fn daily_sharpe(returns: &[f64]) -> Option<f64> {
    let mean = mean(returns)?;
    let deviation = deviation_from(returns, mean).filter(|deviation| *deviation > 0.0)?;
    finite(mean / deviation)
}

/// Annual Sortino ratio: mean over the root of the mean of min(r, 0)^2 over all days,
/// times the root of 252 (Sortino and Price 1994, target 0). Undefined below two days and
/// without a loss.
#[must_use]
pub fn sortino(returns: &[f64]) -> Option<f64> {
    if returns.len() < 2 {
        return None;
    }
    let losses: f64 = returns.iter().map(|r| r.min(0.0).powi(2)).sum();
    let downside = (losses / returns.len() as f64).sqrt();
    if downside <= 0.0 {
        return None;
    }
    finite(mean(returns)? / downside * DAYS_PER_YEAR.sqrt())
}

/// Total return: the product of 1 + r, less 1. Undefined without days, and once wealth
/// went below 0, after which returns have no meaning.
#[must_use]
pub fn total_return(returns: &[f64]) -> Option<f64> {
    Some(growth(returns)? - 1.0)
}

/// Annual growth: the product of 1 + r to the power 252/n, less 1; -1 after a total loss.
/// Undefined as [`total_return`] is.
#[must_use]
pub fn cagr(returns: &[f64]) -> Option<f64> {
    finite(growth(returns)?.powf(DAYS_PER_YEAR / returns.len() as f64) - 1.0)
}

fn growth(returns: &[f64]) -> Option<f64> {
    let mut wealth = 1.0;
    for r in returns {
        wealth *= 1.0 + r;
        if wealth < 0.0 {
            return None;
        }
    }
    (!returns.is_empty()).then_some(wealth).and_then(finite)
}

/// Calmar ratio: [`cagr`] over the size of the maximum drawdown, both of the whole span
/// (Young 1991 takes 36 months). Undefined below two days and without a drawdown.
#[must_use]
pub fn calmar(returns: &[f64]) -> Option<f64> {
    if returns.len() < 2 {
        return None;
    }
    let depth = max_drawdown(returns).filter(|depth| *depth < 0.0)?;
    finite(cagr(returns)? / depth.abs())
}

/// Annual volatility: sample standard deviation (ddof 1) times the root of 252, a
/// fraction. Undefined below two days.
#[must_use]
pub fn volatility(returns: &[f64]) -> Option<f64> {
    finite(sample_deviation(returns)? * DAYS_PER_YEAR.sqrt())
}

/// Value at risk of a day at a confidence such as 0.95: the historical quantile of returns
/// at 1 - confidence, linear between order statistics. A loss is negative. Undefined
/// without days.
#[must_use]
pub fn value_at_risk(returns: &[f64], confidence: f64) -> Option<f64> {
    quantile(&mut returns.to_vec(), tail(confidence)?)
}

/// Conditional value at risk: the mean of the returns at or below [`value_at_risk`]
/// (Acerbi and Tasche 2002). A loss is negative. Undefined without days.
#[must_use]
pub fn conditional_value_at_risk(returns: &[f64], confidence: f64) -> Option<f64> {
    let border = value_at_risk(returns, confidence)?;
    let losses: Vec<f64> = returns.iter().copied().filter(|r| *r <= border).collect();
    mean(&losses)
}

/// 1 - 0.95 is 0.050000000000000044: the level is rounded to what was meant.
fn tail(confidence: f64) -> Option<f64> {
    (0.0..=1.0).contains(&confidence).then(|| ((1.0 - confidence) * 1e12).round() / 1e12)
}

/// Hit rate: share of days with a gain among the days with a position, a day without
/// a move counting as no gain. Undefined without such a day, and if the lengths differ.
#[must_use]
pub fn hit_rate(returns: &[f64], has_position: &[bool]) -> Option<f64> {
    if returns.len() != has_position.len() || returns.iter().any(|r| !r.is_finite()) {
        return None;
    }
    let held = || returns.iter().zip(has_position).filter(|(_, held)| **held);
    let gains = held().filter(|(r, _)| **r > 0.0).count();
    finite(gains as f64 / held().count() as f64)
}

/// Profit factor: the sum of gains over the size of the sum of losses, of days. Undefined
/// without a loss.
#[must_use]
pub fn profit_factor(returns: &[f64]) -> Option<f64> {
    let (mut gains, mut losses, mut is_finite) = (0.0, 0.0, true);
    for r in returns {
        gains += r.max(0.0);
        losses += r.min(0.0);
        is_finite &= r.is_finite();
    }
    (losses < 0.0 && is_finite).then_some(gains / -losses).and_then(finite)
}

/// Skewness of daily returns, with moments over n. Undefined without dispersion.
#[must_use]
pub fn skewness(returns: &[f64]) -> Option<f64> {
    Some(shape(returns)?.0)
}

/// Kurtosis of daily returns, with moments over n, not in excess: 3 for a normal.
/// Undefined without dispersion.
#[must_use]
pub fn kurtosis(returns: &[f64]) -> Option<f64> {
    Some(shape(returns)?.1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hits_count_among_days_with_a_position() {
        let returns = [0.01, 0.0, -0.01, 0.02, 0.0];
        assert_eq!(hit_rate(&returns, &[true, true, true, true, false]), Some(0.5));
        assert_eq!(hit_rate(&returns, &[false; 5]), None);
        assert_eq!(hit_rate(&returns, &[true; 4]), None);
    }

    #[test]
    fn profit_is_against_losses() {
        assert!((profit_factor(&[0.03, -0.01, 0.0, 0.01]).unwrap() - 4.0).abs() < 1e-12);
        assert_eq!(profit_factor(&[-0.01]), Some(0.0));
        assert_eq!((profit_factor(&[0.01]), profit_factor(&[])), (None, None));
    }

    #[test]
    fn a_total_loss_is_final_and_debt_undefined() {
        assert_eq!((cagr(&[0.1, -1.0, 0.5]), total_return(&[-1.0, 0.5])), (Some(-1.0), Some(-1.0)));
        assert_eq!((cagr(&[-1.5, -3.0]), total_return(&[-1.5, -3.0])), (None, None));
    }

    proptest! {
        #[test]
        fn leverage_scales_risk_and_no_ratio(
            returns in prop::collection::vec(-0.1..0.1_f64, 2..100),
            leverage in 0.1..5.0_f64,
        ) {
            let levered: Vec<f64> = returns.iter().map(|r| r * leverage).collect();
            let near = |one: Option<f64>, two: Option<f64>, scale: f64| match (one, two) {
                (Some(one), Some(two)) => (one * scale - two).abs() <= 1e-9 * two.abs().max(1e-6),
                (one, two) => one == two,
            };
            prop_assert!(near(sharpe(&returns), sharpe(&levered), 1.0));
            prop_assert!(near(sortino(&returns), sortino(&levered), 1.0));
            prop_assert!(near(profit_factor(&returns), profit_factor(&levered), 1.0));
            prop_assert!(near(volatility(&returns), volatility(&levered), leverage));
            for confidence in [0.95, 0.99] {
                let (var, cvar) = (
                    value_at_risk(&returns, confidence),
                    conditional_value_at_risk(&returns, confidence),
                );
                prop_assert!(near(var, value_at_risk(&levered, confidence), leverage));
                prop_assert!(cvar.unwrap() <= var.unwrap() + 1e-15);
            }
        }

        #[test]
        fn the_order_of_days_changes_no_moment(
            mut returns in prop::collection::vec(-0.1..0.1_f64, 2..100),
        ) {
            let of = |returns: &[f64]| [sharpe, sortino, volatility, total_return].map(|f| f(returns));
            let before = of(&returns);
            returns.reverse();
            for (before, after) in before.into_iter().zip(of(&returns)) {
                let (before, after) = (before.unwrap_or(9.0), after.unwrap_or(9.0));
                prop_assert!((before - after).abs() <= 1e-9 * after.abs().max(1e-3));
            }
        }
    }
}
