//! States of prompts that are kept for whoever asks about the same evidence.

use std::sync::Arc;

use llama_cpp_2::{context::session::SeqState, token::LlamaToken};
use moka::{policy::EvictionPolicy, sync::Cache};

use super::prompt::Turns;
use crate::protocol::count;

/// Bound on the states of days: 16 days of the default model, some of a large one.
const DAY_BYTES_MAX: u64 = 64 << 20;

/// The state of a sequence after some tokens and the prefix before them.
type States = Cache<Vec<LlamaToken>, Arc<SeqState>>;

/// The states all lanes share.
#[derive(Clone)]
pub(super) struct Kept {
    days: States,
    /// None where prompts are not to be kept.
    prompts: Option<States>,
}

impl Kept {
    /// Keeps some days, and prompts of so many bytes.
    pub(super) fn new(prompt_bytes: u64) -> Self {
        let states = |bytes| -> States {
            Cache::builder()
                .max_capacity(bytes)
                .weigher(|_, state: &Arc<SeqState>| count(state.byte_len()))
                .eviction_policy(EvictionPolicy::lru())
                .build()
        };
        let prompts = (prompt_bytes > 0).then(|| states(prompt_bytes));
        Self { days: states(DAY_BYTES_MAX), prompts }
    }

    /// Returns the state after a prompt.
    pub(super) fn prompt(&self, prompt: &Turns) -> Option<Arc<SeqState>> {
        self.prompts.as_ref()?.get(&prompt.tokens)
    }

    /// Returns the state after the day of a prompt.
    pub(super) fn day(&self, prompt: &Turns) -> Option<Arc<SeqState>> {
        self.days.get(prompt.day())
    }

    /// Tells whether it is worth to save the state after a prompt.
    pub(super) const fn keeps_prompts(&self) -> bool {
        self.prompts.is_some()
    }

    pub(super) fn keep_prompt(&self, prompt: &Turns, state: SeqState) {
        if let Some(prompts) = &self.prompts {
            prompts.insert(prompt.tokens.clone(), Arc::new(state));
        }
    }

    pub(super) fn keep_day(&self, prompt: &Turns, state: SeqState) {
        self.days.insert(prompt.day().to_vec(), Arc::new(state));
    }

    /// Forgets the states of a prompt and of its day.
    pub(super) fn forget(&self, prompt: &Turns) {
        self.days.invalidate(prompt.day());
        if let Some(prompts) = &self.prompts {
            prompts.invalidate(&prompt.tokens);
        }
    }
}
