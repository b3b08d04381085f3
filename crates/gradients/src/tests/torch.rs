//! Gradients against those of an independent implementation in 64 bits:
//! `tests/torch_reference.py`, whose results are in `tests/reference/`.
//!
//! To make them anew: `cargo test --release -p gradients -- --ignored write_inputs`,
//! then run the script on the directory that prints. The same for a real base, a GGUF
//! file named by `R2R_BASE`: `-- --ignored write_inputs_of_a_real_base`, the script with
//! `reference.f32` in that directory as its output, then
//! `-- --ignored gradients_over_a_real_base_agree`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{PASSES, Passes, cpu, relative_error, tiny_engine, tiny_weights, tree, uniform};
use crate::{
    AdapterConfig, AdapterFile, Architecture, Batch, Engine, EngineConfig, Model, Weights,
    ggml::{GgufFile, GgufWriter, Kind},
};

/// What the script found: loss, log-probabilities, entropies, gradients.
struct Reference {
    loss: f32,
    log_probs: Vec<f32>,
    entropies: Vec<f32>,
    gradients: Vec<f32>,
}

fn committed(architecture: Architecture) -> PathBuf {
    let name = format!("tests/reference/{}.f32", architecture.name());
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn reference(path: &Path, targets: usize) -> Reference {
    let bytes = fs::read(path).unwrap();
    let mut numbers = Kind::F32.to_f32(&bytes, 1).into_iter();
    Reference {
        loss: numbers.next().unwrap(),
        log_probs: numbers.by_ref().take(targets).collect(),
        entropies: numbers.by_ref().take(targets).collect(),
        gradients: numbers.collect(),
    }
}

fn check(kind: Kind, passes: Passes, tolerance: f64) {
    for architecture in Architecture::ALL {
        let engine = tiny_engine(architecture, kind, passes);
        let what = format!("{architecture:?} {kind:?} {passes:?}");
        compare(&what, engine, &committed(architecture), tolerance);
    }
}

fn compare(what: &str, mut engine: Engine, path: &Path, tolerance: f64) {
    let batch = tree();
    let expected = reference(path, batch.targets.len());
    let outcome = engine.accumulate(&batch).unwrap();
    let loss = (outcome.loss(&batch) / f64::from(expected.loss) - 1.0).abs();
    let gradients = engine.model().adapter().gradients();
    let errors = [
        ("loss", loss),
        ("log-probabilities", relative_error(&outcome.log_probs, &expected.log_probs)),
        ("entropies", relative_error(&outcome.entropies, &expected.entropies)),
        ("gradients", relative_error(&gradients, &expected.gradients)),
    ];
    for (name, error) in errors {
        println!("{what} {name}: {error:.2e}");
        assert!(error <= tolerance, "{what} {name}: {error}");
    }
}

#[test]
fn gradients_agree_with_torch_in_64_bits() {
    check(Kind::F32, PASSES, 1e-4);
    check(Kind::F32, Passes { is_unpacked: true, is_checkpointed: false, ..PASSES }, 1e-4);
}

#[test]
fn gradients_over_bf16_agree_with_torch_in_64_bits() {
    check(Kind::BF16, PASSES, 3e-2);
    check(Kind::BF16, Passes { is_unpacked: true, ..PASSES }, 3e-2);
}

#[test]
#[ignore = "writes the inputs of the script"]
fn write_inputs() {
    for architecture in Architecture::ALL {
        let directory = std::env::temp_dir().join("r2r-reference").join(architecture.name());
        fs::create_dir_all(&directory).unwrap();
        tiny_weights(architecture, Kind::F32).write_gguf(&directory.join("base.gguf")).unwrap();
        let engine = tiny_engine(architecture, Kind::F32, PASSES);
        let adapter = AdapterFile::of(engine.model().adapter());
        adapter.write(&directory.join("adapter.gguf"), architecture).unwrap();
        fs::write(directory.join("batch.json"), to_json(&tree()).to_string()).unwrap();
        println!("{}", directory.display());
    }
}

fn real_directory() -> PathBuf {
    std::env::temp_dir().join("r2r-reference").join("real")
}

/// An engine over the file, with a small adapter that is not zero anywhere.
fn real_engine(base: &Path) -> Engine {
    let config = AdapterConfig { rank: 4, alpha: 8.0, seed: 3 };
    let model = Model::load(&cpu(), &Weights::open(base).unwrap(), config, false).unwrap();
    let values: Vec<f32> = uniform(5, model.adapter().len()).iter().map(|x| 0.02 * x).collect();
    model.adapter().set_values(&values);
    Engine::new(model, EngineConfig { is_checkpointed: true, head_rows: 8 }).unwrap()
}

#[test]
#[ignore = "writes the inputs of the script for the base in R2R_BASE"]
fn write_inputs_of_a_real_base() {
    let directory = real_directory();
    fs::create_dir_all(&directory).unwrap();
    let file = GgufFile::open(Path::new(&std::env::var("R2R_BASE").unwrap())).unwrap();
    // The same weights in 32 and in 16 bits, whatever the format of the file: those of
    // 32 bits are rounded to BF16 before.
    for (name, kind) in [("base.gguf", Kind::F32), ("base-bf16.gguf", Kind::BF16)] {
        let mut writer = GgufWriter::new(file.tensors().len());
        writer.copy_keys(&file);
        for tensor in file.tensors() {
            let mut bytes = vec![0; tensor.bytes];
            file.read(tensor, 0, &mut bytes).unwrap();
            let [row, rows] = tensor.shape;
            let (kind, bytes) = match rows {
                1 => (tensor.kind, bytes),
                _ => {
                    let rounded = Kind::BF16.from_f32(&tensor.kind.to_f32(&bytes, row), row);
                    (kind, kind.from_f32(&Kind::BF16.to_f32(&rounded, row), row))
                }
            };
            writer.tensor(&tensor.name, kind, tensor.shape, bytes);
        }
        writer.write(&directory.join(name)).unwrap();
    }
    let engine = real_engine(&directory.join("base.gguf"));
    let adapter = AdapterFile::of(engine.model().adapter());
    adapter.write(&directory.join("adapter.gguf"), engine.model().shape().architecture).unwrap();
    fs::write(directory.join("batch.json"), to_json(&tree()).to_string()).unwrap();
    println!("{}", directory.display());
}

#[test]
#[ignore = "reads what the script wrote for a real base"]
fn gradients_over_a_real_base_agree() {
    let path = |name: &str| real_directory().join(name);
    // Thirty layers over random tokens, far from any text, amplify what BF16 rounds more
    // than two do.
    for (name, tolerance) in [("base.gguf", 1e-4), ("base-bf16.gguf", 1e-1)] {
        compare(name, real_engine(&path(name)), &path("reference.f32"), tolerance);
    }
}

fn to_json(batch: &Batch) -> Value {
    let n = batch.len();
    let mask = batch.mask(n);
    let sees = |query: usize| (0..n).filter(|key| mask[query * n + key] == 0.0).collect::<Vec<_>>();
    let targets = batch.targets.iter().map(|(at, target)| {
        let allowed = target.allowed.as_ref();
        json!({
            "at": at,
            "token": target.token,
            "weight": target.weight,
            "entropy": target.entropy,
            "allowed": allowed.map(|set| (0..320).filter(|t| set.contains(*t)).collect::<Vec<_>>()),
        })
    });
    json!({
        "tokens": batch.tokens,
        "positions": batch.positions,
        "sees": (0..n).map(sees).collect::<Vec<_>>(),
        "targets": targets.collect::<Vec<_>>(),
    })
}
