//! Why a generation failed, in the terms a caller can act on.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A failed generation. Each variant has one meaning for the HTTP layer.
#[derive(Debug, Clone, PartialEq, Error, Serialize, Deserialize)]
pub enum InferenceError {
    /// The queue is full, or a person would wait too long: 503 with `Retry-After`.
    #[error("the inference engine is busy")]
    Overloaded {
        /// When a place is likely to be free.
        retry_after: Duration,
    },
    /// The deadline passed before the generation was complete: 504.
    #[error("the deadline passed before the generation was complete")]
    DeadlineExceeded,
    /// The worker died twice while this request was in it, or does not come
    /// up: 503 with `Retry-After`.
    #[error("the inference worker is not available")]
    WorkerLost,
    /// Another model serves than the one the request was admitted for: ask again.
    #[error("the model was replaced while the request waited")]
    ModelReplaced,
    /// A model is to be replaced while another is on its way.
    #[error("another model is being loaded; try again when it serves")]
    Swapping,
    /// The caller has left: nobody sees it.
    #[error("the caller has left")]
    Cancelled,
    /// The engine is shutting down: 503.
    #[error("the inference engine is shutting down")]
    ShuttingDown,
    /// Prompt and requested output do not fit into one context: the data has
    /// outgrown the configuration, 500.
    #[error(
        "the prompt of {prompt_tokens} tokens and an answer of {answer_tokens} \
         exceed the {limit} tokens of a context"
    )]
    PromptTooLong {
        /// Tokens of the prompt, the shared prefix included.
        prompt_tokens: u32,
        /// Bound on the tokens of the answer.
        answer_tokens: u32,
        /// Tokens a context holds.
        limit: u32,
    },
    /// A claim did not come to its end within its bound: a bug of the caller, 500.
    #[error("a claim did not end within {max_tokens} tokens")]
    Unfinished {
        /// The bound.
        max_tokens: u32,
    },
    /// A parameter is out of range: a bug of the caller, 500.
    #[error("{field} is {found}, expected {expected}")]
    Parameter {
        /// Name of the parameter.
        field: String,
        /// What is accepted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The grammar does not compile or exceeds a limit: a bug of the caller, 500.
    #[error("the grammar is not usable: {detail}")]
    Grammar {
        /// First line of the compiler's message.
        detail: String,
    },
    /// The model produced a logit that is not a number: 500.
    #[error("the model produced a logit that is not finite")]
    NotFinite,
    /// llama.cpp refused a batch: 500.
    #[error("decoding failed: {detail}")]
    Decode {
        /// What llama.cpp reported.
        detail: String,
    },
    /// The worker cannot load the model: 503.
    #[error("the model cannot be loaded: {detail}")]
    Model {
        /// What the worker reported.
        detail: String,
    },
}
