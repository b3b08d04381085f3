//! What the grammars let through, and that verification catches the rest.

use std::{collections::BTreeSet, sync::Arc};

use contract::{
    Direction, DraftClaim, Refutation, claim_grammar, decision_grammar, grammar, parse,
    parse_claim, verify,
};
use domain::{AsOfRead, EvidenceId, Section};
use llguidance::{Matcher, ParserFactory, api::TopLevelGrammar};
use proptest::prelude::*;
use toktrie::{ApproximateTokEnv, TokEnv};

use crate::sample;

fn matcher(lark: &str) -> Matcher {
    let env: TokEnv = ApproximateTokEnv::single_byte_env();
    let mut factory = ParserFactory::new_simple(&env).unwrap();
    factory.quiet();
    let parser = factory.create_parser(TopLevelGrammar::from_lark(lark.to_owned()));
    let matcher = Matcher::new(parser);
    assert_eq!(matcher.get_error(), None, "{lark}");
    matcher
}

/// Returns how many bytes of `text` the grammar takes, and whether it ends there.
fn takes(lark: &str, text: &str) -> (usize, bool) {
    let mut matcher = matcher(lark);
    for (i, byte) in text.bytes().enumerate() {
        let mask = matcher.compute_mask_or_eos().unwrap();
        if !mask.is_allowed(u32::from(byte)) {
            return (i, false);
        }
        matcher.consume_token(u32::from(byte)).unwrap();
    }
    (text.len(), matcher.is_accepting().unwrap() || matcher.is_stopped())
}

/// Writes one text of the grammar, choosing among the allowed bytes by `choices`.
fn walk(lark: &str, choices: &mut impl Iterator<Item = u8>) -> String {
    let mut matcher = matcher(lark);
    let mut text = Vec::new();
    while !matcher.is_stopped() {
        let mask = matcher.compute_mask_or_eos().unwrap();
        let allowed: Vec<u8> = (0..=255u8).filter(|b| mask.is_allowed(u32::from(*b))).collect();
        if allowed.is_empty() || (matcher.is_accepting().unwrap() && text.len() > 4000) {
            break;
        }
        let byte = allowed[usize::from(choices.next().unwrap()) % allowed.len()];
        matcher.consume_token(u32::from(byte)).unwrap();
        text.push(byte);
    }
    String::from_utf8(text).unwrap()
}

fn claim_on(read: &AsOfRead, id: u16, text: &str) -> (usize, usize, bool) {
    let json = format!("{{\"e\":[\"E{id}\"],\"c\":{}}}", serde_json::Value::from(text));
    let lark = claim_grammar(read.item(EvidenceId(id)).unwrap(), &BTreeSet::new());
    let (taken, ends) = takes(&lark, &json);
    (taken, json.len(), ends)
}

#[test]
fn a_claim_states_its_own_evidence_only() {
    let read = sample::read();
    for (id, text, fits) in [
        (1, "The S&P 500 21-day return is -9.3%, a sign of weakness.", true),
        (1, "The S&P 500 21-day return is -9.3%.", true),
        (1, "The S&P 500 21-day return is -9.3%, a sign of strength.", false),
        (2, "The VIX level is 31.6, showing falling nerves.", false),
        (1, "The S&P 500 21-day return is 9.3%.", false),
        (1, "The S&P 500 21-day return is -9.4%.", false),
        (1, "The VIX level is 31.6.", false),
        (3, "This section abstains: the count of annual reports known in 500 days is 0.", true),
        (3, "This section abstains: the count of annual reports known in 500 days is 1.", false),
        (3, "Revenue grew.", false),
        (5, "Reported: Apple AAPL Lowers iPhone 14 Production on Sluggish Demand.", true),
        (5, "Reported: Apple Lowers iPhone Production on Demand.", true),
        (5, "Reported: Apple Lowers iPhone 15 Production on Demand.", false),
        (5, "Reported: Apple Lowers Production.", false),
        (5, "Reported: Apple Lowers iPhone 14 Production on.", false),
        (5, "Reported: Apple Lowers Lowers iPhone 14 Production.", false),
        (6, "Reported: Taiwan Semiconductor fell 4.44% to $68.93.", true),
        (6, "Reported: Taiwan Semiconductor fell 4.4% to $68.93.", false),
        (6, "Reported: Taiwan Semiconductor fell to 4.44% $68.93.", false),
    ] {
        let (taken, len, ends) = claim_on(&read, id, text);
        assert_eq!(taken == len && ends, fits, "E{id} {text:?}: {taken} of {len} bytes");
    }
}

#[test]
fn two_claims_of_a_section_cite_distinct_items_of_that_section() {
    let read = sample::read();
    let lark = grammar(&read);
    let first =
        "{\"market\":[{\"e\":[\"E1\"],\"c\":\"The S&P 500 21-day return is -9.3%.\"},{\"e\":[\"E";
    assert_eq!(takes(&lark, first).0, first.len());
    for (id, fits) in [("2\"", true), ("1\"", false), ("5\"", false)] {
        let text = format!("{first}{id}");
        assert_eq!(takes(&lark, &text).0 == text.len(), fits, "E{id}");
    }
}

#[test]
fn the_decision_grammar_is_empty() {
    assert_eq!(takes(&decision_grammar(), ""), (0, true));
}

#[test]
fn verification_refutes_what_the_evidence_does_not_say() {
    let read = sample::read();
    let up: BTreeSet<Direction> = [Direction::Up].into();
    let down: BTreeSet<Direction> = [Direction::Down].into();
    let cases: [(Section, u16, &str, Result<(), Refutation>); 12] = [
        (Section::Market, 1, "The S&P 500 21-day return is -9.3%, showing a decline.", Ok(())),
        (
            Section::Market,
            1,
            "The S&P 500 21-day return is -9.3%, showing a rise.",
            Err(Refutation::Direction(up.clone())),
        ),
        (
            Section::Market,
            1,
            "The S&P 500 21-day return is -9.3% after 12 days.",
            Err(Refutation::Number("12".into())),
        ),
        (
            Section::Market,
            1,
            "The S&P 500 21-day return is 9.3%.",
            Err(Refutation::Value("-9.3%".into())),
        ),
        (
            Section::Market,
            2,
            "The VIX level is 31.6, showing falling nerves.",
            Err(Refutation::Direction(down.clone())),
        ),
        (
            Section::Market,
            7,
            "The 10-day return is +4.1%.",
            Err(Refutation::Citation(EvidenceId(7))),
        ),
        (Section::Market, 99, "The VIX level is 31.6.", Err(Refutation::Citation(EvidenceId(99)))),
        (Section::Fundamentals, 3, "Revenue is sound.", Err(Refutation::NotAbstaining)),
        (Section::Sentiment, 5, "Apple lowers output.", Ok(())),
        (
            Section::Sentiment,
            5,
            "Apple raises output on rising demand.",
            Err(Refutation::Direction(up)),
        ),
        (
            Section::Sentiment,
            5,
            "Apple lowers output of three models.",
            Err(Refutation::Number("three".into())),
        ),
        (
            Section::Technicals,
            7,
            "The 10-day return is +4.1%, a sign of a decline.",
            Err(Refutation::Direction(down)),
        ),
    ];
    for (section, id, text, expected) in cases {
        let claim = DraftClaim { section, evidence: EvidenceId(id), text: text.to_owned() };
        assert_eq!(verify(&read, &claim).map(|_| ()), expected, "{text}");
    }
}

#[test]
fn a_refuted_direction_cannot_be_sampled_again() {
    let read = sample::read();
    let item = read.item(EvidenceId(6)).unwrap();
    let text = "{\"e\":[\"E6\"],\"c\":\"Reported: Taiwan Semiconductor shares fell to $68.93.\"}";
    let free = claim_grammar(item, &BTreeSet::new());
    assert_eq!(takes(&free, text), (text.len(), true));
    let bound = claim_grammar(item, &[Direction::Down].into());
    assert!(takes(&bound, text).0 < text.len());
}

/// A text whose words could not end a sentence must not make a grammar nothing fits.
#[test]
fn short_or_foreign_texts_still_have_a_grammar() {
    for text in ["Look at this", "Of the", "苹果 下跌", "Up.", "A"] {
        let read = sample::read();
        let mut item = read.item(EvidenceId(5)).unwrap().clone();
        let domain::EvidenceKind::Text(snippet) = &mut item.kind else { panic!("E5 is a text") };
        snippet.text = text.to_owned();
        let mut choices = std::iter::repeat(0u8);
        let written = walk(&claim_grammar(&item, &BTreeSet::new()), &mut choices);
        assert!(parse_claim(Section::Sentiment, &written).is_ok(), "{text}: {written}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is sampled parses, and fails verification in no way but direction.
    #[test]
    fn every_text_of_the_grammar_is_a_grounded_draft(seed in prop::array::uniform32(any::<u8>())) {
        let read = Arc::new(sample::read());
        let mut state = u64::from_le_bytes(seed[..8].try_into().unwrap()) | 1;
        let mut choices = std::iter::from_fn(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Some((state >> 33) as u8)
        });
        let text = walk(&grammar(&read), &mut choices);
        let draft = parse(&text).unwrap();
        prop_assert!(draft.claims.len() >= 6 && draft.claims.len() <= 12, "{text}");
        let cited: BTreeSet<EvidenceId> = draft.claims.iter().map(|c| c.evidence).collect();
        prop_assert_eq!(cited.len(), draft.claims.len(), "{}", text);
        for claim in &draft.claims {
            let Err(Refutation::Direction(without)) = verify(&read, claim) else {
                prop_assert_eq!(verify(&read, claim).map(|_| ()), Ok(()), "{}", claim.text);
                continue;
            };
            let item = read.item(claim.evidence).unwrap();
            let again = walk(&claim_grammar(item, &without), &mut choices);
            let again = parse_claim(claim.section, &again).unwrap();
            let verdict = verify(&read, &again).map(|_| ());
            prop_assert!(!matches!(&verdict, Err(Refutation::Direction(d)) if !d.is_disjoint(&without)), "{}", again.text);
        }
    }
}
