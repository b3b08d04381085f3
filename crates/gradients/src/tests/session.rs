//! Training: it learns, and goes on from a checkpoint bit by bit.

use std::{fs, path::Path};

use super::{PASSES, tiny_engine};
use crate::{
    AdamWConfig, AdapterConfig, AdapterFile, Architecture, Batch, Engine, EngineConfig, Model,
    Session, Target, Weights,
    ggml::{GgufFile, Kind},
    merge,
    tests::{cpu, relative_error, tiny_model, tiny_weights},
    widen,
};

const CONFIG: AdamWConfig = AdamWConfig {
    learning_rate: 1e-2,
    final_share: 0.1,
    warmup_steps: 2,
    total_steps: 40,
    betas: [0.9, 0.999],
    epsilon: 1e-8,
    weight_decay: 0.01,
    gradient_norm_max: 1.0,
};

fn session(architecture: Architecture) -> Session {
    Session::new(tiny_engine(architecture, Kind::Q8_0, PASSES), CONFIG)
}

/// Example `i` of a corpus of four.
fn example(i: u32) -> Batch {
    let tokens: Vec<u32> = (0..12).map(|t| 40 * (i % 4) + 7 * t % 40).collect();
    let mut batch = Batch::default();
    let segment = batch.segment(None, &tokens[..11]).unwrap();
    for at in 3..11 {
        let token = tokens[at + 1];
        let target = Target { token, weight: 1.0 / 8.0, entropy: 0.0, allowed: None };
        batch.target(segment, at, target).unwrap();
    }
    batch
}

/// Takes steps `from..to` of two examples each, and returns the loss of the last.
fn train(session: &mut Session, from: u32, to: u32) -> f64 {
    let mut loss = 0.0;
    for step in from..to {
        loss = 0.0;
        for i in [2 * step, 2 * step + 1] {
            let batch = example(i);
            loss += session.accumulate(&batch).unwrap().loss(&batch);
        }
        session.step();
    }
    loss
}

#[test]
fn training_learns_a_small_corpus() {
    for architecture in Architecture::ALL {
        let mut session = session(architecture);
        let first = train(&mut session, 0, 1);
        let last = train(&mut session, 1, 40);
        assert!(last < 0.2 * first, "{architecture:?}: {first} to {last}");
    }
}

#[test]
fn a_run_that_resumes_has_the_bytes_of_one_that_never_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint");
    let mut whole = session(Architecture::Qwen3);
    train(&mut whole, 0, 9);
    whole.save(&path.with_extension("whole"), "9").unwrap();

    let mut before = session(Architecture::Qwen3);
    train(&mut before, 0, 4);
    before.save(&path, "position 4").unwrap();
    // What is lost in a crash: half a step.
    before.accumulate(&example(77)).unwrap();
    drop(before);
    let mut after = session(Architecture::Qwen3);
    assert_eq!(after.restore(&path).unwrap(), "position 4");
    assert_eq!(after.steps(), 4);
    train(&mut after, 4, 9);
    after.save(&path, "9").unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(path.with_extension("whole")).unwrap());
    let left = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 2, "no temporary file is left");
}

#[test]
fn what_is_not_a_checkpoint_of_this_run_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint");
    let refused = |session: &mut Session, part: &str| {
        let message = session.restore(&path).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    let mut llama = session(Architecture::Llama);
    refused(&mut llama, "cannot be read");
    session(Architecture::Qwen3).save(&path, "").unwrap();
    refused(&mut llama, "adapter is [");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    refused(&mut llama, "checkpoint");
}

#[test]
fn a_merged_base_computes_what_base_and_adapter_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for architecture in Architecture::ALL {
        let weights = tiny_weights(architecture, Kind::F32);
        weights.write_gguf(&path("base.gguf")).unwrap();
        let model = tiny_model(&cpu(), weights, false);
        let adapter = AdapterFile::of(model.adapter());
        adapter.write(&path("adapter.gguf"), architecture).unwrap();
        let adapter = AdapterFile::read(&path("adapter.gguf")).unwrap();
        assert_eq!(adapter, AdapterFile::of(model.adapter()));
        let expected = log_probs(model);
        for (kind, tolerance) in [(Kind::F32, 1e-6), (Kind::BF16, 1e-2), (Kind::Q8_0, 2e-2)] {
            let report = merge(&path("base.gguf"), &adapter, &path("merged.gguf"), kind).unwrap();
            assert_eq!(report.merged, 14, "{architecture:?}");
            let merged = GgufFile::open(&path("merged.gguf")).unwrap();
            assert_eq!(merged.tensor("blk.1.ffn_up.weight").unwrap().kind, kind);
            assert_eq!(merged.tensor("token_embd.weight").unwrap().kind, Kind::F32);
            let found = log_probs(loaded(&path("merged.gguf"), false));
            let error = relative_error(&found, &expected);
            assert!(error < tolerance, "{architecture:?} {kind:?}: {error}");
        }
        let narrow = Kind::parse("q4_K").unwrap();
        let refused = merge(&path("base.gguf"), &adapter, &path("no.gguf"), narrow);
        assert!(refused.unwrap_err().to_string().contains("no whole blocks of 256"));
    }
}

/// A file with an adapter that adds nothing.
fn loaded(path: &Path, is_unpacked: bool) -> Model {
    let config = AdapterConfig { rank: 1, alpha: 1.0, seed: 1 };
    Model::load(&cpu(), &Weights::open(path).unwrap(), config, is_unpacked).unwrap()
}

#[test]
fn quantised_matrices_are_unpacked_to_what_they_stand_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (packed, wide) = (path("packed.gguf"), path("wide.gguf"));
    for name in ["q8_0", "q4_1"] {
        let kind = Kind::parse(name).unwrap();
        tiny_weights(Architecture::Qwen3, kind).write_gguf(&packed).unwrap();
        widen(&packed, &wide).unwrap();
        let expected = log_probs(loaded(&wide, false));
        let error = |is_unpacked| {
            let model = loaded(&packed, is_unpacked);
            let found = if is_unpacked { Kind::BF16 } else { kind };
            assert_eq!(model.output.weight.kind(), found);
            relative_error(&log_probs(model), &expected)
        };
        let (as_it_is, unpacked) = (error(false), error(true));
        assert!(unpacked < 5e-3 && unpacked < as_it_is, "{name}: {unpacked} {as_it_is}");
    }
}

fn log_probs(model: Model) -> Vec<f32> {
    let config = EngineConfig { is_checkpointed: true, head_rows: 8 };
    let mut engine = Engine::new(model, config).unwrap();
    engine.evaluate(&example(1)).unwrap().log_probs
}
