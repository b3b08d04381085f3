//! Minimises the mean log-loss of a softmax whose logits are linear in the parameters.

use nalgebra::{Cholesky, DMatrix, DVector};

use super::FitError;

/// Steps before the method gives up; some ten do.
const STEPS_MAX: usize = 100;

/// Twice the fall of the loss a step promises, below which the loss in floats no longer
/// tells whether a step is good and the method takes it without looking.
const DECREMENT_BLIND: f64 = 1e-12;

/// Such steps; the error squares with each.
const BLIND_STEPS: usize = 3;

/// A larger last step, relative to the parameters, is no convergence: they are on their
/// way to infinity, a step of the same length after the other.
const LAST_STEP_MAX: f64 = 1e-6;

/// `value` times a parameter is a part of the logit of a class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    pub(super) parameter: usize,
    pub(super) class: usize,
    pub(super) value: f64,
}

/// Rows with their classes, the terms of a row, and the weight of each squared parameter.
pub(super) struct Problem<'a, const K: usize, F> {
    pub(super) z: &'a [[f64; K]],
    pub(super) classes: &'a [usize],
    pub(super) terms: F,
    pub(super) penalty: Vec<f64>,
}

impl<const K: usize, F: Fn(&[f64; K], &mut Vec<Term>)> Problem<'_, K, F> {
    /// Returns the parameters with the least loss, by Newton's method with halved steps
    /// from `start`.
    pub(super) fn minimise(&self, start: Vec<f64>) -> Result<Vec<f64>, FitError> {
        let mut at = DVector::from_vec(start);
        let mut blind = 0;
        for _ in 0..STEPS_MAX {
            let (loss, gradient, hessian) = self.derivatives(&at);
            let step = Cholesky::new(hessian).ok_or(FitError::NoOptimum)?.solve(&gradient);
            let decrement = gradient.dot(&step);
            if !decrement.is_finite() {
                return Err(FitError::NoOptimum);
            }
            if decrement > DECREMENT_BLIND && blind == 0 {
                at -= self.damped(&at, &step, loss, decrement)?;
                continue;
            }
            at -= &step;
            blind += 1;
            if blind == BLIND_STEPS {
                let is_still = step.amax() <= LAST_STEP_MAX * (1.0 + at.amax());
                return is_still.then(|| at.as_slice().to_vec()).ok_or(FitError::NoOptimum);
            }
        }
        Err(FitError::NoOptimum)
    }

    /// Halves a step until the loss falls by a ten-thousandth of what it promises (Armijo).
    fn damped(
        &self,
        at: &DVector<f64>,
        step: &DVector<f64>,
        loss: f64,
        decrement: f64,
    ) -> Result<DVector<f64>, FitError> {
        let scales = (0..50).map(|halvings| 0.5_f64.powi(halvings));
        let falls =
            |scale: &f64| self.loss(&(at - step * *scale)) <= loss - 1e-4 * scale * decrement;
        scales.into_iter().find(falls).map(|scale| step * scale).ok_or(FitError::NoOptimum)
    }

    /// Mean log-loss plus penalty.
    pub(super) fn loss(&self, at: &DVector<f64>) -> f64 {
        let mut terms = Vec::new();
        let rows = self
            .z
            .iter()
            .zip(self.classes)
            .map(|(row, class)| -self.log_probs(row, at, &mut terms)[*class]);
        rows.sum::<f64>() / self.z.len() as f64 + self.penalty_at(at)
    }

    /// Loss, gradient and Hessian: with J the terms of a row as a matrix of classes by
    /// parameters, the means of J'(p - y) and of J'(diag p - p p')J, and the penalty's.
    pub(super) fn derivatives(&self, at: &DVector<f64>) -> (f64, DVector<f64>, DMatrix<f64>) {
        let size = at.len();
        let (mut loss, mut terms) = (0.0, Vec::new());
        let mut gradient = DVector::zeros(size);
        let mut hessian = DMatrix::zeros(size, size);
        for (row, &class) in self.z.iter().zip(self.classes) {
            let log_probs = self.log_probs(row, at, &mut terms);
            let probs = log_probs.map(f64::exp);
            loss -= log_probs[class];
            for one in &terms {
                let error = probs[one.class] - f64::from(u8::from(one.class == class));
                gradient[one.parameter] += one.value * error;
                for two in terms.iter().filter(|two| two.parameter <= one.parameter) {
                    let same = f64::from(u8::from(one.class == two.class));
                    let covariance = probs[one.class] * (same - probs[two.class]);
                    hessian[(one.parameter, two.parameter)] += one.value * two.value * covariance;
                }
            }
        }
        let rows = self.z.len() as f64;
        gradient /= rows;
        hessian /= rows;
        for (m, weight) in self.penalty.iter().enumerate() {
            gradient[m] += 2.0 * weight * at[m];
            hessian[(m, m)] += 2.0 * weight;
        }
        hessian.fill_upper_triangle_with_lower_triangle();
        (loss / rows + self.penalty_at(at), gradient, hessian)
    }

    /// Writes the terms of a row and returns the logarithms of its probabilities.
    fn log_probs(&self, row: &[f64; K], at: &DVector<f64>, terms: &mut Vec<Term>) -> [f64; K] {
        terms.clear();
        (self.terms)(row, terms);
        let mut logits = [0.0; K];
        for term in &*terms {
            logits[term.class] += term.value * at[term.parameter];
        }
        let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = top + logits.map(|u| (u - top).exp()).iter().sum::<f64>().ln();
        logits.map(|u| u - log_sum)
    }

    fn penalty_at(&self, at: &DVector<f64>) -> f64 {
        self.penalty.iter().zip(at).map(|(weight, value)| weight * value * value).sum()
    }
}
