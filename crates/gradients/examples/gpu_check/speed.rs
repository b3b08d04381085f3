//! Tokens a second of gradients, over random weights of real shapes.

use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;
use gradients::{
    AdapterConfig, Batch, Engine, EngineConfig, Model, RandomWeights, Target, Weights,
    ggml::{Device, Kind},
    qwen3_4b, smollm2_135m,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use serde_json::json;

use crate::Report;

/// Shapes that are measured.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Scale {
    /// SmolLM2-135M, rank 8.
    #[value(name = "135m")]
    Small,
    /// Qwen3-4B, rank 16.
    #[value(name = "4b")]
    Large,
}

/// Bytes in a GiB.
const GIB: f64 = 1_073_741_824.0;

pub(crate) fn run(
    report: &mut Report,
    device: Device,
    threads: usize,
    scale: Scale,
    seconds: f64,
    lengths: &[usize],
) -> Result<()> {
    let (name, shape, rank) = match scale {
        Scale::Small => ("speed 135m", smollm2_135m(), 8),
        Scale::Large => ("speed 4b", qwen3_4b(), 16),
    };
    for is_unpacked in [true, false] {
        let weights = RandomWeights { shape, kind: Kind::BF16, seed: 1 };
        let backend = device.open(threads)?;
        let started = Instant::now();
        let config = AdapterConfig { rank, alpha: 16.0, seed: 2 };
        let mut model = Model::load(&backend, &Weights::Random(weights), config, is_unpacked)?;
        let load_seconds = started.elapsed().as_secs_f64();
        for is_checkpointed in [true, false] {
            let config = EngineConfig { is_checkpointed, head_rows: 256 };
            let mut engine = Engine::new(model, config)?;
            for &tokens in lengths {
                let found = measure(&mut engine, tokens, shape.vocabulary, seconds);
                let (free, total) = device.memory();
                #[allow(clippy::cast_precision_loss, reason = "shown with few digits")]
                let gib = |bytes: usize| bytes as f64 / GIB;
                let mut case = json!({
                    "tokens": tokens,
                    "targets": tokens / 4,
                    "rank": rank,
                    "kind": "bf16",
                    "unpacked": is_unpacked,
                    "checkpointed": is_checkpointed,
                    "load_seconds": load_seconds,
                    "scratch_gib": gib(engine.scratch_bytes()),
                    "device_gib_used": gib(total - free),
                });
                match found {
                    Ok((passes, rate)) => {
                        case["passes"] = json!(passes);
                        case["tokens_per_second"] = json!(rate);
                    }
                    Err(error) => case["error"] = json!(format!("{error:#}")),
                }
                report.add(name, case)?;
            }
            model = engine.into_model();
        }
    }
    Ok(())
}

/// Returns the passes that were timed, and tokens a second over them. A quarter of
/// the tokens has a target, as the free tokens of a thesis.
fn measure(
    engine: &mut Engine,
    tokens: usize,
    vocabulary: usize,
    seconds: f64,
) -> Result<(usize, f64)> {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut draw = || random.next_u32() % u32::try_from(vocabulary).unwrap_or(1);
    let mut batch = Batch::default();
    let segment = batch.segment(None, &(0..tokens).map(|_| draw()).collect::<Vec<_>>())?;
    for i in tokens - tokens / 4..tokens {
        #[allow(clippy::cast_precision_loss, reason = "few tokens")]
        let weight = 4.0 / tokens as f32;
        let target = Target { token: draw(), weight, entropy: 0.0, allowed: None };
        batch.target(segment, i, target)?;
    }
    // The first pass allocates.
    engine.accumulate(&batch)?;
    let started = Instant::now();
    let mut passes = 0;
    loop {
        engine.accumulate(&batch)?;
        // Reading waits for the device.
        engine.model().adapter().gradients();
        passes += 1;
        let elapsed = started.elapsed().as_secs_f64();
        if elapsed >= seconds {
            #[allow(clippy::cast_precision_loss, reason = "few passes")]
            return Ok((passes, (passes * tokens) as f64 / elapsed));
        }
    }
}
