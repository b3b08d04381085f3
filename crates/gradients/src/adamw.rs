//! AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with warm-up, cosine decay and
//! clipping by the global norm. It runs on the host: an adapter is small, and one
//! order of additions gives the same bits on every machine.

/// How the optimizer steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Learning rate after warm-up.
    pub learning_rate: f32,
    /// Share of the learning rate that is left at the last step.
    pub final_share: f32,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// Steps of the run, after which the rate stays where it is.
    pub total_steps: u64,
    /// Decay of the mean of gradients, b1, and of their squares, b2.
    pub betas: [f32; 2],
    /// What is added to the root of the mean square.
    pub epsilon: f32,
    /// Decoupled weight decay, times the learning rate of the step.
    pub weight_decay: f32,
    /// Largest norm of a gradient; longer ones are shortened to it.
    pub gradient_norm_max: f32,
}

impl AdamWConfig {
    /// Returns the learning rate of step `step`, counted from 0: linear warm-up, then
    /// half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983) to the final share.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "numbers of steps are small")]
    pub fn learning_rate_at(&self, step: u64) -> f32 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f32 / self.warmup_steps as f32;
        }
        let decay_steps = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let done = ((step - self.warmup_steps) as f32 / decay_steps as f32).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f32::consts::PI * done).cos());
        self.learning_rate * (self.final_share + (1.0 - self.final_share) * cosine)
    }
}

/// What the optimizer remembers: all that a run needs beside its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// Means of the gradients.
    pub first: Vec<f32>,
    /// Means of their squares.
    pub second: Vec<f32>,
    /// Steps taken.
    pub step: u64,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate that was used.
    pub learning_rate: f32,
}

impl AdamW {
    /// Starts with no memory of `n` parameters.
    #[must_use]
    pub fn new(n: usize) -> Self {
        Self { first: vec![0.0; n], second: vec![0.0; n], step: 0 }
    }

    /// Moves parameters against a gradient. A gradient that is not finite moves nothing
    /// and counts as no step; its norm in the report says so.
    ///
    /// # Panics
    /// Panics when there are not as many parameters or slopes as in [`AdamW::new`].
    pub fn step(
        &mut self,
        config: &AdamWConfig,
        parameters: &mut [f32],
        gradient: &[f32],
    ) -> StepReport {
        assert_eq!(parameters.len(), self.first.len(), "parameters of this optimizer");
        assert_eq!(gradient.len(), self.first.len(), "a slope for each parameter");
        let squares: f64 = gradient.iter().map(|&slope| f64::from(slope).powi(2)).sum();
        let gradient_norm = squares.sqrt();
        let learning_rate = config.learning_rate_at(self.step);
        let report = StepReport { gradient_norm, learning_rate };
        if !gradient_norm.is_finite() {
            return report;
        }
        #[allow(clippy::cast_possible_truncation, reason = "a factor of at most 1")]
        let clip = (f64::from(config.gradient_norm_max) / gradient_norm).min(1.0) as f32;
        self.step += 1;
        let [b1, b2] = config.betas;
        let steps = i32::try_from(self.step).unwrap_or(i32::MAX);
        // The means start at zero; these take that out (Kingma and Ba 2015, section 3).
        let (unbias1, unbias2) = (1.0 - b1.powi(steps), 1.0 - b2.powi(steps));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((parameter, &slope), (first, second)) in
            parameters.iter_mut().zip(gradient).zip(moments)
        {
            let slope = slope * clip;
            *first = b1 * *first + (1.0 - b1) * slope;
            *second = b2 * *second + (1.0 - b2) * slope * slope;
            let direction = (*first / unbias1) / ((*second / unbias2).sqrt() + config.epsilon);
            *parameter -= learning_rate * (direction + config.weight_decay * *parameter);
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: AdamWConfig = AdamWConfig {
        learning_rate: 0.1,
        final_share: 0.1,
        warmup_steps: 4,
        total_steps: 24,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        weight_decay: 0.01,
        gradient_norm_max: 1.0,
    };

    #[test]
    fn the_rate_warms_up_and_decays_by_a_cosine() {
        let rate = |step| CONFIG.learning_rate_at(step);
        for (step, expected) in
            [(0, 0.025), (3, 0.1), (4, 0.1), (14, 0.055), (24, 0.01), (1_000, 0.01)]
        {
            assert!((rate(step) - expected).abs() < 1e-6, "{step}: {}", rate(step));
        }
    }

    #[test]
    fn two_steps_are_those_of_the_paper() {
        // Algorithm 2 by hand: the gradient (3, 4) is cut to (0.6, 0.8).
        let (mut adamw, mut parameters) = (AdamW::new(2), [1.0, -2.0]);
        let report = adamw.step(&CONFIG, &mut parameters, &[3.0, 4.0]);
        assert!((report.gradient_norm - 5.0).abs() < 1e-9);
        // The first step is the rate times the sign, and the decay.
        let expected = [1.0 - 0.025 * (1.0 + 0.01), -2.0 - 0.025 * (1.0 - 0.02)];
        for (found, expected) in parameters.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        adamw.step(&CONFIG, &mut parameters, &[0.0, -0.5]);
        let [m, v]: [f64; 2] = [0.9 * 0.08 - 0.05, 0.999 * 0.00064 + 0.001 * 0.25];
        let direction = (m / 0.19) / (v / 0.001_999).sqrt();
        let expected = expected[1] - 0.05 * (direction as f32 + 0.01 * expected[1]);
        assert!((parameters[1] - expected).abs() < 1e-4, "{} {expected}", parameters[1]);
    }

    #[test]
    fn a_gradient_that_is_not_finite_moves_nothing() {
        let (mut adamw, mut parameters) = (AdamW::new(1), [1.0]);
        let report = adamw.step(&CONFIG, &mut parameters, &[f32::NAN]);
        assert!(report.gradient_norm.is_nan());
        assert_eq!((parameters, adamw), ([1.0], AdamW::new(1)));
    }
}
