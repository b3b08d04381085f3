//! The contexts of snapshots for what writes theses itself: reinforcement, calibration,
//! evaluation.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use backtest::bootstrap::{Resampling, Stationary};
use chrono::{NaiveDate, TimeDelta};
use contract::{Plan, rewards::Realised};
use domain::{AsOf, AsOfRead, Label, Ticker};
use lake::HORIZONS;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::{
    config::RunConfig,
    corpus::{ContextRef, OpenSource, Part, Sources, division},
    teacher::draw,
};

/// The labelled contexts of a configuration's snapshots, divided as a corpus is.
pub(crate) struct Contexts {
    runtime: Runtime,
    sources: Sources,
    labelled: Vec<ContextRef>,
}

/// Confidence of intervals.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// Calendar days a session.
const DAYS_A_SESSION: f64 = 365.25 / 252.0;

/// Returns the bootstrap of means over `dates`, which are in order; none where they are too
/// few. Its mean block is as long as the labels of dates overlap: the most dates that lie
/// within the longest horizon, since dates of several universes come in clusters.
pub(crate) fn bootstrap(dates: &[AsOf], seed: u64) -> Option<Resampling> {
    let horizon = HORIZONS.into_iter().max()? as f64 * DAYS_A_SESSION;
    let horizon = TimeDelta::days(horizon.round() as i64);
    let overlap = |(i, date): (usize, &AsOf)| {
        let end = date.instant() + horizon;
        dates[i..].partition_point(|other| other.instant() < end)
    };
    let block = dates.iter().enumerate().map(overlap).max()?;
    let stationary = Stationary { mean_block: block as u32, resamples: 2_000, seed };
    stationary.suits(dates.len()).then_some(Resampling::Stationary(stationary))
}

/// One context, read as serving reads it.
pub(crate) struct Case {
    /// What was known.
    pub(crate) read: AsOfRead,
    /// Where the model has a choice.
    pub(crate) plan: Plan,
    /// What happened then.
    pub(crate) realised: Realised,
}

impl Contexts {
    /// Opens the snapshots.
    ///
    /// # Errors
    /// Fails where one is missing, or its dates do not fill the split.
    pub(crate) fn open(config: &RunConfig, data_dir: &Path) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        let sources = runtime.block_on(Sources::open(config, data_dir))?;
        let mut labelled = sources.contexts(config.seed)?;
        labelled.retain(|context| context.label.is_some());
        Ok(Self { runtime, sources, labelled })
    }

    /// Returns what decides which dates are trained on.
    pub(crate) fn division(&self, config: &RunConfig) -> Value {
        let sources = self.sources.open.iter();
        let snapshots = sources.map(|source| (source.universe.clone(), source.snapshot.id()));
        division(config, &snapshots.collect())
    }

    /// Returns the universe of a context.
    pub(crate) fn universe(&self, context: &ContextRef) -> &str {
        &self.sources.open[context.source].universe
    }

    /// Returns the first and last date of each part, by universe and part.
    pub(crate) fn spans(&self) -> BTreeMap<String, BTreeMap<String, [NaiveDate; 2]>> {
        let spans = self.sources.open.iter().map(|source| {
            let calendar = &self.sources.calendars[source.calendar];
            let span = |part: Part| {
                let (first, last) = calendar.span(part)?;
                Some((part.key().to_owned(), [first, last]))
            };
            (source.universe.clone(), Part::ALL.into_iter().filter_map(span).collect())
        });
        spans.collect()
    }

    /// Returns the selection bias of each universe, to be stated in every report.
    pub(crate) fn biases(&self) -> BTreeMap<String, String> {
        let bias = |source: &OpenSource| source.snapshot.manifest().universe.bias.clone();
        self.sources.open.iter().map(|source| (source.universe.clone(), bias(source))).collect()
    }

    /// Returns runs of `length` adjacent training dates of a name, none in two runs. What
    /// is left at the end of a name is in none.
    pub(crate) fn training_runs(&self, length: usize) -> Vec<Vec<ContextRef>> {
        let mut runs = self.runs(Part::Train, length);
        runs.retain(|run| run.len() == length);
        runs
    }

    /// Cuts the dates of each name into runs; the last of a name may be shorter.
    fn runs(&self, part: Part, length: usize) -> Vec<Vec<ContextRef>> {
        let mut names: BTreeMap<(usize, &Ticker), Vec<&ContextRef>> = BTreeMap::new();
        for context in self.labelled.iter().filter(|context| context.part == part) {
            names.entry((context.source, &context.ticker)).or_default().push(context);
        }
        let mut runs = Vec::new();
        for mut contexts in names.into_values() {
            contexts.sort_by_key(|context| context.as_of);
            let run = |run: &[&ContextRef]| run.iter().copied().cloned().collect();
            runs.extend(contexts.chunks(length.max(1)).map(run));
        }
        runs
    }

    /// Returns the training contexts, in an order drawn by the seed.
    pub(crate) fn training(&self) -> impl Iterator<Item = &ContextRef> {
        self.labelled.iter().filter(|context| context.part == Part::Train)
    }

    /// Returns the labels of training dates.
    pub(crate) fn training_labels(&self) -> impl Iterator<Item = Label> {
        self.training().filter_map(|context| context.label.map(|(label, _)| label))
    }

    /// Returns runs of `length` adjacent dates of a part and name, or fewer at the end of a
    /// name, with about `most` contexts in all, 0 for all: a sample that is fair to names
    /// and dates, and the same in every run of training.
    pub(crate) fn held_out(&self, part: Part, length: usize, most: u32) -> Vec<Vec<ContextRef>> {
        let mut runs = self.runs(part, length);
        if most > 0 {
            runs.sort_by_cached_key(|run| {
                let first = run.first().map(|first| format!("{}\0{}", first.ticker, first.as_of));
                draw(&first.unwrap_or_default())
            });
            let mut taken = 0;
            runs.retain(|run| {
                let is_taken = taken < most as usize;
                taken += run.len();
                is_taken
            });
        }
        runs
    }

    /// Reads a context.
    ///
    /// # Errors
    /// Fails where its snapshot cannot be read.
    pub(crate) fn read(&self, context: &ContextRef) -> anyhow::Result<Case> {
        let snapshot = &self.sources.open[context.source].snapshot;
        let read = self.runtime.block_on(snapshot.read(&context.ticker, context.as_of))?;
        let (label, z) = context.label.context("a labelled context")?;
        Ok(Case { plan: contract::plan(&read), read, realised: Realised::new(label, z)? })
    }
}

#[cfg(test)]
mod tests {
    use chrono::Days;

    use super::*;

    #[test]
    fn blocks_are_as_long_as_labels_overlap_and_few_have_no_interval() {
        let first = NaiveDate::from_ymd_opt(2015, 1, 1).unwrap();
        let of_days = |days: Vec<u64>| {
            let date = |day| AsOf::end_of(first + Days::new(day));
            let dates: Vec<AsOf> = days.into_iter().map(date).collect();
            match bootstrap(&dates, 1)? {
                Resampling::Stationary(plan) => Some(plan.mean_block),
                other => panic!("{other:?}"),
            }
        };
        let mean_block = |n: u64, every: u64| of_days((0..n).map(|i| i * every).collect());
        // 63 sessions are 91 days: four of monthly dates overlap, one of half-yearly ones.
        assert_eq!(mean_block(60, 30), Some(4));
        assert_eq!(mean_block(60, 180), Some(1));
        assert_eq!(mean_block(500, 1), Some(91));
        assert_eq!(mean_block(300, 1), None);
        assert_eq!(mean_block(4, 180), None);
        assert_eq!(mean_block(0, 1), None);
        // Forty days of each of several years are that many blocks.
        let years = |n: u64| of_days((0..40 * n).map(|i| i / 40 * 365 + i % 40).collect());
        assert_eq!(years(5), Some(40));
        assert_eq!(years(4), None);
    }
}
