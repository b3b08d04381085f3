//! `r2r`: data, models, theses and backtests from the command line.

mod backtest;
#[cfg(feature = "ballista")]
mod cluster;
mod data;
mod features;
mod fetch;
mod labels;
mod lineage;
mod model;
mod proof;
mod quarantine;
mod screen;
mod snapshots;
mod thesis;

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use domain::SystemClock;
use inference::model::ModelError;
use tracing_subscriber::EnvFilter;

/// Exit code for a model or snapshot that is missing or not the promised one.
const EXIT_UNUSABLE_INPUT: u8 = 2;

/// llama.cpp warns of what it does by request when it converts a model; Ballista's client logs
/// the error that it returns.
const DEFAULT_FILTER: &str = "warn,llama-cpp-2=error,llama_cpp_2=error,\
     ballista_core::execution_plans::distributed_query=off";

/// glibc's takes an eighth of a read.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Point-in-time financial data in, evidence-grounded analyst theses out.
#[derive(Debug, Parser)]
#[command(name = "r2r", version, after_help = contract::DISCLAIMER)]
struct Cli {
    /// Where packages, models and snapshots are kept.
    #[arg(long, env = "R2R_DATA_DIR", default_value = "data", global = true)]
    data_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch source packages and build snapshots.
    #[command(subcommand)]
    Data(data::Command),
    /// List, show and compute features.
    #[command(subcommand)]
    Features(features::Command),
    /// Label sessions by what the price did after them.
    #[command(subcommand)]
    Labels(labels::Command),
    /// Run strategies through the past, and judge what they made.
    #[command(subcommand)]
    Backtest(backtest::Command),
    /// Fetch, list and verify models.
    #[command(subcommand)]
    Model(model::Command),
    /// Write the thesis of a ticker.
    Thesis(thesis::Args),
    /// Serve the scheduler of a Ballista cluster that computes panels.
    #[cfg(feature = "ballista")]
    #[command(after_help = "Example: a cluster of one machine\n  r2r scheduler &\n  \
        r2r executor --bind 127.0.0.1:50051 &\n  r2r executor --bind 127.0.0.1:50052 &\n  \
        r2r features build --engine df://127.0.0.1:50050")]
    Scheduler(cluster::Scheduler),
    /// Run an executor of a Ballista cluster, which reads the snapshots of a store of its own.
    #[cfg(feature = "ballista")]
    #[command(after_help = "Examples:\n  r2r executor\n  \
        r2r executor --scheduler 10.0.0.1:50050 --bind 0.0.0.0:50051 --store s3://bucket/lake")]
    Executor(cluster::Executor),
    /// Decode for a parent process; started by r2r itself.
    #[command(hide = true)]
    Worker,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter =
        EnvFilter::try_from_env("R2R_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // It would be printed to where the log went, and panic where that is gone.
        .log_internal_errors(false)
        .init();
    if matches!(cli.command, Command::Worker) {
        return inference::worker::main();
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: the whole chain of causes, joined by colons.
            anstream::eprintln!("r2r: {error:#}");
            let unusable = error.chain().any(|cause| cause.is::<ModelError>());
            ExitCode::from(if unusable { EXIT_UNUSABLE_INPUT } else { 1 })
        }
    }
}

#[tokio::main]
async fn run(cli: Cli) -> anyhow::Result<()> {
    lake::add_own_features(cli.data_dir.join("features"));
    match cli.command {
        Command::Data(command) => data::run(&command, &cli.data_dir, &SystemClock).await,
        Command::Features(command) => features::run(&command, &cli.data_dir).await,
        Command::Labels(command) => labels::run(&command, &cli.data_dir).await,
        Command::Backtest(command) => backtest::run(&command, &cli.data_dir).await,
        Command::Model(command) => model::run(&command, &cli.data_dir),
        Command::Thesis(args) => thesis::run(&args, &cli.data_dir).await,
        #[cfg(feature = "ballista")]
        Command::Scheduler(args) => cluster::schedule(&args).await,
        #[cfg(feature = "ballista")]
        Command::Executor(args) => cluster::execute(&args, &cli.data_dir).await,
        Command::Worker => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
