//! `r2r-trainer release`: the files under which `models/` knows a trained model.
//!
//! ```text
//! INTO/NAME.adapter.gguf   the adapter, in 16 bits a value
//! INTO/NAME.toml           the manifest: base, adapter, calibration
//! INTO/NAME.md             the model card
//! INTO/NAME.run.json       the record of training, calibration and evaluation
//! ```
//!
//! A model is released with what was measured of it: a run that was not calibrated, or
//! whose adapter was not compared with its base, is refused.

mod card;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, ensure};
use chrono::NaiveDate;
use clap::{Args, ValueEnum};
use domain::Digest;
use gradients::{AdapterFile, Architecture, ggml::Kind, write_atomically};
use inference::model::{AdapterRef, ModelManifest, Quantization};
use serde::Deserialize;
use serde_json::Value;

use self::card::Card;
use crate::{
    calibrate::Fitted,
    config::{RunConfig, Tracking},
    corpus::Part,
    evaluate::Evaluation,
    rft::Rewards,
    run::{RunDirectory, digest_of},
};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    r2r-trainer release runs/cpu-demo --name my-model --into models")]
pub(crate) struct ReleaseArgs {
    /// Directory of a run that was calibrated and evaluated.
    run: PathBuf,
    /// Name of the model: lower case, digits, dots and dashes.
    #[arg(long)]
    name: String,
    /// Directory to write to.
    #[arg(long, value_name = "DIRECTORY")]
    into: PathBuf,
    /// Type of the matrices the adapter is merged into.
    #[arg(long = "type", value_name = "TYPE", default_value = "BF16")]
    merged: Merged,
    /// Replace files that are there.
    #[arg(long)]
    replace: bool,
}

/// Types that keep an adapter.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Merged {
    #[value(name = "BF16")]
    Bf16,
    #[value(name = "Q8_0")]
    Q8_0,
}

/// What is read of a run's manifest.
#[derive(Debug, Deserialize)]
struct RunRecord {
    adapter_sha256: Digest,
    base_sha256: Digest,
    contract_digest: Digest,
    config: RunConfig,
    steps: u64,
    division: Division,
    /// Of supervised fine-tuning.
    losses: Option<BTreeMap<String, f64>>,
    /// Of reinforcement.
    rewards: Option<Rewards>,
    /// The run that left the adapter training started from.
    start: Option<Box<RunRecord>>,
    start_adapter_sha256: Option<Digest>,
}

/// What divided the dates, besides what the configuration says as well.
#[derive(Debug, Deserialize)]
struct Division {
    snapshots: BTreeMap<String, Digest>,
}

/// Writes a run's model into a directory.
///
/// # Errors
/// Fails when the run's files do not belong together, it was not calibrated or evaluated,
/// or a file is there and may not be replaced.
pub(crate) fn run(args: &ReleaseArgs) -> anyhow::Result<()> {
    let directory = RunDirectory::of(&args.run);
    let source = directory.adapter();
    let digest = digest_of(&source)?;
    let mut written_down = Value::Object(directory.manifest_of(digest)?);
    let calibration = measured::<Fitted>(&written_down, "calibration", "calibrate", &args.run)?;
    let evaluation = measured::<Evaluation>(&written_down, "evaluation", "evaluate", &args.run)?;
    let record = RunRecord::deserialize(&written_down)
        .with_context(|| format!("run.json in {} is not valid: train again", args.run.display()))?;
    check_contract(&record, &calibration, &evaluation, &args.run)?;
    let base = base(&record)?;
    let file = format!("{}.adapter.gguf", args.name);
    let adapter = AdapterFile::read(&source)?;
    let released = halved(&adapter, &base)?;
    let quantization = match args.merged {
        Merged::Bf16 => Quantization::Bf16,
        Merged::Q8_0 => Quantization::Q8_0,
    };
    let manifest = ModelManifest {
        name: args.name.clone(),
        requantize: None,
        adapter: Some(AdapterRef {
            file: file.clone().into(),
            sha256: Digest::of(&released),
            quantization,
        }),
        calibration: calibration.calibration.clone(),
        trained_until: trained_until(&evaluation)?,
        ..base.clone()
    };
    let card = Card {
        name: &args.name,
        rank: adapter.config(&source)?.rank,
        adapter: &adapter,
        adapter_bytes: released.len(),
        manifest: &manifest,
        base: &base,
        record: &record,
        calibration: &calibration,
        evaluation: &evaluation,
    };
    forget_places(&mut written_down);
    let place = |name: String| args.into.join(name);
    // What names the others comes last.
    let files = [
        (place(file), released),
        (
            place(format!("{}.run.json", args.name)),
            (serde_json::to_string_pretty(&written_down)? + "\n").into_bytes(),
        ),
        (place(format!("{}.md", args.name)), card.page().into_bytes()),
        (place(format!("{}.toml", args.name)), text(&manifest)?.into_bytes()),
    ];
    write(&args.into, &files, args.replace)
}

/// Reads what was measured of a run.
fn measured<'v, T: Deserialize<'v>>(
    record: &'v Value,
    key: &str,
    command: &str,
    run: &Path,
) -> anyhow::Result<T> {
    let found = record.get(key).map(T::deserialize);
    found.and_then(Result::ok).with_context(|| {
        format!(
            "{} has no {key}: run `r2r-trainer {command} {}` first",
            run.display(),
            run.display()
        )
    })
}

/// The day before the first test date of each universe: from there on, labels of validation
/// dates and the embargo behind them are over.
fn trained_until(evaluation: &Evaluation) -> anyhow::Result<BTreeMap<String, NaiveDate>> {
    let of_universe = |(universe, parts): (&String, &BTreeMap<String, [NaiveDate; 2]>)| {
        let first = parts.get(Part::Test.key()).map(|[first, _]| *first);
        let before = first.and_then(|first| first.pred_opt());
        let before = before.with_context(|| format!("{universe} has no test dates"))?;
        Ok((universe.clone(), before))
    };
    evaluation.dates.iter().map(of_universe).collect()
}

/// Refuses measurements under prompts, grammars or rules that are not those of serving.
fn check_contract(
    record: &RunRecord,
    calibration: &Fitted,
    evaluation: &Evaluation,
    run: &Path,
) -> anyhow::Result<()> {
    let own = contract::contract_digest();
    let fitted_with = calibration.contract_digest.unwrap_or(record.contract_digest);
    let measured = [("calibrate", fitted_with), ("evaluate", evaluation.contract_digest)];
    for (command, digest) in measured {
        ensure!(
            digest == own,
            "prompts, phrases or rules have changed since `r2r-trainer {command}`: run \
             `r2r-trainer {command} {}` again",
            run.display()
        );
    }
    Ok(())
}

/// Returns the file of an adapter in 16 bits a value, whose rounding is an eighth of that of
/// BF16, into which it is merged.
fn halved(adapter: &AdapterFile, base: &ModelManifest) -> anyhow::Result<Vec<u8>> {
    let name = base.architecture.name();
    let architecture = Architecture::ALL.into_iter().find(|known| known.name() == name);
    let architecture = architecture.with_context(|| format!("{name} cannot be trained"))?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("adapter.gguf");
    adapter.write_as(&path, architecture, Kind::F16)?;
    Ok(fs::read(path)?)
}

/// Returns the manifest of the published file the run was trained over.
fn base(record: &RunRecord) -> anyhow::Result<ModelManifest> {
    let name = &record.config.backbone.model;
    ensure!(
        !name.ends_with(".gguf"),
        "the run was trained over {name}, a file without a manifest, which nobody else can fetch: \
         describe it in a file as models/smollm2-135m-instruct.toml and train with backbone.model \
         set to that"
    );
    let manifest = ModelManifest::find(name)?;
    ensure!(
        manifest.sha256 == record.base_sha256,
        "the manifest {name} names another file than the run was trained over: train again"
    );
    Ok(manifest)
}

/// Directories of one machine tell nobody else anything.
fn forget_places(record: &mut Value) {
    let mut at = Some(record);
    while let Some(run) = at {
        if let Some(tracking) = run.pointer_mut("/config/tracking") {
            *tracking = serde_json::to_value(Tracking::default()).unwrap_or_default();
        }
        at = run.get_mut("start").filter(|start| start.is_object());
    }
}

/// Renders a manifest, one that reads back.
fn text(manifest: &ModelManifest) -> anyhow::Result<String> {
    let name = &manifest.name;
    let text = format!(
        "# Written by `r2r-trainer release`; {name}.md is the model card.\n{}",
        toml::to_string(manifest)?
    );
    let read = ModelManifest::parse(&text).map_err(|detail| anyhow!("{detail}"))?;
    ensure!(read == *manifest, "the manifest of {name} does not read back");
    Ok(text)
}

/// Writes files, each whole or not at all.
fn write(directory: &Path, files: &[(PathBuf, Vec<u8>)], replace: bool) -> anyhow::Result<()> {
    if let Some((path, _)) = files.iter().find(|(path, _)| !replace && path.exists()) {
        return Err(anyhow!("{} exists: take another --name, or add --replace", path.display()));
    }
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    for (path, bytes) in files {
        write_atomically(path, bytes)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    for (path, _) in files {
        anstream::println!("{}", path.display());
    }
    Ok(())
}
