//! `r2r-trainer`: from snapshots to adapters that llama.cpp serves.

mod calibrate;
mod config;
mod contexts;
mod corpus;
mod decoder;
mod devices;
mod distill;
mod encode;
mod evaluate;
mod export;
mod held_out;
mod llama;
mod plot;
mod random;
mod release;
mod rft;
mod run;
mod score;
mod sft;
mod teacher;
mod tracking;
mod trained;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Workers come and go with every batch of samples; llama.cpp says some 150 lines about
/// itself at each start of one.
const DEFAULT_FILTER: &str = "info,inference=warn,llama-cpp-2=error,llama_cpp_2=error";

/// Trains adapters for the thesis model, checks and exports them.
#[derive(Debug, Parser)]
#[command(name = "r2r-trainer", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a corpus of theses and labels from snapshots.
    Corpus(corpus::Args),
    /// Ask another model for theses, and keep those that serving could have written.
    Distill(distill::DistillArgs),
    /// Print a configuration with every key, after presets and changes.
    #[command(after_help = "Examples:\n  r2r-trainer config\n  \
        r2r-trainer config --config cpu-demo --set seed=7 > my.yaml")]
    Config(config::ConfigArgs),
    /// Draw the loss and reward curves of a run.
    Curves(tracking::CurvesArgs),
    /// Send a run to an MLflow server.
    MlflowPush(tracking::PushArgs),
    /// Train an adapter on a corpus, or go on training it.
    Sft(sft::SftArgs),
    /// Train an adapter on what its theses are worth, or go on training it.
    Rft(rft::RftArgs),
    /// Fit a calibration of a run's decisions on validation dates.
    Calibrate(calibrate::CalibrateArgs),
    /// Compare theses of a run with those of its untuned base on test dates.
    Evaluate(evaluate::EvaluateArgs),
    /// Compare the trainer with llama.cpp and a live adapter.
    Parity(export::ParityArgs),
    /// Merge an adapter into its base, and check that nothing of it is lost.
    Merge(export::MergeArgs),
    /// Write the adapter of a run into models/, with manifest, card and record.
    Release(release::ReleaseArgs),
    /// List the devices that can compute gradients.
    Devices,
    /// Decode theses for another process of this program.
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
            anstream::eprintln!("r2r-trainer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Corpus(args) => corpus::run(&args),
        Command::Distill(args) => distill::run(&args),
        Command::Config(args) => config::show(&args),
        Command::Curves(args) => tracking::draw_curves(&args),
        Command::MlflowPush(args) => tracking::push(&args),
        Command::Sft(args) => sft::run(&args),
        Command::Rft(args) => rft::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Parity(args) => export::run_parity(&args),
        Command::Merge(args) => export::run_merge(&args),
        Command::Release(args) => release::run(&args),
        Command::Devices => devices::run(),
        // Before anything else was set up: see `main`.
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
