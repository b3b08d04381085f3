//! The log of a run: a JSON object a line.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::Path,
};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use gradients::write_atomically;
use serde::{Deserialize, Serialize};

/// What is known at the end of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// When the step ended.
    pub(crate) time: DateTime<Utc>,
    /// Number of the step, from 1.
    pub(crate) step: u64,
    /// Tokens it took.
    pub(crate) tokens: u64,
    /// Tokens a second, since the step before.
    pub(crate) tokens_per_s: f64,
    /// Resident memory of the process; none where the system does not tell.
    pub(crate) rss_bytes: Option<u64>,
    /// Metrics by dotted names, `train.loss`, `reward.total`; finite ones only.
    pub(crate) metrics: BTreeMap<String, f64>,
}

/// The one writer of a log.
pub(crate) struct RunLog {
    file: File,
}

impl RunLog {
    /// Opens the log of a run for appending and returns the records up to step `done`;
    /// later ones are dropped, and so is a line that a killed process did not complete.
    pub(crate) fn open(path: &Path, done: u64) -> anyhow::Result<(Self, Vec<Record>)> {
        let mut records = if path.exists() { read(path)? } else { Vec::new() };
        records.retain(|record| record.step <= done);
        let mut text = Vec::new();
        for record in &records {
            write_line(&mut text, record)?;
        }
        write_atomically(path, &text)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        Ok((Self { file }, records))
    }

    /// Appends a record and flushes it.
    pub(crate) fn append(&mut self, record: &Record) -> anyhow::Result<()> {
        let mut line = Vec::new();
        write_line(&mut line, record)?;
        // One call: another reader sees the line whole or not at all.
        self.file.write_all(&line).context("cannot write the log of the run")?;
        self.file.flush().context("cannot write the log of the run")
    }

    /// Waits until what was appended outlasts a loss of power.
    pub(crate) fn sync(&self) -> anyhow::Result<()> {
        self.file.sync_data().context("cannot write the log of the run")
    }
}

/// JSON has no NaN: a metric that is not finite is left out of the line.
fn write_line(out: &mut Vec<u8>, record: &Record) -> anyhow::Result<()> {
    let mut record = record.clone();
    record.metrics.retain(|_, value| value.is_finite());
    serde_json::to_writer(&mut *out, &record)?;
    out.push(b'\n');
    Ok(())
}

/// Reads a log. A last line that is not complete is left out.
///
/// # Errors
/// Names the line that is not a record.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Record>> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {}: is it the log of a run?", path.display()))?;
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
    let parse = |(i, line): (usize, &str)| {
        let record = serde_json::from_str(line);
        record.with_context(|| format!("{}:{} is not a record", path.display(), i + 1))
    };
    whole.lines().enumerate().map(parse).collect()
}
