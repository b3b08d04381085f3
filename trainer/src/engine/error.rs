//! Why the engine refuses: one line with the remedy.

use thiserror::Error;

/// A refusal of the engine.
#[derive(Debug, Error)]
pub(crate) enum EngineError {
    /// No device of the wanted kind is there.
    #[error(
        "there is no {wanted} device, only {found}; choose another --device, or build with \
         `--features cuda` on a machine that has one"
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
}
