//! Gradients against finite differences, and against a reference in 64 bits.

mod finite;
mod hooks;
mod passes;
mod session;
mod torch;

use std::rc::Rc;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use crate::{
    AdapterConfig, AllowedTokens, Architecture, Batch, Engine, EngineConfig, Model, RandomWeights,
    Target, Weights,
    ggml::{Backend, Device, DeviceKind, Kind},
    tiny,
};

fn cpu() -> Rc<Backend> {
    Device::first(DeviceKind::Cpu).unwrap().open(1).unwrap()
}

/// Numbers in -1..1.
fn uniform(seed: u64, n: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| (random.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0).collect()
}

fn tiny_weights(architecture: Architecture, kind: Kind) -> RandomWeights {
    RandomWeights { shape: tiny(architecture), kind, seed: 11 }
}

/// A tiny model whose adapter is not zero anywhere.
fn tiny_model(backend: &Rc<Backend>, weights: RandomWeights, is_unpacked: bool) -> Model {
    let config = AdapterConfig { rank: 4, alpha: 8.0, seed: 3 };
    let model = Model::load(backend, &Weights::Random(weights), config, is_unpacked).unwrap();
    let values: Vec<f32> = uniform(5, model.adapter().len()).iter().map(|x| 0.2 * x).collect();
    model.adapter().set_values(&values);
    model
}

fn tiny_engine(architecture: Architecture, kind: Kind, config: Passes) -> Engine {
    let model = tiny_model(&cpu(), tiny_weights(architecture, kind), config.is_unpacked);
    let Passes { is_checkpointed, head_rows, .. } = config;
    Engine::new(model, EngineConfig { is_checkpointed, head_rows }).unwrap()
}

/// The ways of computing a pass that must not change what it computes.
#[derive(Debug, Clone, Copy)]
struct Passes {
    is_checkpointed: bool,
    is_unpacked: bool,
    head_rows: usize,
}

const PASSES: Passes = Passes { is_checkpointed: true, is_unpacked: false, head_rows: 8 };

/// A prompt with two completions, one of which branches again, and a second
/// prompt; targets of both signs, some with an entropy bonus, some restricted.
fn tree() -> Batch {
    let mut random = ChaCha8Rng::seed_from_u64(17);
    let mut token = || random.next_u32() % 320;
    let mut draw = |n: usize| (0..n).map(|_| token()).collect::<Vec<_>>();
    let mut batch = Batch::default();
    let prompt = batch.segment(None, &draw(12)).unwrap();
    let first = batch.segment(Some(prompt), &draw(9)).unwrap();
    let second = batch.segment(Some(prompt), &draw(7)).unwrap();
    let branch = batch.segment(Some(second), &draw(5)).unwrap();
    let other = batch.segment(None, &draw(6)).unwrap();
    let parts = [(prompt, 11, 1), (first, 0, 9), (second, 2, 5), (branch, 0, 5), (other, 1, 4)];
    for (part, (segment, start, n)) in parts.into_iter().enumerate() {
        for i in 0..n {
            let tokens = draw(6);
            let target = Target {
                token: tokens[0],
                weight: [0.7, -0.3, 0.1, 0.0][i % 4],
                entropy: if part == 1 || part == 4 { 0.05 } else { 0.0 },
                allowed: (part % 2 == 1).then(|| AllowedTokens::from_tokens(&tokens)),
            };
            batch.target(segment, start + i, target).unwrap();
        }
    }
    batch
}

/// `|a - b| / |b|` in the Euclidean norm.
fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(a - b))).sum();
    let norm: f64 = b.iter().map(|&b| square(f64::from(b))).sum();
    (difference / norm.max(1e-60)).sqrt()
}
