//! The decoder of serving, with the adapter that is trained.
//!
//! The adapter is merged in BF16 first, as serving does: that takes a second, and a worker
//! over the merged file writes several times as many theses as one that adds the adapter to
//! a quantised base at every token. It rounds less, too: such a base multiplies activations
//! of 8 bits, which the trainer does not.
//!
//! A worker is started for each batch of theses, so that what it writes is a function of
//! adapter and seeds alone, and a run that resumes samples what it would have sampled.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use contract::Plan;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use gradients::{AdapterFile, ggml::Kind, merge};
use indicatif::ProgressBar;
use inference::{
    ContextConfig, Engine, EngineConfig, Generation, GenerationRequest, InferenceError, ModelInfo,
    Sampling, WorkerCommand, model::PreparedModel,
};
use tempfile::TempPath;
use tokio::runtime::{Builder, Runtime};

/// Bound on the time of one thesis: large models on few cores take minutes.
const TIMEOUT: Duration = Duration::from_secs(1_800);

/// Time in one step of a worker's decoder, and to load a model, after which it is taken to
/// hang: training shares its cores with it, and nobody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(300);

/// The base with the adapter merged, beside the adapter while theses are written.
const MERGED: &str = "merged.gguf";

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
    /// Where the merged model is written.
    merged: PathBuf,
}

impl Decoder {
    /// Prepares workers for prompts of up to so many tokens. `directory` is the run's: no
    /// other decoder writes there.
    ///
    /// # Errors
    /// Fails when the path of this program is unknown.
    pub(crate) fn new(
        model: &PreparedModel,
        prompt_tokens: u32,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let tokens = prompt_tokens.saturating_add(ANSWER_TOKENS).min(model.context_length());
        Ok(Self {
            runtime: Builder::new_current_thread().enable_all().build()?,
            worker: WorkerCommand::current_exe().context("the path of this program")?,
            model: model.clone(),
            context: ContextConfig { tokens, ..ContextConfig::default() },
            merged: directory.join(MERGED),
        })
    }

    /// Writes theses and ticks `bar` for each; with the bare base where there is no adapter.
    ///
    /// # Errors
    /// Fails when the adapter does not fit the base, the worker does not start, or a thesis
    /// fails.
    pub(crate) fn write(
        &self,
        adapter: Option<&AdapterFile>,
        asks: Vec<Ask>,
        sampling: Sampling,
        bar: &ProgressBar,
    ) -> anyhow::Result<Batch> {
        let merged = adapter.map(|adapter| self.merge(adapter)).transpose()?;
        let (_file, model) = merged.unzip();
        let config = EngineConfig {
            context: self.context,
            watchdog: PATIENCE,
            start_timeout: PATIENCE,
            ..EngineConfig::new(model.unwrap_or_else(|| self.model.clone()), self.worker.clone())
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
            let generations = written.map_err(|error| match error {
                InferenceError::PromptTooLong { limit, .. }
                    if limit < self.model.context_length() =>
                {
                    anyhow!(error).context("backbone.context_tokens is too small")
                }
                error => error.into(),
            })?;
            Ok(Batch { model, generations })
        })
    }

    /// Merges an adapter into a file that goes away with the path returned.
    fn merge(&self, adapter: &AdapterFile) -> anyhow::Result<(TempPath, PreparedModel)> {
        let file = TempPath::try_from_path(&self.merged)?;
        merge(self.model.path(), adapter, &file, Kind::BF16)?;
        let model = self.model.with_weights(&file)?;
        Ok((file, model))
    }
}
