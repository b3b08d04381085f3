//! Backtests on demand: questions are checked, answered once each and kept. One is computed at
//! a time, off the threads of the runtime and on one thread of its own, so that theses lose no
//! more than that. What is not answered in time is a job, which can be asked for and stopped.
//! Jobs take turns by who asked, and who has many makes room for who has none.
//!
//! Jobs live in memory: a bounded number of them waits or runs, what became of them stays until
//! the cache needs the room, and a restart of the server forgets them all.

mod answer;
mod job;
mod question;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use backtest::strategies::Needs;
use bytes::Bytes;
use domain::Digest;
use indicatif::ProgressBar;
use inference::Writer;
use lake::{Kind, Snapshot};
use moka::future::Cache;
use rayon::ThreadPool;
use study::{Followed, KeptDecisions, Study, StudyError};
use tokio::{
    runtime::Handle,
    sync::OnceCell,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

pub(crate) use self::job::{Job, Outcome};
pub use self::question::BacktestQuery;
use self::{
    answer::{answer, lacking},
    question::Question,
};
use crate::{
    config::{BacktestConfig, CacheConfig},
    fairness::{Places, Share, Shares, Tenant, lock},
    metrics as names,
    outcome::{evicted, lookup},
    problem::ApiError,
};

/// Bytes an entry costs beyond its text.
const ENTRY_BYTES: usize = 256;
/// When to come back while all jobs are taken.
const RETRY: Duration = Duration::from_secs(5);
/// What is said where a model has recommended nothing yet.
const HAVE_THEM_WRITTEN: &str =
    "`r2r backtest run --strategy decisions` on the server's data has them written";

/// Answers questions, once each.
pub struct Backtests {
    snapshot: Arc<Snapshot>,
    writer: Writer,
    data_dir: PathBuf,
    study: OnceCell<Arc<Study>>,
    pool: Arc<ThreadPool>,
    /// Which job is computed.
    turn: Arc<Places>,
    /// Whose jobs wait or run.
    shares: Arc<Shares>,
    active: Mutex<HashMap<Digest, Arc<Job>>>,
    ended: Cache<Digest, Outcome>,
    wait: Duration,
    jobs_max: usize,
}

/// What a question gets.
pub(crate) enum Reply {
    /// The answer, and whether it was there already.
    Answer(Bytes, bool),
    /// It takes longer.
    Job(Arc<Job>),
}

/// A job as it is seen by its id.
pub(crate) enum Found {
    /// It waits or runs.
    Active(Arc<Job>),
    /// It is over.
    Ended(Outcome),
}

impl Backtests {
    /// Assembles the service.
    ///
    /// # Errors
    /// Fails when its thread does not start.
    pub fn new(
        snapshot: Arc<Snapshot>,
        writer: Writer,
        data_dir: PathBuf,
        config: &BacktestConfig,
        cache: &CacheConfig,
    ) -> Result<Self, rayon::ThreadPoolBuildError> {
        let name = |_| "backtests".to_owned();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).thread_name(name).build()?;
        let weigh = |_: &Digest, outcome: &Outcome| {
            let bytes = if let Outcome::Done(bytes) = outcome { bytes.len() } else { 0 };
            u32::try_from(bytes + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        let ended = Cache::builder()
            .max_capacity(cache.backtests_bytes_max)
            .weigher(weigh)
            .eviction_listener(|_, _, cause| evicted("backtests", cause))
            .build();
        Ok(Self {
            snapshot,
            writer,
            data_dir,
            study: OnceCell::new(),
            pool: Arc::new(pool),
            turn: Places::new(1),
            shares: Shares::new(config.jobs_max),
            active: Mutex::default(),
            ended,
            wait: Duration::from_millis(config.wait_ms),
            jobs_max: config.jobs_max,
        })
    }

    /// Answers a question, or says which job does.
    ///
    /// # Errors
    /// Fails on a parameter that is out of its range, when all jobs are taken, and when the
    /// snapshot cannot be read.
    pub(crate) async fn get(
        self: &Arc<Self>,
        tenant: Tenant,
        query: &BacktestQuery,
    ) -> Result<Reply, ApiError> {
        let until = Instant::now() + self.wait;
        let study = self.study().await?;
        let question = query.ask(study.market())?;
        let followed = self.followed(&study, &question).await?;
        for info in [question.strategy, question.baseline] {
            study.strategy(info, question.config.seed, followed.as_ref()).map_err(lacking)?;
        }
        let id = question.id(self.snapshot.id(), followed.as_ref().map(Followed::digest));
        loop {
            if let Some(Outcome::Done(bytes)) = self.ended.get(&id).await {
                lookup("backtests", true);
                return Ok(Reply::Answer(bytes, true));
            }
            let (question, followed) = (question.clone(), followed.clone());
            let job = self.job(id, tenant, Arc::clone(&study), followed, question)?;
            if timeout_at(until, job.over()).await.is_err() {
                return Ok(Reply::Job(job));
            }
            match job.outcome() {
                Some(Outcome::Done(bytes)) => return Ok(Reply::Answer(bytes.clone(), false)),
                Some(Outcome::Failed(error)) => return Err(ApiError::Shared(Arc::clone(error))),
                // Somebody else's, who asked the same.
                Some(Outcome::Cancelled) | None => {}
            }
        }
    }

    /// Finds a job.
    ///
    /// # Errors
    /// Fails where there is none of this id.
    pub(crate) async fn find(&self, id: &str) -> Result<Found, ApiError> {
        let unknown = || ApiError::UnknownJob(id.chars().take(64).collect());
        let id: Digest = id.parse().map_err(|_| unknown())?;
        let active = lock(&self.active).get(&id).cloned();
        match active {
            Some(job) => Ok(Found::Active(job)),
            None => self.ended.get(&id).await.map(Found::Ended).ok_or_else(unknown),
        }
    }

    /// Stops a job, for all who asked the same, and waits until it has. One that is over stays
    /// what it is.
    ///
    /// # Errors
    /// Fails where there is none of this id.
    pub(crate) async fn cancel(&self, id: &str) -> Result<Found, ApiError> {
        let found = self.find(id).await?;
        if let Found::Active(job) = &found {
            job.cancel();
            job.over().await;
        }
        Ok(found)
    }

    /// Publishes how much the cache holds.
    pub(crate) async fn publish_cache_sizes(&self) {
        self.ended.run_pending_tasks().await;
        #[allow(clippy::cast_precision_loss, reason = "exact below 8 PiB")]
        let bytes = self.ended.weighted_size() as f64;
        metrics::gauge!(names::CACHE_BYTES, "cache" => "backtests").set(bytes);
    }

    /// Reads the market, so that the first question does not wait for it. A failure is that
    /// question's to report.
    pub(crate) async fn prepare(&self) {
        let _ = self.study().await;
    }

    async fn study(&self) -> Result<Arc<Study>, ApiError> {
        let read = async {
            let snapshot = Arc::clone(&self.snapshot);
            let read = spawn_blocking(move || {
                let mut needs = vec![Needs::Labels];
                let has_estimates = snapshot.manifest().source(Kind::Estimates).is_some();
                needs.extend(has_estimates.then_some(Needs::Consensus));
                let progress = ProgressBar::hidden();
                Handle::current().block_on(Study::read(&snapshot, &needs, &progress))
            });
            let study = read.await.map_err(|_| ApiError::Internal("reading a market panicked"))?;
            study.map(Arc::new).map_err(ApiError::Backtest)
        };
        self.study.get_or_try_init(|| read).await.cloned()
    }

    /// Reads what the model that serves has recommended.
    async fn followed(
        &self,
        study: &Arc<Study>,
        question: &Question,
    ) -> Result<Option<Followed>, ApiError> {
        if !question.follows_decisions() {
            return Ok(None);
        }
        let receipt = self.writer.receipt(self.snapshot.id(), question.decision_seed);
        let trained_until = self.writer.engine().status().model.trained_until.clone();
        let (study, dir) = (Arc::clone(study), study.derived(&self.data_dir));
        let (config, days) = (question.config.clone(), question.decision_days);
        let read = spawn_blocking(move || {
            let none = || StudyError::NoDecisions("decisions", HAVE_THEM_WRITTEN);
            let mut kept = KeptDecisions::read(&dir, &receipt)?.ok_or_else(none)?;
            kept.trained_until = trained_until;
            let followed = kept.follow(study.market(), &config, days);
            if followed.is_empty() { Err(none()) } else { Ok(followed) }
        });
        let read = read.await.map_err(|_| ApiError::Internal("reading decisions panicked"))?;
        read.map(Some).map_err(lacking)
    }

    /// Returns the job of a question, a new one where there is none.
    fn job(
        self: &Arc<Self>,
        id: Digest,
        tenant: Tenant,
        study: Arc<Study>,
        followed: Option<Followed>,
        question: Question,
    ) -> Result<Arc<Job>, ApiError> {
        let mut active = lock(&self.active);
        if let Some(job) = active.get(&id) {
            lookup("backtests", true);
            return Ok(Arc::clone(job));
        }
        let share = self.admit(tenant, active.len())?;
        lookup("backtests", false);
        let job = Arc::new(Job::new(id));
        active.insert(id, Arc::clone(&job));
        metrics::gauge!(names::BACKTEST_JOBS_ACTIVE).set(active.len() as f64);
        drop(active);
        let (backtests, started) = (Arc::clone(self), Arc::clone(&job));
        tokio::spawn(async move {
            let outcome = backtests.carry_out(&started, tenant, study, followed, question).await;
            drop(share);
            backtests.end(&started, outcome).await;
        });
        Ok(job)
    }

    /// Lets one more job in.
    fn admit(&self, tenant: Tenant, active: usize) -> Result<Share, ApiError> {
        let (limit, now) = (self.jobs_max, Instant::now());
        let refuse = |retry_after| ApiError::TooManyJobs { limit, retry_after };
        let share = self.shares.enter(tenant, now).map_err(refuse)?;
        if active >= limit {
            self.shares.refused(share, now, RETRY);
            return Err(refuse(RETRY));
        }
        Ok(share)
    }

    async fn carry_out(
        &self,
        job: &Arc<Job>,
        tenant: Tenant,
        study: Arc<Study>,
        followed: Option<Followed>,
        question: Question,
    ) -> Outcome {
        let _turn = tokio::select! {
            biased;
            () = job.cancelled() => return Outcome::Cancelled,
            turn = self.turn.acquire(tenant) => turn,
        };
        job.begin();
        let (pool, running, begin) = (Arc::clone(&self.pool), Arc::clone(job), Instant::now());
        let work = spawn_blocking(move || {
            let go_on = |done, all| running.step(done, all);
            pool.install(|| answer(&study, followed.as_ref(), &question, &go_on))
        });
        let result = work.await.unwrap_or(Err(ApiError::Internal("a backtest panicked")));
        metrics::histogram!(names::BACKTEST_SECONDS).record(begin.elapsed().as_secs_f64());
        match result {
            Ok(Some(bytes)) => Outcome::Done(bytes),
            Ok(None) => Outcome::Cancelled,
            Err(error) => Outcome::Failed(Arc::new(error)),
        }
    }

    async fn end(&self, job: &Job, outcome: Outcome) {
        metrics::counter!(names::BACKTEST_JOBS, "outcome" => outcome.name()).increment(1);
        self.ended.insert(job.id(), outcome.clone()).await;
        {
            let mut active = lock(&self.active);
            active.remove(&job.id());
            metrics::gauge!(names::BACKTEST_JOBS_ACTIVE).set(active.len() as f64);
        }
        job.end(outcome);
    }
}
