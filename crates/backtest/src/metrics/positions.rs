//! Metrics of what was held: weights of names by day, and labels by date.

use super::{moments::finite, returns::DAYS_PER_YEAR};

/// Weights of names by day, as fractions of wealth; short is negative. One row a day.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    names: usize,
    values: &'a [f64],
}

impl<'a> Weights<'a> {
    /// Wraps the weights of `names` names, day after day. None if there is no name, if
    /// the values do not fill whole days, or if one is not finite.
    #[must_use]
    pub fn new(names: usize, values: &'a [f64]) -> Option<Self> {
        let is_whole = names > 0 && values.len().is_multiple_of(names);
        (is_whole && values.iter().all(|w| w.is_finite())).then_some(Self { names, values })
    }

    /// Returns the weights of each day.
    pub fn days(&self) -> impl ExactSizeIterator<Item = &'a [f64]> + Clone {
        self.values.chunks_exact(self.names)
    }

    /// Tells for each day whether anything was held, which [`hit_rate`](super::hit_rate) asks.
    #[must_use]
    pub fn has_position(&self) -> Vec<bool> {
        self.days().map(|day| day.iter().any(|w| *w != 0.0)).collect()
    }

    fn steps(&self) -> impl Iterator<Item = (&'a [f64], &'a [f64])> {
        self.days().zip(self.days().skip(1))
    }
}

/// Annual turnover: the mean over adjacent days of the sum over names of |w_t - w_(t-1)|,
/// times 252: what was bought, sold and moved by prices. Undefined below two days.
#[must_use]
pub fn turnover(weights: Weights<'_>) -> Option<f64> {
    let traded = |(before, after): (&[f64], &[f64])| -> f64 {
        before.iter().zip(after).map(|(before, after)| (after - before).abs()).sum()
    };
    let steps = weights.days().len().saturating_sub(1);
    finite(weights.steps().map(traded).sum::<f64>() / steps as f64 * DAYS_PER_YEAR)
}

/// Flip rate: the share of pairs of a name and two adjacent days between which its
/// position went from long to short or back; to or from flat is no flip. Undefined below
/// two days.
#[must_use]
pub fn flip_rate(weights: Weights<'_>) -> Option<f64> {
    let is_flip = |(before, after): (&f64, &f64)| {
        (*before > 0.0 && *after < 0.0) || (*before < 0.0 && *after > 0.0)
    };
    let flips: usize = weights
        .steps()
        .map(|(before, after)| before.iter().zip(after).filter(|pair| is_flip(*pair)).count())
        .sum();
    let pairs = weights.days().len().saturating_sub(1) * weights.names;
    finite(flips as f64 / pairs as f64)
}

/// Mean holding period in days: of the runs of days over which a name stayed long, or
/// short. A run that is open at the last day counts with the days it has. Undefined if
/// nothing was ever held.
#[must_use]
pub fn holding_period(weights: Weights<'_>) -> Option<f64> {
    let side = |w: f64| (w != 0.0).then_some(w > 0.0);
    let mut sides = vec![None; weights.names];
    let (mut held, mut runs) = (0_usize, 0_usize);
    for day in weights.days() {
        for (before, w) in sides.iter_mut().zip(day) {
            let now = side(*w);
            held += usize::from(now.is_some());
            runs += usize::from(now.is_some() && now != *before);
            *before = now;
        }
    }
    finite(held as f64 / runs as f64)
}

/// Label flip rate: the share of changed labels between adjacent dates, pooled over names;
/// each item holds the labels of one name by date. Undefined without adjacent dates.
#[must_use]
pub fn label_flip_rate<'a, T: PartialEq + 'a>(
    names: impl IntoIterator<Item = &'a [T]>,
) -> Option<f64> {
    let (mut changed, mut pairs) = (0_usize, 0_usize);
    for labels in names {
        changed += labels.windows(2).filter(|pair| pair[0] != pair[1]).count();
        pairs += labels.len().saturating_sub(1);
    }
    finite(changed as f64 / pairs as f64)
}

/// Capacity: the wealth at which the first position reaches a share `participation` of its
/// average daily volume, the least of participation x ADV over |w|, in the currency of the
/// volumes. Undefined if nothing is held or if a figure is not finite.
#[must_use]
pub fn capacity(weights: &[f64], daily_volumes: &[f64], participation: f64) -> Option<f64> {
    if weights.len() != daily_volumes.len() || weights.iter().any(|w| !w.is_finite()) {
        return None;
    }
    let held = weights.iter().zip(daily_volumes).filter(|(w, _)| **w != 0.0);
    let bounds: Option<Vec<f64>> =
        held.map(|(w, adv)| finite(participation * adv / w.abs())).collect();
    bounds?.into_iter().min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two names over five days: one turns from long to short and rests, one is bought late.
    const VALUES: [f64; 10] = [0.5, 0.0, 0.5, 0.0, -0.3, 0.2, 0.0, 0.4, -0.3, 0.4];

    #[test]
    fn of_two_names_by_hand() {
        let weights = Weights::new(2, &VALUES).unwrap();
        let traded = 0.0 + (0.8 + 0.2) + (0.3 + 0.2) + 0.3;
        assert!((turnover(weights).unwrap() - traded / 4.0 * 252.0).abs() < 1e-12);
        assert_eq!(flip_rate(weights), Some(1.0 / 8.0));
        // Runs of 2, 1 and 1 days of the first name, and one of 3 of the second.
        assert_eq!(holding_period(weights), Some(7.0 / 4.0));
        assert_eq!(weights.has_position(), [true; 5]);
        let rest = Weights::new(1, &[0.0, 0.1, 0.0]).unwrap();
        assert_eq!(rest.has_position(), [false, true, false]);
    }

    #[test]
    fn what_is_not_held_has_no_turnover_and_no_period() {
        let rest = Weights::new(1, &[0.0; 3]).unwrap();
        assert_eq!((turnover(rest), flip_rate(rest)), (Some(0.0), Some(0.0)));
        assert_eq!(holding_period(rest), None);
        for values in [&[][..], &[0.5]] {
            let short = Weights::new(1, values).unwrap();
            assert_eq!((turnover(short), flip_rate(short)), (None, None), "{values:?}");
        }
        assert!(Weights::new(0, &[]).is_none());
        assert!(Weights::new(2, &[0.1; 3]).is_none());
        assert!(Weights::new(1, &[f64::NAN]).is_none());
    }

    #[test]
    fn labels_are_pooled_over_names() {
        let names: [&[char]; 3] = [&['A', 'A', 'B', 'B'], &['C'], &['D', 'E']];
        assert_eq!(label_flip_rate(names), Some(2.0 / 4.0));
        assert_eq!(label_flip_rate([&['C'][..]]), None);
    }

    #[test]
    fn capacity_is_that_of_the_tightest_name() {
        let volumes = [1e6, 2e5, 3e3];
        assert_eq!(capacity(&[0.5, -0.2, 0.0], &volumes, 0.05), Some(5e4));
        assert_eq!(capacity(&[0.0; 3], &volumes, 0.05), None);
        assert_eq!(capacity(&[0.5, 0.0, 0.0], &[f64::NAN; 3], 0.05), None);
        assert_eq!(capacity(&[0.5], &volumes, 0.05), None);
    }

    proptest! {
        #[test]
        fn the_order_of_names_changes_nothing(values in prop::collection::vec(-1.0..1.0_f64, 3 * 8)) {
            let turned: Vec<f64> =
                values.chunks_exact(3).flat_map(|day| [day[2], day[0], day[1]]).collect();
            let (one, two) = (Weights::new(3, &values).unwrap(), Weights::new(3, &turned).unwrap());
            let (first, second) = (turnover(one).unwrap(), turnover(two).unwrap());
            prop_assert!((first - second).abs() <= 1e-12 * first);
            prop_assert_eq!(flip_rate(one), flip_rate(two));
            prop_assert_eq!(holding_period(one), holding_period(two));
        }
    }
}
