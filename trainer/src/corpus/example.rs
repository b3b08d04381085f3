//! One training example: a line of a stage file.
//!
//! An example is a context, the prompt of one ticker at one date, and completions that
//! each continue that prompt on a branch of their own, as serving decodes them: for
//! each claim the section's opening, the code of the evidence, the phrase; and for the
//! decision the whole answer and the letter of the label. The tokens are those of the
//! serving model: every piece is tokenized by itself, exactly as serving does, and the
//! markers of the chat template go around `day` and `user` there.

use domain::{AsOf, Digest, EvidenceId, Label, Section, Ticker};
use serde::{Deserialize, Serialize};

/// What an example teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Which evidence each section cites.
    Structure,
    /// How a claim reads the evidence it cites.
    Claims,
    /// The label, after the whole answer. Examples without a label are left out.
    Decision,
    /// All of it at once.
    Mixture,
}

impl Stage {
    /// All stages, in the order of the curriculum.
    pub(crate) const ALL: [Self; 4] =
        [Self::Structure, Self::Claims, Self::Decision, Self::Mixture];

    /// Returns the name in configuration and files.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Claims => "claims",
            Self::Decision => "decision",
            Self::Mixture => "mixture",
        }
    }
}

/// One context and what the model is to answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Example {
    /// What it teaches.
    pub(crate) stage: Stage,
    /// Ticker of the context.
    pub(crate) ticker: Ticker,
    /// Date of the context.
    pub(crate) as_of: AsOf,
    /// Universe of the snapshot.
    pub(crate) universe: String,
    /// Snapshot the context was read from.
    pub(crate) snapshot: Digest,
    /// The evidence of the day. The system text before it is the contract's.
    pub(crate) day: String,
    /// The evidence about the ticker, which follows `day`.
    pub(crate) user: String,
    /// Branches that continue the prompt.
    pub(crate) completions: Vec<Completion>,
    /// The realised label; none where the past or the future is not complete.
    pub(crate) label: Option<Label>,
    /// The realised z, clipped to +-10.
    pub(crate) z: Option<f64>,
}

/// One branch after the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Completion {
    /// The section of the claim; none for the decision.
    pub(crate) section: Option<Section>,
    /// What the claim cites; none for the decision.
    pub(crate) evidence: Option<EvidenceId>,
    /// The text, in order.
    pub(crate) pieces: Vec<Piece>,
}

/// A run of text of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Piece {
    /// The text; never empty.
    pub(crate) text: String,
    /// What the model may choose there.
    pub(crate) freedom: Freedom,
}

/// What the model may choose in a piece. Loss is taken on free pieces, over the
/// tokens that stood to choice; a forced piece is context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Freedom {
    /// Nothing.
    Forced,
    /// One of these single tokens.
    Among(Vec<char>),
    /// A text of this rule of `contract::Plan::rules`; its grammar forces some of the tokens.
    Rule(String),
}

impl Piece {
    /// A piece that is context.
    pub(crate) fn forced(text: impl Into<String>) -> Self {
        Self { text: text.into(), freedom: Freedom::Forced }
    }

    /// Tells whether loss is taken on the piece.
    pub(crate) fn is_free(&self) -> bool {
        self.freedom != Freedom::Forced
    }
}
