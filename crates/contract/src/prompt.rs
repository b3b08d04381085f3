//! The prompt: a system text that is the same for every request (its KV state
//! is shared) and a compact block per ticker.

use std::fmt::Write as _;

use domain::{AsOfRead, EvidenceKind, Section};

use crate::plan::offered;

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
    let today = read.as_of().instant();
    for section in Section::ALL {
        let _ = writeln!(user, "{section}:");
        for (code, item) in offered(read, section) {
            let _ = match &item.kind {
                EvidenceKind::Numeric(feature) => writeln!(user, "{code} {}", feature.statement()),
                EvidenceKind::Text(snippet) => {
                    let age = today - snippet.provenance.event_time;
                    writeln!(user, "{code} [{}d ago] {}", age.num_days(), one_line(&snippet.text))
                }
            };
        }
    }
    Prompt { system: system_prompt(), user }
}

/// A snippet keeps its bytes in the answer, but takes one line in the prompt.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
