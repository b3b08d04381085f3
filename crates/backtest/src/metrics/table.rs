//! The one table of what can be reported: name, unit, convention.

use serde::{Deserialize, Serialize};

use super::{
    cagr, calmar, conditional_value_at_risk, kurtosis, longest_drawdown_days, max_drawdown,
    max_drawdown_days, profit_factor, sharpe, skewness, sortino, total_return, value_at_risk,
    volatility,
};

/// What a number counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A number without a unit.
    Ratio,
    /// A fraction, to be shown in percent.
    Fraction,
    /// A probability from 0 to 1.
    Probability,
    /// Trading days.
    Days,
    /// The currency of the prices.
    Currency,
    /// Natural units of information per decision.
    Nats,
}

/// A metric that daily returns are enough for; none where it is undefined.
pub type OfReturns = fn(&[f64]) -> Option<f64>;

/// What a reader has to know about a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Definition {
    /// The metric.
    #[serde(rename = "name")]
    pub metric: Metric,
    /// What to call it.
    pub title: &'static str,
    /// Unit.
    pub unit: Unit,
    /// One line that says how it is computed: a tooltip or footnote.
    pub convention: &'static str,
    /// Whether a bootstrap interval over days makes sense.
    pub has_interval: bool,
}

/// Everything a report can show a number for; serde gives the name in JSON and Parquet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "DEFINITIONS says what each is, once")]
pub enum Metric {
    Sharpe,
    Sortino,
    Calmar,
    Cagr,
    TotalReturn,
    Volatility,
    MaxDrawdown,
    MaxDrawdownDays,
    LongestDrawdownDays,
    Var95,
    Cvar95,
    Var99,
    Cvar99,
    Skewness,
    Kurtosis,
    HitRate,
    ProfitFactor,
    Turnover,
    FlipRate,
    LabelFlipRate,
    HoldingPeriod,
    Capacity,
    SharpeDifference,
    DrawdownAtEqualVolatility,
    RollingSharpe,
    MonthlyReturn,
    NeweyWestT,
    DieboldMariano,
    ProbabilisticSharpe,
    DeflatedSharpe,
    ProbabilityOfOverfitting,
    LogLoss,
    LogLossSkill,
    Brier,
    Ece,
    ClasswiseEce,
    #[serde(rename = "ece_15")]
    Ece15,
}

impl Metric {
    /// Returns unit, title and convention.
    #[must_use]
    pub const fn definition(self) -> &'static Definition {
        &DEFINITIONS[self as usize]
    }

    /// Returns all definitions, in the order of a report.
    #[must_use]
    pub const fn all() -> &'static [Definition] {
        &DEFINITIONS
    }

    /// Returns the function that computes the metric, if daily returns are all it takes.
    #[must_use]
    pub const fn of_returns(self) -> Option<OfReturns> {
        Some(match self {
            Self::Sharpe => sharpe,
            Self::Sortino => sortino,
            Self::Calmar => calmar,
            Self::Cagr => cagr,
            Self::TotalReturn => total_return,
            Self::Volatility => volatility,
            Self::MaxDrawdown => max_drawdown,
            Self::MaxDrawdownDays => max_drawdown_days,
            Self::LongestDrawdownDays => longest_drawdown_days,
            Self::Var95 => |returns| value_at_risk(returns, 0.95),
            Self::Cvar95 => |returns| conditional_value_at_risk(returns, 0.95),
            Self::Var99 => |returns| value_at_risk(returns, 0.99),
            Self::Cvar99 => |returns| conditional_value_at_risk(returns, 0.99),
            Self::Skewness => skewness,
            Self::Kurtosis => kurtosis,
            Self::ProfitFactor => profit_factor,
            _ => return None,
        })
    }
}

/// A row whose metric has a bootstrap interval.
const fn with(
    metric: Metric,
    title: &'static str,
    unit: Unit,
    convention: &'static str,
) -> Definition {
    Definition { metric, title, unit, convention, has_interval: true }
}

/// A row whose metric has none: resampled days say nothing about it, or it is a
/// statistic with a law of its own.
const fn plain(
    metric: Metric,
    title: &'static str,
    unit: Unit,
    convention: &'static str,
) -> Definition {
    Definition { metric, title, unit, convention, has_interval: false }
}

/// One row a metric, in the order of the enum.
#[rustfmt::skip]
static DEFINITIONS: [Definition; 37] = [
    with(Metric::Sharpe, "Sharpe ratio", Unit::Ratio,
        "Mean over sample standard deviation (ddof 1) of daily simple returns, times sqrt(252); riskless rate 0."),
    with(Metric::Sortino, "Sortino ratio", Unit::Ratio,
        "Mean over sqrt(mean(min(r, 0)^2)) over all days, times sqrt(252); target 0. Undefined without a loss."),
    with(Metric::Calmar, "Calmar ratio", Unit::Ratio,
        "CAGR over the size of the maximum drawdown, both of the whole span. Undefined without a drawdown."),
    with(Metric::Cagr, "Annual growth (CAGR)", Unit::Fraction,
        "Product of 1 + r to the power 252 / days, less 1."),
    with(Metric::TotalReturn, "Total return", Unit::Fraction,
        "Product of 1 + r, less 1."),
    with(Metric::Volatility, "Volatility", Unit::Fraction,
        "Sample standard deviation (ddof 1) of daily simple returns, times sqrt(252)."),
    with(Metric::MaxDrawdown, "Maximum drawdown", Unit::Fraction,
        "Least of wealth over its running maximum, less 1; wealth starts at 1 before the first return."),
    plain(Metric::MaxDrawdownDays, "Duration of the maximum drawdown", Unit::Days,
        "Trading days from the peak before the deepest trough until wealth is back there, or the data ends."),
    plain(Metric::LongestDrawdownDays, "Longest time under water", Unit::Days,
        "Most trading days from any peak until wealth is back there, or the data ends."),
    with(Metric::Var95, "Value at risk, 95 %", Unit::Fraction,
        "Historical 5 % quantile of daily returns, linear between order statistics; a loss is negative."),
    with(Metric::Cvar95, "Conditional value at risk, 95 %", Unit::Fraction,
        "Mean of the daily returns at or below the 95 % value at risk."),
    with(Metric::Var99, "Value at risk, 99 %", Unit::Fraction,
        "Historical 1 % quantile of daily returns, linear between order statistics; a loss is negative."),
    with(Metric::Cvar99, "Conditional value at risk, 99 %", Unit::Fraction,
        "Mean of the daily returns at or below the 99 % value at risk."),
    plain(Metric::Skewness, "Skewness", Unit::Ratio,
        "Third standardised moment of daily returns, moments over n."),
    plain(Metric::Kurtosis, "Kurtosis", Unit::Ratio,
        "Fourth standardised moment of daily returns, moments over n, not in excess (3 for a normal)."),
    with(Metric::HitRate, "Hit rate", Unit::Fraction,
        "Share of days with a positive return among the days with a position; a day without a move is no hit."),
    with(Metric::ProfitFactor, "Profit factor", Unit::Ratio,
        "Sum of positive over size of the sum of negative daily returns. Undefined without a loss."),
    plain(Metric::Turnover, "Turnover a year", Unit::Ratio,
        "Mean over adjacent days of the sum over names of |w(t) - w(t-1)|, times 252: bought, sold and moved by prices. What was traded is in the table of costs."),
    plain(Metric::FlipRate, "Flip rate", Unit::Fraction,
        "Share of pairs of adjacent days of a name between which its position went from long to short or back."),
    plain(Metric::LabelFlipRate, "Label flip rate", Unit::Fraction,
        "Share of changed labels between adjacent decision dates, pooled over names."),
    plain(Metric::HoldingPeriod, "Holding period", Unit::Days,
        "Mean length of the runs of trading days over which a name stayed long, or short."),
    plain(Metric::Capacity, "Capacity", Unit::Currency,
        "Wealth at which the first position reaches the participation limit of its average daily volume: min x ADV / |w|."),
    with(Metric::SharpeDifference, "Sharpe ratio less the baseline's", Unit::Ratio,
        "Difference of annual Sharpe ratios on the same days; interval from a bootstrap that resamples both alike."),
    with(Metric::DrawdownAtEqualVolatility, "Maximum drawdown at the baseline's volatility", Unit::Fraction,
        "Maximum drawdown of the returns times the baseline's volatility over the strategy's."),
    plain(Metric::RollingSharpe, "Rolling Sharpe ratio", Unit::Ratio,
        "Annual Sharpe ratio of the window of days that ends with each day."),
    plain(Metric::MonthlyReturn, "Monthly return", Unit::Fraction,
        "Product of 1 + r over the trading days of a calendar month, less 1."),
    plain(Metric::NeweyWestT, "t of the mean return (Newey-West)", Unit::Ratio,
        "Mean over its standard error with Bartlett weights 1 - k / (L + 1) on L = floor(4 (n / 100)^(2/9)) autocovariances (Newey and West 1987, 1994)."),
    plain(Metric::DieboldMariano, "Diebold-Mariano", Unit::Ratio,
        "Mean of the baseline's loss of a day (-r) less the strategy's over its error from h - 1 autocovariances, h the sessions held, corrected by Harvey, Leybourne and Newbold; two-sided t(n - 1). Positive: the strategy loses less."),
    plain(Metric::ProbabilisticSharpe, "Probabilistic Sharpe ratio", Unit::Probability,
        "Probability that the true Sharpe ratio is above 0, given skewness and kurtosis (Bailey and Lopez de Prado 2012)."),
    plain(Metric::DeflatedSharpe, "Deflated Sharpe ratio", Unit::Probability,
        "Probabilistic Sharpe ratio above the best expected of as many trials without skill (Bailey and Lopez de Prado 2014)."),
    plain(Metric::ProbabilityOfOverfitting, "Probability of backtest overfitting", Unit::Probability,
        "Share of symmetric splits of the days in which the best trial in sample is at or below the median out of sample (CSCV; Bailey et al. 2017)."),
    with(Metric::LogLoss, "Log-loss", Unit::Nats,
        "Mean of -ln of the probability of the label that came true."),
    with(Metric::LogLossSkill, "Log-loss skill over the class prior", Unit::Fraction,
        "1 less the log-loss over that of the class frequencies known by then (rule of succession); 0 is no skill."),
    with(Metric::Brier, "Brier score", Unit::Ratio,
        "Mean of the sum over classes of (p - y)^2: from 0, perfect, to 2."),
    plain(Metric::Ece, "Calibration error of the top label (ECE)", Unit::Fraction,
        "Mean |accuracy - confidence| over 10 equal-width bins (lo, hi] of the top probability, by the share of decisions; read it beside the log-loss skill."),
    plain(Metric::ClasswiseEce, "Classwise calibration error", Unit::Fraction,
        "Mean over classes of the calibration error of the probability of that class, in 10 equal-width bins (lo, hi]."),
    plain(Metric::Ece15, "Calibration error of the top label, 15 bins", Unit::Fraction,
        "As the calibration error of the top label, over 15 bins: how much of it is the choice of bins."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_has_its_row_and_a_footnote() {
        let mut titles = BTreeSet::new();
        for (row, definition) in Metric::all().iter().enumerate() {
            assert_eq!(definition.metric as usize, row, "{}", definition.title);
            assert!(std::ptr::eq(definition.metric.definition(), definition));
            assert!(titles.insert(definition.title), "{} twice", definition.title);
            assert!(definition.convention.ends_with('.'), "{}", definition.title);
            assert!(!definition.convention.contains('\n'), "{}", definition.title);
        }
        assert_eq!(Metric::Ece15 as usize + 1, Metric::all().len(), "the last of the enum");
    }

    /// Readers of reports name metrics: a name may be added here, none may change.
    #[test]
    fn names_are_stable() {
        let expected = "sharpe sortino calmar cagr total_return volatility max_drawdown \
            max_drawdown_days longest_drawdown_days var95 cvar95 var99 cvar99 skewness kurtosis \
            hit_rate profit_factor turnover flip_rate label_flip_rate holding_period capacity \
            sharpe_difference drawdown_at_equal_volatility rolling_sharpe monthly_return \
            newey_west_t diebold_mariano probabilistic_sharpe deflated_sharpe \
            probability_of_overfitting log_loss log_loss_skill brier ece classwise_ece ece_15";
        let names: Vec<&str> = expected.split_whitespace().collect();
        let metrics: Vec<Metric> = Metric::all().iter().map(|row| row.metric).collect();
        assert_eq!(serde_json::to_value(metrics).unwrap(), serde_json::json!(names));
    }
}
