//! What decides.

use serde::Serialize;

use crate::Frame;

/// What a strategy wants done with the part of the portfolio its decision is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Keep the shares that are held.
    Keep,
    /// Trade to the weights that were written.
    Rebalance,
    /// Trade all of the portfolio to the weights that were written, also the parts of other
    /// decisions where holdings overlap.
    RebalanceAll,
}

/// For how many of the names it was asked about a strategy had something to go by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Names that were listed, added up over the days of decision.
    pub asked: usize,
    /// Those it had something to go by for.
    pub found: usize,
}

impl Coverage {
    /// Returns the share that was found; none where nothing was asked.
    #[must_use]
    pub fn share(self) -> Option<f64> {
        (self.asked > 0).then(|| self.found as f64 / self.asked as f64)
    }
}

/// A rule that turns what is known at the close of a session into weights.
///
/// It is shown one [`Frame`] at a time, for as long as the call lasts: it can keep what it
/// computed of it, but not the frame.
pub trait Strategy: Send {
    /// Returns a name that tells its parameters, for reports.
    fn name(&self) -> String;

    /// Writes the weight of each name as a share of the portfolio, negative for short;
    /// `weights` has a place for each name and comes filled with zeros. What is left of
    /// the portfolio is cash.
    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice;

    /// Returns how much of what it was asked so far it had an opinion of; none where a rule
    /// has one of everything.
    fn coverage(&self) -> Option<Coverage> {
        None
    }
}
