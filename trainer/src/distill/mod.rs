//! Theses of other models as references (distillation with reject sampling).
//!
//! A thesis comes as text, a line for each claim:
//!
//! ```text
//! market:2, a tailwind for the stock.
//! market: The index month is +2.3%, a tailwind for the stock.
//! ```
//!
//! after the section either the code of the evidence and the phrase, as our own model
//! writes it, or the whole sentence. It is mapped to the plan of its context and kept if
//! every claim is upheld by verification and could have been written by serving; what is
//! not kept is counted by its reason. A decision in it is ignored: the label is what came
//! true.

mod ask;
mod map;

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use anyhow::Context as _;
use contract::{Pick, Plan};
use domain::{AsOf, AsOfRead, Digest, Ticker};
use serde::{Deserialize, Serialize};

pub(crate) use self::ask::{DistillArgs, run};
use crate::{corpus::Acceptor, run::digest_of};

/// A line of a file of theses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Thesis {
    universe: String,
    ticker: Ticker,
    as_of: AsOf,
    /// The claims, a line each.
    text: String,
}

/// Why a thesis is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rejection {
    /// Its context is none of the corpus.
    Context,
    /// A line does not begin with a section.
    Line,
    /// A section has more or fewer claims than its plan asks for.
    Count,
    /// A claim cites nothing that its section offers, or what another claim must.
    Evidence,
    /// Two claims cite the same.
    Repeated,
    /// Verification refutes a claim.
    Refuted,
    /// Serving could not have written a claim.
    Grammar,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Context => "not a context of this corpus",
            Self::Line => "a line without a section",
            Self::Count => "another number of claims",
            Self::Evidence => "evidence that is not offered",
            Self::Repeated => "evidence cited twice",
            Self::Refuted => "a refuted claim",
            Self::Grammar => "a claim serving could not write",
        })
    }
}

/// How many theses were kept, and how many not, by reason.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) kept: u64,
    pub(crate) rejected: BTreeMap<Rejection, u64>,
}

impl Counts {
    fn reject(&mut self, reason: Rejection, n: usize) {
        if n > 0 {
            *self.rejected.entry(reason).or_default() += n as u64;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} theses kept", self.kept)?;
        let mut reasons = self.rejected.iter();
        if let Some((reason, n)) = reasons.next() {
            write!(f, "; rejected: {n} for {reason}")?;
            reasons.try_for_each(|(reason, n)| write!(f, ", {n} for {reason}"))?;
        }
        Ok(())
    }
}

/// Theses of a file, by their contexts.
pub(crate) struct Distilled {
    sha256: Digest,
    texts: BTreeMap<(String, Ticker, AsOf), Vec<String>>,
    counts: Counts,
}

/// What a file has given a corpus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Imported {
    /// Digest of the file.
    pub(crate) sha256: Digest,
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

impl Distilled {
    /// Reads a file.
    ///
    /// # Errors
    /// Names the line that is not a thesis.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let mut texts: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for thesis in theses(path)? {
            let key = (thesis.universe, thesis.ticker, thesis.as_of);
            texts.entry(key).or_default().push(thesis.text);
        }
        Ok(Self { sha256: digest_of(path)?, texts, counts: Counts::default() })
    }

    /// Returns the picks of the first thesis of a context that can be kept; those after it
    /// are not looked at.
    ///
    /// # Errors
    /// Fails where a rule of the plan does not compile.
    pub(crate) fn picks(
        &mut self,
        universe: &str,
        read: &AsOfRead,
        plan: &Plan,
        acceptor: &mut Acceptor,
    ) -> anyhow::Result<Option<Vec<Vec<Pick>>>> {
        let key = (universe.to_owned(), read.ticker().clone(), read.as_of());
        for text in self.texts.remove(&key).unwrap_or_default() {
            match map::picks(read, plan, &text, acceptor)? {
                Ok(picks) => {
                    self.counts.kept += 1;
                    return Ok(Some(picks));
                }
                Err(reason) => self.counts.reject(reason, 1),
            }
        }
        Ok(None)
    }

    /// Ends the import: what was asked for by no context is rejected.
    pub(crate) fn finish(mut self) -> Imported {
        let left = self.texts.values().map(Vec::len).sum();
        self.counts.reject(Rejection::Context, left);
        Imported { sha256: self.sha256, counts: self.counts }
    }
}

/// Reads the theses of a file.
fn theses(path: &Path) -> anyhow::Result<Vec<Thesis>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let parse = |(i, line): (usize, std::io::Result<String>)| {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&line).with_context(|| {
            format!(
                "{}:{} is not a thesis: expected universe, ticker, as_of and text",
                path.display(),
                i + 1
            )
        })
    };
    BufReader::new(file).lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests;
