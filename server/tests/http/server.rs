//! A server process on a free port.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::client;

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The directory with `models/` and `snapshots/`.
pub(crate) fn data_dir() -> PathBuf {
    let dir = std::env::var_os("R2R_DATA_DIR").map_or_else(|| root().join("data"), PathBuf::from);
    let ready = dir.join("models").is_dir() && dir.join("snapshots").is_dir();
    assert!(ready, "{} has no model or no snapshot: `make test` fetches them", dir.display());
    dir
}

/// A command that starts the server on a free port.
pub(crate) fn command(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_r2r-server"));
    command
        .current_dir(root())
        .env("R2R_SERVER__HTTP__LISTEN", "127.0.0.1:0")
        .env("R2R_SERVER__DATA__DIR", data_dir())
        .envs(settings.iter().map(|(key, value)| (format!("R2R_SERVER__{key}"), value)))
        .stderr(Stdio::piped());
    command
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts with the defaults.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts with settings such as `("HTTP__HEAD_MS", "200")`.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::launch(command(settings))
    }

    /// Runs a command of [`command`].
    pub(crate) fn launch(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let (found, address) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("r2r-server is ready on http://") {
                    let _ = found.send(address.parse::<SocketAddr>().unwrap());
                }
                lines.lock().unwrap().push(line);
            }
        });
        match address.recv_timeout(Duration::from_secs(120)) {
            Ok(address) => Self { child, address, log },
            Err(_) => panic!("the server did not start: {:#?}", log.lock().unwrap()),
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The lines of its standard error so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    pub(crate) fn health(&self) -> Value {
        client::get(self.address, "/v1/healthz").json()
    }

    /// The worker's process id.
    pub(crate) fn worker(&self) -> Pid {
        let pid = self.health()["worker"]["pid"].as_i64().unwrap();
        Pid::from_raw(pid.try_into().unwrap())
    }

    /// The value of a metric without labels, or of one labelled sample.
    pub(crate) fn metric(&self, sample: &str) -> f64 {
        let text = client::get(self.address, "/v1/metrics").text();
        let line = text
            .lines()
            .find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// The sum of a metric over all its labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let text = client::get(self.address, "/v1/metrics").text();
        let samples = text.lines().filter_map(|line| line.strip_prefix(name));
        let samples = samples.filter(|rest| rest.starts_with(['{', ' ']));
        samples.map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Waits until `condition` holds and returns how long it took.
    pub(crate) fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) -> Duration {
        let started = Instant::now();
        while !condition(self) {
            assert!(started.elapsed() < Duration::from_secs(60), "{what} did not come");
            thread::sleep(Duration::from_millis(5));
        }
        started.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("log of the server:\n{}", self.log().join("\n"));
        }
    }
}
