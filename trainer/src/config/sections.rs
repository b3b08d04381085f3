//! The keys of a run, one struct a section; the defaults are those of
//! `configs/training.yaml`.

use std::{collections::BTreeSet, path::PathBuf};

use chrono::NaiveDate;
use domain::Ticker;
use lake::LabelScheme;
use serde::{Deserialize, Serialize};

use crate::corpus::Stage;

/// The model that is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Backbone {
    /// Name of a model manifest, or path of a GGUF file.
    pub(crate) model: String,
    /// Longest sequence in tokens: prompt and one completion.
    pub(crate) context_tokens: u32,
}

/// The low-rank adapter (Hu et al. 2021).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Lora {
    /// Rank r.
    pub(crate) rank: u32,
    /// Scale numerator: the update is alpha / rank times B A.
    pub(crate) alpha: f64,
    /// Projections that get an adapter.
    pub(crate) targets: BTreeSet<Projection>,
}

/// A projection of a transformer layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Projection {
    /// Query.
    Q,
    /// Key.
    K,
    /// Value.
    V,
    /// Attention output.
    O,
    /// Gate of the feed-forward block.
    Gate,
    /// Up projection of the feed-forward block.
    Up,
    /// Down projection of the feed-forward block.
    Down,
}

impl Projection {
    pub(crate) const ALL: [Self; 7] =
        [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];
}

/// Where and how gradients are computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EngineSection {
    /// The engine.
    pub(crate) kind: EngineKind,
    /// Name of a device as `r2r-trainer devices` lists it; `auto` takes the first GPU,
    /// else the CPU.
    pub(crate) device: String,
    /// Threads on a CPU; 0 takes all cores, 1 gives the same bytes again on the same kind
    /// of CPU.
    pub(crate) threads: u32,
    /// Whether a layer's activations are recomputed in the backward pass.
    pub(crate) gradient_checkpointing: bool,
}

/// An engine that computes gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EngineKind {
    /// The own graph on the kernels of ggml.
    Ggml,
    /// The optimizer hooks of llama.cpp, an oracle for tests.
    LlamaOpt,
}

/// AdamW (Loshchilov and Hutter 2019) with linear warm-up and cosine decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Optimizer {
    /// Highest learning rate.
    pub(crate) learning_rate: f64,
    /// Learning rate at the end, as a share of the highest.
    pub(crate) final_learning_rate_ratio: f64,
    /// Share of the steps over which the rate rises from 0.
    pub(crate) warmup_ratio: f64,
    /// Decay of the first moment.
    pub(crate) beta1: f64,
    /// Decay of the second moment.
    pub(crate) beta2: f64,
    /// Added to the root of the second moment.
    pub(crate) epsilon: f64,
    /// Decoupled weight decay.
    pub(crate) weight_decay: f64,
    /// Bound on the global norm of the gradient; 0 for none.
    pub(crate) max_grad_norm: f64,
    /// Contexts of a step of `sft`, whose gradients are averaged.
    pub(crate) gradient_accumulation_steps: u32,
}

/// Supervised fine-tuning: the curriculum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sft {
    /// The stages in order.
    pub(crate) curriculum: Vec<CurriculumStage>,
    /// Optimizer steps between two evaluations on the validation split.
    pub(crate) eval_steps: u32,
    /// Most contexts of one evaluation; 0 for all.
    pub(crate) eval_contexts_max: u32,
    /// Optimizer steps between two checkpoints.
    pub(crate) save_steps: u32,
}

/// One stage of the curriculum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CurriculumStage {
    /// The stage file.
    pub(crate) stage: Stage,
    /// Passes over it; a fraction takes that share, in the order drawn for the pass.
    pub(crate) epochs: f64,
}

/// Reinforcement fine-tuning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rl {
    /// The method.
    pub(crate) method: RlMethod,
    /// What of a reward each choice is credited with.
    pub(crate) credit: RlCredit,
    /// Optimizer steps.
    pub(crate) steps: u32,
    /// Contexts of a step; `pairwise` takes two samples of each, `grpo_lite` one.
    pub(crate) contexts_per_step: u32,
    /// Adjacent dates of a name that are taken together, so that a change of its label
    /// can be judged.
    pub(crate) adjacent_dates: u32,
    /// Highest learning rate; the rest of the schedule is the optimizer's.
    pub(crate) learning_rate: f64,
    /// Temperature of rollouts.
    pub(crate) temperature: f64,
    /// Sampling floor relative to the most probable token.
    pub(crate) min_p: f64,
    /// Weight of the entropy bonus.
    pub(crate) entropy_coef: f64,
    /// Weight of the cross-entropy anchor on the decision.
    pub(crate) ce_anchor_coef: f64,
    /// Weight of the KL divergence to the model RL starts from; 0 for none.
    pub(crate) kl_coef: f64,
    /// Times a batch of samples is used.
    pub(crate) sample_reuse: u32,
    /// Bound on |ratio - 1| of reused samples (PPO, Schulman et al. 2017).
    pub(crate) clip_range: f64,
    /// Optimizer steps between two checkpoints, which lie between two batches of samples.
    pub(crate) save_steps: u32,
    /// Most validation contexts on which rewards before and after are compared; 0 for no
    /// comparison.
    pub(crate) eval_contexts_max: u32,
    /// When training stops by itself.
    pub(crate) guards: Guards,
}

/// How advantages are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RlMethod {
    /// Two samples a context, each against the other.
    Pairwise,
    /// One sample a context, against the mean of the batch.
    GrpoLite,
}

/// What of a reward a choice is credited with. Both have the same gradient in expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RlCredit {
    /// The letter with the part for the decision; what is written with the rest, and with the
    /// mean of that part over letters.
    Parts,
    /// Every choice with all of it.
    Whole,
}

/// Signs of a collapse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Guards {
    /// Steps the means are taken over.
    pub(crate) window_steps: u32,
    /// Largest share of decisions of a single class.
    pub(crate) single_class_share_max: f64,
    /// Least mean entropy of the decision, in nats.
    pub(crate) entropy_min: f64,
    /// Largest fall of a reward part's mean below that of the first window.
    pub(crate) part_fall_max: f64,
}

/// What the corpus is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Data {
    /// Scheme of the labels; borders are those of `configs/labels.toml`.
    pub(crate) label_scheme: LabelScheme,
    /// Which evidence the teacher picks.
    pub(crate) teacher: TeacherOrder,
    /// Snapshots, in order.
    pub(crate) sources: Vec<DataSource>,
}

/// In which order the teacher reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TeacherOrder {
    /// Evidence by how unusual it is, then the decision.
    EvidenceFirst,
    /// Reverse distillation: among unusual evidence, first what speaks for the realised
    /// label.
    DecisionFirst,
}

/// A snapshot and which of its dates are used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataSource {
    /// Universe whose current snapshot is read.
    pub(crate) universe: String,
    /// Names; all where empty.
    #[serde(default)]
    pub(crate) tickers: Vec<Ticker>,
    /// First date.
    #[serde(default)]
    pub(crate) from: Option<NaiveDate>,
    /// Last date.
    #[serde(default)]
    pub(crate) to: Option<NaiveDate>,
    /// Every how many sessions a date is taken; the names of a universe take turns, so
    /// that they do not all fall on the same dates.
    #[serde(default = "every_session")]
    pub(crate) every: u32,
}

const fn every_session() -> u32 {
    1
}

/// The division of dates, oldest first: train, purge, embargo, validation, purge,
/// embargo, test. Sizes are shares of the dates that are not in a gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Split {
    /// Share of the training dates.
    pub(crate) train_size: f64,
    /// Share of the validation dates.
    pub(crate) validation_size: f64,
    /// Share of the test dates.
    pub(crate) test_size: f64,
    /// Sessions left out before a border: their labels reach across it.
    pub(crate) purged_size: u32,
    /// Sessions left out after a border: their features reach back across it.
    pub(crate) embargo_size: u32,
}

/// Where a run is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tracking {
    /// Directory of runs.
    pub(crate) runs_dir: PathBuf,
    /// URL of an MLflow server; none for no tracking there.
    pub(crate) mlflow_url: Option<String>,
    /// Experiment on that server.
    pub(crate) experiment: String,
}

/// What leaves the trainer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Export {
    /// Type of merged weights.
    pub(crate) merged_type: MergedType,
    /// Largest mean KL divergence of merged from adapter, in nats a token.
    pub(crate) kl_max: f64,
    /// Largest ratio of their perplexities.
    pub(crate) perplexity_ratio_max: f64,
}

/// What makes probabilities come true as often as they say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CalibrationSection {
    /// The method.
    pub(crate) method: CalibrationMethod,
    /// Weight of the squares off the diagonal, for `dirichlet`.
    pub(crate) lambda: f64,
    /// Weight of the squares of the shifts, for `dirichlet`.
    pub(crate) mu: f64,
    /// Most contexts of the validation and of the test split; 0 for all.
    pub(crate) contexts_max: u32,
}

/// What an adapter is compared with the untuned base on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EvaluationSection {
    /// Contexts of the test split, in whole runs of adjacent dates; 0 for all.
    pub(crate) contexts_max: u32,
}

/// How probabilities are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CalibrationMethod {
    /// One temperature for all classes.
    Temperature,
    /// A scale and a shift for each class.
    Vector,
    /// All classes mixed.
    Dirichlet,
}

/// A type of weights in a merged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MergedType {
    /// 32 bits.
    F32,
    /// 16 bits with the exponent of 32.
    Bf16,
    /// 8.5 bits.
    Q8_0,
    /// 6.6 bits.
    Q6K,
    /// 5 bits; the parity gate refuses it for adapters as a rule.
    Q4_1,
}

impl Default for Backbone {
    fn default() -> Self {
        Self { model: "smollm2-135m-instruct".to_owned(), context_tokens: 2048 }
    }
}

impl Default for Lora {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, targets: Projection::ALL.into() }
    }
}

impl Default for EngineSection {
    fn default() -> Self {
        Self {
            kind: EngineKind::Ggml,
            device: "auto".to_owned(),
            threads: 0,
            gradient_checkpointing: true,
        }
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            learning_rate: 3e-4,
            final_learning_rate_ratio: 0.1,
            warmup_ratio: 0.05,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            gradient_accumulation_steps: 8,
        }
    }
}

impl Default for Sft {
    fn default() -> Self {
        let curriculum = Stage::ALL.map(|stage| CurriculumStage { stage, epochs: 1.0 });
        Self {
            curriculum: curriculum.into(),
            eval_steps: 50,
            eval_contexts_max: 200,
            save_steps: 50,
        }
    }
}

impl Default for Rl {
    fn default() -> Self {
        Self {
            method: RlMethod::Pairwise,
            credit: RlCredit::Parts,
            steps: 200,
            contexts_per_step: 6,
            adjacent_dates: 2,
            learning_rate: 1e-4,
            temperature: 1.0,
            min_p: 0.0,
            entropy_coef: 0.001,
            ce_anchor_coef: 0.05,
            kl_coef: 0.0,
            sample_reuse: 1,
            clip_range: 0.2,
            save_steps: 10,
            eval_contexts_max: 200,
            guards: Guards::default(),
        }
    }
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            window_steps: 20,
            single_class_share_max: 0.95,
            entropy_min: 0.05,
            part_fall_max: 0.5,
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        let source = |universe: &str, from: Option<NaiveDate>, every| DataSource {
            universe: universe.to_owned(),
            tickers: Vec::new(),
            from,
            to: None,
            every,
        };
        Self {
            label_scheme: LabelScheme::SqrtTime,
            teacher: TeacherOrder::EvidenceFirst,
            sources: vec![
                source("R20", NaiveDate::from_ymd_opt(2000, 1, 3), 21),
                source("SYN10", None, 5),
            ],
        }
    }
}

impl Default for Split {
    fn default() -> Self {
        Self {
            train_size: 0.7,
            validation_size: 0.15,
            test_size: 0.15,
            purged_size: 63,
            embargo_size: 63,
        }
    }
}

impl Default for Tracking {
    fn default() -> Self {
        Self { runs_dir: "runs".into(), mlflow_url: None, experiment: "r2r".to_owned() }
    }
}

impl Default for CalibrationSection {
    fn default() -> Self {
        let method = CalibrationMethod::Temperature;
        Self { method, lambda: 0.01, mu: 0.01, contexts_max: 400 }
    }
}

impl Default for EvaluationSection {
    fn default() -> Self {
        Self { contexts_max: 200 }
    }
}

impl Default for Export {
    fn default() -> Self {
        Self { merged_type: MergedType::Q8_0, kl_max: 0.01, perplexity_ratio_max: 1.02 }
    }
}
