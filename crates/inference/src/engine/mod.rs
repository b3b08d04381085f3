//! The front's handle to the worker process.

mod link;
mod supervisor;
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

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
pub use types::{
    ContextConfig, EngineConfig, EngineState, EngineStatus, FinishReason, Generation,
    GenerationRequest, ModelInfo, Sampling, Timings, Usage,
};

use self::supervisor::{Command, Entry, Supervisor};
use crate::{error::InferenceError, metrics};

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
    capacity: usize,
    next_id: AtomicU64,
    /// Mean time between two finished generations in microseconds, for the
    /// estimate of `Retry-After`.
    pace_us: Arc<AtomicU64>,
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
        let (commands, inbox) = mpsc::unbounded_channel();
        let (started, ready) = oneshot::channel();
        let pace_us = Arc::new(AtomicU64::new(1_000_000));
        let (supervisor, status) = Supervisor::new(config, inbox, started, Arc::clone(&pace_us));
        // A thread of its own: the kernel kills a worker when the thread that
        // started it ends, and the caller's runtime may be busy.
        thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || supervisor.run())
            .map_err(|error| start_error(&error))?;
        ready.await.unwrap_or(Err(InferenceError::WorkerLost))?;
        Ok(Self {
            shared: Arc::new(Shared {
                commands,
                status,
                places: Arc::new(Semaphore::new(capacity)),
                capacity,
                next_id: AtomicU64::new(0),
                pace_us,
            }),
        })
    }

    /// Generates text. Dropping the future cancels the generation and frees
    /// its sequence within one step of the decoder.
    ///
    /// # Errors
    /// See [`InferenceError`]; a full queue is refused at once.
    pub async fn generate(&self, request: GenerationRequest) -> Result<Generation, InferenceError> {
        request.check()?;
        let shared = &*self.shared;
        if shared.commands.is_closed() || shared.places.is_closed() {
            return Err(InferenceError::ShuttingDown);
        }
        if self.status().state == EngineState::Down {
            return Err(InferenceError::WorkerLost);
        }
        let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() else {
            metrics::sequence_refused();
            return Err(InferenceError::Overloaded { retry_after: self.retry_after() });
        };
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, outcome) = oneshot::channel();
        let entry = Entry {
            deadline: Instant::now() + request.timeout,
            request,
            answer,
            place,
            sent: false,
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

    /// Time until the requests in flight are likely to be done.
    fn retry_after(&self) -> Duration {
        let pace = Duration::from_micros(self.shared.pace_us.load(Ordering::Relaxed));
        let waiting = u32::try_from(self.shared.capacity).unwrap_or(u32::MAX);
        pace.saturating_mul(waiting).clamp(Duration::from_secs(1), Duration::from_secs(30))
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
