//! Model files: what they must be, and the proof that they are.
//!
//! Everything here is Rust that reads bytes. llama.cpp sees a file only after
//! its size, SHA-256 and GGUF header are accepted.

mod gguf;
mod manifest;
mod prepare;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use gguf::{Architecture, GgufError, GgufHeader, read_header};
pub use manifest::{
    AdapterRef, ChatTemplate, ModelManifest, ModelSource, Quantization, Requantize,
};
pub use prepare::{PreparedModel, inspect, locate, open, prepare, verify};
use thiserror::Error;

/// Why a model file or its manifest is refused: one line with the remedy.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The file is not there.
    #[error("{}: no such model file; run `r2r model fetch`", path.display())]
    Missing {
        /// Expected place.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    Read {
        /// File or directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The manifest is invalid.
    #[error("{}: {detail}", path.display())]
    Manifest {
        /// Manifest file.
        path: PathBuf,
        /// Line or field and what is wrong with it.
        detail: String,
    },
    /// No built-in manifest has this name.
    #[error("there is no model {name:?}; known are: {known}, or the path of a .gguf or .toml file")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The built-in names.
        known: String,
    },
    /// Size or digest differ from the manifest.
    #[error(
        "{}: {field} is {found}, expected {expected}; \
         delete the file and run `r2r model fetch`", path.display()
    )]
    Mismatch {
        /// Model file.
        path: PathBuf,
        /// `size` or `sha256`.
        field: &'static str,
        /// What the manifest, or an earlier look at the file, says.
        expected: String,
        /// Value of the file.
        found: String,
    },
    /// A converted file lies there of which it is not known what it was made of.
    #[error("{}: not noted as made from {base}; run `r2r model fetch`", path.display())]
    Unnoted {
        /// Converted file.
        path: PathBuf,
        /// The published file.
        base: String,
    },
    /// The GGUF header is not acceptable.
    #[error("{}: not a GGUF file r2r can serve", path.display())]
    Header {
        /// Model file.
        path: PathBuf,
        /// Field and what is wrong with it.
        source: GgufError,
    },
    /// The header is valid, but not what the manifest or r2r asks for.
    #[error("{}: {field} is {found}, expected {expected}; choose another model", path.display())]
    Unsuitable {
        /// Model file.
        path: PathBuf,
        /// Property.
        field: &'static str,
        /// What is accepted.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// The conversion to another quantisation failed.
    #[error("{}: the conversion to {quantization} failed: {detail}", path.display())]
    Requantize {
        /// Model file that was converted.
        path: PathBuf,
        /// Target type.
        quantization: &'static str,
        /// What the converting process reported.
        detail: String,
    },
}

impl ModelError {
    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path: path.to_owned() },
            _ => Self::Read { path: path.to_owned(), source },
        }
    }
}
