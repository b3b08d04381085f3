//! `r2r-trainer calibrate`: what makes a run's probabilities come true as often as they
//! say.
//!
//! Theses of the validation dates are written as serving writes them, and a calibration is
//! fitted on their decisions. How good it is, is said of the test dates, on which nothing
//! was chosen. Both go into the manifest of the run.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, ensure};
use backtest::{
    RELIABILITY_BINS,
    bootstrap::{Resampling, Stationary},
    calibration::{Method, Odir, fit},
    reliability::{Bin, brier, classwise_ece, ece, log_loss, reliability},
    statistics::{DayLosses, Skill, log_loss_skill},
};
use clap::Args;
use domain::{AsOf, Calibration, Digest, Label, LabelProbs};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    config::{CalibrationMethod, CalibrationSection},
    contexts::{CONFIDENCE, bootstrap},
    corpus::Part,
    held_out::HeldOut,
    plot::{Axis, Plot},
    trained::{Trained, TrainedArgs},
};

/// Key in the manifest of a run.
pub(crate) const KEY: &str = "calibration";
/// The plot in the directory of a run.
const PLOT: &str = "reliability.svg";

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  r2r-trainer calibrate runs/cpu-demo\n  \
    r2r-trainer calibrate runs/cpu-demo --set calibration.method=dirichlet")]
pub(crate) struct CalibrateArgs {
    #[command(flatten)]
    trained: TrainedArgs,
}

/// Decisions and what came true.
#[derive(Default)]
struct Decided {
    universes: Vec<String>,
    dates: Vec<AsOf>,
    probs: Vec<LabelProbs>,
    labels: Vec<Label>,
}

/// A calibration as the manifest of a run has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fitted {
    pub(crate) calibration: Calibration,
    /// Of the program it was fitted with; none where that did not say.
    #[serde(default)]
    pub(crate) contract_digest: Option<Digest>,
    pub(crate) settings: CalibrationSection,
    /// What skill is measured against: the class frequencies of training dates.
    prior: [f64; 5],
    pub(crate) validation: Judged,
    pub(crate) test: Judged,
    /// Test dates of each universe, where there are several.
    #[serde(default)]
    pub(crate) universes: BTreeMap<String, Judged>,
}

/// How good probabilities are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quality {
    pub(crate) log_loss: Option<f64>,
    /// 1 less the log-loss over that of the prior, with its interval.
    pub(crate) skill: Skill,
    pub(crate) brier: Option<f64>,
    pub(crate) ece: Option<f64>,
    pub(crate) classwise_ece: Option<f64>,
    reliability: Vec<Bin>,
}

/// Both sides of a calibration on one part of the dates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) contexts: usize,
    pub(crate) raw: Quality,
    pub(crate) calibrated: Quality,
}

impl Fitted {
    /// Returns what was judged, by the dates it was judged on.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (String, &Judged)> {
        let parts = [("validation", &self.validation), ("test", &self.test)];
        let parts = parts.map(|(name, judged)| (name.to_owned(), judged));
        let universes = self.universes.iter();
        parts.into_iter().chain(universes.map(|(name, judged)| (format!("test {name}"), judged)))
    }
}

/// Fits a calibration and writes it into the manifest of the run.
///
/// # Errors
/// Fails when the run's files are not those of its manifest, the decoder fails, or
/// nothing is best: see [`backtest::calibration::FitError`].
pub(crate) fn run(args: &CalibrateArgs) -> anyhow::Result<()> {
    let trained = args.trained.open()?;
    let Trained { directory, config, contexts, .. } = &trained;
    let validation = decisions(&trained, Part::Validation)?;
    let section = &config.calibration;
    let calibration =
        fit(method(section), &validation.probs, &validation.labels).with_context(|| {
            format!(
                "no {:?} calibration can be fitted to {} contexts; try another calibration.method, \
                 or a larger calibration.contexts_max",
                section.method,
                validation.probs.len()
            )
        })?;
    let test = decisions(&trained, Part::Test)?;
    let prior = prior(contexts.training_labels());
    let judge = |decided: &Decided| decided.judge(&calibration, &prior, config.seed);
    let (on_validation, on_test) = (judge(&validation)?, judge(&test)?);
    let universes = test.by_universe();
    let universes = universes.iter().map(|(name, part)| Ok((name.clone(), judge(part)?)));
    let fitted = Fitted {
        contract_digest: Some(contract::contract_digest()),
        settings: section.clone(),
        validation: on_validation,
        test: on_test,
        universes: universes.collect::<anyhow::Result<_>>()?,
        calibration,
        prior,
    };
    plot(&directory.path().join(PLOT), &fitted.test)?;
    // First: a terminal may be gone.
    directory.note(KEY, json!(fitted))?;
    report(&fitted);
    Ok(())
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
fn decisions(trained: &Trained, part: Part) -> anyhow::Result<Decided> {
    let Trained { config, contexts, decoder, adapter, .. } = trained;
    let most = config.calibration.contexts_max;
    let held_out = HeldOut::read(contexts, part, 1, most, config.seed)?;
    ensure!(
        !held_out.contexts().is_empty(),
        "there are no labelled {} contexts: see `split` and `data`",
        part.key()
    );
    let bar = held_out.bar(1)?;
    bar.set_message(format!("{} theses", part.key()));
    let written = held_out.write(decoder, Some(adapter), &bar)?;
    bar.finish_and_clear();
    let mut decided = Decided::default();
    for (held, generation) in held_out.contexts().iter().zip(written.generations) {
        let probs = LabelProbs::softmax(generation.code_logits)?;
        let (date, label) = (held.case.read.as_of(), held.case.realised.label);
        decided.push(&held.universe, date, probs, label);
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
    fn push(&mut self, universe: &str, date: AsOf, probs: LabelProbs, label: Label) {
        self.universes.push(universe.to_owned());
        self.dates.push(date);
        self.probs.push(probs);
        self.labels.push(label);
    }

    /// None where there is one universe only: that is all.
    fn by_universe(&self) -> BTreeMap<String, Self> {
        let mut parts: BTreeMap<String, Self> = BTreeMap::new();
        for (i, universe) in self.universes.iter().enumerate() {
            let part = parts.entry(universe.clone()).or_default();
            part.push(universe, self.dates[i], self.probs[i], self.labels[i]);
        }
        if parts.len() < 2 { BTreeMap::new() } else { parts }
    }

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

fn report(fitted: &Fitted) {
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    anstream::println!("{} calibration", fitted.calibration.method());
    for (part, judged) in fitted.parts() {
        for (side, quality) in [("raw", &judged.raw), ("calibrated", &judged.calibrated)] {
            let interval = quality.skill.interval.map_or(String::new(), |interval| {
                format!(" ({:.4} to {:.4})", interval.lower, interval.upper)
            });
            anstream::println!(
                "{part:12} {side:10} {} contexts: log-loss {}, skill {}{interval}, ECE {}",
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
