//! The Lark grammar (llguidance dialect) of one request.
//!
//! The model chooses evidence first and then writes about it, so the grammar of
//! a claim's text depends on the item: a claim on a number names the number and
//! its exact value, then reads it in words; a claim on a text is that text, shortened. Two claims of a section never cite the
//! same item. A section whose only item says that there is no data abstains.

use std::{collections::BTreeSet, fmt::Write as _};

use domain::{AsOfRead, EvidenceItem, EvidenceKind, Feature, Section, Snippet};

use crate::{
    direction::{Direction, directions, supported},
    numbers::words,
};

const TERMINALS: &str = include_str!("../../../grammars/claims.lark");

/// Words after which a sentence is unfinished.
const OPEN_ENDED: [&str; 65] = [
    "the", "and", "a", "an", "of", "to", "in", "on", "at", "by", "as", "is", "but", "for", "nor",
    "with", "from", "into", "onto", "over", "under", "than", "that", "this", "these", "those",
    "which", "who", "whose", "its", "his", "her", "their", "our", "your", "has", "have", "had",
    "was", "were", "are", "been", "being", "will", "would", "can", "could", "may", "might",
    "should", "must", "not", "very", "more", "most", "about", "between", "such", "because",
    "while", "when", "where", "also", "other", "any",
];

/// How a claim on a text begins: it passes on what somebody else has said.
const REPORTED: &str = "Reported:";
/// Fewest words of a claim on a text, where the text has twice as many.
const WORDS_MIN: usize = 5;

/// Returns the grammar of the whole generation, from the opening brace up to
/// the quote before the decision code. `O(n^2)` rules in the items of a section.
#[must_use]
pub fn grammar(read: &AsOfRead) -> String {
    let mut rules = String::from("start: \"{\" ");
    for (i, section) in Section::ALL.into_iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let open = literal(&format!("{comma}\"{section}\":["));
        let _ = write!(rules, "{open} {section} \"]\" ");
    }
    let _ = writeln!(rules, "{}", literal(",\"decision\":\""));
    for section in Section::ALL {
        let items: Vec<&EvidenceItem> = read.section(section).collect();
        let _ = writeln!(rules, "{section}: {}", pairs(&items));
    }
    for item in read.catalogue() {
        rules.push_str(&claim_rule(item, &BTreeSet::new()));
    }
    rules + TERMINALS
}

/// Returns the grammar of a single claim on `item` that asserts none of the
/// directions `without`: what a refuted claim is decoded again under.
#[must_use]
pub fn claim_grammar(item: &EvidenceItem, without: &BTreeSet<Direction>) -> String {
    let id = item.id.0;
    format!("start: c{id}\n{}{}", claim_rule(item, without), TERMINALS)
}

/// Returns the grammar of nothing at all: the decision is read from the logits
/// right after the prefill.
#[must_use]
pub fn decision_grammar() -> String {
    "start: \"\"\n".to_owned()
}

/// Two claims on distinct items in either order, or the only one there is. A
/// section with texts and numbers cites one of each, the text first.
fn pairs(items: &[&EvidenceItem]) -> String {
    let is_text = |item: &EvidenceItem| matches!(item.kind, EvidenceKind::Text(_));
    let rule = |items: &mut dyn Iterator<Item = &&EvidenceItem>| {
        items.map(|item| format!("c{}", item.id.0)).collect::<Vec<_>>().join(" | ")
    };
    let (texts, numbers): (Vec<_>, Vec<_>) = items.iter().partition(|item| is_text(item));
    if let [only] = items {
        return format!("c{}", only.id.0);
    }
    if !texts.is_empty() && !numbers.is_empty() {
        let (texts, numbers) = (rule(&mut texts.into_iter()), rule(&mut numbers.into_iter()));
        return format!("({texts}) \",\" ({numbers})");
    }
    let pair = |first: &&EvidenceItem| {
        let others = rule(&mut items.iter().filter(|item| item.id != first.id));
        format!("c{} \",\" ({others})", first.id.0)
    };
    items.iter().map(pair).collect::<Vec<_>>().join(" | ")
}

fn claim_rule(item: &EvidenceItem, without: &BTreeSet<Direction>) -> String {
    let id = item.id.0;
    let open = format!("{{\"e\":[\"{}\"],\"c\":\"", item.id);
    match &item.kind {
        EvidenceKind::Numeric(feature) if feature.coverage => {
            let text = literal(&format!("{open}{}\"}}", abstention(feature)));
            format!("c{id}: {text}\n")
        }
        EvidenceKind::Numeric(feature) => {
            let lead = literal(&format!("{open}The {}", feature.title));
            let value = literal(&feature.rendered());
            let tail = match supported(item).first() {
                None => "FLAT",
                Some(Direction::Up) => "UP",
                Some(Direction::Down) => "DOWN",
            };
            format!("c{id}: {lead} COPULA {value} TAIL_{tail} \"\\\"}}\"\n")
        }
        EvidenceKind::Text(snippet) => text_claim_rule(id, &open, snippet, without),
    }
}

/// The snippet's words in their order, some left out: a claim can shorten the
/// text, but neither add to it nor repeat itself.
fn text_claim_rule(
    id: u16,
    open: &str,
    snippet: &Snippet,
    without: &BTreeSet<Direction>,
) -> String {
    let own: Vec<&str> =
        words(&snippet.text).filter(|word| directions(word).is_disjoint(without)).collect();
    let optional = own.iter().map(|word| format!("({})? ", literal(&format!(" {word}"))));
    // A short text may need words dropped to end well.
    let at_least = (own.len() / 2).min(WORDS_MIN);
    format!(
        "c{id}: {open} SHORT{id} \"\\\"}}\"\n\
         SHORT{id}: TEXT{id} & /{REPORTED}( [^ ]+){{{at_least},}}\\.?/ & ~/(.*) ({open_ended})\\./\n\
         TEXT{id}: \"{REPORTED}\" {words}\".\"\n",
        open = literal(open),
        open_ended = OPEN_ENDED.join("|"),
        words = optional.collect::<String>(),
    )
}

/// The sentence of a section that has nothing to go on.
pub(crate) fn abstention(coverage: &Feature) -> String {
    let (title, count) = (&coverage.title, coverage.rendered());
    format!("This section abstains: the count of {title} is {count}.")
}

/// Spells a Lark string literal; JSON's escapes are Lark's.
fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
