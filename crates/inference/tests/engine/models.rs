use std::{fs, io::Write, path::Path};

use inference::{
    Engine, EngineConfig, InferenceError, WorkerCommand,
    model::{self, ModelError, ModelManifest},
};

use super::{engine_with, manifest, models, request, worker_command};

/// A command that proves by failing that no process was needed.
fn no_worker() -> WorkerCommand {
    WorkerCommand::new("/nonexistent/worker", [""; 0])
}

fn refuse(directory: &Path, manifest: &ModelManifest) -> ModelError {
    let error = model::prepare(manifest, directory, &no_worker()).unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

#[test]
fn refuses_a_bad_file_before_any_cpp_sees_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut manifest = manifest();
    let path = directory.path().join(&manifest.file);
    let error = refuse(directory.path(), &manifest);
    assert!(matches!(error, ModelError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("r2r model fetch"), "{error}");

    fs::write(&path, b"GGUF and not much more").unwrap();
    let error = refuse(directory.path(), &manifest);
    assert!(error.to_string().contains("size is 22"), "{error}");

    manifest.size = 22;
    let error = refuse(directory.path(), &manifest);
    assert!(error.to_string().contains("sha256 is"), "{error}");

    manifest.sha256 = domain::Digest::of(b"GGUF and not much more");
    let error = refuse(directory.path(), &manifest);
    assert!(matches!(error, ModelError::Header { .. }), "{error}");
    assert!(model::open(&path).is_err());
}

#[test]
fn one_flipped_bit_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = manifest();
    let path = directory.path().join(&manifest.file);
    let mut bytes = fs::read(models().join(&manifest.file)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
    let error = refuse(directory.path(), &manifest);
    assert!(matches!(error, ModelError::Mismatch { field: "sha256", .. }), "{error}");
}

#[tokio::test]
async fn converts_once_and_verifies_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = manifest();
    let base = directory.path().join(&manifest.file);
    std::os::unix::fs::symlink(models().join(&manifest.file), &base).unwrap();
    // What a program that was killed in a conversion left.
    let left = directory.path().join(".conversion-killed");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("model.gguf"), [0; 1000]).unwrap();
    let first = model::prepare(&manifest, directory.path(), &worker_command()).unwrap();
    assert_ne!(first.digest(), manifest.sha256);
    assert_eq!(first.base_digest(), manifest.sha256);
    let again = model::prepare(&manifest, directory.path(), &no_worker()).unwrap();
    assert_eq!(first, again);
    let left: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    let inspect = || model::inspect(&manifest.name, directory.path());
    assert_eq!(inspect().unwrap(), first);
    // A damaged conversion is found, and made again to the same bytes.
    let mut bytes = fs::read(first.path()).unwrap();
    bytes.truncate(1_000_000);
    fs::write(first.path(), bytes).unwrap();
    let error = inspect().unwrap_err();
    assert!(matches!(error, ModelError::Mismatch { field: "size", .. }), "{error}");
    assert_eq!(fs::metadata(first.path()).unwrap().len(), 1_000_000, "it only looks");
    let repaired = model::prepare(&manifest, directory.path(), &worker_command()).unwrap();
    assert_eq!(first, repaired);
    // The conversion is a model like any other, with or without its manifest.
    let opened = model::open(first.path()).unwrap();
    assert_eq!(opened.digest(), first.digest());
    let engine = engine_with(|config| config.model = opened).await;
    assert!(engine.generate(request(1)).await.is_ok());
}

#[tokio::test]
async fn a_worker_that_does_not_start_is_one_error() {
    let model = model::verify(&models().join(manifest().file), &manifest()).unwrap();
    for command in [no_worker(), WorkerCommand::new("/bin/false", [""; 0])] {
        let config = EngineConfig::new(model.clone(), command);
        let error = Engine::start(config).await.unwrap_err();
        let expected = matches!(error, InferenceError::Model { .. } | InferenceError::WorkerLost);
        assert!(expected, "{error:?}");
    }
    let mut config = EngineConfig::new(model, no_worker());
    config.context.threads = 10_000;
    let error = Engine::start(config).await.unwrap_err();
    assert!(error.to_string().starts_with("threads is 10000"), "{error}");
}
