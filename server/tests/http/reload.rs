//! SIGHUP: another model, and nobody notices.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use inference::model::ModelManifest;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    client::post,
    server::{Server, command, data_dir, root},
};

const OTHER: &str = "SmolLM2-135M-Instruct.Q4_1";

fn serving(server: &Server) -> String {
    server.health()["model"]["name"].as_str().unwrap().to_owned()
}

#[test]
fn sighup_serves_another_model_without_a_failed_request() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("server.toml");
    let choose = |model: &str| {
        fs::write(&config, format!("[engine]\nmodel = {model:?}\n")).unwrap();
    };
    choose(ModelManifest::DEFAULT);
    let mut start = command(&[("CACHE__ANSWERS_BYTES_MAX", "0")]);
    start.arg("--config").arg(&config);
    let server = Server::launch(start);
    // The published file, which the default is converted from.
    let manifest = root().join("models").join(format!("{}.toml", ModelManifest::DEFAULT));
    let other = data_dir().join("models").join(ModelManifest::load(&manifest).unwrap().file);
    let other = fs::canonicalize(other).unwrap();

    let swapping = AtomicBool::new(true);
    // Model and seed, and what was answered.
    let mut answers = BTreeMap::new();
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut answers = Vec::new();
            for seed in (0..3).cycle() {
                let body = json!({ "ticker": "KO", "as_of": "2022-09-30", "seed": seed });
                answers.push((
                    seed,
                    post(server.address(), "/v1/thesis", body.to_string().as_bytes()),
                ));
                if !swapping.load(Ordering::Relaxed) {
                    return answers;
                }
            }
            unreachable!("a cycle has no end")
        });
        choose(other.to_str().unwrap());
        server.signal(Signal::SIGHUP);
        server.until("the other model", |s| serving(s) == OTHER);
        choose(ModelManifest::DEFAULT);
        server.signal(Signal::SIGHUP);
        server.until("the first model", |s| serving(s) == ModelManifest::DEFAULT);
        swapping.store(false, Ordering::Relaxed);
        for (seed, answer) in load.join().unwrap() {
            assert_eq!(answer.status, 200, "{}", answer.text());
            let model = answer.json()["receipt"]["model"].as_str().unwrap().to_owned();
            let first = answers.entry((model, seed)).or_insert_with(|| answer.body.clone());
            assert_eq!(*first, answer.body);
        }
    });
    assert!(answers.keys().any(|(model, _)| model == OTHER), "{:?}", answers.keys());

    // What cannot serve does not, and the log says why.
    choose("no-such-model");
    server.signal(Signal::SIGHUP);
    server.until("the refusal", |s| s.log().iter().any(|line| line.contains("serves on")));
    assert_eq!(serving(&server), ModelManifest::DEFAULT);
    assert_eq!(server.metric("r2r_model_swaps_total{outcome=\"served\"}"), 2.0);
}

/// A calibration is the manifest's: another one for the same file is served, named in the
/// receipt, and not mistaken for the first by the cache.
#[test]
fn a_calibration_serves_with_its_model() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = directory.path().join("calibrated.toml");
    let text = fs::read_to_string(root().join("models/smollm2-135m-instruct.toml")).unwrap();
    let calibrate = |calibration: &str| {
        fs::write(&manifest, format!("{text}\n[calibration]\n{calibration}\n")).unwrap();
    };
    calibrate("method = \"identity\"");
    let server = Server::start_with(&[("ENGINE__MODEL", manifest.to_str().unwrap())]);
    let ask = || {
        let body = json!({ "ticker": "KO", "as_of": "2022-09-30", "seed": 5 }).to_string();
        let answer = post(server.address(), "/v1/thesis", body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let raw = ask();
    assert_eq!(raw["receipt"]["calibration"], "identity");
    calibrate("method = \"temperature\"\ntemperature = 2.0");
    server.signal(Signal::SIGHUP);
    server.until("the calibration", |_| ask()["receipt"]["calibration"] != "identity");
    let calibrated = ask();
    let named = calibrated["receipt"]["calibration"].as_str().unwrap();
    assert!(named.starts_with("temperature+"), "{named}");
    assert_eq!(raw["receipt"]["model_digest"], calibrated["receipt"]["model_digest"]);
    assert_eq!(raw["thesis"], calibrated["thesis"]);
    let probs = |answer: &Value| -> [f64; 5] {
        serde_json::from_value(answer["decision"]["probs"].clone()).unwrap()
    };
    let [before, after] = [&raw, &calibrated].map(probs);
    // By hand: p^(1/2), normalised, to the millionth.
    let roots = before.map(f64::sqrt);
    let sum: f64 = roots.iter().sum();
    for (root, after) in roots.into_iter().zip(after) {
        assert!((root / sum - after).abs() < 1e-5, "{before:?} {after:?}");
    }
}
