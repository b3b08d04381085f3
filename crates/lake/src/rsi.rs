//! The relative strength index as Wilder defined and TA-Lib computes it.

/// Returns Wilder's RSI of the last close, seeded by the simple mean of the
/// first `n` moves; none with fewer than `n + 1` closes, and none where the
/// price never moved (TA-Lib writes 0 there, which would read as oversold).
///
/// The recursion starts at the first close given, so pass the whole history.
#[must_use]
pub fn rsi_wilder(closes: &[f64], n: usize) -> Option<f64> {
    rsi_wilder_series(closes, n).last().copied().flatten()
}

/// Returns Wilder's RSI at every close; row `n` is the first with a value.
#[must_use]
pub fn rsi_wilder_series(closes: &[f64], n: usize) -> Vec<Option<f64>> {
    let mut series = vec![None; closes.len()];
    if n == 0 {
        return series;
    }
    let (mut gain, mut loss) = (0.0, 0.0);
    for row in 1..closes.len() {
        let change = closes[row] - closes[row - 1];
        let (up, down) = (change.max(0.0), (-change).max(0.0));
        if row <= n {
            gain += up / n as f64;
            loss += down / n as f64;
        } else {
            gain = (gain * (n - 1) as f64 + up) / n as f64;
            loss = (loss * (n - 1) as f64 + down) / n as f64;
        }
        if row >= n && gain + loss > 0.0 {
            series[row] = Some(100.0 * gain / (gain + loss));
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns `close,rsi14` of IBM from 2000-03-01, made with TA-Lib; `?` marks
    /// rows without a reference value.
    #[test]
    fn equals_ta_lib_on_ibm() {
        let text = include_str!("../tests/data/rsi_ibm.csv");
        let (closes, expected): (Vec<&str>, Vec<&str>) =
            text.lines().skip(1).map(|line| line.split_once(',').unwrap()).unzip();
        let closes: Vec<f64> = closes.into_iter().map(|c| c.parse().unwrap()).collect();
        let ours = rsi_wilder_series(&closes, 14);
        assert_eq!(ours.iter().position(Option::is_some), Some(14));
        let mut compared = 0;
        for (row, (ours, theirs)) in ours.iter().zip(expected).enumerate() {
            match (ours, theirs) {
                (_, "?") => {}
                (None, "") => {}
                (Some(ours), theirs) => {
                    let theirs: f64 = theirs.parse().unwrap();
                    assert!((ours - theirs).abs() < 1e-9 * theirs, "row {row}: {ours} {theirs}");
                    compared += 1;
                }
                (None, theirs) => panic!("row {row}: no value, expected {theirs}"),
            }
        }
        assert!(compared > 60, "{compared}");
    }

    #[test]
    fn is_undefined_without_moves_or_history() {
        assert_eq!(rsi_wilder(&[1.0; 40], 14), None);
        assert_eq!(rsi_wilder(&[1.0, 2.0], 14), None);
        assert_eq!(rsi_wilder(&(0..40).map(f64::from).collect::<Vec<_>>(), 14), Some(100.0));
    }
}
