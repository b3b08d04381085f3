//! Metrics of 8,012 days of two strategies, against own formulas in `NumPy`, quantstats
//! and empyrical.

use backtest::metrics::{self, Metric, deepest_drawdown, hit_rate};

use crate::{check, data, json, returns};

const STRATEGIES: [&str; 2] = ["EW20_daily_rebal", "AAPL_hold"];

#[test]
fn of_two_strategies() {
    let file = json(data!("metrics.json"));
    for strategy in STRATEGIES {
        let returns = returns(strategy);
        let all = &file["strategies"][strategy];
        for (metric, name) in [
            (Metric::Sharpe, "sharpe_ddof1"),
            (Metric::Sortino, "sortino_allN"),
            (Metric::Cagr, "cagr_252"),
            (Metric::TotalReturn, "total_return"),
            (Metric::MaxDrawdown, "max_drawdown"),
            (Metric::Calmar, "calmar_cagr"),
            (Metric::Volatility, "vol_ann_ddof1"),
            (Metric::Var95, "VaR95_linear"),
            (Metric::Var99, "VaR99_linear"),
            (Metric::Cvar95, "CVaR95_mean_le_linear_quantile"),
            (Metric::Cvar99, "CVaR99_mean_le_linear_quantile"),
            (Metric::Skewness, "skew_biased"),
            (Metric::Kurtosis, "kurt_nonexcess_biased"),
        ] {
            let own = metric.of_returns().expect("it takes returns")(&returns);
            check(&format!("{strategy}: {name}"), own, &all["own"][name]);
        }
        for (metric, name) in [
            (Metric::Sharpe, "sharpe"),
            (Metric::Sortino, "sortino"),
            (Metric::Calmar, "calmar"),
            (Metric::Cagr, "cagr"),
            (Metric::MaxDrawdown, "max_drawdown"),
            (Metric::Volatility, "volatility"),
        ] {
            let own = metric.of_returns().expect("it takes returns")(&returns);
            check(&format!("{strategy}: quantstats {name}"), own, &all["quantstats"][name]);
            check(&format!("{strategy}: empyrical {name}"), own, &all["empyrical"][name]);
        }
        let rate = hit_rate(&returns, &vec![true; returns.len()]);
        check(&format!("{strategy}: hit rate"), rate, &all["own"]["hit_rate_pos/all"]);
        let drawdown = deepest_drawdown(&returns).expect("there was one");
        let row = |name: &str| all["own"][name].as_u64().map(|row| row as usize);
        assert_eq!(drawdown.peak_row, row("mdd_peak_row"), "{strategy}");
        assert_eq!(Some(drawdown.trough_row), row("mdd_trough_row"), "{strategy}");
    }
}

/// Other conventions of the file follow from ours as they should.
#[test]
fn under_other_conventions() {
    let file = json(data!("metrics.json"));
    for strategy in STRATEGIES {
        let returns = returns(strategy);
        let own = &file["strategies"][strategy]["own"];
        let n = returns.len() as f64;
        let sharpe = metrics::sharpe(&returns);
        let check = |name: &str, value: Option<f64>| {
            check(&format!("{strategy}: {name}"), value, &own[name])
        };
        check("sharpe_ddof0", sharpe.map(|sharpe| sharpe * (n / (n - 1.0)).sqrt()));
        check("sharpe_ann_365", sharpe.map(|sharpe| sharpe * (365.0_f64 / 252.0).sqrt()));
        let logs: Vec<f64> = returns.iter().map(|r| r.ln_1p()).collect();
        check("sharpe_log_returns", metrics::sharpe(&logs));
        let ratio = |one: Option<f64>, two: Option<f64>| Some(one? / two?);
        let volatility = metrics::volatility(&returns);
        check("sharpe_geometric(cagr/vol)", ratio(metrics::cagr(&returns), volatility));
        let unbiased = |skewness: f64| skewness * (n * (n - 1.0)).sqrt() / (n - 2.0);
        check("skew_unbiased(pandas)", metrics::skewness(&returns).map(unbiased));
        let unbiased = |kurtosis: f64| {
            ((n + 1.0) * (kurtosis - 3.0) + 6.0) * (n - 1.0) / ((n - 2.0) * (n - 3.0)) + 3.0
        };
        check("kurt_nonexcess_unbiased(pandas+3)", metrics::kurtosis(&returns).map(unbiased));
    }
}
