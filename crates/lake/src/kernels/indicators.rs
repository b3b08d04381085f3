//! Indicators that are defined by a recursion from the start of the series, as
//! TA-Lib computes them. An undefined value ends the recursion; the next defined one
//! starts it anew.

/// Wilder's relative strength index, 0 to 100, seeded by the simple mean of the first
/// `n` moves: row `n` is the first with a value. Undefined where the price never moved
/// (TA-Lib writes 0 there, which would read as oversold).
pub(crate) fn rsi_wilder(close: &[f64], n: usize) -> Vec<f64> {
    let moves = |i: usize| close[i] - close[i - 1];
    let rows = || 1..close.len();
    let up = smoothed(&with_first_undefined(close.len(), rows(), |i| moves(i).max(0.0)), n, wilder);
    let down =
        smoothed(&with_first_undefined(close.len(), rows(), |i| (-moves(i)).max(0.0)), n, wilder);
    let index = |(up, down): (f64, f64)| {
        if up + down > 0.0 { 100.0 * up / (up + down) } else { f64::NAN }
    };
    up.into_iter().zip(down).map(index).collect()
}

/// Exponential moving average with the weight `2 / (n + 1)`, seeded by the simple mean
/// of the first `n` values.
pub(crate) fn ema(x: &[f64], n: usize) -> Vec<f64> {
    smoothed(x, n, |n| 2.0 / (n as f64 + 1.0))
}

/// Moving average convergence divergence: the EMA over `fast` rows less the one over
/// `slow` rows. As in TA-Lib both are seeded so that they start on the same row.
pub(crate) fn macd(close: &[f64], fast: usize, slow: usize) -> Vec<f64> {
    let slow_line = ema(close, slow);
    let Some(first) = slow_line.iter().position(|v| !v.is_nan()) else { return slow_line };
    let skip = (first + 1).saturating_sub(fast);
    let fast_line = ema(&close[skip..], fast);
    let mut out = vec![f64::NAN; close.len()];
    for (i, fast) in fast_line.into_iter().enumerate() {
        out[skip + i] = fast - slow_line[skip + i];
    }
    out
}

/// Wilder's average true range, seeded by the simple mean of the first `n` ranges: row
/// `n` is the first with a value.
pub(crate) fn atr_wilder(high: &[f64], low: &[f64], close: &[f64], n: usize) -> Vec<f64> {
    let range = |i: usize| {
        let before = close[i - 1];
        let span = high[i] - low[i];
        // `f64::max` would skip an undefined operand.
        if span.is_nan() || before.is_nan() {
            return f64::NAN;
        }
        span.max((high[i] - before).abs()).max((low[i] - before).abs())
    };
    smoothed(&with_first_undefined(close.len(), 1..close.len(), range), n, wilder)
}

/// On-balance volume: the running sum of volume, with the sign of the day's move.
pub(crate) fn obv(close: &[f64], volume: &[f64]) -> Vec<f64> {
    let mut out = Vec::with_capacity(close.len());
    let mut total = f64::NAN;
    for (i, v) in volume.iter().enumerate() {
        let before = i.checked_sub(1).map_or(f64::NAN, |before| close[before]);
        total = if v.is_nan() || close[i].is_nan() {
            f64::NAN
        } else if total.is_nan() {
            *v
        } else if close[i] > before {
            total + v
        } else if close[i] < before {
            total - v
        } else {
            total
        };
        out.push(total);
    }
    out
}

/// Running product of factors from the first row: what turns a price as traded into
/// one that splits and dividends do not interrupt. Starting at the first row, it does
/// not change when later actions are added.
pub(crate) fn running_product(factor: &[f64]) -> Vec<f64> {
    let mut product = 1.0;
    let step = |f: &f64| {
        product *= f;
        product
    };
    factor.iter().map(step).collect()
}

fn wilder(n: usize) -> f64 {
    1.0 / n as f64
}

/// Returns a series whose first row has no predecessor to be made of.
fn with_first_undefined(
    len: usize,
    rows: std::ops::Range<usize>,
    value: impl Fn(usize) -> f64,
) -> Vec<f64> {
    let mut out = vec![f64::NAN; len];
    rows.for_each(|i| out[i] = value(i));
    out
}

/// The mean of the first `n` defined values, then each value with a weight.
fn smoothed(x: &[f64], n: usize, weight: impl Fn(usize) -> f64) -> Vec<f64> {
    let weight = weight(n);
    let (mut out, mut seen, mut level) = (Vec::with_capacity(x.len()), 0, 0.0);
    for v in x {
        if v.is_nan() {
            (seen, level) = (0, 0.0);
        } else if seen < n {
            seen += 1;
            level += v;
            if seen == n {
                level /= n as f64;
            }
        } else {
            level += weight * (v - level);
        }
        out.push(if seen == n && n > 0 && !v.is_nan() { level } else { f64::NAN });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::rolling;

    /// Columns of a CSV file by name; an empty cell is undefined, `?` is not known.
    fn columns(text: &str) -> std::collections::BTreeMap<&str, Vec<&str>> {
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap().split(',').collect();
        let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
        let column = |i: usize| rows.iter().map(|row| row[i]).collect();
        names.into_iter().enumerate().map(|(i, name)| (name, column(i))).collect()
    }

    #[test]
    fn equals_the_reference_on_ibm() {
        let bars = columns(include_str!("../../tests/data/ohlcv_ibm.csv"));
        let series = |name: &str| -> Vec<f64> {
            bars[name].iter().map(|cell| cell.parse().unwrap()).collect()
        };
        let (high, low, close) = (series("high"), series("low"), series("close"));
        let volume = series("volume");
        let log: Vec<f64> =
            with_first_undefined(close.len(), 1..close.len(), |i| (close[i] / close[i - 1]).ln());
        let ratio = |n: usize| -> Vec<f64> {
            with_first_undefined(close.len(), n..close.len(), |i| close[i] / close[i - n] - 1.0)
        };
        let year = 252f64.sqrt();
        let mean20 = rolling::mean(&close, 20);
        let band = |sign: f64| -> Vec<f64> {
            let sd = rolling::std(&close, 20, 0);
            mean20.iter().zip(sd).map(|(m, sd)| m + sign * 2.0 * sd).collect()
        };
        let annual = |n| rolling::std(&log, n, 1).into_iter().map(|v| v * year).collect();
        let macd = macd(&close, 12, 26);
        let momentum = with_first_undefined(close.len(), 252..close.len(), |i| {
            close[i - 21] / close[i - 252] - 1.0
        });
        let expected = columns(include_str!("../../tests/data/indicators_ibm.csv"));
        for (name, found) in [
            ("sma20", mean20.clone()),
            ("ema20_sma_seed", ema(&close, 20)),
            ("rsi14_wilder_sma_seed", rsi_wilder(&close, 14)),
            ("macd_signal_talib", ema(&macd, 9)),
            ("macd_talib", macd),
            ("bb_up_pop", band(1.0)),
            ("bb_lo_pop", band(-1.0)),
            ("atr14_wilder_sma_seed", atr_wilder(&high, &low, &close, 14)),
            ("mom10", ratio(10)),
            ("mom30", ratio(30)),
            ("mom252_21", momentum),
            ("rv20_log_ann", annual(20)),
            ("rv60_log_ann", annual(60)),
            ("obv_talib", obv(&close, &volume)),
        ] {
            let mut compared = 0;
            for (row, cell) in expected["row"].iter().zip(&expected[name]) {
                let row: usize = row.parse().unwrap();
                let found = found[row];
                match cell.parse::<f64>() {
                    // TA-Lib leaves out the rows before the signal line is there.
                    Err(_) => assert!(found.is_nan() || name == "macd_talib", "{name} row {row}"),
                    Ok(expected) => {
                        let close = (found - expected).abs() <= 1e-9 * expected.abs().max(1.0);
                        assert!(close, "{name} row {row}: {found}, expected {expected}");
                        compared += 1;
                    }
                }
            }
            assert!(compared > 20, "{name}: {compared}");
        }
    }

    #[test]
    fn rsi_is_undefined_without_moves_or_history() {
        assert!(rsi_wilder(&[1.0; 40], 14).iter().all(|v| v.is_nan()));
        assert!(rsi_wilder(&[1.0, 2.0], 14).iter().all(|v| v.is_nan()));
        let rising: Vec<f64> = (0..40).map(f64::from).collect();
        assert_eq!(rsi_wilder(&rising, 14)[39], 100.0);
    }

    #[test]
    fn a_recursion_starts_anew_after_a_gap() {
        let x = [1.0, 2.0, 3.0, f64::NAN, 4.0, 6.0, 8.0];
        let found = ema(&x, 2);
        assert_eq!(found[1], 1.5);
        assert!(found[3].is_nan() && found[4].is_nan());
        assert_eq!(found[5], 5.0);
        assert_eq!(running_product(&[1.0, 2.0, 1.0, 0.5]), [1.0, 2.0, 2.0, 1.0]);
    }
}
