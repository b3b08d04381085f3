//! `r2r thesis`: one thesis, or exactly what the model reads and may write.

use std::{path::Path, time::Duration};

use anyhow::Context;
use clap::{Args as ClapArgs, ValueEnum};
use domain::{AsOf, AsOfRead, Ticker};
use indicatif::ProgressBar;
use inference::{
    EngineConfig, Priority, WorkerCommand, WriteRequest, Writer,
    model::{self, ModelManifest},
};
use lake::{DEFAULT_UNIVERSE, Snapshot};

use crate::screen::{self, say};

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  r2r thesis AAPL --as-of 2022-09-30\n  r2r thesis JPM --json\n  r2r thesis MSFT --show prompt\n  r2r thesis NVDA --universe SYN10"
)]
pub(crate) struct Args {
    /// Ticker of the universe, e.g. AAPL.
    ticker: Ticker,
    /// Date whose knowledge may be used, YYYY-MM-DD; the snapshot's last by default.
    #[arg(long)]
    as_of: Option<AsOf>,
    /// Universe whose current snapshot is read.
    #[arg(long, default_value = DEFAULT_UNIVERSE)]
    universe: String,
    /// Seed of the sampler: another seed gives another wording.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the answer as the API gives it.
    #[arg(long, conflicts_with = "show")]
    json: bool,
    /// Print what the model reads or may write instead of decoding.
    #[arg(long, value_enum)]
    show: Option<Show>,
    /// Name of a model manifest, or path of one (.toml) or of a GGUF file.
    #[arg(long, default_value = ModelManifest::DEFAULT)]
    model: String,
    /// Bound on the decoding time in seconds.
    #[arg(long, default_value_t = 60)]
    timeout_s: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Show {
    /// The prompt, system text first.
    Prompt,
    /// The evidence with sources and times.
    Catalogue,
    /// The plan: what may be cited, how claims begin, the rules of their wording.
    Grammar,
}

pub(crate) async fn run(args: &Args, data_dir: &Path) -> anyhow::Result<()> {
    let snapshot = Snapshot::open_universe(data_dir, &args.universe).await?;
    let last = snapshot.range().map(|(_, last)| AsOf::end_of(last));
    let as_of = args.as_of.or(last).context("the snapshot has no closes; run `r2r data build`")?;
    let read = snapshot.read(&args.ticker, as_of).await?;
    match args.show {
        Some(what) => show(what, &read)?,
        None => write(args, data_dir, &read).await?,
    }
    Ok(())
}

fn show(what: Show, read: &AsOfRead) -> anyhow::Result<()> {
    match what {
        Show::Prompt => {
            let prompt = contract::render(read);
            screen::print(format_args!("{}---\n{}{}", prompt.system, prompt.day, prompt.user))?;
        }
        Show::Catalogue => screen::catalogue(read)?,
        Show::Grammar => screen::plan(&contract::plan(read))?,
    }
    Ok(())
}

async fn write(args: &Args, data_dir: &Path, read: &AsOfRead) -> anyhow::Result<()> {
    let worker = WorkerCommand::current_exe()?;
    let model = model::locate(&args.model, &data_dir.join("models"), &worker)?;
    let progress = ProgressBar::new_spinner().with_message("decoding");
    progress.enable_steady_tick(Duration::from_millis(120));
    let mut config = EngineConfig::new(model, worker);
    // One thesis takes one lane.
    config.context.lanes = 1;
    let writer = Writer::start(config, Writer::DEFAULT_SAMPLING).await?;
    let ask = WriteRequest {
        seed: args.seed,
        admission: writer.engine().admit(Priority::Interactive)?,
        timeout: Duration::from_secs(args.timeout_s),
        claims: None,
    };
    let thesis = writer.write(read, ask).await;
    progress.finish_and_clear();
    writer.engine().shutdown().await;
    let thesis = thesis.with_context(|| format!("no thesis for {}", args.ticker))?;
    if args.json {
        say!("{}", serde_json::to_string(&thesis)?);
    } else {
        screen::print(screen::thesis(&thesis))?;
    }
    Ok(())
}
