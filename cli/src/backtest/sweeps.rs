//! `r2r backtest sweep`: many parameters, and what choosing among them is worth.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, ensure};
use backtest::{
    Backtest, Config, Detail, Market, Strategy, WalkForward, Window,
    metrics::{Metric, max_drawdown, sharpe},
    run as run_strategy,
    statistics::{
        CSCV_BLOCKS, DeflatedSharpe, Overfitting, SharpeSample, deflated_sharpe,
        probability_of_overfitting,
    },
    strategies::{Momentum, Sides},
    sweep::{Pick, Switching, sweep, walk_forward_picks},
};
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use super::{
    daily_sharpe,
    inputs::Data,
    output::{shown, terms},
    question::Question,
};
use crate::screen::{progress, say};

/// Parameters that are shown, the best first.
const SHOWN: usize = 10;
/// Why what is said of a Sharpe ratio may be undefined.
const STILL: &str = "no parameters have returns that move";

#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// Sessions ago the return begins.
    #[arg(long, value_delimiter = ',', default_values_t = [63, 126, 189, 252, 378],
        value_parser = clap::value_parser!(u32).range(1..))]
    lookback: Vec<u32>,
    /// Sessions ago the return ends; those beyond a lookback are left out.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 5, 10, 21, 42])]
    skip: Vec<u32>,
    /// Names a side.
    #[arg(long, value_delimiter = ',', default_values_t = [2, 3, 5, 8],
        value_parser = clap::value_parser!(u32).range(1..))]
    top: Vec<u32>,
    /// Best names only, none short.
    #[arg(long)]
    long_only: bool,
    /// Sessions parameters are chosen on; 320, or twice the horizon if that is more.
    #[arg(long)]
    train_size: Option<usize>,
    /// Sessions the chosen parameters are followed; 120, or twice a horizon beyond 63.
    #[arg(long)]
    test_size: Option<usize>,
    /// Sessions between the two; not below the horizon. 63, or the horizon.
    #[arg(long)]
    purged_size: Option<usize>,
    /// Sessions after a test block that later choices do not look at; 63, or the horizon.
    #[arg(long)]
    embargo_size: Option<usize>,
    /// Choose on all sessions before, not only on the last.
    #[arg(long)]
    expanding: bool,
    #[command(flatten)]
    question: Question,
    /// Directory for sweep.json.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A sweep as a file.
#[derive(Debug, Serialize)]
struct Swept {
    provenance: backtest::Provenance,
    folds: WalkForward,
    trials: Vec<Trial>,
    picks: Vec<Pick>,
    walk_forward_sharpe: Option<f64>,
    walk_forward_max_drawdown: Option<f64>,
    deflated_sharpe_of_the_best: Option<DeflatedSharpe>,
    overfitting: Option<Overfitting>,
    /// Why there is no figure of overfitting.
    #[serde(skip_serializing_if = "Option::is_none")]
    overfitting_undefined: Option<String>,
}

#[derive(Debug, Serialize)]
struct Trial {
    strategy: String,
    sharpe: Option<f64>,
    max_drawdown: Option<f64>,
}

pub(crate) async fn run(args: &Sweep, data_dir: &Path) -> anyhow::Result<()> {
    args.question.check()?;
    let grid = args.grid();
    ensure!(!grid.is_empty(), "every --skip is at or beyond every --lookback: no return is left");
    let bar = progress()?;
    let data = Data::load(&args.question, &[], data_dir, &bar).await?;
    let config = data.config.clone();
    let sizes = args.sizes(config.horizon);
    let days = data.market().rows(config.start, config.end)?.len();
    let folds = sizes.folds(days, config.horizon)?;
    bar.set_length(grid.len() as u64);
    bar.set_message("running parameters; Ctrl-C stops");
    let (market, trials) =
        in_background(data.into_market(), config.clone(), grid, bar.clone()).await?;
    bar.set_message("judging");
    let picks = walk_forward_picks(&trials, &folds);
    let mut switching = Switching::new(args.grid(), picks.clone());
    let followed = run_strategy(&market, &mut switching, &config, Detail::Equity)?;
    bar.finish_and_clear();
    let from = folds.first().map_or(0, |fold| fold.test.start);
    let result = judged(&trials, &followed, from, picks, sizes);
    show(&result, folds.len())?;
    if let Some(dir) = &args.out {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join("sweep.json");
        std::fs::write(&path, serde_json::to_string_pretty(&result)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        say!("all parameters are in {}", path.display());
    }
    say!("bias: {}", result.provenance.bias);
    Ok(())
}

impl Sweep {
    fn sizes(&self, horizon: usize) -> WalkForward {
        let usual = WalkForward::for_horizon(horizon);
        WalkForward {
            train_size: self.train_size.unwrap_or(usual.train_size),
            test_size: self.test_size.unwrap_or(usual.test_size),
            purged_size: self.purged_size.unwrap_or(usual.purged_size),
            embargo_size: self.embargo_size.unwrap_or(usual.embargo_size),
            window: if self.expanding { Window::Expanding } else { Window::Rolling },
        }
    }

    /// A skip beyond the lookback is no return of the past: it is left out.
    fn grid(&self) -> Vec<Box<dyn Strategy>> {
        let sides = if self.long_only { Sides::Long } else { Sides::LongShort };
        let mut grid: Vec<Box<dyn Strategy>> = Vec::new();
        for &lookback in &self.lookback {
            for &skip in self.skip.iter().filter(|skip| **skip < lookback) {
                for &top in &self.top {
                    let [lookback, skip, top] = [lookback, skip, top].map(|n| n as usize);
                    grid.push(Box::new(Momentum::new(lookback, skip, top, sides)));
                }
            }
        }
        grid
    }
}

/// Runs the grid on threads of its own, so that Ctrl-C is heard meanwhile.
async fn in_background(
    market: Market,
    config: Config,
    grid: Vec<Box<dyn Strategy>>,
    bar: ProgressBar,
) -> anyhow::Result<(Market, Vec<Backtest>)> {
    let cancel = Arc::new(AtomicBool::new(false));
    let asked = cancel.clone();
    let mut work = tokio::task::spawn_blocking(move || {
        let swept = sweep(&market, &config, grid, Detail::Equity, |_| bar.inc(1), &asked);
        swept.map(|trials| (market, trials))
    });
    tokio::select! {
        done = &mut work => return Ok(done.context("the sweep has died")??),
        _ = tokio::signal::ctrl_c() => cancel.store(true, Ordering::Relaxed),
    }
    Ok(work.await.context("the sweep has died")??)
}

/// Judges all by the sessions from the first test block on: before it nothing was chosen.
fn judged(
    trials: &[Backtest],
    followed: &Backtest,
    from: usize,
    picks: Vec<Pick>,
    folds: WalkForward,
) -> Swept {
    let returns: Vec<&[f64]> = trials.iter().map(|trial| &trial.returns[from..]).collect();
    let daily: Vec<f64> = returns.iter().filter_map(|returns| daily_sharpe(returns)).collect();
    let best = returns.iter().max_by(|a, b| {
        let of = |returns: &[f64]| sharpe(returns).unwrap_or(f64::NEG_INFINITY);
        of(a).total_cmp(&of(b))
    });
    let sample = best.and_then(|best| SharpeSample::of(best));
    // Undefined for a single trial or a span too short to split.
    let overfitting = probability_of_overfitting(&returns, CSCV_BLOCKS);
    let trial = |(run, returns): (&Backtest, &&[f64])| Trial {
        strategy: run.provenance.strategy.clone(),
        sharpe: sharpe(returns),
        max_drawdown: max_drawdown(returns),
    };
    Swept {
        provenance: followed.provenance.clone(),
        folds,
        trials: trials.iter().zip(&returns).map(trial).collect(),
        picks,
        walk_forward_sharpe: sharpe(&followed.returns[from..]),
        walk_forward_max_drawdown: max_drawdown(&followed.returns[from..]),
        deflated_sharpe_of_the_best: sample.and_then(|sample| deflated_sharpe(&sample, &daily)),
        overfitting_undefined: match &overfitting {
            Ok(found) if found.probability.is_none() => Some(STILL.to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        },
        overfitting: overfitting.ok(),
    }
}

fn show(result: &Swept, folds: usize) -> anyhow::Result<()> {
    let number = |value: Option<f64>| shown(Metric::Sharpe, value);
    let drawdown = |value: Option<f64>| shown(Metric::MaxDrawdown, value);
    let (asked, trials) = (terms(&result.provenance), result.trials.len());
    say!("{asked}; {trials} parameters of momentum, {folds} folds");
    let mut best: Vec<&Trial> = result.trials.iter().collect();
    best.sort_by(|a, b| {
        let of = |trial: &Trial| trial.sharpe.unwrap_or(f64::NEG_INFINITY);
        of(b).total_cmp(&of(a))
    });
    say!("  {:<58} {:>6} {:>8}", "the best in hindsight", "Sharpe", "max DD");
    for trial in best.into_iter().take(SHOWN) {
        say!(
            "  {:<58} {:>6} {:>8}",
            trial.strategy,
            number(trial.sharpe),
            drawdown(trial.max_drawdown)
        );
    }
    say!(
        "  {:<58} {:>6} {:>8}",
        "chosen fold by fold, on what came before",
        number(result.walk_forward_sharpe),
        drawdown(result.walk_forward_max_drawdown)
    );
    let probability = |value: Option<f64>, why: Option<&str>| {
        let why = why.filter(|_| value.is_none()).map(|why| format!(": {why}"));
        shown(Metric::DeflatedSharpe, value) + &why.unwrap_or_default()
    };
    let deflated = result.deflated_sharpe_of_the_best.as_ref().map(|found| found.probability);
    let overfit = result.overfitting.as_ref().and_then(|found| found.probability);
    say!("  deflated Sharpe ratio of the best: {}", probability(deflated, Some(STILL)));
    let why = result.overfitting_undefined.as_deref();
    say!("  probability of backtest overfitting: {}", probability(overfit, why));
    Ok(())
}
