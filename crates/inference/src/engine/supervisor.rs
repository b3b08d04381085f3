//! Keeps one worker alive and knows which request is where.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval, sleep_until},
};
use tracing::{error, info, warn};

use super::{
    Admission, EngineConfig, EngineState, EngineStatus, Generation, GenerationRequest, Written,
    link::Link, start_error,
};
use crate::{
    error::InferenceError,
    metrics,
    protocol::{FromWorker, Job, Progress, Start, ToWorker, count},
};

type Outcome = Result<Generation, InferenceError>;

/// What the handles ask for.
pub(super) enum Command {
    Generate(u64, Box<Entry>),
    Cancel(u64),
    Shutdown(oneshot::Sender<()>),
}

/// A request in flight.
pub(super) struct Entry {
    pub(super) request: GenerationRequest,
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Outcome>,
    /// Who wants to know of each claim. A worker's death repeats them.
    pub(super) claims: Option<mpsc::UnboundedSender<Written>>,
    pub(super) admission: Admission,
    /// Whether the current worker has it.
    pub(super) sent: bool,
    pub(super) attempts: u32,
}

impl Entry {
    /// Answers the request. Its place is free before the caller knows.
    fn settle(self, outcome: Outcome) {
        let Self { answer, admission, .. } = self;
        drop(admission);
        let _ = answer.send(outcome);
    }
}

/// Why a worker's session ended.
enum Ended {
    /// The process died, fell silent or was never ready.
    Lost { was_ready: bool },
    /// The worker says that it cannot serve.
    Refused(InferenceError),
    /// Its memory grew; nothing was in it.
    Recycled,
    /// All handles are gone or have asked for it.
    Shutdown,
}

/// Times a request is given to a worker.
const ATTEMPTS_MAX: u32 = 2;
/// Starts in a row that may fail before requests are refused.
const START_FAILURES_MAX: u32 = 3;
const TICK: Duration = Duration::from_millis(100);
const MEMORY_CHECK: Duration = Duration::from_secs(1);
/// The worker reports a passed deadline itself; this is for one that does not.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);

pub(super) struct Supervisor {
    config: EngineConfig,
    inbox: mpsc::UnboundedReceiver<Command>,
    status: watch::Sender<EngineStatus>,
    started: Option<oneshot::Sender<Result<(), InferenceError>>>,
    entries: BTreeMap<u64, Entry>,
    draining: Option<oneshot::Sender<()>>,
    recycling: bool,
    memory_checked: Instant,
    service_us: Arc<AtomicU64>,
}

impl Supervisor {
    pub(super) fn new(
        config: EngineConfig,
        inbox: mpsc::UnboundedReceiver<Command>,
        started: oneshot::Sender<Result<(), InferenceError>>,
        service_us: Arc<AtomicU64>,
    ) -> (Self, watch::Receiver<EngineStatus>) {
        let (status, receiver) = watch::channel(EngineStatus {
            state: EngineState::Starting,
            restarts: 0,
            active: 0,
            queued: 0,
            worker_pid: None,
            model: None,
        });
        let supervisor = Self {
            config,
            inbox,
            status,
            started: Some(started),
            entries: BTreeMap::new(),
            draining: None,
            recycling: false,
            memory_checked: Instant::now(),
            service_us,
        };
        (supervisor, receiver)
    }

    /// Runs until the engine ends.
    pub(super) fn run(mut self) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.supervise()),
            Err(error) => self.report_start(Err(start_error(&error))),
        }
        if let Some(done) = self.draining.take() {
            let _ = done.send(());
        }
    }

    async fn supervise(&mut self) {
        let mut failures = 0;
        loop {
            let error = match self.session().await {
                Ended::Shutdown => return,
                Ended::Recycled | Ended::Lost { was_ready: true } => {
                    failures = 0;
                    None
                }
                Ended::Lost { was_ready: false } => {
                    failures += 1;
                    Some(InferenceError::WorkerLost)
                }
                Ended::Refused(error) => {
                    failures = START_FAILURES_MAX.max(failures + 1);
                    Some(error)
                }
            };
            self.requeue();
            if let Some(error) = error
                && failures >= START_FAILURES_MAX
            {
                error!(error = &error as &dyn std::error::Error, "the worker does not come up");
                if self.started.is_some() {
                    self.report_start(Err(error));
                    return;
                }
                self.go_down();
            }
            metrics::worker_restarted();
            self.status.send_modify(|status| status.restarts += 1);
            if failures > 0 && !self.pause(backoff(failures)).await {
                return;
            }
        }
    }

    /// Starts a worker and serves until it ends.
    async fn session(&mut self) -> Ended {
        let mut link = match Link::open(&self.config.worker) {
            Ok(link) => link,
            Err(error) => return Ended::Refused(start_error(&error)),
        };
        info!(worker.pid = link.pid(), "worker started");
        self.status.send_modify(|status| status.worker_pid = Some(link.pid()));
        self.recycling = false;
        if link.send(&ToWorker::Start(self.start_message())).is_err() {
            return Ended::Lost { was_ready: false };
        }
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ended = tokio::select! {
                message = link.receive() => match message {
                    Some(message) => self.on_message(&mut link, message),
                    None => {
                        warn!(worker.pid = link.pid(), "worker died");
                        Some(Ended::Lost { was_ready: link.ready })
                    }
                },
                command = self.inbox.recv() => self.on_command(Some(&mut link), command),
                _ = tick.tick() => self.on_tick(&mut link),
            };
            if let Some(ended) = ended {
                return ended;
            }
            if self.draining.is_some() && self.entries.is_empty() {
                return Ended::Shutdown;
            }
            if self.recycling && !self.has_sent() {
                info!(worker.pid = link.pid(), "worker recycled");
                return Ended::Recycled;
            }
        }
    }

    fn start_message(&self) -> Start {
        Start {
            model: self.config.model.path().to_owned(),
            model_name: self.config.model.name().to_owned(),
            chat_template: self.config.model.chat_template(),
            system_prompt: self.config.system_prompt.clone(),
            context: self.config.context,
        }
    }

    fn on_message(&mut self, link: &mut Link, message: FromWorker) -> Option<Ended> {
        match message {
            FromWorker::Ready(info) => {
                link.ready = true;
                link.ready_memory = link.memory().unwrap_or(0);
                self.status.send_modify(|status| {
                    status.state = EngineState::Ready;
                    status.model = Some(info);
                });
                self.report_start(Ok(()));
                self.send_waiting(link);
            }
            FromWorker::StartFailed { detail } => {
                return Some(Ended::Refused(InferenceError::Model { detail }));
            }
            FromWorker::Progress(progress) => self.on_progress(link, progress),
            FromWorker::Written { id, claim } => {
                let claims = self.entries.get(&id).and_then(|entry| entry.claims.as_ref());
                if let Some(claims) = claims {
                    let _ = claims.send(claim);
                }
            }
            FromWorker::Finished { id, generation } => {
                metrics::finished(&generation);
                self.note_service(generation.timings.service());
                self.answer(id, Ok(generation));
            }
            FromWorker::Failed { id, error } => self.answer(id, Err(error)),
            FromWorker::Quantized => {}
        }
        None
    }

    fn on_progress(&mut self, link: &mut Link, progress: Progress) {
        let waiting = count(self.entries.values().filter(|entry| !entry.sent).count());
        metrics::progress(link.progress, progress, waiting);
        link.progress = progress;
        self.status.send_modify(|status| {
            status.active = progress.active;
            status.queued = progress.queued + waiting;
        });
    }

    fn on_command(&mut self, link: Option<&mut Link>, command: Option<Command>) -> Option<Ended> {
        match command {
            None => return Some(Ended::Shutdown),
            Some(Command::Generate(id, entry)) => {
                self.entries.insert(id, *entry);
                if let Some(link) = link {
                    self.send_waiting(link);
                }
            }
            Some(Command::Cancel(id)) => {
                if let Some(entry) = self.entries.remove(&id) {
                    metrics::thesis_cancelled();
                    if let Some(link) = link.filter(|_| entry.sent) {
                        let _ = link.send(&ToWorker::Cancel(id));
                    }
                }
            }
            Some(Command::Shutdown(done)) => self.draining = Some(done),
        }
        None
    }

    fn on_tick(&mut self, link: &mut Link) -> Option<Ended> {
        self.expire(Some(link));
        if !link.ready {
            if link.spawned.elapsed() > self.config.start_timeout {
                warn!(worker.pid = link.pid(), "worker did not become ready");
                return Some(Ended::Lost { was_ready: false });
            }
            return None;
        }
        // One lane may hang while others give signs of life.
        let stalled = Duration::from_millis(link.progress.stalled_ms.into());
        let silent = link.last_heard.elapsed().max(stalled);
        if self.has_sent() && silent > self.config.watchdog {
            warn!(worker.pid = link.pid(), "worker fell silent");
            return Some(Ended::Lost { was_ready: true });
        }
        if self.memory_checked.elapsed() > MEMORY_CHECK {
            self.memory_checked = Instant::now();
            let memory = link.memory().unwrap_or(0);
            metrics::worker_memory(memory);
            let growth = memory.saturating_sub(link.ready_memory);
            self.recycling |= growth > self.config.max_memory_growth_bytes;
        }
        None
    }

    /// Gives the worker every request it does not have.
    fn send_waiting(&mut self, link: &mut Link) {
        if !link.ready || self.recycling {
            return;
        }
        if !self.has_sent() {
            // An idle worker is silent; the watchdog starts now.
            link.last_heard = Instant::now();
        }
        let now = Instant::now();
        for (&id, entry) in self.entries.iter_mut().filter(|(_, entry)| !entry.sent) {
            let mut request = entry.request.clone();
            request.timeout = entry.deadline.saturating_duration_since(now);
            let job = ToWorker::Generate(Box::new(Job {
                id,
                request,
                priority: entry.admission.priority,
            }));
            entry.sent = link.send(&job).is_ok();
            entry.attempts += 1;
        }
    }

    fn has_sent(&self) -> bool {
        self.entries.values().any(|entry| entry.sent)
    }

    fn answer(&mut self, id: u64, outcome: Outcome) {
        // A cancelled request is not there any more.
        if let Some(entry) = self.entries.remove(&id) {
            entry.settle(outcome);
        }
    }

    fn expire(&mut self, link: Option<&mut Link>) {
        let now = Instant::now();
        let late = |entry: &Entry| {
            let grace = if entry.sent { DEADLINE_GRACE } else { Duration::ZERO };
            entry.deadline + grace <= now
        };
        let late: Vec<u64> =
            self.entries.iter().filter_map(|(id, entry)| late(entry).then_some(*id)).collect();
        for id in &late {
            if let Some(link) = &link {
                let _ = link.send(&ToWorker::Cancel(*id));
            }
            self.answer(*id, Err(InferenceError::DeadlineExceeded));
        }
    }

    /// Prepares the requests of a lost worker for the next one.
    fn requeue(&mut self) {
        let sent: Vec<u64> =
            self.entries.iter().filter_map(|(id, entry)| entry.sent.then_some(*id)).collect();
        for id in sent {
            match self.entries.get_mut(&id) {
                Some(entry) if entry.attempts < ATTEMPTS_MAX => {
                    metrics::thesis_retried();
                    entry.sent = false;
                }
                _ => self.answer(id, Err(InferenceError::WorkerLost)),
            }
        }
        let waiting = count(self.entries.len());
        metrics::progress(Progress::default(), Progress::default(), waiting);
        self.status.send_modify(|status| {
            status.state = EngineState::Starting;
            status.worker_pid = None;
            status.active = 0;
            status.queued = waiting;
        });
    }

    fn go_down(&mut self) {
        self.status.send_modify(|status| status.state = EngineState::Down);
        while let Some((_, entry)) = self.entries.pop_first() {
            entry.settle(Err(InferenceError::WorkerLost));
        }
    }

    /// Waits without a worker; `false` when the engine ends meanwhile.
    async fn pause(&mut self, duration: Duration) -> bool {
        let until = tokio::time::Instant::now() + duration;
        let down = self.status.borrow().state == EngineState::Down;
        loop {
            tokio::select! {
                () = sleep_until(until) => return true,
                command = self.inbox.recv() => {
                    if self.on_command(None, command).is_some() {
                        return false;
                    }
                }
            }
            if down {
                self.go_down();
            }
            self.expire(None);
            if self.draining.is_some() && self.entries.is_empty() {
                return false;
            }
        }
    }

    fn report_start(&mut self, result: Result<(), InferenceError>) {
        if let Some(started) = self.started.take() {
            let _ = started.send(result);
        }
    }

    fn note_service(&self, service: Duration) {
        let service = u64::try_from(service.as_micros()).unwrap_or(u64::MAX / 8);
        let mean = self.service_us.load(Ordering::Relaxed);
        self.service_us.store((4 * mean + service) / 5, Ordering::Relaxed);
    }
}

/// 200 ms after the first failed start, doubling to 10 s.
fn backoff(failures: u32) -> Duration {
    let factor = 1 << failures.saturating_sub(1).min(10);
    (Duration::from_millis(200) * factor).min(Duration::from_secs(10))
}
