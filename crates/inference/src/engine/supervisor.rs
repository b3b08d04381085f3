//! Keeps a worker alive and replaces it: when it is lost, when its memory has
//! grown, and when another model shall serve.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, pending, select_all};
use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{error, info, warn};

use super::{
    EngineConfig, EngineState, EngineStatus,
    link::Link,
    load::Load,
    requests::{Entry, Requests},
    start_error,
    swap::{Done, Swap, Swapping},
};
use crate::{
    error::InferenceError,
    metrics,
    protocol::{FromWorker, Progress, ToWorker, count},
};

/// What the handles ask for.
pub(super) enum Command {
    Generate(u64, Box<Entry>),
    Cancel(u64),
    Swap(Box<Swap>),
    Shutdown(oneshot::Sender<()>),
}

/// Starts in a row that may fail before requests are refused.
const START_FAILURES_MAX: u32 = 3;
const TICK: Duration = Duration::from_millis(50);
const MEMORY_CHECK: Duration = Duration::from_secs(1);

/// Tells whether the first worker came up, and how to follow the state.
type Started = oneshot::Sender<Result<watch::Receiver<EngineStatus>, InferenceError>>;

/// A worker that is on its way.
type Starting = BoxFuture<'static, Result<Link, InferenceError>>;

/// A worker that is up.
struct Worker {
    link: Link,
    role: Role,
}

enum Role {
    /// It gets all new requests. One worker at most.
    Serving,
    /// It is ready to serve in the place of the one that does. One worker at most.
    Standby,
    /// It gets none and ends after those it has, which a swap may wait for.
    Retiring(Option<Done>),
}

struct Supervisor {
    config: EngineConfig,
    inbox: mpsc::UnboundedReceiver<Command>,
    status: watch::Sender<EngineStatus>,
    requests: Requests,
    workers: Vec<Worker>,
    /// The next worker of the same model.
    starting: Option<Starting>,
    /// Starts that failed since a worker served.
    failures: u32,
    swapping: Option<Swapping>,
    draining: Option<oneshot::Sender<()>>,
    memory_checked: Instant,
    load: Arc<Load>,
}

/// Runs an engine until all its handles are gone or one has shut it down.
pub(super) fn run(
    config: EngineConfig,
    inbox: mpsc::UnboundedReceiver<Command>,
    started: Started,
    load: Arc<Load>,
) {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(start_error(&error)));
            return;
        }
    };
    runtime.block_on(async {
        let link = match first(&config).await {
            Ok(link) => link,
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "the worker does not come up");
                let _ = started.send(Err(error));
                return;
            }
        };
        let (status, receiver) = watch::channel(EngineStatus {
            state: EngineState::Ready,
            restarts: 0,
            active: 0,
            queued: 0,
            worker_pid: Some(link.pid()),
            standby_pid: None,
            model: Arc::clone(&link.model),
        });
        if started.send(Ok(receiver)).is_err() {
            return;
        }
        let supervisor = Supervisor {
            config,
            inbox,
            status,
            requests: Requests::default(),
            workers: vec![Worker { link, role: Role::Serving }],
            starting: None,
            failures: 0,
            swapping: None,
            draining: None,
            memory_checked: Instant::now(),
            load,
        };
        supervisor.supervise().await;
    });
}

/// Starts the first worker.
async fn first(config: &EngineConfig) -> Result<Link, InferenceError> {
    let mut failures = 0;
    loop {
        match Link::start(config).await {
            Err(InferenceError::WorkerLost) if failures + 1 < START_FAILURES_MAX => {
                failures += 1;
                sleep(backoff(failures)).await;
            }
            result => return result,
        }
    }
}

impl Worker {
    const fn is_serving(&self) -> bool {
        matches!(self.role, Role::Serving)
    }

    const fn is_retiring(&self) -> bool {
        matches!(self.role, Role::Retiring(_))
    }

    const fn is_standby(&self) -> bool {
        matches!(self.role, Role::Standby)
    }
}

impl Supervisor {
    async fn supervise(mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                (i, message) = next_message(&mut self.workers) => match message {
                    Some(message) => self.on_message(i, message),
                    None => self.lose(i, "worker died"),
                },
                started = up(&mut self.starting) => self.on_started(started),
                rehearsed = up_for_swap(&mut self.swapping) => self.on_rehearsed(rehearsed),
                command = self.inbox.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                _ = tick.tick() => self.on_tick(),
            }
            self.end_retired();
            self.keep_standby();
            if self.draining.is_some() && self.requests.is_empty() {
                break;
            }
        }
        let done = self.draining.take();
        // The workers have ended when the caller knows.
        drop(self);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    fn on_message(&mut self, worker: usize, message: FromWorker) {
        match message {
            FromWorker::Progress(progress) => {
                let worker = &mut self.workers[worker];
                metrics::progress(&worker.link.progress, &progress);
                if worker.is_serving() {
                    self.load.observe(&progress.running);
                }
                worker.link.progress = progress;
                self.publish();
            }
            FromWorker::Written { id, claim } => self.requests.tell(id, claim),
            FromWorker::Finished { id, generation } => {
                metrics::finished(&generation);
                self.load.note_service(&generation);
                self.requests.answer(id, Ok(generation));
            }
            FromWorker::Failed { id, error } => self.requests.answer(id, Err(error)),
            FromWorker::Ready(_) | FromWorker::StartFailed { .. } | FromWorker::Quantized => {}
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Generate(id, entry) => {
                self.requests.insert(id, *entry);
                // The model may have been replaced since it was admitted.
                self.requests.keep_model(self.config.model.digest());
                if self.status.borrow().state == EngineState::Down {
                    self.requests.answer_all(&InferenceError::WorkerLost);
                }
                self.send_waiting();
            }
            Command::Cancel(id) => {
                if let Some(worker) = self.requests.cancel(id) {
                    self.cancel(worker, id);
                }
            }
            Command::Swap(swap) if self.swapping.is_some() => {
                let _ = swap.done.send(Err(InferenceError::Swapping));
            }
            Command::Swap(swap) => {
                // Never more than two models in memory.
                if self.is_serving() {
                    self.dismiss_standby();
                }
                self.swapping = Some(swap.begin(&self.config));
            }
            Command::Shutdown(done) => self.draining = Some(done),
        }
    }

    fn on_tick(&mut self) {
        for (id, worker) in self.requests.expire() {
            self.cancel(worker, id);
        }
        for worker in &mut self.workers {
            worker.link.silent_ticks += 1;
        }
        while let Some(i) = self.workers.iter().position(|worker| self.hangs(&worker.link)) {
            self.lose(i, "worker hangs");
        }
        if self.memory_checked.elapsed() > MEMORY_CHECK {
            self.memory_checked = Instant::now();
            self.check_memory();
        }
    }

    /// Tells whether a process is stopped, or one of its threads does not get on.
    fn hangs(&self, link: &Link) -> bool {
        let stalled = Duration::from_millis(link.progress.stalled_ms.into());
        link.is_silent() || stalled > self.config.watchdog
    }

    /// Replaces a worker whose memory has grown. A swap that is under way does so anyway.
    fn check_memory(&mut self) {
        let Some(serving) = self.workers.iter().find(|worker| worker.is_serving()) else { return };
        let memory = serving.link.memory().unwrap_or(0);
        metrics::worker_memory(memory);
        let growth = memory.saturating_sub(serving.link.ready_memory);
        let is_alone = self.starting.is_none() && self.swapping.is_none();
        if growth > self.config.max_memory_growth_bytes && is_alone {
            info!(worker.pid = serving.link.pid(), "worker has grown and is replaced");
            self.replace();
        }
    }

    /// Ends a worker that is of no use any more.
    fn lose(&mut self, worker: usize, why: &str) {
        let Worker { link, role } = self.workers.swap_remove(worker);
        warn!(worker.pid = link.pid(), "{why}");
        self.requests.take_from(link.pid());
        drop(link);
        match role {
            Role::Serving => {
                self.load.observe(&[]);
                self.status.send_modify(|status| {
                    status.state = EngineState::Starting;
                    status.worker_pid = None;
                });
                self.replace();
            }
            Role::Standby => self.publish_standby(),
            Role::Retiring(swap) => {
                self.requests.keep_model(self.config.model.digest());
                report(swap, Ok(()));
                self.send_waiting();
            }
        }
        self.publish();
    }

    /// Lets another worker of the same model serve: the one that stands by, or else the
    /// next that is up.
    fn replace(&mut self) {
        metrics::worker_restarted();
        self.status.send_modify(|status| status.restarts += 1);
        if let Some(standby) = self.workers.iter().position(Worker::is_standby) {
            let standby = self.workers.swap_remove(standby);
            self.publish_standby();
            self.promote(standby.link, None);
        } else if self.starting.is_none() || self.failures > 0 {
            // One that was to stand by and failed would be tried after a pause.
            self.start_after(Duration::ZERO);
        }
    }

    /// Starts another worker of the same model after a pause.
    fn start_after(&mut self, pause: Duration) {
        let config = self.config.clone();
        self.starting = Some(Box::pin(async move {
            sleep(pause).await;
            Link::start(&config).await
        }));
    }

    /// Starts a worker to stand by, once the one that serves is alone.
    fn keep_standby(&mut self) {
        let is_alone = matches!(&self.workers[..], [worker] if worker.is_serving());
        let is_idle = self.starting.is_none() && self.swapping.is_none();
        if self.config.standby && is_alone && is_idle && self.draining.is_none() {
            self.start_after(Duration::ZERO);
        }
    }

    /// Ends the worker that stands by, or the start of one.
    fn dismiss_standby(&mut self) {
        self.starting = None;
        self.workers.retain(|worker| !worker.is_standby());
        self.publish_standby();
    }

    fn on_started(&mut self, started: Result<Link, InferenceError>) {
        self.starting = None;
        match started {
            Ok(link) if self.config.standby && self.is_serving() => {
                self.failures = 0;
                self.workers.push(Worker { link, role: Role::Standby });
                self.publish_standby();
            }
            Ok(link) => self.promote(link, None),
            Err(error) => {
                self.failures += 1;
                // The same file will not load the next time either.
                if matches!(error, InferenceError::Model { .. }) {
                    self.failures = self.failures.max(START_FAILURES_MAX);
                }
                error!(error = &error as &dyn std::error::Error, "a worker does not come up");
                if self.failures >= START_FAILURES_MAX && !self.is_serving() {
                    self.status.send_modify(|status| status.state = EngineState::Down);
                    self.requests.answer_all(&InferenceError::WorkerLost);
                }
                self.start_after(backoff(self.failures));
            }
        }
    }

    fn on_rehearsed(&mut self, rehearsed: Result<Link, InferenceError>) {
        let Some(Swapping { model, done, .. }) = self.swapping.take() else { return };
        match rehearsed {
            Ok(link) => {
                info!(worker.pid = link.pid(), model.name = model.name(), "model replaced");
                metrics::model_swapped("served");
                self.config.model = model;
                // Another worker of the old model is of no use.
                self.dismiss_standby();
                self.promote(link, Some(done));
            }
            Err(error) => {
                metrics::model_swapped("refused");
                report(Some(done), Err(error));
            }
        }
    }

    /// Lets a worker serve, and its predecessor end after what it has.
    fn promote(&mut self, link: Link, swap: Option<Done>) {
        self.failures = 0;
        let (pid, model) = (link.pid(), Arc::clone(&link.model));
        match self.workers.iter_mut().find(|worker| worker.is_serving()) {
            Some(predecessor) => {
                predecessor.role = Role::Retiring(swap);
                self.load.begin_anew();
            }
            None => report(swap, Ok(())),
        }
        self.workers.push(Worker { link, role: Role::Serving });
        self.status.send_modify(|status| {
            status.state = EngineState::Ready;
            status.worker_pid = Some(pid);
            status.model = model;
        });
        self.requests.keep_model(self.config.model.digest());
        self.send_waiting();
        self.publish();
    }

    /// Ends the retiring workers that have nothing left.
    fn end_retired(&mut self) {
        let requests = &self.requests;
        let is_idle =
            |worker: &mut Worker| worker.is_retiring() && !requests.are_in(worker.link.pid());
        for worker in self.workers.extract_if(.., is_idle) {
            info!(worker.pid = worker.link.pid(), "worker retired");
            if let Role::Retiring(swap) = worker.role {
                drop(worker.link);
                report(swap, Ok(()));
            }
        }
    }

    fn is_serving(&self) -> bool {
        self.workers.iter().any(Worker::is_serving)
    }

    /// Gives the serving worker every request that no other has.
    fn send_waiting(&mut self) {
        if let Some(serving) = self.workers.iter().find(|worker| worker.is_serving()) {
            self.requests.send_to(&serving.link);
        }
    }

    fn cancel(&self, worker: u32, id: u64) {
        if let Some(worker) = self.workers.iter().find(|found| found.link.pid() == worker) {
            let _ = worker.link.send(&ToWorker::Cancel(id));
        }
    }

    /// Publishes who stands by.
    fn publish_standby(&self) {
        let standby = self.workers.iter().find(|worker| worker.is_standby());
        let pid = standby.map(|worker| worker.link.pid());
        self.status.send_modify(|status| status.standby_pid = pid);
    }

    /// Publishes how much is in all workers.
    fn publish(&self) {
        let sum = |of: fn(&Progress) -> u32| {
            self.workers.iter().map(|worker| of(&worker.link.progress)).sum::<u32>()
        };
        let active = sum(|progress| count(progress.running.len()));
        let queued = sum(|progress| progress.queued) + count(self.requests.waiting());
        metrics::in_engine(active, queued);
        self.status.send_if_modified(|status| {
            let before = (status.active, status.queued);
            (status.active, status.queued) = (active, queued);
            before != (active, queued)
        });
    }
}

/// Waits for a message of any worker; `None` for one that is gone.
async fn next_message(workers: &mut [Worker]) -> (usize, Option<FromWorker>) {
    if workers.is_empty() {
        return pending().await;
    }
    let messages = workers.iter_mut().map(|worker| Box::pin(worker.link.receive()));
    let (message, worker, _) = select_all(messages).await;
    (worker, message)
}

async fn up(starting: &mut Option<Starting>) -> Result<Link, InferenceError> {
    match starting {
        Some(starting) => starting.await,
        None => pending().await,
    }
}

async fn up_for_swap(swapping: &mut Option<Swapping>) -> Result<Link, InferenceError> {
    match swapping {
        Some(swapping) => (&mut swapping.candidate).await,
        None => pending().await,
    }
}

fn report(swap: Option<Done>, result: Result<(), InferenceError>) {
    if let Some(swap) = swap {
        let _ = swap.send(result);
    }
}

/// 200 ms after the first failed start, doubling to 10 s.
fn backoff(failures: u32) -> Duration {
    let factor = 1 << failures.saturating_sub(1).min(10);
    (Duration::from_millis(200) * factor).min(Duration::from_secs(10))
}
