//! `r2r backtest`: what a strategy would have made, and how far that can be believed.

mod decide;
mod inputs;
mod output;
mod question;
mod sweeps;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backtest::{
    Detail, Judge,
    bootstrap::RESAMPLES_MAX,
    evaluate_while,
    metrics::{Metric, sharpe},
    report::TearSheet,
    run as run_strategy,
    strategies::{Needs, STRATEGIES, find},
    sweep::sweep,
};
use clap::{Args, Subcommand};

use self::{
    inputs::Data,
    output::{comparison, headline, summary, write_run},
    question::Question,
    sweeps::Sweep,
};
use crate::screen::{progress, say};

/// Strategies that a comparison shows where none is named: the rules, and chance.
const COMPARED: [&str; 7] = [
    "buy_and_hold",
    "equal_weight",
    "vol_target",
    "momentum_12_1",
    "momentum_12_1_long",
    "random",
    "class_prior",
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the strategies.
    Strategies,
    /// Run a strategy: metrics, a tear sheet (HTML and JSON), trades and positions.
    #[command(
        allow_negative_numbers = true,
        after_help = "Examples:\n  r2r backtest run --strategy momentum_12_1\n  \
        r2r backtest run --strategy vol_target --start 1996-12-20 --end 2022-12-28 --cost-bps 10\n  \
        r2r backtest run --strategy decisions --start 2019-01-02 --end 2022-12-28\n  \
        r2r backtest run --strategy decisions --decisions theses.jsonl --decide-every 7\n\n\
        Strategy decisions has --model write a thesis for each name on each day of decision, some\n\
        two a second on two cores. They are kept: a run that was stopped goes on.\n\
        A decision made of the close of a session is traded --delay sessions later, at the close,\n\
        and held for --horizon sessions. What is left at the end is sold."
    )]
    Run(Box<Run>),
    /// Run several strategies and compare them with a baseline.
    #[command(
        allow_negative_numbers = true,
        after_help = "Examples:\n  r2r backtest compare\n  \
        r2r backtest compare --start 1996-12-20 --end 2022-12-28 --cost-bps 5 --delay 1\n  \
        r2r backtest compare --strategies momentum_12_1,random --baseline equal_weight"
    )]
    Compare(Box<Compare>),
    /// Run momentum with many parameters, and the best of each past on what follows it.
    #[command(
        allow_negative_numbers = true,
        after_help = "Examples:\n  r2r backtest sweep\n  \
        r2r backtest sweep --lookback 126,252 --skip 0,21 --top 3,5 --test-size 252\n\n\
        Each fold goes on with the parameters that were best on its training sessions; labels of\n\
        --horizon sessions are purged between the two."
    )]
    Sweep(Box<Sweep>),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Strategy: `r2r backtest strategies` lists them.
    #[arg(long)]
    strategy: String,
    /// Strategy the comparison is with.
    #[arg(long, default_value = "equal_weight")]
    baseline: String,
    #[command(flatten)]
    question: Question,
    #[command(flatten)]
    judging: Judging,
    /// Directory for tearsheet.html, result.json and the Parquet files; one of the snapshot's
    /// derived data by default.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// Strategies, separated by commas; all rules where none is named.
    #[arg(long, value_delimiter = ',')]
    strategies: Vec<String>,
    /// Strategy the others are compared with.
    #[arg(long, default_value = "equal_weight")]
    baseline: String,
    #[command(flatten)]
    question: Question,
    #[command(flatten)]
    judging: Judging,
    /// Directory for compare.json.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Judging {
    /// Bootstrap resamples of each interval, at most 10,000; 0 for no intervals.
    #[arg(long, default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(..=i64::from(RESAMPLES_MAX)))]
    resamples: u32,
    /// Mean lengths of the bootstrap's blocks in sessions; 21 and 63 by default. A comparison
    /// then takes the length that suits the difference of the returns (Politis and White).
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    mean_block: Vec<u32>,
}

impl Judging {
    fn judge(&self, seed: u64) -> Judge {
        match self.mean_block.as_slice() {
            [] => Judge::new(self.resamples, seed),
            blocks => Judge::with_blocks(self.resamples, seed, blocks),
        }
    }
}

pub(crate) async fn run(command: &Command, data_dir: &Path) -> anyhow::Result<()> {
    match command {
        Command::Strategies => strategies(),
        Command::Run(args) => run_one(args, data_dir).await,
        Command::Compare(args) => compare(args, data_dir).await,
        Command::Sweep(args) => sweeps::run(args, data_dir).await,
    }
}

fn strategies() -> anyhow::Result<()> {
    for info in &STRATEGIES {
        let needs = match info.needs {
            Needs::Nothing => "",
            Needs::Consensus => "  [needs estimates]",
            Needs::Labels => "  [needs labels]",
            Needs::Decisions => "  [written by --model, or --decisions]",
        };
        say!("{:<20} {}{needs}", info.name, info.title);
    }
    Ok(())
}

async fn run_one(args: &Run, data_dir: &Path) -> anyhow::Result<()> {
    let (info, baseline) = (find(&args.strategy)?, find(&args.baseline)?);
    args.question.check()?;
    let progress = progress()?;
    let data = Data::load(&args.question, &[info, baseline], data_dir, &progress).await?;
    let config = &data.config;
    progress.set_message(format!("running {}", info.name));
    let make = |info| data.strategy(info);
    let mut backtest = run_strategy(data.market(), make(info)?.as_mut(), config, Detail::Full)?;
    data.warn(info, &mut backtest);
    let mut other = run_strategy(data.market(), make(baseline)?.as_mut(), config, Detail::Equity)?;
    data.warn(baseline, &mut other);
    let other = (info.name != baseline.name).then_some(other);
    progress.set_message("resampling");
    let judge = args.judging.judge(config.seed);
    let step = |done: usize, all: usize| {
        progress.set_length(all as u64);
        progress.set_position(done as u64);
        true
    };
    let forecasts = data.forecasts(info);
    let evaluation = evaluate_while(&backtest, other.as_ref(), &forecasts, &judge, &step);
    let evaluation = evaluation.context("the evaluation was stopped")?;
    progress.finish_and_clear();
    let sheet = TearSheet {
        backtest: &backtest,
        evaluation: &evaluation,
        baseline: other.as_ref(),
        disclaimer: study::disclaimer([info, baseline]),
    };
    let dir = match &args.out {
        Some(dir) => dir.clone(),
        None => data.derived(data_dir).join(format!("backtest-{}", info.name)),
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    write_run(&dir, &sheet)?;
    summary(&backtest, &evaluation)?;
    if backtest.trades.is_empty() {
        say!(
            "no trade was made: no name had a weight on a day of decision (a rule that looks back \
             needs more sessions before --start, decisions need dates within the span), or orders \
             came to less than a share or than what limits allow"
        );
    }
    say!("bias: {}", backtest.provenance.bias);
    say!("tear sheet, result, trades and positions are in {}", dir.display());
    Ok(())
}

async fn compare(args: &Compare, data_dir: &Path) -> anyhow::Result<()> {
    let names: Vec<&str> = match args.strategies.is_empty() {
        true => COMPARED.to_vec(),
        false => args.strategies.iter().map(String::as_str).collect(),
    };
    let infos = names.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?;
    let baseline = find(&args.baseline)?;
    args.question.check()?;
    let progress = progress()?;
    let mut needed = infos.clone();
    needed.push(baseline);
    let data = Data::load(&args.question, &needed, data_dir, &progress).await?;
    let config = &data.config;
    let all = infos.iter().chain([&baseline]).map(|info| data.strategy(info));
    let all = all.collect::<Result<Vec<_>, _>>()?;
    progress.set_length(2 * all.len() as u64 - 1);
    progress.set_message("running strategies");
    let never = std::sync::atomic::AtomicBool::new(false);
    let mut runs = sweep(data.market(), config, all, Detail::Full, |_| progress.inc(1), &never)?;
    let mut other = runs.pop().context("the baseline has not run")?;
    runs.iter_mut().zip(&infos).for_each(|(run, info)| data.warn(info, run));
    data.warn(baseline, &mut other);
    let mut judge = args.judging.judge(config.seed);
    judge.trial_sharpes = runs.iter().filter_map(|run| daily_sharpe(&run.returns)).collect();
    progress.set_message("resampling");
    let mut rows = Vec::new();
    for backtest in &runs {
        rows.push(headline(backtest, &other, &judge, args.judging.mean_block.is_empty()));
        progress.inc(1);
    }
    progress.finish_and_clear();
    comparison(&runs, &rows, &other, args.out.as_deref())?;
    // Of a run that follows a model there is more to say.
    let mut followed = runs.iter().zip(&infos).filter(|(_, info)| info.needs == Needs::Decisions);
    let told = followed.next().map_or(&other, |(run, _)| run);
    say!("bias: {}", told.provenance.bias);
    Ok(())
}

/// Sharpe ratio of a day, which trials are compared by.
fn daily_sharpe(returns: &[f64]) -> Option<f64> {
    Some(sharpe(returns)? / backtest::metrics::DAYS_PER_YEAR.sqrt())
}

/// Metrics a summary shows, in this order.
const SUMMARY: [Metric; 12] = [
    Metric::Sharpe,
    Metric::Sortino,
    Metric::Calmar,
    Metric::Cagr,
    Metric::Volatility,
    Metric::MaxDrawdown,
    Metric::Cvar95,
    Metric::HitRate,
    Metric::Turnover,
    Metric::SharpeDifference,
    Metric::LogLossSkill,
    Metric::Ece,
];
