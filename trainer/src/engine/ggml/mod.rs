//! A safe layer over ggml: devices, tensors and graphs. All `unsafe` code of the
//! trainer is here.
//!
//! What makes it safe: a [`Backend`] is closed after the memory on it is freed,
//! memory is freed after the last handle to a tensor in it is gone, and a graph
//! keeps the tensors it reads. Shapes are ggml's to check: a wrong one ends the
//! process with a message, it does not corrupt memory.

mod device;

pub(crate) use device::{Backend, Device, DeviceKind};
