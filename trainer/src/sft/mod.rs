//! `r2r-trainer sft`: supervised fine-tuning through the curriculum.
//!
//! Loss is taken where serving lets the model choose, over the tokens that stood to
//! choice there, so what is trained is the policy that is served. Left out: packing of
//! several contexts into one pass (a context already is some hundred tokens with its
//! branches), and loss on forced text, which the model never writes.
//!
//! A run is a function of configuration, corpus and base. It goes on from its last
//! checkpoint by itself; on one CPU thread the adapter has the same bytes then.

mod schedule;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::ensure;
use clap::Args;
use contract::rewards::RewardConfig;
use domain::{Digest, SystemClock};
use gradients::{Outcome, Session};
use inference::model::PreparedModel;
use serde_json::{Map, Value, json};

use self::schedule::{StepPlan, schedule};
use crate::{
    config::{ConfigArgs, Rl, RunConfig},
    corpus::{Corpus, Example, Part, Stage},
    encode::{Encoded, Encoder},
    run::{self, RunDirectory},
    teacher::draw,
    tracking::{self, Tracker},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  r2r-trainer sft --config cpu-demo --corpus corpus\n  \
    r2r-trainer sft --config cpu-demo --corpus corpus --set engine.threads=1")]
pub(crate) struct SftArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where models are kept.
    #[arg(long, env = "R2R_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
    /// Corpus, as `r2r-trainer corpus` makes it.
    #[arg(long)]
    corpus: PathBuf,
}

/// Trains, or goes on training, an adapter.
///
/// # Errors
/// Fails when corpus, base or checkpoint are not what they should be, the device
/// fails, or losses are not finite.
pub(crate) fn run(args: &SftArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    let base = run::base(&config, &args.data_dir)?;
    let mut run = Run::open(&config, &base, &args.corpus)?;
    let done = run.resume()?;
    let total = run.steps.len() as u64;
    let clock = Box::new(SystemClock);
    let mut tracker = Tracker::start(&config, run.directory.path(), done, total, clock)?;
    let finished = run.train(&config, done, &mut tracker);
    let outcome = match &finished {
        Ok(_) => tracking::Outcome::Finished,
        Err(_) => tracking::Outcome::Failed,
    };
    let ended = tracker.finish(outcome);
    let found = Map::from_iter([
        ("division".to_owned(), run.division),
        ("losses".to_owned(), json!(finished?)),
    ]);
    run.directory.export(&run.session, &config, &base, run.fingerprint, found)?;
    // Views of the run; the adapter is there without them.
    ended
}

/// Everything a run holds.
struct Run {
    directory: RunDirectory,
    encoder: Encoder,
    session: Session,
    /// Training and validation examples of each stage of the curriculum.
    examples: Vec<[Vec<Example>; 2]>,
    stages: Vec<Stage>,
    steps: Vec<StepPlan>,
    /// What decides which dates it trains on.
    division: Value,
    /// Digest of all the run is a function of.
    fingerprint: Digest,
}

impl Run {
    fn open(config: &RunConfig, base: &PreparedModel, corpus: &Path) -> anyhow::Result<Self> {
        let corpus = Corpus::open(corpus)?;
        let division = corpus.division(config)?;
        let stages: Vec<Stage> = config.sft.curriculum.iter().map(|plan| plan.stage).collect();
        let most = config.sft.eval_contexts_max;
        let read = |&stage: &Stage| {
            let validation = corpus.examples(Part::Validation, stage)?;
            Ok([corpus.examples(Part::Train, stage)?, fair_sample(validation, most)])
        };
        let examples = stages.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        let sizes: Vec<usize> = examples.iter().map(|[train, _]| train.len()).collect();
        let per_step = config.optimizer.gradient_accumulation_steps as usize;
        let steps = schedule(&config.sft.curriculum, &sizes, per_step, config.seed);
        ensure!(
            !steps.is_empty(),
            "the curriculum has no step: the corpus is empty, or the epochs of sft.curriculum are too few \
             for one"
        );
        let context_tokens = config.backbone.context_tokens as usize;
        let encoder = Encoder::load(base.path(), base.chat_template(), context_tokens)?;
        let planned: BTreeSet<(usize, usize)> = steps
            .iter()
            .flat_map(|plan| plan.examples.iter().map(|&index| (plan.stage, index)))
            .collect();
        let planned = planned.into_iter().map(|(stage, index)| &examples[stage][0][index]);
        encoder.check_lengths(planned.chain(examples.iter().flat_map(|[_, held_out]| held_out)))?;
        let learning_rate = config.optimizer.learning_rate;
        let session = run::session(config, base, learning_rate, steps.len())?;
        let read =
            RunConfig { rl: Rl::default(), rewards: RewardConfig::default(), ..config.clone() };
        let fingerprint = run::fingerprint(read, base, &json!(["sft", corpus.manifest()]));
        let directory = RunDirectory::create(config)?;
        Ok(Self { directory, encoder, session, examples, stages, steps, division, fingerprint })
    }

    /// Goes on from the checkpoint, where there is one, and returns the steps done.
    fn resume(&mut self) -> anyhow::Result<u64> {
        if let Some(state) = self.directory.restore(&mut self.session)? {
            self.directory.check(&state, self.fingerprint)?;
        }
        Ok(self.session.steps())
    }

    /// Takes the steps after `done`, and returns the last validation losses.
    fn train(
        &mut self,
        config: &RunConfig,
        done: u64,
        tracker: &mut Tracker,
    ) -> anyhow::Result<BTreeMap<String, f64>> {
        let total = self.steps.len() as u64;
        let every = |n: u32, step: u64| n > 0 && step.is_multiple_of(u64::from(n));
        let mut losses = BTreeMap::new();
        for step in done..total {
            let plan = self.steps[usize::try_from(step)?].clone();
            let (mut metrics, tokens) = self.step(&plan)?;
            let step = step + 1;
            let is_last = step == total;
            if is_last || every(config.sft.eval_steps, step) {
                losses = self.evaluate(tracker)?;
                metrics.extend(losses.clone());
            }
            // Before the checkpoint: what is logged after it is dropped on the way back.
            tracker.step(step, tokens, metrics)?;
            if is_last || every(config.sft.save_steps, step) {
                tracker.sync()?;
                self.directory.save(&self.session, &self.fingerprint.to_string())?;
            }
        }
        if losses.is_empty() {
            losses = self.evaluate(tracker)?;
        }
        Ok(losses)
    }

    fn step(&mut self, plan: &StepPlan) -> anyhow::Result<(BTreeMap<String, f64>, u64)> {
        let weight = 1.0 / plan.examples.len() as f32;
        let mut found = Losses::default();
        let mut tokens = 0;
        for &index in &plan.examples {
            let example = &self.examples[plan.stage][0][index];
            let encoded = self.encoder.encode(example, weight)?;
            tokens += encoded.batch.len() as u64;
            let outcome = self.session.accumulate(&encoded.batch)?;
            found.add(&encoded, &outcome);
        }
        let report = self.session.step();
        ensure!(
            report.gradient_norm.is_finite(),
            "the gradient is not finite; lower optimizer.learning_rate and begin again under \
             another name"
        );
        let mut metrics = found.metrics("train", self.stages[plan.stage]);
        metrics.extend(found.mean().map(|loss| ("train.loss".to_owned(), loss)));
        metrics.insert("optimizer.gradient_norm".into(), report.gradient_norm);
        metrics.insert("optimizer.learning_rate".into(), f64::from(report.learning_rate));
        Ok((metrics, tokens))
    }

    /// Losses on the validation part of each stage.
    fn evaluate(&mut self, tracker: &Tracker) -> anyhow::Result<BTreeMap<String, f64>> {
        let n: usize = self.examples.iter().map(|[_, examples]| examples.len()).sum();
        let mut done = 0;
        let mut metrics = BTreeMap::new();
        let mut all = Losses::default();
        for (stage, [_, examples]) in self.stages.iter().zip(&self.examples) {
            let mut found = Losses::default();
            for example in examples {
                tracker.working(format!("validation losses, {done} of {n}"));
                done += 1;
                let encoded = self.encoder.encode(example, 0.0)?;
                let outcome = self.session.engine_mut().evaluate(&encoded.batch)?;
                found.add(&encoded, &outcome);
                all.add(&encoded, &outcome);
            }
            metrics.extend(found.metrics("validation", *stage));
        }
        metrics.extend(all.mean().map(|loss| ("validation.loss".to_owned(), loss)));
        Ok(metrics)
    }
}

/// At most so many examples, 0 for all: the same contexts at every stage and in every run.
fn fair_sample(mut examples: Vec<Example>, most: u32) -> Vec<Example> {
    if most > 0 {
        examples.sort_by_cached_key(|example| {
            draw(&format!("{}\0{}\0{}", example.universe, example.ticker, example.as_of))
        });
        examples.truncate(most as usize);
    }
    examples
}

/// Sums of negative log-probabilities by what they decide.
#[derive(Default)]
struct Losses(BTreeMap<&'static str, (f64, f64)>);

impl Losses {
    fn add(&mut self, encoded: &Encoded, outcome: &Outcome) {
        for (asked, &log_prob) in encoded.asked.iter().zip(&outcome.log_probs) {
            for key in ["loss", asked.kind.key()] {
                let (sum, n) = self.0.entry(key).or_default();
                *sum -= f64::from(log_prob);
                *n += 1.0;
            }
        }
    }

    /// Mean in nats a choice.
    fn mean(&self) -> Option<f64> {
        self.0.get("loss").map(|(sum, n)| sum / n)
    }

    /// Means in nats a choice: over all choices, and of each kind.
    fn metrics(&self, part: &str, stage: Stage) -> BTreeMap<String, f64> {
        let name = |key: &str| format!("{part}.{}.{key}", stage.key());
        self.0.iter().map(|(key, (sum, n))| (name(key), sum / n)).collect()
    }
}
