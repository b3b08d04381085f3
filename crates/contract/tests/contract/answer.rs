//! The assembled answer: its bytes, its schema, and the last guards.

use contract::{DraftClaim, Receipt, Schema, Thesis, VerdictKind, Writing, assemble, invariants};
use domain::{AsOfRead, Digest, EvidenceId, LabelProbs, Section};

use crate::sample;

/// Something that makes an answer wrong.
type Break = fn(&mut Thesis);

fn receipt(read: &AsOfRead) -> Receipt {
    Receipt {
        model: "test".into(),
        model_digest: Digest::of("model"),
        snapshot_id: read.snapshot(),
        contract_digest: Digest::of("contract"),
        seed: 7,
        temperature: 0.5,
        min_p: 0.1,
        calibration: "identity".to_owned(),
        code_version: "0.0.0".to_owned(),
        build: "test".into(),
    }
}

fn thesis(read: &AsOfRead) -> Thesis {
    let claim = |section, id, text: &str, verdict| {
        (DraftClaim { section, evidence: EvidenceId(id), text: text.into() }, verdict)
    };
    let claims = vec![
        claim(Section::Market, 1, "The S&P 500 21-day return is -9.3%.", VerdictKind::Supported),
        claim(Section::Market, 2, "The VIX level is 31.6.", VerdictKind::Supported),
        claim(
            Section::Fundamentals,
            3,
            "This section abstains: the count of annual reports known in 500 days is 0.",
            VerdictKind::Abstained,
        ),
        claim(Section::Sentiment, 5, "Apple lowers iPhone 14 production.", VerdictKind::Supported),
        claim(Section::Sentiment, 6, "Shares rose 99%.", VerdictKind::Withheld),
        claim(Section::Technicals, 7, "The 10-day return is +4.1%.", VerdictKind::Supported),
        claim(
            Section::Insider,
            9,
            "This section abstains: the count of Form 4 filings known in 90 days is 0 \
             (the archive ends 2006-03-31).",
            VerdictKind::Abstained,
        ),
        claim(
            Section::Risks,
            10,
            "The 60-day realised volatility is 27.4%.",
            VerdictKind::Supported,
        ),
    ];
    let probs = LabelProbs::softmax([0.1, 0.2, 0.3, 1.4, 0.2]).unwrap();
    assemble(read, &Writing { claims, probs }, receipt(read))
}

#[test]
fn an_answer_fits_the_schema_and_the_invariants() {
    let read = sample::read();
    let thesis = thesis(&read);
    invariants::check(&thesis, &read).unwrap();
    let json = serde_json::to_value(&thesis).unwrap();
    Schema::compile().unwrap().validate(&json).unwrap();
    insta::assert_json_snapshot!("answer", json);
    assert!(!json.to_string().contains("99%"), "a withheld claim must not leave");
}

#[test]
fn the_schema_refuses_answers_that_are_off() {
    let schema = Schema::compile().unwrap();
    let good = serde_json::to_value(thesis(&sample::read())).unwrap();
    let cases: [(&str, serde_json::Value); 8] = [
        ("/ticker", "aapl".into()),
        ("/as_of", "2022-13-01".into()),
        ("/decision/label", "StrongBuy".into()),
        ("/decision/probs/0", 1.5.into()),
        ("/thesis/market", serde_json::json!([])),
        ("/thesis/evidence/0/time", "yesterday".into()),
        ("/thesis/evidence/0/url", "not a uri".into()),
        ("/receipt/model_digest", "abc".into()),
    ];
    for (pointer, value) in cases {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(schema.validate(&bad).is_err(), "{pointer}");
    }
    let mut bad = good.clone();
    bad["surprise"] = true.into();
    assert!(schema.validate(&bad).is_err());
}

#[test]
fn the_invariants_refuse_what_a_schema_cannot_see() {
    let read = sample::read();
    let good = thesis(&read);
    let breaks: [(&str, Break); 9] = [
        ("label", |t| t.decision.label = domain::Label::SSell),
        ("number", |t| t.thesis.market[0] = "The S&P 500 21-day return is -9.5%.".into()),
        ("number word", |t| t.thesis.market[0] = "It rose for seven days.".into()),
        ("time", |t| t.thesis.evidence[0].time += chrono::TimeDelta::days(1)),
        ("missing evidence", |t| drop(t.thesis.evidence.pop())),
        ("foreign evidence", |t| t.thesis.evidence[0].evidence_id = EvidenceId(7)),
        ("quote", |t| {
            if let contract::EvidenceDetail::Text { quote, .. } = &mut t.thesis.evidence[3].detail {
                quote.push('!');
            }
        }),
        ("value", |t| {
            if let contract::EvidenceDetail::Numeric { value, .. } =
                &mut t.thesis.evidence[0].detail
            {
                *value = -*value;
            }
        }),
        ("snapshot", |t| t.receipt.snapshot_id = Digest::of("other")),
    ];
    assert_eq!(invariants::check(&good, &read), Ok(()));
    for (what, break_it) in breaks {
        let mut bad = good.clone();
        break_it(&mut bad);
        assert!(invariants::check(&bad, &read).is_err(), "{what}");
    }
}
