//! MLflow, by its REST API 2.0: experiment, run, batches of metrics and parameters, end.
//!
//! A thread of its own sends what the run hands it and keeps it until the server has
//! taken it. A server that is away delays nothing but the end of the run: by a second where
//! nobody listens, by two minutes where nobody answers. What it has not got is reported.

use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};

use super::log::Record;
use crate::config::RunConfig;

/// How often metrics are sent.
const FLUSH: Duration = Duration::from_secs(2);

/// Longest time between two attempts where the server is away.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Bound on one request; a server on a busy machine takes its time.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Attempts to hand over the rest when the run ends, and the time between them.
const LAST_ATTEMPTS: u32 = 2;
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// What the API takes in one batch.
const METRICS_MAX: usize = 1_000;
const PARAMS_MAX: usize = 100;

/// Metrics kept for a server that is away; older ones go first.
const PENDING_MAX: usize = 200_000;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// To its end.
    Finished,
    /// By an error.
    Failed,
}

impl Outcome {
    const fn status(self) -> &'static str {
        match self {
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
        }
    }
}

/// What a run is called there.
#[derive(Debug, Clone)]
pub(crate) struct RunInfo {
    experiment: String,
    name: String,
    start_ms: i64,
    params: Vec<(String, String)>,
}

impl RunInfo {
    /// Takes the names, and every key of the configuration as a parameter.
    pub(crate) fn of(config: &RunConfig, start_ms: i64) -> Self {
        let mut params = Vec::new();
        if let Ok(tree) = serde_json::to_value(config) {
            flatten("", &tree, &mut params);
        }
        Self {
            experiment: config.tracking.experiment.clone(),
            name: config.name.clone(),
            start_ms,
            params,
        }
    }
}

fn flatten(path: &str, value: &Value, params: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, params);
            }
        }
        Value::String(text) => params.push((path.to_owned(), text.clone())),
        other => params.push((path.to_owned(), other.to_string())),
    }
}

enum Message {
    Record(Record),
    Finish(Outcome, i64),
}

/// The sending thread's handle.
pub(crate) struct Shipper {
    sender: Sender<Message>,
    thread: JoinHandle<Option<String>>,
}

impl Shipper {
    /// Starts the thread; `before` is what a resumed run has logged already.
    pub(crate) fn start(url: &str, run: RunInfo, before: &[Record]) -> Self {
        let (sender, inbox) = channel();
        let mut session = Session::new(url, run);
        before.iter().for_each(|record| session.add(record));
        Self { sender, thread: std::thread::spawn(move || ship(session, &inbox)) }
    }

    /// Hands over a record.
    pub(crate) fn send(&self, record: Record) {
        // A thread that has ended says why in `finish`.
        let _ = self.sender.send(Message::Record(record));
    }

    /// Ends the run and waits; returns why the server has not got all of it, if so.
    pub(crate) fn finish(self, outcome: Outcome, end_ms: i64) -> Option<String> {
        let _ = self.sender.send(Message::Finish(outcome, end_ms));
        self.thread.join().unwrap_or_else(|_| Some("its thread has panicked".to_owned()))
    }
}

/// Sends a whole run.
///
/// # Errors
/// Fails where the server does not take something.
pub(crate) fn send_all(
    url: &str,
    run: &RunInfo,
    records: &[Record],
    end_ms: i64,
) -> anyhow::Result<String> {
    let mut session = Session::new(url, run.clone());
    records.iter().for_each(|record| session.add(record));
    let runtime = runtime()?;
    runtime.block_on(async {
        session.flush().await?;
        session.end(Outcome::Finished, end_ms).await
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn ship(mut session: Session, inbox: &Receiver<Message>) -> Option<String> {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return Some(format!("{error:#}")),
    };
    let mut pause = FLUSH;
    let mut due = Instant::now();
    loop {
        match inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Message::Record(record)) => session.add(&record),
            Ok(Message::Finish(outcome, end_ms)) => {
                return runtime.block_on(session.hand_over(outcome, end_ms));
            }
            Err(RecvTimeoutError::Timeout) => {}
            // The run has ended without a word.
            Err(RecvTimeoutError::Disconnected) => return Some("the run broke off".to_owned()),
        }
        if Instant::now() >= due {
            let sent = runtime.block_on(session.flush());
            pause = if sent.is_ok() { FLUSH } else { (2 * pause).min(BACKOFF_MAX) };
            due = Instant::now() + pause;
        }
    }
}

/// One run at one server, and what the server has not got yet.
struct Session {
    http: reqwest::Client,
    base: String,
    run: RunInfo,
    id: Option<String>,
    /// Parameters the server has got.
    params_sent: usize,
    pending: VecDeque<Value>,
    dropped: u64,
}

impl Session {
    fn new(url: &str, run: RunInfo) -> Self {
        Self {
            http: reqwest::Client::new(),
            base: format!("{}/api/2.0/mlflow", url.trim_end_matches('/')),
            run,
            id: None,
            params_sent: 0,
            pending: VecDeque::new(),
            dropped: 0,
        }
    }

    fn add(&mut self, record: &Record) {
        let timestamp = record.time.timestamp_millis();
        let metric = |key: &str, value: f64| json!({ "key": key, "value": value, "timestamp": timestamp, "step": record.step });
        let metrics = record.metrics.iter().filter(|(_, value)| value.is_finite());
        self.pending.extend(metrics.map(|(key, value)| metric(key, *value)));
        self.pending.push_back(metric("system.tokens_per_s", record.tokens_per_s));
        if let Some(rss) = record.rss_bytes {
            self.pending.push_back(metric("system.rss_bytes", rss as f64));
        }
        while self.pending.len() > PENDING_MAX {
            self.pending.pop_front();
            self.dropped += 1;
        }
    }

    /// Sends all that is pending; what the server has taken is forgotten.
    async fn flush(&mut self) -> anyhow::Result<()> {
        let id = self.begin().await?;
        while !self.pending.is_empty() {
            let n = self.pending.len().min(METRICS_MAX);
            let metrics: Vec<&Value> = self.pending.iter().take(n).collect();
            self.post("runs/log-batch", json!({ "run_id": id, "metrics": metrics })).await?;
            self.pending.drain(..n);
        }
        Ok(())
    }

    /// Creates experiment and run once, and sends the parameters.
    async fn begin(&mut self) -> anyhow::Result<String> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => self.create().await?,
        };
        for params in self.run.params[self.params_sent..].chunks(PARAMS_MAX) {
            let n = params.len();
            let params: Vec<Value> =
                params.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
            self.post("runs/log-batch", json!({ "run_id": id, "params": params })).await?;
            self.params_sent += n;
        }
        Ok(id)
    }

    async fn create(&mut self) -> anyhow::Result<String> {
        let experiment = self.experiment().await?;
        let run = json!({
            "experiment_id": experiment,
            "run_name": self.run.name,
            "start_time": self.run.start_ms,
            "tags": [{ "key": "mlflow.source.name", "value": "r2r-trainer" }],
        });
        let created = self.post("runs/create", run).await?;
        let id = text(&created, "/run/info/run_id")?;
        self.id = Some(id.clone());
        Ok(id)
    }

    async fn experiment(&self) -> anyhow::Result<String> {
        let url = format!("{}/experiments/get-by-name", self.base);
        let query = [("experiment_name", &self.run.experiment)];
        let request = self.http.get(url).query(&query).timeout(TIMEOUT);
        let answer = request.send().await.context("the server does not answer")?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            let name = json!({ "name": self.run.experiment });
            return text(&self.post("experiments/create", name).await?, "/experiment_id");
        }
        text(&body(answer).await?, "/experiment/experiment_id")
    }

    async fn end(&mut self, outcome: Outcome, end_ms: i64) -> anyhow::Result<String> {
        let id = self.begin().await?;
        let update = json!({ "run_id": id, "status": outcome.status(), "end_time": end_ms });
        self.post("runs/update", update).await?;
        Ok(id)
    }

    /// Sends the rest and ends the run; returns what is in the way of that.
    async fn hand_over(&mut self, outcome: Outcome, end_ms: i64) -> Option<String> {
        let mut reason = None;
        for attempt in 0..LAST_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(LAST_PAUSE).await;
            }
            let sent = match self.flush().await {
                Ok(()) => self.end(outcome, end_ms).await.map(drop),
                Err(error) => Err(error),
            };
            match sent {
                Ok(()) if self.dropped == 0 => return None,
                Ok(()) => return Some(format!("{} metrics were dropped", self.dropped)),
                Err(error) => reason = Some(error),
            }
        }
        let pending = self.pending.len();
        reason.map(|error| format!("{pending} metrics not sent: {error:#}"))
    }

    async fn post(&self, path: &str, content: Value) -> anyhow::Result<Value> {
        let request = self
            .http
            .post(format!("{}/{path}", self.base))
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&content)?)
            .timeout(TIMEOUT);
        let answer = request.send().await.context("the server does not answer")?;
        body(answer).await.with_context(|| format!("{path} was refused"))
    }
}

/// Returns the JSON of an answer, or what the server says is wrong.
async fn body(answer: reqwest::Response) -> anyhow::Result<Value> {
    let status = answer.status();
    let bytes = answer.bytes().await.context("the answer broke off")?;
    let content: Option<Value> = serde_json::from_slice(&bytes).ok();
    if !status.is_success() {
        let message = content.as_ref().and_then(|content| content["message"].as_str());
        bail!("{status}: {}", message.unwrap_or("no reason given"));
    }
    content.ok_or_else(|| anyhow!("the answer is not JSON: is this an MLflow server?"))
}

fn text(content: &Value, pointer: &str) -> anyhow::Result<String> {
    let found = content.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.with_context(|| format!("the answer has no {pointer}: is this an MLflow server?"))
}
