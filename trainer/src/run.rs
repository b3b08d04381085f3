//! What every run of training has: a base, a device, a directory that it goes on from,
//! and what it leaves there.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    thread::available_parallelism,
};

use anyhow::{Context as _, bail, ensure};
use domain::Digest;
use gradients::{
    AdamWConfig, AdapterConfig, AdapterFile, Engine, EngineConfig, Model, Session, Weights,
    ggml::{Device, DeviceKind},
    write_atomically,
};
use inference::model::{ModelManifest, PreparedModel, open, verify};
use serde_json::{Map, Value, json};

use crate::{
    calibrate,
    config::{Backbone, Rl, RunConfig, Sft},
    evaluate, tracking,
};

/// Files in the directory of a run.
const CHECKPOINT: &str = "checkpoint.safetensors";
const ADAPTER: &str = "adapter.gguf";
const MANIFEST: &str = "run.json";

/// Locked by the process that writes into the directory.
const LOCK: &str = ".lock";

/// The directory of a run.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    /// Keeps other processes out until this one ends; none where it only reads.
    _lock: Option<File>,
}

impl RunDirectory {
    /// Makes the directory of the run a configuration names, where there is none, and
    /// takes it for this process. What a process that was killed had half written is
    /// removed.
    ///
    /// # Errors
    /// Fails where it cannot be written, and while another process has it.
    pub(crate) fn create(config: &RunConfig) -> anyhow::Result<Self> {
        let path = config.tracking.runs_dir.join(&config.name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Self::take(&path)
    }

    /// Takes the directory of a run that was, to write into it.
    ///
    /// # Errors
    /// As [`Self::create`], and where there is none.
    pub(crate) fn take(path: &Path) -> anyhow::Result<Self> {
        let lock = path.join(LOCK);
        let file = File::options().create(true).append(true).open(&lock);
        let file = file.with_context(|| {
            format!("cannot open {}: is {} the directory of a run?", lock.display(), path.display())
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another process of r2r-trainer is at work in {}: wait until it has ended, or \
                 train under another name (--set name=...)",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", lock.display()));
            }
        }
        remove_unfinished(path).with_context(|| format!("cannot tidy {}", path.display()))?;
        Ok(Self { path: path.to_owned(), _lock: Some(file) })
    }

    /// Names the directory of a run that was, to read from it.
    pub(crate) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), _lock: None }
    }

    /// Returns the path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the place of the configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.path.join(tracking::CONFIG)
    }

    /// Returns the place of the adapter.
    pub(crate) fn adapter(&self) -> PathBuf {
        self.path.join(ADAPTER)
    }

    /// Writes a checkpoint with what the run remembers.
    ///
    /// # Errors
    /// Fails where it cannot be written.
    pub(crate) fn save(&self, session: &Session, state: &str) -> anyhow::Result<()> {
        check_values(session)?;
        Ok(session.save(&self.path.join(CHECKPOINT), state)?)
    }

    /// Goes on from the checkpoint, where there is one, and returns what the run
    /// remembers.
    ///
    /// # Errors
    /// Fails where the checkpoint cannot be read, or is of another model.
    pub(crate) fn restore(&self, session: &mut Session) -> anyhow::Result<Option<String>> {
        let path = self.path.join(CHECKPOINT);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(session.restore(&path)?))
    }

    /// Refuses the checkpoint of a run with another fingerprint.
    ///
    /// # Errors
    /// Says what to do.
    pub(crate) fn check(&self, found: &str, expected: Digest) -> anyhow::Result<()> {
        ensure!(
            found == expected.to_string(),
            "{} is of a run with another configuration, data, base or program (prompts, \
             grammars); give this run another name (--set name=...) or remove the directory",
            self.path.join(CHECKPOINT).display()
        );
        Ok(())
    }

    /// Writes adapter and manifest, and says where the adapter is.
    ///
    /// # Errors
    /// Fails where one cannot be written.
    pub(crate) fn export(
        &self,
        session: &Session,
        config: &RunConfig,
        base: &PreparedModel,
        fingerprint: Digest,
        found: Map<String, Value>,
    ) -> anyhow::Result<()> {
        check_values(session)?;
        let model = session.engine().model();
        let path = self.adapter();
        AdapterFile::of(model.adapter()).write(&path, model.shape().architecture)?;
        let mut manifest = Map::from_iter([
            ("adapter_sha256".to_owned(), json!(digest_of(&path)?)),
            ("base_sha256".to_owned(), json!(base.digest())),
            ("config".to_owned(), json!(config)),
            ("contract_digest".to_owned(), json!(contract::contract_digest())),
            ("run_digest".to_owned(), json!(fingerprint)),
            ("steps".to_owned(), json!(session.steps())),
        ]);
        manifest.extend(found);
        // What was fitted to an adapter of these bytes, or found of it, still holds.
        if let Ok(mut before) = self.manifest()
            && before.get("adapter_sha256") == manifest.get("adapter_sha256")
        {
            for key in [calibrate::KEY, evaluate::KEY] {
                manifest.extend(before.remove_entry(key));
            }
        }
        self.write_manifest(&manifest)?;
        anstream::println!("{}", path.display());
        Ok(())
    }

    /// Refuses an adapter that is not that of the run's manifest, and one that was trained
    /// over another base or has seen other dates than those of `division`.
    ///
    /// # Errors
    /// Says what to do.
    pub(crate) fn check_adapter(
        &self,
        digest: Digest,
        base: &PreparedModel,
        division: &Value,
    ) -> anyhow::Result<()> {
        let manifest = self.manifest_of(digest)?;
        ensure!(
            manifest.get("base_sha256") == Some(&json!(base.digest())),
            "backbone.model is not the file that the adapter of {} was trained over",
            self.path.display()
        );
        ensure!(
            manifest.get("division") == Some(division),
            "the adapter of {} was trained on other dates: take its `data` and `split`, and the \
             snapshots of that time, or train again",
            self.path.display()
        );
        Ok(())
    }

    /// Reads the manifest, which must name the adapter of this digest.
    ///
    /// # Errors
    /// Says what to do.
    pub(crate) fn manifest_of(&self, digest: Digest) -> anyhow::Result<Map<String, Value>> {
        let manifest = self.manifest()?;
        ensure!(
            manifest.get("adapter_sha256") == Some(&json!(digest)),
            "{} does not name this adapter: train again",
            self.path.join(MANIFEST).display()
        );
        Ok(manifest)
    }

    /// Reads the manifest.
    ///
    /// # Errors
    /// Fails where the run has not ended.
    pub(crate) fn manifest(&self) -> anyhow::Result<Map<String, Value>> {
        let path = self.path.join(MANIFEST);
        let text = fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}: is it a run that has ended?", path.display())
        })?;
        serde_json::from_str(&text).with_context(|| format!("{} is not valid", path.display()))
    }

    /// Writes what was found of the adapter into the manifest.
    ///
    /// # Errors
    /// Fails where it cannot be read or written.
    pub(crate) fn note(&self, key: &str, found: Value) -> anyhow::Result<()> {
        let mut manifest = self.manifest()?;
        manifest.insert(key.to_owned(), found);
        self.write_manifest(&manifest)
    }

    /// Writes the manifest, whole or not at all.
    fn write_manifest(&self, manifest: &Map<String, Value>) -> anyhow::Result<()> {
        let path = self.path.join(MANIFEST);
        let text = serde_json::to_string_pretty(manifest)? + "\n";
        write_atomically(&path, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Refuses an adapter that is lost.
fn check_values(session: &Session) -> anyhow::Result<()> {
    ensure!(
        session.engine().model().adapter().values().iter().all(|value| value.is_finite()),
        "the adapter has values that are not finite: lower optimizer.learning_rate or \
         rl.learning_rate, and begin again under another name"
    );
    Ok(())
}

/// Removes files that a killed process was writing under a name of its own.
fn remove_unfinished(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let end = path.extension().and_then(|end| end.to_str());
        let process = end.and_then(|end| end.strip_prefix("tmp-"));
        if process.is_some_and(|id| id.parse::<u32>().is_ok()) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Returns the file that is trained over: the published one, checked against its manifest.
///
/// # Errors
/// Fails where it is missing, or not what it should be, and where an adapter goes with it.
pub(crate) fn base(config: &RunConfig, data_dir: &Path) -> anyhow::Result<PreparedModel> {
    let name = &config.backbone.model;
    if name.ends_with(".gguf") {
        return Ok(open(Path::new(name))?);
    }
    let manifest = ModelManifest::find(name)?;
    ensure!(
        manifest.adapter.is_none(),
        "backbone.model: {name} is {} with an adapter; name the manifest of the file alone, and \
         start from an adapter of yours with `rft --adapter`",
        manifest.file
    );
    Ok(verify(&data_dir.join("models").join(&manifest.file), &manifest)?)
}

/// Loads the base with a new adapter, and an optimizer of so many steps.
///
/// # Errors
/// Fails where the base does not fit the device.
pub(crate) fn session(
    config: &RunConfig,
    base: &PreparedModel,
    learning_rate: f64,
    steps: usize,
) -> anyhow::Result<Session> {
    let engine = engine(config, base.path())?;
    Ok(Session::new(engine, optimizer(config, learning_rate, steps)))
}

fn engine(config: &RunConfig, base: &Path) -> anyhow::Result<Engine> {
    let devices = Device::all();
    let gpu = || devices.iter().find(|device| device.kind() == DeviceKind::Gpu);
    let wanted = &config.engine.device;
    let device = match wanted.as_str() {
        "auto" => gpu().copied().map_or_else(|| Device::first(DeviceKind::Cpu), Ok)?,
        name => {
            let named = devices.iter().find(|device| device.name().eq_ignore_ascii_case(name));
            *named.with_context(|| {
                format!("engine.device: there is no {name}; see `r2r-trainer devices`")
            })?
        }
    };
    let cores = available_parallelism().map_or(1, usize::from);
    let threads = match config.engine.threads as usize {
        0 => cores,
        threads => threads,
    };
    let alpha = config.lora.alpha as f32;
    let adapter = AdapterConfig { rank: config.lora.rank as usize, alpha, seed: config.seed };
    let is_checkpointed = config.engine.gradient_checkpointing;
    let (name, description) = (device.name(), device.description());
    anstream::println!("gradients on {name} ({description}), threads: {threads}");
    let backend = device.open(threads)?;
    let model = Model::load(&backend, &Weights::open(base)?, adapter, true)?;
    Ok(Engine::new(model, EngineConfig { is_checkpointed, ..EngineConfig::default() })?)
}

fn optimizer(config: &RunConfig, learning_rate: f64, steps: usize) -> AdamWConfig {
    let optimizer = &config.optimizer;
    let norm = optimizer.max_grad_norm as f32;
    AdamWConfig {
        learning_rate: learning_rate as f32,
        final_share: optimizer.final_learning_rate_ratio as f32,
        warmup_steps: (optimizer.warmup_ratio * steps as f64).ceil() as u64,
        total_steps: steps as u64,
        betas: [optimizer.beta1 as f32, optimizer.beta2 as f32],
        epsilon: optimizer.epsilon as f32,
        weight_decay: optimizer.weight_decay as f32,
        gradient_norm_max: if norm == 0.0 { f32::INFINITY } else { norm },
    }
}

/// Returns the digest of all that decides the bytes of an adapter, but for the device:
/// `config`, in which a command has put the sections it does not read to their defaults,
/// less what is only said of a run; the base; and `data`.
pub(crate) fn fingerprint(mut config: RunConfig, base: &PreparedModel, data: &Value) -> Digest {
    config.name.clear();
    config.backbone.model.clear();
    // A bound: what was within it is within a wider one.
    config.backbone.context_tokens = Backbone::default().context_tokens;
    config.tracking = Default::default();
    config.engine = Default::default();
    config.export = Default::default();
    config.calibration = Default::default();
    let Sft { eval_steps, eval_contexts_max, save_steps, .. } = Sft::default();
    config.sft = Sft { eval_steps, eval_contexts_max, save_steps, ..config.sft };
    let Rl { save_steps, eval_contexts_max, guards, .. } = Rl::default();
    config.rl = Rl { save_steps, eval_contexts_max, guards, ..config.rl };
    let mut config = json!(config);
    // A section that is only read when training has ended: runs from before there was one
    // go on.
    if let Some(sections) = config.as_object_mut() {
        sections.remove("evaluation");
    }
    let contract = contract::contract_digest();
    Digest::of(json!([config, base.digest(), contract, data]).to_string())
}

/// Returns the SHA-256 of a file.
///
/// # Errors
/// Fails where it cannot be read.
pub(crate) fn digest_of(path: &Path) -> anyhow::Result<Digest> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Digest::of_reader(std::io::BufReader::new(file))?)
}
