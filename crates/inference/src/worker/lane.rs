//! One context of the model and what its sequences hold.
//!
//! A lane decodes one thesis at a time, so the shapes of its batches, and with
//! them the last bits of its logits, depend on that thesis alone.

use llama_cpp_2::{
    context::{
        LlamaContext,
        params::{KvCacheType, LlamaContextParams},
        session::{LlamaStateSeqFlags, SeqState},
    },
    llama_backend::LlamaBackend,
    llama_batch::LlamaBatch,
    model::LlamaModel,
    token::LlamaToken,
};

use super::{prompt::Turns, states::Kept};
use crate::{
    engine::{ContextConfig, GenerationRequest},
    error::InferenceError,
    protocol::count,
};

/// Holds prefix and prompt, and for the decision the answer.
pub(super) const PROMPT: i32 = 0;
/// First of the sequences that hold branches.
const BRANCHES: i32 = 1;

/// llama.cpp multiplies f16 as f32, and attention is a fifth of the work; with bf16,
/// where the CPU multiplies it, a thesis takes 8 % less.
const KV_TYPE: KvCacheType =
    if cfg!(target_feature = "avx512bf16") { KvCacheType::BF16 } else { KvCacheType::F16 };

/// A branch a claim at most, besides the prompt.
const SEQUENCES: u32 = 1 + GenerationRequest::CLAIMS_MAX;

/// What all prompts begin with.
pub(super) struct Prefix {
    pub(super) tokens: u32,
    state: SeqState,
}

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
    kept: Kept,
    /// The prompt whose state is there.
    held: Vec<LlamaToken>,
    branches: i32,
}

impl<'model> Lane<'model> {
    /// Opens a context whose decodes have up to so many threads. Not to be called in two
    /// threads at once.
    pub(super) fn open(
        backend: &LlamaBackend,
        model: &'model LlamaModel,
        config: &ContextConfig,
        threads: u32,
        kept: Kept,
    ) -> Result<Self, String> {
        let context = model
            .new_context(backend, context_params(config, threads))
            .map_err(|error| error.to_string())?;
        let chunk = config.chunk as usize;
        let batch = LlamaBatch::new(chunk, 1);
        Ok(Self { context, batch, chunk, kept, held: Vec::new(), branches: 0 })
    }

    /// Decodes the prefix all prompts share, for all lanes. Calls `before` with the tokens
    /// of each chunk.
    pub(super) fn decode_prefix(
        &mut self,
        tokens: &[LlamaToken],
        mut before: impl FnMut(usize),
    ) -> Result<Prefix, InferenceError> {
        let feed = Feed { sequence: PROMPT, position: 0, tokens, logits: true };
        let before = |tokens| {
            before(tokens);
            Ok(())
        };
        self.feed(&[feed], before, |_, _| Ok(()))?;
        let state = self.save()?;
        self.clear(PROMPT, 0)?;
        Ok(Prefix { tokens: count(tokens.len()), state })
    }

    /// Returns the prompt whose state is there.
    pub(super) fn held(&self) -> &[LlamaToken] {
        &self.held
    }

    /// Makes the state of a prompt present; returns how many of its tokens were
    /// kept: all, those of the day, or none, so that a batch never has another shape.
    /// A state that is restored lies in the same cells as one that is decoded.
    pub(super) fn load_prompt(
        &mut self,
        prefix: &Prefix,
        prompt: &Turns,
        mut before: impl FnMut(usize) -> Result<(), InferenceError>,
    ) -> Result<usize, InferenceError> {
        let tokens = &prompt.tokens;
        if self.held == *tokens {
            return Ok(tokens.len());
        }
        self.held.clear();
        self.clear(PROMPT, 0)?;
        let kept = if let Some(state) = self.kept.prompt(prompt) {
            self.restore(&state)?;
            tokens.len()
        } else {
            let kept = self.load_day(prefix, prompt, &mut before)?;
            let position = prefix.tokens + count(prompt.day().len());
            self.extend(position, prompt.ticker(), before)?;
            if self.kept.keeps_prompts() {
                self.kept.keep_prompt(prompt, self.save()?);
            }
            kept
        };
        self.held.extend_from_slice(tokens);
        Ok(kept)
    }

    /// Makes the state of a prompt's day present; returns how many tokens were kept.
    fn load_day(
        &mut self,
        prefix: &Prefix,
        prompt: &Turns,
        before: impl FnMut(usize) -> Result<(), InferenceError>,
    ) -> Result<usize, InferenceError> {
        if let Some(state) = self.kept.day(prompt) {
            self.restore(&state)?;
            return Ok(prompt.day().len());
        }
        self.restore(&prefix.state)?;
        self.extend(prefix.tokens, prompt.day(), before)?;
        self.kept.keep_day(prompt, self.save()?);
        Ok(0)
    }

    /// Decodes tokens at the end of the prompt's sequence.
    fn extend(
        &mut self,
        position: u32,
        tokens: &[LlamaToken],
        before: impl FnMut(usize) -> Result<(), InferenceError>,
    ) -> Result<(), InferenceError> {
        let feed = Feed { sequence: PROMPT, position, tokens, logits: false };
        self.feed(&[feed], before, |_, _| Ok(()))
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

    /// Forgets all branches, whose cells are then free.
    pub(super) fn drop_branches(&mut self) -> Result<(), InferenceError> {
        for branch in (BRANCHES..).take(self.branches.unsigned_abs() as usize) {
            self.clear(branch, 0)?;
        }
        self.branches = 0;
        Ok(())
    }

    /// Forgets all branches and what follows the prompt, which ends at `end`. Cells
    /// are then handed out in the same order as if nothing had been decoded after
    /// it. What is `poisoned` by values that are not finite is forgotten
    /// altogether: masked cells still take part in sums.
    pub(super) fn reset(
        &mut self,
        end: u32,
        poisoned: Option<&Turns>,
    ) -> Result<(), InferenceError> {
        if let Some(prompt) = poisoned {
            self.context.clear_kv_cache();
            self.branches = 0;
            self.kept.forget(prompt);
            self.held.clear();
            return Ok(());
        }
        self.drop_branches()?;
        self.clear(PROMPT, if self.held.is_empty() { 0 } else { end })
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

    fn save(&self) -> Result<SeqState, InferenceError> {
        let state = self.context.state_seq_get(PROMPT, LlamaStateSeqFlags::empty());
        state.map_err(|error| failed(&error))
    }

    fn restore(&mut self, state: &SeqState) -> Result<(), InferenceError> {
        self.context.state_seq_set(state, PROMPT).map_err(|error| failed(&error))
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

fn context_params(config: &ContextConfig, threads: u32) -> LlamaContextParams {
    let threads = i32::try_from(threads).unwrap_or(1);
    LlamaContextParams::default()
        .with_n_ctx(std::num::NonZero::new(config.tokens))
        .with_n_batch(config.chunk)
        .with_n_ubatch(config.chunk)
        .with_n_seq_max(SEQUENCES)
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        .with_type_k(KV_TYPE)
        .with_type_v(KV_TYPE)
        // Branches share the cells of their prompt; a copy is a note.
        .with_kv_unified(true)
        // On a CPU the tiled kernel needs 64 rows; below that it is slower
        // than none, and it makes the output depend on the batch.
        .with_flash_attention_policy(llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_DISABLED)
        .with_no_perf(true)
}
