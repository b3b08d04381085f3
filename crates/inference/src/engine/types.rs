//! What goes into the engine and what comes out.

use std::{collections::BTreeMap, num::NonZero, ops::Range, sync::Arc, thread, time::Duration};

use chrono::NaiveDate;
use contract::{Pick, Plan};
use domain::{Calibration, Digest, Label};
use serde::{Deserialize, Serialize};

use crate::{error::InferenceError, model::PreparedModel, process::WorkerCommand};

/// Everything an engine is started with.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Verified model.
    pub model: PreparedModel,
    /// System prompt all requests share; its KV state is computed once.
    pub system_prompt: String,
    /// Sizes of the model's contexts.
    pub context: ContextConfig,
    /// Requests waiting or active at the same time; more are refused.
    pub max_in_flight: usize,
    /// An interactive request that would not be decoded within this is refused
    /// at once, unless a lane is free for it.
    pub max_latency: Duration,
    /// Time in one step of the decoder after which a worker is killed.
    pub watchdog: Duration,
    /// Bound on the time a worker takes to load the model.
    pub start_timeout: Duration,
    /// Growth of a worker's memory since it became ready, in bytes, at which
    /// another takes its place.
    pub max_memory_growth_bytes: u64,
    /// Whether a second worker of the model stands by, which serves in the place of one
    /// that is lost within milliseconds. It takes as much memory as the first.
    pub standby: bool,
    /// How a worker process is started.
    pub worker: WorkerCommand,
}

impl EngineConfig {
    /// Returns the defaults for a model.
    #[must_use]
    pub fn new(model: PreparedModel, worker: WorkerCommand) -> Self {
        Self {
            model,
            system_prompt: contract::system_prompt().to_owned(),
            context: ContextConfig::default(),
            max_in_flight: 64,
            max_latency: Duration::from_millis(1_800),
            watchdog: Duration::from_secs(10),
            start_timeout: Duration::from_secs(60),
            max_memory_growth_bytes: 1 << 30,
            standby: false,
            worker,
        }
    }

    pub(crate) fn check(&self) -> Result<(), InferenceError> {
        let c = &self.context;
        check("lanes", c.lanes, 1..=available_threads())?;
        check("threads", c.threads, 1..=available_threads() / c.lanes)?;
        check("chunk", c.chunk, 16..=2_048)?;
        let longest = self.model.context_length();
        check("tokens", c.tokens, 512..=longest)?;
        let in_flight = u32::try_from(self.max_in_flight).unwrap_or(u32::MAX);
        check("max_in_flight", in_flight, 1..=100_000)
    }
}

fn check(
    field: &str,
    found: u32,
    range: std::ops::RangeInclusive<u32>,
) -> Result<(), InferenceError> {
    if range.contains(&found) {
        return Ok(());
    }
    Err(InferenceError::Parameter {
        field: field.to_owned(),
        expected: format!("{}..={}", range.start(), range.end()),
        found: found.to_string(),
    })
}

/// Sizes of the model's contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextConfig {
    /// Theses decoded at the same time, each in a context of its own. More lanes
    /// give more theses a minute, more threads a shorter wait for one.
    pub lanes: u32,
    /// Threads of llama.cpp in each lane. With one, a thesis that is alone in the
    /// engine is decoded with the threads of all lanes. More threads than CPUs
    /// this process may use can hang a decode, so more are refused.
    pub threads: u32,
    /// Tokens one context holds: shared prefix, prompt and answer.
    pub tokens: u32,
    /// Most tokens of one call of `llama_decode`. A request is cancelled between
    /// two calls; each reads all weights once.
    pub chunk: u32,
    /// Bound on the states of prompts that are kept, in bytes, for all lanes
    /// together. Who asks about the same evidence again does not wait for it to be
    /// read again.
    pub prompt_cache_bytes: u64,
}

impl ContextConfig {
    /// Returns how many elements of a batch keep every lane busy: one waits while the
    /// others are decoded.
    #[must_use]
    pub const fn batch_width(&self) -> usize {
        self.lanes as usize + 1
    }
}

impl Default for ContextConfig {
    fn default() -> Self {
        Self {
            lanes: available_threads(),
            threads: 1,
            tokens: 3_072,
            chunk: 96,
            prompt_cache_bytes: 256 << 20,
        }
    }
}

/// CPUs this process may use, by affinity mask and cgroup quota.
fn available_threads() -> u32 {
    let n = thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// One thesis to decode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerationRequest {
    /// The prompt, and where the model may choose and write. Its texts are never
    /// read as control tokens.
    pub plan: Plan,
    /// Characters whose logits are the decision; each must be one token.
    pub codes: [char; 5],
    /// Seed of the sampler.
    pub seed: u64,
    /// How tokens are chosen among those the plan allows.
    pub sampling: Sampling,
    /// Bound on the tokens of one claim, forced ones included.
    pub max_tokens: u32,
    /// Time from now after which the result is of no use.
    pub timeout: Duration,
}

/// Who waits for a thesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    /// A person: served first, and refused at once rather than late.
    Interactive,
    /// A batch: served when nobody else waits, or has waited for long.
    Batch,
}

/// How tokens are chosen among those the plan allows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Divisor of the logits; 0 takes the most probable token.
    pub temperature: f32,
    /// Tokens less probable than this share of the most probable one are left
    /// out; 0 keeps all. Applied before the temperature.
    pub min_p: f32,
}

impl Sampling {
    /// The most probable token at each position.
    pub const GREEDY: Self = Self { temperature: 0.0, min_p: 0.0 };
}

impl GenerationRequest {
    /// Most claims of a plan: each has a branch of its own.
    pub const CLAIMS_MAX: u32 = 14;
    /// Longest prompt or rules in bytes.
    pub const MAX_TEXT_BYTES: usize = 1 << 20;
    /// Bound on the tokens of a claim; the phrases of a plan end well below it.
    pub const MAX_TOKENS: u32 = 32;
    /// Tokens of a claim besides those the model writes: the opening of its section and
    /// the code.
    const OPENING_TOKENS_MAX: u32 = 8;

    /// Returns the most tokens of a context that so many claims take: each claim twice, in
    /// its branch and before the decision.
    #[must_use]
    pub const fn answer_tokens(claims: u32, max_tokens: u32) -> u32 {
        max_tokens.saturating_add(Self::OPENING_TOKENS_MAX).saturating_mul(claims).saturating_mul(2)
    }

    /// Asks for the thesis of a plan.
    #[must_use]
    pub fn new(plan: Plan, seed: u64, sampling: Sampling, timeout: Duration) -> Self {
        let codes = Label::ALL.map(Label::code);
        Self { plan, codes, seed, sampling, max_tokens: Self::MAX_TOKENS, timeout }
    }

    pub(crate) fn check(&self) -> Result<(), InferenceError> {
        let refuse = |field: &str, expected: &str, found: String| {
            Err(InferenceError::Parameter {
                field: field.to_owned(),
                expected: expected.to_owned(),
                found,
            })
        };
        let Sampling { temperature, min_p } = self.sampling;
        if !(0.0..=10.0).contains(&temperature) {
            return refuse("temperature", "0..=10", temperature.to_string());
        }
        if !(0.0..=1.0).contains(&min_p) {
            return refuse("min_p", "0..=1", min_p.to_string());
        }
        let Plan { day, user, rules, .. } = &self.plan;
        for (field, text) in [("day", day), ("user", user), ("rules", rules)] {
            if text.len() > Self::MAX_TEXT_BYTES {
                let expected = format!("at most {} bytes", Self::MAX_TEXT_BYTES);
                return refuse(field, &expected, text.len().to_string());
            }
        }
        let mut claims = 0;
        for plan in &self.plan.sections {
            let fits = |range: &Range<usize>| !range.is_empty() && range.end <= plan.choices.len();
            if !plan.claims.iter().all(fits) || plan.claims.len() > plan.choices.len() {
                let found = format!("{:?} of {}", plan.claims, plan.choices.len());
                return refuse("claims", "ranges of the choices, no more than these", found);
            }
            claims += plan.claims.len();
        }
        check("claims", u32::try_from(claims).unwrap_or(u32::MAX), 0..=Self::CLAIMS_MAX)?;
        check("max_tokens", self.max_tokens, 1..=1 << 20)
    }
}

/// A claim that is written while others are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Index into the sections of the plan.
    pub section: usize,
    /// Number of the claim in its section, from 0.
    pub position: usize,
    /// What was chosen and written.
    pub pick: Pick,
}

/// What was decoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The choices and texts of each section of the plan.
    pub picks: Vec<Vec<Pick>>,
    /// The tokens of each pick after its code, forced ones and the end of a turn included:
    /// the text alone does not say how it was spelled.
    pub tokens: Vec<Vec<Vec<u32>>>,
    /// Logits of the requested codes after the whole answer.
    pub code_logits: [f32; 5],
    /// Token counts.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// Tokens of each call of `llama_decode`, in order.
    pub step_tokens: Vec<u32>,
}

impl Timings {
    /// Time in a lane.
    pub(crate) fn service(&self) -> Duration {
        let ms = self.prefill_ms + self.choose_ms + self.write_ms + self.decide_ms;
        Duration::try_from_secs_f32(ms / 1e3).unwrap_or_default()
    }
}

/// Token counts of a generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, the shared prefix left out.
    pub prompt_tokens: u32,
    /// Tokens of the prompt whose state was there from requests before: all, those
    /// of the day, or none.
    pub cached_tokens: u32,
    /// Tokens of the shared prefix, decoded once for all requests.
    pub prefix_tokens: u32,
    /// Tokens of claims the grammar left no choice about.
    pub forced_tokens: u32,
    /// Tokens of claims chosen by the model.
    pub sampled_tokens: u32,
    /// Tokens of the answer as read before the decision.
    pub decision_tokens: u32,
}

/// Where the time of a generation went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Until a lane was free, in milliseconds.
    pub queue_ms: f32,
    /// Decoding the prompt, in milliseconds.
    pub prefill_ms: f32,
    /// Choosing the evidence, in milliseconds.
    pub choose_ms: f32,
    /// Writing the claims, in milliseconds.
    pub write_ms: f32,
    /// Reading the answer and the decision, in milliseconds.
    pub decide_ms: f32,
    /// Token masks and sampling, in microseconds; part of `write_ms`.
    pub mask_us_total: u64,
}

/// What is known about the model that a worker has loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name of the manifest.
    pub name: String,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// llama.cpp's description: architecture, size, quantisation.
    pub description: String,
    /// Number of weights.
    pub n_params: u64,
    /// Size of the vocabulary.
    pub n_vocab: u32,
    /// Tokens of the shared prefix.
    pub prefix_tokens: u32,
    /// Tokens a context holds.
    pub context_tokens: u32,
    /// Instruction sets llama.cpp was built for. Builds that differ here can
    /// differ in their output.
    pub build: String,
    /// What is applied to its probabilities. A worker does not know it.
    #[serde(skip)]
    pub calibration: Calibration,
    /// What its manifest says of the days it was trained on; none for a file without one. A
    /// worker does not know it.
    #[serde(skip)]
    pub trained_until: Option<BTreeMap<String, NaiveDate>>,
}

impl ModelInfo {
    /// Returns a digest of all of the model that has a say in an answer: its file and its
    /// calibration.
    #[must_use]
    pub fn identity(&self) -> Digest {
        Digest::of(format!("{} {}", self.digest, self.calibration.reference()))
    }
}

/// Whether the engine can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineState {
    /// A worker is loading the model; requests wait for it.
    Starting,
    /// Requests are decoded.
    Ready,
    /// The worker does not come up; requests are refused until it does.
    Down,
}

/// State of the engine at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineStatus {
    /// Whether the engine can answer.
    pub state: EngineState,
    /// Times a worker was replaced.
    pub restarts: u64,
    /// Requests being decoded.
    pub active: u32,
    /// Requests waiting for a lane or for a worker.
    pub queued: u32,
    /// Process id of the worker.
    pub worker_pid: Option<u32>,
    /// Process id of the worker that stands by.
    pub standby_pid: Option<u32>,
    /// The model that serves, or served last.
    pub model: Arc<ModelInfo>,
}
