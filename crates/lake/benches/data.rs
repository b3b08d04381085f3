//! `make bench-data`: how long reads take, and labels and 25 features of R20 and the as-of
//! join of ten million prices with a million events against pandas, polars and DuckDB on
//! the same files in the same run. Fails where a checksum differs.
//!
//! Without `R2R_PEERS_PYTHON`, a Python that has the peers, only ours are timed.

#![allow(clippy::print_stdout, reason = "a bench talks to its terminal")]

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    hint::black_box,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
    time::{Duration, Instant},
};

use datafusion::{
    arrow::{
        array::{
            ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
            TimestampMicrosecondArray,
        },
        compute::sum,
        datatypes::{Date32Type, Float64Type},
    },
    parquet::arrow::ArrowWriter,
};
use domain::{AsOf, Ticker};
use indicatif::ProgressBar;
use lake::{Kind, LabelConfig, PanelOptions, Snapshot, SnapshotStore, as_of_join};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tempfile::TempDir;

const WINDOWS: [u32; 5] = [5, 10, 20, 30, 60];
const FEATURES: [&str; 5] = ["roc", "ma", "std", "cntp", "qtlu"];
const TICKERS: usize = 500;
const PRICES: usize = 10_000_000;
const EVENTS: usize = 1_000_000;
const READS: usize = 2_000;
const PEERS: [&str; 3] = ["pandas", "polars", "duckdb"];
/// Relative difference of sums: others add in another order, and the running variance of
/// polars has drifted by 2e-9 at the end of thirty years.
const TOLERANCE: f64 = 1e-8;

/// As the programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What one system took, and what it found.
struct Found {
    version: String,
    features_s: f64,
    features: BTreeMap<String, f64>,
    join_s: f64,
    join: [f64; 2],
}

fn column(batch: &RecordBatch, name: &str) -> ArrayRef {
    batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}")).clone()
}

fn total(batch: &RecordBatch, name: &str) -> f64 {
    sum(column(batch, name).as_primitive::<Float64Type>()).unwrap_or(0.0)
}

/// The shortest of some times in seconds, and the last result.
fn best<T>(repeats: usize, mut work: impl FnMut() -> T) -> (f64, T) {
    let mut timed = || {
        let begin = Instant::now();
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

/// Rows of some tickers at random times, in order of ticker and time.
fn random_rows(rows: usize, value: &str, seed: u64) -> RecordBatch {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let each = rows / TICKERS;
    let (mut tickers, mut times) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for ticker in 0..TICKERS {
        let mut time = 1_262_304_000_000_000;
        let step = 300_000_000_000_000 / each as i64;
        for _ in 0..each {
            time += random.random_range(1..2 * step);
            tickers.push(format!("T{ticker:04}"));
            times.push(time);
        }
    }
    let values = (0..rows).map(|_| f64::from(random.random_range(1..1_000_u32)) / 8.0);
    let columns: [(&str, ArrayRef); 3] = [
        ("ticker", Arc::new(StringViewArray::from_iter_values(tickers))),
        ("known_at", Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))),
        (value, Arc::new(Float64Array::from_iter_values(values))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

fn write(path: &Path, batch: &RecordBatch) {
    let file = File::create(path).expect("a temporary file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a schema of Parquet");
    writer.write(batch).expect("space on the disk");
    writer.close().expect("space on the disk");
}

/// The closes of a snapshot as the peers read them.
async fn closes(snapshot: &Snapshot, data: &Path) -> RecordBatch {
    let batches = SnapshotStore::local(data).batches(snapshot.manifest()).await;
    let bars = batches.expect("the files of the snapshot").remove(&Kind::Bars).expect("bars");
    let sessions = column(&bars, "session");
    let days = sessions.as_primitive::<Date32Type>().values().iter().map(|day| i64::from(*day));
    let columns = [
        ("ticker", column(&bars, "ticker")),
        ("session", Arc::new(Int64Array::from_iter_values(days)) as ArrayRef),
        ("close", column(&bars, "close")),
    ];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

/// Prints how long reads take: the first of a snapshot that is not in memory, and then
/// those of random names and dates; of features alone, and with the texts of a thesis.
fn reads(runtime: &tokio::runtime::Runtime, data: &Path) {
    let begin = Instant::now();
    let snapshot = runtime.block_on(Snapshot::open_current(data)).expect("it opened before");
    let opened = begin.elapsed();
    let cited: Vec<String> = snapshot.features().iter().map(|info| info.name.clone()).collect();
    let features = |ticker: &Ticker, as_of| {
        let values = runtime.block_on(snapshot.values(ticker, as_of, &cited));
        values.expect("a date of the ticker").len()
    };
    let all = |ticker: &Ticker, as_of| {
        let read = runtime.block_on(snapshot.read(ticker, as_of));
        read.expect("a date of the ticker").frame().len()
    };
    println!("reads of R20: {:.0} ms to open", ms(opened));
    time_reads(&snapshot, "features", features);
    time_reads(&snapshot, "features and texts", all);
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn time_reads(snapshot: &Snapshot, name: &str, read: impl Fn(&Ticker, AsOf) -> usize) {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut timed = || {
        let info = &snapshot.tickers()[random.random_range(0..snapshot.tickers().len())];
        let days = random.random_range(0..=(info.last - info.first).num_days());
        let as_of = AsOf::end_of(info.first + chrono::Duration::days(days));
        let begin = Instant::now();
        black_box(read(&info.ticker, as_of));
        begin.elapsed()
    };
    let first = timed();
    let mut times: Vec<Duration> = (0..READS).map(|_| timed()).collect();
    times.sort_unstable();
    let [median, p99, worst] = [READS / 2, READS * 99 / 100, READS - 1].map(|i| ms(times[i]));
    println!(
        "  {name:<18} first {:.1} ms; of {READS}: median {median:.1} ms, p99 {p99:.1} ms, worst {worst:.1} ms",
        ms(first)
    );
}

fn ours(
    runtime: &tokio::runtime::Runtime,
    snapshot: &Snapshot,
    prices: &RecordBatch,
    events: &RecordBatch,
) -> Found {
    let names = |kind: &str| WINDOWS.map(|window| format!("alpha_{kind}_{window}"));
    let options = PanelOptions {
        features: FEATURES.iter().flat_map(|kind| names(kind)).collect(),
        ..PanelOptions::default()
    };
    let config = LabelConfig::builtin().expect("the built-in configuration");
    let hidden = ProgressBar::hidden();
    let (features_s, (panel, labels)) = best(10, || {
        runtime.block_on(async {
            let panel = snapshot.panel(&options, &hidden).await.expect("features");
            let (labels, _) = snapshot.labels(&config).await.expect("labels");
            (panel, labels)
        })
    });
    let short = |name: &String| name.trim_start_matches("alpha_").to_owned();
    let mut features: BTreeMap<String, f64> =
        options.features.iter().map(|name| (short(name), total(&panel.batch, name))).collect();
    let labels = column(&labels, "label");
    let classes = domain::Label::ALL.map(|label| label.to_string());
    let class = |label: &str| classes.iter().position(|class| class == label).unwrap_or(0) as f64;
    features.insert("label".to_owned(), labels.as_string_view().iter().flatten().map(class).sum());
    let (join_s, joined) =
        best(3, || as_of_join(prices, events, "ticker", None).expect("rows in order"));
    let values = column(&joined, "value");
    let join = [total(&joined, "value"), (values.len() - values.null_count()) as f64];
    Found { version: env!("CARGO_PKG_VERSION").to_owned(), features_s, features, join_s, join }
}

fn peer(python: &Path, name: &str, directory: &Path) -> Found {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers.py");
    let output = Command::new(python).args([script, name]).arg(directory).output();
    let output = output.expect("R2R_PEERS_PYTHON runs");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let number = |value: &Value| value.as_f64().expect("a number");
    let sums = found["features"].as_object().expect("sums");
    Found {
        version: found["version"].as_str().expect("a version").to_owned(),
        features_s: number(&found["features_s"]),
        features: sums.iter().map(|(name, sum)| (name.clone(), number(sum))).collect(),
        join_s: number(&found["join_s"]),
        join: [number(&found["join"][0]), number(&found["join"][1])],
    }
}

/// Returns what two systems found differently.
fn difference(ours: &Found, theirs: &Found) -> Option<String> {
    let is_near = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * a.abs().max(1.0);
    if ours.features.len() != theirs.features.len() {
        return Some(format!("{} sums against {}", ours.features.len(), theirs.features.len()));
    }
    for (name, ours) in &ours.features {
        let theirs = theirs.features.get(name).copied().unwrap_or(f64::NAN);
        if !is_near(*ours, theirs) {
            return Some(format!("{name}: {ours} against {theirs}"));
        }
    }
    let pairs = ours.join.iter().zip(theirs.join);
    let (ours, theirs) = pairs.into_iter().find(|(ours, theirs)| !is_near(**ours, *theirs))?;
    Some(format!("join: {ours} against {theirs}"))
}

fn main() -> ExitCode {
    // `cargo test --benches` builds and runs every bench.
    if !env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let data = env::var_os("R2R_DATA_DIR").map_or_else(|| "../../data".into(), PathBuf::from);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let snapshot = runtime.block_on(Snapshot::open_current(&data));
    let snapshot = snapshot.expect("a snapshot, which `r2r data build` makes");
    reads(&runtime, &data);
    let (prices, events) = (random_rows(PRICES, "price", 1), random_rows(EVENTS, "value", 2));
    let ours = ours(&runtime, &snapshot, &prices, &events);
    println!("{:<8} {:<10} {:>18} {:>18}", "", "version", "labels, features", "as-of join");
    let line = |name: &str, found: &Found| {
        println!(
            "{name:<8} {:<10} {:>15.0} ms {:>15.0} ms",
            found.version,
            found.features_s * 1e3,
            found.join_s * 1e3
        );
    };
    line("r2r", &ours);
    let Some(python) = env::var_os("R2R_PEERS_PYTHON").map(PathBuf::from) else {
        return ExitCode::SUCCESS;
    };
    let directory = TempDir::new().expect("a temporary directory");
    write(&directory.path().join("closes.parquet"), &runtime.block_on(closes(&snapshot, &data)));
    write(&directory.path().join("prices.parquet"), &prices);
    write(&directory.path().join("events.parquet"), &events);
    let (mut fastest, mut differ) = ([f64::INFINITY; 2], false);
    for name in PEERS {
        let found = peer(&python, name, directory.path());
        line(name, &found);
        fastest = [fastest[0].min(found.features_s), fastest[1].min(found.join_s)];
        if let Some(difference) = difference(&ours, &found) {
            println!("{name} finds something else: {difference}");
            differ = true;
        }
    }
    println!(
        "{:<8} {:<10} {:>17.1}x {:>17.1}x",
        "ratio",
        "to fastest",
        fastest[0] / ours.features_s,
        fastest[1] / ours.join_s
    );
    if differ { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
