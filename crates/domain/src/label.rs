//! The five classes of a recommendation and their probabilities.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A recommendation, from strong sell to strong buy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Label {
    /// Strong sell.
    SSell,
    /// Sell.
    Sell,
    /// Hold.
    Hold,
    /// Buy.
    Buy,
    /// Strong buy.
    SBuy,
}

impl Label {
    /// All labels, from most bearish to most bullish: the order of `probs`.
    pub const ALL: [Self; 5] = [Self::SSell, Self::Sell, Self::Hold, Self::Buy, Self::SBuy];

    /// Returns the single letter the model writes for the label. `SSell`,
    /// `Sell` and `SBuy` are two tokens in common vocabularies, `A` to `E` one.
    #[must_use]
    pub const fn code(self) -> char {
        match self {
            Self::SSell => 'A',
            Self::Sell => 'B',
            Self::Hold => 'C',
            Self::Buy => 'D',
            Self::SBuy => 'E',
        }
    }

    /// Returns the position in [`Label::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SSell => "SSell",
            Self::Sell => "Sell",
            Self::Hold => "Hold",
            Self::Buy => "Buy",
            Self::SBuy => "SBuy",
        })
    }
}

/// Probabilities of the five labels in the order of [`Label::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f64; 5]", into = "[f64; 5]")]
pub struct LabelProbs([f64; 5]);

/// The numbers are not a probability distribution.
#[derive(Debug, Error, PartialEq)]
pub enum LabelProbsError {
    /// A value is NaN, infinite or outside 0..=1.
    #[error("probability {0} is not a number in 0..=1")]
    OutOfRange(f64),
    /// The sum is not 1.
    #[error("probabilities sum to {0}, not 1")]
    Sum(f64),
}

impl LabelProbs {
    /// Bound on the distance of the sum from 1.
    pub const SUM_TOLERANCE: f64 = 1e-6;

    /// Checks and wraps probabilities.
    ///
    /// # Errors
    /// Fails on a value outside 0..=1 or a sum other than 1.
    pub fn new(probs: [f64; 5]) -> Result<Self, LabelProbsError> {
        if let Some(&bad) = probs.iter().find(|p| !(0.0..=1.0).contains(*p)) {
            return Err(LabelProbsError::OutOfRange(bad));
        }
        let sum: f64 = probs.iter().sum();
        if (sum - 1.0).abs() > Self::SUM_TOLERANCE {
            return Err(LabelProbsError::Sum(sum));
        }
        Ok(Self(probs))
    }

    /// Takes the softmax of logits, rounded to six decimals so that the text
    /// form is exact; the most probable label absorbs the rounding residue.
    ///
    /// # Errors
    /// Fails when a logit is NaN or infinite.
    pub fn softmax(logits: [f32; 5]) -> Result<Self, LabelProbsError> {
        if let Some(&bad) = logits.iter().find(|l| !l.is_finite()) {
            return Err(LabelProbsError::OutOfRange(f64::from(bad)));
        }
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        Self::rounded(logits.map(|l| f64::from(l - max).exp()))
    }

    /// [`LabelProbs::softmax`] of logits that were computed in double precision.
    pub(crate) fn softmax_of(logits: [f64; 5]) -> Result<Self, LabelProbsError> {
        if let Some(&bad) = logits.iter().find(|l| !l.is_finite()) {
            return Err(LabelProbsError::OutOfRange(bad));
        }
        let max = logits.iter().copied().fold(f64::MIN, f64::max);
        Self::rounded(logits.map(|l| (l - max).exp()))
    }

    /// Normalises weights, one of which is 1, to whole millionths.
    fn rounded(exp: [f64; 5]) -> Result<Self, LabelProbsError> {
        let sum: f64 = exp.iter().sum();
        // Whole millionths add up exactly; floats would not.
        let mut millionths = exp.map(|e| (e / sum * 1e6).round() as i64);
        let top = argmax(&exp);
        millionths[top] += 1_000_000 - millionths.iter().sum::<i64>();
        Self::new(millionths.map(|m| m as f64 / 1e6))
    }

    /// Returns the probabilities in the order of [`Label::ALL`].
    #[must_use]
    pub const fn values(&self) -> [f64; 5] {
        self.0
    }

    /// Returns the most probable label, the more bearish one on a tie.
    #[must_use]
    pub fn argmax(&self) -> Label {
        Label::ALL[argmax(&self.0)]
    }

    /// Returns how far the top probability stands above the uniform one:
    /// `(p_max - 1/5) / (4/5)`, 0 for no opinion and 1 for certainty.
    #[must_use]
    pub fn conviction(&self) -> f64 {
        let top = self.0[self.argmax().index()];
        (((top - 0.2) / 0.8).clamp(0.0, 1.0) * 1e6).round() / 1e6
    }
}

fn argmax(values: &[f64; 5]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}

impl TryFrom<[f64; 5]> for LabelProbs {
    type Error = LabelProbsError;

    fn try_from(probs: [f64; 5]) -> Result<Self, Self::Error> {
        Self::new(probs)
    }
}

impl From<LabelProbs> for [f64; 5] {
    fn from(probs: LabelProbs) -> Self {
        probs.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn softmax_is_a_distribution_with_the_logits_argmax(logits in prop::array::uniform5(-60.0f32..60.0)) {
            let probs = LabelProbs::softmax(logits).unwrap();
            let sum: f64 = probs.values().iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-9);
            let top = logits.iter().copied().fold(f32::MIN, f32::max);
            prop_assert!(logits[probs.argmax().index()] > top - 1e-4);
            prop_assert!((0.0..=1.0).contains(&probs.conviction()));
        }
    }

    #[test]
    fn refuses_what_is_not_a_distribution() {
        assert!(matches!(LabelProbs::new([0.5, 0.6, 0.0, 0.0, 0.0]), Err(LabelProbsError::Sum(_))));
        assert!(matches!(
            LabelProbs::softmax([f32::NAN, 0.0, 0.0, 0.0, 0.0]),
            Err(LabelProbsError::OutOfRange(_))
        ));
    }
}
