//! Replaces the model while requests are served.

use futures::future::BoxFuture;
use tokio::{sync::oneshot, time::timeout};

use super::{EngineConfig, Generation, GenerationRequest, ModelInfo, Priority, link::Link};
use crate::{
    error::InferenceError,
    model::PreparedModel,
    protocol::{FromWorker, Job, ToWorker},
};

/// Judges what a candidate decoded; an error says why it may not serve.
pub(super) type Accept = Box<dyn FnOnce(&ModelInfo, &Generation) -> Result<(), String> + Send>;

/// Told how a swap ended.
pub(super) type Done = oneshot::Sender<Result<(), InferenceError>>;

/// A model that shall serve, and the request it has to answer first.
pub(super) struct Swap {
    pub(super) model: PreparedModel,
    pub(super) golden: GenerationRequest,
    pub(super) accept: Accept,
    /// Told when the model serves and its predecessor has ended.
    pub(super) done: Done,
}

/// A swap whose candidate is at work.
pub(super) struct Swapping {
    pub(super) candidate: BoxFuture<'static, Result<Link, InferenceError>>,
    pub(super) model: PreparedModel,
    pub(super) done: Done,
}

impl Swap {
    /// Starts the candidate's worker; `config` is that of the present model.
    pub(super) fn begin(self, config: &EngineConfig) -> Swapping {
        let Self { model, golden, accept, done } = self;
        let config = EngineConfig { model: model.clone(), ..config.clone() };
        Swapping { candidate: Box::pin(rehearse(config, golden, accept)), model, done }
    }
}

/// Starts a worker and lets it prove itself.
async fn rehearse(
    config: EngineConfig,
    golden: GenerationRequest,
    accept: Accept,
) -> Result<Link, InferenceError> {
    config.check()?;
    let mut link = Link::start(&config).await?;
    let job = Job { id: 0, request: golden, priority: Priority::Interactive };
    link.send(&ToWorker::Generate(Box::new(job)))
        .map_err(|error| InferenceError::Model { detail: error.to_string() })?;
    let answered = timeout(config.start_timeout, async {
        loop {
            match link.receive().await {
                Some(FromWorker::Finished { generation, .. }) => return Ok(generation),
                Some(FromWorker::Failed { error, .. }) => return Err(error),
                Some(_) => {}
                None => return Err(InferenceError::WorkerLost),
            }
        }
    });
    let generation = answered.await.unwrap_or(Err(InferenceError::DeadlineExceeded))?;
    accept(&link.model, &generation).map_err(|detail| InferenceError::Model { detail })?;
    Ok(link)
}
