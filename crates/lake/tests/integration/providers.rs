//! Providers against a server that replays answers of their real form.

mod archive;
mod conformance;
mod edgar;
mod estimates;
mod fred;
mod kill;
mod live;
mod news;
mod stooq;
mod yahoo;

#[path = "../../examples/replay/server.rs"]
mod server;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use datafusion::arrow::{
    array::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use domain::FixedClock;
use indicatif::ProgressBar;
use lake::{
    Ask, FetchOptions, FetchReport, Kind, LakeError, Provider, ProviderList, RawArchive, RawReport,
    RawRows, Rejected, RetryPolicy, fetch_provider, parse_raw,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

use self::server::{Replay, Route, Script, Seen, Step};

/// In the session of the last row of the recorded chart, before its close.
const NOW: &str = "2020-09-02T18:00:00Z";
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A data directory and a server to fetch from.
struct Bench {
    dir: TempDir,
    replay: Arc<Replay>,
    url: String,
    server: JoinHandle<()>,
    provider: Provider,
    now: String,
    refresh: bool,
}

impl Bench {
    /// Starts a server that plays a script, and asks it as `provider` would be asked,
    /// without waiting for its rate limit.
    async fn start(provider: &str, routes: Vec<Route>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let replay = Replay::new(&payloads(), Script { routes });
        let serve = replay.clone().serve(listener);
        let server = tokio::spawn(async move { drop(serve.await) });
        let provider = self::provider(provider);
        let dir = tempfile::tempdir().unwrap();
        Self { dir, replay, url, server, provider, now: NOW.to_owned(), refresh: false }
    }

    async fn fetch(&self, symbols: &[&str]) -> Result<FetchReport, LakeError> {
        let ask =
            Ask { symbols: symbols.iter().map(|&s| s.to_owned()).collect(), from: None, to: None };
        self.ask(&ask).await
    }

    async fn ask(&self, ask: &Ask) -> Result<FetchReport, LakeError> {
        self.ask_as(ask, Some("Jane Doe jane@example.org")).await
    }

    async fn ask_as(&self, ask: &Ask, contact: Option<&str>) -> Result<FetchReport, LakeError> {
        fetch_provider(&FetchOptions {
            data_dir: self.dir.path(),
            provider: &self.provider,
            ask,
            base_url: Some(&self.url),
            refresh: self.refresh,
            contact,
            env: &|name| name.ends_with("KEY").then(|| KEY.to_owned()),
            retry: impatient(),
            seed: 42,
            clock: &FixedClock(self.now.parse().unwrap()),
            progress: &ProgressBar::hidden(),
        })
        .await
    }

    fn rows(&self) -> RawRows {
        parse_raw(&self.provider, self.dir.path()).unwrap()
    }

    fn table(&self, kind: Kind) -> (RecordBatch, Vec<Rejected>) {
        self.rows().table(kind).unwrap()
    }

    fn verify(&self) -> RawReport {
        RawArchive::new(self.dir.path(), &self.provider.id).verify().unwrap()
    }

    /// Takes the requests the server has had since the last call.
    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.replay.seen.lock().unwrap())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A provider without its rate limit.
fn provider(id: &str) -> Provider {
    let mut provider = ProviderList::builtin().unwrap().get(id).unwrap().clone();
    provider.requests_per_minute = 60_000.try_into().unwrap();
    provider.burst = 1000.try_into().unwrap();
    provider
}

/// Waits of a test: as many as in earnest, but short.
fn impatient() -> RetryPolicy {
    RetryPolicy {
        backoff_base: Duration::from_millis(1),
        backoff_max: Duration::from_millis(10),
        ..RetryPolicy::default()
    }
}

fn payloads() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/providers")
}

/// The routes that the replay server plays on the command line.
fn recorded() -> Vec<Route> {
    let text = std::fs::read_to_string(payloads().join("replay.toml")).unwrap();
    toml::from_str::<Script>(&text).unwrap().routes
}

fn payload(name: &str) -> String {
    std::fs::read_to_string(payloads().join(name)).unwrap()
}

/// The recorded chart as that of another symbol, with bytes of its own.
fn chart_of(symbol: &str) -> String {
    payload("yahoo_aapl.json").replace("\"symbol\":\"AAPL\"", &format!("\"symbol\":\"{symbol}\""))
}

fn route(path: &str, query: &[(&str, &str)], steps: Vec<Step>) -> Route {
    let query = query.iter().map(|&(k, v)| (k.to_owned(), v.to_owned()));
    Route { path: path.to_owned(), query: query.collect(), needs_user_agent: None, steps }
}

fn body(text: impl Into<String>) -> Step {
    Step { body: text.into(), ..Step::default() }
}

/// The cells of some columns, a text per row.
fn show(batch: &RecordBatch, columns: &[&str]) -> Vec<String> {
    let options = FormatOptions::default().with_null("-");
    let cell = |row: usize, name: &str| {
        let column = batch.column_by_name(name).unwrap();
        ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string()
    };
    let line = |row| columns.iter().map(|name| cell(row, name)).collect::<Vec<_>>().join(" ");
    (0..batch.num_rows()).map(line).collect()
}

fn reasons(rejected: &[Rejected]) -> Vec<&str> {
    rejected.iter().map(|r| &*r.reason).collect()
}

/// All files under a directory with their bytes.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}
