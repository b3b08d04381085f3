//! A run on disk, and at a real MLflow server.

use domain::FixedClock;

use super::*;

fn config(url: Option<&str>) -> RunConfig {
    let mut config = RunConfig::default();
    config.tracking.mlflow_url = url.map(str::to_owned);
    config
}

fn clock() -> Box<dyn Clock> {
    Box::new(FixedClock("2026-01-01T00:00:00Z".parse().unwrap()))
}

fn metrics(step: u64) -> BTreeMap<String, f64> {
    let loss = 3.0 / step as f64;
    [("train.loss", loss), ("validation.loss", loss + 0.1), ("reward.total", -loss)]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

fn run(config: &RunConfig, dir: &Path, done: u64, steps: std::ops::RangeInclusive<u64>) -> Tracker {
    let mut tracker = Tracker::start(config, dir, done, 10, clock()).unwrap();
    steps.for_each(|step| tracker.step(step, 100, metrics(step)).unwrap());
    tracker
}

#[test]
fn a_resumed_run_has_each_step_once() {
    let dir = tempfile::tempdir().unwrap();
    // Killed after step 6 with half a line, resumed from a checkpoint of step 4.
    drop(run(&config(None), dir.path(), 0, 1..=6));
    let path = dir.path().join(LOG);
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("{\"time\":\"2026-01-01T00:0");
    std::fs::write(&path, text).unwrap();
    run(&config(None), dir.path(), 4, 5..=10).finish(Outcome::Finished).unwrap();
    let records = log::read(&path).unwrap();
    let steps: Vec<u64> = records.iter().map(|record| record.step).collect();
    assert_eq!(steps, (1..=10).collect::<Vec<_>>());
    assert_eq!(records[9].metrics, metrics(10));
    assert_eq!(RunConfig::read(&dir.path().join(CONFIG)).unwrap(), config(None));
}

#[test]
fn curves_show_each_metric_in_its_group() {
    let dir = tempfile::tempdir().unwrap();
    run(&config(None), dir.path(), 0, 1..=10).finish(Outcome::Finished).unwrap();
    let loss = std::fs::read_to_string(dir.path().join("curve-loss.svg")).unwrap();
    let reward = std::fs::read_to_string(dir.path().join("curve-reward.svg")).unwrap();
    assert!(loss.starts_with("<svg") && loss.trim_end().ends_with("</svg>"));
    for name in ["train.loss", "validation.loss"] {
        assert!(loss.contains(name) && !reward.contains(name), "{name}");
    }
    // Each has a colour of its own.
    assert!(loss.contains("#0072B2") && loss.contains("#D55E00"));
    assert!(reward.contains("#0072B2") && !reward.contains("#D55E00"));
    assert!(reward.contains("reward.total"));
}

#[test]
fn metrics_that_are_no_numbers_do_not_break_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut tracker = Tracker::start(&config(None), dir.path(), 0, 2, clock()).unwrap();
    tracker.step(1, 1, [("train.loss".to_owned(), f64::NAN)].into()).unwrap();
    tracker.step(2, 1, metrics(2)).unwrap();
    tracker.finish(Outcome::Failed).unwrap();
    let records = log::read(&dir.path().join(LOG)).unwrap();
    assert!(records[0].metrics.is_empty() && records[1].metrics.len() == 3);
}

/// Nothing listens at the port: the run is written all the same, and told what is missing.
#[test]
fn a_server_that_is_away_stops_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let run = mlflow::RunInfo::of(&config(None), 0);
    let shipper = Shipper::start(&url, run, &[]);
    shipper.send(Record {
        time: "2026-01-01T00:00:00Z".parse().unwrap(),
        step: 1,
        tokens: 1,
        tokens_per_s: 1.0,
        rss_bytes: None,
        metrics: metrics(1),
    });
    let reason = shipper.finish(Outcome::Finished, 1).unwrap();
    assert!(reason.starts_with("4 metrics not sent: the server does not answer"), "{reason}");
}

/// `make test-mlflow` starts the server and runs this.
#[test]
#[ignore = "needs an MLflow server: make test-mlflow"]
fn a_real_server_gets_the_whole_run() {
    let url = std::env::var("R2R_MLFLOW_URL").expect("make test-mlflow sets R2R_MLFLOW_URL");
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(Some(&url));
    config.tracking.experiment = format!("r2r test {}", dir.path().display());
    // More than a batch of metrics: 5 a step.
    let mut tracker = Tracker::start(&config, dir.path(), 0, 300, clock()).unwrap();
    (1..=300).for_each(|step| tracker.step(step, 100, metrics(step)).unwrap());
    tracker.finish(Outcome::Finished).unwrap();
    let args = PushArgs { run: dir.path().to_owned(), url: Some(url.clone()) };
    push(&args).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(check_server(&url, &config));
}

/// Asks the server, by requests of the test's own, what it has got: the run as it went
/// and the run as it was pushed.
async fn check_server(url: &str, config: &RunConfig) {
    let http = reqwest::Client::new();
    let api = |path: &str| format!("{url}/api/2.0/mlflow/{path}");
    let get = async |path: &str, query: &[(&str, &str)]| -> serde_json::Value {
        let answer = http.get(api(path)).query(query).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    };
    let name = config.tracking.experiment.as_str();
    let experiment = get("experiments/get-by-name", &[("experiment_name", name)]).await;
    let id = experiment["experiment"]["experiment_id"].as_str().unwrap();
    let search = serde_json::json!({ "experiment_ids": [id] });
    let found = http.post(api("runs/search")).header("content-type", "application/json");
    let found = found.body(search.to_string()).send().await.unwrap().bytes().await.unwrap();
    let found: serde_json::Value = serde_json::from_slice(&found).unwrap();
    let runs = found["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2, "{found}");
    for run in runs {
        assert_eq!(run["info"]["status"], "FINISHED");
        assert_eq!(run["info"]["run_name"], config.name.as_str());
        let params = run["data"]["params"].as_array().unwrap();
        let rate = params.iter().find(|param| param["key"] == "optimizer.learning_rate").unwrap();
        assert_eq!(rate["value"], config.optimizer.learning_rate.to_string());
        let id = run["info"]["run_id"].as_str().unwrap();
        let query = [("run_id", id), ("metric_key", "train.loss"), ("max_results", "1000")];
        let history = get("metrics/get-history", &query).await;
        let history = history["metrics"].as_array().unwrap();
        assert_eq!(history.len(), 300);
        let last = history.iter().find(|metric| metric["step"] == 300).unwrap();
        assert_eq!(last["value"].as_f64().unwrap(), 0.01);
    }
}
