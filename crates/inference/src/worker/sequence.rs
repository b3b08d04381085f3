//! One request on its way through the model.

use std::time::Instant;

use llama_cpp_2::{model::LlamaModel, token::LlamaToken};
use llguidance::Matcher;

use super::{
    grammar::{end_of_turn, grammar_error},
    sampler::Sampler,
};
use crate::{
    engine::{FinishReason, Generation, Timings, Usage},
    error::InferenceError,
};

/// A request that is tokenized and compiled, but has no sequence yet.
pub(super) struct Prepared {
    pub(super) id: u64,
    pub(super) prompt: Vec<LlamaToken>,
    pub(super) matcher: Matcher,
    pub(super) codes: Option<[LlamaToken; 5]>,
    pub(super) sampler: Sampler,
    pub(super) max_tokens: u32,
    pub(super) received: Instant,
    pub(super) deadline: Instant,
}

/// Where a sequence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Tokens of the prompt are pending.
    Prompt,
    /// Output is generated.
    Output,
    /// The output is complete; its last tokens are decoded to read the codes.
    Codes,
}

/// A request that owns a sequence of the context.
pub(super) struct Sequence {
    request: Prepared,
    stage: Stage,
    /// Tokens that are decided but not decoded.
    pending: Vec<LlamaToken>,
    /// Position of the first pending token.
    position: u32,
    output: Vec<u8>,
    code_logits: Option<[f32; 5]>,
    usage: Usage,
    timings: Timings,
    steps: u32,
    /// Start of the stage whose time is being measured.
    since: Instant,
}

impl Sequence {
    /// Begins after a shared prefix of `prefix` tokens. What the grammar
    /// forces at the start is decoded with the prompt.
    pub(super) fn new(
        mut request: Prepared,
        prefix: u32,
        model: &LlamaModel,
    ) -> Result<Self, (u64, InferenceError)> {
        let now = Instant::now();
        let prompt = std::mem::take(&mut request.prompt);
        let mut sequence = Self {
            stage: Stage::Prompt,
            usage: Usage {
                prompt_tokens: u32::try_from(prompt.len()).unwrap_or(u32::MAX),
                prefix_tokens: prefix,
                ..Usage::default()
            },
            pending: prompt,
            position: prefix,
            output: Vec::new(),
            code_logits: None,
            timings: Timings {
                queue_ms: milliseconds(request.received, now),
                ..Timings::default()
            },
            steps: 0,
            since: now,
            request,
        };
        match sequence.append_forced(model) {
            Ok(_) => Ok(sequence),
            Err(error) => Err((sequence.request.id, error)),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.request.id
    }

    pub(super) fn deadline(&self) -> Instant {
        self.request.deadline
    }

    pub(super) fn is_prompt(&self) -> bool {
        self.stage == Stage::Prompt
    }

    /// When the sequence was requested: prompts are decoded in this order.
    pub(super) fn received(&self) -> Instant {
        self.request.received
    }

    pub(super) fn pending(&self) -> &[LlamaToken] {
        &self.pending
    }

    /// Position of the first pending token; cells in use.
    pub(super) fn position(&self) -> u32 {
        self.position
    }

    /// Notes that the first `n` pending tokens are decoded.
    pub(super) fn decoded(&mut self, n: usize) {
        self.pending.drain(..n);
        self.position += u32::try_from(n).unwrap_or_default();
        self.steps += 1;
    }

    /// Takes the logits after the last pending token and decides what comes
    /// next. Returns the reason when nothing does.
    pub(super) fn advance(
        &mut self,
        logits: &[f32],
        model: &LlamaModel,
    ) -> Result<Option<FinishReason>, InferenceError> {
        // Without an early exit the check is a few microseconds of SIMD.
        if !logits.iter().fold(true, |finite, logit| finite & logit.is_finite()) {
            return Err(InferenceError::NotFinite);
        }
        match self.stage {
            Stage::Codes => return Ok(Some(self.read_codes(logits))),
            Stage::Prompt => {
                let now = Instant::now();
                self.timings.prefill_ms = milliseconds(self.since, now);
                self.since = now;
                self.stage = Stage::Output;
                if self.request.matcher.is_stopped() {
                    return Ok(Some(self.read_codes(logits)));
                }
            }
            Stage::Output => {}
        }
        if self.generated() >= self.request.max_tokens {
            return Ok(Some(FinishReason::Length));
        }
        let token = self.choose(logits)?;
        if token == end_of_turn(model) {
            return Ok(Some(self.read_codes(logits)));
        }
        self.push(token, model);
        if !self.append_forced(model)? {
            return Ok(Some(FinishReason::Length));
        }
        if self.request.matcher.is_stopped() {
            if self.request.codes.is_none() {
                return Ok(Some(FinishReason::Complete));
            }
            self.stage = Stage::Codes;
        }
        Ok(None)
    }

    pub(super) fn finish(mut self, finish: FinishReason) -> (u64, Generation) {
        self.timings.decode_ms = milliseconds(self.since, Instant::now());
        let generation = Generation {
            // A grammar spells characters, so only a text cut at `max_tokens`
            // can end within one.
            text: String::from_utf8_lossy(&self.output).into_owned(),
            finish,
            code_logits: self.code_logits,
            usage: self.usage,
            timings: self.timings,
            steps: self.steps,
        };
        (self.request.id, generation)
    }

    fn generated(&self) -> u32 {
        self.usage.forced_tokens + self.usage.sampled_tokens
    }

    fn choose(&mut self, logits: &[f32]) -> Result<LlamaToken, InferenceError> {
        let matcher = &mut self.request.matcher;
        let started = Instant::now();
        let mask = matcher.compute_mask().map_err(|error| grammar_error(&error.to_string()))?;
        self.timings.mask_us_total += u64::try_from(started.elapsed().as_micros()).unwrap_or(0);
        let token = if mask.num_set() == 1 {
            self.usage.forced_tokens += 1;
            mask.first_bit_set().and_then(|token| u32::try_from(token).ok())
        } else {
            self.usage.sampled_tokens += 1;
            self.request.sampler.choose(logits, &mask)
        };
        let token = token.ok_or_else(|| grammar_error("no token may follow"))?;
        matcher.consume_token(token).map_err(|error| grammar_error(&error.to_string()))?;
        Ok(LlamaToken(i32::try_from(token).unwrap_or(i32::MAX)))
    }

    /// Appends the run the grammar leaves no choice about; `false` when it
    /// does not fit into `max_tokens`.
    fn append_forced(&mut self, model: &LlamaModel) -> Result<bool, InferenceError> {
        let generated = self.generated();
        let matcher = &mut self.request.matcher;
        if matcher.is_stopped() {
            return Ok(true);
        }
        let run = matcher.compute_ff_tokens();
        if let Some(message) = matcher.get_error() {
            return Err(grammar_error(&message));
        }
        let n = u32::try_from(run.len()).unwrap_or(u32::MAX);
        if generated.saturating_add(n) > self.request.max_tokens {
            return Ok(false);
        }
        if !run.is_empty() {
            matcher.consume_tokens(&run).map_err(|error| grammar_error(&error.to_string()))?;
        }
        for token in run {
            self.usage.forced_tokens += 1;
            self.push(LlamaToken(i32::try_from(token).unwrap_or(i32::MAX)), model);
        }
        Ok(true)
    }

    fn push(&mut self, token: LlamaToken, model: &LlamaModel) {
        let vocab = model.vocab();
        self.output.extend(vocab.token_to_piece(token, false, None));
        self.pending.push(token);
    }

    fn read_codes(&mut self, logits: &[f32]) -> FinishReason {
        self.code_logits = self
            .request
            .codes
            .map(|codes| codes.map(|LlamaToken(token)| logits[token.unsigned_abs() as usize]));
        FinishReason::Complete
    }
}

fn milliseconds(from: Instant, to: Instant) -> f32 {
    to.saturating_duration_since(from).as_secs_f32() * 1e3
}
