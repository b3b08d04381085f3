//! Fits of calibrations on held-out decisions: temperature, vector and Dirichlet scaling.
//!
//! All three are softmax functions of logits that are linear in their parameters, so the
//! log-loss is convex in them and one Newton method with exact derivatives fits all: some
//! ten steps for at most K^2 + K parameters (30 for the labels), to the last digits,
//! where a quasi-Newton method stops at about six. Rows are K numbers each, the class of a
//! row is its position, as `Label::index` gives it.

mod newton;

use domain::{Calibration, CalibrationError, Label, LabelProbs};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use newton::{Problem, Term};

/// Off-diagonal and intercept regularisation (ODIR; Kull et al. 2019), in nats: adds
/// lambda / (K (K - 1)) times the sum of squares of the weights off the diagonal and
/// mu / K times that of the intercepts to the mean log-loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Odir {
    /// Lambda, positive.
    pub lambda: f64,
    /// Mu, positive.
    pub mu: f64,
}

/// A method with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Method {
    /// One parameter: keeps the order of the classes.
    Temperature,
    /// A scale and a shift by class.
    Vector,
    /// All classes mixed, regularised.
    Dirichlet(Odir),
}

/// softmax(weights x z + intercepts) by class; the last intercept is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VectorScaling<const K: usize> {
    /// Scales.
    pub weights: [f64; K],
    /// Shifts.
    pub intercepts: [f64; K],
}

/// softmax(weights ln p + intercepts); a row of weights makes a class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DirichletScaling<const K: usize> {
    /// Matrix.
    pub weights: [[f64; K]; K],
    /// Shifts.
    pub intercepts: [f64; K],
}

/// Why nothing can be fitted.
#[derive(Debug, Error, PartialEq)]
pub enum FitError {
    /// There is nothing to fit on.
    #[error("no decisions to fit a calibration on: give held-out decisions with labels")]
    Empty,
    /// Rows and classes do not pair.
    #[error("{rows} rows of probabilities, {classes} classes: give one class a row")]
    Lengths {
        /// Rows.
        rows: usize,
        /// Classes.
        classes: usize,
    },
    /// A number is NaN or infinite.
    #[error("row {row}, class {class}: {value} is not a finite number")]
    Value {
        /// Row, from 0.
        row: usize,
        /// Position in it.
        class: usize,
        /// The number.
        value: f64,
    },
    /// There is no such class.
    #[error("row {row}: class {class} is not below {classes}")]
    Class {
        /// Row, from 0.
        row: usize,
        /// Its class.
        class: usize,
        /// Number of classes.
        classes: usize,
    },
    /// Nothing says how often a class occurs: its probability would go to 0.
    #[error("class {0} never came true: give more decisions, or fit a temperature")]
    MissingClass(usize),
    /// Without regularisation the parameters are not determined.
    #[error("lambda {lambda} and mu {mu}: give two positive numbers, such as 0.01")]
    Regularisation {
        /// Lambda.
        lambda: f64,
        /// Mu.
        mu: f64,
    },
    /// The log-loss falls for ever as the parameters grow.
    #[error(
        "no finite parameters are best: the forecasts tell classes apart without error, or do \
         not differ; give more decisions"
    )]
    NoOptimum,
    /// No temperature is best.
    #[error("the more even the probabilities the better they are: the forecasts have no skill")]
    NoSkill,
    /// The parameters are no calibration.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
}

/// Fits a calibration of labels on decisions of a span the model was not trained on.
///
/// # Errors
/// Fails if there is nothing to fit on or nothing is best; see [`FitError`].
pub fn fit(
    method: Method,
    probs: &[LabelProbs],
    labels: &[Label],
) -> Result<Calibration, FitError> {
    let z: Vec<[f64; 5]> = probs.iter().map(Calibration::logarithms).collect();
    let classes: Vec<usize> = labels.iter().map(|label| label.index()).collect();
    Ok(match method {
        Method::Temperature => Calibration::temperature(fit_temperature(&z, &classes)?)?,
        Method::Vector => {
            let VectorScaling { weights, intercepts } = fit_vector(&z, &classes)?;
            Calibration::vector(weights, intercepts)?
        }
        Method::Dirichlet(odir) => {
            let DirichletScaling { weights, intercepts } = fit_dirichlet(&z, &classes, odir)?;
            Calibration::dirichlet(weights, intercepts)?
        }
    })
}

/// Returns the temperature T that minimises the mean log-loss of softmax(z / T) (Guo et
/// al. 2017). The loss is convex in 1 / T.
///
/// # Errors
/// Fails on rows that do not fit, on forecasts without skill, whose best 1 / T is not
/// positive, and on perfect ones.
pub fn fit_temperature<const K: usize>(z: &[[f64; K]], classes: &[usize]) -> Result<f64, FitError> {
    check(z, classes)?;
    let inverse = temperature_problem(z, classes).minimise(vec![1.0])?[0];
    if inverse <= 0.0 {
        return Err(FitError::NoSkill);
    }
    Ok(1.0 / inverse)
}

/// Returns the scales and shifts that minimise the mean log-loss of softmax(w z + b) by
/// class, the last shift being 0 (Guo et al. 2017).
///
/// # Errors
/// Fails on rows that do not fit, on a class that never came true, and where no finite
/// parameters are best.
pub fn fit_vector<const K: usize>(
    z: &[[f64; K]],
    classes: &[usize],
) -> Result<VectorScaling<K>, FitError> {
    check(z, classes)?;
    check_classes::<K>(classes)?;
    let mut start = vec![0.0; (2 * K).saturating_sub(1)];
    start[..K].fill(1.0);
    let found = vector_problem(z, classes).minimise(start)?;
    Ok(VectorScaling {
        weights: std::array::from_fn(|k| found[k]),
        intercepts: std::array::from_fn(|k| found.get(K + k).copied().unwrap_or(0.0)),
    })
}

/// Returns the matrix and shifts that minimise the mean log-loss of softmax(W z + b) with
/// z = ln p plus the regularisation (Kull et al. 2019).
///
/// # Errors
/// Fails on rows that do not fit, on a class that never came true, on a regularisation
/// that is not positive, and where no finite parameters are best.
pub fn fit_dirichlet<const K: usize>(
    z: &[[f64; K]],
    classes: &[usize],
    odir: Odir,
) -> Result<DirichletScaling<K>, FitError> {
    let Odir { lambda, mu } = odir;
    check(z, classes)?;
    check_classes::<K>(classes)?;
    if ![lambda, mu].iter().all(|weight| weight.is_finite() && *weight > 0.0) {
        return Err(FitError::Regularisation { lambda, mu });
    }
    let start = (0..K * K + K).map(|m| f64::from(m < K * K && m / K == m % K)).collect();
    let found = dirichlet_problem(z, classes, odir).minimise(start)?;
    Ok(DirichletScaling {
        weights: std::array::from_fn(|k| std::array::from_fn(|j| found[k * K + j])),
        intercepts: std::array::from_fn(|k| found[K * K + k]),
    })
}

type Terms<const K: usize> = fn(&[f64; K], &mut Vec<Term>);

/// The parameter is 1 / T.
fn temperature_problem<'a, const K: usize>(
    z: &'a [[f64; K]],
    classes: &'a [usize],
) -> Problem<'a, K, Terms<K>> {
    let terms: Terms<K> = |row, terms| {
        terms.extend((0..K).map(|class| Term { parameter: 0, class, value: row[class] }));
    };
    Problem { z, classes, terms, penalty: vec![0.0] }
}

/// The parameters are K scales, then K - 1 shifts.
fn vector_problem<'a, const K: usize>(
    z: &'a [[f64; K]],
    classes: &'a [usize],
) -> Problem<'a, K, Terms<K>> {
    let terms: Terms<K> = |row, terms| {
        terms.extend((0..K).map(|class| Term { parameter: class, class, value: row[class] }));
        terms.extend((0..K - 1).map(|class| Term { parameter: K + class, class, value: 1.0 }));
    };
    Problem { z, classes, terms, penalty: vec![0.0; 2 * K - 1] }
}

/// The parameters are the matrix, row after row, then K shifts.
fn dirichlet_problem<'a, const K: usize>(
    z: &'a [[f64; K]],
    classes: &'a [usize],
    odir: Odir,
) -> Problem<'a, K, Terms<K>> {
    let terms: Terms<K> = |row, terms| {
        for class in 0..K {
            terms.extend((0..K).map(|j| Term { parameter: class * K + j, class, value: row[j] }));
            terms.push(Term { parameter: K * K + class, class, value: 1.0 });
        }
    };
    let weight = |m: usize| match m {
        m if m >= K * K => odir.mu / K as f64,
        m if m / K == m % K => 0.0,
        _ => odir.lambda / (K * (K - 1)) as f64,
    };
    Problem { z, classes, terms, penalty: (0..K * K + K).map(weight).collect() }
}

fn check<const K: usize>(z: &[[f64; K]], classes: &[usize]) -> Result<(), FitError> {
    if z.is_empty() || K == 0 {
        return Err(FitError::Empty);
    }
    if z.len() != classes.len() {
        return Err(FitError::Lengths { rows: z.len(), classes: classes.len() });
    }
    for (row, (values, &class)) in z.iter().zip(classes).enumerate() {
        if class >= K {
            return Err(FitError::Class { row, class, classes: K });
        }
        if let Some(class) = values.iter().position(|value| !value.is_finite()) {
            return Err(FitError::Value { row, class, value: values[class] });
        }
    }
    Ok(())
}

fn check_classes<const K: usize>(classes: &[usize]) -> Result<(), FitError> {
    let missing = (0..K).find(|class| !classes.contains(class));
    missing.map_or(Ok(()), |class| Err(FitError::MissingClass(class)))
}

#[cfg(test)]
mod tests;
