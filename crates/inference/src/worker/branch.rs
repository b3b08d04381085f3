//! One claim on its way through the model.

use llama_cpp_2::{model::LlamaModel, token::LlamaToken};
use llguidance::Matcher;

use super::{
    grammar::{end_of_turn, grammar_error},
    sampler::Sampler,
};
use crate::{engine::Usage, error::InferenceError, protocol::count};

/// The end of a sequence, and the grammar of what may follow.
pub(super) struct Branch {
    pub(super) sequence: i32,
    /// Position of the first pending token.
    pub(super) position: u32,
    /// Tokens that are decided but not decoded.
    pub(super) pending: Vec<LlamaToken>,
    /// None where nothing is left to write.
    matcher: Option<Matcher>,
    sampler: Sampler,
    text: Vec<u8>,
    tokens: Vec<u32>,
}

impl Branch {
    /// Begins with `opening`, which the grammar does not cover.
    pub(super) fn new(
        (sequence, position): (i32, u32),
        opening: Vec<LlamaToken>,
        matcher: Option<Matcher>,
        sampler: Sampler,
    ) -> Self {
        Self {
            sequence,
            position,
            pending: opening,
            matcher,
            sampler,
            text: Vec::new(),
            tokens: Vec::new(),
        }
    }

    /// Tells whether the claim is complete; what is pending then is never decoded.
    pub(super) fn is_done(&self) -> bool {
        self.matcher.as_ref().is_none_or(Matcher::is_stopped)
    }

    /// Notes that all pending tokens are decoded.
    pub(super) fn decoded(&mut self) {
        self.position += u32::try_from(self.pending.len()).unwrap_or_default();
        self.pending.clear();
    }

    /// Appends the run the grammar leaves no choice about.
    pub(super) fn force(
        &mut self,
        model: &LlamaModel,
        max_tokens: u32,
        usage: &mut Usage,
    ) -> Result<(), InferenceError> {
        let Some(matcher) = self.matcher.as_mut().filter(|matcher| !matcher.is_stopped()) else {
            return Ok(());
        };
        let run = matcher.compute_ff_tokens();
        if let Some(message) = matcher.get_error() {
            return Err(grammar_error(&message));
        }
        if !run.is_empty() {
            matcher.consume_tokens(&run).map_err(|error| grammar_error(&error.to_string()))?;
        }
        for token in run {
            usage.forced_tokens += 1;
            self.push(token, model);
        }
        if self.written() > max_tokens {
            return Err(InferenceError::Unfinished { max_tokens });
        }
        Ok(())
    }

    /// Takes the logits after the last token and writes on.
    pub(super) fn advance(
        &mut self,
        logits: &[f32],
        model: &LlamaModel,
        max_tokens: u32,
        usage: &mut Usage,
    ) -> Result<(), InferenceError> {
        if self.written() >= max_tokens {
            return Err(InferenceError::Unfinished { max_tokens });
        }
        let Some(matcher) = self.matcher.as_mut() else { return Ok(()) };
        let mask = matcher.compute_mask().map_err(|error| grammar_error(&error.to_string()))?;
        let token = if mask.num_set() == 1 {
            usage.forced_tokens += 1;
            mask.first_bit_set().and_then(|token| u32::try_from(token).ok())
        } else {
            usage.sampled_tokens += 1;
            self.sampler.choose(logits, &mask)
        };
        let token = token.ok_or_else(|| grammar_error("no token may follow"))?;
        matcher.consume_token(token).map_err(|error| grammar_error(&error.to_string()))?;
        if token == end_of_turn(model).0.unsigned_abs() {
            self.matcher = None;
            self.tokens.push(token);
            return Ok(());
        }
        self.push(token, model);
        self.force(model, max_tokens, usage)
    }

    /// Returns what was written. A grammar spells characters, so a claim that is
    /// complete is UTF-8.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    /// Returns the tokens that were written, the end of a turn included.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    fn written(&self) -> u32 {
        count(self.tokens.len())
    }

    fn push(&mut self, token: u32, model: &LlamaModel) {
        self.tokens.push(token);
        let token = LlamaToken(i32::try_from(token).unwrap_or(i32::MAX));
        self.text.extend(model.vocab().token_to_piece(token, false, None));
        self.pending.push(token);
    }
}
