//! The decoder of serving, with the adapter that is trained.
//!
//! A worker is started for each batch of theses, so that what it writes is a function of
//! adapter and seeds alone, and a run that resumes samples what it would have sampled.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use contract::Plan;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::ProgressBar;
use inference::{
    ContextConfig, Engine, EngineConfig, Generation, GenerationRequest, InferenceError, ModelInfo,
    Sampling, WorkerCommand, model::PreparedModel,
};
use tokio::runtime::{Builder, Runtime};

/// Bound on the time of one thesis: large models on few cores take minutes.
const TIMEOUT: Duration = Duration::from_secs(1_800);

/// Time in one step of a worker's decoder, and to load a model, after which it is taken to
/// hang: training shares its cores with it, and nobody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Tokens of the longest answer.
const ANSWER_TOKENS: u32 =
    GenerationRequest::answer_tokens(GenerationRequest::CLAIMS_MAX, GenerationRequest::MAX_TOKENS);

/// A thesis to write.
pub(crate) struct Ask {
    /// Where the model has a choice.
    pub(crate) plan: Plan,
    /// Seed of its samplers.
    pub(crate) seed: u64,
}

/// Theses that one worker wrote, in the order they were asked for.
pub(crate) struct Batch {
    /// What wrote them.
    pub(crate) model: Arc<ModelInfo>,
    /// What was decoded.
    pub(crate) generations: Vec<Generation>,
}

/// Writes theses in batches.
pub(crate) struct Decoder {
    runtime: Runtime,
    worker: WorkerCommand,
    model: PreparedModel,
    context: ContextConfig,
}

impl Decoder {
    /// Prepares workers for prompts of up to so many tokens.
    ///
    /// # Errors
    /// Fails when the path of this program is unknown.
    pub(crate) fn new(model: &PreparedModel, prompt_tokens: u32) -> anyhow::Result<Self> {
        let tokens = prompt_tokens.saturating_add(ANSWER_TOKENS).min(model.context_length());
        Ok(Self {
            runtime: Builder::new_current_thread().enable_all().build()?,
            worker: WorkerCommand::current_exe().context("the path of this program")?,
            model: model.clone(),
            context: ContextConfig { tokens, ..ContextConfig::default() },
        })
    }

    /// Writes theses and ticks `bar` for each; with the bare base where there is no adapter.
    ///
    /// # Errors
    /// Fails when the worker does not start with the adapter, or a thesis fails.
    pub(crate) fn write(
        &self,
        adapter: Option<&Path>,
        asks: Vec<Ask>,
        sampling: Sampling,
        bar: &ProgressBar,
    ) -> anyhow::Result<Batch> {
        let config = EngineConfig {
            adapter: adapter.map(Path::to_owned),
            context: self.context,
            watchdog: PATIENCE,
            start_timeout: PATIENCE,
            ..EngineConfig::new(self.model.clone(), self.worker.clone())
        };
        self.runtime.block_on(async {
            let engine = Engine::start(config).await?;
            let model = engine.status().model;
            let write = |Ask { plan, seed }| {
                let request = GenerationRequest::new(plan, seed, sampling, TIMEOUT);
                engine.generate(request)
            };
            let written: Result<Vec<_>, InferenceError> = stream::iter(asks)
                .map(write)
                .buffered(engine.batch_width())
                .inspect_ok(|_| bar.inc(1))
                .try_collect()
                .await;
            engine.shutdown().await;
            Ok(Batch { model, generations: written? })
        })
    }
}
