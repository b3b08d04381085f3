//! Samples of the policy: theses of the serving decoder, with what they are worth.

use anyhow::Context as _;
use contract::rewards::{Predicted, Reward};
use domain::Label;
use gradients::AdapterFile;
use indicatif::ProgressBar;
use inference::{Generation, Sampling};

use super::{
    Run,
    objective::{Credit, credited},
};
use crate::{
    config::{Rl, RlMethod},
    contexts::Case,
    corpus::{Completion, ContextRef, Stage, lessons},
    decoder::{Ask, Batch},
    encode::{Encoder, Traced, Written},
    random::{shuffled, unit},
    score::Origin,
    teacher::draw,
};

/// A thesis that was sampled.
pub(super) struct Sample {
    pub(super) generation: Generation,
    pub(super) label: Label,
    pub(super) reward: Reward,
    /// The reward by what it is credited to, and the advantages made of these.
    worth: Credit,
    pub(super) advantage: Credit,
}

/// A context and its samples.
pub(super) struct Rolled {
    pub(super) samples: Vec<Sample>,
    /// The samples in tokens, each with the number it has here.
    pub(super) traced: Traced,
    /// Log-probabilities of the policy that wrote them, once known.
    pub(super) old: Option<Vec<f32>>,
    /// Those of the model training starts from, for the KL term.
    pub(super) start: Option<Vec<f32>>,
}

/// Samples of a context.
pub(super) const fn samples_of(method: RlMethod) -> usize {
    match method {
        RlMethod::Pairwise => 2,
        RlMethod::GrpoLite => 1,
    }
}

/// The sampling of rollouts.
fn sampling(rl: &Rl) -> Sampling {
    Sampling { temperature: rl.temperature as f32, min_p: rl.min_p as f32 }
}

impl Run {
    /// Samples the contexts of round `round`, a batch of samples that is used for one or
    /// more steps.
    pub(super) fn roll_out(
        &mut self,
        rl: &Rl,
        seed: u64,
        round: u64,
    ) -> anyhow::Result<Vec<Rolled>> {
        let runs = self.runs_of(rl, seed, round)?;
        let n = samples_of(rl.method);
        let mut cases: Vec<Vec<Case>> = Vec::new();
        let mut asks = Vec::new();
        for (i, run) in runs.iter().enumerate() {
            let read = run.iter().map(|context| self.contexts.read(context));
            let run: Vec<Case> = read.collect::<anyhow::Result<_>>()?;
            for (j, case) in run.iter().enumerate() {
                asks.extend((0..n).map(|sample| Ask {
                    plan: case.plan.clone(),
                    seed: draw(&format!("{seed}\0thesis\0{round}\0{i}\0{j}\0{sample}")),
                }));
            }
            cases.push(run);
        }
        let seeds: Vec<u64> = asks.iter().map(|ask| ask.seed).collect();
        let adapter = AdapterFile::of(self.session.engine().model().adapter());
        let hidden = ProgressBar::hidden();
        let sampling = sampling(rl);
        let Batch { model, generations } =
            self.decoder.write(Some(&adapter), asks, sampling, &hidden)?;
        let mut written = generations.into_iter().zip(seeds);
        let mut rolled = Vec::new();
        for run in cases {
            let mut before: Vec<Option<Label>> = vec![None; n];
            for case in run {
                let mut samples = Vec::with_capacity(n);
                for before in &mut before {
                    let (generation, seed) = written.next().context("a thesis for each ask")?;
                    // A number of its own: the seed is the samplers'.
                    let point = unit(draw(&format!("{seed}\0label")));
                    let probs = probabilities(generation.code_logits, rl.temperature);
                    let label = decide(probs, point);
                    let decided = self.scorer.decided(case.realised, *before);
                    let predicted = Predicted { label, before: *before };
                    let origin = Origin { model: &model, seed, sampling };
                    let reward = self.scorer.score(&case, &generation, predicted, origin)?;
                    let worth = Credit::of(rl.credit, reward.total, label, decided, probs);
                    *before = Some(label);
                    let advantage = Credit::default();
                    samples.push(Sample { generation, label, reward, worth, advantage });
                }
                let has_anchor = rl.ce_anchor_coef > 0.0;
                let traced = trace(&mut self.encoder, &case, &samples, has_anchor);
                let traced = traced
                    .with_context(|| format!("{} at {}", case.read.ticker(), case.read.as_of()))?;
                rolled.push(Rolled { samples, traced, old: None, start: None });
            }
        }
        set_advantages(rl.method, &mut rolled);
        Ok(rolled)
    }

    /// The runs of adjacent dates of a round: each epoch takes all of them in an order of
    /// its own.
    fn runs_of(&self, rl: &Rl, seed: u64, round: u64) -> anyhow::Result<Vec<&[ContextRef]>> {
        let per_round = u64::from(rl.contexts_per_step / rl.adjacent_dates);
        let n = self.runs.len();
        let place = |j: u64| {
            let place = round * per_round + j;
            let order = shuffled(n, seed, place / n as u64);
            let i = order.get(usize::try_from(place % n as u64).ok()?)?;
            self.runs.get(*i).map(Vec::as_slice)
        };
        (0..per_round).map(|j| place(j).context("there are runs")).collect()
    }
}

fn set_advantages(method: RlMethod, rolled: &mut [Rolled]) {
    let of = |rolled: &Rolled| rolled.samples.iter().map(|sample| sample.worth).collect();
    let rewards: Vec<Vec<Credit>> = rolled.iter().map(of).collect();
    for (rolled, own) in rolled.iter_mut().zip(credited(method, &rewards)) {
        for (sample, advantage) in rolled.samples.iter_mut().zip(own) {
            sample.advantage = advantage;
        }
    }
}

/// Follows samples through the plan and the grammars, in the tokens they were written in.
fn trace(
    encoder: &mut Encoder,
    case: &Case,
    samples: &[Sample],
    has_anchor: bool,
) -> anyhow::Result<Traced> {
    let plan = &case.plan;
    let mut parts: Vec<(usize, Completion, &[u32])> = Vec::new();
    for (s, Sample { generation, label, .. }) in samples.iter().enumerate() {
        let written = generation.picks.iter().zip(&generation.tokens);
        for (section, (picks, tokens)) in plan.sections.iter().zip(written) {
            if section.is_silent() {
                continue;
            }
            for (i, (pick, tokens)) in picks.iter().zip(tokens).enumerate() {
                let claim = lessons::claim(Stage::Mixture, section, &picks[..i], pick, i);
                parts.push((s, claim, tokens.as_slice()));
            }
        }
        let none: &[u32] = &[];
        parts.push((s, lessons::decision(plan, &generation.picks, *label), none));
    }
    let anchor = has_anchor.then(|| case.realised.label.code());
    let written: Vec<Written<'_>> = parts
        .iter()
        .map(|(sample, completion, phrase)| Written {
            sample: *sample,
            completion,
            phrase,
            alternative: anchor.filter(|_| completion.section.is_none()),
        })
        .collect();
    encoder.trace(&plan.day, &plan.user, &written)
}

/// Returns the probabilities of the logits at a temperature.
fn probabilities(logits: [f32; 5], temperature: f64) -> [f64; 5] {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights = logits.map(|logit| (f64::from(logit - largest) / temperature).exp());
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

/// Takes a label with its probability; `unit` is a random number in 0..1.
fn decide(probs: [f64; 5], unit: f64) -> Label {
    let mut left = unit;
    for (label, p) in Label::ALL.into_iter().zip(probs) {
        if left < p {
            return label;
        }
        left -= p;
    }
    Label::SBuy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_drawn_as_often_as_they_are_probable() {
        let logits = [0.0, 1.0, -1.0, 2.0, 0.5];
        let mut counts = [0_u32; 5];
        let n = 20_000;
        for seed in 0..n {
            counts[decide(probabilities(logits, 2.0), unit(seed)).index()] += 1;
        }
        let weights = logits.map(|logit| f64::from(logit / 2.0).exp());
        let total: f64 = weights.iter().sum();
        for (count, weight) in counts.into_iter().zip(weights) {
            // Standard error at most 0.0035.
            let share = f64::from(count) / n as f64;
            assert!((share - weight / total).abs() < 0.015, "{counts:?}");
        }
    }
}
