//! One context of the model and what its sequences hold.
//!
//! A lane decodes one thesis at a time, so the shapes of its batches, and with
//! them the last bits of its logits, depend on that thesis alone.

use llama_cpp_2::{
    context::{LlamaContext, params::LlamaContextParams},
    llama_backend::LlamaBackend,
    llama_batch::LlamaBatch,
    model::LlamaModel,
    token::LlamaToken,
};

use crate::{
    engine::{ContextConfig, GenerationRequest},
    error::InferenceError,
    protocol::count,
};

/// Holds the shared prefix.
const PREFIX: i32 = 0;
/// Holds prefix and prompt, and for the decision the answer.
pub(super) const PROMPT: i32 = 1;
/// First of the sequences that hold branches.
const BRANCHES: i32 = 2;

/// A branch a claim at most, besides prefix and prompt.
const SEQUENCES: u32 = 2 + GenerationRequest::CLAIMS_MAX;

/// Tokens to decode at the end of one sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Feed<'a> {
    pub(super) sequence: i32,
    /// Position of the first token.
    pub(super) position: u32,
    pub(super) tokens: &'a [LlamaToken],
    /// Whether the logits after the last token are of interest.
    pub(super) logits: bool,
}

/// A context with one owner.
pub(super) struct Lane<'model> {
    context: LlamaContext<'model>,
    batch: LlamaBatch<'static>,
    chunk: usize,
    /// The shared prefix.
    prefix: Vec<LlamaToken>,
    /// The prompt whose state is still there.
    held: Vec<LlamaToken>,
    branches: i32,
}

impl<'model> Lane<'model> {
    /// Opens a context. Not to be called in two threads at once.
    pub(super) fn open(
        backend: &LlamaBackend,
        model: &'model LlamaModel,
        config: &ContextConfig,
    ) -> Result<Self, String> {
        let context = model
            .new_context(backend, context_params(config))
            .map_err(|error| error.to_string())?;
        let chunk = config.chunk as usize;
        let batch = LlamaBatch::new(chunk, 1);
        Ok(Self { context, batch, chunk, prefix: Vec::new(), held: Vec::new(), branches: 0 })
    }

    /// Decodes the prefix all prompts share.
    pub(super) fn load_prefix(&mut self, tokens: &[LlamaToken]) -> Result<(), InferenceError> {
        self.prefix = tokens.to_vec();
        let feed = Feed { sequence: PREFIX, position: 0, tokens, logits: true };
        self.feed(&[feed], |_| Ok(()), |_, _| Ok(()))
    }

    /// Returns the tokens of the shared prefix.
    pub(super) fn prefix(&self) -> u32 {
        count(self.prefix.len())
    }

    /// Returns the position after the prompt that is present.
    pub(super) fn prompt_end(&self) -> u32 {
        count(self.prefix.len() + self.held.len())
    }

    /// Returns the prompt whose state can be used again.
    pub(super) fn held(&self) -> &[LlamaToken] {
        &self.held
    }

    /// Makes the state of a prompt present; returns how many of its tokens were
    /// there already: all or none, so that a batch never has another shape.
    pub(super) fn load_prompt(
        &mut self,
        tokens: &[LlamaToken],
        before: impl FnMut(usize) -> Result<(), InferenceError>,
    ) -> Result<usize, InferenceError> {
        if self.held == tokens {
            return Ok(tokens.len());
        }
        self.held.clear();
        self.clear(PROMPT, 0)?;
        self.copy(PREFIX, PROMPT)?;
        let feed = Feed { sequence: PROMPT, position: self.prefix(), tokens, logits: false };
        self.feed(&[feed], before, |_, _| Ok(()))?;
        self.held.extend_from_slice(tokens);
        Ok(0)
    }

    /// Returns a new sequence that goes on where `from` ends.
    pub(super) fn fork(&mut self, from: i32) -> Result<i32, InferenceError> {
        let branch = BRANCHES + self.branches;
        if branch.unsigned_abs() >= SEQUENCES {
            return Err(InferenceError::Decode { detail: "too many branches".to_owned() });
        }
        self.copy(from, branch)?;
        self.branches += 1;
        Ok(branch)
    }

    /// Forgets all branches and what follows the prompt. Cells are then handed
    /// out in the same order as if nothing had been decoded after it. What
    /// `is_poisoned` by values that are not finite is decoded anew: masked cells
    /// still take part in sums.
    pub(super) fn reset(&mut self, is_poisoned: bool) -> Result<(), InferenceError> {
        if is_poisoned {
            self.context.clear_kv_cache();
            self.branches = 0;
            self.held.clear();
            let prefix = std::mem::take(&mut self.prefix);
            return self.load_prefix(&prefix);
        }
        for branch in (BRANCHES..).take(self.branches.unsigned_abs() as usize) {
            self.clear(branch, 0)?;
        }
        self.branches = 0;
        let end = if self.held.is_empty() { 0 } else { self.prompt_end() };
        self.clear(PROMPT, end)
    }

    /// Decodes the feeds in chunks. Calls `before` with the tokens of each
    /// chunk, whose error ends the work, and `after` with the index of each feed
    /// that is complete and its logits, all of them finite.
    pub(super) fn feed(
        &mut self,
        feeds: &[Feed<'_>],
        mut before: impl FnMut(usize) -> Result<(), InferenceError>,
        mut after: impl FnMut(usize, &[f32]) -> Result<(), InferenceError>,
    ) -> Result<(), InferenceError> {
        let mut rows = feeds
            .iter()
            .enumerate()
            .flat_map(|(i, feed)| (0..feed.tokens.len()).map(move |j| (i, j)))
            .peekable();
        let mut ends = Vec::with_capacity(feeds.len());
        while rows.peek().is_some() {
            self.batch.clear();
            ends.clear();
            for (i, j) in rows.by_ref().take(self.chunk) {
                let feed = &feeds[i];
                let logits = feed.logits && j + 1 == feed.tokens.len();
                let position = i32::try_from(feed.position as usize + j).unwrap_or(i32::MAX);
                self.batch
                    .add(feed.tokens[j], position, &[feed.sequence], logits)
                    .map_err(|error| failed(&error))?;
                if logits {
                    ends.push((i, self.batch.n_tokens() - 1));
                }
            }
            before(self.batch.n_tokens().unsigned_abs() as usize)?;
            self.context.decode(&mut self.batch).map_err(|error| failed(&error))?;
            for &(i, row) in &ends {
                let logits = self.context.get_logits_ith(row);
                // Without an early exit the check is a few microseconds of SIMD.
                if !logits.iter().fold(true, |finite, logit| finite & logit.is_finite()) {
                    return Err(InferenceError::NotFinite);
                }
                after(i, logits)?;
            }
        }
        Ok(())
    }

    fn copy(&mut self, from: i32, to: i32) -> Result<(), InferenceError> {
        self.context.copy_kv_cache_seq(from, to, None, None).map_err(|error| failed(&error))
    }

    fn clear(&mut self, sequence: i32, from: u32) -> Result<(), InferenceError> {
        let removed =
            self.context.clear_kv_cache_seq(Some(sequence.unsigned_abs()), Some(from), None);
        match removed {
            Ok(true) => Ok(()),
            // Recurrent models cannot forget a tail; the architecture list excludes them.
            Ok(false) => {
                Err(InferenceError::Decode { detail: "the cache keeps a tail".to_owned() })
            }
            Err(error) => Err(failed(&error)),
        }
    }
}

fn failed(error: &dyn std::error::Error) -> InferenceError {
    InferenceError::Decode { detail: error.to_string() }
}

fn context_params(config: &ContextConfig) -> LlamaContextParams {
    let threads = i32::try_from(config.threads).unwrap_or(1);
    LlamaContextParams::default()
        .with_n_ctx(std::num::NonZero::new(config.tokens))
        .with_n_batch(config.chunk)
        .with_n_ubatch(config.chunk)
        .with_n_seq_max(SEQUENCES)
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        // Branches share the cells of their prompt; a copy is a note.
        .with_kv_unified(true)
        // On a CPU the tiled kernel needs 64 rows; below that it is slower
        // than none, and it makes the output depend on the batch.
        .with_flash_attention_policy(llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_DISABLED)
        .with_no_perf(true)
}
