//! Checks the engine on a device: that it supports every operation, that its
//! gradients are those of the CPU, and how many tokens a second it takes.
//! `trainer/gpu-check` runs it on a machine that has a GPU and no cargo.
//!
//! The report is written again after every case: an assertion of ggml's ends the
//! process, and what was found before must not be lost.

#![allow(clippy::print_stdout, reason = "a command talks to its terminal")]

mod parity;
mod speed;

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use gradients::ggml::{Device, DeviceKind};
use serde_json::{Map, Value, json};

/// Checks gradients and speed on a device.
#[derive(Debug, Parser)]
struct Args {
    /// Where the report is kept; sections of other runs in it stay.
    #[arg(long)]
    report: PathBuf,
    /// The device under test.
    #[arg(long, value_enum, default_value_t = DeviceName::Gpu)]
    device: DeviceName,
    /// Threads of the CPU.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[command(subcommand)]
    section: Section,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DeviceName {
    Cpu,
    Gpu,
}

#[derive(Debug, Subcommand)]
enum Section {
    /// Compare gradients with those of the CPU, over both architectures and all
    /// formats; which operations were computed.
    Parity {
        /// Also at the shape of SmolLM2-135M.
        #[arg(long)]
        full: bool,
    },
    /// Measure tokens a second.
    Speed {
        /// Shape of the model.
        #[arg(value_enum)]
        shape: speed::Scale,
        /// Seconds a case is measured for.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Lengths of the batches.
        #[arg(long, value_delimiter = ',', default_values_t = [256, 1_024, 2_048])]
        tokens: Vec<usize>,
    },
}

/// The report on disk.
struct Report {
    path: PathBuf,
    sections: Map<String, Value>,
}

impl Report {
    fn open(path: PathBuf) -> Result<Self> {
        let sections = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is not a report", path.display()))?,
            Err(_) => Map::new(),
        };
        Ok(Self { path, sections })
    }

    /// Adds a case to a section, says so, and writes the report.
    fn add(&mut self, section: &str, case: Value) -> Result<()> {
        println!("{section} {case}");
        let cases = self.sections.entry(section).or_insert_with(|| json!([]));
        if let Value::Array(cases) = cases {
            cases.push(case);
        }
        let text = serde_json::to_string_pretty(&self.sections)?;
        fs::write(&self.path, text).with_context(|| self.path.display().to_string())
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut report = Report::open(args.report)?;
    let kind = match args.device {
        DeviceName::Cpu => DeviceKind::Cpu,
        DeviceName::Gpu => DeviceKind::Gpu,
    };
    for device in Device::all() {
        let (free, total) = device.memory();
        let case = json!({
            "name": device.name(),
            "description": device.description(),
            "kind": device.kind().name(),
            "free_bytes": free,
            "total_bytes": total,
        });
        report.add("devices", case)?;
    }
    let device = Device::first(kind)?;
    match args.section {
        Section::Parity { full } => parity::run(&mut report, device, args.threads, full),
        Section::Speed { shape, seconds, tokens } => {
            speed::run(&mut report, device, args.threads, shape, seconds, &tokens)
        }
    }
}
