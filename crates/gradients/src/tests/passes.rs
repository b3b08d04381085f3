//! What must not change a pass: checkpointing, chunks, packing, repetition.

use super::{PASSES, Passes, relative_error, tiny_engine, tree};
use crate::{AllowedTokens, Architecture, Batch, EngineError, Target, ggml::Kind};

fn gradients(architecture: Architecture, kind: Kind, passes: Passes) -> (Vec<f32>, Vec<f32>) {
    let mut engine = tiny_engine(architecture, kind, passes);
    let outcome = engine.accumulate(&tree()).unwrap();
    (outcome.log_probs, engine.model().adapter().gradients())
}

#[test]
fn checkpointing_and_chunks_change_no_bit_of_what_layers_compute() {
    for architecture in Architecture::ALL {
        let expected = gradients(architecture, Kind::Q8_0, PASSES);
        for is_checkpointed in [true, false] {
            for head_rows in [1, 8, 64] {
                let passes = Passes { is_checkpointed, head_rows, ..PASSES };
                let (log_probs, found) = gradients(architecture, Kind::Q8_0, passes);
                let error = relative_error(&found, &expected.1);
                assert!(error < 1e-6, "{architecture:?} {passes:?}: {error}");
                let error = relative_error(&log_probs, &expected.0);
                assert!(error < 1e-6, "{architecture:?} {passes:?}: {error}");
            }
        }
    }
}

#[test]
fn a_transposed_copy_changes_the_gradient_by_its_rounding_only() {
    let architecture = Architecture::Qwen3;
    for (kind, tolerance) in [(Kind::F32, 1e-5), (Kind::BF16, 2e-2), (Kind::Q8_0, 2e-2)] {
        let expected = gradients(architecture, kind, PASSES).1;
        let passes = Passes { is_unpacked: true, ..PASSES };
        let error = relative_error(&gradients(architecture, kind, passes).1, &expected);
        assert!(error < tolerance, "{kind:?}: {error}");
    }
}

#[test]
fn the_same_pass_gives_the_same_bits() {
    let mut engine = tiny_engine(Architecture::Llama, Kind::BF16, PASSES);
    let batch = tree();
    let first = engine.accumulate(&batch).unwrap();
    let gradient = engine.model().adapter().gradients();
    engine.model().adapter().clear_gradients();
    // Another length in between gives the room back and takes it again.
    let mut other = Batch::default();
    other.segment(None, &[1, 2, 3, 4]).unwrap();
    engine.evaluate(&other).unwrap();
    assert_eq!(engine.accumulate(&batch).unwrap(), first);
    assert_eq!(engine.model().adapter().gradients(), gradient);
}

#[test]
fn gradients_add_up_until_they_are_cleared() {
    let mut engine = tiny_engine(Architecture::Llama, Kind::F32, PASSES);
    let batch = tree();
    engine.accumulate(&batch).unwrap();
    let once = engine.model().adapter().gradients();
    engine.accumulate(&batch).unwrap();
    let twice: Vec<f32> = once.iter().map(|slope| 2.0 * slope).collect();
    let error = relative_error(&engine.model().adapter().gradients(), &twice);
    assert!(error < 1e-6, "{error}");
}

#[test]
fn completions_that_share_a_prompt_do_not_see_each_other() {
    let prompt = [4u32, 5, 6, 7, 8];
    let completions = [[20u32, 21, 22], [30, 31, 32]];
    let target = |token| Target { token, weight: 0.5, entropy: 0.01, allowed: None };
    let mut engine = tiny_engine(Architecture::Qwen3, Kind::F32, PASSES);

    let mut packed = Batch::default();
    let shared = packed.segment(None, &prompt[..4]).unwrap();
    for completion in &completions {
        let [a, b, c] = *completion;
        let segment = packed.segment(Some(shared), &[prompt[4], a, b]).unwrap();
        for (i, token) in [a, b, c].into_iter().enumerate() {
            packed.target(segment, i, target(token)).unwrap();
        }
    }
    let found = engine.accumulate(&packed).unwrap();
    let packed_gradient = engine.model().adapter().gradients();

    engine.model().adapter().clear_gradients();
    let mut log_probs = Vec::new();
    for [a, b, c] in completions {
        let mut alone = Batch::default();
        let tokens = [&prompt[..], &[a, b]].concat();
        let segment = alone.segment(None, &tokens).unwrap();
        for (i, token) in [a, b, c].into_iter().enumerate() {
            alone.target(segment, 4 + i, target(token)).unwrap();
        }
        log_probs.extend(engine.accumulate(&alone).unwrap().log_probs);
    }
    assert!(relative_error(&found.log_probs, &log_probs) < 1e-5);
    let error = relative_error(&packed_gradient, &engine.model().adapter().gradients());
    assert!(error < 1e-5, "{error}");
}

#[test]
fn a_single_allowed_token_is_certain() {
    let mut engine = tiny_engine(Architecture::Llama, Kind::F32, PASSES);
    let mut batch = Batch::default();
    let segment = batch.segment(None, &[1, 2]).unwrap();
    let allowed = Some(AllowedTokens::from_tokens(&[9]));
    batch.target(segment, 1, Target { token: 9, weight: 1.0, entropy: 1.0, allowed }).unwrap();
    let outcome = engine.accumulate(&batch).unwrap();
    assert_eq!(outcome.log_probs, [0.0]);
    assert!(outcome.entropies[0] < 1e-6);
    let largest = engine.model().adapter().gradients().iter().fold(0f32, |m, x| m.max(x.abs()));
    assert!(largest < 1e-6, "{largest}");
}

#[test]
fn a_batch_that_makes_no_sense_is_refused() {
    let mut batch = Batch::default();
    let refused = |result: Result<(), EngineError>, part: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    refused(batch.segment(None, &[]).map(drop), "no tokens");
    let segment = batch.segment(None, &[1, 400]).unwrap();
    let target = |token, allowed| Target { token, weight: 1.0, entropy: 0.0, allowed };
    refused(batch.target(segment, 2, target(1, None)), "out of order");
    let allowed = Some(AllowedTokens::from_tokens(&[2]));
    refused(batch.target(segment, 0, target(1, allowed)), "not among the allowed");
    batch.target(segment, 1, target(1, None)).unwrap();
    refused(batch.target(segment, 0, target(1, None)), "out of order");
    let mut engine = tiny_engine(Architecture::Llama, Kind::F32, PASSES);
    refused(engine.evaluate(&batch).map(drop), "token 400 is beyond the vocabulary of 320");
    refused(engine.evaluate(&Batch::default()).map(drop), "no tokens");
}
