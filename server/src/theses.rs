//! Theses on demand: caches, single flight, admission and the schema guard.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::NaiveDate;
use contract::{Claim, Schema, Thesis};
use domain::{AsOf, AsOfRead, Digest, Ticker};
use inference::{Admission, InferenceError, ModelInfo, Priority, WriteError, WriteRequest, Writer};
use lake::{LakeError, Snapshot};
use moka::future::Cache;
use tokio::{
    sync::{Semaphore, mpsc::UnboundedSender},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    api::request,
    config::CacheConfig,
    fairness::{Places, Share, Shares, Tenant, lock},
    metrics as names,
    outcome::{Outcome, evicted, lookup},
    problem::ApiError,
};

/// Bytes an entry costs beyond its texts.
const ENTRY_BYTES: usize = 256;
/// When to come back while a worker is being replaced.
const RESTART: Duration = Duration::from_secs(1);
/// Times an element of a batch is given to the engine, whose workers may die in it.
const BATCH_ATTEMPTS: u32 = 3;
/// Longest pause of a batch element that found the engine full.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Longest time in which an element of a batch leaves its place to people who come back,
/// and how often it looks for them.
const ASIDE_MAX: Duration = Duration::from_secs(5);
const ASIDE: Duration = Duration::from_millis(50);

/// Which thesis. Equal asks of equal models have equal answers, so both are the
/// key of the answer cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ask {
    snapshot: Digest,
    contract: Digest,
    ticker: Ticker,
    as_of: AsOf,
    seed: u64,
}

/// A thesis as it travels.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The JSON, validated against the schema.
    pub bytes: Bytes,
    /// Whether another request had it written.
    pub hit: bool,
}

/// Who asks for a thesis, and how long they wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// With whom the engine is shared.
    pub tenant: Tenant,
    /// How long they wait.
    pub patience: Patience,
}

/// How long a caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// A single request: the deadline counts from now, and a full engine is
    /// reported at once.
    Deadline,
    /// An element of a batch: it waits for one of the places batches have in the
    /// engine, then for room in it, and its deadline counts from there.
    Batch,
}

/// What a caller waits for.
struct Wish {
    caller: Caller,
    /// None where the deadline counts from when the caller leads.
    ends_at: Option<Instant>,
    claims: Option<UnboundedSender<Claim>>,
    /// The place in the engine that an element of a batch waited for before it leads:
    /// a person who asks the same must not wait for it.
    admission: Mutex<Option<Admission>>,
}

/// Writes theses, once each.
pub struct Theses {
    snapshot: Arc<Snapshot>,
    writer: Writer,
    contract: Digest,
    schema: Schema,
    reads: Cache<(Digest, Ticker, AsOf), Arc<AsOfRead>>,
    answers: Cache<(Digest, Ask), Bytes>,
    shares: Arc<Shares>,
    batch_places: Arc<Places>,
    /// A read keeps a thread of the runtime busy for some 5 ms: one at a time
    /// leaves the others to connections.
    reading: Semaphore,
    /// Reads of batches, one of which at most a person's read waits for.
    batch_reading: Arc<Places>,
    deadline: Duration,
}

impl Theses {
    /// Assembles the service.
    #[must_use]
    pub fn new(
        snapshot: Arc<Snapshot>,
        writer: Writer,
        schema: Schema,
        cache: &CacheConfig,
        deadline: Duration,
    ) -> Self {
        let reads = Cache::builder()
            .max_capacity(cache.reads_bytes_max)
            .weigher(|_, read: &Arc<AsOfRead>| weight(read_bytes(read)))
            .eviction_listener(|_, _, cause| evicted("reads", cause))
            .build();
        let answers = Cache::builder()
            .max_capacity(cache.answers_bytes_max)
            .weigher(|_, bytes: &Bytes| weight(bytes.len() + ENTRY_BYTES))
            .eviction_listener(|_, _, cause| evicted("answers", cause))
            .build();
        let shares = Shares::new(writer.engine().lanes() as usize);
        let batch_places = Places::new(writer.engine().batch_width());
        Self {
            snapshot,
            writer,
            contract: contract::contract_digest(),
            schema,
            reads,
            answers,
            shares,
            batch_places,
            reading: Semaphore::new(1),
            batch_reading: Places::new(1),
            deadline,
        }
    }

    /// Returns the snapshot theses are written from.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Returns the writer.
    #[must_use]
    pub const fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Returns the model that serves.
    #[must_use]
    pub fn model(&self) -> Arc<ModelInfo> {
        self.writer.engine().status().model
    }

    /// Returns the digest of the contract.
    #[must_use]
    pub const fn contract(&self) -> Digest {
        self.contract
    }

    /// Returns the schema.
    #[must_use]
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Turns what was sent into an ask.
    ///
    /// # Errors
    /// Fails on text that is not a ticker of the universe, with near matches.
    pub async fn ask(&self, text: &str, as_of: Option<AsOf>, seed: u64) -> Result<Ask, ApiError> {
        let (ticker, exact) = request::ticker(text)?;
        let info = self.snapshot.tickers().iter().find(|info| info.ticker == ticker);
        let unknown = |near| ApiError::UnknownTicker { ticker: text.to_owned(), near };
        let Some(info) = info else {
            // An unknown ticker is refused before anything is read.
            let as_of = as_of.unwrap_or(AsOf::end_of(NaiveDate::MIN));
            return match self.snapshot.read(&ticker, as_of).await {
                Err(LakeError::UnknownTicker { near, .. }) => Err(unknown(near)),
                _ => Err(unknown(Vec::new())),
            };
        };
        if !exact {
            return Err(unknown(vec![ticker]));
        }
        Ok(Ask {
            snapshot: self.snapshot.id(),
            contract: self.contract,
            as_of: as_of.unwrap_or(AsOf::end_of(info.last)),
            ticker,
            seed,
        })
    }

    /// Returns the thesis: from the cache, from whoever is writing it already,
    /// or newly written. Dropping the future cancels a decode nobody else waits
    /// for.
    ///
    /// # Errors
    /// See [`ApiError`]; errors are never cached.
    pub async fn get(&self, ask: &Ask, caller: Caller) -> Result<Answer, ApiError> {
        self.get_telling(ask, caller, None).await
    }

    /// As [`Self::get`]; where the thesis is newly written for this caller, sends
    /// each claim as soon as it stands.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_telling(
        &self,
        ask: &Ask,
        caller: Caller,
        claims: Option<UnboundedSender<Claim>>,
    ) -> Result<Answer, ApiError> {
        let mut outcome = Outcome::new();
        let result = match caller.patience {
            Patience::Batch => self.get_element(ask, caller, claims).await,
            Patience::Deadline => {
                let ends_at = Instant::now() + self.deadline;
                let admission = Mutex::default();
                let wish = Wish { caller, ends_at: Some(ends_at), claims, admission };
                let answer = timeout_at(ends_at, self.get_within(ask, wish)).await;
                answer.unwrap_or(Err(ApiError::Deadline(self.deadline)))
            }
        };
        outcome.settle(&result);
        result
    }

    /// Gets an element of a batch, which has its read and its places before it leads: a
    /// person who asks the same waits for the decode only.
    async fn get_element(
        &self,
        ask: &Ask,
        caller: Caller,
        claims: Option<UnboundedSender<Claim>>,
    ) -> Result<Answer, ApiError> {
        if let Some(bytes) = self.answers.get(&self.key(ask)).await {
            lookup("answers", true);
            return Ok(Answer { bytes, hit: true });
        }
        {
            let _turn = self.batch_reading.acquire(caller.tenant).await;
            self.read(ask).await?;
        }
        let _place = self.batch_places.acquire(caller.tenant).await;
        let admission = self.admit_element(Instant::now() + self.deadline).await?;
        let admission = Mutex::new(Some(admission));
        self.get_within(ask, Wish { caller, ends_at: None, claims, admission }).await
    }

    async fn get_within(&self, ask: &Ask, wish: Wish) -> Result<Answer, ApiError> {
        loop {
            let key = self.key(ask);
            // Whether this request does the work, or waits for one that does.
            let leads = AtomicBool::new(false);
            let write = async {
                leads.store(true, Ordering::Relaxed);
                self.write(&key, &wish).await
            };
            let entry = self.answers.entry_by_ref(&key).or_try_insert_with(write).await;
            let hit = !leads.into_inner();
            match entry {
                Ok(entry) => {
                    lookup("answers", hit);
                    return Ok(Answer { bytes: entry.into_value(), hit });
                }
                // The other's deadline or its full queue is not this request's,
                // and a model that is gone is nobody's any more.
                Err(error) if hit && is_of_the_leader(&error) => {}
                Err(error) if is_of_a_model_that_is_gone(&error) => {}
                Err(error) => return Err(ApiError::Shared(error)),
            }
        }
    }

    fn key(&self, ask: &Ask) -> (Digest, Ask) {
        (self.model().identity(), ask.clone())
    }

    async fn write(&self, key: &(Digest, Ask), wish: &Wish) -> Result<Bytes, ApiError> {
        let (model, ask) = key;
        let Wish { caller, ends_at, ref claims, .. } = *wish;
        let ends_at = ends_at.unwrap_or_else(|| Instant::now() + self.deadline);
        let mut attempts = if caller.patience == Patience::Batch { BATCH_ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            // What will be refused is not worth a read.
            let (admission, _share) = self.admit(wish, ends_at).await?;
            if admission.model().identity() != *model {
                return Err(self.write_error(InferenceError::ModelReplaced.into()));
            }
            let read = self.read(ask).await?;
            let timeout = ends_at.saturating_duration_since(Instant::now());
            let claims = claims.clone();
            let request = WriteRequest { seed: ask.seed, admission, timeout, claims };
            match self.writer.write(&read, request).await {
                Ok(thesis) => return self.seal(&thesis),
                Err(WriteError::Inference(InferenceError::WorkerLost)) if attempts > 0 => {
                    sleep(RESTART).await;
                }
                Err(error) => return Err(self.write_error(error)),
            }
        }
    }

    /// Takes a place in the engine, a person within their share of it; an element of
    /// a batch waits for one.
    async fn admit(
        &self,
        wish: &Wish,
        ends_at: Instant,
    ) -> Result<(Admission, Option<Share>), ApiError> {
        match wish.caller.patience {
            Patience::Batch => {
                let held = lock(&wish.admission).take();
                let admission = match held {
                    Some(admission) => admission,
                    // Its worker died in the decode, or its model was replaced.
                    None => self.admit_element(ends_at).await?,
                };
                Ok((admission, None))
            }
            Patience::Deadline => {
                let (admission, share) = self.admit_person(wish.caller.tenant)?;
                Ok((admission, Some(share)))
            }
        }
    }

    fn admit_person(&self, tenant: Tenant) -> Result<(Admission, Share), ApiError> {
        let now = Instant::now();
        let share = self.shares.enter(tenant, now).map_err(ApiError::Overloaded)?;
        match self.writer.engine().admit(Priority::Interactive) {
            Ok(admission) => Ok((admission, share)),
            Err(error) => {
                if let InferenceError::Overloaded { retry_after } = &error {
                    self.shares.refused(share, now, *retry_after);
                }
                Err(self.write_error(error.into()))
            }
        }
    }

    async fn admit_element(&self, ends_at: Instant) -> Result<Admission, ApiError> {
        let aside_until = Instant::now() + ASIDE_MAX;
        loop {
            let now = Instant::now();
            let may_wait = ends_at.saturating_duration_since(now) > PAUSE_MAX;
            // Whoever was refused would find the lanes taken by batches again.
            if may_wait && now < aside_until && self.shares.expect_someone(now) {
                sleep(ASIDE).await;
                continue;
            }
            match self.writer.engine().admit(Priority::Batch) {
                Ok(admission) => return Ok(admission),
                Err(InferenceError::Overloaded { retry_after }) if may_wait => {
                    sleep(retry_after.min(PAUSE_MAX)).await;
                }
                // The engine keeps trying to start a worker.
                Err(InferenceError::WorkerLost) if may_wait => sleep(PAUSE_MAX).await,
                Err(error) => return Err(self.write_error(error.into())),
            }
        }
    }

    async fn read(&self, ask: &Ask) -> Result<Arc<AsOfRead>, ApiError> {
        let key = (ask.snapshot, ask.ticker.clone(), ask.as_of);
        let read = async {
            let _turn = self.reading.acquire().await;
            self.snapshot.read(&ask.ticker, ask.as_of).await.map(Arc::new)
        };
        let entry = self.reads.entry(key).or_try_insert_with(read).await;
        match entry {
            Ok(entry) => {
                lookup("reads", !entry.is_fresh());
                Ok(entry.into_value())
            }
            Err(error) => match Arc::try_unwrap(error) {
                Ok(error) => Err(lake_error(error, &ask.ticker)),
                Err(error) => Err(shared_lake_error(&error, &ask.ticker)),
            },
        }
    }

    /// Serialises a thesis once and lets it out only if those bytes fit the
    /// schema.
    fn seal(&self, thesis: &Thesis) -> Result<Bytes, ApiError> {
        const UNREADABLE: ApiError = ApiError::Internal("a thesis does not serialise");
        let bytes = serde_json::to_vec(thesis).map_err(|_| UNREADABLE)?;
        let value = serde_json::from_slice(&bytes).map_err(|_| UNREADABLE)?;
        match self.schema.validate(&value) {
            Ok(()) => {
                metrics::counter!(names::SCHEMA_VALID).increment(1);
                Ok(bytes.into())
            }
            Err(error) => {
                metrics::counter!(names::SCHEMA_INVALID).increment(1);
                Err(ApiError::Schema(error))
            }
        }
    }

    fn write_error(&self, error: WriteError) -> ApiError {
        match error {
            WriteError::Inference(InferenceError::Overloaded { retry_after }) => {
                ApiError::Overloaded(retry_after)
            }
            WriteError::Inference(InferenceError::DeadlineExceeded) => {
                ApiError::Deadline(self.deadline)
            }
            WriteError::Inference(
                InferenceError::WorkerLost
                | InferenceError::ShuttingDown
                | InferenceError::Model { .. },
            ) => ApiError::NotReady(RESTART),
            other => ApiError::Write(other),
        }
    }

    /// Publishes how much the caches hold.
    pub async fn publish_cache_sizes(&self) {
        self.reads.run_pending_tasks().await;
        self.answers.run_pending_tasks().await;
        for (cache, bytes) in
            [("reads", self.reads.weighted_size()), ("answers", self.answers.weighted_size())]
        {
            #[allow(clippy::cast_precision_loss, reason = "exact below 8 PiB")]
            metrics::gauge!(names::CACHE_BYTES, "cache" => cache).set(bytes as f64);
        }
    }
}

/// Tells whether an error belongs to the request that led, not to the thesis.
fn is_of_the_leader(error: &ApiError) -> bool {
    matches!(error, ApiError::Deadline(_) | ApiError::Overloaded(_))
}

fn is_of_a_model_that_is_gone(error: &ApiError) -> bool {
    matches!(error, ApiError::Write(WriteError::Inference(InferenceError::ModelReplaced)))
}

fn lake_error(error: LakeError, ticker: &Ticker) -> ApiError {
    match error {
        LakeError::UnknownTicker { .. } | LakeError::OutOfRange { .. } => {
            shared_lake_error(&error, ticker)
        }
        other => ApiError::Lake(other),
    }
}

fn shared_lake_error(error: &LakeError, ticker: &Ticker) -> ApiError {
    match error {
        LakeError::UnknownTicker { ticker, near } => {
            ApiError::UnknownTicker { ticker: ticker.to_string(), near: near.clone() }
        }
        LakeError::OutOfRange { as_of, first, last } => ApiError::OutOfRange {
            ticker: ticker.clone(),
            as_of: *as_of,
            first: first.to_string(),
            last: last.to_string(),
        },
        // The request that led reports and logs the cause.
        _ => ApiError::Internal("the read of another request failed"),
    }
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn read_bytes(read: &AsOfRead) -> usize {
    let items = read.catalogue().iter().map(|item| {
        let provenance = item.provenance();
        item.text().len() + provenance.source.len() + provenance.url.len() + ENTRY_BYTES
    });
    // The frame repeats the numeric items.
    items.sum::<usize>() + read.frame().len() * ENTRY_BYTES
}
