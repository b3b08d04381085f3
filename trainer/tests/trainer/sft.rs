//! Supervised fine-tuning: what it writes, and that a killed run loses nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use domain::{Digest, Label};
use gradients::{AdapterFile, Architecture, RandomWeights, ggml::Kind, tiny};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    adapter, assert_same_run, configure, kill_again_and_again, kill_steps, log, manifest, succeed,
    trainer,
};

struct Fixture {
    directory: TempDir,
    base: PathBuf,
    corpus: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("base.gguf");
        let shape = tiny(Architecture::Qwen3);
        RandomWeights { shape, kind: Kind::Q8_0, seed: 4 }.write_gguf(&base).unwrap();
        let corpus = directory.path().join("corpus");
        write_corpus(&corpus);
        Self { directory, base, corpus }
    }

    fn run_directory(&self, name: &str) -> PathBuf {
        self.directory.path().join("runs").join(name)
    }

    /// `r2r-trainer sft`: eight steps of two examples, a checkpoint after each.
    fn command(&self, name: &str, sets: &[&str]) -> Command {
        let mut command = trainer("sft");
        command.arg("--corpus").arg(&self.corpus);
        let own = [
            "backbone.context_tokens=8192",
            "optimizer.gradient_accumulation_steps=2",
            "optimizer.learning_rate=0.02",
            "sft.curriculum=[{stage: claims, epochs: 2}, {stage: decision, epochs: 2}]",
            "sft.save_steps=1",
            "sft.eval_steps=3",
        ];
        let runs = self.directory.path().join("runs");
        configure(&mut command, name, &self.base, &runs, &[&own, sets]);
        command
    }

    fn succeed(&self, name: &str, sets: &[&str]) {
        succeed(&mut self.command(name, sets));
    }
}

/// Four training examples and one of validation for each of two stages.
fn write_corpus(corpus: &Path) {
    let mut files = BTreeMap::new();
    for (part, n) in [("train", 4), ("validation", 1)] {
        fs::create_dir_all(corpus.join(part)).unwrap();
        for stage in ["claims", "decision"] {
            let lines: String = (0..n).map(|i| format!("{}\n", example(stage, i))).collect();
            let name = format!("{part}/{stage}.jsonl");
            fs::write(corpus.join(&name), &lines).unwrap();
            let entry = json!({ "examples": n, "sha256": Digest::of(&lines).to_string() });
            files.insert(name, entry);
        }
    }
    // Made with the defaults, which the runs of these tests do not change.
    let config = succeed(&mut trainer("config"));
    fs::write(corpus.join("config.yaml"), &config).unwrap();
    let entry = json!({ "examples": null, "sha256": Digest::of(&config).to_string() });
    files.insert("config.yaml".to_owned(), entry);
    let manifest = json!({
        "contract_digest": contract::contract_digest().to_string(),
        "seed": 1,
        "snapshots": {},
        "biases": {},
        "files": files,
    });
    fs::write(corpus.join("corpus.json"), manifest.to_string()).unwrap();
}

fn example(stage: &str, i: usize) -> Value {
    let rules = ["INDEX_UP", "INDEX_DOWN"];
    let rule = rules[i % 2];
    let forced = |text: &str| json!({ "text": text, "freedom": "forced" });
    let phrases = contract::phrases(rule);
    let phrase = &phrases[i % phrases.len()];
    let label = Label::ALL[i % 5];
    let letters: Vec<char> = Label::ALL.map(Label::code).into();
    let completion = match stage {
        "claims" => json!({
            "section": "market",
            "evidence": 1,
            "pieces": [
                forced("Market: "),
                { "text": "a", "freedom": { "among": ["a", "b"] } },
                { "text": phrase, "freedom": { "rule": rule } },
            ],
        }),
        _ => json!({
            "section": null,
            "evidence": null,
            "pieces": [
                forced("The index rose 4 %. Decision: "),
                { "text": label.code().to_string(), "freedom": { "among": letters } },
            ],
        }),
    };
    json!({
        "stage": stage,
        "ticker": "AAPL",
        "as_of": "2020-01-02",
        "universe": "SYN10",
        "snapshot": Digest::of("snapshot").to_string(),
        "day": "The index rose 4 % in 21 sessions.\n",
        "user": format!("AAPL fell {i} % in 10 sessions.\n"),
        "completions": [completion],
        "label": label,
        "z": 0.3,
    })
}

#[test]
fn a_run_learns_and_leaves_an_adapter_with_its_manifest() {
    let fixture = Fixture::new();
    fixture.succeed("whole", &[]);
    let directory = fixture.run_directory("whole");
    let manifest = manifest(&directory);
    assert_eq!(manifest["steps"], 8);
    assert_eq!(manifest["adapter_sha256"], Digest::of(adapter(&directory)).to_string());
    assert!(manifest["losses"]["validation.decision.loss"].as_f64().unwrap() > 0.0);
    let adapter = AdapterFile::read(&directory.join("adapter.gguf")).unwrap();
    assert_eq!(adapter.matrices.len(), 2 * 2 * 7);
    assert!(adapter.matrices.iter().all(|(_, _, values)| values.iter().any(|v| *v != 0.0)));

    let steps = log(&directory);
    assert_eq!(steps.len(), 8);
    let loss = |step: usize, key: &str| steps[step]["metrics"][key].as_f64().unwrap();
    for (stage, first) in [("claims", 0), ("decision", 4)] {
        let key = format!("train.{stage}.loss");
        // Both epochs of a stage have the same four examples, in two steps.
        let epoch = |step: usize| loss(step, &key) + loss(step + 1, &key);
        assert!(epoch(first + 2) < epoch(first), "{stage}: {steps:?}");
    }
    assert!(loss(2, "validation.claims.phrase") > 0.0);
    assert!(loss(2, "validation.claims.evidence") > 0.0);
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    let fixture = Fixture::new();
    let (steps, killed) = (kill_steps(), fixture.run_directory("killed"));
    // Two steps an epoch.
    let [claims, decision] =
        ["claims", "decision"].map(|stage| format!("{{stage: {stage}, epochs: {}}}", steps / 4));
    let sets = [&*format!("sft.curriculum=[{claims}, {decision}]")];
    fixture.succeed("whole", &sets);
    assert_eq!(log(&fixture.run_directory("whole")).len(), steps);
    kill_again_and_again(&killed, steps, || fixture.command("killed", &sets));
    assert_same_run(&fixture.run_directory("whole"), &killed);
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let fixture = Fixture::new();
    fixture.succeed("one", &[]);
    let other = fixture.command("one", &["seed=7"]).output().unwrap();
    assert!(!other.status.success());
    let message = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(message.contains("another configuration, data, base or program"), "{message}");
    // What decides no byte may differ.
    fixture.succeed("one", &["sft.eval_steps=4", "rl.steps=9", "backbone.context_tokens=8000"]);
    // Dates that a corpus trained on may not be held out by the run.
    let sets = ["split.train_size=0.6", "split.validation_size=0.25"];
    let other = fixture.command("two", &sets).output().unwrap();
    let message = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(message.contains("made with another `data` or `split`"), "{message}");
    // Neither may an example be longer than the context.
    let other = fixture.command("two", &["backbone.context_tokens=256"]).output().unwrap();
    let message = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(
        message.contains("10 examples are longer than backbone.context_tokens of 256: the"),
        "{message}"
    );
    let other = fixture.command("two", &["backbone.model=smollm2-135m-r2r"]).output().unwrap();
    let message = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(message.contains("with an adapter; name the manifest of the file"), "{message}");
}

#[test]
fn a_directory_belongs_to_one_process_and_loses_what_is_unfinished() {
    let fixture = Fixture::new();
    let directory = fixture.run_directory("one");
    fs::create_dir_all(&directory).unwrap();
    let unfinished = ["checkpoint.tmp-4711", "adapter.tmp-12"].map(|name| directory.join(name));
    let others = ["notes.tmp-x", "tmp-12"].map(|name| directory.join(name));
    for path in unfinished.iter().chain(&others) {
        fs::write(path, "half of it").unwrap();
    }
    let lock = fs::File::create(directory.join(".lock")).unwrap();
    lock.lock().unwrap();
    let output = fixture.command("one", &[]).output().unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = format!("is at work in {}: wait until", directory.display());
    assert!(message.contains(&expected), "{message}");
    assert!(unfinished.iter().all(|path| path.exists()), "they may be the other's");

    drop(lock);
    fixture.succeed("one", &[]);
    assert!(unfinished.iter().all(|path| !path.exists()));
    assert!(others.iter().all(|path| path.exists()));
}
