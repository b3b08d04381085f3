//! Each way back against central differences of the way forward.

use std::rc::Rc;

use super::{PASSES, cpu, relative_error, tiny_engine, tiny_model, tiny_weights, tree, uniform};
use crate::{
    Architecture, Batch, Target,
    block::Sight,
    ggml::{Backend, Graph, Kind, Memory, Rope, Scratch, Tensor},
    head::Head,
};

/// Differences of 32-bit results over this step carry about three digits.
const STEP: f32 = 1e-2;
const TOLERANCE: f64 = 5e-3;

fn device_tensor(backend: &Rc<Backend>, shape: &[usize], numbers: &[f32]) -> Tensor {
    let memory = Memory::new(backend, 1);
    let tensor = memory.tensor(Kind::F32, shape);
    memory.allocate().unwrap();
    tensor.write_f32(numbers);
    tensor
}

fn integers(backend: &Rc<Backend>, numbers: &[i32]) -> Tensor {
    let memory = Memory::new(backend, 1);
    let tensor = memory.tensor(Kind::I32, &[numbers.len()]);
    memory.allocate().unwrap();
    tensor.write_i32(numbers);
    tensor
}

fn compute(backend: &Rc<Backend>, build: impl FnOnce(&Graph) -> Tensor) -> Vec<f32> {
    let g = Graph::new(backend, 2_048);
    let result = build(&g);
    g.retain(&result);
    g.compute(&Scratch::new(backend)).unwrap();
    result.read_f32()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// The gradient of `value` by central differences.
fn differences(x: &[f32], mut value: impl FnMut(&[f32]) -> f64) -> Vec<f32> {
    let mut moved = x.to_vec();
    (0..x.len())
        .map(|i| {
            moved[i] = x[i] + STEP;
            let above = value(&moved);
            moved[i] = x[i] - STEP;
            let below = value(&moved);
            moved[i] = x[i];
            ((above - below) / (2.0 * f64::from(STEP))) as f32
        })
        .collect()
}

/// Checks an operation on `[a, b, c]` numbers against its way back.
fn check(
    name: &str,
    shape: [usize; 3],
    forward: impl Fn(&Graph, &Tensor) -> Tensor,
    backward: impl Fn(&Graph, &Tensor, &Tensor) -> Tensor,
) {
    let backend = cpu();
    let n = shape.iter().product();
    let numbers = uniform(1, n);
    let x = device_tensor(&backend, &shape, &numbers);
    let y = compute(&backend, |g| forward(g, &x));
    let weights = uniform(2, y.len());
    let result_shape = {
        let g = Graph::new(&backend, 64);
        forward(&g, &x).shape()
    };
    let dy = device_tensor(&backend, &result_shape[..3], &weights);
    let found = compute(&backend, |g| backward(g, &dy, &x));
    let expected = differences(&numbers, |moved| {
        x.write_f32(moved);
        dot(&compute(&backend, |g| forward(g, &x)), &weights)
    });
    let error = relative_error(&found, &expected);
    assert!(error < TOLERANCE, "{name}: {error}");
}

#[test]
fn operations_have_the_gradients_of_their_differences() {
    let backend = cpu();
    let shape = [16, 5, 3];
    check("rms_norm", shape, |g, x| g.rms_norm(x, 1e-5), |g, dy, x| g.rms_norm_back(dy, x, 1e-5));
    check("silu", shape, |g, x| g.silu(x), |g, dy, x| g.silu_back(dy, x));
    let up = device_tensor(&backend, &shape, &uniform(4, 240));
    check(
        "swiglu, its gate",
        shape,
        |g, x| g.swiglu(x, &up),
        |g, dy, x| g.silu_back(&g.mul(dy, &up), x),
    );
    check(
        "swiglu, its other factor",
        shape,
        |g, x| g.swiglu(&up, x),
        |g, dy, _| g.mul(dy, &g.silu(&up)),
    );
    let hidden: Vec<f32> =
        (0..80).map(|i| if i % 3 == 1 { f32::NEG_INFINITY } else { 0.0 }).collect();
    let mask = device_tensor(&backend, &[16, 5], &hidden);
    check(
        "soft_max",
        shape,
        |g, x| g.soft_max(x, Some(&mask), 0.7),
        |g, dy, x| g.soft_max_back(dy, &g.soft_max(x, Some(&mask), 0.7), 0.7),
    );
    let positions = integers(&backend, &[4, 900, 7]);
    for is_neox in [false, true] {
        let rope = Rope { dimensions: 16, base: 10_000.0, is_neox };
        check(
            "rope",
            shape,
            |g, x| g.rope(x, &positions, None, rope, false),
            |g, dy, _| g.rope(dy, &positions, None, rope, true),
        );
    }
}

#[test]
fn a_frozen_matrix_is_transposed_on_the_way_back() {
    for is_unpacked in [false, true] {
        for kind in [Kind::F32, Kind::BF16, Kind::Q8_0] {
            let weights = tiny_weights(Architecture::Llama, kind);
            let model = tiny_model(&cpu(), weights, is_unpacked);
            let linear = &model.blocks[0].down;
            let dy = device_tensor(&model.backend, &[64, 2], &uniform(3, 128));
            let found = compute(&model.backend, |g| linear.frozen.backward(g, &dy));
            let matrix = compute(&model.backend, |g| g.scale(&linear.frozen.dequantised(g), 1.0));
            let dy = uniform(3, 128);
            let expected: Vec<f32> = (0..2 * 96)
                .map(|i| {
                    let column: Vec<f32> = (0..64).map(|row| matrix[row * 96 + i % 96]).collect();
                    dot(&column, &dy[i / 96 * 64..][..64]) as f32
                })
                .collect();
            let error = relative_error(&found, &expected);
            // An unpacked copy in BF16 rounds its factors to 8 bits.
            let tolerance = if is_unpacked && kind != Kind::F32 { 1e-2 } else { 1e-6 };
            assert!(error < tolerance, "{kind:?}, unpacked: {is_unpacked}: {error}");
        }
    }
}

#[test]
fn a_target_of_the_adapter_has_the_gradients_of_its_differences() {
    let model = tiny_model(&cpu(), tiny_weights(Architecture::Llama, Kind::F32), false);
    let linear = &model.blocks[1].gate;
    let backend = &model.backend;
    let x = device_tensor(backend, &[64, 3], &uniform(6, 192));
    let weights = uniform(7, 96 * 3);
    let dy = device_tensor(backend, &[96, 3], &weights);
    let value = || dot(&compute(backend, |g| linear.forward(g, &x).0), &weights);
    let dx = compute(backend, |g| {
        let (_, u) = linear.forward(g, &x);
        linear.backward(g, &x, &u, &dy)
    });
    for (name, tensor, found) in [
        ("x", &x, dx),
        ("A", &linear.pair.a, linear.pair.grad_a.read_f32()),
        ("B", &linear.pair.b, linear.pair.grad_b.read_f32()),
    ] {
        let numbers = tensor.read_f32();
        let expected = differences(&numbers, |moved| {
            tensor.write_f32(moved);
            value()
        });
        tensor.write_f32(&numbers);
        let error = relative_error(&found, &expected);
        assert!(error < TOLERANCE, "{name}: {error}");
    }
}

#[test]
fn a_layer_has_the_gradient_of_its_differences() {
    for architecture in Architecture::ALL {
        let model = tiny_model(&cpu(), tiny_weights(architecture, Kind::F32), false);
        let (backend, shape, block) = (&model.backend, &model.shape, &model.blocks[1]);
        let batch = small_tree();
        let n = batch.len();
        let sight = Sight {
            positions: integers(backend, &batch.positions),
            mask: device_tensor(backend, &[n, n], &batch.mask(n)),
            rope_factors: None,
        };
        let numbers = uniform(8, 64 * n);
        let x = device_tensor(backend, &[64, n], &numbers);
        let weights = uniform(9, 64 * n);
        let dy = device_tensor(backend, &[64, n], &weights);
        let found = compute(backend, |g| {
            let (_, saved) = block.forward(g, shape, &x, &sight);
            block.backward(g, shape, &saved, &sight, &dy, false).unwrap()
        });
        let expected = differences(&numbers, |moved| {
            x.write_f32(moved);
            dot(&compute(backend, |g| block.forward(g, shape, &x, &sight).0), &weights)
        });
        let error = relative_error(&found, &expected);
        assert!(error < TOLERANCE, "{architecture:?}: {error}");
    }
}

/// A prompt of three tokens and two completions of two.
fn small_tree() -> Batch {
    let mut batch = Batch::default();
    let prompt = batch.segment(None, &[5, 6, 7]).unwrap();
    batch.segment(Some(prompt), &[8, 9]).unwrap();
    batch.segment(Some(prompt), &[10, 11]).unwrap();
    batch
}

#[test]
fn the_loss_has_the_gradient_of_its_differences() {
    let model = tiny_model(&cpu(), tiny_weights(Architecture::Qwen3, Kind::F32), false);
    let (backend, batch) = (&model.backend, tree());
    let n = batch.len();
    // Two rows a chunk: the last is not full.
    let mut head = Head::new(&model, 5).unwrap();
    let scratch = Scratch::new(backend);
    let numbers = uniform(10, 64 * n);
    let x = device_tensor(backend, &[64, n], &numbers);
    let dx = device_tensor(backend, &[64, n], &vec![0.0; 64 * n]);
    head.run(&model, &scratch, &batch, &x, Some(&dx)).unwrap();
    let found = dx.read_f32();
    let expected = differences(&numbers, |moved| {
        x.write_f32(moved);
        head.run(&model, &scratch, &batch, &x, None).unwrap().loss(&batch)
    });
    let error = relative_error(&found, &expected);
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn the_whole_gradient_is_that_of_a_step_along_it() {
    for architecture in Architecture::ALL {
        let mut engine = tiny_engine(architecture, Kind::F32, PASSES);
        let batch = tree();
        engine.accumulate(&batch).unwrap();
        let gradient = engine.model().adapter().gradients();
        let values = engine.model().adapter().values();
        let norm = dot(&gradient, &gradient).sqrt();
        let mut loss_at = |step: f64| {
            let moved: Vec<f32> = values
                .iter()
                .zip(&gradient)
                .map(|(&value, &slope)| value + (step * f64::from(slope) / norm) as f32)
                .collect();
            engine.model().adapter().set_values(&moved);
            engine.evaluate(&batch).unwrap().loss(&batch)
        };
        let step = 1e-2;
        let slope = (loss_at(step) - loss_at(-step)) / (2.0 * step);
        assert!((slope / norm - 1.0).abs() < 5e-3, "{architecture:?}: {slope} {norm}");
    }
}

#[test]
fn a_target_without_weight_moves_nothing() {
    let mut engine = tiny_engine(Architecture::Llama, Kind::F32, PASSES);
    let mut batch = Batch::default();
    let segment = batch.segment(None, &[1, 2, 3]).unwrap();
    let target = Target { token: 9, weight: 0.0, entropy: 0.0, allowed: None };
    batch.target(segment, 1, target).unwrap();
    let outcome = engine.accumulate(&batch).unwrap();
    assert_eq!(outcome.log_probs.len(), 1);
    assert!(outcome.log_probs[0] < 0.0);
    assert!(engine.model().adapter().gradients().iter().all(|&slope| slope == 0.0));
}
