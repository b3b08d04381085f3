//! `r2r data`: from packages to a snapshot.

use std::path::Path;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use domain::Clock;
use indicatif::{ProgressBar, ProgressStyle};
use lake::{
    BuildOptions, BuildReport, Snapshot, SourceList, Universe, build_snapshot, fetch_universe,
};

use crate::screen::say;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch the packages of the universe by name, each checked against its digest.
    ///
    /// Safe to stop and repeat: complete packages are kept, an incomplete one is
    /// fetched again.
    #[command(after_help = "Example:\n  r2r data fetch")]
    Fetch,
    /// Build the immutable snapshot from the fetched packages.
    ///
    /// The same packages give the same snapshot id. A stopped build leaves nothing behind.
    #[command(after_help = "Example:\n  r2r data build --git-commit $(git rev-parse HEAD)")]
    Build {
        /// Commit of the running code, noted in the manifest.
        #[arg(long, env = "R2R_GIT_COMMIT", default_value = "unknown")]
        git_commit: String,
    },
    /// Show the current snapshot: tickers, kinds of records, date ranges.
    Show,
}

pub(crate) async fn run(
    command: &Command,
    data_dir: &Path,
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    if matches!(command, Command::Show) {
        let snapshot = Snapshot::open_current(data_dir).await?;
        say!("snapshot {}", snapshot.id());
        print(&snapshot)?;
        return Ok(());
    }
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} {wide_msg}")?;
    let progress = ProgressBar::new(0).with_style(style);
    let options = BuildOptions {
        data_dir,
        universe: &Universe::r20()?,
        sources: &SourceList::builtin()?,
        git_commit: match command {
            Command::Build { git_commit } => git_commit,
            Command::Fetch | Command::Show => "unknown",
        },
        clock,
        progress: &progress,
    };
    match command {
        Command::Fetch => {
            fetch_universe(&options)?;
            progress.finish_and_clear();
            let packages = options.universe.source_ids().len();
            say!("{packages} packages of universe {} are fetched", options.universe.id);
        }
        Command::Build { .. } | Command::Show => {
            let report = build_snapshot(&options)?;
            progress.finish_and_clear();
            tell(&report)?;
        }
    }
    Ok(())
}

fn tell(report: &BuildReport) -> anyhow::Result<()> {
    let state = if report.already_built { "unchanged" } else { "built" };
    say!("snapshot {} is current ({state})", report.id);
    for (kind, count) in &report.records {
        say!("  {:<12} {count:>8} records", kind.table());
    }
    if !report.rejected.is_empty() {
        let file = report.dir.join("quarantine.jsonl");
        say!(
            "  {} incomplete records are set aside, with the reason of each in {}",
            report.rejected.len(),
            file.display()
        );
    }
    Ok(())
}

fn print(snapshot: &Snapshot) -> anyhow::Result<()> {
    let day = |time: Option<DateTime<Utc>>| {
        time.map_or("-".to_owned(), |time| time.date_naive().to_string())
    };
    for source in &snapshot.manifest().data_sources {
        say!(
            "  {:<12} {:>8} records  {} to {}  {:>10}  {} [{}]",
            source.source_type.table(),
            source.record_count,
            day(source.date_range.start),
            day(source.date_range.end),
            match source.tickers.len() {
                0 => "market".to_owned(),
                1 => "1 ticker".to_owned(),
                n => format!("{n} tickers"),
            },
            source.source_id,
            source.licence,
        );
    }
    Ok(())
}
