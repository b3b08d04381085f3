//! One step of the optimizer on a round of samples.

use std::collections::BTreeMap;

use anyhow::ensure;
use domain::Label;
use gradients::Outcome;

use super::{
    Run,
    guards::Seen,
    objective::{Choice, Objective, kl_estimate},
    rollout::{Rolled, samples_of},
};
use crate::{
    config::Rl,
    encode::{Asked, ChoiceKind, Traced, Weight},
    score::parts,
};

type Metrics = BTreeMap<String, f64>;

/// Sums and counts by metric.
#[derive(Default)]
struct Means(BTreeMap<String, (f64, f64)>);

impl Means {
    fn add(&mut self, key: impl Into<String>, value: f64) {
        let (sum, n) = self.0.entry(key.into()).or_default();
        *sum += value;
        *n += 1.0;
    }

    fn get(&self, key: &str) -> f64 {
        self.0.get(key).map_or(0.0, |(sum, n)| sum / n)
    }

    fn metrics(&self) -> Metrics {
        self.0.iter().map(|(key, (sum, n))| (key.clone(), sum / n)).collect()
    }
}

impl Run {
    /// Notes what the model training starts from thinks of the samples, where its
    /// divergence counts.
    pub(super) fn know_start(&mut self, rl: &Rl, rolled: &mut [Rolled]) -> anyhow::Result<()> {
        if rl.kl_coef == 0.0 {
            return Ok(());
        }
        let values = self.session.engine().model().adapter().values();
        self.session.engine().model().adapter().set_values(&self.start);
        for rolled in rolled {
            rolled.start = Some(self.log_probs(&rolled.traced)?);
        }
        self.session.engine().model().adapter().set_values(&values);
        Ok(())
    }

    /// Log-probabilities of the policy as it is.
    fn log_probs(&mut self, traced: &Traced) -> anyhow::Result<Vec<f32>> {
        let encoded = traced.batch(|_, _| Weight::default())?;
        Ok(self.session.engine_mut().evaluate(&encoded.batch)?.log_probs)
    }

    /// Takes one step, and returns its metrics, the tokens it read and what guards watch.
    pub(super) fn step(
        &mut self,
        rl: &Rl,
        rolled: &mut [Rolled],
    ) -> anyhow::Result<(Metrics, u64, Seen)> {
        let objective = Objective::new(rl, rolled.len(), samples_of(rl.method));
        let mut means = Means::default();
        let mut labels = [0; 5];
        let mut tokens = 0;
        for rolled in rolled {
            tokens += self.accumulate(&objective, rolled, &mut means)?;
            for sample in &rolled.samples {
                labels[sample.label.index()] += 1;
                means.add("policy.advantage.text", sample.advantage.text.abs());
                means.add("policy.advantage.letter", sample.advantage.letter.abs());
                parts(&sample.reward, |key, value| means.add(key, value));
                for label in Label::ALL {
                    let is_own = f64::from(u8::from(label == sample.label));
                    means.add(format!("decision.share.{label}"), is_own);
                }
            }
        }
        let report = self.session.step();
        ensure!(
            report.gradient_norm.is_finite(),
            "the gradient is not finite; lower rl.learning_rate and begin again under another name"
        );
        let mut metrics = means.metrics();
        metrics.insert("optimizer.gradient_norm".into(), report.gradient_norm);
        metrics.insert("optimizer.learning_rate".into(), f64::from(report.learning_rate));
        let part = |name: &str| means.get(&format!("reward.{name}")) as f32;
        let parts = super::guards::PARTS.map(part);
        let entropy = means.get("decision.entropy") as f32;
        Ok((metrics, tokens, Seen { labels, entropy, parts }))
    }

    /// Adds the gradient of a context's samples, and returns the tokens that took.
    fn accumulate(
        &mut self,
        objective: &Objective,
        rolled: &mut Rolled,
        means: &mut Means,
    ) -> anyhow::Result<u64> {
        let is_compared = rolled.old.is_some() || rolled.start.is_some();
        let own = is_compared.then(|| self.log_probs(&rolled.traced)).transpose()?;
        let known = Known { own, rolled };
        let choices: Vec<usize> =
            (0..rolled.samples.len()).map(|sample| rolled.traced.choices(sample)).collect();
        let choice = |k, asked: Asked| known.choice(k, asked, &choices);
        let encoded = rolled.traced.batch(|k, asked| objective.weight(asked, &choice(k, asked)))?;
        let Outcome { log_probs, entropies } = self.session.accumulate(&encoded.batch)?;
        let found = log_probs.iter().zip(&entropies);
        for (k, (asked, (&log_prob, &entropy))) in encoded.asked.iter().zip(found).enumerate() {
            if asked.is_alternative {
                means.add("policy.anchor_loss", -f64::from(log_prob));
                continue;
            }
            let choice = choice(k, *asked);
            means.add("policy.entropy", f64::from(entropy));
            means.add("policy.clipped", f64::from(u8::from(objective.is_clipped(&choice))));
            if let Some(log) = choice.log_start_ratio {
                means.add("policy.kl", kl_estimate(log));
            }
            if asked.kind == ChoiceKind::Decision {
                means.add("decision.entropy", f64::from(entropy));
            }
        }
        let tokens = encoded.batch.len() as u64;
        rolled.old.get_or_insert(log_probs);
        Ok(tokens)
    }
}

/// What is known of the choices of a context.
struct Known<'a> {
    /// Log-probabilities of the policy as it is; none where nothing is compared.
    own: Option<Vec<f32>>,
    rolled: &'a Rolled,
}

impl Known<'_> {
    fn choice(&self, k: usize, asked: Asked, choices: &[usize]) -> Choice {
        let of = |log_probs: &Option<Vec<f32>>| {
            log_probs.as_ref().and_then(|all| all.get(k)).copied().map(f64::from)
        };
        let (own, old, start) = (of(&self.own), of(&self.rolled.old), of(&self.rolled.start));
        Choice {
            advantage: self.rolled.samples[asked.sample].advantage.at(asked.kind),
            choices: choices[asked.sample],
            log_ratio: own.zip(old).map_or(0.0, |(own, old)| own - old),
            log_start_ratio: own.zip(start).map(|(own, start)| start - own),
        }
    }
}
