//! The prompt: a system text that is the same for every request (its KV state
//! is shared) and a compact block per ticker.

use std::fmt::Write as _;

use domain::{AsOfRead, EvidenceKind, Section};

use crate::draft::{DraftClaim, claim_json};

/// The two texts the model reads. The chat template goes around them at the
/// tokenizer, where its markers cannot be confused with the text's own bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The instructions, identical for all requests.
    pub system: &'static str,
    /// The evidence of this request.
    pub user: String,
}

/// Returns the instructions every request shares.
#[must_use]
pub const fn system_prompt() -> &'static str {
    include_str!("system.txt")
}

/// Renders a read. The same read gives the same bytes.
#[must_use]
pub fn render(read: &AsOfRead) -> Prompt {
    let mut user = format!("{} ({}) as of {}\n", read.company(), read.ticker(), read.as_of());
    for section in Section::ALL {
        let _ = writeln!(user, "{section}:");
        for item in read.section(section) {
            let _ = match &item.kind {
                EvidenceKind::Numeric(feature) => {
                    writeln!(user, "{} {}", item.id, feature.statement())
                }
                EvidenceKind::Text(snippet) => {
                    let (source, day) =
                        (&snippet.provenance.source, snippet.provenance.event_time.date_naive());
                    writeln!(user, "{} [{source} {day}] {}", item.id, one_line(&snippet.text))
                }
            };
        }
    }
    Prompt { system: system_prompt(), user }
}

/// Returns the generation JSON up to the `position`-th claim: what stands when
/// that claim is decoded again.
#[must_use]
pub fn claim_prefill(claims: &[DraftClaim], position: usize) -> String {
    let current = claims[position].section;
    let mut text = String::from("{");
    for (i, section) in Section::ALL.into_iter().take_while(|s| *s <= current).enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\"{section}\":[");
        let mut first = true;
        for claim in claims[..position].iter().filter(|c| c.section == section) {
            let comma = if first { "" } else { "," };
            let _ = write!(text, "{comma}{}", claim_json(claim.evidence, &claim.text));
            first = false;
        }
        if section != current {
            text.push(']');
        } else if !first {
            text.push(',');
        }
    }
    text
}

/// Returns the whole generation JSON up to the decision code.
#[must_use]
pub fn decision_prefill(claims: &[DraftClaim]) -> String {
    let mut text = String::from("{");
    for section in Section::ALL {
        let own = claims.iter().filter(|c| c.section == section);
        let own: Vec<String> = own.map(|c| claim_json(c.evidence, &c.text)).collect();
        let _ = write!(text, "\"{section}\":[{}],", own.join(","));
    }
    text.push_str("\"decision\":\"");
    text
}

/// A snippet keeps its bytes in the answer, but takes one line in the prompt.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
