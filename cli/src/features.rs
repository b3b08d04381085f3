//! `r2r features`: the catalogue, values at a point in time, whole histories.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use chrono::NaiveDate;
use clap::{Args, Subcommand};
use domain::{AsOf, Section, Ticker};
use indicatif::ProgressBar;
use lake::{
    DEFAULT_UNIVERSE, FeatureInfo, Panel, PanelOptions, Snapshot, feature_catalogue, write_derived,
    write_table,
};
use serde::Deserialize;

#[cfg(feature = "ballista")]
use crate::screen::spinner;
use crate::screen::{progress, say};

/// Features without a value that are named.
const EMPTY_NAMED: usize = 5;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the features: name, section, unit, window, what it is.
    #[command(
        after_help = "Examples:\n  r2r features list\n  r2r features list --section risks\n\n\
        SQL files in `features` of the data directory are your own: they are listed with --all."
    )]
    List {
        /// Only those of a section, e.g. technicals.
        #[arg(long, value_parser = section)]
        section: Option<Section>,
        /// Also those for research only, such as Alpha158.
        #[arg(long)]
        all: bool,
    },
    /// Show a feature: its header, its SQL, the functions SQL files may call.
    #[command(after_help = "Examples:\n  r2r features show vol_20d\n  r2r features show functions")]
    Show {
        /// Name of a feature, or `functions`.
        name: String,
    },
    /// Compute features at every session into a Parquet file.
    #[command(after_help = "Examples:\n  r2r features build\n  \
        r2r features build vol_20d news_count_30d --from 2020-01-01 --every 5\n  \
        r2r features build vol_20d net_margin --at events.csv --out events.parquet\n  \
        r2r features build --engine df://127.0.0.1:50050\n\n\
        The file reads unchanged in pandas and polars: columns ticker, session, event_time,\n\
        known_at, then one per feature. Values equal those of a read at the same date. With --at it\n\
        has the rows of that file, in its order: ticker, as_of, then one column per feature.")]
    Build(Build),
    /// Print the features of a ticker at a date.
    #[command(after_help = "Examples:\n  r2r features get AAPL --as-of 2022-09-30\n  \
        r2r features get AAPL vol_20d alpha_rsqr_20 --as-of 2022-09-30 --json")]
    Get(Get),
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Features by name; all series of prices where none is given.
    features: Vec<String>,
    /// Universe whose current snapshot is read.
    #[arg(long, default_value = DEFAULT_UNIVERSE)]
    universe: String,
    /// Only this ticker; may be repeated.
    #[arg(long = "ticker")]
    tickers: Vec<Ticker>,
    /// Names and dates instead of sessions: a CSV file with the columns ticker and as_of, any
    /// day of the data. A row takes a read, about 3 ms of one core.
    #[arg(long, value_name = "FILE",
        conflicts_with_all = ["tickers", "from", "to", "every", "engine"])]
    at: Option<PathBuf>,
    /// First session, YYYY-MM-DD.
    #[arg(long)]
    from: Option<NaiveDate>,
    /// Last session, YYYY-MM-DD.
    #[arg(long)]
    to: Option<NaiveDate>,
    /// Keep every n-th session of a name.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// File to write; `derived/SNAPSHOT/features.parquet` in the data directory, which the next
    /// call writes over, where absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Compute on a Ballista cluster: its scheduler, as df://HOST:PORT. The file has the same
    /// bytes. Needs a program built with `--features cli/ballista`.
    #[arg(long, value_name = "URL")]
    engine: Option<String>,
    /// Parts that a cluster's work is cut into; about two for each of its cores.
    #[arg(long, value_name = "N", default_value_t = 8, requires = "engine",
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    engine_tasks: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Ticker of the universe, e.g. AAPL.
    ticker: Ticker,
    /// Features by name; all where none is given.
    features: Vec<String>,
    /// Date whose knowledge may be used, YYYY-MM-DD; the snapshot's last by default.
    #[arg(long)]
    as_of: Option<AsOf>,
    /// Universe whose current snapshot is read.
    #[arg(long, default_value = DEFAULT_UNIVERSE)]
    universe: String,
    /// One JSON object a line, with source and times.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: &Command, data_dir: &Path) -> anyhow::Result<()> {
    match command {
        Command::List { section, all } => list(*section, *all),
        Command::Show { name } => show(name),
        Command::Build(args) => build(args, data_dir).await,
        Command::Get(args) => get(args, data_dir).await,
    }
}

fn section(text: &str) -> Result<Section, String> {
    let keys = Section::ALL.map(Section::key);
    let found = Section::ALL.into_iter().find(|section| section.key() == text);
    found.ok_or_else(|| format!("the sections are {}", keys.join(", ")))
}

fn list(section: Option<Section>, all: bool) -> anyhow::Result<()> {
    let features = feature_catalogue()?;
    let is_listed = |f: &&FeatureInfo| {
        (all || f.evidence) && section.is_none_or(|section| f.section == section)
    };
    for feature in features.iter().filter(is_listed) {
        let window = feature.window_days.map(|days| format!("{days} d")).unwrap_or_default();
        let unit = format!("{:?}", feature.unit).to_lowercase();
        let mark = match (feature.evidence, feature.is_own) {
            (true, _) => "",
            (false, false) => "  [research]",
            (false, true) => "  [your own]",
        };
        say!(
            "{:<24} {:<13} {unit:<7} {window:>6}  {}{mark}",
            feature.name,
            feature.section.key(),
            feature.title
        );
    }
    let more = features.iter().filter(|f| !f.evidence).count();
    if !all {
        say!("and {more} for research: `r2r features list --all`");
    }
    Ok(())
}

fn show(name: &str) -> anyhow::Result<()> {
    if name == "functions" {
        say!("Functions of a series, each `OVER w`: the sessions of a name, oldest first.\n");
        for (function, arguments, meaning) in lake::feature_functions() {
            say!("{:<34} {meaning}", format!("{function}({arguments})"));
        }
        return Ok(());
    }
    let feature = FeatureInfo::find(name)?;
    say!("{}: {}", feature.name, feature.title);
    say!("  section   {}", feature.section.key());
    say!("  unit      {:?}", feature.unit);
    say!("  formula   {}", feature.formula);
    if let Some(days) = feature.window_days {
        say!("  window    {days}");
    }
    if let Some(days) = feature.ttl_days {
        say!("  ttl       {days} days after its event");
    }
    say!("  use       {}", if feature.evidence { "theses and research" } else { "research" });
    let catalogue = if feature.is_own { "" } else { "crates/lake/features/" };
    say!("  file      {catalogue}{}", feature.file);
    say!("  kind      {}\n", if feature.is_series() { "series" } else { "query at a date" });
    say!("{}", feature.sql);
    Ok(())
}

async fn build(args: &Build, data_dir: &Path) -> anyhow::Result<()> {
    let snapshot = Snapshot::open_universe(data_dir, &args.universe).await?;
    let options = PanelOptions {
        features: args.features.clone(),
        tickers: args.tickers.clone(),
        from: args.from,
        to: args.to,
        every: args.every as usize,
    };
    let panel = match &args.engine {
        None => {
            let progress = progress()?;
            progress.set_message("computing features");
            let panel = match &args.at {
                Some(path) => at_points(path, &snapshot, &args.features, &progress).await?,
                None => snapshot.panel(&options, &progress).await?,
            };
            progress.finish_and_clear();
            panel
        }
        Some(engine) => panel_on(engine, args.engine_tasks, &snapshot, &options).await?,
    };
    if panel.batch.num_rows() == 0 {
        bail!("no session of these names lies between --from and --to: nothing is written");
    }
    let path = match &args.out {
        Some(path) => write_table(path, &panel.batch).map(|()| path.clone())?,
        None => write_derived(data_dir, &snapshot, "features.parquet", &panel.batch)?,
    };
    say!(
        "{} rows of {} features of universe {} (snapshot {}) are in {}",
        panel.batch.num_rows(),
        panel.features.len(),
        snapshot.manifest().universe.id,
        snapshot.id(),
        path.display()
    );
    let empty = panel.empty_features();
    if !empty.is_empty() {
        let more = empty.len().saturating_sub(EMPTY_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named: Vec<&str> = empty.into_iter().take(EMPTY_NAMED).collect();
        say!(
            "no row has a value of {}{more}: the universe lacks what they are made of (`r2r \
             features show NAME`), or has fewer sessions than they look back",
            named.join(", ")
        );
    }
    say!("bias: {}", snapshot.manifest().universe.bias);
    Ok(())
}

/// A row of the file of `--at`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    ticker: Ticker,
    as_of: AsOf,
}

async fn at_points(
    path: &Path,
    snapshot: &Snapshot,
    features: &[String],
    progress: &ProgressBar,
) -> anyhow::Result<Panel> {
    let unreadable = || format!("cannot read {}", path.display());
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).with_context(unreadable)?;
    let header = reader.headers().with_context(unreadable)?.clone();
    let mut points = Vec::new();
    for row in reader.records() {
        let row = row.with_context(unreadable)?;
        let Point { ticker, as_of } = row.deserialize(Some(&header)).with_context(unreadable)?;
        let line = row.position().map_or(0, csv::Position::line);
        snapshot
            .check_date(&ticker, as_of)
            .with_context(|| format!("{}:{line}: {ticker}", path.display()))?;
        points.push((ticker, as_of));
    }
    if points.is_empty() {
        bail!("{} has no rows: nothing is written", path.display());
    }
    let panel = snapshot.panel_at_points(&points, features, progress).await;
    panel.with_context(|| format!("the rows of {}", path.display()))
}

#[cfg(feature = "ballista")]
async fn panel_on(
    engine: &str,
    tasks: u32,
    snapshot: &Snapshot,
    options: &PanelOptions,
) -> anyhow::Result<Panel> {
    let cluster = lake::Cluster::connect(engine, tasks as usize).await?;
    // Ballista does not tell how far a job is.
    let progress = spinner();
    progress.set_message(format!("computing features on {engine}"));
    let panel = cluster.panel(snapshot, options, &progress).await?;
    progress.finish_and_clear();
    Ok(panel)
}

#[cfg(not(feature = "ballista"))]
async fn panel_on(engine: &str, _: u32, _: &Snapshot, _: &PanelOptions) -> anyhow::Result<Panel> {
    bail!(
        "cannot compute on {engine}: this program was built without Ballista; build it with `--features cli/ballista`, or leave out --engine"
    )
}

async fn get(args: &Get, data_dir: &Path) -> anyhow::Result<()> {
    let snapshot = Snapshot::open_universe(data_dir, &args.universe).await?;
    let last = snapshot.range().map(|(_, last)| AsOf::end_of(last));
    let as_of = args.as_of.or(last).context("the snapshot has no closes; run `r2r data build`")?;
    let features = snapshot.values(&args.ticker, as_of, &args.features).await?;
    let has_value = |name: &String| features.iter().any(|feature| feature.name == *name);
    let undefined = args.features.iter().filter(|name| !has_value(name));
    if args.json {
        for feature in &features {
            say!("{}", serde_json::to_string(feature)?);
        }
        for name in undefined {
            say!("{}", serde_json::json!({ "name": name, "value": null }));
        }
        return Ok(());
    }
    say!("{} as of {as_of}, snapshot {}", args.ticker, snapshot.id());
    for feature in &features {
        let mut line = format!("  {:<24} {:>16.8}", feature.name, feature.value);
        let _ = write!(line, "  known {}", feature.provenance.known_at.format("%Y-%m-%d %H:%MZ"));
        say!("{line}  {}", feature.provenance.source);
    }
    for name in undefined {
        say!("  {name:<24} {:>16}", "no value");
    }
    Ok(())
}
