//! Reinforcement fine-tuning through the serving decoder, and the calibration of what it
//! leaves. The base is tiny and random, with the tokenizer of the default model, which
//! `make test` fetches.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use gradients::{
    AdapterFile, Architecture, RandomWeights, Shape,
    ggml::{GgufFile, GgufWriter, Kind},
    tiny,
};
use inference::model::ModelManifest;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    adapter, assert_same_run, configure, kill_again_and_again, kill_steps, log, manifest, succeed,
    testing::made_up, trainer,
};

pub(crate) struct Fixture {
    pub(crate) directory: TempDir,
    pub(crate) base: PathBuf,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = made_up();
        fs::create_dir_all(directory.path().join("models")).unwrap();
        let base = directory.path().join("models/base.gguf");
        write_base(&base);
        Self { directory, base }
    }

    pub(crate) fn run_directory(&self, name: &str) -> PathBuf {
        self.directory.path().join("runs").join(name)
    }

    /// `r2r-trainer rft`: four steps of two contexts, a checkpoint after each round.
    pub(crate) fn command(&self, name: &str, sets: &[&str], adapter: Option<&Path>) -> Command {
        let mut command = self.program("rft");
        if let Some(adapter) = adapter {
            command.arg("--adapter").arg(adapter);
        }
        let own = [
            "lora.rank=4",
            "data.sources=[{universe: SYN10, every: 40}]",
            "rl.steps=4",
            "rl.contexts_per_step=2",
            "rl.learning_rate=0.01",
            "rl.save_steps=1",
            "rl.eval_contexts_max=0",
            "rl.guards.window_steps=100",
        ];
        let runs = self.directory.path().join("runs");
        configure(&mut command, name, &self.base, &runs, &[&own, sets]);
        command
    }

    pub(crate) fn program(&self, subcommand: &str) -> Command {
        let mut command = trainer(subcommand);
        command.arg("--data-dir").arg(self.directory.path());
        command
    }

    fn fail(&self, name: &str, sets: &[&str], adapter: Option<&Path>) -> String {
        let output = self.command(name, sets, adapter).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// A tiny random model that reads and writes in the tokens of the default model.
fn write_base(path: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let data = root.join(env::var_os("R2R_DATA_DIR").unwrap_or_else(|| "data".into()));
    let file = ModelManifest::find(ModelManifest::DEFAULT).unwrap().file;
    let model = GgufFile::open(&data.join("models").join(file)).unwrap();
    let vocabulary = model.tensor("token_embd.weight").unwrap().shape[1];
    let shape = Shape { vocabulary, ..tiny(Architecture::Llama) };
    let random = path.with_extension("random");
    RandomWeights { shape, kind: Kind::Q8_0, seed: 4 }.write_gguf(&random).unwrap();
    let random = GgufFile::open(&random).unwrap();
    let mut writer = GgufWriter::new(random.tensors().len());
    writer.copy_keys(&model);
    for key in [
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "rope.dimension_count",
        "vocab_size",
    ] {
        let key = format!("llama.{key}");
        writer.u32(&key, random.u32(&key).unwrap());
    }
    for key in ["llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base"] {
        writer.f32(key, random.f32(key).unwrap());
    }
    for tensor in random.tensors() {
        let mut bytes = vec![0; tensor.bytes];
        random.read(tensor, 0, &mut bytes).unwrap();
        writer.tensor(&tensor.name, tensor.kind, tensor.shape, bytes);
    }
    writer.write(path).unwrap();
}

fn metric(record: &Value, key: &str) -> f64 {
    record["metrics"][key].as_f64().unwrap_or_else(|| panic!("no {key} in {record}"))
}

/// Short claims are all that is rewarded here: the policy must come to write them.
#[test]
fn a_policy_learns_what_is_rewarded_and_is_calibrated() {
    let fixture = Fixture::new();
    let sets = [
        "rl.steps=12",
        "rl.contexts_per_step=4",
        "rl.learning_rate=0.03",
        "rl.ce_anchor_coef=0",
        "rl.eval_contexts_max=12",
        "rewards.weights={structure: 1, claims: 0, decision: 0}",
        "rewards.structure={presence: 0, validity: 0, budget: 1, section_tokens_max: 12}",
    ];
    succeed(&mut fixture.command("short", &sets, None));
    let directory = fixture.run_directory("short");
    let log = log(&directory);
    assert_eq!(log.len(), 12);
    let mean = |steps: &[Value]| {
        steps.iter().map(|record| metric(record, "reward.total")).sum::<f64>() / steps.len() as f64
    };
    let (first, last) = (mean(&log[..4]), mean(&log[8..]));
    println!("reward {first:.4} to {last:.4}");
    assert!(last > first + 0.02, "{first} {last}");
    for record in &log {
        let shares = ["SSell", "Sell", "Hold", "Buy", "SBuy"];
        let sum: f64 =
            shares.map(|label| metric(record, &format!("decision.share.{label}"))).iter().sum();
        assert!((sum - 1.0).abs() < 1e-9);
        // What the grammar enforces cannot be failed.
        assert_eq!(metric(record, "reward.claims"), 1.0);
        assert!(metric(record, "decision.entropy") > 0.0);
        assert_eq!(metric(record, "policy.clipped"), 0.0);
    }
    let manifest = manifest(&directory);
    assert_eq!(manifest["steps"], 12);
    let rewards = &manifest["rewards"];
    assert_eq!(rewards["before"]["reward.claims"], 1.0);
    let (before, after) = (&rewards["before"], &rewards["after"]);
    assert!(after["reward.total"].as_f64() > before["reward.total"].as_f64(), "{rewards}");
    assert!(rewards["differences"]["reward.budget"]["mean"].as_f64().unwrap() > 0.0, "{rewards}");
    assert!(!directory.join("merged.gguf").exists());
    calibrate(&fixture, &directory);
    evaluate(&fixture, &directory);
}

fn calibrate(fixture: &Fixture, directory: &Path) {
    let mut command = fixture.program("calibrate");
    command.arg(directory);
    for set in ["calibration.method=temperature", "calibration.contexts_max=24"] {
        command.arg("--set").arg(set);
    }
    let printed = succeed(&mut command);
    assert!(printed.contains("temperature calibration\n"), "{printed}");
    let manifest = manifest(directory);
    let found = &manifest["calibration"];
    let calibration = found["calibration"].clone();
    let calibration: domain::Calibration = serde_json::from_value(calibration).unwrap();
    assert_eq!(calibration.method(), "temperature");
    let loss = |part: &str, side: &str| found[part][side]["log_loss"].as_f64().unwrap();
    // It was fitted there.
    assert!(loss("validation", "calibrated") < loss("validation", "raw"), "{found}");
    assert!(loss("test", "calibrated") > 0.0);
    assert_eq!(manifest["steps"], 12, "the rest of the manifest stays");
    assert!(fs::read_to_string(directory.join("reliability.svg")).unwrap().starts_with("<svg"));
}

/// The adapter has learned to write short claims: of what else there is, both sides have
/// the same.
fn evaluate(fixture: &Fixture, directory: &Path) {
    let mut command = fixture.program("evaluate");
    command.arg(directory).arg("--set").arg("evaluation.contexts_max=12");
    let printed = succeed(&mut command);
    assert!(printed.contains("claims upheld by verification"), "{printed}");
    let manifest = manifest(directory);
    let found = &manifest["evaluation"]["all"];
    // The made-up market has ten names, and one test date of each at this step.
    let contexts = found["contexts"].as_u64().unwrap();
    assert!((10..=12).contains(&contexts), "{found}");
    let budget = &found["differences"]["reward.budget"]["mean"];
    assert!(budget.as_f64().unwrap() > 0.0, "{found}");
    for side in ["base", "adapter"] {
        let quality = &found[side];
        assert_eq!(quality["claims"]["correctness"], 1.0);
        assert_eq!(quality["sections"]["made"], 6 * contexts);
        assert_eq!(quality["sections"]["duplicate_share"], 0.0);
        assert_eq!(quality["sections"]["empty_share"], 0.0);
        assert!(quality["phrases"]["distinct"].as_u64().unwrap() > 5, "{quality}");
        let decisions = quality["decisions"].as_object().unwrap().values();
        let sum: f64 = decisions.map(|share| share.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        assert!(quality["means"]["decision.log_loss"].as_f64().unwrap() > 0.0);
    }
    assert_ne!(found["base"], found["adapter"]);
    assert!(manifest["calibration"].is_object(), "the rest of the manifest stays");
    assert!(manifest["evaluation"]["dates"]["SYN10"]["test"].is_array());
    let page = fs::read_to_string(directory.join("theses.md")).unwrap();
    assert_eq!(page.matches("\n### ").count(), 10);
    assert_eq!(page.matches("**Base** decides").count(), 10);
    assert_eq!(page.matches("**Adapter** decides").count(), 10);
    assert!(!page.contains("refuted"), "{page}");
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    let fixture = Fixture::new();
    // Samples are used twice, so that a round lies across two steps.
    let steps = kill_steps() - 1;
    let sets = ["rl.sample_reuse=2", "rl.kl_coef=0.05", &format!("rl.steps={steps}")];
    succeed(&mut fixture.command("whole", &sets, None));
    let [whole, killed] = ["whole", "killed"].map(|name| fixture.run_directory(name));
    kill_again_and_again(&killed, steps, || fixture.command("killed", &sets, None));
    assert_same_run(&whole, &killed);
    let log = log(&whole);
    // The first use of the first samples is at the start itself.
    assert_eq!(metric(&log[0], "policy.kl"), 0.0);
    assert!(metric(&log[6], "policy.kl") > 0.0);
    let same = ["reward.total", "decision.share.Buy"];
    assert_eq!(same.map(|key| metric(&log[0], key)), same.map(|key| metric(&log[1], key)));

    // What another run has left is not gone on with.
    let message = fixture.fail("whole", &["seed=7"], None);
    assert!(message.contains("another configuration, data, base or program"), "{message}");
    // It is something to start from, under the same rank.
    let start = whole.join("adapter.gguf");
    let message = fixture.fail("next", &["lora.rank=8"], Some(&start));
    assert!(message.contains("set lora.rank and lora.alpha to these"), "{message}");
    let sets = ["rl.method=grpo_lite", "rl.steps=1", "rl.learning_rate=1e-9"];
    succeed(&mut fixture.command("next", &sets, Some(&start)));
    let next = fixture.run_directory("next");
    let values = |directory: &Path| -> Vec<f32> {
        let file = AdapterFile::read(&directory.join("adapter.gguf")).unwrap();
        file.matrices.into_iter().flat_map(|(.., values)| values).collect()
    };
    let (before, after) = (values(&whole), values(&next));
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_ne!(adapter(&whole), adapter(&next));
    // Over another base it is nothing to start from.
    let record = whole.join("run.json");
    let mut other = manifest(&whole);
    other["base_sha256"] = Value::from("0".repeat(64));
    fs::write(&record, other.to_string()).unwrap();
    let message = fixture.fail("other", &[], Some(&start));
    assert!(message.contains("backbone.model is not the file that the adapter of"), "{message}");
}

#[test]
fn a_collapse_stops_training_with_its_reason() {
    let fixture = Fixture::new();
    let sets = ["rl.guards.window_steps=1", "rl.guards.single_class_share_max=0.1"];
    let message = fixture.fail("collapsed", &sets, None);
    assert!(message.contains("training stopped: "), "{message}");
    assert!(message.contains("more than rl.guards.single_class_share_max of 0.1"), "{message}");
    let directory = fixture.run_directory("collapsed");
    assert_eq!(log(&directory).len(), 1);
    assert!(!directory.join("adapter.gguf").exists(), "a collapsed adapter serves nobody");
}
