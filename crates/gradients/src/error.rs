//! Why the engine refuses: one line with the remedy.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// A refusal of the engine.
#[derive(Debug, Error)]
pub enum EngineError {
    /// No device of the wanted kind is there.
    #[error(
        "there is no {wanted} device, only {found}; a GPU needs a build with `--features \
         cuda`"
    )]
    Device {
        /// `cpu`, `gpu` or `acc`.
        wanted: &'static str,
        /// The devices that are there.
        found: String,
    },
    /// A device cannot be opened.
    #[error("device {device} cannot be opened; is it in use by another process?")]
    Open {
        /// Its name.
        device: String,
    },
    /// A device has not enough memory.
    #[error(
        "device {device} has not enough memory ({free} bytes free); use shorter sequences, \
         checkpointing, or a smaller or quantised base"
    )]
    Memory {
        /// Its name.
        device: String,
        /// Bytes that are free.
        free: usize,
    },
    /// A device cannot compute what is asked.
    #[error("device {device} does not support {operations}; compute on the CPU (engine.device)")]
    Unsupported {
        /// Its name.
        device: String,
        /// What it lacks.
        operations: String,
    },
    /// A device reported a fault.
    #[error("device {device} failed with status {status}; resume from the last checkpoint")]
    Compute {
        /// Its name.
        device: String,
        /// ggml's status.
        status: i32,
    },
    /// A file is not a model the engine can train over.
    #[error("{}: {detail}", path.display())]
    Gguf {
        /// File.
        path: PathBuf,
        /// Field or tensor and what is wrong with it.
        detail: String,
    },
    /// A file cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file is not a checkpoint this run can go on from.
    #[error("{}: not a checkpoint of this run: {detail}; start anew or name another", path.display())]
    Checkpoint {
        /// File.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A batch is not what the model can take.
    #[error("the batch is not usable: {detail}")]
    Batch {
        /// What is wrong.
        detail: String,
    },
}

impl EngineError {
    pub(crate) fn gguf(path: &Path, detail: impl Into<String>) -> Self {
        Self::Gguf { path: path.to_owned(), detail: detail.into() }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}
