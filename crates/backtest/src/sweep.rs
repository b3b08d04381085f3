//! Many strategies on one market: side by side, and each fold by what was best before it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use chrono::NaiveDate;
use rayon::prelude::*;
use serde::Serialize;

use crate::{
    Backtest, BacktestError, Choice, Config, Detail, Fold, Frame, Market, Strategy,
    metrics::{max_drawdown, sharpe, total_return},
    run,
};

/// Runs strategies beside each other, on the threads of the current rayon pool. Results
/// have the order of the strategies, whatever thread ran them. `progress` is told how many
/// are done, from any thread; `cancel` stops what has not begun.
///
/// # Errors
/// As [`run`], and when it was cancelled.
pub fn sweep(
    market: &Market,
    config: &Config,
    strategies: Vec<Box<dyn Strategy>>,
    detail: Detail,
    progress: impl Fn(usize) + Sync,
    cancel: &AtomicBool,
) -> Result<Vec<Backtest>, BacktestError> {
    let (done, all) = (AtomicUsize::new(0), strategies.len());
    let one = |mut strategy: Box<dyn Strategy>| {
        if cancel.load(Ordering::Relaxed) {
            return Err(BacktestError::Cancelled { done: done.load(Ordering::Relaxed), all });
        }
        let backtest = run(market, strategy.as_mut(), config, detail)?;
        progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(backtest)
    };
    // Collected whole before the first error is looked for: which one it is must not
    // depend on the threads.
    let results: Vec<Result<Backtest, BacktestError>> =
        strategies.into_par_iter().map(one).collect();
    results.into_iter().collect()
}

/// What a fold goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pick {
    /// First session of the test block.
    pub from: NaiveDate,
    /// Position of the trial with the highest Sharpe ratio in training; none where all are
    /// undefined.
    pub trial: Option<usize>,
    /// That Sharpe ratio.
    pub train_sharpe: Option<f64>,
}

/// Picks, for each fold, the trial that was best on its training sessions, the first one
/// among equals. What follows the training window has no say.
#[must_use]
pub fn walk_forward_picks(trials: &[Backtest], folds: &[Fold]) -> Vec<Pick> {
    let Some(first) = trials.first() else { return Vec::new() };
    let mut returns = Vec::new();
    let pick = |fold: &Fold| {
        let mut best: Option<(usize, f64)> = None;
        for (i, trial) in trials.iter().enumerate() {
            returns.clear();
            let train = fold.train.iter().filter_map(|range| trial.returns.get(range.clone()));
            train.for_each(|part| returns.extend_from_slice(part));
            let Some(found) = sharpe(&returns) else { continue };
            if best.is_none_or(|(_, best)| found > best) {
                best = Some((i, found));
            }
        }
        let from = first.sessions[fold.test.start];
        Pick { from, trial: best.map(|(i, _)| i), train_sharpe: best.map(|(_, sharpe)| sharpe) }
    };
    folds.iter().map(pick).collect()
}

/// What a run made in the test block of a fold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TestBlock {
    /// First session.
    pub from: NaiveDate,
    /// Last session.
    pub to: NaiveDate,
    /// Annual Sharpe ratio of the block.
    pub sharpe: Option<f64>,
    /// Return over the block.
    pub total_return: Option<f64>,
    /// Maximum drawdown within the block.
    pub max_drawdown: Option<f64>,
}

/// Cuts a run into the test blocks of folds of its sessions.
#[must_use]
pub fn test_blocks(backtest: &Backtest, folds: &[Fold]) -> Vec<TestBlock> {
    let block = |fold: &Fold| {
        let returns = backtest.returns.get(fold.test.clone())?;
        let sessions = backtest.sessions.get(fold.test.clone())?;
        Some(TestBlock {
            from: *sessions.first()?,
            to: *sessions.last()?,
            sharpe: sharpe(returns),
            total_return: total_return(returns),
            max_drawdown: max_drawdown(returns),
        })
    };
    folds.iter().filter_map(block).collect()
}

/// Follows the pick of each fold, and pays for changing from one to the next. Holds cash
/// before the first fold.
pub struct Switching {
    trials: Vec<Box<dyn Strategy>>,
    picks: Vec<Pick>,
}

impl Switching {
    /// Follows picks, in order of dates, among trials.
    #[must_use]
    pub fn new(trials: Vec<Box<dyn Strategy>>, picks: Vec<Pick>) -> Self {
        Self { trials, picks }
    }
}

impl Strategy for Switching {
    fn name(&self) -> String {
        let (trials, folds) = (self.trials.len(), self.picks.len());
        format!("walk_forward_best(trials={trials}, folds={folds})")
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        let begun = self.picks.partition_point(|pick| pick.from <= frame.session());
        let pick = begun.checked_sub(1).and_then(|at| self.picks[at].trial);
        match pick.and_then(|trial| self.trials.get_mut(trial)) {
            Some(trial) => trial.decide(frame, weights),
            None => Choice::Rebalance,
        }
    }
}
