//! Gradients of a device against those of the CPU.

use anyhow::Result;
use gradients::{
    AdapterConfig, AllowedTokens, Architecture, Batch, Engine, EngineConfig, Model, RandomWeights,
    Shape, Target, Weights,
    ggml::{Device, DeviceKind, Kind},
    smollm2_135m,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use serde_json::{Value, json};

use crate::Report;

/// Relative error of the gradient a device may have. CUDA and the CPU round activations
/// in their own ways before they multiply quantised weights; where blocks have a minimum
/// beside their scale, or are K-quants, that is twice as much (measured 4e-2 to 6.6e-2).
fn tolerance(kind: Kind) -> f64 {
    match kind.name().as_str() {
        "f32" => 1e-3,
        "f16" | "bf16" | "q8_0" | "q5_0" | "q4_0" => 3e-2,
        _ => 8e-2,
    }
}

/// Two layers in which every row is whole blocks of every format.
fn small(architecture: Architecture) -> Shape {
    Shape {
        architecture,
        layers: 2,
        width: 256,
        heads: 4,
        kv_heads: 2,
        head: 64,
        feed_forward: 512,
        vocabulary: 1_024,
        is_tied: architecture == Architecture::Llama,
        epsilon: 1e-5,
        rope_base: 10_000.0,
    }
}

/// One way to compute a gradient.
#[derive(Clone, Copy)]
struct Case {
    shape: Shape,
    kind: Kind,
    is_unpacked: bool,
    is_checkpointed: bool,
    tokens: usize,
}

pub(crate) fn run(report: &mut Report, device: Device, threads: usize, full: bool) -> Result<()> {
    let mut cases = Vec::new();
    for architecture in Architecture::ALL {
        for kind in Kind::WEIGHTS {
            for (is_unpacked, is_checkpointed) in [(false, true), (true, false)] {
                let shape = small(architecture);
                cases.push(Case { shape, kind, is_unpacked, is_checkpointed, tokens: 96 });
            }
        }
    }
    if full {
        for kind in [Kind::F32, Kind::BF16] {
            let shape = smollm2_135m();
            let is_unpacked = true;
            cases.push(Case { shape, kind, is_unpacked, is_checkpointed: true, tokens: 256 });
        }
    }
    for case in cases {
        let found = compare(case, device, threads);
        let found = found.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        report.add("parity", describe(case, found))?;
    }
    Ok(())
}

fn describe(case: Case, mut found: Value) -> Value {
    found["architecture"] = json!(case.shape.architecture.name());
    found["layers"] = json!(case.shape.layers);
    found["kind"] = json!(case.kind.name());
    found["unpacked"] = json!(case.is_unpacked);
    found["checkpointed"] = json!(case.is_checkpointed);
    found["tokens"] = json!(case.tokens);
    found
}

fn compare(case: Case, device: Device, threads: usize) -> Result<Value> {
    let batch = batch(case.tokens, case.shape.vocabulary)?;
    let mut cpu = engine(case, Device::first(DeviceKind::Cpu)?, threads)?;
    let expected = cpu.accumulate(&batch)?;
    let mut under_test = engine(case, device, threads)?;
    let found = under_test.accumulate(&batch)?;
    let gradient = under_test.model().adapter().gradients();
    let error = relative_error(&gradient, &cpu.model().adapter().gradients());
    under_test.model().adapter().clear_gradients();
    under_test.accumulate(&batch)?;
    let repeats = under_test.model().adapter().gradients() == gradient;
    let differences = found.log_probs.iter().zip(&expected.log_probs).map(|(a, b)| (a - b).abs());
    let n = expected.log_probs.len();
    #[allow(clippy::cast_precision_loss, reason = "few targets")]
    let mean = f64::from(differences.sum::<f32>()) / n as f64;
    let tolerance = tolerance(case.kind);
    Ok(json!({
        "gradient_error": error,
        "tolerance": tolerance,
        "ok": error <= tolerance,
        "log_prob_error_mean": mean,
        "same_bits_when_repeated": repeats,
        "loss": [expected.loss(&batch), found.loss(&batch)],
        "operations": under_test.census(),
    }))
}

fn engine(case: Case, device: Device, threads: usize) -> Result<Engine> {
    let backend = device.open(threads)?;
    let weights = RandomWeights { shape: case.shape, kind: case.kind, seed: 1 };
    let config = AdapterConfig { rank: 8, alpha: 16.0, seed: 2 };
    let model = Model::load(&backend, &Weights::Random(weights), config, case.is_unpacked)?;
    // B is zero in a new adapter, and with it the gradient of A.
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let values = model.adapter().values();
    let mut move_a_little = |value: &f32| {
        #[allow(clippy::cast_precision_loss, reason = "a random number")]
        let step = random.next_u32() as f32 / u32::MAX as f32 - 0.5;
        value + 0.05 * step
    };
    model.adapter().set_values(&values.iter().map(&mut move_a_little).collect::<Vec<_>>());
    let Case { is_checkpointed, .. } = case;
    Ok(Engine::new(model, EngineConfig { is_checkpointed, head_rows: 32 })?)
}

/// A prompt of half the tokens and two completions; one in three targets is
/// restricted, one in two has an entropy bonus.
fn batch(tokens: usize, vocabulary: usize) -> Result<Batch> {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let mut draw = |n: usize| -> Vec<u32> {
        (0..n).map(|_| random.next_u32() % u32::try_from(vocabulary).unwrap_or(1)).collect()
    };
    let mut batch = Batch::default();
    let prompt = batch.segment(None, &draw(tokens / 2))?;
    for sign in [1.0, -1.0] {
        let segment = batch.segment(Some(prompt), &draw(tokens / 4))?;
        for i in 0..tokens / 4 {
            let choice = draw(12);
            #[allow(clippy::cast_precision_loss, reason = "few tokens")]
            let weight = sign / (tokens / 4) as f32;
            let target = Target {
                token: choice[0],
                weight,
                entropy: if i % 2 == 0 { 0.1 * weight } else { 0.0 },
                allowed: (i % 3 == 0).then(|| AllowedTokens::from_tokens(&choice)),
            };
            batch.target(segment, i, target)?;
        }
    }
    Ok(batch)
}

fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (difference / b.iter().map(|&b| square(b)).sum::<f64>()).sqrt()
}
