//! Where a run is written down: a log, curves, the terminal, and MLflow.
//!
//! The log is the record: one JSON object a line, flushed each. Curves, the terminal and
//! MLflow are views of it that may be made again (`r2r-trainer curves`, `r2r-trainer
//! mlflow-push`) and never stop a run.

mod curves;
mod log;
mod mlflow;
mod terminal;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use domain::{Clock, SystemClock};
use gradients::write_atomically;
use indicatif::{ProgressBar, ProgressDrawTarget};

pub(crate) use self::{
    log::{Record, RunLog},
    mlflow::{Outcome, Shipper},
};
use crate::config::RunConfig;

/// File names in the directory of a run.
const LOG: &str = "log.jsonl";
pub(crate) const CONFIG: &str = "config.yaml";

/// How often progress is told where there is no terminal for a bar.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Writes one run down.
pub(crate) struct Tracker {
    dir: PathBuf,
    log: RunLog,
    shipper: Option<Shipper>,
    bar: ProgressBar,
    /// When progress was last told, where there is no terminal for a bar.
    told: Instant,
    clock: Box<dyn Clock>,
    last: Instant,
    records: Vec<Record>,
}

impl Tracker {
    /// Begins the directory of a run, or goes on with one whose training resumes at
    /// `done`: what was logged after that step is dropped, because it happens again.
    ///
    /// # Errors
    /// Fails where the directory cannot be written.
    pub(crate) fn start(
        config: &RunConfig,
        dir: &Path,
        done: u64,
        total: u64,
        clock: Box<dyn Clock>,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join(CONFIG);
        let yaml = config.to_yaml()?;
        write_atomically(&path, yaml.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let (log, records) = RunLog::open(&dir.join(LOG), done)?;
        let shipper = config.tracking.mlflow_url.as_ref().map(|url| {
            let run = mlflow::RunInfo::of(config, clock.now().timestamp_millis());
            Shipper::start(url, run, &records)
        });
        let bar = terminal::bar(total)?;
        bar.set_position(done);
        let (dir, now) = (dir.to_owned(), Instant::now());
        Ok(Self { dir, log, shipper, bar, told: now, clock, last: now, records })
    }

    /// Notes the end of a step: its metrics and the tokens it took.
    ///
    /// # Errors
    /// Fails where the log cannot be written. What goes wrong elsewhere is only reported.
    pub(crate) fn step(
        &mut self,
        step: u64,
        tokens: u64,
        metrics: BTreeMap<String, f64>,
    ) -> anyhow::Result<()> {
        let now = Instant::now();
        let seconds = now.duration_since(std::mem::replace(&mut self.last, now)).as_secs_f64();
        let record = Record {
            time: self.clock.now(),
            step,
            tokens,
            tokens_per_s: if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 },
            rss_bytes: terminal::rss_bytes(),
            metrics,
        };
        self.log.append(&record)?;
        if let Some(shipper) = &self.shipper {
            shipper.send(record.clone());
        }
        self.bar.set_position(step);
        let line = terminal::line(&record);
        if self.bar.is_hidden() && now.duration_since(self.told) >= TELL_EVERY {
            self.told = now;
            let total = self.bar.length().unwrap_or_default();
            // Where it cannot be written nothing is lost.
            let _ = writeln!(anstream::stderr(), "step {step} of {total}: {line}");
        }
        self.bar.set_message(line);
        self.records.push(record);
        Ok(())
    }

    /// Says beside the bar what is done before the next step.
    pub(crate) fn working(&self, what: impl Into<Cow<'static, str>>) {
        self.bar.set_message(what);
    }

    /// Waits until all steps are in the log for good. To be called before a checkpoint: a
    /// log that ends before it would miss the steps between for ever.
    ///
    /// # Errors
    /// Fails where the log cannot be written.
    pub(crate) fn sync(&self) -> anyhow::Result<()> {
        self.log.sync()
    }

    /// Ends the run: draws the curves, shows them in the terminal, closes MLflow.
    pub(crate) fn finish(self, outcome: Outcome) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        curves::write(&self.dir, &self.records)?;
        let mut err = anstream::stderr();
        let _ = write!(err, "{}", terminal::summary(&self.records));
        if let Some(shipper) = self.shipper {
            let unsent = shipper.finish(outcome, self.clock.now().timestamp_millis());
            if let Some(reason) = unsent {
                let dir = self.dir.display();
                let _ = writeln!(
                    err,
                    "MLflow has not got all of this run ({reason}); send it with `r2r-trainer \
                     mlflow-push {dir}`"
                );
            }
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  r2r-trainer curves runs/cpu-demo")]
pub(crate) struct CurvesArgs {
    /// Directory of a run.
    run: PathBuf,
}

/// Draws the curves of a run, also of one that is still going on.
pub(crate) fn draw_curves(args: &CurvesArgs) -> anyhow::Result<()> {
    let records = log::read(&args.run.join(LOG))?;
    let files = curves::write(&args.run, &records)?;
    let mut out = anstream::stdout();
    write!(out, "{}", terminal::summary(&records))?;
    for file in files {
        writeln!(out, "{}", file.display())?;
    }
    Ok(())
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  r2r-trainer mlflow-push runs/cpu-demo --url http://localhost:5000"
)]
pub(crate) struct PushArgs {
    /// Directory of a run.
    run: PathBuf,
    /// URL of the MLflow server; the run's own where absent.
    #[arg(long)]
    url: Option<String>,
}

/// Sends a whole run to an MLflow server, as a run of its own.
pub(crate) fn push(args: &PushArgs) -> anyhow::Result<()> {
    let records = log::read(&args.run.join(LOG))?;
    let config = RunConfig::read(&args.run.join(CONFIG))?;
    let url = args.url.clone().or_else(|| config.tracking.mlflow_url.clone());
    let url = url.context("the run names no MLflow server: give --url http://HOST:PORT")?;
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
    bar.set_message(format!("sending {} records to {url}", records.len()));
    let times = records.iter().map(|record| record.time.timestamp_millis());
    let now = SystemClock.now().timestamp_millis();
    let run = mlflow::RunInfo::of(&config, times.clone().min().unwrap_or(now));
    let sent = mlflow::send_all(&url, &run, &records, times.max().unwrap_or(now));
    bar.finish_and_clear();
    let id = sent.with_context(|| format!("cannot send {} to {url}", args.run.display()))?;
    writeln!(anstream::stdout(), "{} records are in run {id} at {url}", records.len())?;
    Ok(())
}

#[cfg(test)]
mod tests;
