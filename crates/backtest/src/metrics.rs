//! Metrics of a strategy in the conventions of the house, and the table that explains them.
//!
//! Returns are simple, daily, net of costs; the riskless rate is 0, a year has 252 days.
//! [`Metric`] names every number a report can show, with its unit and convention.

pub(crate) mod moments;

mod drawdown;
mod positions;
mod returns;
mod series;
mod table;

pub use drawdown::{
    Drawdown, deepest_drawdown, drawdown_at_equal_volatility, drawdowns, longest_drawdown_days,
    max_drawdown, max_drawdown_days,
};
pub use positions::{Weights, capacity, flip_rate, holding_period, label_flip_rate, turnover};
pub(crate) use returns::daily_sharpe;
pub use returns::{
    DAYS_PER_YEAR, cagr, calmar, conditional_value_at_risk, hit_rate, kurtosis, profit_factor,
    sharpe, skewness, sortino, total_return, value_at_risk, volatility,
};
pub use series::{monthly_returns, rolling_sharpe};
pub use table::{Definition, Metric, OfReturns, Unit};
