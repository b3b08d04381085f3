//! A backtest that is being computed, and what became of it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use domain::Digest;
use tokio::sync::{Notify, watch};

use crate::problem::ApiError;

/// What became of a job.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The answer.
    Done(Bytes),
    /// Somebody asked to stop.
    Cancelled,
    /// It cannot be answered.
    Failed(Arc<ApiError>),
}

impl Outcome {
    /// Names it, for metrics and answers.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "failed",
        }
    }
}

/// A question that is being answered. Equal questions share it.
#[derive(Debug)]
pub(crate) struct Job {
    id: Digest,
    is_running: AtomicBool,
    is_cancelled: AtomicBool,
    cancel: Notify,
    /// Intervals that are done, and all there are.
    done: AtomicUsize,
    all: AtomicUsize,
    outcome: OnceLock<Outcome>,
    over: watch::Sender<bool>,
}

impl Job {
    pub(super) fn new(id: Digest) -> Self {
        Self {
            id,
            is_running: AtomicBool::new(false),
            is_cancelled: AtomicBool::new(false),
            cancel: Notify::new(),
            done: AtomicUsize::new(0),
            all: AtomicUsize::new(0),
            outcome: OnceLock::new(),
            over: watch::Sender::new(false),
        }
    }

    /// Returns its id.
    pub(crate) const fn id(&self) -> Digest {
        self.id
    }

    /// Names what it does.
    pub(crate) fn state(&self) -> &'static str {
        match self.outcome.get() {
            Some(outcome) => outcome.name(),
            None if self.is_running.load(Ordering::Relaxed) => "running",
            None => "queued",
        }
    }

    /// Returns the share that is done.
    pub(crate) fn progress(&self) -> f64 {
        let all = self.all.load(Ordering::Relaxed).max(1);
        self.done.load(Ordering::Relaxed) as f64 / all as f64
    }

    /// Returns what became of it, once it is over.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }

    /// Asks it to stop.
    pub(super) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        self.cancel.notify_one();
    }

    pub(super) async fn cancelled(&self) {
        self.cancel.notified().await;
    }

    pub(super) fn begin(&self) {
        self.is_running.store(true, Ordering::Relaxed);
    }

    /// Notes how far it is, and returns whether it shall go on.
    pub(super) fn step(&self, done: usize, all: usize) -> bool {
        self.done.store(done, Ordering::Relaxed);
        self.all.store(all, Ordering::Relaxed);
        !self.is_cancelled.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self, outcome: Outcome) {
        let _ = self.outcome.set(outcome);
        self.over.send_replace(true);
    }

    /// Waits until it is over.
    pub(super) async fn over(&self) {
        let mut over = self.over.subscribe();
        // The sender is this job's own.
        let _ = over.wait_for(|over| *over).await;
    }
}
