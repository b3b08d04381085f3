//! The invariants of an answer that no schema can state, checked on the
//! assembled thesis right before it leaves, by other code than wrote it.

use std::collections::BTreeMap;

use domain::{AsOfRead, EvidenceKind};
use thiserror::Error;

use crate::{
    thesis::{DISCLAIMER, Evidence, EvidenceDetail, Thesis, VerdictKind},
    verify::check_numbers,
};

/// An answer breaks an invariant and must not leave.
#[derive(Debug, Error, PartialEq)]
pub enum Violation {
    /// The label is not the most probable one.
    #[error("label {label} is not the most probable of {probs:?}")]
    Label {
        /// The label.
        label: String,
        /// The probabilities.
        probs: [f64; 5],
    },
    /// A section makes no claim.
    #[error("section {0} makes no claim")]
    EmptySection(String),
    /// A claim has no evidence, or evidence has no claim.
    #[error("claims and evidence differ at {0}")]
    Unmatched(String),
    /// Evidence was not known at `as_of`.
    #[error("evidence of {claim_id} was known at {time}, after {as_of}")]
    LookAhead {
        /// The claim.
        claim_id: String,
        /// When its evidence was known.
        time: String,
        /// The point in time of the answer.
        as_of: String,
    },
    /// A quote or value is not what the snapshot holds.
    #[error("evidence of {0} is not what the snapshot holds")]
    NotVerbatim(String),
    /// A claim states a number its evidence does not hold.
    #[error("claim {claim_id} {refutation}")]
    Number {
        /// The claim.
        claim_id: String,
        /// What is wrong with it.
        refutation: crate::Refutation,
    },
    /// The answer is about something else than was read.
    #[error("the answer's {0} is not the read's")]
    Identity(&'static str),
}

/// Checks an assembled thesis against the read it rests on.
///
/// # Errors
/// Returns the first violation.
pub fn check(thesis: &Thesis, read: &AsOfRead) -> Result<(), Violation> {
    check_identity(thesis, read)?;
    let decision = &thesis.decision;
    if decision.label != decision.probs.argmax() {
        let (label, probs) = (decision.label.to_string(), decision.probs.values());
        return Err(Violation::Label { label, probs });
    }
    let evidence: BTreeMap<&str, &Evidence> =
        thesis.thesis.evidence.iter().map(|e| (e.claim_id.as_str(), e)).collect();
    let claims: Vec<(String, &str)> = thesis.thesis.all().collect();
    if thesis.thesis.evidence.len() != claims.len() || thesis.verification.len() != claims.len() {
        return Err(Violation::Unmatched("their count".to_owned()));
    }
    for (section, verdicts) in domain::Section::ALL.map(|s| (s, thesis.thesis.claims(s))) {
        if verdicts.is_empty() {
            return Err(Violation::EmptySection(section.to_string()));
        }
    }
    for ((claim_id, text), verdict) in claims.into_iter().zip(&thesis.verification) {
        let Some(evidence) = evidence.get(claim_id.as_str()) else {
            return Err(Violation::Unmatched(claim_id));
        };
        if verdict.claim_id != claim_id {
            return Err(Violation::Unmatched(claim_id));
        }
        check_evidence(evidence, read)?;
        if verdict.verdict != VerdictKind::Withheld {
            check_numbers(text, evidence.detail.text())
                .map_err(|refutation| Violation::Number { claim_id, refutation })?;
        }
    }
    Ok(())
}

fn check_identity(thesis: &Thesis, read: &AsOfRead) -> Result<(), Violation> {
    let same = [
        ("ticker", thesis.ticker == *read.ticker()),
        ("as_of", thesis.as_of == read.as_of()),
        ("snapshot", thesis.receipt.snapshot_id == read.snapshot()),
        ("disclaimer", thesis.disclaimer == DISCLAIMER),
    ];
    match same.into_iter().find(|(_, same)| !same) {
        Some((what, _)) => Err(Violation::Identity(what)),
        None => Ok(()),
    }
}

fn check_evidence(evidence: &Evidence, read: &AsOfRead) -> Result<(), Violation> {
    let claim_id = evidence.claim_id.clone();
    if !read.as_of().admits(evidence.time) {
        let (time, as_of) = (evidence.time.to_rfc3339(), read.as_of().to_string());
        return Err(Violation::LookAhead { claim_id, time, as_of });
    }
    let Some(item) = read.item(evidence.evidence_id) else {
        return Err(Violation::Unmatched(claim_id));
    };
    let same = match (&evidence.detail, &item.kind) {
        (
            EvidenceDetail::Text { quote, record_id, start, end, .. },
            EvidenceKind::Text(snippet),
        ) => {
            *quote == snippet.text
                && *record_id == snippet.record_id
                && (*start, *end) == (snippet.start, snippet.end)
                && quote.len() == (*end - *start) as usize
        }
        (
            EvidenceDetail::Numeric { feature, value, statement, .. },
            EvidenceKind::Numeric(known),
        ) => {
            *feature == known.name
                && value.to_bits() == known.value.to_bits()
                && *statement == known.statement()
        }
        _ => false,
    };
    let letter = item.section().letter();
    if same && claim_id.starts_with(letter) {
        Ok(())
    } else {
        Err(Violation::NotVerbatim(claim_id))
    }
}
