//! What a corpus holds, for people and programs.

use std::{collections::BTreeMap, fmt::Write as _};

use contract::Plan;
use domain::{AsOfRead, EvidenceKind, Label};
use serde::Serialize;

use super::{
    contexts::ContextRef,
    split::{Calendar, Part},
};
use crate::{distill::Imported, teacher::Lesson};

/// Theses of each universe that the page prints in full.
const SAMPLES: usize = 10;

/// Counts over a corpus.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Statistics {
    /// Parts by their names.
    parts: BTreeMap<&'static str, PartStatistics>,
    /// How often a text of each rule was written.
    phrases: BTreeMap<String, BTreeMap<String, u64>>,
    /// How often each feature, or a text, was cited.
    evidence: BTreeMap<String, u64>,
    /// How often each was there to be cited.
    offered: BTreeMap<String, u64>,
    /// Contexts left out because their prompt was there before.
    duplicates: u64,
    /// Different texts checked against the serving grammar.
    grammar_checks: usize,
    /// What theses of another model have given, where there were some.
    #[serde(skip_serializing_if = "Option::is_none")]
    distilled: Option<Imported>,
    #[serde(skip)]
    samples: BTreeMap<String, Vec<String>>,
}

/// Counts over one part.
#[derive(Debug, Default, Serialize)]
struct PartStatistics {
    /// Dates of each universe, first and last.
    dates: BTreeMap<String, String>,
    /// Contexts of each universe.
    contexts: BTreeMap<String, u64>,
    /// Contexts with each label, from `SSell` to `SBuy`.
    labels: [u64; 5],
    /// Contexts without a label.
    unlabelled: u64,
    /// Claims of all theses.
    claims: u64,
    /// Claims that only say that there is no data.
    abstentions: u64,
    /// Bytes of prompts, without the system text.
    prompt_bytes: Lengths,
    /// Bytes of what the model answers before the decision.
    answer_bytes: Lengths,
    /// Bytes of what follows the lead of a claim.
    phrase_bytes: Lengths,
}

/// Least, mean and most of some lengths.
#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Lengths {
    count: u64,
    min: u64,
    max: u64,
    sum: u64,
}

impl Lengths {
    fn add(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.min = if self.count == 0 { bytes } else { self.min.min(bytes) };
        self.max = self.max.max(bytes);
        self.sum += bytes;
        self.count += 1;
    }

    fn mean(&self) -> f64 {
        self.sum as f64 / self.count.max(1) as f64
    }
}

impl Statistics {
    /// Notes a context that was left out.
    pub(crate) fn duplicate(&mut self) {
        self.duplicates += 1;
    }

    /// Counts a context and its thesis.
    pub(crate) fn add(
        &mut self,
        universe: &str,
        context: &ContextRef,
        read: &AsOfRead,
        lesson: &Lesson,
    ) -> anyhow::Result<()> {
        let Lesson { plan, picks } = lesson;
        let part = self.parts.entry(context.part.key()).or_default();
        *part.contexts.entry(universe.to_owned()).or_default() += 1;
        match context.label {
            Some((label, _)) => part.labels[label.index()] += 1,
            None => part.unlabelled += 1,
        }
        part.prompt_bytes.add(plan.day.len() + plan.user.len());
        part.answer_bytes.add(plan.decision(picks).len());
        for choice in plan.sections.iter().flat_map(|section| &section.choices) {
            *self.offered.entry(named(read, choice.evidence)).or_default() += 1;
        }
        for (section, picks) in plan.sections.iter().zip(picks) {
            for pick in picks {
                let choice = &section.choices[pick.choice];
                *self.evidence.entry(named(read, choice.evidence)).or_default() += 1;
                part.claims += 1;
                match &choice.rule {
                    Some(rule) => {
                        part.phrase_bytes.add(pick.text.len());
                        let texts = self.phrases.entry(rule.clone()).or_default();
                        *texts.entry(pick.text.clone()).or_default() += 1;
                    }
                    None => part.abstentions += 1,
                }
            }
        }
        let samples = self.samples.entry(universe.to_owned()).or_default();
        if context.part != Part::Test && samples.len() < SAMPLES {
            samples.push(thesis(context, read, plan, lesson)?);
        }
        Ok(())
    }

    /// Completes the counts once the corpus is written.
    pub(crate) fn finish(
        &mut self,
        grammar_checks: usize,
        spans: &[(String, &Calendar)],
        distilled: Option<Imported>,
    ) {
        self.grammar_checks = grammar_checks;
        self.distilled = distilled;
        for (universe, calendar) in spans {
            for part in Part::ALL {
                let span = calendar.span(part).zip(self.parts.get_mut(part.key()));
                if let Some(((first, last), part)) = span {
                    part.dates.insert(universe.clone(), format!("{first} to {last}"));
                }
            }
        }
    }

    /// Returns what theses of another model have given.
    pub(crate) const fn imported(&self) -> Option<&Imported> {
        self.distilled.as_ref()
    }

    /// Returns the contexts of all parts.
    pub(crate) fn contexts(&self) -> u64 {
        self.parts.values().flat_map(|part| part.contexts.values()).sum()
    }

    /// Returns the claims of all parts.
    pub(crate) fn claims(&self) -> u64 {
        self.parts.values().map(|part| part.claims).sum()
    }

    /// Returns how many different phrases were written.
    pub(crate) fn distinct_phrases(&self) -> usize {
        self.phrases.values().map(BTreeMap::len).sum()
    }

    /// Renders the page, Markdown.
    pub(crate) fn page(&self, title: &str) -> String {
        let mut page = format!("# {title}\n\n");
        let _ = writeln!(
            page,
            "{} contexts, {} claims, all accepted by the serving grammar ({} different texts) and \
             upheld by verification; {} contexts left out as duplicates.\n",
            self.contexts(),
            self.claims(),
            self.grammar_checks,
            self.duplicates
        );
        if let Some(Imported { sha256, counts }) = &self.distilled {
            let _ = writeln!(page, "Of another model (file of SHA-256 {sha256}): {counts}.\n");
        }
        self.parts_table(&mut page);
        self.evidence_table(&mut page);
        self.phrases_table(&mut page);
        let _ = writeln!(page, "## Theses\n\nThe first of each universe, in full.\n");
        self.samples.values().flatten().for_each(|sample| page.push_str(sample));
        page
    }

    fn parts_table(&self, page: &mut String) {
        let labels = Label::ALL.map(|label| label.to_string()).join(" | ");
        let _ = writeln!(page, "## Parts\n\n| part | universe | dates | contexts |");
        let _ = writeln!(page, "|---|---|---|---:|");
        for (name, part) in &self.parts {
            for (universe, contexts) in &part.contexts {
                let dates = part.dates.get(universe).map_or("", String::as_str);
                let _ = writeln!(page, "| {name} | {universe} | {dates} | {contexts} |");
            }
        }
        let _ = writeln!(page, "\nShares of the labels in percent, and rows without one.\n");
        let _ = writeln!(page, "| part | {labels} | labelled | without |");
        let _ = writeln!(page, "|---|---:|---:|---:|---:|---:|---:|---:|");
        for (name, part) in &self.parts {
            let labelled: u64 = part.labels.iter().sum();
            let share = |n: u64| format!("{:.1}", 100.0 * n as f64 / labelled.max(1) as f64);
            let shares = part.labels.map(share).join(" | ");
            let _ = writeln!(page, "| {name} | {shares} | {labelled} | {} |", part.unlabelled);
        }
        let _ = writeln!(page, "\nLengths in bytes: least, mean, most.\n");
        let _ = writeln!(page, "| part | prompt | answer | phrase | claims | abstentions |");
        let _ = writeln!(page, "|---|---|---|---|---:|---:|");
        for (name, part) in &self.parts {
            let show = |l: Lengths| format!("{}, {:.0}, {}", l.min, l.mean(), l.max);
            let _ = writeln!(
                page,
                "| {name} | {} | {} | {} | {} | {} |",
                show(part.prompt_bytes),
                show(part.answer_bytes),
                show(part.phrase_bytes),
                part.claims,
                part.abstentions
            );
        }
        page.push('\n');
    }

    fn evidence_table(&self, page: &mut String) {
        let _ = writeln!(page, "## Evidence\n\n| evidence | offered | cited | share |");
        let _ = writeln!(page, "|---|---:|---:|---:|");
        for (name, offered) in &self.offered {
            let cited = self.evidence.get(name).copied().unwrap_or_default();
            let share = 100.0 * cited as f64 / (*offered).max(1) as f64;
            let _ = writeln!(page, "| {name} | {offered} | {cited} | {share:.0} % |");
        }
        page.push('\n');
    }

    fn phrases_table(&self, page: &mut String) {
        let _ = writeln!(page, "## Phrases\n\n| rule | phrase | times |\n|---|---|---:|");
        for (rule, texts) in &self.phrases {
            for (text, times) in texts {
                let _ = writeln!(page, "| {rule} | {text} | {times} |");
            }
        }
        page.push('\n');
    }
}

/// How the tables call an item: a feature by its name, texts by their section.
fn named(read: &AsOfRead, id: domain::EvidenceId) -> String {
    match read.item(id).map(|item| (&item.kind, item.section())) {
        Some((EvidenceKind::Numeric(feature), _)) => feature.name.clone(),
        Some((EvidenceKind::Text(_), section)) => format!("text of {section}"),
        None => "nothing".to_owned(),
    }
}

/// A thesis as a person reads it.
fn thesis(
    context: &ContextRef,
    read: &AsOfRead,
    plan: &Plan,
    lesson: &Lesson,
) -> anyhow::Result<String> {
    let (company, ticker) = (read.company(), read.ticker());
    let mut text = format!("### {company} ({ticker}), {}\n\n", read.as_of());
    for claim in plan.claims(&lesson.picks)? {
        let _ = writeln!(text, "- {}: {}", claim.section, claim.text);
    }
    let _ = match context.label {
        Some((label, z)) => writeln!(text, "- decision: {label} (z {z:+.2})\n"),
        None => writeln!(text, "- decision: none, the past or the future is not complete\n"),
    };
    Ok(text)
}
