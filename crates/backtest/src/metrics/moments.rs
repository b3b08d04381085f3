//! Mean, dispersion, shape and quantiles of numbers: what every metric is made of.

/// Returns the number if it is one, so that no metric is NaN or infinite.
pub(crate) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Returns the mean; none of nothing.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64).and_then(finite)
}

/// Returns the sum of squared distances from `mean`.
pub(crate) fn squares(values: &[f64], mean: f64) -> f64 {
    values.iter().map(|value| (value - mean) * (value - mean)).sum()
}

/// Returns the sample standard deviation (ddof 1) of returns; none below two, and 0
/// exactly if they do not vary.
pub(crate) fn sample_deviation(returns: &[f64]) -> Option<f64> {
    deviation_from(returns, mean(returns)?)
}

/// [`sample_deviation`] where the mean is known.
pub(crate) fn deviation_from(returns: &[f64], mean: f64) -> Option<f64> {
    if returns.len() < 2 {
        return None;
    }
    if varies_not(returns, 1.0) {
        return Some(0.0);
    }
    finite((squares(returns, mean) / (returns.len() - 1) as f64).sqrt())
}

/// Tells whether the spread of values is not above the rounding of numbers of `scale`.
///
/// Returns are ratios of prices, less 1, so their errors are those of numbers around 1:
/// wealth that grows by the same factor every day has returns that differ in their last
/// bits, and a deviation of 1e-17 that would make a Sharpe ratio of 1e15.
pub(crate) fn varies_not(values: &[f64], scale: f64) -> bool {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    values.iter().all(|value| {
        low = low.min(*value);
        high = high.max(*value);
        // What follows can only widen the spread: most series are told by two values.
        high - low <= 4.0 * f64::EPSILON * scale.max(low.abs()).max(high.abs())
    })
}

/// Skewness and kurtosis of values, with moments over n ("biased"), kurtosis not in
/// excess: 0 and 3 for a normal. None if values do not vary.
pub(crate) fn shape(values: &[f64]) -> Option<(f64, f64)> {
    let mean = mean(values)?;
    if varies_not(values, 1.0) {
        return None;
    }
    let moment = |power: i32| {
        values.iter().map(|value| (value - mean).powi(power)).sum::<f64>() / values.len() as f64
    };
    let variance = moment(2);
    let skewness = finite(moment(3) / variance.powf(1.5))?;
    Some((skewness, finite(moment(4) / (variance * variance))?))
}

/// Returns the quantile at `level` (0 to 1), linear between order statistics: type 7 of
/// Hyndman and Fan (1996), the default of `NumPy`. It reorders the values, which takes
/// linear time. None of nothing, and if a value is not finite.
pub(crate) fn quantile(values: &mut [f64], level: f64) -> Option<f64> {
    let position = level * values.len().checked_sub(1)? as f64;
    let below = position.floor() as usize;
    if below >= values.len() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    // Of the two neighbours one is selected; the other is searched for on the shorter side.
    let (low, high) = if 2 * (below + 1) < values.len() {
        let (under, high, _) = values.select_nth_unstable_by(below + 1, f64::total_cmp);
        (under.iter().copied().fold(f64::NEG_INFINITY, f64::max), *high)
    } else {
        let (_, low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
        let low = *low;
        (low, above.iter().copied().reduce(f64::min).unwrap_or(low))
    };
    let share = position - position.floor();
    // From the nearer end, so that equal ends give that number and no other.
    let step = high - low;
    finite(if share < 0.5 { low + step * share } else { high - step * (1.0 - share) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_order_statistics() {
        let mut values = [4.0, 1.0, 2.0];
        for (level, expected) in [(0.0, 1.0), (0.25, 1.5), (0.5, 2.0), (0.75, 3.0), (1.0, 4.0)] {
            assert_eq!(quantile(&mut values, level), Some(expected), "{level}");
        }
        assert_eq!(quantile(&mut [], 0.5), None);
        assert_eq!(quantile(&mut [1.0, f64::NAN], 0.5), None);
    }

    #[test]
    fn wealth_that_grows_evenly_does_not_vary() {
        let wealth = |day: i32| 1.001_f64.powi(day);
        let returns: Vec<f64> = (1..500).map(|day| wealth(day) / wealth(day - 1) - 1.0).collect();
        assert!(returns.windows(2).any(|pair| pair[0] != pair[1]));
        assert_eq!(sample_deviation(&returns), Some(0.0));
        assert_eq!(shape(&returns), None);
    }
}
