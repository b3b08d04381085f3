//! Does a probability forecast say more than how often each class occurs?

use serde::{Deserialize, Serialize};

use crate::{
    bootstrap::{Interval, Resampling, paired_distribution},
    metrics::moments::finite,
    reliability::surprise,
};

/// Losses of all decisions of a date: sums, so that dates count by their decisions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DayLosses {
    /// Sum of -ln of the model's probabilities of what came true.
    pub model: f64,
    /// The same sum of the class prior's.
    pub prior: f64,
}

/// Log-loss skill with what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Skill {
    /// 1 less the model's log-loss over the prior's.
    pub skill: Option<f64>,
    /// Its percentile interval.
    pub interval: Option<Interval>,
}

impl DayLosses {
    /// Adds a decision: the model's and the prior's probabilities of the classes, and the
    /// class that came true. Nothing is added for a class that is not there.
    pub fn add<const K: usize>(&mut self, model: &[f64; K], prior: &[f64; K], class: usize) {
        if let (Some(p), Some(q)) = (model.get(class), prior.get(class)) {
            self.model += surprise(*p);
            self.prior += surprise(*q);
        }
    }
}

/// Log-loss skill over the class prior: 1 less the model's log-loss over that of the class
/// frequencies of the training span, over all decisions of all dates. 0 is no skill, 1 is
/// certainty. Undefined without decisions, and over a prior that is never surprised.
///
/// The interval resamples dates, whole, because decisions of a date share the market's
/// move, and in blocks, because labels of adjacent dates overlap. Dates are in order.
#[must_use]
pub fn log_loss_skill(dates: &[DayLosses], resampling: &Resampling, confidence: f64) -> Skill {
    let (model, prior) = sides(dates);
    let distribution = paired_distribution(&model, &prior, resampling, skill);
    Skill { skill: skill(&model, &prior), interval: distribution.interval(confidence) }
}

fn sides(dates: &[DayLosses]) -> (Vec<f64>, Vec<f64>) {
    dates.iter().map(|date| (date.model, date.prior)).unzip()
}

fn skill(model: &[f64], prior: &[f64]) -> Option<f64> {
    let prior: f64 = prior.iter().sum();
    finite(1.0 - model.iter().sum::<f64>() / prior).filter(|_| prior > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Stationary;

    const PLAN: Resampling =
        Resampling::Stationary(Stationary { mean_block: 2, resamples: 400, seed: 1 });

    #[test]
    fn the_prior_has_no_skill_and_better_probabilities_have_some() {
        let prior = [0.5, 0.3, 0.2];
        let mut dates = vec![DayLosses::default(); 60];
        for (day, date) in dates.iter_mut().enumerate() {
            date.add(&prior, &prior, day % 3);
        }
        let none = log_loss_skill(&dates, &PLAN, 0.95);
        assert_eq!(none.skill, Some(0.0));
        assert_eq!(none.interval.map(|i| (i.lower, i.upper)), Some((0.0, 0.0)));
        for (day, date) in dates.iter_mut().enumerate() {
            let mut model = [0.1; 3];
            model[day % 3] = 0.8;
            *date = DayLosses::default();
            date.add(&model, &prior, day % 3);
        }
        let expected = 1.0 - 3.0 * 0.8_f64.ln() / (0.5_f64.ln() + 0.3_f64.ln() + 0.2_f64.ln());
        let some = log_loss_skill(&dates, &PLAN, 0.95);
        assert!((some.skill.unwrap() - expected).abs() < 1e-12);
        let interval = some.interval.unwrap();
        assert!(interval.lower < expected && expected < interval.upper && interval.lower > 0.5);
    }

    #[test]
    fn is_undefined_without_decisions_and_over_a_certain_prior() {
        assert_eq!(log_loss_skill(&[], &PLAN, 0.95), Skill { skill: None, interval: None });
        let mut date = DayLosses::default();
        date.add(&[0.5, 0.5], &[1.0, 0.0], 0);
        date.add(&[0.5, 0.5], &[1.0, 0.0], 7);
        assert_eq!(log_loss_skill(&[date], &PLAN, 0.95).skill, None);
    }
}
