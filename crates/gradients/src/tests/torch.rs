//! Gradients against those of an independent implementation in 64 bits:
//! `tests/torch_reference.py`, whose results are in `tests/reference/`.
//!
//! To make them anew: `cargo test --release -p gradients -- --ignored write_inputs`,
//! then run the script on the directory that prints.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use super::{PASSES, Passes, relative_error, tiny_engine, tiny_weights, tree};
use crate::{AdapterFile, Architecture, Batch, ggml::Kind};

/// What the script found: loss, log-probabilities, entropies, gradients.
struct Reference {
    loss: f32,
    log_probs: Vec<f32>,
    entropies: Vec<f32>,
    gradients: Vec<f32>,
}

fn reference(architecture: Architecture, targets: usize) -> Reference {
    let name = format!("tests/reference/{}.f32", architecture.name());
    let bytes = fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
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
        let batch = tree();
        let expected = reference(architecture, batch.targets.len());
        let mut engine = tiny_engine(architecture, kind, passes);
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
            println!("{architecture:?} {kind:?} {passes:?} {name}: {error:.2e}");
            assert!(error <= tolerance, "{architecture:?} {kind:?} {name}: {error}");
        }
    }
}

#[test]
fn gradients_agree_with_torch_in_64_bits() {
    check(Kind::F32, PASSES, 1e-4);
    check(Kind::F32, Passes { is_transposed: true, is_checkpointed: false, ..PASSES }, 1e-4);
}

#[test]
fn gradients_over_bf16_agree_with_torch_in_64_bits() {
    check(Kind::BF16, PASSES, 3e-2);
    check(Kind::BF16, Passes { is_transposed: true, ..PASSES }, 3e-2);
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

fn to_json(batch: &Batch) -> Value {
    let n = batch.len();
    let mask = batch.mask();
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
