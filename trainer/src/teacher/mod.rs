//! The teacher: writes the reference thesis of a context, as serving would write it.
//!
//! It has no model. Each section cites what is most unusual ([`Salience`]) among what the
//! plan offers, two of one kind only where the second is far more unusual, and reads it in one of
//! the phrases the plan allows for it. Which one is drawn by a hash of seed, ticker, date
//! and evidence, so that the same context always gets the same thesis and the corpus as
//! a whole uses all of them; a thesis repeats a phrase only where nothing else is left.

mod salience;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use contract::{Choice, Pick, Plan};
use domain::{AsOfRead, Digest, Label};

pub(crate) use salience::Salience;

use crate::config::TeacherOrder;

/// How much less unusual a second fact of the same kind is taken to be.
const SAME_KIND: f64 = 1.5;

/// How much the draw may change the order of nearly equal facts.
const JITTER: f64 = 0.5;

/// What speaks for the label goes before everything else, in reverse distillation.
const FOR_LABEL: f64 = 10.0;

/// A reference thesis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lesson {
    /// The plan of the context.
    pub(crate) plan: Plan,
    /// What the teacher chose and wrote, by section.
    pub(crate) picks: Vec<Vec<Pick>>,
}

/// Writes reference theses.
#[derive(Debug, Clone)]
pub(crate) struct Teacher {
    /// What is unusual, by universe.
    salience: BTreeMap<String, Salience>,
    seed: u64,
    order: TeacherOrder,
}

impl Teacher {
    /// Takes what is unusual in each universe.
    pub(crate) fn new(
        salience: BTreeMap<String, Salience>,
        seed: u64,
        order: TeacherOrder,
    ) -> Self {
        Self { salience, seed, order }
    }

    /// Writes the thesis of a context. The realised label is looked at only by
    /// [`TeacherOrder::DecisionFirst`].
    ///
    /// # Errors
    /// Fails where the plan names a rule without phrases, which a test of the contract
    /// excludes, and where a claim does not stand up to verification.
    pub(crate) fn write(
        &self,
        universe: &str,
        read: &AsOfRead,
        label: Option<Label>,
    ) -> anyhow::Result<Lesson> {
        let plan = contract::plan(read);
        let mut said = BTreeSet::new();
        let mut picks = Vec::new();
        for section in &plan.sections {
            let mut own: Vec<Pick> = Vec::new();
            for range in &section.claims {
                let is_free = |i: &usize| own.iter().all(|pick| pick.choice != *i);
                let score = |i: usize| {
                    let choice = &section.choices[i];
                    let cited = own.iter().map(|pick| &section.choices[pick.choice]);
                    let unusual = self.unusual(universe, read, choice, label);
                    let is_alike =
                        |other: &Choice| kind(other).is_some() && kind(other) == kind(choice);
                    let alike = cited.into_iter().any(is_alike);
                    if alike { unusual - SAME_KIND } else { unusual }
                };
                let best = range.clone().filter(is_free).max_by(|a, b| {
                    // The first of equals.
                    score(*a).total_cmp(&score(*b)).then(b.cmp(a))
                });
                let choice = best.context("a plan asks for no more claims than it has evidence")?;
                let text = self.phrase(read, &section.choices[choice], &mut said)?;
                own.push(Pick { choice, text });
            }
            picks.push(own);
        }
        for claim in plan.claims(&picks)? {
            let verdict = contract::verify(read, &claim);
            ensure!(
                verdict.is_ok(),
                "{} as of {}: the teacher's claim {:?} is refuted: {}",
                read.ticker(),
                read.as_of(),
                claim.text,
                verdict.err().map(|refutation| refutation.to_string()).unwrap_or_default()
            );
        }
        Ok(Lesson { plan, picks })
    }

    fn unusual(
        &self,
        universe: &str,
        read: &AsOfRead,
        choice: &Choice,
        label: Option<Label>,
    ) -> f64 {
        let item = read.item(choice.evidence);
        let salience = self.salience.get(universe).zip(item);
        let is_directed = way_of(choice) != 0;
        let unusual =
            salience.map_or(0.0, |(salience, item)| salience.score(read, item, is_directed));
        let jitter = JITTER * self.draw(read, choice, "salience") as f64 / u64::MAX as f64;
        let speaks_for_label = match (self.order, label) {
            (TeacherOrder::DecisionFirst, Some(label)) => way(label) == way_of(choice),
            _ => false,
        };
        unusual + jitter + if speaks_for_label { FOR_LABEL } else { 0.0 }
    }

    /// Draws a phrase for a claim, one that is not in the thesis already if possible.
    fn phrase(
        &self,
        read: &AsOfRead,
        choice: &Choice,
        said: &mut BTreeSet<String>,
    ) -> anyhow::Result<String> {
        let Some(rule) = &choice.rule else { return Ok(String::new()) };
        let phrases = contract::phrases(rule);
        ensure!(!phrases.is_empty(), "grammars/claims.lark has no rule {rule}");
        let n = phrases.len();
        let first = usize::try_from(self.draw(read, choice, "phrase") % n as u64)?;
        let mut turn = (0..n).map(|i| &phrases[(first + i) % n]);
        let phrase = turn.find(|phrase| !said.contains(*phrase)).unwrap_or(&phrases[first]);
        said.insert(phrase.clone());
        Ok(phrase.clone())
    }

    /// A number that depends on the seed, the context and the evidence alone.
    fn draw(&self, read: &AsOfRead, choice: &Choice, of: &str) -> u64 {
        let key = [
            self.seed.to_string(),
            read.ticker().to_string(),
            read.as_of().to_string(),
            choice.lead.clone(),
            of.to_owned(),
        ];
        draw(&key.join("\0"))
    }
}

/// Returns 64 bits of the digest of a key.
pub(crate) fn draw(key: &str) -> u64 {
    let digest = Digest::of(key).to_string();
    digest.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or_default()
}

/// The kind of fact a choice is, as its rule names it.
fn kind(choice: &Choice) -> Option<&str> {
    choice.rule.as_deref().and_then(|rule| rule.rsplit_once('_')).map(|(kind, _)| kind)
}

/// The direction a label bets on: -1, 0 or 1.
fn way(label: Label) -> i8 {
    match label {
        Label::SSell | Label::Sell => -1,
        Label::Hold => 0,
        Label::Buy | Label::SBuy => 1,
    }
}

/// The direction a claim on a choice asserts.
fn way_of(choice: &Choice) -> i8 {
    match choice.rule.as_deref().and_then(|rule| rule.rsplit_once('_')) {
        Some((_, "UP")) => 1,
        Some((_, "DOWN")) => -1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
