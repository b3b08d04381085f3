//! The objective: what each choice of a sample weighs.
//!
//! With R the reward of a sample, A its advantage and pi the policy, masked to what the
//! grammar allowed and renormalised, the loss of a context is
//!
//! ```text
//! pairwise    A1 = (R1 - R2) / 2, A2 = -A1;   -(A1 log pi(x1) + A2 log pi(x2))
//! grpo_lite   A = R - mean of the batch;      -A log pi(x)
//! both        - entropy_coef H - ce_anchor_coef log pi(realised label) + kl_coef KL
//! ```
//!
//! where log pi(x) is the sum over the choices of a sample, H the mean entropy of its
//! choices, and the last three terms are means over samples. Steps take the mean over
//! contexts. REINFORCE (Williams 1992) for the first term; samples that are used again
//! have their ratio to the policy that wrote them clipped (PPO, Schulman et al. 2017,
//! arXiv:1707.06347, equation 7). KL is that from the model training starts from, by the
//! estimator r - ln r - 1 with r = pi_start / pi (Schulman 2020, as in GRPO, Shao et
//! al. 2024, arXiv:2402.03300, equation 4), whose slope in log pi is 1 - r.
//!
//! With `rl.credit: parts` R is divided before advantages are made. The letter comes last, so
//! structure and claims owe nothing to it: its R is the part for the decision, D. What is
//! written owes to D only how it moves the letters: its R has the mean of D over letters, each
//! as probable as the policy has it after that text, in the place of the D of the letter that
//! was drawn. Where pi is what was sampled from, the gradient is the same in expectation and
//! varies less (Rao and Blackwell's theorem; for policy gradients Ciosek and Whiteson 2018,
//! arXiv:1801.03326): some fifty choices of a pair are no longer moved by the luck of a letter.

use domain::Label;

use crate::{
    config::{Rl, RlCredit, RlMethod},
    encode::{Asked, ChoiceKind, Weight},
};

/// Largest r of the KL estimator: beyond it a single choice would outweigh a batch.
const RATIO_MAX: f64 = 10.0;

/// A number for what is written of a sample, and one for its letter.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Credit {
    pub(super) text: f64,
    pub(super) letter: f64,
}

impl Credit {
    /// Divides the reward of a sample. `decided` is what each letter would add to it, and
    /// `probs` how probable letters are after its text.
    pub(super) fn of(
        credit: RlCredit,
        total: f64,
        label: Label,
        decided: [f64; 5],
        probs: [f64; 5],
    ) -> Self {
        let own = decided[label.index()];
        let mean: f64 = decided.iter().zip(probs).map(|(added, p)| added * p).sum();
        match credit {
            RlCredit::Whole => Self { text: total, letter: total },
            RlCredit::Parts => Self { text: total - own + mean, letter: own },
        }
    }

    /// Returns the number for a choice.
    pub(super) const fn at(self, kind: ChoiceKind) -> f64 {
        match kind {
            ChoiceKind::Evidence | ChoiceKind::Phrase => self.text,
            ChoiceKind::Decision => self.letter,
        }
    }
}

/// Returns the advantages of samples by context, of what is written and of letters.
pub(super) fn credited(method: RlMethod, rewards: &[Vec<Credit>]) -> Vec<Vec<Credit>> {
    let part = |of: fn(&Credit) -> f64| -> Vec<Vec<f64>> {
        let rewards: Vec<Vec<f64>> =
            rewards.iter().map(|own| own.iter().map(of).collect()).collect();
        advantages(method, &rewards)
    };
    let (texts, letters) = (part(|credit| credit.text), part(|credit| credit.letter));
    let both = |(text, letter): (Vec<f64>, Vec<f64>)| {
        text.into_iter().zip(letter).map(|(text, letter)| Credit { text, letter }).collect()
    };
    texts.into_iter().zip(letters).map(both).collect()
}

/// Returns the advantages of samples by context.
fn advantages(method: RlMethod, rewards: &[Vec<f64>]) -> Vec<Vec<f64>> {
    match method {
        RlMethod::Pairwise => rewards
            .iter()
            .map(|pair| match pair[..] {
                [first, second] => vec![(first - second) / 2.0, (second - first) / 2.0],
                _ => vec![0.0; pair.len()],
            })
            .collect(),
        RlMethod::GrpoLite => {
            let n = rewards.iter().flatten().count().max(1) as f64;
            let mean = rewards.iter().flatten().sum::<f64>() / n;
            rewards.iter().map(|own| own.iter().map(|reward| reward - mean).collect()).collect()
        }
    }
}

/// What is known of one choice before its gradient is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Choice {
    /// Its advantage.
    pub(super) advantage: f64,
    /// Choices of its sample.
    pub(super) choices: usize,
    /// ln of the policy over that which wrote the sample: 0 at first use.
    pub(super) log_ratio: f64,
    /// ln of the start over the policy; none without a KL term.
    pub(super) log_start_ratio: Option<f64>,
}

/// The coefficients, with the sizes that means are taken over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Objective {
    entropy_coef: f64,
    anchor_coef: f64,
    kl_coef: f64,
    clip_range: f64,
    contexts: f64,
    samples: f64,
}

impl Objective {
    /// Takes the coefficients for steps of `contexts` with `samples` each.
    pub(super) fn new(rl: &Rl, contexts: usize, samples: usize) -> Self {
        Self {
            entropy_coef: rl.entropy_coef,
            anchor_coef: rl.ce_anchor_coef,
            kl_coef: rl.kl_coef,
            clip_range: rl.clip_range,
            contexts: contexts as f64,
            samples: samples as f64,
        }
    }

    /// Tells whether the gradient of a choice is cut off: its ratio has gone further in the
    /// direction of its advantage than the clip range.
    pub(super) fn is_clipped(&self, choice: &Choice) -> bool {
        let ratio = choice.log_ratio.exp();
        match choice.advantage {
            advantage if advantage > 0.0 => ratio > 1.0 + self.clip_range,
            advantage if advantage < 0.0 => ratio < 1.0 - self.clip_range,
            _ => false,
        }
    }

    /// Returns what a choice weighs.
    pub(super) fn weight(&self, asked: Asked, choice: &Choice) -> Weight {
        let of_samples = 1.0 / (self.contexts * self.samples);
        if asked.is_alternative {
            let anchor = self.anchor_coef * of_samples;
            return Weight { choice: anchor as f32, entropy: 0.0 };
        }
        let policy = match self.is_clipped(choice) {
            true => 0.0,
            false => choice.advantage * choice.log_ratio.exp() / self.contexts,
        };
        let r = choice.log_start_ratio.map_or(1.0, |log| log.exp().min(RATIO_MAX));
        let kl = self.kl_coef * (1.0 - r) * of_samples;
        let entropy = self.entropy_coef * of_samples / choice.choices.max(1) as f64;
        Weight { choice: (policy - kl) as f32, entropy: entropy as f32 }
    }
}

/// Returns r - ln r - 1, the estimate of the KL divergence from the start.
pub(super) fn kl_estimate(log_start_ratio: f64) -> f64 {
    log_start_ratio.exp() - log_start_ratio - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::ChoiceKind;

    const CHOICE: Asked = Asked { sample: 0, kind: ChoiceKind::Phrase, is_alternative: false };
    const ANCHOR: Asked = Asked { sample: 0, kind: ChoiceKind::Decision, is_alternative: true };

    fn objective(change: impl FnOnce(&mut Rl)) -> Objective {
        let mut rl = Rl { entropy_coef: 0.0, ce_anchor_coef: 0.0, ..Rl::default() };
        change(&mut rl);
        Objective::new(&rl, 4, 2)
    }

    fn choice(advantage: f64, ratio: f64) -> Choice {
        Choice { advantage, choices: 5, log_ratio: ratio.ln(), log_start_ratio: None }
    }

    #[test]
    fn pairs_are_against_each_other_and_batches_against_their_mean() {
        let pairs = [vec![1.0, 0.5], vec![-2.0, 2.0], vec![0.3, 0.3]];
        assert_eq!(
            advantages(RlMethod::Pairwise, &pairs),
            [[0.25, -0.25], [-2.0, 2.0], [0.0, 0.0]]
        );
        let batch = [vec![1.0], vec![-2.0], vec![4.0]];
        assert_eq!(advantages(RlMethod::GrpoLite, &batch), [[0.0], [-3.0], [3.0]]);
    }

    /// By hand: letters add -1, 0, 0, 1 and 2 at .5, 0, 0, .25 and .25: .25 in the mean.
    #[test]
    fn the_luck_of_a_letter_is_credited_to_the_letter_alone() {
        let (decided, probs) = ([-1.0, 0.0, 0.0, 1.0, 2.0], [0.5, 0.0, 0.0, 0.25, 0.25]);
        let of = |credit, label: Label| {
            Credit::of(credit, 0.5 + decided[label.index()], label, decided, probs)
        };
        let found = of(RlCredit::Parts, Label::SBuy);
        assert_eq!(found, Credit { text: 0.75, letter: 2.0 });
        assert_eq!(
            [ChoiceKind::Evidence, ChoiceKind::Phrase, ChoiceKind::Decision].map(|h| found.at(h)),
            [0.75, 0.75, 2.0]
        );
        assert_eq!(of(RlCredit::Whole, Label::SBuy), Credit { text: 2.5, letter: 2.5 });
        let pair = vec![of(RlCredit::Parts, Label::SBuy), of(RlCredit::Parts, Label::SSell)];
        // The same text twice: only letters are told apart.
        assert_eq!(
            credited(RlMethod::Pairwise, &[pair]),
            [[Credit { text: 0.0, letter: 1.5 }, Credit { text: 0.0, letter: -1.5 },]]
        );
    }

    #[test]
    fn a_choice_weighs_its_advantage_in_the_mean_of_contexts() {
        let weight = objective(|_| ()).weight(CHOICE, &choice(0.8, 1.0));
        assert_eq!(weight, Weight { choice: 0.2, entropy: 0.0 });
        // Reused: the ratio times the advantage, nothing beyond the clip range, but what
        // leads back into it.
        for (advantage, ratio, expected) in [
            (0.8, 1.1, 0.22),
            (0.8, 1.3, 0.0),
            (0.8, 0.5, 0.1),
            (-0.8, 0.9, -0.18),
            (-0.8, 0.7, 0.0),
            (-0.8, 1.5, -0.3),
        ] {
            let weight = objective(|_| ()).weight(CHOICE, &choice(advantage, ratio));
            assert!((weight.choice - expected).abs() < 1e-6, "{advantage} {ratio} {weight:?}");
        }
    }

    /// By hand: 4 contexts of 2 samples, 5 choices.
    #[test]
    fn bonus_anchor_and_divergence_are_means_over_samples() {
        let bonus = objective(|rl| rl.entropy_coef = 0.4).weight(CHOICE, &choice(0.0, 1.0));
        assert_eq!(bonus, Weight { choice: 0.0, entropy: 0.01 });
        let objective = objective(|rl| {
            rl.ce_anchor_coef = 0.4;
            rl.kl_coef = 0.8;
        });
        assert_eq!(
            objective.weight(ANCHOR, &choice(0.7, 1.0)),
            Weight { choice: 0.05, entropy: 0.0 }
        );
        // Half as probable as at the start: r = 2, and the choice is pulled up.
        let moved = Choice { log_start_ratio: Some(2.0_f64.ln()), ..choice(0.0, 1.0) };
        let weight = objective.weight(CHOICE, &moved);
        assert!((weight.choice - 0.1).abs() < 1e-6, "{weight:?}");
        assert!((kl_estimate(2.0_f64.ln()) - (2.0 - 2.0_f64.ln() - 1.0)).abs() < 1e-15);
        assert_eq!(kl_estimate(0.0), 0.0);
    }
}
