//! What a thesis is worth in training, once the future is known.
//!
//! ```text
//! R = 0.2 S + 0.3 C + 0.5 D
//! S = 0.5 presence + 0.25 validity + 0.25 budget
//! C = coverage x correctness - 0.5 unsupported
//! D = accuracy x clamp(|z|, 0, 2) / 2 - cost - smoothness
//! ```
//!
//! The composite and its parts are the system's own definition (there is no paper to
//! cite); every number is a field of [`RewardConfig`]. S lies in 0..=1, C in -0.5..=1
//! and D in -3.1..=1 at the defaults. A label's direction is the sign of its class:
//! -1 for `SSell` and `Sell`, 0 for `Hold`, +1 for `Buy` and `SBuy`. So a
//! prediction is right where its direction is that of the realised *label*, whose
//! thresholds an instrument may have of its own, and not that of the sign of z.
//!
//! Where the definition leaves a choice, this is what holds:
//! - A directional label is *wrong* where the realised direction is another one, `Hold`
//!   included; then its cost is subtracted, as it is and not in units of |z|. `Hold` is
//!   neither strong nor weak: it never costs, and earns nothing on a directional day.
//! - `Buy` where `SBuy` was realised is not wrong. How far to go is taught by the
//!   cross-entropy anchor, not by this reward.
//! - Smoothness compares the label with the one predicted for the same ticker at the
//!   adjacent earlier date; the first date of a ticker has none and pays nothing.
//! - A section that abstains is present, and its claim is covered and correct: absence
//!   is evidence.

use domain::{AsOfRead, Label, Section};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    plan::{DraftClaim, Plan},
    verify::{Refutation, verify},
};

#[cfg(test)]
mod tests;

/// The bound on |z|: a price that hardly moved before has a z without limit.
pub const Z_CLIP: f64 = 10.0;

/// All constants of the reward.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardConfig {
    /// Weights of the three parts.
    pub weights: PartWeights,
    /// Constants of the structure part.
    pub structure: StructureConfig,
    /// Constants of the claims part.
    pub claims: ClaimsConfig,
    /// Constants of the decision part.
    pub decision: DecisionConfig,
}

/// Weights of S, C and D in R. An ablation sets one to 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartWeights {
    /// Weight of S.
    pub structure: f64,
    /// Weight of C.
    pub claims: f64,
    /// Weight of D.
    pub decision: f64,
}

/// How S is blended, and the token budget.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StructureConfig {
    /// Share of S for the required sections present.
    pub presence: f64,
    /// Share of S for an answer that is valid against the schema.
    pub validity: f64,
    /// Share of S for sections within their budget.
    pub budget: f64,
    /// Most tokens a section may take before its budget score falls.
    pub section_tokens_max: u32,
}

/// What an unsupported claim costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimsConfig {
    /// Subtracted from C times the share of unsupported claims.
    pub unsupported_penalty: f64,
}

/// What decisions earn and cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionConfig {
    /// Accuracy of a directional label whose direction was realised.
    pub same_sign: f64,
    /// Accuracy of a directional label where the opposite direction was realised.
    pub opposite_sign: f64,
    /// Accuracy of `Hold` where `Hold` was realised.
    pub both_hold: f64,
    /// The |z| from which accuracy counts in full.
    pub z_full: f64,
    /// Cost of a wrong `SSell` or `SBuy`.
    pub wrong_strong_cost: f64,
    /// Cost of a wrong `Sell` or `Buy`.
    pub wrong_weak_cost: f64,
    /// Penalty on a label other than that of the adjacent earlier date.
    pub smoothness: f64,
}

impl Default for PartWeights {
    fn default() -> Self {
        Self { structure: 0.2, claims: 0.3, decision: 0.5 }
    }
}

impl Default for StructureConfig {
    /// Two claims of at most 32 tokens each.
    fn default() -> Self {
        Self { presence: 0.5, validity: 0.25, budget: 0.25, section_tokens_max: 64 }
    }
}

impl Default for ClaimsConfig {
    fn default() -> Self {
        Self { unsupported_penalty: 0.5 }
    }
}

impl Default for DecisionConfig {
    fn default() -> Self {
        Self {
            same_sign: 1.0,
            opposite_sign: -1.5,
            both_hold: 0.5,
            z_full: 2.0,
            wrong_strong_cost: 1.5,
            wrong_weak_cost: 1.0,
            smoothness: 0.1,
        }
    }
}

/// Why a configuration or an outcome has no reward.
#[derive(Debug, PartialEq, Error)]
pub enum RewardError {
    /// A constant is outside its range.
    #[error("rewards.{key} is {found}: expected {expected}")]
    Constant {
        /// Dotted name of the field.
        key: &'static str,
        /// Its value.
        found: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// The z value is not a number.
    #[error("z of a realised label is NaN: leave out rows without a label")]
    NoZ,
}

/// What the answer's form is scored by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Tokens the model spent on each section, in the order of [`Section::ALL`]; none
    /// where a section makes no claim, or only empty or repeated ones.
    pub section_tokens: [Option<u32>; 6],
    /// Whether the answer is valid against the schema.
    pub is_valid: bool,
}

/// What the claims are scored by: how many were asked for, made, cited and upheld.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClaimCounts {
    /// Claims the plan asks for.
    pub planned: u32,
    /// Claims made.
    pub made: u32,
    /// Claims that cite evidence of their section.
    pub cited: u32,
    /// Claims that cite evidence and stand up to it.
    pub upheld: u32,
}

/// What happened after the date of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Realised {
    /// The class.
    pub label: Label,
    /// The scaled return, in -10..=10.
    z: f64,
}

/// A decision and what it is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicted {
    /// The label decided on.
    pub label: Label,
    /// The label decided on for the same ticker at the adjacent earlier date.
    pub before: Option<Label>,
}

/// A reward with everything it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    /// R.
    pub total: f64,
    /// S and its parts.
    pub structure: StructureScore,
    /// C and its parts.
    pub claims: ClaimsScore,
    /// D and its parts; none where the future is not known, and then D adds nothing.
    pub decision: Option<DecisionScore>,
}

/// S and its parts, all in 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StructureScore {
    /// S.
    pub score: f64,
    /// Share of the six sections that make a claim.
    pub presence: f64,
    /// 1 for a valid answer, else 0.
    pub validity: f64,
    /// Mean over sections of 1 within the budget, of budget / tokens beyond it, and of
    /// 0 where the section is missing.
    pub budget: f64,
}

/// C and its parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClaimsScore {
    /// C.
    pub score: f64,
    /// Cited claims as a share of those made or planned, whichever are more: claims
    /// left out are not covered.
    pub coverage: f64,
    /// Share of the cited claims that stand up to their evidence; 0 without any.
    pub correctness: f64,
    /// Share of the claims made that cite nothing or do not stand; 0 without any.
    pub unsupported: f64,
}

/// D and its parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DecisionScore {
    /// D.
    pub score: f64,
    /// +1, -1.5, +0.5 or 0, before it is scaled.
    pub accuracy: f64,
    /// clamp(|z|, 0, 2) / 2, in 0..=1.
    pub magnitude: f64,
    /// What a wrong label costs, not negative.
    pub cost: f64,
    /// What a changed label costs, not negative.
    pub smoothness: f64,
}

impl Realised {
    /// Takes a label and its z, clipped to +-[`Z_CLIP`].
    ///
    /// # Errors
    /// Fails where z is not a number.
    pub fn new(label: Label, z: f64) -> Result<Self, RewardError> {
        if z.is_nan() { Err(RewardError::NoZ) } else { Ok(Self { label, z: clip_z(z) }) }
    }

    /// Returns the clipped z.
    #[must_use]
    pub const fn z(&self) -> f64 {
        self.z
    }
}

/// Clips a z to +-[`Z_CLIP`].
#[must_use]
pub const fn clip_z(z: f64) -> f64 {
    z.clamp(-Z_CLIP, Z_CLIP)
}

impl ClaimCounts {
    /// Counts the claims of one answer by what [`verify`] says about each.
    #[must_use]
    pub fn of(read: &AsOfRead, plan: &Plan, claims: &[DraftClaim]) -> Self {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let planned = plan.sections.iter().map(|section| section.claims.len()).sum();
        let mut counts =
            Self { planned: count(planned), made: count(claims.len()), ..Self::default() };
        for claim in claims {
            let verdict = verify(read, claim);
            counts.cited += u32::from(!matches!(verdict, Err(Refutation::Citation(_))));
            counts.upheld += u32::from(verdict.is_ok());
        }
        counts
    }
}

impl Form {
    /// Scores the sections by their claims: `tokens` holds what the model spent on each
    /// claim, in the order of `claims`. Empty and repeated claims do not count.
    #[must_use]
    pub fn of(claims: &[DraftClaim], tokens: &[u32], is_valid: bool) -> Self {
        let mut section_tokens = [None; 6];
        for (i, (claim, tokens)) in claims.iter().zip(tokens).enumerate() {
            let is_repeated = claims[..i].iter().any(|earlier| earlier.text == claim.text);
            if claim.text.trim().is_empty() || is_repeated {
                continue;
            }
            let place = Section::ALL.iter().position(|section| *section == claim.section);
            if let Some(spent) = place.and_then(|place| section_tokens.get_mut(place)) {
                *spent = Some(spent.unwrap_or(0_u32).saturating_add(*tokens));
            }
        }
        Self { section_tokens, is_valid }
    }
}

impl RewardConfig {
    /// Checks every constant.
    ///
    /// # Errors
    /// Returns the first constant outside its range.
    pub fn check(&self) -> Result<(), RewardError> {
        let Self { weights, structure, claims, decision } = self;
        let refuse = |key, found, expected| Err(RewardError::Constant { key, found, expected });
        let not_negative = [
            ("weights.structure", weights.structure),
            ("weights.claims", weights.claims),
            ("weights.decision", weights.decision),
            ("structure.presence", structure.presence),
            ("structure.validity", structure.validity),
            ("structure.budget", structure.budget),
            ("claims.unsupported_penalty", claims.unsupported_penalty),
            ("decision.same_sign", decision.same_sign),
            ("decision.both_hold", decision.both_hold),
            ("decision.wrong_strong_cost", decision.wrong_strong_cost),
            ("decision.wrong_weak_cost", decision.wrong_weak_cost),
            ("decision.smoothness", decision.smoothness),
        ];
        if let Some((key, found)) = not_negative.into_iter().find(|(_, x)| !is_amount(*x)) {
            return refuse(key, found, "a finite number of at least 0");
        }
        let sum = weights.structure + weights.claims + weights.decision;
        if sum <= 0.0 {
            return refuse("weights", sum, "one of the three weights above 0");
        }
        let blend = structure.presence + structure.validity + structure.budget;
        if (blend - 1.0).abs() > 1e-9 {
            return refuse("structure", blend, "presence, validity and budget that sum to 1");
        }
        if structure.section_tokens_max == 0 {
            return refuse("structure.section_tokens_max", 0.0, "at least 1 token");
        }
        if !(decision.opposite_sign.is_finite() && decision.opposite_sign <= 0.0) {
            let expected = "a finite number of at most 0";
            return refuse("decision.opposite_sign", decision.opposite_sign, expected);
        }
        if !(decision.z_full > 0.0 && decision.z_full <= Z_CLIP) {
            return refuse("decision.z_full", decision.z_full, "a number above 0, at most 10");
        }
        Ok(())
    }

    /// Scores one answer.
    #[must_use]
    pub fn reward(
        &self,
        form: &Form,
        claims: ClaimCounts,
        predicted: Predicted,
        realised: Option<Realised>,
    ) -> Reward {
        let structure = self.structure.score(form);
        let claims = self.claims.score(claims);
        let decision = realised.map(|realised| self.decision.score(predicted, realised));
        let PartWeights { structure: s, claims: c, decision: d } = self.weights;
        let decided = decision.map_or(0.0, |decision| decision.score);
        let total = s * structure.score + c * claims.score + d * decided;
        Reward { total, structure, claims, decision }
    }
}

impl StructureConfig {
    fn score(&self, form: &Form) -> StructureScore {
        let sections = Section::ALL.len() as f64;
        let present = form.section_tokens.iter().flatten().count() as f64;
        let within = |tokens: &u32| {
            let (max, tokens) = (f64::from(self.section_tokens_max), f64::from(*tokens));
            if tokens <= max { 1.0 } else { max / tokens }
        };
        let budget = form.section_tokens.iter().flatten().map(within).sum::<f64>() / sections;
        let (presence, validity) = (present / sections, f64::from(u8::from(form.is_valid)));
        let score = self.presence * presence + self.validity * validity + self.budget * budget;
        StructureScore { score, presence, validity, budget }
    }
}

impl ClaimsConfig {
    fn score(&self, counts: ClaimCounts) -> ClaimsScore {
        let ClaimCounts { planned, made, cited, upheld } = counts;
        let coverage = share(cited, made.max(planned));
        let correctness = share(upheld, cited);
        let unsupported = share(made.saturating_sub(upheld), made);
        let score = coverage * correctness - self.unsupported_penalty * unsupported;
        ClaimsScore { score, coverage, correctness, unsupported }
    }
}

impl DecisionConfig {
    /// Scores one decision.
    #[must_use]
    pub fn score(&self, predicted: Predicted, realised: Realised) -> DecisionScore {
        let (said, was) = (direction(predicted.label), direction(realised.label));
        let accuracy = match (said, was) {
            (0, 0) => self.both_hold,
            (0, _) | (_, 0) => 0.0,
            _ if said == was => self.same_sign,
            _ => self.opposite_sign,
        };
        let cost = match predicted.label {
            _ if said == 0 || said == was => 0.0,
            Label::SSell | Label::SBuy => self.wrong_strong_cost,
            Label::Sell | Label::Hold | Label::Buy => self.wrong_weak_cost,
        };
        let is_changed = predicted.before.is_some_and(|before| before != predicted.label);
        let smoothness = if is_changed { self.smoothness } else { 0.0 };
        let magnitude = realised.z.abs().min(self.z_full) / self.z_full;
        let score = accuracy * magnitude - cost - smoothness;
        DecisionScore { score, accuracy, magnitude, cost, smoothness }
    }
}

/// The direction a label bets on.
const fn direction(label: Label) -> i8 {
    match label {
        Label::SSell | Label::Sell => -1,
        Label::Hold => 0,
        Label::Buy | Label::SBuy => 1,
    }
}

fn is_amount(x: f64) -> bool {
    x.is_finite() && x >= 0.0
}

fn share(part: u32, whole: u32) -> f64 {
    if whole == 0 { 0.0 } else { f64::from(part) / f64::from(whole) }
}
