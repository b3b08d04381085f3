//! `make bench-backtest`: a walk-forward sweep of momentum against NumPy and vectorbt, and
//! bootstraps of the Sharpe ratio against arch, on the same data in the same run, each on one
//! thread, by the time it had of a CPU; then how a run grows with names and days, and the memory it takes. Fails where a
//! peer finds something else.
//!
//! Without `R2R_PEERS_PYTHON`, a Python that has the peers, only ours are timed.

#![allow(clippy::print_stdout, reason = "a bench talks to its terminal")]

use std::{
    env, fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::atomic::AtomicBool,
};

use backtest::{
    Bar, Config, Detail, History, Market, Source, Strategy, WalkForward,
    bootstrap::{Resampling, Stationary, sharpe_distribution},
    run,
    strategies::{EqualWeight, Momentum, Sides},
    sweep::{Switching, sweep, walk_forward_picks},
};
use chrono::{Days, NaiveDate};
use cpu_time::ThreadTime;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tempfile::TempDir;

/// Names and sessions of the sweep: as many as the universe R20 has.
const NAMES: usize = 20;
const DAYS: usize = 8313;

/// Days and resamples of the bootstraps.
const BOOTSTRAP_DAYS: usize = 8000;
const BOOTSTRAP: Stationary = Stationary { mean_block: 21, resamples: 1000, seed: 42 };

/// Sizes of the runs that show growth: names and days.
const GROWTH: [(usize, usize); 5] =
    [(200, DAYS), (1_000, DAYS), (5_000, DAYS / 16), (5_000, DAYS / 4), (5_000, DAYS)];

/// Difference from a peer that adds in another order, relative where a check exceeds 1.
const TOLERANCE: f64 = 1e-9;

/// Difference of the ends of two bootstrap intervals of the same law: four times the standard
/// deviation that their seeds give it.
const INTERVAL_TOLERANCE: f64 = 0.09;

/// What one system took, and what it found.
struct Found {
    version: String,
    seconds: f64,
    checks: Vec<f64>,
}

/// The least of some times of a CPU in seconds, and the last result.
fn best<T>(repeats: usize, mut work: impl FnMut() -> T) -> (f64, T) {
    let mut timed = || {
        let begin = ThreadTime::now();
        let result = work();
        (begin.elapsed().as_secs_f64(), result)
    };
    let (mut shortest, mut result) = timed();
    for _ in 1..repeats {
        let (seconds, again) = timed();
        shortest = shortest.min(seconds);
        result = again;
    }
    (shortest, result)
}

/// Random walks, a row for each day.
fn closes(names: usize, days: usize) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut now = vec![100.0; names];
    let mut closes = Vec::with_capacity(names * days);
    for _ in 0..days {
        now.iter_mut().for_each(|close| *close *= 1.0 + random.random_range(-0.03..0.0307));
        closes.extend_from_slice(&now);
    }
    closes
}

fn market(closes: &[f64], names: usize) -> Market {
    let history = |name: usize| {
        let bar = |(day, row): (usize, &[f64])| {
            let session = NaiveDate::default() + Days::new(day as u64);
            Bar { session, close: row[name], adjusted: row[name], volume: None }
        };
        History {
            ticker: format!("N{name:04}").parse().expect("a ticker"),
            sector: None,
            half_spread_bps: None,
            bars: closes.chunks(names).enumerate().map(bar).collect(),
            actions: Vec::new(),
        }
    };
    let source = Source { universe: "RANDOM".to_owned(), snapshot: None, bias: String::new() };
    Market::new(source, (0..names).map(history).collect()).expect("a market")
}

fn config(market: &Market) -> Config {
    let sessions = market.sessions();
    Config::new(sessions[0], sessions[sessions.len() - 1])
}

fn grid() -> Vec<Box<dyn Strategy>> {
    let mut grid: Vec<Box<dyn Strategy>> = Vec::new();
    for lookback in [63, 126, 189, 252, 378] {
        for skip in [0, 5, 10, 21, 42] {
            for top in [2, 3, 5, 8] {
                grid.push(Box::new(Momentum::new(lookback, skip, top, Sides::LongShort)));
            }
        }
    }
    grid
}

/// Sums what all parameters ended with, and what following the best of each past did.
fn sweep_ours(closes: &[f64]) -> Found {
    let market = market(closes, NAMES);
    let config = config(&market);
    let folds = WalkForward::default().folds(DAYS, 63).expect("folds");
    let last = |equity: &[f64]| equity.last().copied().unwrap_or_default();
    let (seconds, checks) = best(10, || {
        let go = AtomicBool::new(false);
        let trials = sweep(&market, &config, grid(), Detail::Equity, |_| {}, &go).expect("runs");
        let mut switching = Switching::new(grid(), walk_forward_picks(&trials, &folds));
        let followed = run(&market, &mut switching, &config, Detail::Equity).expect("a run");
        vec![trials.iter().map(|trial| last(&trial.equity)).sum(), last(&followed.equity)]
    });
    Found { version: env!("CARGO_PKG_VERSION").to_owned(), seconds, checks }
}

fn bootstrap_ours(returns: &[f64]) -> Found {
    let plan = Resampling::Stationary(BOOTSTRAP);
    let (seconds, interval) =
        best(10, || sharpe_distribution(black_box(returns), &plan).interval(0.95));
    let interval = interval.expect("defined");
    let checks = vec![interval.lower, interval.upper];
    Found { version: env!("CARGO_PKG_VERSION").to_owned(), seconds, checks }
}

fn peer(python: &Path, name: &str, directory: &Path) -> Found {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers.py");
    let threads = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"];
    let output = Command::new(python)
        .args([script, name])
        .arg(directory)
        .envs(threads.map(|variable| (variable, "1")))
        .output()
        .expect("R2R_PEERS_PYTHON runs");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let checks = found["checks"].as_array().expect("numbers").iter();
    Found {
        version: found["version"].as_str().expect("a version").to_owned(),
        seconds: found["seconds"].as_f64().expect("a number"),
        checks: checks.map(|check| check.as_f64().expect("a number")).collect(),
    }
}

fn line(name: &str, found: &Found, ours: &Found) {
    println!(
        "  {name:<10} {:<8} {:>9.1} ms {:>7.1}x  {:?}",
        found.version,
        found.seconds * 1e3,
        found.seconds / ours.seconds,
        found.checks
    );
}

/// Times peers beside ours and returns whether all find the same.
fn beside(ours: &Found, peers: &[&str], directory: &Path, tolerance: f64) -> bool {
    line("r2r", ours, ours);
    let Some(python) = env::var_os("R2R_PEERS_PYTHON").map(PathBuf::from) else { return true };
    let mut is_same = true;
    for name in peers {
        let found = peer(&python, name, directory);
        line(name, &found, ours);
        let is_near =
            |(ours, theirs): (&f64, &f64)| (ours - theirs).abs() <= tolerance * ours.abs().max(1.0);
        if !ours.checks.iter().zip(&found.checks).all(is_near) {
            println!("  {name} finds something else");
            is_same = false;
        }
    }
    is_same
}

/// Reads the most memory that this process has had, in MB.
fn peak_memory_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
    number.unwrap_or(f64::NAN) / 1024.0
}

fn growth() {
    println!("equal weights through all books: cost and memory of this process");
    for (names, days) in GROWTH {
        // The kernel forgets what the size before took at most.
        let _ = fs::write("/proc/self/clear_refs", "5");
        let market = market(&closes(names, days), names);
        let config = config(&market);
        let (seconds, _) = best(3, || {
            black_box(run(&market, &mut EqualWeight, &config, Detail::Equity).expect("a run"))
        });
        let cells = (names * days) as f64;
        println!(
            "  {names:>5} x {days:<5} {:>8.1} ms {:>6.2} ns a name and day; market {:>4.0} MB, this \
             process at most {:>5.0} MB, while it was built",
            seconds * 1e3,
            seconds * 1e9 / cells,
            cells * 8.0 / f64::from(1 << 20),
            peak_memory_mb(),
        );
    }
}

fn main() -> ExitCode {
    // `cargo test --benches` builds and runs every bench.
    if !env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let write = |name: &str, values: &[f64]| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(directory.path().join(name), bytes).expect("space on the disk");
    };
    let closes = closes(NAMES, DAYS);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let returns: Vec<f64> =
        (0..BOOTSTRAP_DAYS).map(|_| random.random_range(-0.02..0.0207)).collect();
    write("close.f64", &closes);
    write("returns.f64", &returns);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    println!("walk-forward of 100 momentum parameters over {NAMES} x {DAYS}, one thread");
    let ours = pool.install(|| sweep_ours(&closes));
    let swept = beside(&ours, &["numpy", "numpy-each", "vectorbt"], directory.path(), TOLERANCE);
    println!("1,000 stationary bootstraps of Sharpe on {BOOTSTRAP_DAYS} days, one thread");
    let ours = pool.install(|| bootstrap_ours(&returns));
    let resampled = beside(&ours, &["arch"], directory.path(), INTERVAL_TOLERANCE);
    growth();
    if swept && resampled { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
