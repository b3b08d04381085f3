//! Numbers as a reader takes them in.

use crate::metrics::{Metric, Unit};

/// What stands for a value that is undefined.
pub(super) const UNDEFINED: &str = "n/a";

/// Writes a number with so many decimals and a real minus sign, thousands apart.
pub(super) fn number(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut spaced = String::with_capacity(text.len() + 4);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            spaced.push(',');
        }
        spaced.push(digit);
    }
    // What rounds to nothing has no sign.
    let is_nothing = text.chars().all(|c| matches!(c, '0' | '.'));
    let sign = if value < 0.0 && !is_nothing { "\u{2212}" } else { "" };
    format!("{sign}{spaced}{rest}")
}

/// Writes a fraction in percent.
pub(super) fn percent(value: f64, decimals: usize) -> String {
    format!("{} %", number(value * 100.0, decimals))
}

/// Writes an amount of money, shortened where it is large.
pub(super) fn money(value: f64) -> String {
    match value.abs() {
        size if size >= 1e9 => format!("{} bn", number(value / 1e9, 2)),
        size if size >= 1e6 => format!("{} m", number(value / 1e6, 2)),
        _ => number(value, 0),
    }
}

/// Writes the value of a metric in its unit.
pub(super) fn metric(metric: Metric, value: Option<f64>) -> String {
    let Some(value) = value else { return UNDEFINED.to_owned() };
    match metric.definition().unit {
        Unit::Ratio => number(value, 2),
        Unit::Fraction => percent(value, 1),
        Unit::Probability => number(value, 3),
        Unit::Days => format!("{} d", number(value, 0)),
        Unit::Currency => money(value),
        Unit::Nats => number(value, 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_in_print() {
        for (found, expected) in [
            (number(1_234_567.891, 2), "1,234,567.89"),
            (number(-0.004, 2), "0.00"),
            (number(-1234.5, 0), "\u{2212}1,234"),
            (percent(-0.4838, 1), "\u{2212}48.4 %"),
            (money(2_345_678.0), "2.35 m"),
            (money(-999.4), "\u{2212}999"),
            (metric(Metric::Sharpe, None), "n/a"),
            (metric(Metric::MaxDrawdownDays, Some(1032.0)), "1,032 d"),
        ] {
            assert_eq!(found, expected);
        }
    }
}
