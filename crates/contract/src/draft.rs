//! What the model writes: the generation JSON, before anything is spliced in.

use domain::{EvidenceId, Label, Section};
use serde::Deserialize;
use thiserror::Error;

/// A claim as decoded: its evidence, then its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftClaim {
    /// The section that makes the claim.
    pub section: Section,
    /// The evidence it cites.
    pub evidence: EvidenceId,
    /// The sentence.
    pub text: String,
}

/// All claims of a thesis in writing order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The claims, ordered by section.
    pub claims: Vec<DraftClaim>,
}

/// The decoded text is not what the grammar promised.
#[derive(Debug, Error)]
pub enum DraftError {
    /// It is not generation JSON.
    #[error("the decoded text is not generation JSON")]
    Json(#[from] serde_json::Error),
    /// A citation is not of the form `E7`.
    #[error("{0:?} is not an evidence id")]
    EvidenceId(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClaim {
    e: [String; 1],
    c: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDraft {
    market: Vec<RawClaim>,
    fundamentals: Vec<RawClaim>,
    sentiment: Vec<RawClaim>,
    technicals: Vec<RawClaim>,
    insider: Vec<RawClaim>,
    risks: Vec<RawClaim>,
    #[serde(rename = "decision")]
    _decision: String,
}

/// Reads the text decoded under [`crate::grammar`], which stops right before
/// the decision code.
///
/// # Errors
/// Fails when the text is not the JSON the grammar describes: with a sound
/// decoder that cannot happen, and it is never served.
pub fn parse(text: &str) -> Result<Draft, DraftError> {
    // The code itself is read from the logits: any one closes the JSON.
    let closed = format!("{text}{}\"}}", Label::Hold.code());
    let raw: RawDraft = serde_json::from_str(&closed)?;
    let sections = [
        (Section::Market, raw.market),
        (Section::Fundamentals, raw.fundamentals),
        (Section::Sentiment, raw.sentiment),
        (Section::Technicals, raw.technicals),
        (Section::Insider, raw.insider),
        (Section::Risks, raw.risks),
    ];
    let mut claims = Vec::new();
    for (section, raw_claims) in sections {
        for raw in raw_claims {
            claims.push(claim(section, raw)?);
        }
    }
    Ok(Draft { claims })
}

/// Reads one claim decoded under [`crate::claim_grammar`].
///
/// # Errors
/// As [`parse`].
pub fn parse_claim(section: Section, text: &str) -> Result<DraftClaim, DraftError> {
    claim(section, serde_json::from_str(text)?)
}

fn claim(section: Section, raw: RawClaim) -> Result<DraftClaim, DraftError> {
    let [id] = raw.e;
    let number = id.strip_prefix('E').and_then(|n| n.parse().ok());
    let evidence = EvidenceId(number.ok_or(DraftError::EvidenceId(id))?);
    Ok(DraftClaim { section, evidence, text: raw.c })
}

/// Writes a claim the way the grammar spells it.
pub(crate) fn claim_json(evidence: EvidenceId, text: &str) -> String {
    let text = serde_json::Value::from(text);
    format!("{{\"e\":[\"{evidence}\"],\"c\":{text}}}")
}
