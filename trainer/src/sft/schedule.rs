//! Which examples each optimizer step takes: a function of seed, curriculum and
//! the sizes of the stage files, so that a run that resumes needs only its step.

use crate::{config::CurriculumStage, random::shuffled};

/// The examples of one step, of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepPlan {
    /// Index of the stage in the curriculum.
    pub(crate) stage: usize,
    /// Examples of its file.
    pub(crate) examples: Vec<usize>,
}

/// Plans all steps: the stages in order, each epoch of a stage in an order of its own,
/// `per_step` examples a step. A fraction of an epoch takes that share of the order drawn;
/// the last step of a stage may be smaller.
pub(crate) fn schedule(
    curriculum: &[CurriculumStage],
    sizes: &[usize],
    per_step: usize,
    seed: u64,
) -> Vec<StepPlan> {
    let mut steps = Vec::new();
    for (stage, (plan, &size)) in curriculum.iter().zip(sizes).enumerate() {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a corpus has some thousand examples"
        )]
        let total = (plan.epochs * size as f64).round() as usize;
        let mut order = Vec::with_capacity(total);
        for epoch in 0.. {
            if order.len() >= total {
                break;
            }
            let stream = (stage as u64) << 32 | epoch;
            order.extend(shuffled(size, seed, stream).into_iter().take(total - order.len()));
        }
        let step = |examples: &[usize]| StepPlan { stage, examples: examples.to_vec() };
        steps.extend(order.chunks(per_step.max(1)).map(step));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Stage;

    #[test]
    fn stages_follow_one_another_and_epochs_take_every_example_once() {
        let stage = |stage, epochs| CurriculumStage { stage, epochs };
        let curriculum = [stage(Stage::Structure, 2.5), stage(Stage::Decision, 0.5)];
        let steps = schedule(&curriculum, &[8, 6], 3, 7);
        assert_eq!(steps.len(), 7 + 1);
        let of = |stage| {
            let steps = steps.iter().filter(move |step| step.stage == stage);
            steps.flat_map(|step| step.examples.clone()).collect::<Vec<_>>()
        };
        let taken = of(0);
        assert_eq!(taken.len(), 20);
        for epoch in taken.chunks(8).take(2) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..8).collect::<Vec<_>>());
        }
        assert_ne!(taken[..8], taken[8..16], "epochs have their own order");
        assert_eq!(of(1).len(), 3);
        assert!(steps[..7].iter().all(|step| step.stage == 0));
        assert_eq!(schedule(&curriculum, &[8, 6], 3, 7), steps);
        assert_ne!(schedule(&curriculum, &[8, 6], 3, 8), steps);
    }
}
