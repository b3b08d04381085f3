//! Calibration and overfitting against `peers.json`, which `peers.py` beside it makes with
//! scipy, scikit-learn and `NumPy`.

use backtest::{
    calibration::{Odir, fit_dirichlet, fit_temperature, fit_vector},
    reliability::{brier, classwise_ece, ece, log_loss},
    statistics::probability_of_overfitting,
};
use serde_json::Value;

use crate::{check, data, json, returns};

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().expect("a list").iter().filter_map(Value::as_f64).collect()
}

fn decisions(file: &Value) -> (Vec<[f64; 5]>, Vec<usize>) {
    let rows = file["z"].as_array().expect("rows").iter();
    let z = rows.map(|row| numbers(row).try_into().expect("five")).collect();
    (z, numbers(&file["classes"]).into_iter().map(|class| class as usize).collect())
}

fn logarithms(z: [f64; 5]) -> [f64; 5] {
    let top = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum = top + z.map(|u| (u - top).exp()).iter().sum::<f64>().ln();
    z.map(|u| u - sum)
}

fn check_all(what: &str, own: &[f64], others: &Value) {
    let others = others.as_array().expect("a list");
    assert_eq!(own.len(), others.len(), "{what}");
    for (place, (own, other)) in own.iter().zip(others).enumerate() {
        check(&format!("{what} {place}"), Some(*own), other);
    }
}

#[test]
fn fits_are_those_of_scipy() {
    let file = json(data!("peers.json"));
    let (z, classes) = decisions(&file);
    let temperature = fit_temperature(&z, &classes).expect("a fit");
    check("temperature", Some(temperature), &file["temperature"]);
    let warm: Vec<[f64; 5]> =
        z.iter().map(|z| logarithms(z.map(|z| z / temperature)).map(f64::exp)).collect();
    check("loss", log_loss(&warm, &classes), &file["temperature_loss"]);

    let vector = fit_vector(&z, &classes).expect("a fit");
    let parameters = [&vector.weights[..], &vector.intercepts[..4]].concat();
    check_all("vector", &parameters, &file["vector"]);
    assert_eq!(vector.intercepts[4], 0.0);
    let scaled: Vec<[f64; 5]> = z
        .iter()
        .map(|z| std::array::from_fn(|k| vector.weights[k] * z[k] + vector.intercepts[k]))
        .map(|z| logarithms(z).map(f64::exp))
        .collect();
    check("loss", log_loss(&scaled, &classes), &file["vector_loss"]);

    let setting = |name: &str| file["odir"][name].as_f64().expect("a number");
    let odir = Odir { lambda: setting("lambda"), mu: setting("mu") };
    let logs: Vec<[f64; 5]> = z.iter().copied().map(logarithms).collect();
    let dirichlet = fit_dirichlet(&logs, &classes, odir).expect("a fit");
    let parameters = [&dirichlet.weights.concat()[..], &dirichlet.intercepts].concat();
    check_all("dirichlet", &parameters, &file["dirichlet"]);
}

#[test]
fn scores_are_those_of_scikit_learn() {
    let file = json(data!("peers.json"));
    let (z, classes) = decisions(&file);
    let probs: Vec<[f64; 5]> = z.into_iter().map(|z| logarithms(z).map(f64::exp)).collect();
    check("log-loss", log_loss(&probs, &classes), &file["log_loss"]);
    check("Brier", brier(&probs, &classes), &file["brier"]);
    for bins in [10, 15] {
        let key = bins.to_string();
        check("ECE", ece(&probs, &classes, bins), &file["ece"][&key]);
        let classwise = classwise_ece(&probs, &classes, bins);
        check("classwise ECE", classwise, &file["classwise_ece"][&key]);
    }
}

/// Twenty stretches of 645 days of the two strategies stand for trials.
#[test]
fn overfitting_is_that_of_numpy() {
    let file = json(data!("peers.json"));
    let strategies = ["EW20_daily_rebal", "AAPL_hold"].map(returns);
    let stretches = |returns: &Vec<f64>| -> Vec<Vec<f64>> {
        (0..10).map(|stretch| returns[stretch * 700..][..645].to_vec()).collect()
    };
    let trials: Vec<Vec<f64>> = strategies.iter().flat_map(stretches).collect();
    for blocks in [8, 10] {
        let found = probability_of_overfitting(&trials, blocks).expect("fine trials");
        let other = &file["overfitting"][blocks.to_string()];
        check("probability", found.probability, &other["probability"]);
        check("of loss", found.probability_of_loss, &other["probability_of_loss"]);
        check("degradation", found.degradation, &other["degradation"]);
        check("median logit", found.median_logit, &other["median_logit"]);
        assert_eq!(Some(found.splits as u64), other["splits"].as_u64());
    }
}
