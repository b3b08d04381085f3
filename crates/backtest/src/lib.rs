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
