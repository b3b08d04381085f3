//! Whole theses of base and adapter, for a person to read.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use anyhow::Context as _;
use domain::{AsOfRead, Label};
use gradients::write_atomically;

use super::{Evaluation, Sides, markdown, quality::RulePhrases};
use crate::held_out::{Pair, Scored};

/// Theses of each universe.
const THESES: usize = 10;

/// Writes the page, whole or not at all.
///
/// # Errors
/// Fails where the file cannot be written.
pub(super) fn write(
    path: &Path,
    name: &str,
    evaluation: &Evaluation,
    pairs: &[Pair<'_>],
) -> anyhow::Result<()> {
    let page = page(name, evaluation, pairs);
    write_atomically(path, page.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

fn page(name: &str, evaluation: &Evaluation, pairs: &[Pair<'_>]) -> String {
    let Sides { contexts, dates, .. } = &evaluation.all;
    let mut page = format!("# Theses of {name} and of its untuned base\n\n");
    let _ = writeln!(
        page,
        "{contexts} contexts of {dates} test dates, which nothing was trained or chosen on. Both \
         models had the same prompts, grammars and seeds; decisions are without a calibration.\n"
    );
    page.push_str(&markdown(&evaluation.all.rows()));
    for (universe, sides) in &evaluation.universes {
        let Sides { contexts, dates, .. } = sides;
        let _ = writeln!(page, "\n{universe}: {contexts} contexts of {dates} dates.\n");
        page.push_str(&markdown(&sides.rows()));
    }
    let mut universes: BTreeMap<&str, Vec<&Pair<'_>>> = BTreeMap::new();
    for pair in pairs {
        universes.entry(&pair.held.universe).or_default().push(pair);
    }
    for (universe, mut pairs) in universes {
        let _ = writeln!(page, "\n## Theses of {universe}\n");
        // One of each run of adjacent dates before its others: they resemble each other.
        pairs.sort_by_key(|pair| !pair.held.is_first);
        pairs.into_iter().take(THESES).for_each(|pair| thesis(&mut page, pair));
    }
    phrases(&mut page, &evaluation.all);
    page
}

fn thesis(page: &mut String, pair: &Pair<'_>) {
    let case = &pair.held.case;
    let (company, ticker, as_of) = (case.read.company(), case.read.ticker(), case.read.as_of());
    let (label, z) = (case.realised.label, case.realised.z());
    let _ = writeln!(page, "### {company} ({ticker}), {as_of}\n\nRealised: {label} (z {z:+.2}).\n");
    for (name, scored) in ["Base", "Adapter"].into_iter().zip(pair.sides) {
        let probs = Label::ALL.iter().zip(scored.probs.values());
        let probs: Vec<String> = probs.map(|(label, p)| format!("{label} {p:.2}")).collect();
        let decided = scored.probs.argmax();
        let reward = scored.reward.total;
        let _ = writeln!(
            page,
            "**{name}** decides {decided} ({}); reward {reward:+.3}.\n",
            probs.join(", ")
        );
        claims(page, &case.read, scored);
    }
}

fn claims(page: &mut String, read: &AsOfRead, scored: &Scored) {
    for claim in &scored.claims {
        let _ = writeln!(page, "- {}: {}", claim.section, claim.text);
        if let Some(item) = read.item(claim.evidence) {
            let (text, provenance) = (item.text(), item.provenance());
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let known = provenance.known_at.date_naive();
            let _ =
                writeln!(page, "  - {}: {text} ({}, known {known})", item.id, provenance.source);
        }
        if let Err(refutation) = contract::verify(read, claim) {
            let _ = writeln!(page, "  - refuted: it {refutation}");
        }
    }
    page.push('\n');
}

/// How varied the words of each rule are.
fn phrases(page: &mut String, sides: &Sides) {
    let _ = writeln!(page, "\n## Phrases\n\nDifferent phrases used of each rule's, and the share");
    let _ = writeln!(page, "of the one used most.\n");
    let _ =
        writeln!(page, "| rule | offered | base | | adapter | |\n|---|---:|---:|---:|---:|---:|");
    let of = |rules: &BTreeMap<String, RulePhrases>, rule: &str| match rules.get(rule) {
        Some(found) => format!("{} | {:.0} %", found.distinct, 100.0 * found.most_used_share),
        None => "- | -".to_owned(),
    };
    let (base, adapter) = (&sides.base.phrases.rules, &sides.adapter.phrases.rules);
    let mut rules: Vec<&String> = base.keys().chain(adapter.keys()).collect();
    rules.sort();
    rules.dedup();
    for rule in rules {
        let offered = contract::phrases(rule).len();
        let _ =
            writeln!(page, "| {rule} | {offered} | {} | {} |", of(base, rule), of(adapter, rule));
    }
}
