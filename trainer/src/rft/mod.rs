//! `r2r-trainer rft`: reinforcement fine-tuning on what theses are worth.
//!
//! Samples come from the decoder of serving with the adapter as it is: the same prompt, plan
//! and grammar, so that the policy that is trained is the policy that is served. Their
//! log-probabilities are those of the trainer, over the tokens that stood to choice at
//! each place; forced tokens weigh nothing. At a temperature other than 1 or with a floor
//! samples are not those of the policy, and the gradient is that of REINFORCE all the
//! same: a bias that is known and small near 1.
//!
//! A run is a function of configuration, snapshots, base and the adapter it starts from.
//! It goes on from its last checkpoint by itself; on one CPU thread the adapter has the
//! same bytes then.

mod compare;
mod guards;
mod objective;
mod rollout;
mod update;

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Args;
use domain::{Digest, SystemClock};
use gradients::{AdapterFile, Session};
use inference::model::PreparedModel;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub(crate) use self::compare::Rewards;
use self::guards::Guards;
use crate::{
    config::{ConfigArgs, RunConfig, Sft},
    contexts::Contexts,
    corpus::ContextRef,
    decoder::Decoder,
    encode::Encoder,
    run::{self, RunDirectory},
    score::Scorer,
    tracking::{self, Tracker},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    r2r-trainer rft --config cpu-demo --set name=rl --adapter runs/cpu-demo/adapter.gguf\n  \
    r2r-trainer rft --config cpu-demo --set name=grpo --set rl.method=grpo_lite")]
pub(crate) struct RftArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where models and snapshots are kept.
    #[arg(long, env = "R2R_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
    /// Adapter to start from, as `sft` leaves it; the bare base where there is none.
    #[arg(long, value_name = "FILE")]
    adapter: Option<PathBuf>,
}

/// Trains, or goes on training, an adapter.
///
/// # Errors
/// Fails when snapshots, base, adapter or checkpoint are not what they should be, the
/// device or the decoder fails, and when a guard sees a collapse.
pub(crate) fn run(args: &RftArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    let base = run::base(&config, &args.data_dir)?;
    let mut run = Run::open(&config, &base, args)?;
    let done = run.resume()?;
    let total = u64::from(config.rl.steps);
    let clock = Box::new(SystemClock);
    let mut tracker = Tracker::start(&config, run.directory.path(), done, total, clock)?;
    let finished = run.train(&config, done, &mut tracker);
    let outcome = match &finished {
        Ok(()) => tracking::Outcome::Finished,
        Err(_) => tracking::Outcome::Failed,
    };
    let ended = tracker.finish(outcome);
    finished?;
    let mut found = Map::from_iter([
        ("division".to_owned(), run.contexts.division(&config)),
        ("start".to_owned(), json!(run.start_manifest)),
        ("start_adapter_sha256".to_owned(), json!(run.start_digest)),
    ]);
    if config.rl.eval_contexts_max > 0 {
        let rewards = run.compare(&config)?;
        if let Some(rewards) = &rewards {
            anstream::println!("{rewards}");
        }
        found.insert("rewards".to_owned(), json!(rewards));
    }
    run.directory.export(&run.session, &config, &base, run.fingerprint, found)?;
    // Views of the run; the adapter is there without them.
    ended
}

/// Everything a run holds.
struct Run {
    directory: RunDirectory,
    contexts: Contexts,
    /// Adjacent training dates of a name.
    runs: Vec<Vec<ContextRef>>,
    decoder: Decoder,
    scorer: Scorer,
    encoder: Encoder,
    session: Session,
    /// Values of the adapter training starts from.
    start: Vec<f32>,
    start_digest: Option<Digest>,
    /// Manifest of the run that left it.
    start_manifest: Option<Map<String, Value>>,
    guards: Guards,
    /// Digest of all the run is a function of.
    fingerprint: Digest,
}

/// What a checkpoint remembers beside adapter and optimizer.
#[derive(Serialize, Deserialize)]
struct State {
    run: String,
    guards: Guards,
}

impl Run {
    fn open(config: &RunConfig, base: &PreparedModel, args: &RftArgs) -> anyhow::Result<Self> {
        let rl = &config.rl;
        let contexts = Contexts::open(config, &args.data_dir)?;
        let runs = contexts.training_runs(rl.adjacent_dates as usize);
        ensure!(
            !runs.is_empty(),
            "no name has {} adjacent training dates with labels; lower rl.adjacent_dates or \
             data.sources.*.every",
            rl.adjacent_dates
        );
        let session = run::session(config, base, rl.learning_rate, rl.steps as usize)?;
        let start_digest = args.adapter.as_deref().map(run::digest_of).transpose()?;
        let division = contexts.division(config);
        let mut start_manifest = None;
        if let Some((path, digest)) = args.adapter.as_ref().zip(start_digest) {
            // The manifest beside it says which dates it has seen.
            let origin = RunDirectory::of(path.parent().unwrap_or(Path::new(".")));
            origin.check_adapter(digest, base, &division)?;
            load(&session, path)?;
            start_manifest = Some(origin.manifest()?);
        }
        let data = json!(["rft", division, start_digest]);
        let read = RunConfig { sft: Sft::default(), ..config.clone() };
        let directory = RunDirectory::create(config)?;
        Ok(Self {
            decoder: Decoder::new(base, config.backbone.context_tokens, directory.path())?,
            directory,
            runs,
            contexts,
            scorer: Scorer::new(config.rewards)?,
            encoder: Encoder::load(
                base.path(),
                base.chat_template(),
                config.backbone.context_tokens as usize,
            )?,
            start: session.engine().model().adapter().values(),
            start_digest,
            start_manifest,
            session,
            guards: Guards::default(),
            fingerprint: run::fingerprint(read, base, &data),
        })
    }

    /// Goes on from the checkpoint, where there is one, and returns the steps done.
    fn resume(&mut self) -> anyhow::Result<u64> {
        if let Some(state) = self.directory.restore(&mut self.session)? {
            // The checkpoint of another command has another state.
            let state: Option<State> = serde_json::from_str(&state).ok();
            let found = state.as_ref().map_or("", |state| state.run.as_str());
            self.directory.check(found, self.fingerprint)?;
            self.guards = state.map(|state| state.guards).unwrap_or_default();
        }
        Ok(self.session.steps())
    }

    fn save(&self) -> anyhow::Result<()> {
        let state = State { run: self.fingerprint.to_string(), guards: self.guards.clone() };
        self.directory.save(&self.session, &serde_json::to_string(&state)?)
    }

    /// Takes the steps after `done`. A round of samples is used for `sample_reuse` steps;
    /// checkpoints lie between rounds.
    fn train(
        &mut self,
        config: &RunConfig,
        done: u64,
        tracker: &mut Tracker,
    ) -> anyhow::Result<()> {
        let rl = &config.rl;
        let (total, reuse) = (u64::from(rl.steps), u64::from(rl.sample_reuse));
        let save_steps = u64::from(rl.save_steps);
        let mut step = done;
        while step < total {
            let begun = step;
            tracker.working("writing theses");
            let mut rolled = self.roll_out(rl, config.seed, begun / reuse)?;
            self.know_start(rl, &mut rolled)?;
            for _ in 0..reuse.min(total - begun) {
                let (metrics, tokens, seen) = self.step(rl, &mut rolled)?;
                step += 1;
                // Before the checkpoint: what is logged after it is dropped on the way back.
                tracker.step(step, tokens, metrics)?;
                self.guards.watch(&rl.guards, seen)?;
            }
            if step == total || step / save_steps > begun / save_steps {
                tracker.sync()?;
                self.save()?;
            }
        }
        Ok(())
    }
}

/// Starts with the adapter of a file.
fn load(session: &Session, path: &Path) -> anyhow::Result<()> {
    let (adapter, file) = (session.engine().model().adapter(), AdapterFile::read(path)?);
    let (own, found) = (adapter.config(), file.config(path)?);
    ensure!(
        (own.rank, own.alpha) == (found.rank, found.alpha),
        "{} has rank {} and alpha {}: set lora.rank and lora.alpha to these",
        path.display(),
        found.rank,
        found.alpha
    );
    Ok(file.apply(adapter, path)?)
}
