//! What a strategy would have made, and how far that can be believed: folds,
//! portfolio accounting, metrics, statistics and calibration. Pure functions of
//! their arguments and seeds: no I/O, no runtime, no clock.
//!
//! What is undefined (the Sharpe ratio of one day, the profit factor without a
//! loss) is `None`, never NaN or infinite.

pub mod bootstrap;
pub mod calibration;
pub mod metrics;
pub mod reliability;
pub mod statistics;

mod accounting;
mod config;
mod costs;
mod error;
mod evaluation;
mod folds;
mod forecasts;
mod frame;
mod market;
pub mod report;
mod result;
pub mod strategies;
mod strategy;
pub mod sweep;
mod timeline;

pub use accounting::{decision_days, run};
pub use config::{Config, Costs, Limits};
pub use costs::{FillCosts, peak_impact};
pub use error::BacktestError;
pub use evaluation::{
    Evaluation, Judge, RELIABILITY_BINS, diebold_mariano_of_returns, evaluate, evaluate_while,
};
pub use folds::{Fold, WalkForward, Window};
pub use forecasts::{Forecast, KnownLabel, judged_forecasts, prior};
pub use frame::Frame;
pub use market::{Action, ActionKind, Bar, History, Market, Source};
pub use result::{Backtest, CAPACITY_SHARE, Day, Detail, Position, Provenance, Trade, TradeKind};
pub use strategy::{Choice, Coverage, Strategy};
pub use timeline::Timeline;
