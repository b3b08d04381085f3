//! What a decoded thesis is worth.

use contract::{
    Schema,
    rewards::{ClaimCounts, Form, Predicted, Realised, Reward, RewardConfig},
};
use domain::Label;
use inference::{ContextConfig, Generation, ModelInfo, Sampling, serving};

use crate::contexts::Case;

/// Scores theses.
pub(crate) struct Scorer {
    rewards: RewardConfig,
    schema: Schema,
    edition: serving::Edition,
}

/// How a thesis came about, for its receipt.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) model: &'a ModelInfo,
    pub(crate) seed: u64,
    pub(crate) sampling: Sampling,
}

impl Scorer {
    /// Prepares the schema.
    ///
    /// # Errors
    /// Fails when it does not compile, which a test rules out.
    pub(crate) fn new(rewards: RewardConfig) -> anyhow::Result<Self> {
        let edition = serving::Edition::new(ContextConfig::default().chunk);
        Ok(Self { rewards, schema: Schema::compile()?, edition })
    }

    /// Scores a thesis with the label that was decided on.
    ///
    /// # Errors
    /// Fails when what was decoded does not fit the plan: a defect of the decoder.
    pub(crate) fn score(
        &self,
        case: &Case,
        generation: &Generation,
        predicted: Predicted,
        origin: Origin<'_>,
    ) -> anyhow::Result<Reward> {
        let Case { read, plan, realised } = case;
        let claims = plan.claims(&generation.picks)?;
        // The code of a claim, and what was written after it.
        let spent = |tokens: &Vec<u32>| u32::try_from(1 + tokens.len()).unwrap_or(u32::MAX);
        let tokens: Vec<u32> = generation.tokens.iter().flatten().map(spent).collect();
        let form = Form::of(&claims, &tokens, self.is_valid(case, generation, origin));
        let counts = ClaimCounts::of(read, plan, &claims);
        Ok(self.rewards.reward(&form, counts, predicted, Some(*realised)))
    }

    /// Returns what each label would add to the reward, by [`Label::index`].
    pub(crate) fn decided(&self, realised: Realised, before: Option<Label>) -> [f64; 5] {
        let RewardConfig { weights, decision, .. } = &self.rewards;
        let score = |label| decision.score(Predicted { label, before }, realised).score;
        Label::ALL.map(|label| weights.decision * score(label))
    }

    /// Tells whether serving would have let the answer out.
    fn is_valid(&self, case: &Case, generation: &Generation, origin: Origin<'_>) -> bool {
        let Origin { model, seed, sampling } = origin;
        let receipt = self.edition.receipt(model, case.read.snapshot(), seed, sampling);
        let (read, plan) = (&case.read, &case.plan);
        let thesis = serving::compose(read, plan, generation, &model.calibration, receipt);
        let answer = thesis.ok().and_then(|thesis| serde_json::to_value(thesis).ok());
        answer.is_some_and(|answer| self.schema.validate(&answer).is_ok())
    }
}

/// Calls `each` with the parts of a reward, by their names in metrics.
pub(crate) fn parts(reward: &Reward, mut each: impl FnMut(&'static str, f64)) {
    each("reward.total", reward.total);
    each("reward.structure", reward.structure.score);
    each("reward.claims", reward.claims.score);
    if let Some(decision) = &reward.decision {
        each("reward.decision", decision.score);
        each("reward.accuracy", decision.accuracy * decision.magnitude);
        each("reward.cost", decision.cost);
        each("reward.smoothness", decision.smoothness);
    }
}

/// Calls `each` with what the parts for structure and claims are made of.
pub(crate) fn details(reward: &Reward, mut each: impl FnMut(&'static str, f64)) {
    let (structure, claims) = (&reward.structure, &reward.claims);
    each("reward.presence", structure.presence);
    each("reward.validity", structure.validity);
    each("reward.budget", structure.budget);
    each("reward.coverage", claims.coverage);
    each("reward.correctness", claims.correctness);
    each("reward.unsupported", claims.unsupported);
}
