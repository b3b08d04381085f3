//! What the plan lets the model write, and that verification catches the rest.

use std::collections::BTreeSet;

use contract::{Choice, Direction, DraftClaim, Pick, Plan, Refutation, plan, verify};
use domain::{EvidenceId, Section};
use llguidance::{Matcher, ParserFactory, api::TopLevelGrammar};
use proptest::prelude::*;
use toktrie::{ApproximateTokEnv, TokEnv};

use crate::sample;

fn matcher(plan: &Plan, rule: &str) -> Matcher {
    let lark = plan.grammar(rule);
    let env: TokEnv = ApproximateTokEnv::single_byte_env();
    let mut factory = ParserFactory::new_simple(&env).unwrap();
    factory.quiet();
    let matcher = Matcher::new(factory.create_parser(TopLevelGrammar::from_lark(lark)));
    assert_eq!(matcher.get_error(), None, "{rule}");
    matcher
}

/// Writes one text of a rule, choosing among the allowed bytes by `choices`.
fn walk(plan: &Plan, rule: &str, choices: &mut impl Iterator<Item = u8>) -> String {
    let mut matcher = matcher(plan, rule);
    let mut text = Vec::new();
    while !matcher.is_stopped() {
        let mask = matcher.compute_mask_or_eos().unwrap();
        let allowed: Vec<u8> = (0..=255u8).filter(|b| mask.is_allowed(u32::from(*b))).collect();
        let byte = allowed[usize::from(choices.next().unwrap()) % allowed.len()];
        matcher.consume_token(u32::from(byte)).unwrap();
        text.push(byte);
    }
    String::from_utf8(text).unwrap()
}

fn choice(plan: &Plan, id: u16) -> &Choice {
    let mut choices = plan.sections.iter().flat_map(|section| &section.choices);
    choices.find(|choice| choice.evidence == EvidenceId(id)).unwrap()
}

#[test]
fn a_claim_begins_with_what_it_cites_and_reads_it_by_its_sign() {
    let plan = plan(&sample::read());
    for (id, lead, rule) in [
        (1, "The S&P 500 21-day return is -9.3%", Some("INDEX_DOWN")),
        (2, "The VIX level stands at 31.6", Some("VIX_TENSE")),
        (3, "This section abstains: the count of annual reports known in 500 days is 0.", None),
        (
            9,
            "This section abstains: the count of Form 4 filings known in 90 days is 0 \
             (the archive ends 2006-03-31).",
            None,
        ),
        (4, "The 7-day news tone is 0.00", Some("TONE_FLAT")),
        (
            5,
            "Reported: \"Apple (AAPL) Lowers iPhone 14 Production on 'Sluggish' Demand\"",
            Some("HEADLINE_DOWN"),
        ),
        (7, "The 10-day return is +4.1%", Some("RETURN_UP")),
        (11, "The VIX 21-day change is +22.2%", Some("RISKS_DOWN")),
    ] {
        let choice = choice(&plan, id);
        assert_eq!((choice.lead.as_str(), choice.rule.as_deref()), (lead, rule), "E{id}");
    }
}

#[test]
fn a_section_with_texts_cites_a_text_and_a_number() {
    let plan = plan(&sample::read());
    let claims: Vec<_> = plan.sections.iter().map(|s| (s.section, &s.claims[..])).collect();
    let two = [0..2, 0..2];
    let one = 0..1;
    let one = std::slice::from_ref(&one);
    let expected = [
        (Section::Market, &two[..]),
        (Section::Fundamentals, one),
        (Section::Sentiment, &[1..3, 0..1]),
        (Section::Technicals, &two),
        (Section::Insider, one),
        (Section::Risks, &two),
    ];
    assert_eq!(claims, expected);
}

#[test]
fn picks_that_do_not_fit_are_refused() {
    let plan = plan(&sample::read());
    let pick = |choice| Pick { choice, text: ".".to_owned() };
    let good: Vec<Vec<Pick>> =
        plan.sections.iter().map(|s| s.claims.iter().map(|c| pick(c.start)).collect()).collect();
    assert_eq!(plan.claims(&good).unwrap().len(), 10);
    for (what, section, picks) in [
        ("too few", 0, vec![pick(0)]),
        ("too many", 1, vec![pick(0), pick(0)]),
        ("no such choice", 0, vec![pick(0), pick(7)]),
    ] {
        let mut bad = good.clone();
        bad[section] = picks;
        assert!(plan.claims(&bad).is_err(), "{what}");
    }
    assert!(plan.claims(&good[..5]).is_err());
}

fn check(cases: &[(Section, u16, &str, Result<(), Refutation>)]) {
    let read = sample::read();
    for (section, id, text, expected) in cases {
        let (section, evidence) = (*section, EvidenceId(*id));
        let claim = DraftClaim { section, evidence, text: (*text).to_owned() };
        assert_eq!(verify(&read, &claim).map(|_| ()), *expected, "{text}");
    }
}

#[test]
fn verification_refutes_what_the_evidence_does_not_hold() {
    let number = |text: &str| Err(Refutation::Number(text.to_owned()));
    let value = Err(Refutation::Value("-9.3%".to_owned()));
    let citation = |id| Err(Refutation::Citation(EvidenceId(id)));
    check(&[
        (Section::Market, 1, "The S&P 500 21-day return is -9.3% after 12 days.", number("12")),
        (Section::Market, 1, "The S&P 500 21-day return is 9.3%.", value),
        (Section::Market, 7, "The 10-day return is +4.1%.", citation(7)),
        (Section::Market, 99, "The VIX level is 31.6.", citation(99)),
        (Section::Fundamentals, 3, "Revenue is sound.", Err(Refutation::NotAbstaining)),
        (Section::Sentiment, 5, "Apple lowers output of three models.", number("three")),
    ]);
}

#[test]
fn verification_refutes_what_the_evidence_does_not_mean() {
    let up = || Err(Refutation::Direction([Direction::Up].into()));
    let down = || Err(Refutation::Direction([Direction::Down].into()));
    check(&[
        (Section::Market, 1, "The S&P 500 21-day return is -9.3%, showing a decline.", Ok(())),
        (Section::Market, 1, "The S&P 500 21-day return is -9.3%, showing a rise.", up()),
        (Section::Market, 1, "The S&P 500 21-day return is -9.3%, a headwind.", Ok(())),
        (Section::Market, 1, "The S&P 500 21-day return is -9.3%, a tailwind.", up()),
        (Section::Market, 2, "The VIX level is 31.6, showing falling nerves.", down()),
        (Section::Sentiment, 5, "Apple lowers output.", Ok(())),
        (Section::Sentiment, 5, "Apple raises output on rising demand.", up()),
        (Section::Technicals, 7, "The 10-day return is +4.1%, a sign of a decline.", down()),
        // A rising VIX speaks against the stock.
        (Section::Risks, 11, "The VIX 21-day change is +22.2%, a sign of weakness.", Ok(())),
        (Section::Risks, 11, "The VIX 21-day change is +22.2%, a sign of strength.", up()),
    ]);
}

/// What `phrases` lists is what the grammar lets a decoder write.
#[test]
fn every_listed_phrase_and_no_other_is_in_the_grammar() {
    let plan = plan(&sample::read());
    for line in plan.rules.lines() {
        let rule = line.split_once(':').unwrap().0;
        let texts = contract::phrases(rule);
        for text in &texts {
            let mut matcher = matcher(&plan, rule);
            let bytes: Vec<u32> = text.bytes().map(u32::from).collect();
            matcher.consume_tokens(&bytes).unwrap_or_else(|e| panic!("{rule}: {text}: {e}"));
            assert!(matcher.is_accepting().unwrap(), "{rule}: {text}");
        }
        for first in 0..16 {
            let written = walk(&plan, rule, &mut std::iter::repeat(first));
            assert!(texts.contains(&written), "{rule}: {written}");
        }
    }
}

#[test]
fn any_text_can_be_reported() {
    for text in ["Of the", "苹果 \"下跌\"\n 3%", "Up.", "A {b} [c] </s> \\", "Is it?"] {
        let plan = plan(&sample::read_with(text));
        let lead = &choice(&plan, 5).lead;
        assert!(!lead.contains('\n') && lead.matches('"').count() == 2, "{lead}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is chosen and written stands up to verification.
    #[test]
    fn whatever_is_written_stands(seed in any::<u64>()) {
        let read = sample::read();
        let plan = plan(&read);
        let mut state = seed | 1;
        let mut choices = std::iter::from_fn(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Some((state >> 33) as u8)
        });
        let mut picks = Vec::new();
        for section in &plan.sections {
            let mut taken = BTreeSet::new();
            let mut own = Vec::new();
            for range in &section.claims {
                let free: Vec<usize> = range.clone().filter(|i| !taken.contains(i)).collect();
                let choice = free[usize::from(choices.next().unwrap()) % free.len()];
                taken.insert(choice);
                let rule = section.choices[choice].rule.as_deref();
                let text = rule.map_or_else(String::new, |rule| walk(&plan, rule, &mut choices));
                own.push(Pick { choice, text });
            }
            picks.push(own);
        }
        for claim in plan.claims(&picks).unwrap() {
            prop_assert_eq!(verify(&read, &claim).map(|_| ()), Ok(()), "{}", claim.text);
        }
        prop_assert!(plan.decision(&picks).ends_with("\ndecision:"));
    }
}
