//! Strategies by name: what a command line and an API offer.

use domain::Label;

use super::{
    BuyAndHold, ClassPrior, Consensus, Decision, EqualWeight, FollowDecisions, Momentum,
    RandomRanks, Sides, VolatilityTarget,
};
use crate::{BacktestError, Strategy, Timeline};

/// Names a side of strategies that rank.
const TOP: usize = 5;

/// Days after which a consensus is no longer one.
const CONSENSUS_DAYS: u32 = 180;

/// Names that differ more than this from what was asked for are not what was meant.
const NEAR_MIN: f64 = 0.7;

/// What a strategy needs beside prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A consensus of analysts.
    Consensus,
    /// Labels of the past.
    Labels,
    /// Recommendations of a model.
    Decisions,
}

/// A strategy that can be asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrategyInfo {
    /// Name.
    pub name: &'static str,
    /// What it does, in one line.
    pub title: &'static str,
    /// What it needs.
    pub needs: Needs,
}

/// All strategies, those that rank last.
pub const STRATEGIES: [StrategyInfo; 9] = [
    info("buy_and_hold", "equal weights once, then held", Needs::Nothing),
    info("equal_weight", "equal weights at each decision", Needs::Nothing),
    info("vol_target", "equal weights at 10 % volatility a year, the rest in cash", Needs::Nothing),
    info(
        "momentum_12_1",
        "returns of 12 months without the last: best 5 long, worst 5 short",
        Needs::Nothing,
    ),
    info("momentum_12_1_long", "the same, best 5 long only", Needs::Nothing),
    info("random", "5 names long and 5 short, by chance", Needs::Nothing),
    info(
        "consensus",
        "upside to analysts' price targets: best 5 long, worst 5 short",
        Needs::Consensus,
    ),
    info("class_prior", "all names by the most frequent class of the labels known", Needs::Labels),
    info(
        "decisions",
        "recommendations of a model: Buy and SBuy long, Sell and SSell short",
        Needs::Decisions,
    ),
];

const fn info(name: &'static str, title: &'static str, needs: Needs) -> StrategyInfo {
    StrategyInfo { name, title, needs }
}

/// What strategies are made of.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Seed of those that draw.
    pub seed: u64,
    /// Scores of analysts.
    pub consensus: Option<Timeline<f64>>,
    /// Labels by the day each became known.
    pub labels: Option<Timeline<Label>>,
    /// Recommendations, which they are, and after how many days they are old.
    pub decisions: Option<(Timeline<Decision>, String, u32)>,
}

/// Finds a strategy by name.
///
/// # Errors
/// Fails where there is none, with the name that was probably meant.
pub fn find(name: &str) -> Result<&'static StrategyInfo, BacktestError> {
    if let Some(info) = STRATEGIES.iter().find(|info| info.name == name) {
        return Ok(info);
    }
    let score = |info: &StrategyInfo| strsim::jaro_winkler(info.name, name);
    let near = STRATEGIES.iter().max_by(|a, b| score(a).total_cmp(&score(b)));
    let near = near.filter(|info| score(info) >= NEAR_MIN).map(|info| info.name);
    let known = STRATEGIES.map(|info| info.name).join(", ");
    Err(BacktestError::UnknownStrategy { name: name.chars().take(40).collect(), near, known })
}

impl StrategyInfo {
    /// Makes the strategy; none where what it needs is not among the inputs.
    #[must_use]
    pub fn make(&self, inputs: &Inputs) -> Option<Box<dyn Strategy>> {
        Some(match self.name {
            "buy_and_hold" => Box::new(BuyAndHold::default()),
            "equal_weight" => Box::new(EqualWeight),
            "vol_target" => Box::new(VolatilityTarget::default()),
            "momentum_12_1" => Box::new(Momentum::twelve_one(Sides::LongShort)),
            "momentum_12_1_long" => Box::new(Momentum::twelve_one(Sides::Long)),
            "random" => Box::new(RandomRanks::new(inputs.seed, TOP, Sides::LongShort)),
            "consensus" => {
                let scores = inputs.consensus.clone()?;
                Box::new(Consensus::new(scores, CONSENSUS_DAYS, TOP, Sides::LongShort))
            }
            "class_prior" => Box::new(ClassPrior::new(inputs.labels.clone()?, None)),
            "decisions" => {
                let (decisions, source, days) = inputs.decisions.clone()?;
                Box::new(FollowDecisions::new(source, decisions, days))
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_makes_its_strategy_and_a_slip_is_understood() {
        for info in STRATEGIES.iter().filter(|info| info.needs == Needs::Nothing) {
            assert!(find(info.name).unwrap().make(&Inputs::default()).is_some(), "{}", info.name);
        }
        for info in STRATEGIES.iter().filter(|info| info.needs != Needs::Nothing) {
            assert!(info.make(&Inputs::default()).is_none(), "{}", info.name);
        }
        let message = find("momentum_12").unwrap_err().to_string();
        assert!(
            message
                .starts_with("no strategy is called \"momentum_12\", did you mean momentum_12_1?")
        );
        assert!(!find("zzz").unwrap_err().to_string().contains("mean"));
    }
}
