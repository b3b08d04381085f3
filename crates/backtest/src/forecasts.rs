//! Forecasts of a model lined up with what came true.

use std::{collections::BTreeMap, ops::RangeInclusive};

use chrono::NaiveDate;
use domain::{Label, LabelProbs};

/// A forecast of a name whose label has become known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Position of the name.
    pub name: usize,
    /// Date of the forecast.
    pub date: NaiveDate,
    /// Probabilities of the classes.
    pub probs: [f64; 5],
    /// Frequencies of the classes among labels known by then, the forecast without skill.
    pub prior: [f64; 5],
    /// Class that came true.
    pub class: usize,
}

/// A label with the day on which it became known, which is after its horizon has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownLabel {
    /// Position of the name.
    pub name: usize,
    /// Session it is about.
    pub session: NaiveDate,
    /// Day it became known.
    pub known: NaiveDate,
    /// Class.
    pub label: Label,
}

/// Returns what counts of the classes let expect: their frequencies by the rule of
/// succession (Laplace 1814), (n + 1) / (N + 5). A class that has not come true yet is not
/// impossible; were it, the first time would count without bound against the prior.
#[must_use]
pub fn prior(counts: [usize; 5]) -> [f64; 5] {
    let total = counts.iter().sum::<usize>() as f64;
    counts.map(|count| (count as f64 + 1.0) / (total + 5.0))
}

/// Lines forecasts of a span up with the labels that came true, and with the [`prior`] of the
/// labels known on the day of the forecast. On a day that is none of `sessions` the last one
/// before it counts, of several of a session the first. Forecasts without a label that is known by the end of the span, or before
/// the first label is known, are left out. Results are in order of dates and names.
#[must_use]
pub fn judged_forecasts(
    forecasts: &[(usize, NaiveDate, LabelProbs)],
    labels: &[KnownLabel],
    sessions: &[NaiveDate],
    span: RangeInclusive<NaiveDate>,
) -> Vec<Forecast> {
    let mut by_known: Vec<&KnownLabel> =
        labels.iter().filter(|label| label.known <= *span.end()).collect();
    let mut class: BTreeMap<(NaiveDate, usize), usize> =
        by_known.iter().map(|known| ((known.session, known.name), known.label.index())).collect();
    by_known.sort_by_key(|label| label.known);
    let mut in_order: Vec<&(usize, NaiveDate, LabelProbs)> =
        forecasts.iter().filter(|(_, date, _)| span.contains(date)).collect();
    in_order.sort_by_key(|(name, date, _)| (*date, *name));
    let (mut counts, mut counted) = ([0_usize; 5], 0);
    let mut judged = Vec::new();
    for (name, date, probs) in in_order {
        while let Some(label) = by_known.get(counted).filter(|label| label.known <= *date) {
            counts[label.label.index()] += 1;
            counted += 1;
        }
        let begun = sessions.partition_point(|session| session <= date);
        let Some(session) = begun.checked_sub(1).map(|last| sessions[last]) else { continue };
        // Each label is counted once.
        let Some(label) = class.remove(&(session, *name)).filter(|_| counted > 0) else { continue };
        let (name, date, probs, class) = (*name, *date, probs.values(), label);
        let prior = prior(counts);
        judged.push(Forecast { name, date, probs, prior, class });
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_is_judged_by_its_label_and_the_labels_known_then() {
        let day = |day| NaiveDate::from_ymd_opt(2020, 1, day).unwrap();
        let label = |name, session, known, label| KnownLabel {
            name,
            session: day(session),
            known: day(known),
            label,
        };
        let labels = [
            label(0, 1, 10, Label::Buy),
            label(1, 1, 10, Label::Sell),
            label(0, 12, 21, Label::SBuy),
            label(1, 9, 20, Label::Hold),
        ];
        let probs = LabelProbs::new([0.0, 0.1, 0.2, 0.3, 0.4]).unwrap();
        let sessions = [day(1), day(9), day(12)];
        let judged = |forecasts: &[_], span| judged_forecasts(forecasts, &labels, &sessions, span);
        let forecasts = [(0, day(12), probs), (1, day(9), probs), (1, day(12), probs)];
        // The second is made before any label is known, the third has no label.
        let found = judged(&forecasts, day(1)..=day(31));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].class, Label::SBuy.index());
        assert_eq!(found[0].prior, [1.0, 2.0, 1.0, 2.0, 1.0].map(|n| n / 7.0));
        // On the days after a session its close is still the last one.
        assert_eq!(judged(&[(0, day(13), probs)], day(1)..=day(31))[0].class, found[0].class);
        // Neither what lies outside of a span is judged, nor by what is known after it.
        assert_eq!(judged(&forecasts, day(13)..=day(31)), []);
        assert_eq!(judged(&forecasts, day(1)..=day(20)), []);
        assert_eq!(judged(&forecasts, day(1)..=day(21)).len(), 1);
    }
}
