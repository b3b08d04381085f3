//! The assembled application, and what can go wrong before it serves.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use contract::{Schema, SchemaError};
use domain::AsOf;
use inference::{
    EngineConfig, InferenceError, WorkerCommand, Writer,
    model::{self, ModelError, PreparedModel},
};
use lake::{LakeError, Snapshot};
use metrics_exporter_prometheus::PrometheusHandle;
use thiserror::Error;
use tokio::task::JoinError;

use crate::{api, backtests::Backtests, config::Config, theses::Theses};

/// Everything a request can reach.
pub struct App {
    config: Config,
    theses: Theses,
    backtests: Arc<Backtests>,
    worker: WorkerCommand,
    openapi: Bytes,
    metrics: PrometheusHandle,
}

/// Why the server does not start. The message is one line with the remedy.
#[derive(Debug, Error)]
pub enum StartError {
    /// The model is missing, or its bytes are not what its manifest promises.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The snapshot is missing, or is not what its manifest promises.
    #[error(transparent)]
    Snapshot(#[from] LakeError),
    /// The worker does not come up.
    #[error("the worker does not start")]
    Worker(#[from] InferenceError),
    /// The schema in this program is broken.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The OpenAPI document does not serialise.
    #[error("the OpenAPI document does not serialise")]
    OpenApi(#[from] serde_json::Error),
    /// The thread of backtests does not start.
    #[error("the thread of backtests does not start")]
    Thread(#[from] rayon::ThreadPoolBuildError),
    /// A task of the start ended without a result.
    #[error("a task of the start failed")]
    Task(#[from] JoinError),
}

/// Why another model does not serve.
#[derive(Debug, Error)]
pub enum SwapError {
    /// Its bytes are missing or not what its manifest promises.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// There is nothing it could prove itself on.
    #[error("the snapshot has no ticker for its first thesis")]
    NoTicker,
    /// What it shall prove itself on cannot be read.
    #[error(transparent)]
    Snapshot(#[from] LakeError),
    /// It does not start, or wrote nothing of use.
    #[error(transparent)]
    Worker(#[from] InferenceError),
    /// The check of its bytes ended without a result.
    #[error("the check of the model failed")]
    Task(#[from] JoinError),
}

impl App {
    /// Opens snapshot and model, both checked against their digests before
    /// anything else reads them, and starts the worker.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        config: Config,
        worker: WorkerCommand,
        metrics: PrometheusHandle,
    ) -> Result<Self, StartError> {
        let schema = Schema::compile()?;
        let openapi = serde_json::to_vec(&api::openapi_document(schema.document()))?.into();
        let model = locate(&config, &config.engine.model, &worker).await??;
        let snapshot =
            Arc::new(open_snapshot(&config.data.dir, config.data.snapshot.as_ref()).await?);
        let mut engine = EngineConfig::new(model, worker.clone());
        engine.context.threads = config.engine.threads;
        if config.engine.lanes > 0 {
            engine.context.lanes = config.engine.lanes;
        }
        // Neither what is decoded nor what batches have in the engine waits in the queue.
        let busy = engine.context.lanes as usize + engine.context.batch_width();
        engine.max_in_flight = config.engine.queue_max + busy;
        engine.context.prompt_cache_bytes = config.engine.prompt_cache_bytes_max;
        engine.standby = config.engine.standby;
        engine.max_latency = Duration::from_millis(config.engine.latency_max_ms);
        let writer = Writer::start(engine, Writer::DEFAULT_SAMPLING).await?;
        let (cache, deadline) = (&config.cache, config.http.deadline());
        let backtests = Backtests::new(
            Arc::clone(&snapshot),
            writer.clone(),
            config.data.dir.clone(),
            &config.backtest,
            cache,
        )?;
        let backtests = Arc::new(backtests);
        let reader = Arc::clone(&backtests);
        tokio::spawn(async move { reader.prepare().await });
        let theses = Theses::new(snapshot, writer, schema, cache, deadline);
        Ok(Self { config, theses, backtests, worker, openapi, metrics })
    }

    /// Returns the configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Returns what writes theses.
    #[must_use]
    pub const fn theses(&self) -> &Theses {
        &self.theses
    }

    /// Returns what computes backtests.
    pub(crate) const fn backtests(&self) -> &Arc<Backtests> {
        &self.backtests
    }

    /// Writes with another model from now on, if it writes a sound thesis about the
    /// first ticker of the snapshot. No request fails meanwhile. Returns whether
    /// the model is another one at all.
    ///
    /// # Errors
    /// See [`SwapError`]; the present model serves on.
    pub async fn swap_model(&self, choice: &str) -> Result<bool, SwapError> {
        let model = locate(&self.config, choice, &self.worker).await??;
        let present = self.theses.model();
        if (model.digest(), model.calibration()) == (present.digest, &present.calibration) {
            return Ok(false);
        }
        let snapshot = self.theses.snapshot();
        let info = snapshot.tickers().first().ok_or(SwapError::NoTicker)?;
        let read = snapshot.read(&info.ticker, AsOf::end_of(info.last)).await?;
        self.theses.writer().swap(model, Arc::new(read)).await?;
        Ok(true)
    }

    /// Returns the metrics.
    #[must_use]
    pub const fn metrics(&self) -> &PrometheusHandle {
        &self.metrics
    }

    /// Returns the OpenAPI document.
    #[must_use]
    pub fn openapi(&self) -> Bytes {
        self.openapi.clone()
    }
}

/// Checks the bytes of a model: hashing 100 MB, and the first time converting
/// them, is not for the runtime.
async fn locate(
    config: &Config,
    choice: &str,
    worker: &WorkerCommand,
) -> Result<Result<PreparedModel, ModelError>, JoinError> {
    let (choice, models) = (choice.to_owned(), config.data.dir.join("models"));
    let worker = worker.clone();
    tokio::task::spawn_blocking(move || model::locate(&choice, &models, &worker)).await
}

async fn open_snapshot(data: &Path, chosen: Option<&PathBuf>) -> Result<Snapshot, LakeError> {
    match chosen {
        Some(directory) => Snapshot::open(directory).await,
        None => Snapshot::open_current(data).await,
    }
}
