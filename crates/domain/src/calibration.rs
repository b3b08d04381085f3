//! What turns a model's probabilities into ones that come true as often as they say.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    digest::Digest,
    label::{LabelProbs, LabelProbsError},
};

/// A calibration, stored with the model it was fitted for.
///
/// With z the logarithms of the model's probabilities, the calibrated ones are the softmax
/// of z / T (temperature), w z + b by class (vector) or W z + b (Dirichlet; Kull et al.
/// 2019). Logarithms are bounded below by that of half a millionth, the resolution of
/// [`LabelProbs`], when a calibration is fitted as well as when it is applied. Parameters
/// are rounded to nine decimals, so that the text form is exact.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct Calibration(Unchecked);

/// The numbers are no calibration.
#[derive(Debug, Error, PartialEq)]
pub enum CalibrationError {
    /// The temperature is not positive.
    #[error("temperature {0} is not a positive number: fit the calibration again")]
    Temperature(f64),
    /// A parameter is NaN or infinite.
    #[error("{method} calibration: a parameter is {value}, not a number: fit it again")]
    Parameter {
        /// Method.
        method: &'static str,
        /// The parameter.
        value: f64,
    },
}

/// The form in files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
enum Unchecked {
    #[default]
    Identity,
    Temperature {
        temperature: f64,
    },
    Vector {
        weights: [f64; 5],
        intercepts: [f64; 5],
    },
    Dirichlet {
        weights: [[f64; 5]; 5],
        intercepts: [f64; 5],
    },
}

impl Calibration {
    /// Half of the resolution of [`LabelProbs`]: the least probability that is told from 0.
    pub const FLOOR: f64 = 0.5e-6;

    /// Divides logarithms by a temperature.
    ///
    /// # Errors
    /// Fails if it is not a positive number.
    pub fn temperature(temperature: f64) -> Result<Self, CalibrationError> {
        Unchecked::Temperature { temperature }.try_into()
    }

    /// Scales and shifts the logarithm of each class.
    ///
    /// # Errors
    /// Fails on a parameter that is not finite.
    pub fn vector(weights: [f64; 5], intercepts: [f64; 5]) -> Result<Self, CalibrationError> {
        Unchecked::Vector { weights, intercepts }.try_into()
    }

    /// Mixes the logarithms of all classes; a row of weights makes a class.
    ///
    /// # Errors
    /// Fails on a parameter that is not finite.
    pub fn dirichlet(
        weights: [[f64; 5]; 5],
        intercepts: [f64; 5],
    ) -> Result<Self, CalibrationError> {
        Unchecked::Dirichlet { weights, intercepts }.try_into()
    }

    /// Returns the name of the method, as answers and model manifests have it.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self.0 {
            Unchecked::Identity => "identity",
            Unchecked::Temperature { .. } => "temperature",
            Unchecked::Vector { .. } => "vector",
            Unchecked::Dirichlet { .. } => "dirichlet",
        }
    }

    /// Returns the name by which answers tell calibrations apart: the method, and the start
    /// of a digest of its parameters where there are some.
    #[must_use]
    pub fn reference(&self) -> String {
        let method = self.method();
        let parameters: Vec<f64> = match &self.0 {
            Unchecked::Identity => return method.to_owned(),
            Unchecked::Temperature { temperature } => vec![*temperature],
            Unchecked::Vector { weights, intercepts } => [*weights, *intercepts].concat(),
            Unchecked::Dirichlet { weights, intercepts } => {
                [weights.as_flattened(), intercepts].concat()
            }
        };
        let bytes: Vec<u8> = parameters.into_iter().flat_map(f64::to_le_bytes).collect();
        format!("{method}+{}", Digest::of(bytes).short())
    }

    /// Returns the bounded logarithms of probabilities, which calibrations are fitted on.
    #[must_use]
    pub fn logarithms(probs: &LabelProbs) -> [f64; 5] {
        probs.values().map(|p| p.max(Self::FLOOR).ln())
    }

    /// Calibrates probabilities; the identity returns them as they are.
    ///
    /// # Errors
    /// Fails if parameters are so large that the result is not finite.
    pub fn apply(&self, probs: &LabelProbs) -> Result<LabelProbs, LabelProbsError> {
        let z = Self::logarithms(probs);
        let scaled = match &self.0 {
            Unchecked::Identity => return Ok(*probs),
            Unchecked::Temperature { temperature } => z.map(|z| z / temperature),
            Unchecked::Vector { weights, intercepts } => {
                std::array::from_fn(|k| weights[k] * z[k] + intercepts[k])
            }
            Unchecked::Dirichlet { weights, intercepts } => std::array::from_fn(|k| {
                weights[k].iter().zip(&z).map(|(w, z)| w * z).sum::<f64>() + intercepts[k]
            }),
        };
        LabelProbs::softmax_of(scaled)
    }
}

impl TryFrom<Unchecked> for Calibration {
    type Error = CalibrationError;

    fn try_from(form: Unchecked) -> Result<Self, CalibrationError> {
        let method = Self(form.clone()).method();
        let one = |value: f64| {
            // So few digits that any reader of the text form gets the same number.
            let rounded = (value * 1e9).round() / 1e9;
            if rounded.is_finite() {
                Ok(rounded)
            } else {
                Err(CalibrationError::Parameter { method, value })
            }
        };
        let five = |values: [f64; 5]| -> Result<[f64; 5], CalibrationError> {
            let [a, b, c, d, e] = values;
            Ok([one(a)?, one(b)?, one(c)?, one(d)?, one(e)?])
        };
        Ok(Self(match form {
            Unchecked::Identity => Unchecked::Identity,
            Unchecked::Temperature { temperature } => match one(temperature)? {
                rounded if rounded > 0.0 => Unchecked::Temperature { temperature: rounded },
                _ => return Err(CalibrationError::Temperature(temperature)),
            },
            Unchecked::Vector { weights, intercepts } => {
                Unchecked::Vector { weights: five(weights)?, intercepts: five(intercepts)? }
            }
            Unchecked::Dirichlet { weights: [a, b, c, d, e], intercepts } => {
                let weights = [five(a)?, five(b)?, five(c)?, five(d)?, five(e)?];
                Unchecked::Dirichlet { weights, intercepts: five(intercepts)? }
            }
        }))
    }
}

impl From<Calibration> for Unchecked {
    fn from(calibration: Calibration) -> Self {
        calibration.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn probs() -> LabelProbs {
        LabelProbs::new([0.05, 0.1, 0.2, 0.6, 0.05]).unwrap()
    }

    /// All three methods can say "as it is".
    #[test]
    fn neutral_parameters_change_nothing() {
        let unit = std::array::from_fn(|row| std::array::from_fn(|k| f64::from(row == k)));
        for calibration in [
            Calibration::default(),
            Calibration::temperature(1.0).unwrap(),
            Calibration::vector([1.0; 5], [0.0; 5]).unwrap(),
            Calibration::dirichlet(unit, [0.0; 5]).unwrap(),
        ] {
            assert_eq!(calibration.apply(&probs()), Ok(probs()), "{}", calibration.method());
        }
    }

    #[test]
    fn is_named_by_method_and_parameters() {
        assert_eq!(Calibration::default().reference(), "identity");
        let references = [
            Calibration::temperature(2.0).unwrap(),
            Calibration::temperature(2.5).unwrap(),
            Calibration::vector([2.0; 5], [0.0; 5]).unwrap(),
            Calibration::vector([2.0; 5], [0.0, 0.0, 0.0, 0.0, 0.1]).unwrap(),
        ]
        .map(|calibration| calibration.reference());
        assert!(references[0].starts_with("temperature+"), "{references:?}");
        let distinct: BTreeSet<&String> = references.iter().collect();
        assert_eq!(distinct.len(), 4, "{references:?}");
        assert_eq!(Calibration::temperature(2.0).unwrap().reference(), references[0]);
    }

    #[test]
    fn is_stored_by_method_and_parameters() {
        let warm = Calibration::temperature(2.0).unwrap();
        let text = serde_json::to_string(&warm).unwrap();
        assert_eq!(text, r#"{"method":"temperature","temperature":2.0}"#);
        assert_eq!(serde_json::from_str::<Calibration>(&text).unwrap(), warm);
        let error =
            serde_json::from_str::<Calibration>(r#"{"method":"temperature","temperature":-1.0}"#);
        let message = "temperature -1 is not a positive number: fit the calibration again";
        assert_eq!(error.unwrap_err().to_string(), message);
        assert!(Calibration::vector([1.0; 5], [f64::NAN; 5]).is_err());
    }

    proptest! {
        #[test]
        fn a_temperature_keeps_the_order_and_heat_evens_out(
            logits in prop::array::uniform5(-8.0_f32..8.0),
            temperature in 1.0_f64..20.0,
        ) {
            let before = LabelProbs::softmax(logits).unwrap();
            let after = Calibration::temperature(temperature).unwrap().apply(&before).unwrap();
            let (p, q) = (before.values(), after.values());
            for (i, j) in (0..5).flat_map(|i| (0..5).map(move |j| (i, j))) {
                // A millionth is rounding, four that of the top label.
                prop_assert!(p[i] < p[j] || q[i] >= q[j] - 5e-6, "{p:?} {q:?}");
            }
            prop_assert!(after.conviction() <= before.conviction() + 5e-6);
        }
    }
}
