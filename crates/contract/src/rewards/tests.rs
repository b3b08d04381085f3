//! Hand-computed rewards.

use domain::{Digest, EvidenceId, Feature, Label::*, Polarity, Provenance, Section, Unit};

use super::*;

fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-12, "{what}: {found}, by hand {expected}");
}

/// predicted, before, realised, z: accuracy, magnitude, cost, smoothness, D.
#[test]
fn decisions_score_as_by_hand() {
    let cases = [
        // The same direction, with z in units of 2.
        (Buy, None, Buy, 0.5, 1.0, 0.25, 0.0, 0.0, 0.25),
        (SBuy, None, SBuy, 2.0, 1.0, 1.0, 0.0, 0.0, 1.0),
        (SBuy, None, SBuy, 7.0, 1.0, 1.0, 0.0, 0.0, 1.0),
        (SSell, None, Sell, -0.4, 1.0, 0.2, 0.0, 0.0, 0.2),
        (Sell, None, SSell, -1.0, 1.0, 0.5, 0.0, 0.0, 0.5),
        // The opposite one: -1.5 |z| / 2, and the cost of the label.
        (Buy, None, Sell, -0.5, -1.5, 0.25, 1.0, 0.0, -1.375),
        (SBuy, None, SSell, -2.0, -1.5, 1.0, 1.5, 0.0, -3.0),
        (SSell, None, Buy, 0.8, -1.5, 0.4, 1.5, 0.0, -2.1),
        (Sell, None, SBuy, 40.0, -1.5, 1.0, 1.0, 0.0, -2.5),
        // Hold, rightly and wrongly.
        (Hold, None, Hold, 0.2, 0.5, 0.1, 0.0, 0.0, 0.05),
        (Hold, None, Hold, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0),
        (Hold, None, SBuy, 1.8, 0.0, 0.9, 0.0, 0.0, 0.0),
        (Buy, None, Hold, 0.1, 0.0, 0.05, 1.0, 0.0, -1.0),
        (SSell, None, Hold, -0.2, 0.0, 0.1, 1.5, 0.0, -1.5),
        // A changed label costs 0.1, the same one nothing.
        (Buy, Some(Buy), Buy, 1.0, 1.0, 0.5, 0.0, 0.0, 0.5),
        (Buy, Some(SBuy), Buy, 1.0, 1.0, 0.5, 0.0, 0.1, 0.4),
        (Hold, Some(Sell), Hold, 0.2, 0.5, 0.1, 0.0, 0.1, -0.05),
        (SBuy, Some(Hold), SSell, -3.0, -1.5, 1.0, 1.5, 0.1, -3.1),
    ];
    for (label, before, realised, z, accuracy, magnitude, cost, smoothness, d) in cases {
        let what = format!("{label} after {before:?} where {realised} at {z}");
        let realised = Realised::new(realised, z).unwrap();
        let score = DecisionConfig::default().score(Predicted { label, before }, realised);
        close(score.accuracy, accuracy, &what);
        close(score.magnitude, magnitude, &what);
        close(score.cost, cost, &what);
        close(score.smoothness, smoothness, &what);
        close(score.score, d, &what);
    }
}

#[test]
fn z_is_clipped_and_must_be_a_number() {
    close(Realised::new(SBuy, 1e9).unwrap().z(), 10.0, "above");
    close(Realised::new(SSell, f64::NEG_INFINITY).unwrap().z(), -10.0, "below");
    assert_eq!(Realised::new(Hold, f64::NAN), Err(RewardError::NoZ));
}

/// planned, made, cited, upheld: coverage, correctness, unsupported, C.
#[test]
fn claims_score_as_by_hand() {
    let cases = [
        (10, 10, 10, 10, 1.0, 1.0, 0.0, 1.0),
        (10, 10, 10, 8, 1.0, 0.8, 0.2, 0.7),
        (10, 10, 8, 8, 0.8, 1.0, 0.2, 0.7),
        (10, 5, 5, 5, 0.5, 1.0, 0.0, 0.5),
        (4, 8, 4, 2, 0.5, 0.5, 0.75, -0.125),
        (10, 10, 0, 0, 0.0, 0.0, 1.0, -0.5),
        (10, 0, 0, 0, 0.0, 0.0, 0.0, 0.0),
    ];
    for (planned, made, cited, upheld, coverage, correctness, unsupported, c) in cases {
        let counts = ClaimCounts { planned, made, cited, upheld };
        let score = ClaimsConfig::default().score(counts);
        let what = format!("{counts:?}");
        close(score.coverage, coverage, &what);
        close(score.correctness, correctness, &what);
        close(score.unsupported, unsupported, &what);
        close(score.score, c, &what);
    }
}

/// Tokens of the sections, valid: presence, budget, S.
#[test]
fn structure_scores_as_by_hand() {
    let within = Some(64);
    let cases = [
        ([within; 6], true, 1.0, 1.0, 1.0),
        ([within; 6], false, 1.0, 1.0, 0.75),
        ([within, within, within, None, None, None], true, 0.5, 0.5, 0.625),
        // Twice the budget counts for half: (5 + 0.5) / 6.
        ([within, within, within, within, within, Some(128)], true, 1.0, 5.5 / 6.0, 23.5 / 24.0),
        ([None; 6], false, 0.0, 0.0, 0.0),
    ];
    for (section_tokens, is_valid, presence, budget, s) in cases {
        let form = Form { section_tokens, is_valid };
        let score = StructureConfig::default().score(&form);
        let what = format!("{form:?}");
        close(score.presence, presence, &what);
        close(score.budget, budget, &what);
        close(score.score, s, &what);
    }
}

/// 0.2 x 0.75 + 0.3 x 0.7 + 0.5 x -1.375 = 0.15 + 0.21 - 0.6875.
#[test]
fn the_composite_is_the_weighted_sum_of_its_parts() {
    let form = Form { section_tokens: [Some(10); 6], is_valid: false };
    let claims = ClaimCounts { planned: 10, made: 10, cited: 10, upheld: 8 };
    let predicted = Predicted { label: Buy, before: None };
    let realised = Realised::new(Sell, -0.5).unwrap();
    let config = RewardConfig::default();
    let reward = config.reward(&form, claims, predicted, Some(realised));
    close(reward.total, -0.3275, "total");
    let unknown = config.reward(&form, claims, predicted, None);
    close(unknown.total, 0.36, "without a future");
    assert_eq!(unknown.decision, None);
    let text = serde_json::to_string(&reward).unwrap();
    assert_eq!(serde_json::from_str::<Reward>(&text).unwrap(), reward);
    let mut ablated = config;
    ablated.weights.claims = 0.0;
    close(ablated.reward(&form, claims, predicted, None).total, 0.15, "no claims reward");
}

#[test]
fn constants_outside_their_range_are_named() {
    let check = |change: fn(&mut RewardConfig), key: &str| {
        let mut config = RewardConfig::default();
        change(&mut config);
        let error = config.check().unwrap_err().to_string();
        assert!(error.starts_with(&format!("rewards.{key} is ")), "{error}");
    };
    RewardConfig::default().check().unwrap();
    check(|c| c.weights.claims = -0.1, "weights.claims");
    check(|c| c.weights.claims = f64::NAN, "weights.claims");
    check(|c| c.weights = PartWeights { structure: 0.0, claims: 0.0, decision: 0.0 }, "weights");
    check(|c| c.structure.presence = 0.6, "structure");
    check(|c| c.structure.section_tokens_max = 0, "structure.section_tokens_max");
    check(|c| c.decision.opposite_sign = 0.5, "decision.opposite_sign");
    check(|c| c.decision.z_full = 0.0, "decision.z_full");
    check(|c| c.decision.smoothness = f64::INFINITY, "decision.smoothness");
}

fn feature(name: &str, section: Section, value: f64, coverage: bool) -> Feature {
    let at = "2022-09-30T20:00:00Z".parse().unwrap();
    Feature {
        name: name.into(),
        title: name.into(),
        short: name.into(),
        section,
        unit: if coverage { Unit::Count } else { Unit::Change },
        polarity: Polarity::Good,
        window_days: None,
        value,
        coverage,
        note: None,
        provenance: Provenance {
            source: "test".into(),
            url: "pkg:test".into(),
            event_time: at,
            known_at: at,
        },
    }
}

/// One section with two numbers, five without data: seven claims are planned.
fn read() -> AsOfRead {
    let mut frame: Vec<Feature> =
        Section::ALL.map(|section| feature(section.key(), section, 0.0, true)).to_vec();
    frame.push(feature("index month", Section::Market, -0.093, false));
    frame.push(feature("index year", Section::Market, 0.12, false));
    let ticker = "AAPL".parse().unwrap();
    let as_of = "2022-09-30".parse().unwrap();
    AsOfRead::new(ticker, "Apple".into(), as_of, Digest::of("s"), frame, &[]).unwrap()
}

#[test]
fn claims_are_counted_by_their_verdicts() {
    let read = read();
    let plan = crate::plan(&read);
    let claim = |section, id, text: &str| DraftClaim {
        section,
        evidence: EvidenceId(id),
        text: text.to_owned(),
    };
    let claims = [
        claim(Section::Market, 1, "The index month is -9.3%, a headwind for the stock."),
        // A wrong direction and a wrong number: cited, not upheld.
        claim(Section::Market, 2, "The index year is +12.0%, a headwind for the stock."),
        claim(Section::Market, 2, "The index year is +15.0%."),
        // Evidence of another section, and none at all.
        claim(Section::Market, 3, "The index month is -9.3%."),
        claim(Section::Market, 99, "All is well."),
        claim(Section::Fundamentals, 3, "This section abstains: the count of fundamentals is 0."),
    ];
    let counts = ClaimCounts::of(&read, &plan, &claims);
    assert_eq!(counts, ClaimCounts { planned: 7, made: 6, cited: 4, upheld: 2 });
}

#[test]
fn empty_and_repeated_claims_make_no_section() {
    let claim = |section, text: &str| DraftClaim {
        section,
        evidence: EvidenceId(1),
        text: text.to_owned(),
    };
    let claims = [
        claim(Section::Market, "A."),
        claim(Section::Market, "B."),
        claim(Section::Sentiment, "A."),
        claim(Section::Risks, " "),
    ];
    let form = Form::of(&claims, &[3, 4, 5, 6], true);
    assert_eq!(form.section_tokens, [Some(7), None, None, None, None, None]);
}
