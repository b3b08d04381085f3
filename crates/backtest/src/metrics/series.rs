//! Metrics that are a series of their own: by day or by month.

use std::collections::BTreeMap;

use chrono::{Datelike as _, NaiveDate};

use super::returns::sharpe;

/// Sharpe ratio of the `window` days that end with each day; none for the first
/// `window - 1`, and where it is undefined. Takes a time of days x window.
#[must_use]
pub fn rolling_sharpe(returns: &[f64], window: usize) -> Vec<Option<f64>> {
    let first = window.saturating_sub(1).min(returns.len());
    let undefined = std::iter::repeat_n(None, first);
    undefined.chain(returns.windows(window.max(1)).map(sharpe)).collect()
}

/// Returns of calendar months by year and month (1 to 12): the product of 1 + r of the
/// month's days, less 1. A month is undefined, and left out, if a return is not finite.
#[must_use]
pub fn monthly_returns(days: &[(NaiveDate, f64)]) -> BTreeMap<(i32, u32), f64> {
    let mut months = BTreeMap::new();
    for (day, r) in days {
        *months.entry((day.year(), day.month())).or_insert(1.0) *= 1.0 + r;
    }
    months.retain(|_, growth| growth.is_finite());
    months.values_mut().for_each(|growth| *growth -= 1.0);
    months
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rolling_ratio_is_that_of_its_window() {
        let returns = [0.01, -0.02, 0.03, 0.03, 0.03];
        let rolling = rolling_sharpe(&returns, 3);
        assert_eq!(rolling.len(), returns.len());
        assert_eq!(&rolling[..2], [None, None]);
        assert_eq!(rolling[3], sharpe(&returns[1..4]));
        assert_eq!(rolling[4], None, "three equal days");
        assert_eq!(rolling_sharpe(&returns, 9), [None; 5]);
        assert_eq!(rolling_sharpe(&[], 3), []);
    }

    #[test]
    fn months_compound() {
        let day = |month, day| NaiveDate::from_ymd_opt(2022, month, day).unwrap();
        let days =
            [(day(1, 28), 0.1), (day(1, 31), -0.1), (day(2, 1), 0.02), (day(3, 1), f64::NAN)];
        let months = monthly_returns(&days);
        assert_eq!(months.keys().collect::<Vec<_>>(), [&(2022, 1), &(2022, 2)]);
        assert!((months[&(2022, 1)] + 0.01).abs() < 1e-15);
        assert!((months[&(2022, 2)] - 0.02).abs() < 1e-15);
    }
}
