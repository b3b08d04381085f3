//! The Lark grammar (llguidance dialect) of one request.
//!
//! The model chooses evidence first and then writes about it, so the grammar of
//! a claim's text depends on the item: a claim on a number names the number and
//! its exact value, then reads it in words; a claim on a text uses the words and
//! numbers of that text only. Two claims of a section never cite the
//! same item. A section whose only item says that there is no data abstains.

use std::{collections::BTreeSet, fmt::Write as _};

use domain::{AsOfRead, EvidenceItem, EvidenceKind, Feature, Section, Snippet};

use crate::{
    direction::{Direction, directions, supported},
    numbers::words,
};

const TERMINALS: &str = include_str!("../../../grammars/claims.lark");

/// Words after which a sentence is unfinished.
const OPEN_ENDED: [&str; 55] = [
    "the", "and", "but", "for", "nor", "with", "from", "into", "onto", "over", "under", "than",
    "that", "this", "these", "those", "which", "who", "whose", "its", "his", "her", "their", "our",
    "your", "has", "have", "had", "was", "were", "are", "been", "being", "will", "would", "can",
    "could", "may", "might", "should", "must", "not", "very", "more", "most", "about", "between",
    "such", "because", "while", "when", "where", "also", "other", "any",
];

/// How a claim on a text may begin, besides that text's own capitalised words.
const CAPITAL_ONLY: [&str; 3] = ["The", "A", "It"];

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
        rules.push_str(&claim_rule(read, item, &BTreeSet::new()));
    }
    rules + TERMINALS
}

/// Returns the grammar of a single claim on `item` that asserts none of the
/// directions `without`: what a refuted claim is decoded again under.
#[must_use]
pub fn claim_grammar(
    read: &AsOfRead,
    item: &EvidenceItem,
    without: &BTreeSet<Direction>,
) -> String {
    let id = item.id.0;
    format!("start: c{id}\n{}{}", claim_rule(read, item, without), TERMINALS)
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

fn claim_rule(read: &AsOfRead, item: &EvidenceItem, without: &BTreeSet<Direction>) -> String {
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
        EvidenceKind::Text(snippet) => text_claim_rule(read, id, &open, snippet, without),
    }
}

/// A sentence of 6 to 17 words of the snippet itself, in any order, joined by
/// words that add nothing: it can shorten the text, not add to it.
fn text_claim_rule(
    read: &AsOfRead,
    id: u16,
    open: &str,
    snippet: &Snippet,
    without: &BTreeSet<Direction>,
) -> String {
    let company: Vec<&str> = words(read.company()).take(1).collect();
    let own: BTreeSet<&str> = words(&snippet.text)
        .chain([read.ticker().as_str()])
        .chain(company)
        .filter(|word| directions(word).is_disjoint(without))
        .collect();
    let capital = |word: &&&str| word.starts_with(|c: char| c.is_ascii_uppercase());
    let closes = |word: &&&str| {
        let lower = word.to_ascii_lowercase();
        word.len() > 2
            && word.bytes().all(|b| b.is_ascii_alphabetic())
            && !OPEN_ENDED.contains(&lower.as_str())
            && !CAPITAL_ONLY.contains(word)
    };
    let any_of = |words: &mut dyn Iterator<Item = &str>| {
        words.map(literal).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" | ")
    };
    let all = any_of(&mut own.iter().copied());
    let openers = any_of(&mut own.iter().filter(capital).copied().chain(CAPITAL_ONLY));
    // The ticker closes a sentence where no other word of the text can.
    let last = any_of(&mut own.iter().filter(closes).copied().chain([read.ticker().as_str()]));
    format!(
        "c{id}: {open} OPENER{id} REST{id} \"\\\"}}\"\n\
         OPENER{id}: {openers}\n\
         REST{id}: (SEP (GLUE | OWN{id})){{4,15}} \" \" LAST{id} \".\"\n\
         OWN{id}: {all}\n\
         LAST{id}: {last}\n",
        open = literal(open),
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
