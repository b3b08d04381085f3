//! What a decoded thesis is worth.

use contract::{
    Receipt, Schema,
    rewards::{ClaimCounts, Form, Predicted, Reward, RewardConfig},
};
use domain::{Calibration, Digest, Label};
use inference::{Generation, Sampling, model::PreparedModel, serving};

use crate::contexts::Case;

/// Scores theses of one model.
pub(super) struct Scorer {
    rewards: RewardConfig,
    schema: Schema,
    model: String,
    model_digest: Digest,
    contract_digest: Digest,
    sampling: Sampling,
}

impl Scorer {
    /// Prepares the schema.
    ///
    /// # Errors
    /// Fails when it does not compile, which a test rules out.
    pub(super) fn new(
        rewards: RewardConfig,
        model: &PreparedModel,
        sampling: Sampling,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            rewards,
            schema: Schema::compile()?,
            model: model.name().to_owned(),
            model_digest: model.digest(),
            contract_digest: contract::contract_digest(),
            sampling,
        })
    }

    /// Scores a thesis with the label that was decided on.
    ///
    /// # Errors
    /// Fails when what was decoded does not fit the plan: a defect of the decoder.
    pub(super) fn score(
        &self,
        case: &Case,
        generation: &Generation,
        predicted: Predicted,
        seed: u64,
    ) -> anyhow::Result<Reward> {
        let Case { read, plan, realised } = case;
        let claims = plan.claims(&generation.picks)?;
        // The code of a claim, and what was written after it.
        let spent = |tokens: &Vec<u32>| u32::try_from(1 + tokens.len()).unwrap_or(u32::MAX);
        let tokens: Vec<u32> = generation.tokens.iter().flatten().map(spent).collect();
        let form = Form::of(&claims, &tokens, self.is_valid(case, generation, seed));
        let counts = ClaimCounts::of(read, plan, &claims);
        Ok(self.rewards.reward(&form, counts, predicted, Some(*realised)))
    }

    /// Tells whether serving would have let the answer out.
    fn is_valid(&self, case: &Case, generation: &Generation, seed: u64) -> bool {
        // A calibration keeps an answer valid; it is fitted when training has ended.
        let calibration = Calibration::default();
        let receipt = Receipt {
            model: self.model.clone(),
            model_digest: self.model_digest,
            snapshot_id: case.read.snapshot(),
            contract_digest: self.contract_digest,
            seed,
            temperature: f64::from(self.sampling.temperature),
            min_p: f64::from(self.sampling.min_p),
            calibration: calibration.reference(),
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            build: "training".to_owned(),
        };
        let thesis = serving::compose(&case.read, &case.plan, generation, &calibration, receipt);
        let answer = thesis.ok().and_then(|thesis| serde_json::to_value(thesis).ok());
        answer.is_some_and(|answer| self.schema.validate(&answer).is_ok())
    }
}

/// Takes a label with the probabilities of the logits at a temperature; `unit` is a
/// random number in 0..1.
pub(super) fn decide(logits: [f32; 5], temperature: f64, unit: f64) -> Label {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights = logits.map(|logit| (f64::from(logit - largest) / temperature).exp());
    let mut left = unit * weights.iter().sum::<f64>();
    for (label, weight) in Label::ALL.into_iter().zip(weights) {
        if left < weight {
            return label;
        }
        left -= weight;
    }
    Label::SBuy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::unit;

    #[test]
    fn labels_are_drawn_as_often_as_they_are_probable() {
        let logits = [0.0, 1.0, -1.0, 2.0, 0.5];
        let mut counts = [0_u32; 5];
        let n = 20_000;
        for seed in 0..n {
            counts[decide(logits, 2.0, unit(seed)).index()] += 1;
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
