//! Edge cases: what other programs give as NaN, infinite or an error is undefined, and what
//! they agree on is reproduced.

use backtest::metrics::{Metric, hit_rate, max_drawdown, rolling_sharpe};
use serde_json::Value;

use crate::{check, data, json};

fn returns(case: &Value) -> Vec<f64> {
    case["returns"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect()
}

/// empyrical and ours share conventions but for what is undefined.
#[test]
fn as_the_conventions_say() {
    let file = json(data!("metrics.json"));
    let undefined: [(&str, &[Metric]); 5] = [
        ("all_positive", &[Metric::Sortino, Metric::Calmar]),
        ("constant", &[Metric::Sharpe, Metric::Sortino, Metric::Calmar]),
        ("all_zero", &[Metric::Sharpe, Metric::Sortino, Metric::Calmar]),
        ("single", &[Metric::Sharpe, Metric::Sortino, Metric::Calmar, Metric::Volatility]),
        ("empty", &[]),
    ];
    for (name, case) in file["edge_cases"].as_object().expect("cases by name") {
        let returns = returns(case);
        let without = undefined.iter().find(|(case, _)| case == name).map_or(&[][..], |row| row.1);
        for (metric, key) in [
            (Metric::Sharpe, "sharpe"),
            (Metric::Sortino, "sortino"),
            (Metric::Calmar, "calmar"),
            (Metric::Cagr, "cagr"),
            (Metric::MaxDrawdown, "max_drawdown"),
            (Metric::Volatility, "volatility"),
            (Metric::Var95, "VaR95"),
            (Metric::Var99, "VaR99"),
            (Metric::Cvar95, "CVaR95"),
            (Metric::Cvar99, "CVaR99"),
        ] {
            let own = metric.of_returns().expect("it takes returns")(&returns);
            let what = format!("{name}: {key}");
            if returns.is_empty() || without.contains(&metric) {
                assert_eq!(own, None, "{what}");
            } else {
                check(&what, own, &case["empyrical"][key]);
            }
        }
        if !returns.is_empty() {
            check(&format!("{name}: own_mdd"), max_drawdown(&returns), &case["own_mdd"]);
        }
    }
}

#[test]
fn nothing_is_ever_nan_or_infinite() {
    let extreme = [f64::MAX, f64::MIN, f64::NAN, f64::INFINITY, -1.0, 0.0, 1e-300, -3.0];
    let mut cases = vec![vec![]];
    for one in extreme {
        cases.push(vec![one]);
        for two in extreme {
            cases.extend([vec![one, two], vec![one, two, 0.01, -0.02]]);
        }
    }
    for returns in cases {
        let held = vec![true; returns.len()];
        for definition in Metric::all() {
            let Some(function) = definition.metric.of_returns() else { continue };
            let value = function(&returns);
            assert!(value.is_none_or(f64::is_finite), "{returns:?}: {definition:?} {value:?}");
        }
        assert!(hit_rate(&returns, &held).is_none_or(f64::is_finite));
        assert!(rolling_sharpe(&returns, 2).into_iter().flatten().all(f64::is_finite));
    }
}
