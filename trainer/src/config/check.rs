//! What no type can say about a configuration.

use anyhow::{Context as _, bail, ensure};
use lake::HORIZONS;

use super::{EngineKind, Projection, RunConfig};

/// Bounds of what would only exhaust the machine.
pub(crate) const THREADS_MAX: u32 = 1_024;
const EPOCHS_MAX: f64 = 1_000.0;
const GAP_MAX: u32 = 100_000;

impl RunConfig {
    /// Checks every value once; what trains can rely on it.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        ensure!(
            self.name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && self.name.chars().all(is_plain),
            "name {:?} must be letters, digits, dashes and dots, the first no dash or dot: it \
             names files",
            self.name
        );
        self.rewards.check()?;
        self.check_model()?;
        self.check_optimizer()?;
        self.check_rl()?;
        self.check_sft()?;
        self.check_data()?;
        self.check_split()?;
        positive("calibration.lambda", self.calibration.lambda)?;
        positive("calibration.mu", self.calibration.mu)?;
        positive("export.kl_max", self.export.kl_max)?;
        ensure!(
            self.export.perplexity_ratio_max >= 1.0,
            "export.perplexity_ratio_max is {}: a merged model may be worse, so at least 1",
            self.export.perplexity_ratio_max
        );
        if let Some(url) = &self.tracking.mlflow_url {
            let is_http = url.starts_with("http://") || url.starts_with("https://");
            ensure!(is_http, "tracking.mlflow_url {url:?} must begin with http:// or https://");
        }
        Ok(())
    }

    fn check_model(&self) -> anyhow::Result<()> {
        ensure!(!self.backbone.model.is_empty(), "backbone.model is empty: name a model");
        at_least("backbone.context_tokens", self.backbone.context_tokens, 256)?;
        at_least("lora.rank", self.lora.rank, 1)?;
        at_most("engine.threads", self.engine.threads, THREADS_MAX)?;
        positive("lora.alpha", self.lora.alpha)?;
        ensure!(
            self.lora.targets.len() == Projection::ALL.len(),
            "lora.targets: the engine trains all seven projections, not a part of them"
        );
        ensure!(
            self.engine.kind == EngineKind::Ggml,
            "engine.kind llama-opt is an oracle: `r2r-trainer parity --gradients` compares with it; train \
             with ggml"
        );
        Ok(())
    }

    fn check_optimizer(&self) -> anyhow::Result<()> {
        let o = &self.optimizer;
        positive("optimizer.learning_rate", o.learning_rate)?;
        share("optimizer.final_learning_rate_ratio", o.final_learning_rate_ratio)?;
        share("optimizer.warmup_ratio", o.warmup_ratio)?;
        for (key, beta) in [("optimizer.beta1", o.beta1), ("optimizer.beta2", o.beta2)] {
            ensure!((0.0..1.0).contains(&beta), "{key} is {beta}: expected 0 <= beta < 1");
        }
        positive("optimizer.epsilon", o.epsilon)?;
        not_negative("optimizer.weight_decay", o.weight_decay)?;
        not_negative("optimizer.max_grad_norm", o.max_grad_norm)?;
        at_least("optimizer.gradient_accumulation_steps", o.gradient_accumulation_steps, 1)
    }

    fn check_rl(&self) -> anyhow::Result<()> {
        let rl = &self.rl;
        at_least("rl.steps", rl.steps, 1)?;
        at_least("rl.contexts_per_step", rl.contexts_per_step, 1)?;
        at_least("rl.adjacent_dates", rl.adjacent_dates, 1)?;
        ensure!(
            rl.contexts_per_step.is_multiple_of(rl.adjacent_dates),
            "rl.contexts_per_step is {}: expected a multiple of rl.adjacent_dates, {}",
            rl.contexts_per_step,
            rl.adjacent_dates
        );
        at_least("rl.sample_reuse", rl.sample_reuse, 1)?;
        at_least("rl.save_steps", rl.save_steps, 1)?;
        positive("rl.learning_rate", rl.learning_rate)?;
        ensure!(
            rl.temperature > 0.0 && rl.temperature <= 10.0,
            "rl.temperature is {}: samples of one context must be able to differ, so above 0, at \
             most 10",
            rl.temperature
        );
        share("rl.min_p", rl.min_p)?;
        for (key, value) in [
            ("rl.entropy_coef", rl.entropy_coef),
            ("rl.ce_anchor_coef", rl.ce_anchor_coef),
            ("rl.kl_coef", rl.kl_coef),
            ("rl.guards.entropy_min", rl.guards.entropy_min),
        ] {
            not_negative(key, value)?;
        }
        positive("rl.clip_range", rl.clip_range)?;
        at_least("rl.guards.window_steps", rl.guards.window_steps, 1)?;
        share("rl.guards.single_class_share_max", rl.guards.single_class_share_max)?;
        positive("rl.guards.part_fall_max", rl.guards.part_fall_max)
    }

    fn check_sft(&self) -> anyhow::Result<()> {
        for (i, stage) in self.sft.curriculum.iter().enumerate() {
            let key = format!("sft.curriculum.{i}.epochs");
            positive(&key, stage.epochs)?;
            ensure!(stage.epochs <= EPOCHS_MAX, "{key} is {}: at most {EPOCHS_MAX}", stage.epochs);
        }
        at_least("sft.eval_steps", self.sft.eval_steps, 1)?;
        at_least("sft.save_steps", self.sft.save_steps, 1)
    }

    fn check_data(&self) -> anyhow::Result<()> {
        let sources = &self.data.sources;
        ensure!(!sources.is_empty(), "data.sources is empty: name a universe");
        for (i, source) in sources.iter().enumerate() {
            at_least(&format!("data.sources.{i}.every"), source.every, 1)?;
            let is_twice =
                sources[..i].iter().any(|s| s.universe.eq_ignore_ascii_case(&source.universe));
            ensure!(!is_twice, "data.sources.{i}: universe {} is named twice", source.universe);
            if let (Some(from), Some(to)) = (source.from, source.to) {
                ensure!(from <= to, "data.sources.{i}: from {from} is after to {to}");
            }
        }
        Ok(())
    }

    /// Labels reach over the longest horizon and features hardly further back, so gaps
    /// of that length keep the splits apart.
    fn check_split(&self) -> anyhow::Result<()> {
        let split = &self.split;
        let sizes = [
            ("split.train_size", split.train_size),
            ("split.validation_size", split.validation_size),
            ("split.test_size", split.test_size),
        ];
        for (key, size) in sizes {
            share(key, size)?;
        }
        positive("split.train_size", split.train_size)?;
        let sum: f64 = sizes.iter().map(|(_, size)| size).sum();
        ensure!((sum - 1.0).abs() < 1e-9, "split sizes sum to {sum}: expected 1");
        let horizon = HORIZONS.into_iter().max().and_then(|h| u32::try_from(h).ok());
        let horizon = horizon.context("there are horizons")?;
        let gaps =
            [("split.purged_size", split.purged_size), ("split.embargo_size", split.embargo_size)];
        for (key, gap) in gaps {
            at_most(key, gap, GAP_MAX)?;
        }
        match gaps.into_iter().find(|(_, gap)| *gap < horizon) {
            Some((key, gap)) => bail!(
                "{key} is {gap}: labels reach {horizon} sessions ahead, so at least {horizon}"
            ),
            None => Ok(()),
        }
    }
}

/// Computed in single precision: what is too small or too large for that is refused.
fn positive(key: &str, value: f64) -> anyhow::Result<()> {
    let single = value as f32;
    ensure!(
        single.is_finite() && single > 0.0,
        "{key} is {value}: expected a number above 0 that single precision has"
    );
    Ok(())
}

fn not_negative(key: &str, value: f64) -> anyhow::Result<()> {
    let single = value as f32;
    ensure!(
        single.is_finite() && value >= 0.0 && (value == 0.0 || single > 0.0),
        "{key} is {value}: expected a number of at least 0 that single precision has"
    );
    Ok(())
}

fn share(key: &str, value: f64) -> anyhow::Result<()> {
    ensure!((0.0..=1.0).contains(&value), "{key} is {value}: expected a share, 0 to 1");
    Ok(())
}

fn at_least(key: &str, value: u32, least: u32) -> anyhow::Result<()> {
    ensure!(value >= least, "{key} is {value}: expected at least {least}");
    Ok(())
}

fn at_most(key: &str, value: u32, most: u32) -> anyhow::Result<()> {
    ensure!(value <= most, "{key} is {value}: expected at most {most}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_their_range_are_named() {
        let check = |change: fn(&mut RunConfig), expected: &str| {
            let mut config = RunConfig::default();
            change(&mut config);
            let error = format!("{:#}", config.check().unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        RunConfig::default().check().unwrap();
        check(|c| c.name = "a/b".into(), "it names files");
        check(|c| c.name = "..".into(), "it names files");
        check(|c| c.optimizer.epsilon = 1e-60, "that single precision has");
        check(|c| c.rl.learning_rate = 1e300, "that single precision has");
        check(|c| c.engine.threads = 100_000, "engine.threads is 100000");
        check(|c| c.split.purged_size = u32::MAX, "split.purged_size is");
        check(|c| c.sft.curriculum[0].epochs = 1e9, "sft.curriculum.0.epochs is");
        check(|c| c.optimizer.learning_rate = 0.0, "optimizer.learning_rate is 0");
        check(|c| c.optimizer.beta2 = 1.0, "optimizer.beta2 is 1");
        check(|c| c.rewards.weights.claims = -1.0, "rewards.weights.claims is -1");
        check(|c| c.rl.temperature = 0.0, "rl.temperature is 0");
        check(|c| c.rl.contexts_per_step = 5, "a multiple of rl.adjacent_dates, 2");
        check(|c| c.calibration.mu = 0.0, "calibration.mu is 0");
        check(|c| c.lora.targets.clear(), "all seven projections");
        check(|c| c.split.purged_size = 21, "at least 63");
        check(|c| c.split.embargo_size = 0, "split.embargo_size is 0");
        check(|c| c.split.train_size = 0.9, "sum to 1.2");
        check(|c| c.data.sources.clear(), "name a universe");
        check(|c| c.data.sources[1] = c.data.sources[0].clone(), "is named twice");
        check(|c| c.tracking.mlflow_url = Some("localhost".into()), "http://");
        check(|c| c.export.perplexity_ratio_max = 0.9, "at least 1");
    }
}
