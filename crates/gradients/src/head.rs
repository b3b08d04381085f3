//! The output matrix and the loss, over chunks of the tokens that have a target.
//!
//! With logits z, p = softmax(z) over the allowed tokens y, weight w and entropy
//! weight e, loss = -w log p(y) - e H(p), so
//! dloss/dz = w (p - onehot(y)) + e p (z - sum p z). The two terms go through the
//! output matrix apart and are weighted after it, where a row is as wide as the
//! model and not as the vocabulary. Logits never leave the device.

use std::rc::Rc;

use super::{
    EngineError,
    batch::{Batch, Target},
    ggml::{Graph, Kind, Memory, Scratch, Tensor},
    model::Model,
};

/// The least log-probability reported: that of the smallest normal number, below
/// which a softmax in 32 bits rounds to zero.
const LOG_PROB_MIN: f32 = -87.336_54;

/// What a pass found at the targets, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Log-probabilities of the targets among the allowed tokens, in nats.
    pub log_probs: Vec<f32>,
    /// Entropies over the allowed tokens, in nats.
    pub entropies: Vec<f32>,
}

impl Outcome {
    /// Returns the loss of the batch this is the outcome of.
    pub fn loss(&self, batch: &Batch) -> f64 {
        let found = self.log_probs.iter().zip(&self.entropies);
        batch
            .targets
            .iter()
            .zip(found)
            .map(|((_, target), (&log_prob, &entropy))| {
                -f64::from(target.weight) * f64::from(log_prob)
                    - f64::from(target.entropy) * f64::from(entropy)
            })
            .sum()
    }
}

/// What is written for a chunk of targets before it is computed.
pub(super) struct Head {
    rows: usize,
    /// `[rows]`: the tokens the targets stand at.
    at: Tensor,
    /// `[rows]`: where the logits of the targets lie in the chunk.
    chosen: Tensor,
    /// `[1, rows]`.
    weights: Tensor,
    entropies: Tensor,
    /// `[vocabulary, rows]`: 0 where a token is allowed, else minus infinity. Made
    /// when a chunk first restricts tokens.
    allowed: Option<Tensor>,
}

impl Head {
    /// Makes room for chunks of `rows` targets.
    pub(super) fn new(model: &Model, rows: usize) -> Result<Self, EngineError> {
        let memory = Memory::new(&model.backend, 4);
        let head = Self {
            rows,
            at: memory.tensor(Kind::I32, &[rows]),
            chosen: memory.tensor(Kind::I32, &[rows]),
            weights: memory.tensor(Kind::F32, &[1, rows]),
            entropies: memory.tensor(Kind::F32, &[1, rows]),
            allowed: None,
        };
        memory.allocate()?;
        Ok(head)
    }

    /// Computes all targets of a batch over the last layer's output `x [width, n]`.
    /// With `dx [width, n]`, zeros, writes the gradient of `x` there.
    pub(super) fn run(
        &mut self,
        model: &Model,
        scratch: &Rc<Scratch>,
        batch: &Batch,
        x: &Tensor,
        dx: Option<&Tensor>,
    ) -> Result<Outcome, EngineError> {
        let mut outcome = Outcome::default();
        let mut first = 0;
        while first < batch.targets.len() {
            let range = first..batch.targets.len().min(first + self.rows);
            first = range.end;
            self.chunk(model, scratch, &batch.targets[range], x, dx, &mut outcome)?;
        }
        Ok(outcome)
    }

    fn chunk(
        &mut self,
        model: &Model,
        scratch: &Rc<Scratch>,
        targets: &[(usize, Target)],
        x: &Tensor,
        dx: Option<&Tensor>,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        let n = targets.len();
        let is_restricted = self.write(model, targets)?;
        let has_entropy = targets.iter().any(|(_, target)| target.entropy != 0.0);
        let vocabulary = model.shape.vocabulary;

        let g = Graph::new(&model.backend, 128);
        let at = g.head(&self.at, n);
        let chosen = g.head(&self.chosen, n);
        let [weights, entropies] =
            [&self.weights, &self.entropies].map(|tensor| g.rows(tensor, 0, n));
        let allowed = self.allowed.as_ref().filter(|_| is_restricted);
        let allowed = allowed.map(|tensor| g.rows(tensor, 0, n));
        let flat = |tensor: &Tensor| g.reshape(tensor, [1, vocabulary * n, 1]);

        let x = g.get_rows(x, &at); // [width, n]
        let normed = g.mul(&g.rms_norm(&x, model.shape.epsilon), &model.output_norm);
        let z = g.mul_mat(&model.output.weight, &normed); // [vocabulary, n]
        let p = g.soft_max(&z, allowed.as_ref(), 1.0);
        let z_chosen = g.get_rows(&flat(&z), &chosen); // [1, n]
        let p_chosen = g.get_rows(&flat(&p), &chosen);
        let z_mean = g.sum_rows(&g.mul(&p, &z)); // [1, n]
        for found in [&z_chosen, &p_chosen, &z_mean] {
            g.retain(found);
        }
        if let Some(dx) = dx {
            let of_entropy = has_entropy.then(|| {
                // The gradient of a softmax, for z itself as that of its result.
                let dz = g.soft_max_back(&z, &p, 1.0);
                let dh = g.mul(&model.output.backward(&g, &dz), &entropies);
                // Before the next step overwrites p.
                g.expand(&dh);
                dh
            });
            // p - onehot in place: what is left of a likely token is small, and would be
            // lost if p itself were rounded on its way through a matrix of 16 bits.
            let less_one = g.sub_one(&p_chosen);
            let dz = g.set_rows(&flat(&p), &less_one, &chosen);
            let dz = g.reshape(&dz, [vocabulary, n, 1]);
            let mut dh = g.mul(&model.output.backward(&g, &dz), &weights); // [width, n]
            if let Some(of_entropy) = of_entropy {
                dh = g.add(&dh, &of_entropy);
            }
            let dh = g.mul(&dh, &model.output_norm);
            let rows = g.rms_norm_back(&dh, &x, model.shape.epsilon);
            g.expand(&g.set_rows(dx, &rows, &at));
        }
        g.compute(scratch)?;
        let (z, p, mean) = (z_chosen.read_f32(), p_chosen.read_f32(), z_mean.read_f32());
        for ((z, p), mean) in z.into_iter().zip(p).zip(mean) {
            let log_prob = p.ln().max(LOG_PROB_MIN);
            outcome.log_probs.push(log_prob);
            // H = log sum exp z - sum p z, and log sum exp z = z(y) - log p(y).
            outcome.entropies.push((z - log_prob - mean).max(0.0));
        }
        Ok(())
    }

    /// Writes a chunk's targets, and tells whether any restricts the tokens.
    fn write(&mut self, model: &Model, targets: &[(usize, Target)]) -> Result<bool, EngineError> {
        let vocabulary = model.shape.vocabulary;
        let integer = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        // The rest of the room repeats the first: it is not looked at.
        let padded = |of: &dyn Fn(usize) -> i32| -> Vec<i32> {
            (0..self.rows).map(|i| of(if i < targets.len() { i } else { 0 })).collect()
        };
        self.at.write_i32(&padded(&|i| integer(targets[i].0)));
        let place = |i: usize| integer(i * vocabulary + targets[i].1.token as usize);
        self.chosen.write_i32(&padded(&place));
        let numbers = |of: &dyn Fn(&Target) -> f32| -> Vec<f32> {
            (0..self.rows).map(|i| targets.get(i).map_or(0.0, |(_, t)| of(t))).collect()
        };
        self.weights.write_f32(&numbers(&|target| target.weight));
        self.entropies.write_f32(&numbers(&|target| target.entropy));
        if targets.iter().all(|(_, target)| target.allowed.is_none()) {
            return Ok(false);
        }
        let allowed = match &self.allowed {
            Some(allowed) => allowed,
            None => {
                let memory = Memory::new(&model.backend, 1);
                let allowed = memory.tensor(Kind::F32, &[vocabulary, self.rows]);
                memory.allocate()?;
                self.allowed.insert(allowed)
            }
        };
        let mut row = vec![0.0; vocabulary];
        for (i, (_, target)) in targets.iter().enumerate() {
            for (token, number) in row.iter_mut().enumerate() {
                let is_allowed = target.allowed.as_ref().is_none_or(|set| set.contains(token));
                *number = if is_allowed { 0.0 } else { f32::NEG_INFINITY };
            }
            allowed.write_f32_at(i * vocabulary, &row);
        }
        Ok(true)
    }
}
