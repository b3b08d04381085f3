//! What the threads of a worker share: requests waiting, who works on what.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use llama_cpp_2::token::LlamaToken;

use super::{Outbox, thesis::Prepared};
use crate::{
    engine::Priority,
    error::InferenceError,
    protocol::{BusyLane, FromWorker, Progress, count},
};

/// Longest time for which a request may be overtaken by one whose prompt is
/// decoded already.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time after which an element of a batch takes turns with people.
const BATCH_PATIENCE: Duration = Duration::from_secs(10);
/// Time between two signs of life.
const HEARTBEAT: Duration = Duration::from_millis(50);

pub(super) struct Board {
    state: Mutex<State>,
    wake: Condvar,
    outbox: Outbox,
}

struct State {
    waiting: VecDeque<Prepared>,
    /// By lane.
    running: Vec<Option<Running>>,
    closed: bool,
    /// Whether the last request taken was an element of a batch that had waited
    /// for long.
    was_late: bool,
    /// Beats so far. Stalls are counted in them, not timed: when the whole process was
    /// stopped, no thread is to blame.
    beats: u32,
    /// The beat at which a request began to be prepared.
    preparing: Option<u32>,
    progress: Progress,
}

struct Running {
    id: u64,
    priority: Priority,
    cancelled: Arc<AtomicBool>,
    since: Instant,
    /// The beat of its last step.
    stepped: u32,
}

impl Running {
    fn new(request: &Prepared, beat: u32) -> Self {
        let (id, priority) = (request.id, request.priority);
        let cancelled = Arc::clone(&request.cancelled);
        Self { id, priority, cancelled, since: Instant::now(), stepped: beat }
    }
}

impl Board {
    pub(super) fn new(lanes: usize, outbox: Outbox) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            running: (0..lanes).map(|_| None).collect(),
            closed: false,
            was_late: false,
            beats: 0,
            preparing: None,
            progress: Progress::default(),
        };
        Self { state: Mutex::new(state), wake: Condvar::new(), outbox }
    }

    /// Notes that a request is being prepared.
    pub(super) fn prepare(&self) {
        let mut state = self.lock();
        state.preparing = Some(state.beats);
    }

    /// Puts a request in the queue, unless its preparation failed.
    pub(super) fn admit(&self, request: Option<Prepared>) {
        let mut state = self.lock();
        state.preparing = None;
        state.waiting.extend(request);
        self.report(&mut state);
        // All of them, because not every lane may take it: see `take`.
        self.wake.notify_all();
    }

    /// Gives signs of life until the worker ends.
    pub(super) fn beat(&self) {
        loop {
            thread::sleep(HEARTBEAT);
            let mut state = self.lock();
            if state.closed {
                return;
            }
            state.beats += 1;
            self.expire(&mut state);
            self.report(&mut state);
        }
    }

    /// Forgets a request, or tells the lane that has it.
    pub(super) fn cancel(&self, id: u64) {
        let mut state = self.lock();
        state.waiting.retain(|request| request.id != id);
        for running in state.running.iter().flatten().filter(|running| running.id == id) {
            running.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Ends the lanes.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for running in state.running.iter().flatten() {
            running.cancelled.store(true, Ordering::Relaxed);
        }
        self.wake.notify_all();
    }

    /// Waits for a request for a lane whose context has `held` a prompt. None
    /// when the worker ends. What a single lane can serve goes to the first one
    /// that is idle, because only the first can decode with all threads.
    pub(super) fn take(&self, lane: usize, held: &[LlamaToken]) -> Option<Prepared> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            self.expire(&mut state);
            let idle_before = state.running[..lane].iter().filter(|lane| lane.is_none()).count();
            if state.waiting.len() > idle_before {
                let at = next(&state.waiting, held, state.was_late);
                if let Some(request) = state.waiting.remove(at) {
                    state.was_late = is_late(&request);
                    state.running[lane] = Some(Running::new(&request, state.beats));
                    self.report(&mut state);
                    return Some(request);
                }
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sends the outcome of a lane's request. The front hears first that the lane is
    /// free, so that whoever asks next finds it so.
    pub(super) fn finish(&self, lane: usize, outcome: &FromWorker) {
        let mut state = self.lock();
        state.running[lane] = None;
        self.report(&mut state);
        self.outbox.send(outcome);
    }

    /// Sends a message to the front.
    pub(super) fn tell(&self, message: &FromWorker) {
        self.outbox.send(message);
    }

    /// Notes that a lane decodes so many tokens now. Tells whether it is the only
    /// one at work.
    pub(super) fn stepped(&self, lane: usize, tokens: usize) -> bool {
        let mut state = self.lock();
        let beat = state.beats;
        if let Some(running) = &mut state.running[lane] {
            running.stepped = beat;
        }
        state.progress.batches += 1;
        state.progress.batch_tokens += tokens as u64;
        state.waiting.is_empty() && state.running.iter().flatten().count() == 1
    }

    fn expire(&self, state: &mut State) {
        let now = Instant::now();
        state.waiting.retain(|request| {
            let in_time = request.deadline > now;
            if !in_time {
                let error = InferenceError::DeadlineExceeded;
                self.outbox.send(&FromWorker::Failed { id: request.id, error });
            }
            in_time
        });
    }

    /// Sends the state.
    fn report(&self, state: &mut State) {
        let steps = state.running.iter().flatten().map(|running| running.stepped);
        let stalled = steps.chain(state.preparing).map(|beat| state.beats - beat).max();
        let busy = state.running.iter().flatten().map(|running| BusyLane {
            priority: running.priority,
            busy_ms: count(running.since.elapsed().as_millis() as usize),
        });
        state.progress.running = busy.collect();
        state.progress.queued = count(state.waiting.len());
        state.progress.stalled_ms = stalled.unwrap_or(0) * count(HEARTBEAT.as_millis() as usize);
        self.outbox.send(&FromWorker::Progress(state.progress.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is served next: people before batches, but an element of a batch that has
/// waited for long takes turns with them; among equals the oldest, or one that
/// goes on from the prompt that is there.
fn next(waiting: &VecDeque<Prepared>, held: &[LlamaToken], was_late: bool) -> usize {
    let rank = |request: &Prepared| match request.priority {
        Priority::Batch if !is_late(request) => 2,
        Priority::Batch => u8::from(was_late),
        Priority::Interactive => u8::from(!was_late),
    };
    let Some(best) = waiting.iter().map(rank).min() else { return 0 };
    let mut equals = waiting.iter().enumerate().filter(|(_, request)| rank(request) == best);
    let oldest = equals.clone().next();
    let patient = oldest.is_some_and(|(_, oldest)| oldest.received.elapsed() < PATIENCE);
    let same = equals.find(|(_, request)| patient && request.prompt.tokens == held);
    same.or(oldest).map_or(0, |(at, _)| at)
}

fn is_late(request: &Prepared) -> bool {
    request.priority == Priority::Batch && request.received.elapsed() > BATCH_PATIENCE
}
