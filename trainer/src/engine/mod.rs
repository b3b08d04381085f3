//! Gradients of adapters (LoRA, Hu et al. 2021, arXiv:2106.09685) over a frozen
//! model, on ggml's kernels.

pub(crate) mod ggml;

mod error;

pub(crate) use error::EngineError;
