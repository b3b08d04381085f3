//! The requests in flight, and which worker has each.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use domain::Digest;
use tokio::sync::{mpsc, oneshot};

use super::{Admission, Generation, GenerationRequest, Written, link::Link};
use crate::{
    error::InferenceError,
    metrics,
    protocol::{Job, ToWorker},
};

pub(super) type Outcome = Result<Generation, InferenceError>;

/// Times a request is given to a worker.
const ATTEMPTS_MAX: u32 = 2;
/// The worker reports a passed deadline itself; this is for one that does not.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);

/// A request in flight.
pub(super) struct Entry {
    pub(super) request: GenerationRequest,
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Outcome>,
    /// Who wants to know of each claim. A worker's death repeats them.
    pub(super) claims: Option<mpsc::UnboundedSender<Written>>,
    pub(super) admission: Admission,
    /// The process that has it.
    pub(super) worker: Option<u32>,
    pub(super) attempts: u32,
}

impl Entry {
    /// Answers the request. Its place is free before the caller knows.
    pub(super) fn settle(self, outcome: Outcome) {
        metrics::request_ended(match &outcome {
            Ok(_) => "finished",
            Err(InferenceError::DeadlineExceeded) => "deadline",
            Err(InferenceError::WorkerLost) => "lost",
            Err(InferenceError::ModelReplaced) => "replaced",
            Err(_) => "failed",
        });
        let Self { answer, admission, .. } = self;
        drop(admission);
        let _ = answer.send(outcome);
    }

    fn model(&self) -> Digest {
        self.admission.model.digest
    }

    fn is_late(&self, now: Instant) -> bool {
        let grace = if self.worker.is_some() { DEADLINE_GRACE } else { Duration::ZERO };
        self.deadline + grace <= now
    }
}

/// All requests in flight by id.
#[derive(Default)]
pub(super) struct Requests(BTreeMap<u64, Entry>);

impl Requests {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, id: u64, entry: Entry) {
        self.0.insert(id, entry);
    }

    /// Tells whether a worker has any.
    pub(super) fn are_in(&self, worker: u32) -> bool {
        self.0.values().any(|entry| entry.worker == Some(worker))
    }

    /// Counts those no worker has.
    pub(super) fn waiting(&self) -> usize {
        self.0.values().filter(|entry| entry.worker.is_none()).count()
    }

    /// Forgets a request; returns the worker that has it.
    pub(super) fn cancel(&mut self, id: u64) -> Option<u32> {
        let entry = self.0.remove(&id)?;
        metrics::request_ended("cancelled");
        entry.worker
    }

    pub(super) fn tell(&self, id: u64, claim: Written) {
        if let Some(claims) = self.0.get(&id).and_then(|entry| entry.claims.as_ref()) {
            let _ = claims.send(claim);
        }
    }

    /// Answers a request, unless it was cancelled.
    pub(super) fn answer(&mut self, id: u64, outcome: Outcome) {
        if let Some(entry) = self.0.remove(&id) {
            entry.settle(outcome);
        }
    }

    pub(super) fn answer_all(&mut self, error: &InferenceError) {
        while let Some((_, entry)) = self.0.pop_first() {
            entry.settle(Err(error.clone()));
        }
    }

    /// Gives a worker every request that no other has.
    pub(super) fn send_to(&mut self, link: &Link) {
        let now = Instant::now();
        for (&id, entry) in self.0.iter_mut().filter(|(_, entry)| entry.worker.is_none()) {
            let mut request = entry.request.clone();
            request.timeout = entry.deadline.saturating_duration_since(now);
            let priority = entry.admission.priority;
            let job = ToWorker::Generate(Box::new(Job { id, request, priority }));
            entry.worker = link.send(&job).is_ok().then(|| link.pid());
            entry.attempts += 1;
        }
    }

    /// Answers those whose deadline has passed; returns those a worker has.
    pub(super) fn expire(&mut self) -> Vec<(u64, u32)> {
        let now = Instant::now();
        let late = self.0.extract_if(.., |_, entry| entry.is_late(now));
        late.filter_map(|(id, entry)| {
            let worker = entry.worker;
            entry.settle(Err(InferenceError::DeadlineExceeded));
            worker.map(|worker| (id, worker))
        })
        .collect()
    }

    /// Takes the requests of a lost worker back. They wait for the next one of
    /// the same model, once.
    pub(super) fn take_from(&mut self, worker: u32) {
        let is_worn =
            |entry: &Entry| entry.worker == Some(worker) && entry.attempts >= ATTEMPTS_MAX;
        for (_, entry) in self.0.extract_if(.., |_, entry| is_worn(entry)) {
            entry.settle(Err(InferenceError::WorkerLost));
        }
        for entry in self.0.values_mut().filter(|entry| entry.worker == Some(worker)) {
            metrics::request_retried();
            entry.worker = None;
        }
    }

    /// Answers those that no worker has and that were admitted for another model.
    pub(super) fn keep_model(&mut self, model: Digest) {
        let is_other = |entry: &Entry| entry.worker.is_none() && entry.model() != model;
        for (_, entry) in self.0.extract_if(.., |_, entry| is_other(entry)) {
            entry.settle(Err(InferenceError::ModelReplaced));
        }
    }
}
