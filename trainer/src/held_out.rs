//! Theses of held-out contexts, written and decided as serving does, and how two models
//! compare on them: what calibration, evaluation and training report of a model.

use std::collections::BTreeMap;

use backtest::{
    bootstrap::{Interval, distribution},
    reliability::surprise,
};
use contract::{
    DraftClaim,
    rewards::{Predicted, Reward},
};
use domain::{AsOf, Label, LabelProbs};
use gradients::AdapterFile;
use indicatif::{ProgressBar, ProgressStyle};
use inference::{Generation, Sampling, Writer};
use serde::{Deserialize, Serialize};

use crate::{
    contexts::{CONFIDENCE, Case, Contexts, bootstrap},
    corpus::Part,
    decoder::{Ask, Batch, Decoder},
    score::{Origin, Scorer, details, parts},
    teacher::draw,
};

/// As serving samples.
const SAMPLING: Sampling = Writer::DEFAULT_SAMPLING;

/// Contexts no model was trained on, in runs of adjacent dates of a name.
pub(crate) struct HeldOut(Vec<Held>);

/// One of them.
pub(crate) struct Held {
    /// Universe of its snapshot.
    pub(crate) universe: String,
    /// What was known, and what happened then.
    pub(crate) case: Case,
    /// Whether the one before it is of another name or not adjacent.
    pub(crate) is_first: bool,
    /// Of the samplers: the same for every model.
    seed: u64,
}

/// What a model wrote of a context, and what that is worth.
pub(crate) struct Scored {
    pub(crate) generation: Generation,
    pub(crate) claims: Vec<DraftClaim>,
    /// Of the decision, as the model has them.
    pub(crate) probs: LabelProbs,
    pub(crate) reward: Reward,
}

/// What two models wrote of one context.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a> {
    pub(crate) held: &'a Held,
    pub(crate) sides: [&'a Scored; 2],
}

/// How two models compare over some contexts.
pub(crate) struct Compared {
    /// Different dates among the contexts.
    pub(crate) dates: usize,
    /// Of each model the mean of each number.
    pub(crate) means: [BTreeMap<String, f64>; 2],
    /// How much more the second has.
    pub(crate) differences: BTreeMap<String, Difference>,
}

/// The difference of two models in one number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Difference {
    /// Mean over dates, each its own mean; dates have unequal numbers of contexts, so this
    /// is not that of the means over contexts.
    pub(crate) mean: f64,
    /// By a stationary bootstrap over dates; none where they are too few.
    pub(crate) interval: Option<Interval>,
}

impl HeldOut {
    /// Reads runs of `length` adjacent dates of a part, about `most` contexts in all, 0 for
    /// all of them.
    ///
    /// # Errors
    /// Fails where a snapshot cannot be read.
    pub(crate) fn read(
        contexts: &Contexts,
        part: Part,
        length: usize,
        most: u32,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let mut held = Vec::new();
        for run in contexts.held_out(part, length, most) {
            for (i, context) in run.iter().enumerate() {
                held.push(Held {
                    universe: contexts.universe(context).to_owned(),
                    case: contexts.read(context)?,
                    is_first: i == 0,
                    seed: draw(&format!("{seed}\0held out\0{}\0{}", context.ticker, context.as_of)),
                });
            }
        }
        Ok(Self(held))
    }

    /// Returns the contexts.
    pub(crate) fn contexts(&self) -> &[Held] {
        &self.0
    }

    /// Returns a bar for the theses of so many models.
    ///
    /// # Errors
    /// Fails when its template is wrong, which a test rules out.
    pub(crate) fn bar(&self, models: u64) -> anyhow::Result<ProgressBar> {
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} left {eta} {wide_msg}")?;
        Ok(ProgressBar::new(models * self.0.len() as u64).with_style(style))
    }

    /// Writes a thesis of each context with serving's sampling.
    ///
    /// # Errors
    /// As [`Decoder::write`].
    pub(crate) fn write(
        &self,
        decoder: &Decoder,
        adapter: Option<&AdapterFile>,
        bar: &ProgressBar,
    ) -> anyhow::Result<Batch> {
        let ask = |held: &Held| Ask { plan: held.case.plan.clone(), seed: held.seed };
        let asks = self.0.iter().map(ask).collect();
        decoder.write(adapter, asks, SAMPLING, bar)
    }

    /// Scores what was written, decided as serving decides without a calibration.
    ///
    /// # Errors
    /// Fails when a thesis does not fit its plan: a defect of the decoder.
    pub(crate) fn score(&self, scorer: &Scorer, written: Batch) -> anyhow::Result<Vec<Scored>> {
        let Batch { model, generations } = written;
        let mut last: Option<Label> = None;
        let mut scored = Vec::with_capacity(self.0.len());
        for (held, generation) in self.0.iter().zip(generations) {
            let probs = LabelProbs::softmax(generation.code_logits)?;
            let label = probs.argmax();
            let predicted = Predicted { label, before: last.filter(|_| !held.is_first) };
            last = Some(label);
            let origin = Origin { model: &model, seed: held.seed, sampling: SAMPLING };
            let reward = scorer.score(&held.case, &generation, predicted, origin)?;
            let claims = held.case.plan.claims(&generation.picks)?;
            scored.push(Scored { generation, claims, probs, reward });
        }
        Ok(scored)
    }

    /// Puts beside each other what two models wrote.
    pub(crate) fn pairs<'a>(&'a self, one: &'a [Scored], other: &'a [Scored]) -> Vec<Pair<'a>> {
        let sides = one.iter().zip(other);
        self.0.iter().zip(sides).map(|(held, (a, b))| Pair { held, sides: [a, b] }).collect()
    }
}

/// Compares two models in every number that each thesis has.
pub(crate) fn compare(pairs: &[Pair<'_>], seed: u64) -> Compared {
    let mut means = [BTreeMap::new(), BTreeMap::new()];
    // By number and date: the sum of differences and how many.
    let mut dates: BTreeMap<&'static str, BTreeMap<AsOf, (f64, f64)>> = BTreeMap::new();
    for Pair { held, sides } in pairs {
        let [one, other] = sides.map(|scored| numbers(held, scored));
        for (key, value) in &other {
            let before = one.get(key).copied().unwrap_or_default();
            let date = dates.entry(*key).or_default().entry(held.case.read.as_of());
            let (sum, n) = date.or_default();
            *sum += value - before;
            *n += 1.0;
        }
        for (sums, numbers) in means.iter_mut().zip([one, other]) {
            for (key, value) in numbers {
                *sums.entry(key.to_owned()).or_insert(0.0) += value;
            }
        }
    }
    let n = pairs.len() as f64;
    means.iter_mut().flat_map(BTreeMap::values_mut).for_each(|sum| *sum /= n);
    Compared {
        dates: dates.values().map(BTreeMap::len).max().unwrap_or_default(),
        means,
        differences: dates
            .into_iter()
            .map(|(key, dates)| (key.to_owned(), difference(&dates, seed)))
            .collect(),
    }
}

/// Every number of a thesis that means can be taken of.
fn numbers(held: &Held, scored: &Scored) -> BTreeMap<&'static str, f64> {
    let mut numbers = BTreeMap::new();
    let mut note = |key, value| {
        numbers.insert(key, value);
    };
    parts(&scored.reward, &mut note);
    details(&scored.reward, &mut note);
    let p = scored.probs.values()[held.case.realised.label.index()];
    note("decision.log_loss", surprise(p));
    numbers
}

fn difference(dates: &BTreeMap<AsOf, (f64, f64)>, seed: u64) -> Difference {
    let differences: Vec<f64> = dates.values().map(|(sum, n)| sum / n).collect();
    let days: Vec<AsOf> = dates.keys().copied().collect();
    let interval = bootstrap(&days, seed).and_then(|resampling| {
        distribution(&differences, &resampling, |values| Some(mean(values))).interval(CONFIDENCE)
    });
    Difference { mean: mean(&differences), interval }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
