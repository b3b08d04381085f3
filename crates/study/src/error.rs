//! What can be missing for a backtest, and what to do about it.

use std::{io, path::PathBuf};

use backtest::BacktestError;
use lake::LakeError;
use thiserror::Error;

/// Why a question cannot be asked of a snapshot. Each message is one line and names the remedy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StudyError {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The market or the question is not one.
    #[error(transparent)]
    Backtest(#[from] BacktestError),
    /// The universe has no estimates.
    #[error(
        "universe {0} has no estimates of analysts: strategy consensus cannot be run on it, choose another strategy"
    )]
    NoEstimates(String),
    /// No estimate can be set against a price.
    #[error(
        "no price target of analysts can be set against a close as traded: choose another strategy than consensus"
    )]
    NoTargets,
    /// A strategy was not given what it is made of.
    #[error("strategy {0} follows recommendations of a model, and there are none: {1}")]
    NoDecisions(&'static str, &'static str),
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, e.g. `read`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line is not a recommendation.
    #[error(
        "{}:{line}: {reason}; each line is an answer of `r2r thesis --json`",
        path.display()
    )]
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// None of the recommendations is about a name of the universe and a date of the span.
    #[error(
        "{} has no decision about a name of universe {universe} within the span: give another file, universe or span",
        path.display()
    )]
    Strangers {
        /// The file.
        path: PathBuf,
        /// Universe.
        universe: String,
    },
    /// Another process writes to the file.
    #[error("another run writes to {}: wait until it has ended, or stop it", .0.display())]
    Locked(PathBuf),
    /// The file was written for another model, snapshot or contract.
    #[error("{} begins with another receipt than its name says: remove it", .0.display())]
    OtherReceipt(PathBuf),
}

impl StudyError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
