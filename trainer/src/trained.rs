//! A run that has ended, for what measures it.

use std::path::PathBuf;

use clap::Args;
use gradients::AdapterFile;

use crate::{
    config::{ConfigArgs, RunConfig},
    contexts::Contexts,
    decoder::Decoder,
    run::{self, RunDirectory},
};

/// How a run that has ended is named on the command line.
#[derive(Debug, Args)]
pub(crate) struct TrainedArgs {
    /// Directory of a run that has ended.
    run: PathBuf,
    /// Change a key of the run's configuration, as `--set calibration.contexts_max=100`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Where models and snapshots are kept.
    #[arg(long, env = "R2R_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
}

/// The run, and what it takes to write theses with its adapter.
pub(crate) struct Trained {
    pub(crate) directory: RunDirectory,
    pub(crate) config: RunConfig,
    pub(crate) contexts: Contexts,
    pub(crate) decoder: Decoder,
    pub(crate) adapter: AdapterFile,
}

impl TrainedArgs {
    /// Opens the run, its base and its snapshots.
    ///
    /// # Errors
    /// Fails when one is missing, or is not the one the run was trained over, and while
    /// another process is at work on the run.
    pub(crate) fn open(&self) -> anyhow::Result<Trained> {
        let directory = RunDirectory::take(&self.run)?;
        let kept = directory.config().display().to_string();
        let config = ConfigArgs { config: kept, sets: self.sets.clone() }.load()?;
        let base = run::base(&config, &self.data_dir)?;
        let contexts = Contexts::open(&config, &self.data_dir)?;
        let path = directory.adapter();
        directory.check_adapter(run::digest_of(&path)?, &base, &contexts.division(&config))?;
        let adapter = AdapterFile::read(&path)?;
        let decoder = Decoder::new(&base, config.backbone.context_tokens, directory.path())?;
        Ok(Trained { directory, config, contexts, decoder, adapter })
    }
}
