//! Two models side by side, in a terminal and in pages.

use std::{collections::BTreeMap, fmt::Write as _};

use domain::Label;

use super::{Sides, quality::Quality};
use crate::held_out::Difference;

/// What the numbers of means are called, in the order of the table.
const MEANS: [(&str, &str); 14] = [
    ("reward.total", "reward"),
    ("reward.structure", "reward: structure"),
    ("reward.presence", "  sections present"),
    ("reward.validity", "  valid answers"),
    ("reward.budget", "  token budgets kept"),
    ("reward.claims", "reward: claims"),
    ("reward.coverage", "  claims that cite evidence"),
    ("reward.correctness", "  of these upheld"),
    ("reward.unsupported", "  unsupported claims"),
    ("reward.decision", "reward: decision"),
    ("reward.accuracy", "  accuracy in units of abs(z)"),
    ("reward.cost", "  cost of wrong labels"),
    ("reward.smoothness", "  penalty on changed labels"),
    ("decision.log_loss", "log-loss of the raw decision"),
];

/// A line of the table.
pub(crate) struct Row {
    name: String,
    sides: [String; 2],
    /// The second side less the first, with its interval.
    difference: String,
}

/// Returns the rows of what a reward is made of.
pub(crate) fn means(
    sides: [&BTreeMap<String, f64>; 2],
    differences: &BTreeMap<String, Difference>,
) -> Vec<Row> {
    let row = |(key, name): (&str, &str)| Row {
        name: name.to_owned(),
        sides: sides.map(|means| means.get(key).copied().map_or("-".into(), number)),
        difference: differences.get(key).map(shown).unwrap_or_default(),
    };
    MEANS.into_iter().map(row).collect()
}

impl Sides {
    /// Returns the table of base and adapter.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = means([&self.base.means, &self.adapter.means], &self.differences);
        let mut row = |name: String, of: &dyn Fn(&Quality) -> String| {
            let sides = [&self.base, &self.adapter].map(of);
            rows.push(Row { name, sides, difference: String::new() });
        };
        row("claims made".into(), &|q| q.claims.made.to_string());
        row("claims upheld by verification".into(), &|q| percent(q.claims.correctness));
        row("sections with a duplicate".into(), &|q| percent(q.sections.duplicate_share));
        row("sections with an empty claim".into(), &|q| percent(q.sections.empty_share));
        row("different phrases".into(), &|q| q.phrases.distinct.to_string());
        row("most used phrase of a rule".into(), &|q| percent(q.phrases.most_used_share));
        for label in Label::ALL {
            let key = label.to_string();
            let realised = percent(self.realised.get(&key).copied().unwrap_or_default());
            row(format!("decided {label}, realised {realised}"), &|q| {
                percent(q.decisions.get(&key).copied().unwrap_or_default())
            });
        }
        rows
    }
}

/// Renders rows for a terminal.
pub(crate) fn aligned(sides: [&str; 2], rows: &[Row]) -> String {
    let head = Row {
        name: String::new(),
        sides: sides.map(str::to_owned),
        difference: "difference (95 % interval)".to_owned(),
    };
    let mut text = String::new();
    for Row { name, sides: [first, second], difference } in [&head].into_iter().chain(rows) {
        let line = format!("{name:34} {first:>9} {second:>9}  {difference}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Renders rows of base and adapter as a table in Markdown.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| | base | adapter | difference (95 % interval) |\n");
    text.push_str("|---|---:|---:|---|\n");
    for Row { name, sides: [base, adapter], difference } in rows {
        let _ = writeln!(text, "| {} | {base} | {adapter} | {difference} |", name.trim_start());
    }
    text
}

/// Renders a number with four decimals.
pub(crate) fn number(value: f64) -> String {
    format!("{value:.4}")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn shown(difference: &Difference) -> String {
    let interval = difference.interval.as_ref().map_or(String::new(), |interval| {
        format!(" ({:+.4} to {:+.4})", interval.lower, interval.upper)
    });
    format!("{:+.4}{interval}", difference.mean)
}
