//! Judges a claim against its evidence, independently of how it was decoded.

use std::collections::BTreeSet;

use domain::{AsOfRead, EvidenceId, EvidenceItem, EvidenceKind};
use thiserror::Error;

use crate::{
    direction::{Direction, asserted, supported},
    numbers::{NUMBER_WORDS, numbers},
    plan::{DraftClaim, abstention, reported},
};

/// Why a claim does not stand.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refutation {
    /// It cites an item that is not in its section of the catalogue.
    #[error("cites {0}, which is not evidence of this section")]
    Citation(EvidenceId),
    /// It states a number its evidence does not hold.
    #[error("states {0}, which does not stand in its evidence")]
    Number(String),
    /// It does not name the value it cites, or with another sign.
    #[error("does not state the value {0} it cites")]
    Value(String),
    /// It asserts directions its evidence does not support.
    #[error("asserts {0:?}, which its evidence does not support")]
    Direction(BTreeSet<Direction>),
    /// It speaks where there is no data.
    #[error("claims something where there is no data")]
    NotAbstaining,
}

/// Checks one claim: its citation, that each number and the cited value stand
/// in the evidence, and that it asserts no direction the evidence does not have.
///
/// # Errors
/// Returns the first ground on which the claim is refuted.
pub fn verify<'a>(read: &'a AsOfRead, claim: &DraftClaim) -> Result<&'a EvidenceItem, Refutation> {
    let item = read
        .item(claim.evidence)
        .filter(|item| item.section() == claim.section)
        .ok_or(Refutation::Citation(claim.evidence))?;
    check_numbers(&claim.text, &item.text())?;
    if let EvidenceKind::Numeric(feature) = &item.kind {
        if feature.coverage {
            let silent = claim.text == abstention(feature);
            return if silent { Ok(item) } else { Err(Refutation::NotAbstaining) };
        }
        let rendered = feature.rendered();
        if !claim.text.split_whitespace().any(|word| word.trim_end_matches([',', '.']) == rendered)
        {
            return Err(Refutation::Value(rendered));
        }
    }
    let stated = asserted(&own_words(item, &claim.text));
    let unsupported: BTreeSet<Direction> = stated.difference(&supported(item)).copied().collect();
    if unsupported.is_empty() { Ok(item) } else { Err(Refutation::Direction(unsupported)) }
}

/// Checks that every number of `claim`, in digits or in words, stands in `evidence`.
pub(crate) fn check_numbers(claim: &str, evidence: &str) -> Result<(), Refutation> {
    let known = numbers(evidence);
    if let Some(number) = numbers(claim).into_iter().find(|n| !known.contains(n)) {
        return Err(Refutation::Number(number));
    }
    let spelled = |text: &str| -> BTreeSet<String> {
        let text = text.to_ascii_lowercase();
        let words = text.split(|c: char| !c.is_ascii_alphabetic());
        words.filter(|w| NUMBER_WORDS.contains(w)).map(str::to_owned).collect()
    };
    let known = spelled(evidence);
    match spelled(claim).into_iter().find(|word| !known.contains(word)) {
        Some(word) => Err(Refutation::Number(word)),
        None => Ok(()),
    }
}

/// What a claim says beyond naming its evidence: the name of a feature may hold a
/// directional word ("revenue growth"), and a quoted text speaks for itself.
fn own_words(item: &EvidenceItem, claim: &str) -> String {
    match &item.kind {
        EvidenceKind::Numeric(feature) => claim.replacen(&feature.title, "", 1),
        EvidenceKind::Text(snippet) => claim.replacen(&reported(snippet), "", 1),
    }
}
