//! `r2r-trainer calibrate`: what makes a run's probabilities come true as often as they
//! say.
//!
//! Theses of the validation dates are written as serving writes them, and a calibration is
//! fitted on their decisions. How good it is, is said of the test dates, on which nothing
//! was chosen. Both go into the manifest of the run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use backtest::{
    RELIABILITY_BINS,
    bootstrap::{Resampling, Stationary},
    calibration::{Method, Odir, fit},
    reliability::{Bin, brier, classwise_ece, ece, log_loss, reliability},
    statistics::{DayLosses, Skill, log_loss_skill},
};
use clap::Args;
use domain::{AsOf, Calibration, Label, LabelProbs};
use indicatif::{ProgressBar, ProgressStyle};
use inference::Writer;
use serde::Serialize;
use serde_json::json;

use crate::{
    config::{CalibrationMethod, CalibrationSection, ConfigArgs, RunConfig},
    contexts::{CONFIDENCE, Case, Contexts, bootstrap},
    corpus::Part,
    decoder::{Ask, Decoder},
    plot::{Axis, Plot},
    run::{self, RunDirectory},
    teacher::draw,
};

/// The plot in the directory of a run.
const PLOT: &str = "reliability.svg";

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  r2r-trainer calibrate runs/cpu-demo\n  \
    r2r-trainer calibrate runs/cpu-demo --set calibration.method=dirichlet")]
pub(crate) struct CalibrateArgs {
    /// Directory of a run that has ended.
    run: PathBuf,
    /// Change a key of the run's configuration, as `--set calibration.contexts_max=100`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Where models and snapshots are kept.
    #[arg(long, env = "R2R_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
}

/// Decisions and what came true.
#[derive(Default)]
struct Decided {
    dates: Vec<AsOf>,
    probs: Vec<LabelProbs>,
    labels: Vec<Label>,
}

/// How good probabilities are.
#[derive(Debug, Serialize)]
struct Quality {
    log_loss: Option<f64>,
    /// 1 less the log-loss over that of the prior, with its interval.
    skill: Skill,
    brier: Option<f64>,
    ece: Option<f64>,
    classwise_ece: Option<f64>,
    reliability: Vec<Bin>,
}

/// Both sides of a calibration on one part of the dates.
#[derive(Debug, Serialize)]
struct Judged {
    contexts: usize,
    raw: Quality,
    calibrated: Quality,
}

/// Fits a calibration and writes it into the manifest of the run.
///
/// # Errors
/// Fails when the run's files are not those of its manifest, the decoder fails, or
/// nothing is best: see [`backtest::calibration::FitError`].
pub(crate) fn run(args: &CalibrateArgs) -> anyhow::Result<()> {
    let directory = RunDirectory::of(&args.run);
    let kept = directory.config().display().to_string();
    let config = ConfigArgs { config: kept, sets: args.sets.clone() }.load()?;
    let mut manifest = directory.manifest()?;
    let adapter = directory.adapter();
    let base = run::base(&config, &args.data_dir)?;
    ensure!(
        manifest.get("base_sha256") == Some(&json!(base.digest())),
        "backbone.model is not the file the run was trained over"
    );
    let contexts = Contexts::open(&config, &args.data_dir)?;
    directory.check_adapter(run::digest_of(&adapter)?, &contexts.division(&config))?;
    let decoder = Decoder::new(&base, config.backbone.context_tokens)?;
    let decide = |part| decisions(&config, &contexts, &decoder, &adapter, part);
    let (validation, test) = (decide(Part::Validation)?, decide(Part::Test)?);
    let section = &config.calibration;
    let calibration = fit(method(section), &validation.probs, &validation.labels)
        .with_context(|| format!("no {:?} calibration can be fitted", section.method))?;
    let prior = prior(contexts.training_labels());
    let judge = |decided: &Decided| decided.judge(&calibration, &prior, config.seed);
    let (on_validation, on_test) = (judge(&validation)?, judge(&test)?);
    plot(&directory.path().join(PLOT), &on_test)?;
    report(&calibration, &on_validation, &on_test);
    let found = json!({
        "calibration": calibration,
        "settings": section,
        "prior": prior,
        "validation": on_validation,
        "test": on_test,
    });
    manifest.insert("calibration".to_owned(), found);
    directory.write_manifest(&manifest)
}

fn method(section: &CalibrationSection) -> Method {
    match section.method {
        CalibrationMethod::Temperature => Method::Temperature,
        CalibrationMethod::Vector => Method::Vector,
        CalibrationMethod::Dirichlet => {
            Method::Dirichlet(Odir { lambda: section.lambda, mu: section.mu })
        }
    }
}

/// Writes the theses of a part, as serving writes them.
fn decisions(
    config: &RunConfig,
    contexts: &Contexts,
    decoder: &Decoder,
    adapter: &Path,
    part: Part,
) -> anyhow::Result<Decided> {
    let held_out = contexts.held_out(part, 1, config.calibration.contexts_max).concat();
    ensure!(
        !held_out.is_empty(),
        "there are no labelled {} contexts: see `split` and `data`",
        part.key()
    );
    let read = held_out.iter().map(|context| contexts.read(context));
    let cases: Vec<Case> = read.collect::<anyhow::Result<_>>()?;
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} left {eta} {wide_msg}")?;
    let bar = ProgressBar::new(cases.len() as u64).with_style(style);
    bar.set_message(format!("{} theses", part.key()));
    let ask = |case: &Case| {
        let (ticker, as_of) = (case.read.ticker(), case.read.as_of());
        let key = format!("{}\0calibrate\0{ticker}\0{as_of}", config.seed);
        Ask { plan: case.plan.clone(), seed: draw(&key) }
    };
    let asks = cases.iter().map(ask).collect();
    let written = decoder.write(adapter, asks, Writer::DEFAULT_SAMPLING, &bar)?;
    bar.finish_and_clear();
    let mut decided = Decided::default();
    for (case, generation) in cases.iter().zip(written) {
        decided.dates.push(case.read.as_of());
        decided.probs.push(LabelProbs::softmax(generation.code_logits)?);
        decided.labels.push(case.realised.label);
    }
    Ok(decided)
}

/// What the labels of the training dates let expect.
fn prior(labels: impl Iterator<Item = Label>) -> [f64; 5] {
    let mut counts = [0; 5];
    labels.for_each(|label| counts[label.index()] += 1);
    backtest::prior(counts)
}

impl Decided {
    fn judge(
        &self,
        calibration: &Calibration,
        prior: &[f64; 5],
        seed: u64,
    ) -> anyhow::Result<Judged> {
        let calibrated = self.probs.iter().map(|probs| calibration.apply(probs));
        let calibrated = calibrated.collect::<Result<Vec<_>, _>>()?;
        Ok(Judged {
            contexts: self.probs.len(),
            raw: self.quality(&self.probs, prior, seed),
            calibrated: self.quality(&calibrated, prior, seed),
        })
    }

    fn quality(&self, probs: &[LabelProbs], prior: &[f64; 5], seed: u64) -> Quality {
        let rows: Vec<[f64; 5]> = probs.iter().map(LabelProbs::values).collect();
        let classes: Vec<usize> = self.labels.iter().map(|label| label.index()).collect();
        let mut dates: BTreeMap<AsOf, DayLosses> = BTreeMap::new();
        for ((date, row), &class) in self.dates.iter().zip(&rows).zip(&classes) {
            dates.entry(*date).or_default().add(row, prior, class);
        }
        let (days, losses): (Vec<AsOf>, Vec<DayLosses>) = dates.into_iter().unzip();
        Quality {
            log_loss: log_loss(&rows, &classes),
            skill: skill(&days, &losses, seed),
            brier: brier(&rows, &classes),
            ece: ece(&rows, &classes, RELIABILITY_BINS),
            classwise_ece: classwise_ece(&rows, &classes, RELIABILITY_BINS),
            reliability: reliability(&rows, &classes, RELIABILITY_BINS).unwrap_or_default(),
        }
    }
}

/// The skill, with an interval where the dates are enough for one.
fn skill(days: &[AsOf], losses: &[DayLosses], seed: u64) -> Skill {
    let nothing = Resampling::Stationary(Stationary { mean_block: 1, resamples: 0, seed });
    let resampling = bootstrap(days, seed).unwrap_or(nothing);
    log_loss_skill(losses, &resampling, CONFIDENCE)
}

fn report(calibration: &Calibration, validation: &Judged, test: &Judged) {
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    anstream::println!("{} calibration", calibration.method());
    for (part, judged) in [("validation", validation), ("test", test)] {
        for (side, quality) in [("raw", &judged.raw), ("calibrated", &judged.calibrated)] {
            let interval = quality.skill.interval.map_or(String::new(), |interval| {
                format!(" ({:.4} to {:.4})", interval.lower, interval.upper)
            });
            anstream::println!(
                "{part:10} {side:10} {} contexts: log-loss {}, skill {}{interval}, ECE {}",
                judged.contexts,
                shown(quality.log_loss),
                shown(quality.skill.skill),
                shown(quality.ece)
            );
        }
    }
}

/// Draws how often the top label of test dates came true, by what was said.
fn plot(path: &Path, judged: &Judged) -> anyhow::Result<()> {
    let points = |quality: &Quality| {
        let points = quality.reliability.iter();
        points.filter_map(|bin| bin.confidence.zip(bin.frequency)).collect()
    };
    let plot = Plot {
        title: "Reliability on test dates",
        size: (480, 480),
        x: Axis { name: "probability of the top label", range: 0.0..1.0 },
        y: Axis { name: "share that came true", range: 0.0..1.0 },
        point_size: 4,
        reference: Some([(0.0, 0.0), (1.0, 1.0)]),
        lines: vec![("raw", points(&judged.raw)), ("calibrated", points(&judged.calibrated))],
    };
    plot.write(path)
}
