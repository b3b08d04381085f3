//! Gradients of adapters (LoRA, Hu et al. 2021, arXiv:2106.09685) over a frozen
//! model, on ggml's kernels.
//!
//! The forward pass is that of llama.cpp, in the numbers of the file it reads or, where
//! speed is worth memory, with quantised matrices unpacked to BF16;
//! the backward pass is written by hand, because ggml's own covers neither
//! quantised matrices nor the losses of a policy gradient. What is left out: models
//! with experts, whose matrix product has no way back here; dropout, which LoRA at
//! these ranks does without; training of norms and embeddings.
//!
//! Read in this order: [`ggml`] (the safe layer), `shape`, `linear`, `block`,
//! `head`, `gradients`.

pub mod ggml;

mod adamw;
mod adapter;
mod adapter_file;
mod batch;
mod block;
mod error;
mod file;
mod gradients;
mod head;
mod linear;
mod merge;
mod model;
mod random;
mod session;
mod shape;
#[cfg(test)]
mod tests;

pub use adamw::{AdamW, AdamWConfig, StepReport};
pub use adapter::{Adapter, AdapterConfig};
pub use adapter_file::{AdapterFile, Matrix};
pub use batch::{AllowedTokens, Batch, SegmentId, Target};
pub use error::EngineError;
pub use file::{directory_of, write_atomically};
pub use gradients::{Engine, EngineConfig};
pub use head::Outcome;
pub use merge::{MergeReport, merge, widen};
pub use model::{Model, Weights};
pub use random::{RandomWeights, qwen3_4b, smollm2_135m, tiny};
pub use session::Session;
pub use shape::{Architecture, Shape, TARGETS};
