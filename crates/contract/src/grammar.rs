//! The Lark grammar (llguidance dialect) of one request.
//!
//! The model chooses evidence first and then writes about it, so the grammar of
//! a claim's text depends on the item: a claim on a number names the number and
//! its exact value, then reads it in words; a claim on a text uses capitalised
//! words and numbers of that text only. Two claims of a section never cite the
//! same item. A section whose only item says that there is no data abstains.

use std::{collections::BTreeSet, fmt::Write as _};

use domain::{AsOfRead, EvidenceItem, EvidenceKind, Feature, Section, Snippet};

use crate::{
    direction::{Direction, supported},
    numbers::{NUMBER_WORDS, number_words, words},
};

const COMMON: &str = include_str!("../../../grammars/common.lark");
const WORDS: &str = include_str!("../../../grammars/words.lark");

/// Words after which a sentence is unfinished.
const OPEN_ENDED: [&str; 55] = [
    "the", "and", "but", "for", "nor", "with", "from", "into", "onto", "over", "under", "than",
    "that", "this", "these", "those", "which", "who", "whose", "its", "his", "her", "their", "our",
    "your", "has", "have", "had", "was", "were", "are", "been", "being", "will", "would", "can",
    "could", "may", "might", "should", "must", "not", "very", "more", "most", "about", "between",
    "such", "because", "while", "when", "where", "also", "other", "any",
];

/// How a claim on a text may begin, besides that text's own capitalised words.
const OPENERS: [&str; 8] = [
    "The",
    "Analysts",
    "Investors",
    "News",
    "Reports",
    "Coverage",
    "Shares",
    "Management",
];

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
        rules.push_str(&claim_rule(read, item));
    }
    rules + &terminals(read.catalogue().iter(), &BTreeSet::new())
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
    format!(
        "start: c{id}\n{}{}",
        claim_rule(read, item),
        terminals(std::iter::once(item), without)
    )
}

/// Returns the grammar of nothing at all: the decision is read from the logits
/// right after the prefill.
#[must_use]
pub fn decision_grammar() -> String {
    "start: \"\"\n".to_owned()
}

/// Two claims on distinct items in either order, or the only one there is.
fn pairs(items: &[&EvidenceItem]) -> String {
    if let [only] = items {
        return format!("c{}", only.id.0);
    }
    let pair = |first: &EvidenceItem| {
        let others = items.iter().filter(|item| item.id != first.id);
        let others: Vec<String> = others.map(|item| format!("c{}", item.id.0)).collect();
        format!("c{} \",\" ({})", first.id.0, others.join(" | "))
    };
    items
        .iter()
        .map(|item| pair(item))
        .collect::<Vec<_>>()
        .join(" | ")
}

fn claim_rule(read: &AsOfRead, item: &EvidenceItem) -> String {
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
            let tail = Vocabulary::of(item).suffix();
            format!("c{id}: {lead} COPULA {value} TAIL{tail} \"\\\"}}\"\n")
        }
        EvidenceKind::Text(snippet) => text_claim_rule(read, id, &open, snippet),
    }
}

/// A sentence of 6 to 17 words over the snippet's vocabulary of names and numbers.
fn text_claim_rule(read: &AsOfRead, id: u16, open: &str, snippet: &Snippet) -> String {
    let numbers = number_words(&snippet.text);
    let mut names: BTreeSet<&str> = words(&snippet.text)
        .filter(|word| word.bytes().any(|b| b.is_ascii_uppercase()))
        .filter(|word| !numbers.contains(word))
        .collect();
    names.insert(read.ticker().as_str());
    names.extend(words(read.company()).take(1));
    let openers: BTreeSet<&str> = names
        .iter()
        .copied()
        .filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase()))
        .chain(OPENERS)
        .collect();
    let token: Vec<String> = names
        .iter()
        .chain(&numbers)
        .map(|word| literal(word))
        .collect();
    let opener: Vec<String> = openers.iter().map(|word| literal(word)).collect();
    format!(
        "c{id}: {open} OPENER{id} REST{id} \"\\\"}}\"\n\
         TOKEN{id}: WORD | {tokens}\n\
         OPENER{id}: {openers}\n\
         REST{id}: (SEP TOKEN{id}){{4,15}} \" \" LAST \".\"\n",
        open = literal(open),
        tokens = token.join(" | "),
        openers = opener.join(" | "),
    )
}

/// The sentence of a section that has nothing to go on.
pub(crate) fn abstention(coverage: &Feature) -> String {
    let (title, count) = (&coverage.title, coverage.rendered());
    format!("This section abstains: the count of {title} is {count}.")
}

/// Returns the terminals of every vocabulary that claims on `items` use; a claim
/// on a text may not assert the directions `without`.
fn terminals<'a>(
    items: impl Iterator<Item = &'a EvidenceItem>,
    without: &BTreeSet<Direction>,
) -> String {
    let vocabularies: BTreeSet<Vocabulary> = items.map(Vocabulary::of).collect();
    let words = vocabularies.into_iter().map(|vocabulary| {
        let banned = |d: &Direction| match vocabulary {
            Vocabulary::Text => without.contains(d),
            Vocabulary::Reading(supported) => supported != Some(*d),
        };
        let directions = Direction::ALL.into_iter().filter(banned).flat_map(Direction::words);
        let excluded: Vec<&str> = NUMBER_WORDS.into_iter().chain(directions).collect();
        WORDS
            .replace("@SUFFIX@", vocabulary.suffix())
            .replace("@EXCLUDED@", &excluded.join("|"))
            .replace("@OPEN_ENDED@", &OPEN_ENDED.join("|"))
    });
    words.fold(COMMON.to_owned(), |all, words| all + &words)
}

/// Which words a claim may use. What a number supports is known, so a reading of
/// it cannot contradict its sign; what a text supports is judged afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Vocabulary {
    /// Any words but number words.
    Text,
    /// The words that go with the sign of a number.
    Reading(Option<Direction>),
}

impl Vocabulary {
    fn of(item: &EvidenceItem) -> Self {
        match item.kind {
            EvidenceKind::Text(_) => Self::Text,
            EvidenceKind::Numeric(_) => Self::Reading(supported(item).first().copied()),
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Text => "",
            Self::Reading(None) => "_FLAT",
            Self::Reading(Some(Direction::Up)) => "_UP",
            Self::Reading(Some(Direction::Down)) => "_DOWN",
        }
    }
}

/// Spells a Lark string literal; JSON's escapes are Lark's.
fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
