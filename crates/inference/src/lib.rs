//! Text generation with llama.cpp, constrained by a grammar.
//!
//! The front holds an [`Engine`]: it supervises a worker process that owns the
//! model in one thread and decodes all requests in one continuous batch. A
//! fault of llama.cpp ends the worker, not the front.
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

pub use engine::{
    ContextConfig, Engine, EngineConfig, EngineState, EngineStatus, FinishReason, Generation,
    GenerationRequest, ModelInfo, Sampling, Timings, Usage,
};
pub use error::InferenceError;
pub use metrics::describe as describe_metrics;
pub use process::WorkerCommand;
pub use writer::{WriteError, Writer};
