//! Signs of a collapse, at which training stops by itself.

use std::collections::VecDeque;

use anyhow::bail;
use domain::Label;
use serde::{Deserialize, Serialize};

use crate::config::Guards as Config;

/// Parts of the reward, as metrics name them.
pub(super) const PARTS: [&str; 3] = ["structure", "claims", "decision"];

/// What one step has shown. Single precision: its text form is exact.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Decisions by class.
    pub(super) labels: [u32; 5],
    /// Mean entropy of the decision, in nats.
    pub(super) entropy: f32,
    /// Mean of each part of the reward.
    pub(super) parts: [f32; 3],
}

/// Watches the last steps; part of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Guards {
    /// Sums of the parts over the first window.
    first: [f32; 3],
    /// Steps in these sums: the window may be changed when a run goes on.
    first_steps: u32,
    steps: u64,
    window: VecDeque<Seen>,
}

impl Guards {
    /// Notes a step.
    ///
    /// # Errors
    /// Says which sign of a collapse the last window shows.
    pub(super) fn watch(&mut self, config: &Config, seen: Seen) -> anyhow::Result<()> {
        let size = config.window_steps as usize;
        if self.steps < u64::from(config.window_steps) {
            self.first.iter_mut().zip(seen.parts).for_each(|(sum, part)| *sum += part);
            self.first_steps += 1;
        }
        self.steps += 1;
        self.window.push_back(seen);
        while self.window.len() > size {
            self.window.pop_front();
        }
        if self.window.len() < size {
            return Ok(());
        }
        let n = size as f64;
        self.check_labels(config)?;
        let entropy = self.window.iter().map(|seen| f64::from(seen.entropy)).sum::<f64>() / n;
        if entropy < config.entropy_min {
            bail!(
                "training stopped: the decision's entropy over the last {size} steps is \
                 {entropy:.4} nats, less than rl.guards.entropy_min of {}; lower rl.learning_rate \
                 or raise rl.entropy_coef",
                config.entropy_min
            );
        }
        for (i, name) in PARTS.into_iter().enumerate() {
            let first = f64::from(self.first[i]) / f64::from(self.first_steps);
            let last = self.window.iter().map(|seen| f64::from(seen.parts[i])).sum::<f64>() / n;
            if first - last > config.part_fall_max {
                bail!(
                    "training stopped: the {name} part of the reward fell from {first:.3} over \
                     the first {} steps to {last:.3} over the last, by more than \
                     rl.guards.part_fall_max of {}; lower rl.learning_rate or set rl.kl_coef",
                    self.first_steps,
                    config.part_fall_max
                );
            }
        }
        Ok(())
    }

    fn check_labels(&self, config: &Config) -> anyhow::Result<()> {
        let count = |label: Label| -> u32 {
            self.window.iter().map(|seen| seen.labels[label.index()]).sum()
        };
        let all: u32 = Label::ALL.into_iter().map(count).sum();
        for label in Label::ALL {
            let share = f64::from(count(label)) / f64::from(all.max(1));
            if share > config.single_class_share_max {
                bail!(
                    "training stopped: {label} is {:.0} % of the decisions over the last {} \
                     steps, more than rl.guards.single_class_share_max of {}; raise \
                     rl.ce_anchor_coef or lower rewards.decision costs",
                    100.0 * share,
                    config.window_steps,
                    config.single_class_share_max
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Seen = Seen { labels: [1, 1, 2, 1, 1], entropy: 1.2, parts: [0.9, 0.8, 0.1] };

    fn config() -> Config {
        Config { window_steps: 3, ..Config::default() }
    }

    /// Watches steps, and returns the number of the one that stopped and why.
    fn stop(steps: &[Seen]) -> Option<(usize, String)> {
        let mut guards = Guards::default();
        let watch = |(i, seen): (usize, &Seen)| {
            // Every step goes through a checkpoint.
            let text = serde_json::to_string(&guards).unwrap();
            assert_eq!(serde_json::from_str::<Guards>(&text).unwrap(), guards);
            guards.watch(&config(), *seen).err().map(|error| (i, error.to_string()))
        };
        steps.iter().enumerate().find_map(watch)
    }

    #[test]
    fn a_healthy_run_goes_on() {
        let other = Seen { labels: [0, 3, 2, 0, 1], entropy: 0.7, parts: [0.95, 0.9, -0.2] };
        assert_eq!(stop(&[FINE, other, FINE, other, other, other, FINE]), None);
    }

    #[test]
    fn a_single_class_over_a_whole_window_stops() {
        let only = Seen { labels: [0, 0, 6, 0, 0], ..FINE };
        let (step, reason) = stop(&[FINE, FINE, FINE, only, only, only, only]).unwrap();
        assert_eq!(step, 5);
        assert!(
            reason.contains("Hold is 100 % of the decisions over the last 3 steps"),
            "{reason}"
        );
    }

    #[test]
    fn low_entropy_stops_once_the_mean_of_a_window_is_low() {
        let sure = Seen { entropy: 0.01, ..FINE };
        assert_eq!(stop(&[FINE, sure, sure, FINE, sure, FINE]), None);
        let (step, reason) = stop(&[FINE, sure, sure, sure]).unwrap();
        assert_eq!(step, 3);
        assert!(
            reason.contains("0.0100 nats, less than rl.guards.entropy_min of 0.05"),
            "{reason}"
        );
    }

    #[test]
    fn a_window_that_changes_when_a_run_goes_on_is_judged_by_its_own_size() {
        let config = |window_steps| Config { window_steps, ..Config::default() };
        let good = Seen { entropy: 0.07, parts: [0.9, 0.8, 0.1], ..FINE };
        for (before, after) in [(2, 4), (4, 2)] {
            let mut guards = Guards::default();
            for window_steps in [[before; 6], [after; 6]].concat() {
                guards.watch(&config(window_steps), good).unwrap();
            }
            let low = Seen { entropy: 0.04, ..good };
            let watch = |_| guards.watch(&config(after), low).err();
            // The mean of the window is below 0.05 once most of it is low.
            let stopped = (0..4).map(watch).position(|error| error.is_some());
            assert_eq!(stopped, Some(after as usize / 2));
        }
    }

    #[test]
    fn a_part_that_falls_below_its_first_window_stops() {
        let worse = Seen { parts: [0.9, 0.2, 0.1], ..FINE };
        // Means of the window: 0.8, then 0.6, 0.4 and 0.2; the fall is 0.6.
        let (step, reason) = stop(&[FINE, FINE, FINE, worse, worse, worse]).unwrap();
        assert_eq!(step, 5);
        assert!(reason.contains("the claims part of the reward fell from 0.800"), "{reason}");
    }
}
