//! A cluster of three processes on loopback computes the bytes that one process computes.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::data_dir;

/// How long anything may take that is waited for.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// A process of the test's own, which ends with it.
struct Process {
    child: Child,
    /// Where it listens.
    address: String,
}

impl Process {
    /// Starts a server of `r2r` whose first line says `... on ADDRESS; ...` or `... on ADDRESS for ...`.
    fn start(data_dir: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_r2r"));
        command.args(args).env("R2R_DATA_DIR", data_dir).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let words = line.split([' ', ';']).skip_while(|word| *word != "on");
        let address = words.clone().nth(1).unwrap_or_else(|| panic!("{args:?}: {line}")).to_owned();
        Self { child, address }
    }

    /// Waits until a scheduler is there and has so many executors.
    fn wait(&self, executors: usize) {
        let says = format!("{} {executors}", if executors == 0 { "not ready:" } else { "ready:" });
        wait_for(&says, || ready(&self.address).is_some_and(|answer| answer.contains(&says)));
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A scheduler and two executors, with the snapshots of `make test`.
struct Cluster {
    executors: Vec<Process>,
    scheduler: Process,
    work_dirs: Vec<TempDir>,
}

impl Cluster {
    fn start(data_dir: &Path, tasks: &str) -> Self {
        let scheduler = Process::start(data_dir, &["scheduler", "--bind", "127.0.0.1:0"]);
        scheduler.wait(0);
        let work_dirs: Vec<TempDir> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
        let executor = |dir: &TempDir| {
            let dir = dir.path().to_str().unwrap();
            let args = ["executor", "--scheduler", &scheduler.address, "--bind", "127.0.0.1:0"];
            let args = [&args[..], &["--tasks", tasks, "--work-dir", dir]].concat();
            Process::start(data_dir, &args)
        };
        let executors = work_dirs.iter().map(executor).collect();
        scheduler.wait(2);
        Self { executors, scheduler, work_dirs }
    }

    fn engine(&self) -> String {
        format!("df://{}", self.scheduler.address)
    }
}

/// A data directory with the snapshots of another and nothing else, where panels are written.
struct Panels(TempDir);

impl Panels {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for part in ["objects", "snapshots", "refs", "packages"] {
            symlink(data_dir().join(part), dir.path().join(part)).unwrap();
        }
        Self(dir)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_r2r"));
        command.args(["features", "build"]).args(args).env("R2R_DATA_DIR", self.0.path());
        command
    }

    /// Returns the bytes of the one panel that was built, and removes it.
    fn taken(&self) -> Option<Vec<u8>> {
        let derived = fs::read_dir(self.0.path().join("derived")).ok()?;
        let mut paths = derived.map(|entry| entry.unwrap().path().join("features.parquet"));
        let path = paths.find(|path| path.exists())?;
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(path).unwrap();
        Some(bytes)
    }

    fn build(&self, args: &[&str]) -> Vec<u8> {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        self.taken().unwrap()
    }
}

/// Returns what a scheduler says of its executors.
fn ready(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_there() {
        assert!(begin.elapsed() < WAIT_MAX, "{what} does not come");
        sleep(Duration::from_millis(20));
    }
}

fn has_file(dir: &Path) -> bool {
    let mut entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.any(|entry| entry.path().is_file() || has_file(&entry.path()))
}

/// Series of raw prices with splits and dividends, values that arrive, values that need reads,
/// names whose sessions came out of order; in as many parts as there are names, and in one.
#[test]
fn a_cluster_computes_the_bytes_of_one_process() {
    let panels = Panels::new();
    let cluster = Cluster::start(panels.0.path(), "2");
    let engine = cluster.engine();
    let mixed = [
        "vol_20d",
        "beta_252d",
        "mom_252_21",
        "rsi_14",
        "max_drawdown_252d",
        "alpha_rsqr_20",
        "revenue_growth_yoy",
        "net_margin",
        "insider_buys_90d",
        "vix_level",
        "technicals_coverage",
    ];
    for (universe, features, every, tasks) in [
        ("SYN10", &[][..], "1", "5"),
        ("SYN10", &mixed, "40", "1"),
        ("PIT391", &mixed, "100", "8"),
        ("R20", &["vol_20d", "dist_52w_high", "beta_252d", "macd_12_26"], "1", "7"),
    ] {
        let args = [features, &["--universe", universe, "--every", every]].concat();
        let here = panels.build(&args);
        let there = [&args[..], &["--engine", &engine, "--engine-tasks", tasks]].concat();
        let there = panels.build(&there);
        assert!(here == there, "{args:?} in {tasks} parts has other bytes");
    }
}

/// One of two executors is killed after it has finished a part and while it works on another.
#[test]
fn a_killed_executor_makes_no_wrong_panel() {
    let panels = Panels::new();
    let mut cluster = Cluster::start(panels.0.path(), "1");
    let engine = cluster.engine();
    let args = ["technicals_coverage", "risks_coverage", "--every", "60"];
    let here = panels.build(&args);
    let there = [&args[..], &["--engine", &engine, "--engine-tasks", "24"]].concat();
    let client = panels.command(&there).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let client = client.unwrap();
    let work = cluster.work_dirs[0].path().to_owned();
    wait_for("a finished part of the first executor", || has_file(&work));
    cluster.executors[0].kill();
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(panels.taken().unwrap() == here, "the panel has other bytes");
}

#[test]
fn what_cannot_be_computed_is_refused_with_the_remedy() {
    let panels = Panels::new();
    let scheduler = Process::start(panels.0.path(), &["scheduler", "--bind", "127.0.0.1:0"]);
    scheduler.wait(0);
    let engine = format!("df://{}", scheduler.address);
    let refused = |says: &str| {
        let args = ["vol_20d", "--every", "100", "--engine", &engine];
        let output = panels.command(&args).output().unwrap();
        let error = stderr(&output);
        assert!(!output.status.success() && error.contains(says), "{says}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(panels.taken().is_none());
    };
    refused("no executors: start them with `r2r executor");
    // An executor with a store of its own that does not have the snapshot.
    let empty = tempfile::tempdir().unwrap();
    let args = ["executor", "--scheduler", &scheduler.address, "--bind", "127.0.0.1:0"];
    let executor = Process::start(empty.path(), &args);
    scheduler.wait(1);
    refused("copy it there with `r2r data snapshot");
    drop((executor, scheduler));
    refused("start one with `r2r scheduler`");
}
