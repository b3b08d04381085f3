//! Several rankings to one.

/// Damps the head of a ranking; the value of the method's authors (Cormack et al.,
/// 2009), which the harness confirms.
const K: f64 = 60.0;

/// Returns positions by falling score; equal scores keep their order.
pub(super) fn order(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// Returns the place of each position in a ranking, 1 for the best.
pub(super) fn places(scores: &[f64]) -> Vec<usize> {
    let mut places = vec![0; scores.len()];
    for (place, position) in order(scores).into_iter().enumerate() {
        places[position] = place + 1;
    }
    places
}

/// Fuses rankings by reciprocal rank: a document scores `1 / (60 + place)` in each.
pub(super) fn fuse(rankings: &[Vec<usize>]) -> Vec<f64> {
    let len = rankings.first().map_or(0, Vec::len);
    let score = |position: usize| rankings.iter().map(|r| 1.0 / (K + r[position] as f64)).sum();
    (0..len).map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuses_by_reciprocal_rank() {
        assert_eq!(order(&[0.5, 2.0, 0.5]), [1, 0, 2]);
        assert_eq!(places(&[0.5, 2.0, 0.5]), [2, 1, 3]);
        let fused = fuse(&[vec![2, 1, 3], vec![1, 3, 2]]);
        let expected = [1.0 / 62.0 + 1.0 / 61.0, 1.0 / 61.0 + 1.0 / 63.0, 1.0 / 63.0 + 1.0 / 62.0];
        assert_eq!(fused, expected);
        assert_eq!(order(&fused), [0, 1, 2]);
    }
}
