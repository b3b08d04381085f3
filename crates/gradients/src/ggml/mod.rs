//! A safe layer over ggml: devices, tensors, graphs and GGUF files. All `unsafe`
//! code of the trainer is here.
//!
//! What makes it safe: a [`Backend`] is closed after the memory on it is freed;
//! memory is freed after the last handle to a tensor in it is gone; a graph keeps
//! what its nodes read; a [`Scratch`] is given to a new graph only when no handle
//! to a node of the last one is left. Shapes are ggml's to check: a wrong one ends
//! the process with a message, it does not corrupt memory.
//!
//! Shapes are written as ggml has them, the fastest dimension first: a matrix of
//! `[in, out]` holds `out` rows of `in` values.

mod device;
mod gguf;
mod graph;
mod kind;
mod llama_opt;
mod memory;
mod transpose;

pub use device::{Backend, Device, DeviceKind};
pub use gguf::{GgufFile, GgufWriter, TensorInfo};
pub use graph::{Graph, Rope, Scratch};
pub use kind::Kind;
pub use llama_opt::{HOOK_TOKENS, HookPass, llama_opt};
pub use memory::{Memory, Tensor};
