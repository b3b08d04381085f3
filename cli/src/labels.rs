//! `r2r labels`: what the price did after each session.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use domain::Label;
use lake::{
    DEFAULT_UNIVERSE, LabelConfig, LabelScheme, LabelStats, Snapshot, write_derived, write_table,
};

use crate::screen::say;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Label every session into a Parquet file.
    #[command(after_help = "Examples:\n  r2r labels build\n  r2r labels build --scheme seed\n\n\
        Schemes: z is the mean over 5, 21 and 63 sessions of the return in units of the daily\n\
        volatility of the last 60 sessions; sqrt_time divides it by the root of the sessions too.\n\
        A session whose past (60 of volatility) or future is not complete has no label. More data changes no label.")]
    Build {
        #[command(flatten)]
        options: Options,
        /// File to write; `derived/SNAPSHOT/labels-SCHEME.parquet` in the data directory, which
        /// the next call writes over, where absent.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show how often each label occurs, and how often it changes.
    #[command(
        after_help = "Examples:\n  r2r labels stats\n  r2r labels stats --scheme seed --by-ticker"
    )]
    Stats {
        #[command(flatten)]
        options: Options,
        /// A line for each ticker too.
        #[arg(long)]
        by_ticker: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Scheme; the configuration's where absent.
    #[arg(long, value_enum)]
    scheme: Option<Scheme>,
    /// Scheme and thresholds, as configs/labels.toml.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Universe whose current snapshot is read.
    #[arg(long, default_value = DEFAULT_UNIVERSE)]
    universe: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Scheme {
    SqrtTime,
    Seed,
}

impl Options {
    fn config(&self) -> anyhow::Result<LabelConfig> {
        let mut config = match &self.config {
            Some(path) => LabelConfig::load(path)?,
            None => LabelConfig::builtin()?,
        };
        match self.scheme {
            Some(Scheme::SqrtTime) => config.scheme = LabelScheme::SqrtTime,
            Some(Scheme::Seed) => config.scheme = LabelScheme::Seed,
            None => {}
        }
        Ok(config)
    }
}

pub(crate) async fn run(command: &Command, data_dir: &Path) -> anyhow::Result<()> {
    let (Command::Build { options, .. } | Command::Stats { options, .. }) = command;
    let config = options.config()?;
    let snapshot = Snapshot::open_universe(data_dir, &options.universe).await?;
    let (batch, stats) = snapshot.labels(&config).await?;
    let mut all = LabelStats::default();
    stats.values().for_each(|stats| all += *stats);
    match command {
        Command::Build { out, .. } => {
            let name = format!("labels-{}.parquet", config.scheme.key());
            let path = match out {
                Some(path) => write_table(path, &batch).map(|()| path.clone())?,
                None => write_derived(data_dir, &snapshot, &name, &batch)?,
            };
            say!(
                "{} labels of {} sessions of universe {} (snapshot {}) are in {}",
                all.labelled(),
                batch.num_rows(),
                snapshot.manifest().universe.id,
                snapshot.id(),
                path.display()
            );
        }
        Command::Stats { by_ticker, .. } => {
            say!("universe {}, scheme {}", snapshot.manifest().universe.id, config.scheme.key());
            let names = Label::ALL.map(|label| format!("{label:>7}")).join(" ");
            say!("{:<10} {:>8} {names}   flips", "", "labels");
            if *by_ticker {
                for (ticker, stats) in &stats {
                    say!("{}", line(ticker.as_str(), stats));
                }
            }
            say!("{}", line("all", &all));
        }
    }
    say!("bias: {}", snapshot.manifest().universe.bias);
    Ok(())
}

fn line(name: &str, stats: &LabelStats) -> String {
    let shares = stats.shares().map(|share| format!("{:>6.1}%", 100.0 * share)).join(" ");
    let flips = 100.0 * stats.flips as f64 / stats.labelled().max(1) as f64;
    format!("{name:<10} {:>8} {shares}  {flips:>5.1}%", stats.labelled())
}
