//! Tokens a second and memory of gradients against candle, on the same weights, tokens and
//! loss, in one run: `cargo bench -p gradients --features candle --bench candle`.
//!
//! Each figure is a process of its own, so that its peak memory is its own; rounds of all
//! alternate. Fails where the losses differ.

#![allow(clippy::print_stdout, reason = "a bench talks to its terminal")]

mod peer;

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use gradients::{
    AdapterConfig, Batch, Engine, EngineConfig, Model, RandomWeights, Target, Weights,
    ggml::{Device, DeviceKind, Kind},
    smollm2_135m,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

const LENGTHS: [usize; 2] = [256, 1_024];
const ROUNDS: usize = 3;
/// Least time of passes a round, after the first pass, which allocates.
const SECONDS: f64 = 10.0;
const RANK: usize = 8;
const ALPHA: f32 = 16.0;
const LOSS_TOLERANCE: f64 = 1e-3;

/// What is measured.
const SIDES: [&str; 4] = ["candle f32", "r2r f32", "r2r bf16", "r2r bf16 checkpointed"];

#[derive(Debug, Serialize, Deserialize)]
struct Found {
    tokens_per_second: f64,
    loss: f64,
    peak_mb: f64,
}

/// Random tokens, each the target of the one before.
struct Text {
    tokens: Vec<u32>,
    targets: Vec<u32>,
}

impl Text {
    fn new(length: usize, vocabulary: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let vocabulary = u32::try_from(vocabulary).unwrap_or(u32::MAX);
        let drawn: Vec<u32> = (0..=length).map(|_| random.next_u32() % vocabulary).collect();
        Self { tokens: drawn[..length].to_vec(), targets: drawn[1..].to_vec() }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let result = match &arguments[..] {
        [side, length, base] if SIDES.contains(&side.as_str()) => child(side, length, base),
        _ => compare(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<()> {
    let directory = TempDir::new()?;
    let base = |kind: Kind| directory.path().join(format!("{kind:?}.gguf"));
    for kind in [Kind::F32, Kind::BF16] {
        RandomWeights { shape: smollm2_135m(), kind, seed: 1 }.write_gguf(&base(kind))?;
    }
    println!(
        "gradients of SmolLM2-135M, rank {RANK} on 7 matrices, loss at every token; medians of {ROUNDS}"
    );
    for length in LENGTHS {
        let mut found: BTreeMap<&str, Vec<Found>> = BTreeMap::new();
        for _ in 0..ROUNDS {
            for side in SIDES {
                let kind = if side.contains("bf16") { Kind::BF16 } else { Kind::F32 };
                found.entry(side).or_default().push(measured(side, length, &base(kind))?);
            }
        }
        report(length, &found)?;
    }
    Ok(())
}

/// Measures one side in a process of its own.
fn measured(side: &str, length: usize, base: &Path) -> Result<Found> {
    let mut command = Command::new(env::current_exe()?);
    let output = command.arg(side).arg(length.to_string()).arg(base).output()?;
    let error = || format!("{side}: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), error());
    serde_json::from_slice(&output.stdout).with_context(error)
}

fn report(length: usize, found: &BTreeMap<&str, Vec<Found>>) -> Result<()> {
    let median = |side: &str, of: fn(&Found) -> f64| {
        let mut values: Vec<f64> = found[side].iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let peer = median(SIDES[0], |found| found.tokens_per_second);
    let loss = found[SIDES[0]][0].loss;
    println!("T = {length}");
    for side in SIDES {
        let speed = median(side, |found| found.tokens_per_second);
        let peak = median(side, |found| found.peak_mb);
        println!("  {side:<22} {speed:7.1} tokens/s ({:.2}x)  peak {peak:5.0} MB", speed / peer);
        for found in &found[side] {
            let difference = (found.loss - loss).abs() / loss;
            ensure!(difference < LOSS_TOLERANCE, "{side}: a loss of {}, not {loss}", found.loss);
        }
    }
    Ok(())
}

fn child(side: &str, length: &str, base: &str) -> Result<()> {
    let text = Text::new(length.parse()?, smollm2_135m().vocabulary);
    let base = Path::new(base);
    let found = if side.starts_with("candle") {
        let model = peer::Model::load(base, smollm2_135m(), RANK, ALPHA)?;
        timed(text.tokens.len(), || model.gradients(&text))?
    } else {
        let mut engine = engine(base, side.ends_with("checkpointed"))?;
        let batch = batch(&text)?;
        timed(text.tokens.len(), || {
            let outcome = engine.accumulate(&batch)?;
            engine.model().adapter().gradients();
            Ok(outcome.loss(&batch))
        })?
    };
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

fn engine(base: &Path, is_checkpointed: bool) -> Result<Engine> {
    let threads = std::thread::available_parallelism()?.get();
    let device = Device::first(DeviceKind::Cpu)?;
    let config = AdapterConfig { rank: RANK, alpha: ALPHA, seed: 2 };
    // With transposed matrices beside them, as the trainer has it.
    let model = Model::load(&device.open(threads)?, &Weights::open(base)?, config, true)?;
    Ok(Engine::new(model, EngineConfig { is_checkpointed, head_rows: 256 })?)
}

fn batch(text: &Text) -> Result<Batch> {
    let mut batch = Batch::default();
    let segment = batch.segment(None, &text.tokens)?;
    #[allow(clippy::cast_precision_loss, reason = "few tokens")]
    let weight = 1.0 / text.tokens.len() as f32;
    for (i, &token) in text.targets.iter().enumerate() {
        batch.target(segment, i, Target { token, weight, entropy: 0.0, allowed: None })?;
    }
    Ok(batch)
}

/// Repeats passes for some seconds.
fn timed(tokens: usize, mut pass: impl FnMut() -> Result<f64>) -> Result<Found> {
    let loss = pass()?;
    let (started, mut passes) = (Instant::now(), 0);
    while started.elapsed().as_secs_f64() < SECONDS {
        pass()?;
        passes += 1;
    }
    #[allow(clippy::cast_precision_loss, reason = "few tokens")]
    let tokens_per_second = (passes * tokens) as f64 / started.elapsed().as_secs_f64();
    Ok(Found { tokens_per_second, loss, peak_mb: peak_mb()? })
}

/// Returns the most memory this process has had resident.
fn peak_mb() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmHWM")?;
    Ok(kib.parse::<f64>()? / 1e3)
}
