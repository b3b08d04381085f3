//! `make bench FILTER=soak`: ten thousand theses (`SOAK_THESES`), of which some
//! have a budget of a few tokens, some are given up by their caller and some have
//! deadlines from 1 ms to 1.6 s. Fails on an answer that is not valid, a claim that
//! is not verified, a request that is not answered as it must be, a lane that is
//! not free at the end, another answer than at the beginning, or memory of the
//! worker that grew by 2 % after the first tenth.

#![allow(clippy::print_stdout, reason = "a bench talks to its terminal")]

use std::{
    env,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use benches::{PATIENT, engine_config, reads, request};
use contract::{Schema, Thesis, VerdictKind};
use domain::AsOfRead;
use futures::{StreamExt as _, stream};
use inference::{GenerationRequest, InferenceError, Priority, WriteError, WriteRequest, Writer};
use tokio::time::{sleep, timeout};

/// Requests at the same time.
const CLIENTS: usize = 4;
const DEADLINES_MS: [u64; 8] = [1, 5, 20, 80, 200, 400, 800, 1_600];
const GROWTH_MAX: f64 = 1.02;

/// How many requests ended how.
#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    unfinished: AtomicU64,
    cancelled: AtomicU64,
    late: AtomicU64,
    wrong: AtomicU64,
}

struct Soak {
    writer: Writer,
    schema: Schema,
    reads: Vec<AsOfRead>,
    counts: Counts,
}

impl Soak {
    /// Sends the request of this number and judges its answer.
    async fn step(&self, i: u64) {
        let read = &self.reads[(i * 7 % self.reads.len() as u64) as usize];
        let counts = &self.counts;
        match i % 10 {
            0..6 => match self.write(read, i, PATIENT).await {
                Ok(thesis) => self.judge(i, &thesis),
                Err(error) => self.wrong(i, &error.to_string()),
            },
            6 => match self.writer.engine().generate(tiny(read, i)).await {
                Err(InferenceError::Unfinished { .. }) => add(&counts.unfinished),
                other => self.wrong(i, &format!("a budget of a few tokens gave {other:?}")),
            },
            7 | 8 => {
                let patience = Duration::from_millis(i * 37 % 900);
                match timeout(patience, self.write(read, i, PATIENT)).await {
                    Err(_) => add(&counts.cancelled),
                    Ok(Ok(thesis)) => self.judge(i, &thesis),
                    Ok(Err(error)) => self.wrong(i, &error.to_string()),
                }
            }
            _ => {
                let deadline = DEADLINES_MS[(i / 10 % 8) as usize];
                match self.write(read, i, Duration::from_millis(deadline)).await {
                    Err(WriteError::Inference(InferenceError::DeadlineExceeded)) => {
                        add(&counts.late);
                    }
                    Ok(thesis) => self.judge(i, &thesis),
                    Err(error) => self.wrong(i, &error.to_string()),
                }
            }
        }
    }

    async fn write(
        &self,
        read: &AsOfRead,
        seed: u64,
        timeout: Duration,
    ) -> Result<Thesis, WriteError> {
        let admission = self.writer.engine().admit(Priority::Batch)?;
        let ask = WriteRequest { seed, admission, timeout, claims: None };
        self.writer.write(read, ask).await
    }

    fn judge(&self, i: u64, thesis: &Thesis) {
        add(&self.counts.answered);
        let value = serde_json::to_value(thesis).expect("a thesis is JSON");
        if let Err(error) = self.schema.validate(&value) {
            self.wrong(i, &error.to_string());
        }
        if thesis.verification.iter().any(|verdict| verdict.verdict == VerdictKind::Withheld) {
            self.wrong(i, "a claim is withheld");
        }
    }

    fn wrong(&self, i: u64, what: &str) {
        add(&self.counts.wrong);
        println!("request {i}: {what}");
    }

    /// Resident memory of the worker in bytes, without pages of files.
    fn memory(&self) -> f64 {
        let pid = self.writer.engine().status().worker_pid.expect("a worker");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("its memory");
        kib.parse::<f64>().expect("a number") * 1024.0
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A request whose claims cannot end.
fn tiny(read: &AsOfRead, i: u64) -> GenerationRequest {
    GenerationRequest { max_tokens: 1 + (i / 10 % 2) as u32, ..request(read, i) }
}

async fn run(theses: u64) -> bool {
    let writer =
        Writer::start(engine_config(), Writer::DEFAULT_SAMPLING).await.expect("the engine starts");
    let soak = Soak {
        writer,
        schema: Schema::compile().expect("the schema compiles"),
        reads: tokio::task::spawn_blocking(|| reads(100)).await.expect("reads"),
        counts: Counts::default(),
    };
    let started = Instant::now();
    let first = soak.write(&soak.reads[0], 1, PATIENT).await.expect("a thesis");
    let tenths = theses.div_ceil(10);
    let mut warm = f64::INFINITY;
    for tenth in 0..10 {
        let numbers = stream::iter(tenth * tenths..(tenth + 1) * tenths);
        numbers.for_each_concurrent(CLIENTS, |i| soak.step(i)).await;
        let memory = soak.memory();
        if tenth == 0 {
            warm = memory;
        }
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &soak.counts;
        println!(
            "{:>6} requests, {:>5.0} s: {} answered, {} unfinished, {} given up, {} late, {} wrong; worker {:.1} MB",
            (tenth + 1) * tenths,
            started.elapsed().as_secs_f64(),
            get(&counts.answered),
            get(&counts.unfinished),
            get(&counts.cancelled),
            get(&counts.late),
            get(&counts.wrong),
            memory / 1e6,
        );
    }
    sleep(Duration::from_millis(500)).await;
    let status = soak.writer.engine().status();
    let last = soak.write(&soak.reads[0], 1, PATIENT).await.expect("a thesis");
    let growth = soak.memory() / warm;
    println!(
        "growth {growth:.4}, {} active, {} queued, {} restarts",
        status.active, status.queued, status.restarts
    );
    soak.writer.engine().shutdown().await;
    soak.counts.wrong.load(Ordering::Relaxed) == 0
        && last == first
        && growth < GROWTH_MAX
        && (status.active, status.queued, status.restarts) == (0, 0, 0)
}

fn main() -> ExitCode {
    // The engine starts this program again as its worker.
    let filter = env::args().skip(1).find(|arg| !arg.starts_with('-'));
    match filter.as_deref() {
        Some("worker") => return inference::worker::main(),
        // It takes an hour.
        Some("soak") => {}
        _ => return ExitCode::SUCCESS,
    }
    let theses = env::var("SOAK_THESES").map_or(Ok(10_000), |n| n.parse());
    let theses = theses.expect("SOAK_THESES is a number");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    if runtime.block_on(run(theses)) {
        println!("passed");
        ExitCode::SUCCESS
    } else {
        println!("FAILED");
        ExitCode::FAILURE
    }
}
