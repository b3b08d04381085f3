//! Rules that follow recommendations: those of a model, and of the frequency of classes.

use chrono::NaiveDate;
use domain::{Label, LabelProbs};
use serde::{Deserialize, Serialize};

use crate::{Choice, Coverage, Frame, Strategy, Timeline};

/// A recommendation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Class.
    pub label: Label,
    /// Probabilities of the classes, where they are known.
    pub probs: Option<LabelProbs>,
}

/// Returns the side a class takes: 1 long for `Buy` and `SBuy`, -1 short for `Sell` and
/// `SSell`, 0 for `Hold`.
#[must_use]
pub const fn position_of(label: Label) -> i8 {
    match label {
        Label::SSell | Label::Sell => -1,
        Label::Hold => 0,
        Label::Buy | Label::SBuy => 1,
    }
}

/// Writes the weights of recommendations: each name of the universe has the same share of
/// the capital, which is long, short or stays in cash.
fn weigh(sides: impl Iterator<Item = i8>, names: usize, weights: &mut [f64]) {
    let share = 1.0 / names.max(1) as f64;
    sides.zip(weights).for_each(|(side, weight)| *weight = f64::from(side) * share);
}

/// Follows the latest recommendation of each name.
#[derive(Debug, Clone, PartialEq)]
pub struct FollowDecisions {
    source: String,
    decisions: Timeline<Decision>,
    days: u32,
    coverage: Coverage,
}

impl FollowDecisions {
    /// Follows recommendations that are at most `days` days old; `source` says which they are.
    #[must_use]
    pub fn new(source: String, decisions: Timeline<Decision>, days: u32) -> Self {
        Self { source, decisions, days, coverage: Coverage::default() }
    }
}

impl Strategy for FollowDecisions {
    fn name(&self) -> String {
        format!("decisions({}, days={})", self.source, self.days)
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        let latest = |name| self.decisions.latest(frame, name, self.days);
        let followed: Vec<Option<&Decision>> = (0..frame.width()).map(latest).collect();
        let listed = (0..frame.width()).filter(|name| frame.is_listed(*name));
        let found = listed.clone().filter(|name| followed[*name].is_some()).count();
        let listed = listed.count();
        self.coverage.asked += listed;
        self.coverage.found += found;
        let side = |decision: &Option<&Decision>| decision.map_or(0, |d| position_of(d.label));
        weigh(followed.iter().map(side), listed, weights);
        Choice::Rebalance
    }

    fn coverage(&self) -> Option<Coverage> {
        Some(self.coverage)
    }
}

/// Knows nothing but how often each class occurred: among all labels known by then, or in
/// the last sessions of them.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassPrior {
    labels: Timeline<Label>,
    days: Option<u32>,
}

impl ClassPrior {
    /// Counts labels by the day each became known, which is after its horizon has passed;
    /// only those of the last `days` days, if that is said.
    #[must_use]
    pub fn new(labels: Timeline<Label>, days: Option<u32>) -> Self {
        Self { labels, days }
    }

    /// Returns the share of each class; none before the first label is known.
    #[must_use]
    pub fn probs(&self, frame: &Frame<'_>) -> Option<[f64; 5]> {
        let mut counts = [0_usize; 5];
        let is_recent = |known: NaiveDate| {
            let age = (frame.session() - known).num_days();
            self.days.is_none_or(|days| age <= i64::from(days))
        };
        for name in 0..frame.width() {
            let known = self.labels.known(frame, name).iter().rev();
            let recent = known.take_while(|(known, _)| is_recent(*known));
            recent.for_each(|(_, label)| counts[label.index()] += 1);
        }
        let all: usize = counts.iter().sum();
        (all > 0).then(|| counts.map(|count| count as f64 / all as f64))
    }
}

impl Strategy for ClassPrior {
    fn name(&self) -> String {
        match self.days {
            Some(days) => format!("class_prior(days={days})"),
            None => "class_prior".to_owned(),
        }
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        let probs = self.probs(frame).and_then(|probs| LabelProbs::new(probs).ok());
        let side = probs.map_or(0, |probs| position_of(probs.argmax()));
        let is_listed = |name| frame.is_listed(name);
        let sides = (0..frame.width()).map(|name| if is_listed(name) { side } else { 0 });
        let listed = (0..frame.width()).filter(|name| is_listed(*name)).count();
        weigh(sides, listed, weights);
        Choice::Rebalance
    }
}
