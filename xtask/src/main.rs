//! `cargo run --release -p xtask -- tidy`: the rules of the house that no
//! compiler checks. Prints outliers, fails on violations.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its terminal")]

mod edges;
mod files;
mod outliers;
mod tracked;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some("tidy"), None) => match tidy() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("tidy cannot run: {error:#}");
                ExitCode::from(2)
            }
        },
        _ => {
            eprintln!("usage: cargo run --release -p xtask -- tidy");
            ExitCode::from(2)
        }
    }
}

/// Runs every rule and returns whether all hold.
fn tidy() -> Result<bool> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    let root = metadata.workspace_root.as_std_path();
    let tracked = tracked::list(root)?;
    let mut violations = edges::check(&edges::packages(&metadata));
    let mut outliers = Vec::new();
    for path in &tracked {
        inspect(root, path, &mut violations, &mut outliers)?;
    }
    outliers.sort();
    for outlier in &outliers {
        println!("outlier: {outlier}");
    }
    for violation in &violations {
        eprintln!("violation: {violation}");
    }
    let (files, crates) = (tracked.len(), metadata.packages.len());
    println!(
        "tidy: {crates} crates, {files} files, {} outliers, {} violations",
        outliers.len(),
        violations.len()
    );
    Ok(violations.is_empty())
}

/// Applies the rules for one tracked file; a link is not followed.
fn inspect(
    root: &Path,
    path: &str,
    violations: &mut Vec<String>,
    outliers: &mut Vec<String>,
) -> Result<()> {
    let absolute = root.join(path);
    // A file deleted but still in the index is the commit's business, not ours.
    let Ok(info) = absolute.symlink_metadata() else {
        return Ok(());
    };
    if !info.is_file() {
        return Ok(());
    }
    violations.extend(files::check_blob(path, info.len()));
    if info.len() > files::MAX_BYTES {
        return Ok(());
    }
    let bytes = std::fs::read(&absolute).with_context(|| format!("cannot read {path}"))?;
    if let Ok(text) = std::str::from_utf8(&bytes) {
        violations.extend(files::check_text(path, text));
        outliers.extend(outliers::find(path, text));
    }
    Ok(())
}
