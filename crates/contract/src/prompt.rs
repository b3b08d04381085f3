//! The prompt, from what most requests share to what none does: a system text, the
//! market of a day, and a compact block per ticker. The model decodes once what is
//! shared.

use std::fmt::Write as _;

use domain::{AsOfRead, EvidenceKind, Section};

use crate::plan::offered;

/// The texts the model reads. The chat template goes around them at the
/// tokenizer, where its markers cannot be confused with the text's own bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The instructions, identical for all requests.
    pub system: &'static str,
    /// The date and the evidence about the market: the same for all tickers.
    pub day: String,
    /// The evidence about this ticker; follows `day` in the user's turn.
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
    let mut day = format!("As of {}\n", read.as_of());
    write_section(&mut day, read, Section::Market);
    let mut user = format!("{} ({})\n", read.company(), read.ticker());
    for section in Section::ALL.into_iter().filter(|section| *section != Section::Market) {
        write_section(&mut user, read, section);
    }
    Prompt { system: system_prompt(), day, user }
}

fn write_section(text: &mut String, read: &AsOfRead, section: Section) {
    let today = read.as_of().instant();
    let _ = writeln!(text, "{section}:");
    for (code, item) in offered(read, section) {
        let _ = match &item.kind {
            EvidenceKind::Numeric(feature) => {
                writeln!(text, "{code} {} {}", feature.short, feature.rendered())
            }
            EvidenceKind::Text(snippet) => {
                let age = today - snippet.provenance.event_time;
                writeln!(text, "{code} [{}d ago] {}", age.num_days(), one_line(&snippet.text))
            }
        };
    }
}

/// A snippet keeps its bytes in the answer, but takes one line in the prompt.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
