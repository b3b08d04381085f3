//! The front's handle to the worker process.

mod link;
mod load;
mod requests;
mod supervisor;
mod swap;
mod types;

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
pub use types::{
    ContextConfig, EngineConfig, EngineState, EngineStatus, Generation, GenerationRequest,
    ModelInfo, Priority, Sampling, Timings, Usage, Written,
};

use self::{
    load::{Load, Person},
    requests::Entry,
    supervisor::Command,
    swap::Swap,
};
use crate::{error::InferenceError, metrics, model::PreparedModel};

/// A running inference engine. Clones share one worker process, which ends
/// with the last of them.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<EngineStatus>,
    places: Arc<Semaphore>,
    context: ContextConfig,
    max_latency: Duration,
    capacity: usize,
    load: Arc<Load>,
    next_id: AtomicU64,
}

/// A place in the engine for a request to the model that served when it was
/// taken; free again when this is dropped.
#[derive(Debug)]
pub struct Admission {
    model: Arc<ModelInfo>,
    priority: Priority,
    _place: OwnedSemaphorePermit,
    _person: Option<Person>,
}

impl Admission {
    /// Returns the model the request goes to, and to no other.
    #[must_use]
    pub fn model(&self) -> &ModelInfo {
        &self.model
    }
}

/// Cancels the generation when the caller drops its future.
struct CancelOnDrop<'a> {
    id: u64,
    commands: &'a mpsc::UnboundedSender<Command>,
    done: bool,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.commands.send(Command::Cancel(self.id));
        }
    }
}

impl Engine {
    /// Starts a worker and waits until it is ready.
    ///
    /// # Errors
    /// Fails when a size is out of range, the worker cannot be started, or it
    /// cannot load the model.
    pub async fn start(config: EngineConfig) -> Result<Self, InferenceError> {
        config.check()?;
        let capacity = config.max_in_flight;
        let places = Arc::new(Semaphore::new(capacity));
        let (context, max_latency) = (config.context, config.max_latency);
        let (commands, inbox) = mpsc::unbounded_channel();
        let (started, ready) = oneshot::channel();
        let load = Arc::new(Load::new(context.lanes));
        let observed = Arc::clone(&load);
        // A thread of its own: the kernel kills a worker when the thread that
        // started it ends, and the caller's runtime may be busy.
        thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || supervisor::run(config, inbox, started, observed))
            .map_err(|error| start_error(&error))?;
        let status = ready.await.unwrap_or(Err(InferenceError::WorkerLost))?;
        Ok(Self {
            shared: Arc::new(Shared {
                commands,
                status,
                places,
                context,
                max_latency,
                capacity,
                load,
                next_id: AtomicU64::new(0),
            }),
        })
    }

    /// Takes a place for a request, before any work is put into it.
    ///
    /// # Errors
    /// [`InferenceError::Overloaded`] when the queue is full or a person would
    /// be answered too late, and whatever keeps the engine from serving.
    pub fn admit(&self, priority: Priority) -> Result<Admission, InferenceError> {
        let shared = &*self.shared;
        if shared.commands.is_closed() || shared.places.is_closed() {
            return Err(InferenceError::ShuttingDown);
        }
        let EngineStatus { state, model, .. } = self.status();
        if state == EngineState::Down {
            return Err(InferenceError::WorkerLost);
        }
        let refused = || {
            metrics::place_refused();
            InferenceError::Overloaded { retry_after: self.retry_after() }
        };
        let place = Arc::clone(&shared.places).try_acquire_owned().map_err(|_| refused())?;
        let person = (priority == Priority::Interactive).then(|| shared.load.enter());
        let wait = person.as_ref().and_then(|person| shared.load.expected_wait(person));
        if wait.is_some_and(|wait| wait + shared.load.service() > shared.max_latency) {
            return Err(refused());
        }
        Ok(Admission { model, priority, _place: place, _person: person })
    }

    /// Decodes a thesis, with the patience of a batch. Dropping the future
    /// cancels the work and frees its lane within one step of the decoder.
    ///
    /// # Errors
    /// See [`InferenceError`].
    pub async fn generate(&self, request: GenerationRequest) -> Result<Generation, InferenceError> {
        self.generate_telling(request, self.admit(Priority::Batch)?, None).await
    }

    /// As [`Self::generate`]; sends each claim as soon as it is written, again
    /// where a worker died meanwhile.
    ///
    /// # Errors
    /// See [`InferenceError`].
    pub async fn generate_telling(
        &self,
        request: GenerationRequest,
        admission: Admission,
        claims: Option<mpsc::UnboundedSender<Written>>,
    ) -> Result<Generation, InferenceError> {
        request.check()?;
        let shared = &*self.shared;
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, outcome) = oneshot::channel();
        let entry = Entry {
            deadline: Instant::now() + request.timeout,
            request,
            answer,
            claims,
            admission,
            worker: None,
            attempts: 0,
        };
        let mut guard = CancelOnDrop { id, commands: &shared.commands, done: false };
        if shared.commands.send(Command::Generate(id, Box::new(entry))).is_err() {
            guard.done = true;
            return Err(InferenceError::ShuttingDown);
        }
        let outcome = outcome.await;
        guard.done = true;
        outcome.unwrap_or(Err(InferenceError::ShuttingDown))
    }

    /// Replaces the model without a pause. A second worker loads `model` and
    /// decodes `golden`; when `accept` agrees with what it wrote, new requests go
    /// to it, and its predecessor ends after those it has. Returns when it has
    /// ended.
    ///
    /// # Errors
    /// [`InferenceError::Swapping`] while another model is on its way; whatever
    /// kept the new one from answering, or [`InferenceError::Model`] with the
    /// reason of `accept`. The present model serves on.
    pub async fn swap(
        &self,
        model: PreparedModel,
        golden: GenerationRequest,
        accept: impl FnOnce(&ModelInfo, &Generation) -> Result<(), String> + Send + 'static,
    ) -> Result<(), InferenceError> {
        golden.check()?;
        let (done, outcome) = oneshot::channel();
        let swap = Swap { model, golden, accept: Box::new(accept), done };
        let _ = self.shared.commands.send(Command::Swap(Box::new(swap)));
        outcome.await.unwrap_or(Err(InferenceError::ShuttingDown))
    }

    /// Returns how many theses are decoded at the same time.
    #[must_use]
    pub fn lanes(&self) -> u32 {
        self.shared.context.lanes
    }

    /// Returns how many elements of a batch keep every lane busy.
    #[must_use]
    pub fn batch_width(&self) -> usize {
        self.shared.context.batch_width()
    }

    /// Returns the state at this moment.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        self.shared.status.borrow().clone()
    }

    /// Returns a receiver that follows the state.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<EngineStatus> {
        self.shared.status.clone()
    }

    /// Refuses new requests, waits for those in flight and ends the worker.
    pub async fn shutdown(&self) {
        self.shared.places.close();
        let (done, finished) = oneshot::channel();
        if self.shared.commands.send(Command::Shutdown(done)).is_ok() {
            let _ = finished.await;
        }
    }

    /// When it is worth to come back: after those who wait now.
    fn retry_after(&self) -> Duration {
        let shared = &*self.shared;
        let taken = shared.capacity.saturating_sub(shared.places.available_permits());
        let full = u32::try_from(taken).unwrap_or(u32::MAX);
        let waiting = if taken == shared.capacity { full } else { shared.load.people() };
        let seconds = Duration::from_secs;
        (shared.load.service().saturating_mul(waiting) / shared.context.lanes)
            .clamp(seconds(1), seconds(30))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("status", &self.status()).finish_non_exhaustive()
    }
}

fn start_error(error: &io::Error) -> InferenceError {
    InferenceError::Model { detail: format!("the worker process cannot be started: {error}") }
}
