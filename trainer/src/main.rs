//! `r2r-trainer`: from snapshots to adapters that llama.cpp serves.

mod config;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        unused_imports,
        reason = "training reads and writes them; it is not here yet"
    )
)]
mod corpus;
mod devices;
mod teacher;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "training reads and writes them; it is not here yet")
)]
mod tracking;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

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
    /// Print a configuration with every key, after presets and changes.
    #[command(after_help = "Examples:\n  r2r-trainer config\n  \
        r2r-trainer config --config cpu-demo --set seed=7 > my.yaml")]
    Config(config::ConfigArgs),
    /// Draw the loss and reward curves of a run.
    Curves(tracking::CurvesArgs),
    /// Send a run to an MLflow server.
    MlflowPush(tracking::PushArgs),
    /// List the devices that can compute gradients.
    Devices,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("R2R_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // It would be printed to where the log went, and panic where that is gone.
        .log_internal_errors(false)
        .init();
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
        Command::Config(args) => config::show(&args),
        Command::Curves(args) => tracking::draw_curves(&args),
        Command::MlflowPush(args) => tracking::push(&args),
        Command::Devices => devices::run(),
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
