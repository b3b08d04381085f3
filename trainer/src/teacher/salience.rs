//! How unusual a fact is.

use std::collections::BTreeMap;

use domain::{AsOfRead, EvidenceItem, EvidenceKind};

/// Turns a median absolute deviation into a standard deviation of normal values (Hampel
/// 1974).
const NORMAL: f64 = 1.4826;

/// Most unusual a number can be: a value that never varied before would be infinitely so.
const SCORE_MAX: f64 = 4.0;

/// A text without a direction, as unusual as a number one deviation off.
const TEXT: f64 = 1.0;

/// A text that speaks of one direction says more.
const TEXT_WAY: f64 = 1.0;

/// A text loses half of that in a month.
const TEXT_AGE_DAYS: f64 = 30.0;

/// What values features usually have, from contexts of the training dates alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Salience {
    usual: BTreeMap<String, Usual>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Usual {
    median: f64,
    deviation: f64,
}

impl Salience {
    /// Takes median and median absolute deviation of each feature. Where more than half of
    /// the values are equal, the mean absolute deviation stands in.
    pub(crate) fn fit<'r>(reads: impl IntoIterator<Item = &'r AsOfRead>) -> Self {
        let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for read in reads {
            for feature in read.frame() {
                values.entry(feature.name.clone()).or_default().push(feature.value);
            }
        }
        let usual = values.into_iter().map(|(name, values)| (name, usual(values))).collect();
        Self { usual }
    }

    /// Returns deviations from the median for a number, 0 to 4; for a text 1 to 2, more
    /// where it speaks of a direction (`is_directed`) and is new.
    pub(crate) fn score(&self, read: &AsOfRead, item: &EvidenceItem, is_directed: bool) -> f64 {
        match &item.kind {
            EvidenceKind::Numeric(feature) => {
                let Some(usual) = self.usual.get(&feature.name) else { return 0.0 };
                let off = (feature.value - usual.median).abs();
                if off == 0.0 { 0.0 } else { (off / usual.deviation).min(SCORE_MAX) }
            }
            EvidenceKind::Text(snippet) => {
                let age = read.as_of().instant() - snippet.provenance.event_time;
                let fresh = 0.5_f64.powf(age.num_days() as f64 / TEXT_AGE_DAYS);
                TEXT + if is_directed { TEXT_WAY * fresh } else { 0.0 }
            }
        }
    }
}

fn usual(values: Vec<f64>) -> Usual {
    let median_of = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let at = |i: usize| values.get(i).copied().unwrap_or_default();
        if n % 2 == 1 { at(n / 2) } else { 0.5 * (at((n / 2).saturating_sub(1)) + at(n / 2)) }
    };
    let n = values.len().max(1) as f64;
    let median = median_of(values.clone());
    let off: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
    let mean = off.iter().sum::<f64>() / n;
    let deviation = NORMAL * median_of(off);
    Usual { median, deviation: if deviation > 0.0 { deviation } else { mean } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_values_are_robust() {
        let found = usual(vec![1.0, 2.0, 3.0, 4.0, 1000.0]);
        assert_eq!(found, Usual { median: 3.0, deviation: NORMAL });
        // Most are 0: (0 + 0 + 0 + 6) / 4.
        assert_eq!(usual(vec![0.0, 0.0, 0.0, 6.0]), Usual { median: 0.0, deviation: 1.5 });
        assert_eq!(usual(vec![2.0]), Usual { median: 2.0, deviation: 0.0 });
    }
}
