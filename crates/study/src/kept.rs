//! Recommendations that are kept as they are made, so that a run that was stopped goes on
//! where it was.
//!
//! A file holds those of one receipt: the same model, snapshot, contract, seed, sampling,
//! calibration and decoder, which together decide every byte of an answer. Its name is a
//! digest of the receipt and its first line the receipt itself.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use contract::Receipt;
use domain::{AsOf, Digest, Ticker};
use serde::Serialize;

use crate::{Recommendation, Recommendations, StudyError};

/// A file of recommendations that grows. One process writes at a time.
#[derive(Debug)]
pub struct KeptDecisions {
    path: PathBuf,
    file: File,
    kept: BTreeSet<(AsOf, Ticker)>,
    recommendations: Recommendations,
}

/// The first line.
#[derive(Debug, Serialize)]
struct Head<'a> {
    receipt: &'a Receipt,
}

impl KeptDecisions {
    /// Opens the file of a receipt in a directory, or begins it. The last line of a process
    /// that was killed while writing it is dropped.
    ///
    /// # Errors
    /// Fails when the file cannot be read or written, is being written by another process, or
    /// is not what its name says.
    pub fn open(dir: &Path, receipt: &Receipt) -> Result<Self, StudyError> {
        let (path, head) = place(dir, receipt);
        fs::create_dir_all(dir).map_err(StudyError::io("create", dir))?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let mut file = options.open(&path).map_err(StudyError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StudyError::Locked(path)),
            Err(TryLockError::Error(error)) => return Err(StudyError::io("lock", &path)(error)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(StudyError::io("read", &path))?;
        text.truncate(whole_lines(&text).len());
        file.set_len(text.len() as u64).map_err(StudyError::io("write", &path))?;
        if text.is_empty() {
            file.write_all(head.as_bytes()).map_err(StudyError::io("write", &path))?;
            text = head;
        } else if !text.starts_with(&head) {
            return Err(StudyError::OtherReceipt(path));
        }
        let recommendations = Recommendations::parse(&path, &text)?;
        let key = |row: &Recommendation| (row.as_of, row.ticker.clone());
        let kept = recommendations.rows.iter().map(key).collect();
        Ok(Self { path, file, kept, recommendations })
    }

    /// Reads what has been kept of a receipt, also while it grows; none where nothing has.
    ///
    /// # Errors
    /// Fails when the file cannot be read or is not what its name says.
    pub fn read(dir: &Path, receipt: &Receipt) -> Result<Option<Recommendations>, StudyError> {
        let (path, _) = place(dir, receipt);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(StudyError::io("read", &path))?;
        let recommendations = Recommendations::parse(&path, whole_lines(&text))?;
        Ok((!recommendations.rows.is_empty()).then_some(recommendations))
    }

    /// Returns the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the recommendation about a name as of a date is there.
    #[must_use]
    pub fn has(&self, ticker: &Ticker, as_of: AsOf) -> bool {
        self.kept.contains(&(as_of, ticker.clone()))
    }

    /// Adds a recommendation, as one write of a whole line.
    ///
    /// # Errors
    /// Fails when it cannot be written.
    pub fn keep(&mut self, row: Recommendation) -> Result<(), StudyError> {
        let mut line = serde_json::to_string(&row)
            .map_err(|error| StudyError::io("write", &self.path)(std::io::Error::other(error)))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(StudyError::io("write", &self.path))?;
        self.kept.insert((row.as_of, row.ticker.clone()));
        self.recommendations.rows.push(row);
        Ok(())
    }

    /// Returns all recommendations.
    #[must_use]
    pub fn finish(self) -> Recommendations {
        self.recommendations
    }
}

/// Returns a text without a last line that has no end.
fn whole_lines(text: &str) -> &str {
    &text[..text.rfind('\n').map_or(0, |end| end + 1)]
}

/// Returns the file of a receipt, and its first line.
fn place(dir: &Path, receipt: &Receipt) -> (PathBuf, String) {
    let head = serde_json::to_string(&Head { receipt }).unwrap_or_default() + "\n";
    let name = format!("decisions-{}.jsonl", Digest::of(&head).short());
    (dir.join(name), head)
}
