//! `r2r data`: from packages to a snapshot.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use domain::Clock;
use lake::{
    BuildOptions, BuildReport, DEFAULT_UNIVERSE, QuarantineClass, Snapshot, SourceList, Universe,
    build_snapshot, fetch_commands, fetch_universe,
};

use crate::{
    fetch, lineage, proof, quarantine,
    screen::{progress, say},
    snapshots,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch the packages of the universe by name, each checked against its digest, or
    /// what a live provider has for some symbols.
    ///
    /// Safe to stop and repeat: complete packages and answers are kept, an incomplete
    /// one is fetched again. Answers go as they came to the raw archive, raw/PROVIDER in
    /// the data directory. Of a universe with feeds of live providers the packages are
    /// fetched, and the commands that fetch the rest are shown.
    #[command(after_help = "Examples:\n  r2r data fetch\n  r2r data fetch --universe PIT391\n  \
        r2r data fetch yahoo AAPL MSFT ^GSPC --from 2015-01-01\n  \
        r2r data fetch edgar AAPL --from 2022-01-01 --contact \"Jane Doe jane@example.org\"\n  \
        FRED_API_KEY=... r2r data fetch fred GDP VIXCLS\n  \
        r2r data fetch yahoo AAPL --base-url http://127.0.0.1:8099")]
    Fetch {
        #[command(flatten)]
        live: fetch::Args,
        #[command(flatten)]
        universe: UniverseArgs,
    },
    /// Check the raw archive of a live provider, file by file, and count its records.
    #[command(after_help = "Example:\n  r2r data raw yahoo")]
    Raw(fetch::RawArgs),
    /// Build the immutable snapshot from the fetched packages, and from the raw archive
    /// where a feed of the universe names a live provider.
    ///
    /// The same packages and archive give the same snapshot id. A stopped build leaves
    /// nothing behind.
    #[command(after_help = "Examples:\n  r2r data build --git-commit $(git rev-parse HEAD)\n  \
        r2r data build --universe PIT391\n  \
        r2r data build --universe LIVE\n  \
        r2r data build --universe my_names.toml --sources my_sources.toml")]
    Build {
        #[command(flatten)]
        universe: UniverseArgs,
        /// List of live providers to use instead of the built-in one.
        #[arg(long, value_name = "FILE")]
        providers: Option<PathBuf>,
        /// Commit of the running code, noted in the manifest.
        #[arg(long, env = "R2R_GIT_COMMIT", default_value = "unknown")]
        git_commit: String,
    },
    /// Show the current snapshot: tickers, kinds of records, date ranges.
    Show {
        /// Universe whose current snapshot is shown.
        #[arg(long, default_value = DEFAULT_UNIVERSE)]
        universe: String,
    },
    /// List what did not come into the snapshot, show it, and let it in after a review.
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// Show where a feature, the evidence of a read or a thesis comes from.
    Lineage(lineage::Args),
    /// Prove that nothing depends on what was not yet known.
    ProveNoLeak(proof::Args),
    #[command(flatten)]
    Snapshots(snapshots::Command),
}

#[derive(Debug, Args)]
pub(crate) struct UniverseArgs {
    /// R20, R431, PIT391, AAPL, LIVE, SYN10, or a .toml file of your own; its id, where only
    /// what was built is looked at.
    #[arg(long, default_value = DEFAULT_UNIVERSE)]
    universe: String,
    /// Your allowlist of sources, as configs/sources.toml; the built-in one where absent. It
    /// is read where sources are.
    #[arg(long)]
    sources: Option<PathBuf>,
}

impl UniverseArgs {
    /// Returns the file of a universe of the user's own.
    fn own(&self) -> Option<&Path> {
        let path = Path::new(&self.universe);
        path.extension().is_some_and(|extension| extension == "toml").then_some(path)
    }

    /// Returns the name under which the universe is, or was, built.
    pub(crate) fn id(&self) -> anyhow::Result<String> {
        Ok(match self.own() {
            Some(path) => Universe::load(path)?.id,
            None => self.universe.clone(),
        })
    }

    pub(crate) fn load(&self) -> anyhow::Result<(Universe, SourceList)> {
        let universe = match self.own() {
            Some(path) => Universe::load(path)?,
            None => Universe::builtin(&self.universe)?,
        };
        let sources = match &self.sources {
            Some(path) => SourceList::load(path)?,
            None => SourceList::builtin()?,
        };
        Ok((universe, sources))
    }

    /// Returns these arguments as they are given to the next command.
    fn again(&self) -> String {
        let mut text = String::new();
        if self.universe != DEFAULT_UNIVERSE {
            let _ = write!(text, " --universe {}", self.universe);
        }
        if let Some(sources) = &self.sources {
            let _ = write!(text, " --sources {}", sources.display());
        }
        text
    }
}

pub(crate) async fn run(
    command: &Command,
    data_dir: &Path,
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    let (args, list, git_commit) = match command {
        Command::Show { universe } => return show(data_dir, universe).await,
        Command::Quarantine(command) => return quarantine::run(command, data_dir, clock).await,
        Command::Lineage(args) => return lineage::run(args, data_dir).await,
        Command::ProveNoLeak(args) => return proof::run(args, data_dir).await,
        Command::Snapshots(command) => return snapshots::run(command, data_dir).await,
        Command::Raw(args) => return fetch::raw(args, data_dir),
        Command::Fetch { live, .. } if live.provider.is_some() => {
            return fetch::run(live, data_dir, clock).await;
        }
        Command::Fetch { universe, .. } => (universe, None, None),
        Command::Build { universe, providers, git_commit } => {
            (universe, providers.as_deref(), Some(git_commit))
        }
    };
    let (universe, sources) = args.load()?;
    let providers = fetch::providers(list)?;
    let progress = progress()?;
    let options = BuildOptions {
        data_dir,
        universe: &universe,
        sources: &sources,
        providers: &providers,
        git_commit: git_commit.map_or("unknown", String::as_str),
        clock,
        progress: &progress,
    };
    if git_commit.is_none() {
        fetch_universe(&options)?;
        progress.finish_and_clear();
        say!("{} packages of universe {} are fetched", universe.source_ids().len(), universe.id);
        for command in fetch_commands(&universe, &providers)? {
            say!("  of a live provider: {command}");
        }
    } else {
        let report = build_snapshot(&options)?;
        progress.finish_and_clear();
        tell(&report, &args.again())?;
        if universe.id != DEFAULT_UNIVERSE {
            say!(
                "  read it with `--universe {}`, as in `r2r data show --universe {0}`",
                universe.id
            );
        }
    }
    Ok(())
}

async fn show(data_dir: &Path, universe: &str) -> anyhow::Result<()> {
    let snapshot = Snapshot::open_universe(data_dir, universe).await?;
    say!("snapshot {} of universe {}", snapshot.id(), snapshot.manifest().universe.id);
    print(&snapshot)?;
    let tickers = snapshot.manifest().universe.names.iter().map(|name| name.ticker.as_str());
    say!("  names: {}", tickers.collect::<Vec<_>>().join(" "));
    Ok(())
}

fn tell(report: &BuildReport, again: &str) -> anyhow::Result<()> {
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
    let held = |class| report.held.iter().filter(|entry| entry.class == class).count();
    let (pii, mnpi) = (held(QuarantineClass::Pii), held(QuarantineClass::Mnpi));
    if pii + mnpi > 0 {
        say!(
            "  {} records are quarantined ({pii} pii, {mnpi} mnpi): `r2r data quarantine list{again}`",
            pii + mnpi
        );
    }
    if report.released > 0 {
        say!("  {} records came in by a reviewer's release", report.released);
    }
    Ok(())
}

fn print(snapshot: &Snapshot) -> anyhow::Result<()> {
    let day = |time: Option<DateTime<Utc>>| {
        time.map_or("-".to_owned(), |time| time.date_naive().to_string())
    };
    for total in snapshot.manifest().totals() {
        let source = total.source;
        say!(
            "  {:<12} {:>8} records  {} to {}  {:>10}  {} [{}]",
            source.source_type.table(),
            total.record_count,
            day(total.date_range.start),
            day(total.date_range.end),
            match total.tickers.len() {
                0 => "market".to_owned(),
                1 => "1 ticker".to_owned(),
                n => format!("{n} tickers"),
            },
            source.source_id,
            source.licence,
        );
    }
    let answers = &snapshot.manifest().raw_answers;
    if let Some(newest) = answers.iter().map(|answer| answer.fetched_at).max() {
        say!(
            "  from {} answers of live providers, the newest of {}",
            answers.len(),
            day(Some(newest))
        );
    }
    Ok(())
}
