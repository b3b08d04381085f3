//! What training has gained: rewards on validation contexts, written as serving writes,
//! of the model it started from and of the one it ended with.

use std::{collections::BTreeMap, fmt};

use gradients::AdapterFile;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::Run;
use crate::{
    config::RunConfig,
    corpus::Part,
    evaluate::{aligned, means},
    held_out::{Compared, Difference, HeldOut, Scored, compare},
};

/// Rewards before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rewards {
    pub(crate) contexts: usize,
    pub(crate) dates: usize,
    /// Mean of each number a reward is made of.
    pub(crate) before: BTreeMap<String, f64>,
    pub(crate) after: BTreeMap<String, f64>,
    /// What was gained in each.
    pub(crate) differences: BTreeMap<String, Difference>,
}

/// The table of a terminal.
impl fmt::Display for Rewards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { contexts, dates, before, after, differences } = self;
        writeln!(f, "{contexts} validation contexts of {dates} dates")?;
        let rows = means([before, after], differences);
        f.write_str(&aligned(["before", "after"], &rows))
    }
}

impl Run {
    /// Compares the model training started from with the one there is now; none where
    /// the split has no validation dates.
    ///
    /// # Errors
    /// Fails when snapshots cannot be read, or the decoder fails.
    pub(super) fn compare(&self, config: &RunConfig) -> anyhow::Result<Option<Rewards>> {
        let rl = &config.rl;
        let (adjacent, most) = (rl.adjacent_dates as usize, rl.eval_contexts_max);
        let held_out =
            HeldOut::read(&self.contexts, Part::Validation, adjacent, most, config.seed)?;
        let contexts = held_out.contexts().len();
        if contexts == 0 {
            return Ok(None);
        }
        let bar = held_out.bar(2)?;
        bar.set_message("validation theses of the model that was trained");
        let after = self.scored(&held_out, &bar)?;
        let adapter = self.session.engine().model().adapter();
        let values = adapter.values();
        adapter.set_values(&self.start);
        bar.set_message("validation theses of the model it started from");
        let before = self.scored(&held_out, &bar);
        adapter.set_values(&values);
        bar.finish_and_clear();
        let compared = compare(&held_out.pairs(&before?, &after), config.seed);
        let Compared { dates, means: [before, after], differences } = compared;
        Ok(Some(Rewards { contexts, dates, before, after, differences }))
    }

    /// Scores what the adapter as it is writes.
    fn scored(&self, held_out: &HeldOut, bar: &ProgressBar) -> anyhow::Result<Vec<Scored>> {
        let adapter = AdapterFile::of(self.session.engine().model().adapter());
        held_out.score(&self.scorer, held_out.write(&self.decoder, Some(&adapter), bar)?)
    }
}
