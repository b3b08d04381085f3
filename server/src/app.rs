//! The assembled application, and what can go wrong before it serves.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use contract::{Schema, SchemaError};
use inference::{
    EngineConfig, InferenceError, WorkerCommand, Writer,
    model::{self, ModelError},
};
use lake::{LakeError, Snapshot};
use metrics_exporter_prometheus::PrometheusHandle;
use thiserror::Error;

use crate::{api, config::Config, theses::Theses};

/// Everything a request can reach.
pub struct App {
    config: Config,
    theses: Theses,
    model_name: String,
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
    /// A task of the start ended without a result.
    #[error("a task of the start failed")]
    Task(#[from] tokio::task::JoinError),
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
        let (choice, models) = (config.engine.model.clone(), config.data.dir.join("models"));
        let command = worker.clone();
        // Hashing 100 MB, and the first time converting them, is not for the runtime.
        let model = tokio::task::spawn_blocking(move || model::locate(&choice, &models, &command));
        let model = model.await??;
        let snapshot =
            Arc::new(open_snapshot(&config.data.dir, config.data.snapshot.as_ref()).await?);
        let (model_name, digest) = (model.name().to_owned(), model.digest());
        let mut engine = EngineConfig::new(model, worker);
        engine.max_in_flight = config.engine.queue_max;
        engine.context.threads = config.engine.threads;
        if config.engine.lanes > 0 {
            engine.context.lanes = config.engine.lanes;
        }
        engine.max_wait = Duration::from_millis(config.engine.wait_max_ms);
        let writer = Writer::start(engine, Writer::DEFAULT_SAMPLING).await?;
        let (cache, deadline) = (&config.cache, config.http.deadline());
        let theses = Theses::new(snapshot, writer, digest, schema, cache, deadline);
        Ok(Self { config, theses, model_name, openapi, metrics })
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

    /// Returns the model's name.
    #[must_use]
    pub fn model_name(&self) -> &str {
        &self.model_name
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

async fn open_snapshot(data: &Path, chosen: Option<&PathBuf>) -> Result<Snapshot, LakeError> {
    match chosen {
        Some(directory) => Snapshot::open(directory).await,
        None => Snapshot::open_current(data).await,
    }
}
