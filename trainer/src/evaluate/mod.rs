//! `r2r-trainer evaluate`: what an adapter gains over its untuned base.
//!
//! Both write theses of the same test contexts with serving's worker, sampling and the
//! same seeds, and decide without a calibration, since the base has none. Nothing was
//! chosen on these dates. The figures go into the manifest of the run, and ten whole
//! theses of each universe to a page that a person reads.

mod page;
mod quality;
mod table;

use std::{collections::BTreeMap, path::Path};

use anyhow::ensure;
use chrono::NaiveDate;
use clap::Args;
use contract::rewards::RewardConfig;
use domain::{Digest, Label};
use gradients::AdapterFile;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::quality::Quality;
pub(crate) use self::table::{aligned, markdown, means, number};
use crate::{
    config::EvaluationSection,
    corpus::Part,
    held_out::{Compared, Difference, Held, HeldOut, Pair, Scored, compare},
    score::Scorer,
    trained::{Trained, TrainedArgs},
};

/// Key in the manifest of a run.
pub(crate) const KEY: &str = "evaluation";
/// The page in the directory of a run.
const PAGE: &str = "theses.md";

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  r2r-trainer evaluate runs/cpu-demo\n  \
    r2r-trainer evaluate runs/cpu-demo --set evaluation.contexts_max=1000")]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    trained: TrainedArgs,
}

/// An evaluation as the manifest of a run has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evaluation {
    /// Of the program it was made with.
    pub(crate) contract_digest: Digest,
    pub(crate) settings: EvaluationSection,
    /// What theses were scored by; none where that was not kept.
    pub(crate) rewards: Option<RewardConfig>,
    pub(crate) adjacent_dates: u32,
    pub(crate) seed: u64,
    /// First and last date of each part, by universe and part.
    pub(crate) dates: BTreeMap<String, BTreeMap<String, [NaiveDate; 2]>>,
    /// Selection bias of each universe.
    pub(crate) biases: BTreeMap<String, String>,
    /// Over all contexts.
    pub(crate) all: Sides,
    /// Over those of each universe, where there are several.
    pub(crate) universes: BTreeMap<String, Sides>,
}

/// Base and adapter over the same contexts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sides {
    pub(crate) contexts: usize,
    /// Different dates among them.
    pub(crate) dates: usize,
    /// Shares of the labels that came true.
    pub(crate) realised: BTreeMap<String, f64>,
    pub(crate) base: Quality,
    pub(crate) adapter: Quality,
    /// Adapter less base, of each mean.
    pub(crate) differences: BTreeMap<String, Difference>,
}

/// Evaluates the adapter of a run and writes what was found into its directory.
///
/// # Errors
/// Fails when the run's files are not those of its manifest, there is nothing held out,
/// or the decoder fails.
pub(crate) fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let trained = args.trained.open()?;
    let Trained { directory, config, contexts, decoder, adapter } = &trained;
    let (adjacent, most) = (config.rl.adjacent_dates, config.evaluation.contexts_max);
    let held_out = HeldOut::read(contexts, Part::Test, adjacent as usize, most, config.seed)?;
    ensure!(
        !held_out.contexts().is_empty(),
        "there are no labelled test contexts: see `split` and `data`"
    );
    let scorer = Scorer::new(config.rewards)?;
    let bar = held_out.bar(2)?;
    let written = |adapter: Option<&AdapterFile>, message: &'static str| {
        bar.set_message(message);
        held_out.score(&scorer, held_out.write(decoder, adapter, &bar)?)
    };
    let untuned = written(None, "test theses of the untuned base")?;
    let tuned = written(Some(adapter), "test theses of the adapter")?;
    bar.finish_and_clear();
    let pairs = held_out.pairs(&untuned, &tuned);
    let evaluation = Evaluation {
        contract_digest: contract::contract_digest(),
        settings: config.evaluation.clone(),
        rewards: Some(config.rewards),
        adjacent_dates: adjacent,
        seed: config.seed,
        dates: contexts.spans(),
        biases: contexts.biases(),
        all: Sides::of(&pairs, config.seed),
        universes: by_universe(&pairs, config.seed),
    };
    let path = directory.path().join(PAGE);
    page::write(&path, &config.name, &evaluation, &pairs)?;
    // First: a terminal may be gone.
    directory.note(KEY, json!(evaluation))?;
    report(&evaluation, &path);
    Ok(())
}

/// None where there is one universe only: that is all.
fn by_universe(pairs: &[Pair<'_>], seed: u64) -> BTreeMap<String, Sides> {
    let mut universes: BTreeMap<&str, Vec<Pair<'_>>> = BTreeMap::new();
    for pair in pairs {
        universes.entry(&pair.held.universe).or_default().push(*pair);
    }
    if universes.len() < 2 {
        return BTreeMap::new();
    }
    let sides = |(name, pairs): (&str, Vec<Pair<'_>>)| (name.to_owned(), Sides::of(&pairs, seed));
    universes.into_iter().map(sides).collect()
}

impl Sides {
    fn of(pairs: &[Pair<'_>], seed: u64) -> Self {
        let Compared { dates, means: [base, adapter], differences } = compare(pairs, seed);
        let theses = |side: usize| -> Vec<(&Held, &Scored)> {
            pairs.iter().map(|pair| (pair.held, pair.sides[side])).collect()
        };
        Self {
            contexts: pairs.len(),
            dates,
            realised: shares(pairs.iter().map(|pair| pair.held.case.realised.label)),
            base: Quality::of(&theses(0), base),
            adapter: Quality::of(&theses(1), adapter),
            differences,
        }
    }
}

/// Shares of the labels, of every one.
fn shares(labels: impl Iterator<Item = Label>) -> BTreeMap<String, f64> {
    let mut counts = [0_u32; 5];
    labels.for_each(|label| counts[label.index()] += 1);
    let all = f64::from(counts.iter().sum::<u32>().max(1));
    let share = |label: Label| (label.to_string(), f64::from(counts[label.index()]) / all);
    Label::ALL.into_iter().map(share).collect()
}

fn report(evaluation: &Evaluation, page: &Path) {
    let universes = evaluation.universes.iter().map(|(name, sides)| (name.as_str(), sides));
    for (name, sides) in [("all universes", &evaluation.all)].into_iter().chain(universes) {
        let Sides { contexts, dates, .. } = sides;
        anstream::println!("{name}: {contexts} test contexts of {dates} dates");
        anstream::println!("{}", aligned(["base", "adapter"], &sides.rows()));
    }
    anstream::println!("{}", page.display());
}
