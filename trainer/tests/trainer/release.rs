//! The files of a released model.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use domain::Digest;
use gradients::AdapterFile;
use inference::model::{ModelManifest, Quantization};
use serde_json::Value;

use crate::{adapter, manifest, rft::Fixture, succeed, trainer};

/// Describes the base, as `models/` does.
fn write_manifest(fixture: &Fixture) -> PathBuf {
    let bytes = fs::read(&fixture.base).unwrap();
    let path = fixture.directory.path().join("tiny.toml");
    let text = format!(
        "name = \"tiny\"\narchitecture = \"llama\"\nfile = \"base.gguf\"\nsize = {}\n\
         sha256 = \"{}\"\nlicence = \"Apache-2.0\"\ncontext_length = 2048\n\
         chat_template = \"chatml\"\n\n[source]\nkind = \"pypi\"\npackage = \"tiny\"\n\
         version = \"1.0\"\nmember = \"tiny/base.gguf\"\n\n[requantize]\ntype = \"Q4_0\"\n",
        bytes.len(),
        Digest::of(&bytes)
    );
    fs::write(&path, text).unwrap();
    path
}

fn release(run: &Path, into: &Path, more: &[&str]) -> Command {
    let mut command = trainer("release");
    command.arg(run).args(["--name", "tiny-r2r", "--into"]).arg(into).args(more);
    command
}

fn fail(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_release_has_what_was_measured_and_its_manifest_loads() {
    let fixture = Fixture::new();
    let base = format!("backbone.model={}", write_manifest(&fixture).display());
    let sets = [base.as_str(), "rl.steps=1", "rl.eval_contexts_max=4"];
    succeed(&mut fixture.command("first", &sets, None));
    let start = fixture.run_directory("first").join("adapter.gguf");
    succeed(&mut fixture.command("second", &sets, Some(&start)));
    let run = fixture.run_directory("second");
    let into = fixture.directory.path().join("released");

    // What was not measured is not released.
    for (subcommand, set) in
        [("calibrate", "calibration.contexts_max=12"), ("evaluate", "evaluation.contexts_max=4")]
    {
        let message = fail(release(&run, &into, &[]));
        let remedy = format!("run `r2r-trainer {subcommand} {}` first", run.display());
        assert!(message.contains(&remedy), "{message}");
        succeed(fixture.program(subcommand).arg(&run).arg("--set").arg(set));
    }
    assert!(!into.exists());
    let printed = succeed(&mut release(&run, &into, &["--type", "Q8_0"]));
    assert_eq!(printed.lines().count(), 4, "{printed}");
    check(&run, &into);

    let message = fail(release(&run, &into, &[]));
    assert!(message.contains("add --replace"), "{message}");
    succeed(&mut release(&run, &into, &["--replace"]));
    let written = ModelManifest::load(&into.join("tiny-r2r.toml")).unwrap();
    assert_eq!(written.adapter.unwrap().quantization, Quantization::Bf16);

    // An adapter that its record does not name.
    AdapterFile { alpha: 1.0, matrices: Vec::new() }
        .write(&run.join("adapter.gguf"), gradients::Architecture::Llama)
        .unwrap();
    let message = fail(release(&run, &into, &["--replace"]));
    assert!(message.contains("does not name this adapter: train again"), "{message}");
}

fn check(run: &Path, into: &Path) {
    let written = ModelManifest::load(&into.join("tiny-r2r.toml")).unwrap();
    let record = manifest(run);
    assert_eq!(written.name, "tiny-r2r");
    assert_eq!(written.file, "base.gguf");
    assert_eq!(written.requantize, None);
    let merged = written.adapter.unwrap();
    assert_eq!(merged.quantization, Quantization::Q8_0);
    assert_eq!(merged.file, into.join("tiny-r2r.adapter.gguf"));
    assert_eq!(merged.sha256, Digest::of(fs::read(&merged.file).unwrap()));
    // In 16 bits: the values as near as those are, in some more than half the bytes.
    let trained = AdapterFile::read(&run.join("adapter.gguf")).unwrap();
    let shipped = AdapterFile::read(&merged.file).unwrap();
    assert_eq!(shipped.alpha, trained.alpha);
    for ((name, shape, values), own) in shipped.matrices.iter().zip(&trained.matrices) {
        assert_eq!((name, shape), (&own.0, &own.1));
        assert!(values.iter().zip(&own.2).all(|(a, b)| (a - b).abs() <= b.abs() / 2048.0 + 1e-7));
    }
    assert!(fs::metadata(&merged.file).unwrap().len() < adapter(run).len() as u64 * 2 / 3);
    assert_eq!(
        serde_json::to_value(&written.calibration).unwrap(),
        record["calibration"]["calibration"]
    );

    let test = &record["evaluation"]["dates"]["SYN10"]["test"][0];
    let after = written.trained_until["SYN10"].succ_opt().unwrap();
    assert_eq!(after.to_string(), test.as_str().unwrap());

    let text = fs::read_to_string(into.join("tiny-r2r.run.json")).unwrap();
    let released: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(released["evaluation"], record["evaluation"]);
    assert_eq!(released["config"]["tracking"]["runs_dir"], "runs");
    assert_eq!(released["start"]["config"]["tracking"]["runs_dir"], "runs");
    assert_eq!(released["start"]["adapter_sha256"], record["start_adapter_sha256"]);
    // The record's configuration is one that trains again.
    let config = into.join("run.yaml");
    fs::write(&config, serde_json::to_string_pretty(&released["config"]).unwrap()).unwrap();
    let printed = succeed(trainer("config").arg("--config").arg(&config));
    assert!(printed.contains("name: second"), "{printed}");

    let card = fs::read_to_string(into.join("tiny-r2r.md")).unwrap();
    for expected in [
        "| licence of the base | Apache-2.0 |",
        "PyPI package tiny 1.0",
        "rank 4, alpha 16",
        record["contract_digest"].as_str().unwrap(),
        record["division"]["snapshots"]["SYN10"].as_str().unwrap(),
        "Reinforcement fine-tuning (pairwise): 1 steps, seed 42.",
        "| valid answers | 1.0000 | 1.0000 |",
        "| claims upheld by verification | 100.0 % | 100.0 % |",
        "Method: temperature",
        "jq .start.config models/tiny-r2r.run.json > first.yaml",
        "r2r-trainer rft --config second.yaml --adapter runs/first/adapter.gguf",
        "r2r-trainer calibrate runs/second --set 'calibration.contexts_max=12'",
        "r2r-trainer evaluate runs/second --set 'evaluation.contexts_max=4'",
    ] {
        assert!(card.contains(expected), "{expected} is not in {card}");
    }
}
