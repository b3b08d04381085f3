//! Models that are made of a published file and an adapter.

use std::{fs, os::unix::fs::symlink};

use domain::{Digest, Section};
use gradients::{AdapterFile, Architecture};
use inference::model::{AdapterRef, ModelError, PreparedModel, Quantization, prepare, verify};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use super::{engine_with, manifest, models, only, with_section, worker_command};

/// An adapter of two matrices that changes what the model says.
fn adapter() -> AdapterFile {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut matrix = |name: &str, shape: [usize; 2], scale: f32| {
        let unit = |n: u32| n as f32 / u32::MAX as f32 - 0.5;
        let values = (0..shape[0] * shape[1]).map(|_| scale * unit(random.next_u32()));
        (name.to_owned(), shape, values.collect())
    };
    let matrices = vec![
        matrix("blk.12.attn_v.weight.lora_a", [576, 2], 1.0),
        matrix("blk.12.attn_v.weight.lora_b", [2, 192], 0.5),
        matrix("blk.20.ffn_down.weight.lora_a", [1536, 2], 1.0),
        matrix("blk.20.ffn_down.weight.lora_b", [2, 576], 0.5),
    ];
    AdapterFile { alpha: 2.0, matrices }
}

async fn decide(model: &PreparedModel) -> [f32; 5] {
    let engine = engine_with(|config| config.model = model.clone()).await;
    let request = with_section(1, only(Section::Insider, None));
    engine.generate(request).await.unwrap().code_logits
}

#[tokio::test]
async fn an_adapter_is_merged_once_and_decides() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("adapter.gguf");
    adapter().write(&file, Architecture::Llama).unwrap();
    let mut manifest = manifest();
    let published = directory.path().join(&manifest.file);
    symlink(models().join(&manifest.file), &published).unwrap();
    manifest.requantize = None;
    let base = verify(&published, &manifest).unwrap();
    manifest.adapter = Some(AdapterRef {
        file: file.clone(),
        sha256: Digest::of(fs::read(&file).unwrap()),
        quantization: Quantization::Bf16,
    });
    let prepare = || prepare(&manifest, directory.path(), &worker_command());
    let merged = prepare().unwrap();
    assert_eq!(merged.base_digest(), base.digest());
    assert_ne!(merged.digest(), base.digest());
    // The second time it is there.
    assert_eq!(prepare().unwrap(), merged);

    // Of logits less their mean: what all share decides nothing. What a merge loses of an
    // adapter, the gate of `r2r-trainer merge` measures.
    let centred = |logits: [f32; 5]| logits.map(|logit| logit - logits.iter().sum::<f32>() / 5.0);
    let (before, after) = (centred(decide(&base).await), centred(decide(&merged).await));
    let effect = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(effect > 0.2, "{before:?} {after:?}");

    // Another file is not what the manifest promises.
    fs::remove_file(merged.path()).unwrap();
    fs::write(&file, b"GGUF").unwrap();
    let error = prepare().unwrap_err();
    assert!(matches!(error, ModelError::Mismatch { ref path, .. } if *path == file), "{error}");
}
