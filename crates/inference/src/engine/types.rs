//! What goes into the engine and what comes out.

use std::{num::NonZero, thread, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{error::InferenceError, model::PreparedModel, process::WorkerCommand};

/// Everything an engine is started with.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Verified model.
    pub model: PreparedModel,
    /// System prompt all requests share; its KV state is computed once.
    pub system_prompt: String,
    /// Sizes of the model's context.
    pub context: ContextConfig,
    /// Regular expressions of the texts that grammars leave free, such as
    /// `[a-z ]{1,30}` and `[a-z ]+` for a bounded text of small letters. Where
    /// a grammar allows all of one, its tokens need not be tried one by one:
    /// a mask then costs tens of microseconds instead of hundreds. Empty means
    /// the texts of JSON strings.
    pub mask_slices: Vec<String>,
    /// Requests waiting or active at the same time; more are refused.
    pub max_in_flight: usize,
    /// Silence of a worker with active requests after which it is killed.
    pub watchdog: Duration,
    /// Bound on the time a worker takes to load the model.
    pub start_timeout: Duration,
    /// Growth of a worker's memory since it became ready, in bytes, at which
    /// it is replaced once idle.
    pub max_memory_growth_bytes: u64,
    /// How a worker process is started.
    pub worker: WorkerCommand,
}

impl EngineConfig {
    /// Returns the defaults for a model.
    #[must_use]
    pub fn new(
        model: PreparedModel,
        system_prompt: impl Into<String>,
        worker: WorkerCommand,
    ) -> Self {
        Self {
            model,
            system_prompt: system_prompt.into(),
            context: ContextConfig::default(),
            mask_slices: Vec::new(),
            max_in_flight: 64,
            watchdog: Duration::from_secs(10),
            start_timeout: Duration::from_secs(60),
            max_memory_growth_bytes: 1 << 30,
            worker,
        }
    }

    pub(crate) fn check(&self) -> Result<(), InferenceError> {
        let c = &self.context;
        check("threads", c.threads, 1..=available_threads())?;
        check("max_sequences", c.max_sequences, 1..=64)?;
        check("prefill_chunk", c.prefill_chunk, 32..=2_048)?;
        let longest = self.model.context_length();
        check("sequence_tokens", c.sequence_tokens, 256..=longest)?;
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

/// Sizes of the model's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextConfig {
    /// Threads of llama.cpp. More than the CPUs this process may use can hang
    /// a decode, so more are refused.
    pub threads: u32,
    /// Requests decoded at the same time.
    pub max_sequences: u32,
    /// Tokens one sequence holds: shared prefix, prompt and output.
    pub sequence_tokens: u32,
    /// Tokens of a prompt decoded between two steps of the other sequences.
    pub prefill_chunk: u32,
    /// One KV buffer for all sequences instead of one stream for each. Streams
    /// give a request the same bytes alone and among others.
    pub kv_unified: bool,
}

impl Default for ContextConfig {
    fn default() -> Self {
        Self {
            threads: available_threads(),
            max_sequences: 8,
            sequence_tokens: 2_304,
            prefill_chunk: 128,
            kv_unified: false,
        }
    }
}

/// CPUs this process may use, by affinity mask and cgroup quota.
fn available_threads() -> u32 {
    let n = thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// One generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerationRequest {
    /// Text of the user's turn. Never read as control tokens.
    pub user: String,
    /// Text of the assistant's turn that already stands, may be empty.
    pub prefill: String,
    /// Lark grammar, in the dialect of llguidance, of what may follow.
    pub grammar: String,
    /// Characters whose logits are read after the grammar is complete; each
    /// must be one token.
    pub codes: Option<[char; 5]>,
    /// Seed of the sampler.
    pub seed: u64,
    /// How tokens are chosen among those the grammar allows.
    pub sampling: Sampling,
    /// Bound on the tokens of the output, forced ones included.
    pub max_tokens: u32,
    /// Time from now after which the result is of no use.
    pub timeout: Duration,
}

/// How tokens are chosen among those the grammar allows.
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
    /// Longest user text, prefill or grammar in bytes.
    pub const MAX_TEXT_BYTES: usize = 1 << 20;

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
        for (field, text) in
            [("user", &self.user), ("prefill", &self.prefill), ("grammar", &self.grammar)]
        {
            if text.len() > Self::MAX_TEXT_BYTES {
                let expected = format!("at most {} bytes", Self::MAX_TEXT_BYTES);
                return refuse(field, &expected, text.len().to_string());
            }
        }
        check("max_tokens", self.max_tokens, 1..=1 << 20)
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishReason {
    /// The text is a complete sentence of the grammar.
    Complete,
    /// `max_tokens` was reached first; the text is a prefix.
    Length,
}

/// A finished generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// What was generated after the prefill.
    pub text: String,
    /// Why it ended.
    pub finish: FinishReason,
    /// Logits of the requested codes; only when the grammar is complete.
    pub code_logits: Option<[f32; 5]>,
    /// Token counts.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// Calls of `llama_decode` this request took part in.
    pub steps: u32,
}

/// Token counts of a generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, the shared prefix left out.
    pub prompt_tokens: u32,
    /// Tokens of the shared prefix, decoded once for all requests.
    pub prefix_tokens: u32,
    /// Output tokens the grammar left no choice about.
    pub forced_tokens: u32,
    /// Output tokens chosen by the model.
    pub sampled_tokens: u32,
}

/// Where the time of a generation went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Until a sequence was free, in milliseconds.
    pub queue_ms: f32,
    /// From then until the logits of the prompt, in milliseconds.
    pub prefill_ms: f32,
    /// From then until the end, in milliseconds.
    pub decode_ms: f32,
    /// Computing token masks, in microseconds; part of `decode_ms`.
    pub mask_us_total: u64,
}

/// What a worker says about the model it loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name of the manifest.
    pub name: String,
    /// llama.cpp's description: architecture, size, quantisation.
    pub description: String,
    /// Number of weights.
    pub n_params: u64,
    /// Size of the vocabulary.
    pub n_vocab: u32,
    /// Tokens of the shared prefix.
    pub prefix_tokens: u32,
    /// Tokens a sequence holds.
    pub sequence_tokens: u32,
    /// Instruction sets llama.cpp was built for. Builds that differ here can
    /// differ in their output.
    pub build: String,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStatus {
    /// Whether the engine can answer.
    pub state: EngineState,
    /// Times a worker was replaced.
    pub restarts: u64,
    /// Sequences being decoded.
    pub active: u32,
    /// Requests waiting for a sequence or for a worker.
    pub queued: u32,
    /// KV cells in use.
    pub kv_tokens: u32,
    /// Process id of the worker.
    pub worker_pid: Option<u32>,
    /// Last model a worker reported.
    pub model: Option<ModelInfo>,
}
