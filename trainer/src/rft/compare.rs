//! What training has gained: rewards on validation contexts, written as serving writes,
//! of the model it started from and of the one it ended with.

use std::collections::BTreeMap;

use backtest::bootstrap::{Interval, distribution};
use contract::rewards::{Predicted, Reward};
use domain::{AsOf, Label, LabelProbs};
use indicatif::{ProgressBar, ProgressStyle};
use inference::Writer;
use serde::Serialize;

use super::{Run, update::parts};
use crate::{
    config::RunConfig,
    contexts::{CONFIDENCE, Case, bootstrap},
    corpus::{ContextRef, Part},
    decoder::Ask,
    teacher::draw,
};

/// Rewards before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Comparison {
    contexts: usize,
    dates: usize,
    /// Mean of each number a reward is made of.
    before: BTreeMap<&'static str, f64>,
    after: BTreeMap<&'static str, f64>,
    /// Mean over dates, each its own mean, of the total reward's difference; dates have
    /// unequal numbers of contexts, so this is not that of the means above.
    difference: f64,
    /// Its interval by a stationary bootstrap over dates; none where they are too few.
    interval: Option<Interval>,
}

impl Run {
    /// Compares the model training started from with the one there is now; none where
    /// the split has no validation dates.
    ///
    /// # Errors
    /// Fails when snapshots cannot be read, or the decoder fails.
    pub(super) fn compare(&self, config: &RunConfig) -> anyhow::Result<Option<Comparison>> {
        let rl = &config.rl;
        let adjacent = rl.adjacent_dates as usize;
        let runs = self.contexts.held_out(Part::Validation, adjacent, rl.eval_contexts_max);
        let held_out: Vec<HeldOut<'_>> = runs.iter().flat_map(|run| held_out(run)).collect();
        if held_out.is_empty() {
            return Ok(None);
        }
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} left {eta} {wide_msg}")?;
        let bar = ProgressBar::new(2 * held_out.len() as u64).with_style(style);
        let read = held_out.iter().map(|(context, _)| self.contexts.read(context));
        let cases: Vec<Case> = read.collect::<anyhow::Result<_>>()?;
        bar.set_message("validation theses of the model that was trained");
        let after = self.rewards(config.seed, &held_out, &cases, &bar)?;
        let adapter = self.session.engine().model().adapter();
        let values = adapter.values();
        adapter.set_values(&self.start);
        bar.set_message("validation theses of the model it started from");
        let before = self.rewards(config.seed, &held_out, &cases, &bar);
        adapter.set_values(&values);
        bar.finish_and_clear();
        Ok(Some(comparison(config.seed, &held_out, &before?, &after)))
    }

    /// Scores what the adapter as it is writes, with serving's sampling and decision.
    fn rewards(
        &self,
        seed: u64,
        held_out: &[HeldOut<'_>],
        cases: &[Case],
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<Reward>> {
        let seed_of = |(context, _): &HeldOut<'_>| {
            draw(&format!("{seed}\0held out\0{}\0{}", context.ticker, context.as_of))
        };
        let seeds: Vec<u64> = held_out.iter().map(seed_of).collect();
        let asks = cases.iter().zip(&seeds);
        let asks = asks.map(|(case, &seed)| Ask { plan: case.plan.clone(), seed }).collect();
        let live = self.write_live_adapter()?;
        let written = self.decoder.write(&live, asks, Writer::DEFAULT_SAMPLING, bar)?;
        let mut last: Option<Label> = None;
        let mut rewards = Vec::with_capacity(cases.len());
        for ((((_, is_first), case), generation), seed) in
            held_out.iter().zip(cases).zip(&written).zip(seeds)
        {
            let label = LabelProbs::softmax(generation.code_logits)?.argmax();
            let predicted = Predicted { label, before: last.filter(|_| !is_first) };
            last = Some(label);
            rewards.push(self.scorer.score(case, generation, predicted, seed)?);
        }
        Ok(rewards)
    }
}

/// A context, and whether the one before it is of another name or not adjacent.
type HeldOut<'a> = (&'a ContextRef, bool);

fn held_out(run: &[ContextRef]) -> impl Iterator<Item = HeldOut<'_>> {
    run.iter().enumerate().map(|(i, context)| (context, i == 0))
}

fn comparison(
    seed: u64,
    held_out: &[HeldOut<'_>],
    before: &[Reward],
    after: &[Reward],
) -> Comparison {
    let mut dates: BTreeMap<AsOf, (f64, f64)> = BTreeMap::new();
    for (((context, _), before), after) in held_out.iter().zip(before).zip(after) {
        let (sum, n) = dates.entry(context.as_of).or_default();
        *sum += after.total - before.total;
        *n += 1.0;
    }
    let differences: Vec<f64> = dates.values().map(|(sum, n)| sum / n).collect();
    let days: Vec<AsOf> = dates.keys().copied().collect();
    let interval = bootstrap(&days, seed).and_then(|resampling| {
        distribution(&differences, &resampling, |values| Some(mean(values))).interval(CONFIDENCE)
    });
    Comparison {
        contexts: held_out.len(),
        dates: differences.len(),
        before: means(before),
        after: means(after),
        difference: mean(&differences),
        interval,
    }
}

fn means(rewards: &[Reward]) -> BTreeMap<&'static str, f64> {
    let mut sums: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for reward in rewards {
        parts(reward, |key, value| sums.entry(key).or_default().push(value));
    }
    sums.into_iter().map(|(key, values)| (key, mean(&values))).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
