//! Theses decoded with llama.cpp, constrained by a plan.
//!
//! The front holds an [`Engine`]: it supervises a worker process that owns the
//! model. A lane of it decodes one thesis at a time, the claims as parallel
//! branches of the prompt. A fault of llama.cpp ends the worker, not the front.
//!
//! A model reaches llama.cpp only as a [`model::PreparedModel`], whose bytes
//! were checked in Rust.

mod engine;
mod error;
mod metrics;
pub mod model;
mod process;
mod protocol;
pub mod worker;
mod writer;

/// What training must do exactly as serving does: texts to tokens, which tokens a
/// grammar leaves, and what is decoded to an answer.
pub mod serving {
    pub use crate::{
        worker::{
            grammar::{Grammars, end_of_turn},
            prompt::{Prompts, Turns},
        },
        writer::{Edition, compose},
    };
}

pub use engine::{
    Admission, ContextConfig, Engine, EngineConfig, EngineState, EngineStatus, Generation,
    GenerationRequest, ModelInfo, Priority, Sampling, Timings, Usage, Written,
};
pub use error::InferenceError;
pub use metrics::describe as describe_metrics;
pub use process::WorkerCommand;
pub use writer::{WriteError, WriteRequest, Writer};
