//! The strategies a model is compared with, and the one that follows a model.

mod catalogue;
mod decisions;
mod ranked;
mod rules;

pub use catalogue::{Inputs, Needs, STRATEGIES, StrategyInfo, find};
pub use decisions::{ClassPrior, Decision, FollowDecisions, position_of};
pub use ranked::{Consensus, Momentum, RandomRanks, Sides};
pub use rules::{BuyAndHold, EqualWeight, VolatilityTarget};
