//! Snapshots of what the model reads, and of the prefills for a second attempt.

use std::collections::BTreeSet;

use contract::{DraftClaim, claim_grammar, claim_prefill, decision_prefill, grammar, render};
use domain::{EvidenceId, Section};

use crate::sample;

#[test]
fn prompt() {
    let prompt = render(&sample::read());
    insta::assert_snapshot!("system", prompt.system);
    insta::assert_snapshot!("user", prompt.user);
}

#[test]
fn grammars() {
    let read = sample::read();
    insta::assert_snapshot!("grammar", grammar(&read));
    let item = read.item(EvidenceId(5)).unwrap();
    insta::assert_snapshot!("claim_grammar", claim_grammar(item, &BTreeSet::new()));
}

#[test]
fn prefills_are_prefixes_of_the_generation() {
    let claims: Vec<DraftClaim> = [
        (Section::Market, 1, "First."),
        (Section::Market, 2, "Second."),
        (Section::Fundamentals, 3, "Third."),
        (Section::Sentiment, 4, "Fourth."),
        (Section::Technicals, 7, "Fifth."),
        (Section::Insider, 9, "Sixth."),
        (Section::Risks, 10, "Seventh."),
    ]
    .map(|(section, id, text)| DraftClaim { section, evidence: EvidenceId(id), text: text.into() })
    .to_vec();
    let whole = decision_prefill(&claims);
    insta::assert_snapshot!("decision_prefill", whole);
    for position in 0..claims.len() {
        let prefill = claim_prefill(&claims, position);
        assert!(whole.starts_with(&prefill), "{position}: {prefill}");
        assert!(prefill.ends_with(['[', ',']), "{position}: {prefill}");
    }
    assert_eq!(contract::parse(&whole).unwrap().claims, claims);
}
