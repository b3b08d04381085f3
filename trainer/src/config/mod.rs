//! The configuration of a run: one YAML file, unknown keys refused.
//!
//! Every key has a default, those of `configs/training.yaml`; a file names what differs.
//! `--set a.b=c` changes a key of whatever was read. What comes out is checked once
//! and does not change afterwards.

mod check;
mod sections;

use std::{fs, path::Path};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use contract::rewards::RewardConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_saphyr::Error as YamlError;

pub(crate) use check::THREADS_MAX;
pub(crate) use sections::*;

/// The files of `configs/` that `--config` finds by name.
const PRESETS: [(&str, &str); 4] = [
    ("default", include_str!("../../../configs/training.yaml")),
    ("ablation", include_str!("../../../configs/training-ablation.yaml")),
    ("cpu-demo", include_str!("../../../configs/training-cpu-demo.yaml")),
    ("h200-qwen3-4b", include_str!("../../../configs/training-h200-qwen3-4b.yaml")),
];

/// Similar names offered where one is unknown.
const NEAR_MIN: f64 = 0.7;

/// Everything a run depends on beside the snapshots and the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RunConfig {
    /// Name of the run, in files and trackers.
    pub(crate) name: String,
    /// Seed of everything random.
    pub(crate) seed: u64,
    /// The model that is trained.
    pub(crate) backbone: Backbone,
    /// The adapter.
    pub(crate) lora: Lora,
    /// Where gradients are computed.
    pub(crate) engine: EngineSection,
    /// The optimizer.
    pub(crate) optimizer: Optimizer,
    /// Supervised fine-tuning.
    pub(crate) sft: Sft,
    /// The reward.
    pub(crate) rewards: RewardConfig,
    /// Reinforcement fine-tuning.
    pub(crate) rl: Rl,
    /// What the corpus is made of.
    pub(crate) data: Data,
    /// How its dates are divided.
    pub(crate) split: Split,
    /// Where the run is written down.
    pub(crate) tracking: Tracking,
    /// Calibration of the decision.
    pub(crate) calibration: CalibrationSection,
    /// Evaluation against the untuned base.
    pub(crate) evaluation: EvaluationSection,
    /// What leaves the trainer.
    pub(crate) export: Export,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            name: "run".to_owned(),
            seed: 42,
            backbone: Backbone::default(),
            lora: Lora::default(),
            engine: EngineSection::default(),
            optimizer: Optimizer::default(),
            sft: Sft::default(),
            rewards: RewardConfig::default(),
            rl: Rl::default(),
            data: Data::default(),
            split: Split::default(),
            tracking: Tracking::default(),
            calibration: CalibrationSection::default(),
            evaluation: EvaluationSection::default(),
            export: Export::default(),
        }
    }
}

/// How a configuration is named on the command line.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    /// A YAML file, or a preset: default, ablation, cpu-demo, h200-qwen3-4b.
    #[arg(long, default_value = "default")]
    pub(crate) config: String,
    /// Change a key, as `--set optimizer.learning_rate=1e-4`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
}

impl ConfigArgs {
    /// Reads, changes and checks the configuration.
    pub(crate) fn load(&self) -> anyhow::Result<RunConfig> {
        let preset = PRESETS.iter().find(|(name, _)| *name == self.config);
        let config = match preset {
            Some((name, text)) => parse(&format!("preset {name}"), text)?,
            None => {
                let text = fs::read_to_string(&self.config).with_context(|| {
                    let names = PRESETS.map(|(name, _)| name).join(", ");
                    format!("cannot read {}: give a YAML file or a preset ({names})", self.config)
                })?;
                parse(&self.config, &text)?
            }
        };
        let config = apply(config, &self.sets)?;
        config.check().with_context(|| format!("{} is not a valid configuration", self.config))?;
        Ok(config)
    }
}

impl RunConfig {
    /// Reads and checks a file, as a run has kept it.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config = parse(&path.display().to_string(), &text)?;
        config.check().with_context(|| format!("{} is not valid", path.display()))?;
        Ok(config)
    }

    /// Renders the configuration with every key, as a file `--config` reads.
    pub(crate) fn to_yaml(&self) -> anyhow::Result<String> {
        Ok(serde_saphyr::to_string(self)?)
    }
}

/// Parses a file; `origin` names it in errors.
fn parse(origin: &str, text: &str) -> anyhow::Result<RunConfig> {
    serde_saphyr::from_str(text).map_err(|error| {
        let at = error.location().map(|at| format!(":{}:{}", at.line(), at.column()));
        anyhow!("{origin}{}: {}", at.unwrap_or_default(), reason(error.without_snippet()))
    })
}

/// Says what is wrong, and of an unknown key which known one may be meant.
fn reason(error: &YamlError) -> String {
    match error {
        YamlError::SerdeUnknownField { field, expected, .. } => unknown(field, expected),
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            format!("{variant} is none of {}", expected.join(", "))
        }
        other => {
            let text = other.to_string();
            // The place stands before the reason already.
            let end = text.find(" at line ").unwrap_or(text.len());
            text.get(..end).unwrap_or(&text).to_owned()
        }
    }
}

fn unknown<S: AsRef<str>>(key: &str, known: &[S]) -> String {
    let score = |other: &S| strsim::jaro_winkler(key, other.as_ref());
    let nearest = known.iter().max_by(|a, b| score(a).total_cmp(&score(b)));
    match nearest.filter(|nearest| score(nearest) >= NEAR_MIN) {
        Some(nearest) => format!("unknown key {key}; did you mean {}?", nearest.as_ref()),
        None => {
            let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
            format!("unknown key {key}; the keys here are {}", known.join(", "))
        }
    }
}

/// Applies `key=value` in order. Values are YAML.
fn apply(config: RunConfig, sets: &[String]) -> anyhow::Result<RunConfig> {
    if sets.is_empty() {
        return Ok(config);
    }
    let mut tree = serde_json::to_value(&config)?;
    let mut changed = config;
    for set in sets {
        let Some((path, text)) = set.split_once('=') else {
            bail!("--set {set}: expected KEY=VALUE, as in optimizer.learning_rate=1e-4");
        };
        let value: Value = serde_saphyr::from_str(text)
            .map_err(|error| anyhow!("--set {set}: {}", reason(error.without_snippet())))?;
        *place(&mut tree, path).with_context(|| format!("--set {set}"))? = value;
        changed = serde_json::from_value(tree.clone())
            .with_context(|| format!("--set {set}: {text} is no value of {path}"))?;
    }
    Ok(changed)
}

/// Finds a key of the tree by its dotted path; elements of lists go by their number.
fn place<'t>(tree: &'t mut Value, path: &str) -> anyhow::Result<&'t mut Value> {
    let mut at = tree;
    for key in path.split('.') {
        at = match at {
            Value::Object(map) => {
                let known: Vec<String> = map.keys().cloned().collect();
                map.get_mut(key).ok_or_else(|| anyhow!(unknown(key, &known)))?
            }
            Value::Array(list) => {
                let n = list.len();
                let i: Option<usize> = key.parse().ok();
                i.and_then(|i| list.get_mut(i))
                    .ok_or_else(|| anyhow!("{key} is no place in a list of {n}, from 0"))?
            }
            _ => bail!("there are no keys below {}", path.split(key).next().unwrap_or(path)),
        };
    }
    Ok(at)
}

/// Prints a configuration as it is after presets and changes.
pub(crate) fn show(args: &ConfigArgs) -> anyhow::Result<()> {
    use std::io::Write as _;

    let yaml = args.load()?.to_yaml()?;
    write!(anstream::stdout(), "{yaml}").context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(config: &str, sets: &[&str]) -> anyhow::Result<RunConfig> {
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        ConfigArgs { config: config.to_owned(), sets }.load()
    }

    fn error(text: &str) -> String {
        format!("{:#}", parse("run.yaml", text).unwrap_err())
    }

    #[test]
    fn the_documented_file_holds_every_key_and_the_defaults() {
        let text = PRESETS[0].1;
        assert_eq!(parse("configs/training.yaml", text).unwrap(), RunConfig::default());
        let tree = serde_json::to_value(RunConfig::default()).unwrap();
        let mut paths = Vec::new();
        leaves(&tree, &mut paths);
        let named: Value = serde_saphyr::from_str(text).unwrap();
        let mut documented = Vec::new();
        leaves(&named, &mut documented);
        paths.sort();
        documented.sort();
        assert_eq!(documented, paths);
    }

    /// The keys that hold values; keys of list elements once each.
    fn leaves(value: &Value, paths: &mut Vec<String>) {
        fn walk(value: &Value, path: &str, paths: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    map.iter().for_each(|(key, v)| walk(v, &format!("{path}.{key}"), paths));
                }
                _ => paths.push(path.to_owned()),
            }
        }
        walk(value, "", paths);
    }

    #[test]
    fn presets_are_valid_and_differ() {
        let demo = load("cpu-demo", &[]).unwrap();
        let large = load("h200-qwen3-4b", &[]).unwrap();
        assert_eq!(demo.backbone.model, "smollm2-135m-instruct");
        assert_ne!(demo, RunConfig::default());
        assert_ne!(large.backbone.model, demo.backbone.model);
    }

    #[test]
    fn a_rendered_configuration_reads_back() {
        for (name, _) in PRESETS {
            let config = load(name, &[]).unwrap();
            assert_eq!(parse(name, &config.to_yaml().unwrap()).unwrap(), config, "{name}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_key_that_is_meant() {
        for (text, expected) in [
            (
                "seed: 1\noptimizer:\n  learnin_rate: 1e-4\n",
                "run.yaml:3:3: unknown key learnin_rate; did you mean learning_rate?",
            ),
            (
                "optimiser:\n  beta1: 0.9\n",
                "run.yaml:1:1: unknown key optimiser; did you mean optimizer?",
            ),
            (
                "rewards:\n  weights:\n    zzz: 1\n",
                "run.yaml:3:5: unknown key zzz; the keys here are structure, claims, decision",
            ),
            ("rl:\n  method: ppo\n", "run.yaml:2:11: ppo is none of pairwise, grpo_lite"),
        ] {
            assert_eq!(error(text), expected);
        }
        let text = error("seed: many\n");
        assert!(text.starts_with("run.yaml:1:7: "), "{text}");
    }

    #[test]
    fn sets_change_single_keys() {
        let sets = [
            "optimizer.learning_rate=1e-5",
            "rl.method=grpo_lite",
            "rewards.weights.claims=0",
            "data.sources.0.every=7",
            "tracking.mlflow_url=http://localhost:5000",
            "data.sources.0.tickers=[AAPL, IBM]",
        ];
        let config = load("default", &sets).unwrap();
        assert_eq!(config.optimizer.learning_rate, 1e-5);
        assert_eq!(config.rl.method, RlMethod::GrpoLite);
        assert_eq!(config.rewards.weights.claims, 0.0);
        assert_eq!(config.data.sources[0].every, 7);
        assert_eq!(config.tracking.mlflow_url.as_deref(), Some("http://localhost:5000"));
        assert_eq!(config.data.sources[0].tickers.len(), 2);
    }

    #[test]
    fn sets_that_do_not_fit_are_refused() {
        for (set, expected) in [
            ("optimizer.learning_rat=1", "did you mean learning_rate?"),
            ("optimizer", "expected KEY=VALUE"),
            ("seed.x=1", "there are no keys below seed"),
            ("seed=many", "many is no value of seed"),
            ("data.sources.9.every=1", "9 is no place in a list of 2"),
        ] {
            let error = format!("{:#}", load("default", &[set]).unwrap_err());
            assert!(error.contains(expected) && error.contains(set), "{error}");
        }
        let error = format!("{:#}", load("no-such.yaml", &[]).unwrap_err());
        assert!(
            error.contains("give a YAML file or a preset (default, ablation, cpu-demo"),
            "{error}"
        );
    }
}
