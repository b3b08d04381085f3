//! Statistics of the last `n` rows. Undefined for the first `n - 1` rows, and where
//! one of the `n` values is undefined.
//!
//! Each runs over the offsets within the window outside and over some rows inside:
//! the inner loop has no dependency and is vectorised, and every row adds its values
//! in the same order, oldest first.

/// Rows whose sums stay in registers while their windows are read.
const TILE: usize = 32;

/// Sum.
pub(crate) fn sum(x: &[f64], n: usize) -> Vec<f64> {
    let mut out = fold(x, n, 0.0, |acc, v| acc + v);
    mask(&mut out, &[x], n);
    out
}

/// Arithmetic mean.
pub(crate) fn mean(x: &[f64], n: usize) -> Vec<f64> {
    let mut out = sum(x, n);
    out.iter_mut().for_each(|v| *v /= n as f64);
    out
}

/// Standard deviation with `ddof` 0 (population) or 1 (sample).
pub(crate) fn std(x: &[f64], n: usize, ddof: usize) -> Vec<f64> {
    if n <= ddof {
        return vec![f64::NAN; x.len()];
    }
    let mut out = squares(x, &mean(x, n), n);
    let divisor = (n - ddof) as f64;
    out.iter_mut().for_each(|v| *v = (*v / divisor).sqrt());
    out
}

/// Smallest value.
pub(crate) fn min(x: &[f64], n: usize) -> Vec<f64> {
    let mut out = fold(x, n, f64::INFINITY, |acc, v| if v < acc { v } else { acc });
    mask(&mut out, &[x], n);
    out
}

/// Largest value.
pub(crate) fn max(x: &[f64], n: usize) -> Vec<f64> {
    let mut out = fold(x, n, f64::NEG_INFINITY, |acc, v| if v > acc { v } else { acc });
    mask(&mut out, &[x], n);
    out
}

/// Rows since the oldest of the window, plus one, at which the largest value first stands.
pub(crate) fn idx_max(x: &[f64], n: usize) -> Vec<f64> {
    position(x, n, |v, best| v > best)
}

/// Rows since the oldest of the window, plus one, at which the smallest value first stands.
pub(crate) fn idx_min(x: &[f64], n: usize) -> Vec<f64> {
    position(x, n, |v, best| v < best)
}

/// Share of the window's values that are not above the latest one, ties counted half
/// as the mean rank does: 1 / n for the smallest, 1 for the largest.
pub(crate) fn rank(x: &[f64], n: usize) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    for (offset, shifted) in shifts(x, n) {
        for ((o, v), now) in out[n - 1..].iter_mut().zip(shifted).zip(&x[n - 1..]) {
            let above_or_equal = f64::from(u8::from(v < now)) + 0.5 * f64::from(u8::from(v == now));
            *o += if offset == n - 1 { 1.0 } else { above_or_equal };
        }
    }
    // The mean rank of a value among k equal ones is (k + 1) / 2 above those below.
    out.iter_mut().for_each(|v| *v /= n as f64);
    mask(&mut out, &[x], n);
    out
}

/// Quantile `q`, 0 to 1, with linear interpolation between order statistics.
pub(crate) fn quantile(x: &[f64], n: usize, q: f64) -> Vec<f64> {
    let mut out = vec![f64::NAN; x.len()];
    let at = q * (n as f64 - 1.0);
    let (below, share) = (at.floor() as usize, at - at.floor());
    // Sorted values of the window; one leaves and one enters at each row.
    let mut window: Vec<f64> = Vec::with_capacity(n);
    for (i, &v) in x.iter().enumerate() {
        let leaves = if i >= n { x[i - n] } else { f64::NAN };
        match (leaves.is_nan(), v.is_nan()) {
            (true, true) => {}
            (true, false) => window.insert(below_count(&window, v), v),
            (false, true) => drop(window.remove(below_count(&window, leaves))),
            (false, false) => replace(&mut window, leaves, v),
        }
        if window.len() == n && below < n {
            let next = window[(below + 1).min(n - 1)];
            out[i] = window[below] + share * (next - window[below]);
        }
    }
    out
}

/// Slope of the least-squares line through the window's values, per row.
pub(crate) fn slope(x: &[f64], n: usize) -> Vec<f64> {
    let (centre, spread) = abscissa(n);
    let mut out = vec![0.0; x.len()];
    for (offset, shifted) in shifts(x, n) {
        let weight = offset as f64 - centre;
        out[n - 1..].iter_mut().zip(shifted).for_each(|(o, v)| *o += weight * v);
    }
    out.iter_mut().for_each(|v| *v /= spread);
    mask(&mut out, &[x], n);
    out
}

/// Share of the variance that the least-squares line explains; undefined where the
/// window's values are all equal.
pub(crate) fn r_square(x: &[f64], n: usize) -> Vec<f64> {
    let (_, spread) = abscissa(n);
    let mut out = slope(x, n);
    for (slope, total) in out.iter_mut().zip(squares(x, &mean(x, n), n)) {
        let explained = *slope * *slope * spread;
        *slope = if total > 0.0 { (explained / total).min(1.0) } else { f64::NAN };
    }
    out
}

/// Distance of the latest value from the least-squares line.
pub(crate) fn residual(x: &[f64], n: usize) -> Vec<f64> {
    let (centre, _) = abscissa(n);
    let (slopes, means) = (slope(x, n), mean(x, n));
    let rows = x.iter().zip(slopes).zip(means);
    rows.map(|((v, slope), mean)| v - (mean + slope * centre)).collect()
}

/// Pearson correlation; undefined where one of the series does not move.
pub(crate) fn correlation(x: &[f64], y: &[f64], n: usize) -> Vec<f64> {
    let (mean_x, mean_y) = (mean(x, n), mean(y, n));
    let (var_x, var_y) = (squares(x, &mean_x, n), squares(y, &mean_y, n));
    let mut out = products(x, &mean_x, y, &mean_y, n);
    for (i, v) in out.iter_mut().enumerate() {
        let scale = (var_x[i] * var_y[i]).sqrt();
        *v = if scale > 0.0 { (*v / scale).clamp(-1.0, 1.0) } else { f64::NAN };
    }
    out
}

/// Slope of `y` on `x`: covariance over the variance of `x`.
pub(crate) fn beta(y: &[f64], x: &[f64], n: usize) -> Vec<f64> {
    let (mean_x, mean_y) = (mean(x, n), mean(y, n));
    let var_x = squares(x, &mean_x, n);
    let mut out = products(x, &mean_x, y, &mean_y, n);
    for (v, var) in out.iter_mut().zip(var_x) {
        *v = if var > 0.0 { *v / var } else { f64::NAN };
    }
    out
}

/// Largest fall from an earlier peak within the window, as a negative share.
pub(crate) fn max_drawdown(x: &[f64], n: usize) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    let mut peak = vec![f64::NEG_INFINITY; x.len()];
    for (_, shifted) in shifts(x, n) {
        let rows = out[n - 1..].iter_mut().zip(&mut peak[n - 1..]).zip(shifted);
        for ((worst, peak), v) in rows {
            *peak = if v > peak { *v } else { *peak };
            let fall = v / *peak - 1.0;
            *worst = if fall < *worst { fall } else { *worst };
        }
    }
    mask(&mut out, &[x], n);
    out
}

/// Returns for each offset, oldest first, the values that far into each full window.
fn shifts(x: &[f64], n: usize) -> impl Iterator<Item = (usize, &[f64])> {
    let rows = (x.len() + 1).saturating_sub(n);
    let offsets = if rows == 0 || n == 0 { 0..0 } else { 0..n };
    offsets.map(move |offset| (offset, &x[offset..offset + rows]))
}

/// How many values are below `v`. Of a window's length a count without branches takes less
/// time than a search, whose turns cannot be foreseen.
fn below_count(values: &[f64], v: f64) -> usize {
    // A sum that is checked is not vectorised.
    values.iter().fold(0, |below: usize, w| below.wrapping_add(usize::from(*w < v)))
}

/// Puts a value into sorted ones in the place of another.
fn replace(sorted: &mut [f64], leaves: f64, enters: f64) {
    let (from, to) = sorted.iter().fold((0_usize, 0_usize), |(from, to), w| {
        let is_below = |v: f64| usize::from(*w < v);
        (from.wrapping_add(is_below(leaves)), to.wrapping_add(is_below(enters)))
    });
    if to > from {
        sorted.copy_within(from + 1..to, from);
        sorted[to - 1] = enters;
    } else {
        sorted.copy_within(to..from, to + 1);
        sorted[to] = enters;
    }
}

fn fold(x: &[f64], n: usize, start: f64, step: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    fn tile<const N: usize>(
        x: &[f64],
        n: usize,
        start: f64,
        step: impl Fn(f64, f64) -> f64,
    ) -> [f64; N] {
        let mut sums = [start; N];
        for window in x.windows(N).take(n) {
            sums.iter_mut().zip(window).for_each(|(sum, v)| *sum = step(*sum, *v));
        }
        sums
    }
    let mut out = vec![start; x.len()];
    if n == 0 || x.len() < n {
        return out;
    }
    let (tiles, rest) = out[n - 1..].as_chunks_mut::<TILE>();
    let tiled = tiles.len() * TILE;
    for (i, sums) in tiles.iter_mut().enumerate() {
        *sums = tile(&x[i * TILE..], n, start, &step);
    }
    for (i, sum) in rest.iter_mut().enumerate() {
        [*sum] = tile(&x[tiled + i..], n, start, &step);
    }
    out
}

/// Sum of squared distances from the mean.
fn squares(x: &[f64], mean: &[f64], n: usize) -> Vec<f64> {
    products(x, mean, x, mean, n)
}

/// Sum of products of distances from the means.
fn products(x: &[f64], mean_x: &[f64], y: &[f64], mean_y: &[f64], n: usize) -> Vec<f64> {
    fn tile<const N: usize>(x: [&[f64]; 2], means: [&[f64]; 2], n: usize) -> [f64; N] {
        let [mean_x, mean_y] = means.map(|means| &means[..N]);
        let mut sums = [0.0; N];
        for (xs, ys) in x[0].windows(N).zip(x[1].windows(N)).take(n) {
            let means = mean_x.iter().zip(mean_y);
            for ((sum, (x, y)), (mx, my)) in sums.iter_mut().zip(xs.iter().zip(ys)).zip(means) {
                *sum += (x - mx) * (y - my);
            }
        }
        sums
    }
    let mut out = vec![0.0; x.len()];
    if n > 0 && x.len() >= n {
        let means = |first: usize| [&mean_x[n - 1 + first..], &mean_y[n - 1 + first..]];
        let (tiles, rest) = out[n - 1..].as_chunks_mut::<TILE>();
        let tiled = tiles.len() * TILE;
        for (i, sums) in tiles.iter_mut().enumerate() {
            let first = i * TILE;
            *sums = tile([&x[first..], &y[first..]], means(first), n);
        }
        for (i, sum) in rest.iter_mut().enumerate() {
            let first = tiled + i;
            [*sum] = tile([&x[first..], &y[first..]], means(first), n);
        }
    }
    mask(&mut out, &[x, y], n);
    out
}

fn position(x: &[f64], n: usize, is_better: impl Fn(f64, f64) -> bool) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    let mut best = vec![f64::NAN; x.len()];
    for (offset, shifted) in shifts(x, n) {
        let rows = out[n - 1..].iter_mut().zip(&mut best[n - 1..]).zip(shifted);
        for ((position, best), v) in rows {
            if offset == 0 || is_better(*v, *best) {
                (*best, *position) = (*v, offset as f64 + 1.0);
            }
        }
    }
    mask(&mut out, &[x], n);
    out
}

/// Mean of the abscissa 0 to n - 1, and its sum of squared distances.
fn abscissa(n: usize) -> (f64, f64) {
    let n = n as f64;
    ((n - 1.0) / 2.0, n * (n * n - 1.0) / 12.0)
}

/// Makes undefined what has fewer than `n` rows or an undefined value in its window.
fn mask(out: &mut [f64], inputs: &[&[f64]], n: usize) {
    let mut defined = 0;
    for (i, o) in out.iter_mut().enumerate() {
        defined = if inputs.iter().any(|x| x[i].is_nan()) { 0 } else { defined + 1 };
        if defined < n || n == 0 {
            *o = f64::NAN;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What each kernel is by its textbook definition, for one window.
    type Textbook = fn(&[f64]) -> f64;
    type Kernel = fn(&[f64], usize) -> Vec<f64>;

    fn average(w: &[f64]) -> f64 {
        w.iter().sum::<f64>() / w.len() as f64
    }

    fn line(w: &[f64]) -> (f64, f64, f64) {
        let t = (w.len() as f64 - 1.0) / 2.0;
        let m = average(w);
        let sxy: f64 = w.iter().enumerate().map(|(i, v)| (i as f64 - t) * (v - m)).sum();
        let sxx: f64 = (0..w.len()).map(|i| (i as f64 - t).powi(2)).sum();
        (sxy / sxx, m, t)
    }

    const CASES: [(&str, Kernel, Textbook); 12] = [
        ("sum", sum, |w| w.iter().sum()),
        ("mean", mean, average),
        (
            "std",
            |x, n| std(x, n, 1),
            |w| {
                let m = average(w);
                (w.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (w.len() as f64 - 1.0)).sqrt()
            },
        ),
        ("min", min, |w| w.iter().copied().fold(f64::INFINITY, f64::min)),
        ("max", max, |w| w.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        ("idx_max", idx_max, |w| {
            let top = w.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            w.iter().position(|v| *v == top).unwrap() as f64 + 1.0
        }),
        ("rank", rank, |w| {
            let now = w[w.len() - 1];
            let below = w.iter().filter(|v| **v < now).count() as f64;
            let equal = w.iter().filter(|v| **v == now).count() as f64;
            (below + (equal + 1.0) / 2.0) / w.len() as f64
        }),
        (
            "quantile",
            |x, n| quantile(x, n, 0.8),
            |w| {
                let mut sorted = w.to_vec();
                sorted.sort_by(f64::total_cmp);
                let at = 0.8 * (w.len() as f64 - 1.0);
                let low = sorted[at as usize];
                low + at.fract() * (sorted[(at as usize + 1).min(w.len() - 1)] - low)
            },
        ),
        ("slope", slope, |w| line(w).0),
        ("residual", residual, |w| {
            let (slope, mean, t) = line(w);
            w[w.len() - 1] - (mean + slope * t)
        }),
        ("r_square", r_square, |w| {
            let (slope, mean, t) = line(w);
            let total: f64 = w.iter().map(|v| (v - mean).powi(2)).sum();
            let fitted = |i: usize| mean + slope * (i as f64 - t);
            let left: f64 = w.iter().enumerate().map(|(i, v)| (v - fitted(i)).powi(2)).sum();
            if total > 0.0 { 1.0 - left / total } else { f64::NAN }
        }),
        ("max_drawdown", max_drawdown, |w| {
            let mut peak = w[0];
            w.iter().fold(0.0, |worst: f64, v| {
                peak = peak.max(*v);
                worst.min(v / peak - 1.0)
            })
        }),
    ];

    proptest! {
        #[test]
        fn every_kernel_is_its_definition_at_every_row(
            x in prop::collection::vec(prop_oneof![9 => 1.0..200.0f64, 2 => Just(50.0)], 1..60),
            n in 2usize..12,
        ) {
            for (name, kernel, textbook) in CASES {
                let found = kernel(&x, n);
                prop_assert_eq!(found.len(), x.len());
                for (i, v) in found.iter().enumerate() {
                    if i + 1 < n {
                        prop_assert!(v.is_nan(), "{} row {}", name, i);
                        continue;
                    }
                    let expected = textbook(&x[i + 1 - n..=i]);
                    let close = (v - expected).abs() <= 1e-9 * (1.0 + expected.abs());
                    prop_assert!(close || (v.is_nan() && expected.is_nan()), "{} row {}: {} {}", name, i, v, expected);
                }
                // Causal and local: a later start and a longer series change no bit.
                let start = x.len() / 2;
                for (a, b) in kernel(&x[start..], n).iter().zip(&found[start..]) {
                    prop_assert!(a.is_nan() || a.to_bits() == b.to_bits(), "{}", name);
                }
            }
        }
    }

    #[test]
    fn an_undefined_value_makes_its_windows_undefined() {
        let mut x: Vec<f64> = (1..=20).map(|i| f64::from(i * i)).collect();
        x[9] = f64::NAN;
        for (name, kernel, _) in CASES {
            let found = kernel(&x, 4);
            for (i, v) in found.iter().enumerate() {
                assert_eq!(v.is_nan(), i < 3 || (9..13).contains(&i), "{name} row {i}: {v}");
            }
            assert!(kernel(&x[..2], 4).iter().all(|v| v.is_nan()), "{name}");
        }
    }

    #[test]
    fn correlation_and_beta_of_lines() {
        let x: Vec<f64> = (0..9).map(|i| f64::from(i % 4)).collect();
        let y: Vec<f64> = x.iter().map(|v| 3.0 - 2.0 * v).collect();
        assert!(correlation(&x, &y, 5)[4..].iter().all(|v| (v + 1.0).abs() < 1e-12));
        assert!(beta(&y, &x, 5)[4..].iter().all(|v| (v + 2.0).abs() < 1e-12));
        assert!(beta(&x, &[1.0; 9], 5).iter().all(|v| v.is_nan()));
    }
}
