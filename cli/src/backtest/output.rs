//! What a backtest leaves: files and a screen.

use std::{fs::File, path::Path};

use anyhow::Context as _;
use backtest::{
    Backtest, Coverage, Evaluation, Judge,
    bootstrap::{
        Estimate, Stationary, optimal_block_length, sharpe_difference, sharpe_distribution,
    },
    diebold_mariano_of_returns,
    metrics::{Metric, Unit, cagr, max_drawdown, sharpe, turnover, volatility},
    report::TearSheet,
    statistics::{SharpeSample, Test, deflated_sharpe},
};
use lake::{Column, write_columns};
use serde::Serialize;

use super::SUMMARY;
use crate::screen::say;

/// The files of a run.
const FILES: [&str; 5] =
    ["tearsheet.html", "result.json", "trades.parquet", "positions.parquet", "equity.parquet"];

/// Writes tear sheet, result, trades, positions and the books of each session: all are there
/// before the first takes the place of an older one, and of two runs the later stays whole.
/// Each Parquet file says in its metadata, under `r2r`, which run it is of.
pub(crate) fn write_run(dir: &Path, sheet: &TearSheet<'_>) -> anyhow::Result<()> {
    let unwritable = || format!("cannot write to {}", dir.display());
    let temp = tempfile::tempdir_in(dir).with_context(unwritable)?;
    let [page, result, trading, holding, equity] = FILES.map(|name| temp.path().join(name));
    let backtest = sheet.backtest;
    let run = serde_json::to_string(&backtest.provenance)?;
    std::fs::write(page, sheet.html()).with_context(unwritable)?;
    std::fs::write(result, sheet.json()?).with_context(unwritable)?;
    write_columns(&trading, trades(backtest), &run)?;
    write_columns(&holding, positions(backtest), &run)?;
    write_columns(&equity, books(backtest), &run)?;
    let turn = File::open(dir).with_context(unwritable)?;
    turn.lock().with_context(unwritable)?;
    for name in FILES {
        std::fs::rename(temp.path().join(name), dir.join(name)).with_context(unwritable)?;
    }
    Ok(())
}

fn trades(backtest: &Backtest) -> Vec<(&'static str, Column)> {
    let trades = &backtest.trades;
    let number = |f: fn(&backtest::Trade) -> f64| {
        Column::Number(trades.iter().map(|trade| Some(f(trade))).collect())
    };
    let kind = |trade: &backtest::Trade| {
        serde_json::to_value(trade.kind).ok().and_then(|kind| Some(kind.as_str()?.to_owned()))
    };
    vec![
        ("session", Column::Date(trades.iter().map(|t| backtest.sessions[t.session]).collect())),
        (
            "ticker",
            Column::Text(trades.iter().map(|t| backtest.tickers[t.name].to_string()).collect()),
        ),
        ("shares", number(|trade| trade.shares)),
        ("price", number(|trade| trade.price)),
        ("value", number(backtest::Trade::value)),
        ("commission", number(|trade| trade.costs.commission)),
        ("spread", number(|trade| trade.costs.spread)),
        ("impact", number(|trade| trade.costs.impact)),
        (
            "kind",
            Column::Text(trades.iter().map(|trade| kind(trade).unwrap_or_default()).collect()),
        ),
    ]
}

fn positions(backtest: &Backtest) -> Vec<(&'static str, Column)> {
    let (mut sessions, mut tickers) = (Vec::new(), Vec::new());
    let (mut shares, mut weights) = (Vec::new(), Vec::new());
    for position in backtest.positions() {
        sessions.push(position.session);
        tickers.push(position.ticker.to_string());
        shares.push(Some(position.shares));
        weights.push(position.weight);
    }
    vec![
        ("session", Column::Date(sessions)),
        ("ticker", Column::Text(tickers)),
        ("shares", Column::Number(shares)),
        ("weight", Column::Number(weights)),
    ]
}

fn books(backtest: &Backtest) -> Vec<(&'static str, Column)> {
    let days = &backtest.days;
    let number = |f: fn(&backtest::Day) -> f64| {
        Column::Number(days.iter().map(|day| Some(f(day))).collect())
    };
    let own = |values: &[f64]| Column::Number(values.iter().map(|value| Some(*value)).collect());
    vec![
        ("session", Column::Date(backtest.sessions.clone())),
        ("equity", own(&backtest.equity)),
        ("return", own(&backtest.returns)),
        ("cash", number(|day| day.cash)),
        ("long", number(|day| day.long)),
        ("short", number(|day| day.short)),
        ("traded", number(|day| day.traded)),
        ("commission", number(|day| day.costs.commission)),
        ("spread", number(|day| day.costs.spread)),
        ("impact", number(|day| day.costs.impact)),
        ("borrow", number(|day| day.borrow)),
        ("interest", number(|day| day.interest)),
        ("dividends", number(|day| day.dividends)),
    ]
}

/// Writes a value in its unit, `n/a` where it is undefined.
pub(crate) fn shown(metric: Metric, value: Option<f64>) -> String {
    let Some(value) = value else { return "n/a".to_owned() };
    let text = match metric.definition().unit {
        Unit::Fraction => format!("{:.1} %", 100.0 * value),
        Unit::Days => format!("{value:.0} d"),
        Unit::Currency => format!("{value:.0}"),
        Unit::Ratio | Unit::Probability | Unit::Nats => format!("{value:.2}"),
    };
    // What rounds to nothing has no sign.
    match text.strip_prefix('-') {
        Some(rest) if !rest.contains(|c| matches!(c, '1'..='9')) => rest.to_owned(),
        _ => text,
    }
}

fn interval(estimate: &Estimate) -> String {
    let first = estimate.intervals.first().and_then(|found| found.interval);
    first.map_or_else(String::new, |ends| {
        let end = |value| shown(estimate.metric, Some(value));
        format!("[{}, {}]", end(ends.lower), end(ends.upper))
    })
}

/// Mean block length of the interval that is shown.
fn block(estimate: &Estimate) -> String {
    let first = estimate.intervals.first();
    first.map_or_else(String::new, |found| found.bootstrap.mean_block.to_string())
}

/// Prints the metrics that matter most.
pub(crate) fn summary(backtest: &Backtest, evaluation: &Evaluation) -> anyhow::Result<()> {
    let provenance = &backtest.provenance;
    let config = &provenance.config;
    say!(
        "{} on {}, {} to {}, {} trades, snapshot {}",
        provenance.strategy,
        provenance.universe,
        config.start,
        config.end,
        backtest.trades.len(),
        provenance.snapshot.map(|id| id.short()).unwrap_or_default()
    );
    if let Some(Coverage { asked, found }) = backtest.coverage {
        say!(
            "  recommendations for {found} of {asked} names on days of decision, the others in \
             cash; {} of them are judged as forecasts",
            evaluation.forecasts
        );
    }
    for metric in SUMMARY {
        let found = evaluation.estimates.iter().find(|estimate| estimate.metric == metric);
        if let Some(estimate) = found {
            let title = estimate.metric.definition().title;
            say!("  {title:<42} {:>10}  {}", shown(metric, estimate.value), interval(estimate));
        }
    }
    if let Some(baseline) = &evaluation.baseline {
        say!("  compared with {baseline}");
    }
    let shown = evaluation.estimates.iter().filter_map(|estimate| estimate.intervals.first());
    let mut shown = shown.filter_map(|found| Some((found.bootstrap, found.interval?)));
    if let Some((bootstrap, interval)) = shown.next() {
        say!(
            "  intervals are of {:.0} %, by {} resamples of blocks of {} sessions",
            100.0 * interval.confidence,
            bootstrap.resamples,
            bootstrap.mean_block
        );
    }
    Ok(())
}

/// What was asked of a run, apart from its strategy.
pub(crate) fn terms(provenance: &backtest::Provenance) -> String {
    let config = &provenance.config;
    format!(
        "{}, {} to {}, held {} sessions, delay {}, {} bp",
        provenance.universe,
        config.start,
        config.end,
        config.horizon,
        config.delay,
        config.costs.commission_bps
    )
}

/// A row of a comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    strategy: String,
    sharpe: Estimate,
    sharpe_difference: Estimate,
    cagr: Option<f64>,
    volatility: Option<f64>,
    max_drawdown: Option<f64>,
    turnover: Option<f64>,
    deflated_sharpe: Option<f64>,
    /// Mean block length that suits the difference of returns; none where it is undefined.
    optimal_block: Option<f64>,
    diebold_mariano: Option<Test>,
}

/// Computes the row of a run. Where `is_block_free`, the difference from the baseline is
/// resampled by blocks of the length that suits it.
pub(crate) fn headline(
    backtest: &Backtest,
    baseline: &Backtest,
    judge: &Judge,
    is_block_free: bool,
) -> Row {
    let (returns, other) = (&backtest.returns, &baseline.returns);
    let gaps: Vec<f64> = returns.iter().zip(other).map(|(own, other)| own - other).collect();
    let optimal_block = optimal_block_length(&gaps);
    let suited = optimal_block.filter(|_| is_block_free).map(|length| {
        let length = length.round().max(1.0) as u32;
        let bootstraps = judge.bootstraps.iter().take(1);
        let bootstraps = bootstraps.map(|one| Stationary { mean_block: length, ..*one }).collect();
        Judge { bootstraps, ..judge.clone() }
    });
    let paired = suited.as_ref().unwrap_or(judge);
    let own = sharpe(returns);
    let difference = own.zip(sharpe(other)).map(|(own, other)| own - other);
    let horizon = backtest.provenance.config.horizon;
    let sample = SharpeSample::of(returns);
    let deflated = sample.and_then(|sample| deflated_sharpe(&sample, &judge.trial_sharpes));
    Row {
        strategy: backtest.provenance.strategy.clone(),
        sharpe: Estimate {
            metric: Metric::Sharpe,
            value: own,
            intervals: judge.intervals(returns.len(), |plan| sharpe_distribution(returns, plan)),
        },
        sharpe_difference: Estimate {
            metric: Metric::SharpeDifference,
            value: difference,
            intervals: paired
                .intervals(returns.len(), |plan| sharpe_difference(returns, other, plan)),
        },
        cagr: cagr(returns),
        volatility: volatility(returns),
        max_drawdown: max_drawdown(returns),
        turnover: backtest.weights().and_then(turnover),
        deflated_sharpe: deflated.map(|deflated| deflated.probability),
        optimal_block,
        diebold_mariano: diebold_mariano_of_returns(returns, other, horizon),
    }
}

/// A comparison as a file.
#[derive(Debug, Serialize)]
struct Comparison<'a> {
    provenance: &'a backtest::Provenance,
    baseline: &'a str,
    rows: &'a [Row],
    definitions: [&'static backtest::metrics::Definition; 8],
}

/// Prints a comparison, and writes it where a directory is given.
pub(crate) fn comparison(
    runs: &[Backtest],
    rows: &[Row],
    baseline: &Backtest,
    out: Option<&Path>,
) -> anyhow::Result<()> {
    let first = runs.first().unwrap_or(baseline);
    let (asked, other) = (terms(&first.provenance), &baseline.provenance.strategy);
    say!("{asked}; {} strategies, baseline {other}", rows.len());
    table(rows)?;
    let Some(dir) = out else { return Ok(()) };
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let shown = [
        Metric::Sharpe,
        Metric::SharpeDifference,
        Metric::Cagr,
        Metric::Volatility,
        Metric::MaxDrawdown,
        Metric::Turnover,
        Metric::DeflatedSharpe,
        Metric::DieboldMariano,
    ];
    let definitions = shown.map(Metric::definition);
    let file = Comparison { provenance: &first.provenance, baseline: other, rows, definitions };
    let path = dir.join("compare.json");
    let text = serde_json::to_string_pretty(&file)?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    say!("the comparison is in {}", path.display());
    Ok(())
}

fn table(rows: &[Row]) -> anyhow::Result<()> {
    say!(
        "{:<56} {:>6} {:<15} {:>8} {:>8} {:>8} {:>6} {:>6} {:<15} {:>5} {:>5} {:>5}",
        "strategy",
        "Sharpe",
        "[95 %]",
        "CAGR",
        "vol",
        "max DD",
        "turn",
        "diff",
        "[95 %]",
        "block",
        "DM p",
        "DSR"
    );
    for row in rows {
        say!(
            "{:<56} {:>6} {:<15} {:>8} {:>8} {:>8} {:>6} {:>6} {:<15} {:>5} {:>5} {:>5}",
            row.strategy,
            shown(Metric::Sharpe, row.sharpe.value),
            interval(&row.sharpe),
            shown(Metric::Cagr, row.cagr),
            shown(Metric::Volatility, row.volatility),
            shown(Metric::MaxDrawdown, row.max_drawdown),
            shown(Metric::Turnover, row.turnover),
            shown(Metric::SharpeDifference, row.sharpe_difference.value),
            interval(&row.sharpe_difference),
            block(&row.sharpe_difference),
            row.diebold_mariano.map_or("n/a".to_owned(), |test| format!("{:.3}", test.p_value)),
            shown(Metric::DeflatedSharpe, row.deflated_sharpe),
        );
    }
    say!(
        "turn: change of weights a year, what prices move included; \
         diff: Sharpe ratio less the baseline's, its interval by blocks of so many sessions; \
         DM p: of equal returns (Diebold-Mariano); DSR: deflated Sharpe ratio"
    );
    Ok(())
}
