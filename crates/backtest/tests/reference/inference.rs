//! Bootstrap, Diebold-Mariano, PSR and DSR, Newey-West, against arch, scipy, statsmodels
//! and the papers.

use backtest::{
    bootstrap::{
        GivenIndices, Resampling, Stationary, distribution, optimal_block_length,
        sharpe_distribution,
    },
    metrics::{max_drawdown, sharpe},
    statistics::{
        Kernel, SharpeSample, diebold_mariano, diebold_mariano_by, expected_best_sharpe,
        newey_west, probabilistic_sharpe,
    },
};
use serde_json::Value;

use crate::{check, column, data, json, returns};

/// Own runs that are averaged.
const RUNS: u64 = 6;

const EQUAL_WEIGHT: &str = "EW20_daily_rebal";

/// 40 resamples of the last 250 days by given indices.
#[test]
fn given_indices_are_replayed() {
    let replay = &json(data!("inference.json"))["replay_n250"]["stationary"];
    let list = |name: &str| replay[name].as_array().expect("a list").clone();
    let days = |text: &Value| -> Vec<usize> {
        let days = text.as_str().expect("a text").split(' ');
        days.map(|day| day.parse().expect("a day")).collect()
    };
    let indices: Vec<Vec<usize>> = list("indices").iter().map(days).collect();
    let all = returns(EQUAL_WEIGHT);
    let last = &all[all.len() - 250..];
    let given = Resampling::Given(GivenIndices::new(250, &indices).expect("days below 250"));
    let ratios = sharpe_distribution(last, &given);
    let falls = distribution(last, &given, max_drawdown);
    for (resample, (ratio, fall)) in list("sharpe").iter().zip(list("mdd")).enumerate() {
        check(&format!("Sharpe ratio {resample}"), ratios.values()[resample], ratio);
        check(&format!("drawdown {resample}"), falls.values()[resample], &fall);
    }
    for (name, distribution, place) in [("Sharpe ratio", &ratios, 0), ("drawdown", &falls, 1)] {
        let interval = distribution.interval(0.95).expect("all are defined");
        check(name, Some(interval.lower), &replay["ci95_linear"][0][place]);
        check(name, Some(interval.upper), &replay["ci95_linear"][1][place]);
    }
}

/// The file has means over runs and the deviation of one run: the mean of own runs is
/// within one and a half of them, several times its own error.
#[test]
fn drawn_resamples_have_the_same_law() {
    let file = json(data!("inference.json"));
    let returns = returns(EQUAL_WEIGHT);
    let point = &file["bootstrap"][EQUAL_WEIGHT]["point"];
    check("Sharpe ratio", sharpe(&returns), &point["sharpe"]);
    check("drawdown", max_drawdown(&returns), &point["mdd"]);
    for mean_block in [21, 63] {
        let law = &file["bootstrap"][EQUAL_WEIGHT][format!("stationary_L{mean_block}")];
        let runs: Vec<[[f64; 3]; 2]> = (0..RUNS)
            .map(|seed| {
                let plan = Resampling::Stationary(Stationary { mean_block, resamples: 1000, seed });
                [sharpe_distribution(&returns, &plan), distribution(&returns, &plan, max_drawdown)]
                    .map(|distribution| {
                        let interval = distribution.interval(0.95).expect("all are defined");
                        let error = distribution.standard_error().expect("they differ");
                        [interval.lower, interval.upper, error]
                    })
            })
            .collect();
        for (statistic, key) in [(0, "sharpe"), (1, "mdd")] {
            for (place, name) in [(0, "pct_lo"), (1, "pct_hi"), (2, "se")] {
                let number = |suffix: &str| {
                    let number = law[key][format!("{name}_{suffix}")].as_f64();
                    number.expect("a number")
                };
                let own = runs.iter().map(|run| run[statistic][place]).sum::<f64>() / RUNS as f64;
                let (mean, deviation) = (number("mean"), number("mcsd"));
                let what =
                    format!("block {mean_block}: {key} {name}: {own}, {mean} +- {deviation}");
                assert!((own - mean).abs() < 1.5 * deviation, "{what}");
            }
        }
    }
}

#[test]
fn block_lengths_follow_the_series() {
    let file = json(data!("inference.json"));
    let file = &file["bootstrap"][EQUAL_WEIGHT];
    let returns = returns(EQUAL_WEIGHT);
    let squares: Vec<f64> = returns.iter().map(|r| r * r).collect();
    for (series, name) in
        [(returns, "optimal_block_length_returns"), (squares, "optimal_block_length_squared")]
    {
        check(name, optimal_block_length(&series), &file[name]["stationary"]);
    }
}

#[test]
fn diebold_mariano_of_squared_errors() {
    let file = json(data!("inference.json"));
    let text = data!("in_dm.csv");
    let truth = column(text, "y");
    let losses = |name: &str| -> Vec<f64> {
        column(text, name).iter().zip(&truth).map(|(f, y)| (f - y) * (f - y)).collect()
    };
    let (first, second) = (losses("f1"), losses("f2"));
    for (horizon, name) in [(1, "squared_h1"), (5, "squared_h5")] {
        let file = &file["diebold_mariano"][name];
        assert_eq!(
            diebold_mariano(&first, &second, horizon),
            diebold_mariano_by(&first, &second, horizon, Kernel::Rectangular)
        );
        for (kernel, key) in [(Kernel::Rectangular, "hln_rect"), (Kernel::Bartlett, "hln_bartlett")]
        {
            let test = diebold_mariano_by(&first, &second, horizon, kernel).expect("defined");
            check(&format!("{name} {key}: statistic"), Some(test.statistic), &file[key]["stat"]);
            check(&format!("{name} {key}: p"), Some(test.p_value), &file[key]["p"]);
            check(&format!("{name} {key}: variance"), Some(test.variance), &file[key]["var"]);
            check(&format!("{name} {key}: mean"), Some(test.mean), &file[key]["mean"]);
            assert_eq!(Some(test.observations as u64), file[key]["n"].as_u64());
        }
        let test = diebold_mariano(&first, &second, horizon).expect("defined");
        let plain = test.mean / test.variance.sqrt();
        check("without correction", Some(plain), &file["plain_rect_normal"]["stat"]);
    }
}

#[test]
fn diebold_mariano_is_undefined_where_forecasts_do_not_differ() {
    let losses = [0.3, 0.1, 0.4, 0.1, 0.5, 0.9];
    assert_eq!(diebold_mariano(&losses, &losses, 1), None, "equal");
    let more = losses.map(|loss| loss + 0.7);
    assert_eq!(diebold_mariano(&more, &losses, 1), None, "always by as much");
    assert_eq!(diebold_mariano(&losses, &losses[1..], 1), None, "lengths");
    assert_eq!(diebold_mariano(&losses, &[0.0; 6], 0), None, "horizon 0");
    assert_eq!(diebold_mariano(&losses, &[0.0; 6], 7), None, "horizon beyond the data");
    let swings = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0];
    assert_eq!(diebold_mariano(&swings, &[0.0; 6], 2), None, "negative variance");
    assert!(diebold_mariano_by(&swings, &[0.0; 6], 2, Kernel::Bartlett).is_some());
}

#[test]
fn sharpe_ratios_of_the_paper() {
    let file = json(data!("inference.json"));
    let paper = &file["psr_dsr"]["BLdP2014_N46_sk-3_ku10"];
    let daily = 2.5 / 250_f64.sqrt();
    check("Sharpe ratio of a day", Some(daily), &paper["sr"]);
    let best = expected_best_sharpe(46, 0.5 / 250.0);
    check("best of luck", best, &paper["sr0"]);
    let best = best.expect("defined");
    check("best of luck, annual", Some(best * 250_f64.sqrt()), &paper["sr0_annual"]);
    let mut sample =
        SharpeSample { sharpe: daily, skewness: -3.0, kurtosis: 10.0, observations: 1250 };
    check("DSR", probabilistic_sharpe(&sample, best), &paper["dsr"]);
    sample = SharpeSample { skewness: 0.0, kurtosis: 3.0, ..sample };
    let normal = &file["psr_dsr"]["BLdP2014_N46_normal"]["dsr"];
    check("DSR of normal returns", probabilistic_sharpe(&sample, best), normal);
}

#[test]
fn newey_west_of_mean_returns() {
    let file = json(data!("inference.json"));
    for strategy in [EQUAL_WEIGHT, "AAPL_hold"] {
        let returns = returns(strategy);
        let correction = ((returns.len() - 1) as f64 / returns.len() as f64).sqrt();
        for lags in [0, 1, 5, 10, 15, 21] {
            let file = &file["newey_west_mean_tstat"][strategy][format!("L{lags}")];
            let test = newey_west(&returns, lags).expect("defined");
            let what = format!("{strategy}, {lags} lags");
            check(&what, Some(test.statistic), &file["t"]);
            check(&what, Some(test.p_value), &file["p_normal"]);
            check(&what, Some(test.statistic * correction), &file["t_small_sample_corrected"]);
        }
    }
    assert_eq!(newey_west(&[0.1; 9], 1), None, "no dispersion");
    assert_eq!(newey_west(&[0.1, 0.2], 2), None, "too few");
}
