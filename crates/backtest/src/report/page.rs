//! The page: what was asked, what came of it, and what each number means.

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    TearSheet, charts,
    plot::{Plot, Series, draw},
    text::{self, money, number, percent},
};
use crate::{
    Backtest, TradeKind,
    bootstrap::{BlockInterval, Estimate},
    metrics::{Definition, Metric, drawdowns, rolling_sharpe},
};

const STYLE: &str = include_str!("style.css");

/// Days of the rolling Sharpe ratio.
const ROLLING_DAYS: usize = 252;

/// Trades that are listed: the last ones.
const LISTED_TRADES: usize = 24;

/// Metrics that only charts show.
const CHARTED: [Metric; 2] = [Metric::RollingSharpe, Metric::MonthlyReturn];

/// Metrics that stand at the top.
const HEADLINES: [Metric; 6] = [
    Metric::Sharpe,
    Metric::Cagr,
    Metric::MaxDrawdown,
    Metric::Volatility,
    Metric::Turnover,
    Metric::SharpeDifference,
];

pub(super) fn page(sheet: &TearSheet<'_>) -> Markup {
    let provenance = &sheet.backtest.provenance;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (provenance.strategy) " on " (provenance.universe) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (header(sheet))
                    (headlines(sheet))
                    (curves(sheet))
                    (months(sheet))
                    (metrics(sheet))
                    (reliability(sheet))
                    (costs(sheet))
                    (trades(sheet.backtest))
                    (footnotes(sheet))
                }
            }
        }
    }
}

fn header(sheet: &TearSheet<'_>) -> Markup {
    let provenance = &sheet.backtest.provenance;
    let config = &provenance.config;
    let costs = &config.costs;
    let days = sheet.backtest.sessions.len();
    html! {
        header {
            h1 { (provenance.strategy) }
            p class="lede" {
                "Universe " b { (provenance.universe) } ", " (sheet.backtest.tickers.len()) " names, "
                (config.start) " to " (config.end) " (" (number(days as f64, 0)) " sessions). "
                "Decided every " (config.decide_every) " sessions, held " (config.horizon)
                ", traded " (config.delay) " after the decision, at the close. Costs: "
                (number(costs.commission_bps, 1)) " bp of traded value"
                @if costs.half_spread_bps > 0.0 { ", " (number(costs.half_spread_bps, 1)) " bp half spread" }
                @if costs.impact > 0.0 { ", square-root impact with Y = " (number(costs.impact, 2)) }
                @if costs.borrow_bps > 0.0 { ", " (number(costs.borrow_bps, 0)) " bp a year on short positions" }
                "."
            }
            @if let Some(coverage) = sheet.backtest.coverage {
                p class="lede" {
                    "Recommendations for " (number(coverage.found as f64, 0)) " of "
                    (number(coverage.asked as f64, 0)) " names on days of decision"
                    @if let Some(share) = coverage.share() { " (" (number(100.0 * share, 1)) " %)" }
                    "; the others were held in cash."
                }
            }
            p class="bias" { b { "Bias. " } (provenance.bias) }
            p class="disclaimer" { (sheet.disclaimer) }
        }
    }
}

fn interval(interval: &BlockInterval, metric: Metric) -> String {
    let ends = interval.interval.map(|interval| {
        let end = |value| text::metric(metric, Some(value));
        format!("[{}, {}]", end(interval.lower), end(interval.upper))
    });
    ends.unwrap_or_else(|| text::UNDEFINED.to_owned())
}

/// Metrics that the page shows, in the order of their footnotes.
fn shown<'a>(sheet: &'a TearSheet<'_>) -> impl Iterator<Item = &'static Definition> + 'a {
    let estimates = &sheet.evaluation.estimates;
    let is_shown = |metric: Metric| {
        CHARTED.contains(&metric) || estimates.iter().any(|estimate| estimate.metric == metric)
    };
    Metric::all().iter().filter(move |row| is_shown(row.metric))
}

/// A link to the footnote of a metric.
fn note(sheet: &TearSheet<'_>, metric: Metric) -> Markup {
    let place = shown(sheet).position(|row| row.metric == metric);
    html! { @if let Some(place) = place { sup { a href={ "#note-" (place + 1) } { (place + 1) } } } }
}

fn headlines(sheet: &TearSheet<'_>) -> Markup {
    let find = |metric: &Metric| {
        sheet.evaluation.estimates.iter().find(|estimate| estimate.metric == *metric)
    };
    html! {
        section class="tiles" aria-label="Headline metrics" {
            @for estimate in HEADLINES.iter().filter_map(find) {
                @let definition = estimate.metric.definition();
                div class="tile" title=(definition.convention) {
                    span class="name" { (definition.title) (note(sheet, estimate.metric)) }
                    span class="value" { (text::metric(estimate.metric, estimate.value)) }
                    @if let Some(first) = estimate.intervals.first() {
                        span class="interval" { (interval(first, estimate.metric)) }
                    }
                }
            }
        }
        @if let Some(first) = sheet.evaluation.estimates.iter().find_map(|e| e.intervals.first()) {
            p class="caption" {
                "In brackets: 95 % intervals, by blocks of " (first.bootstrap.mean_block) " sessions."
            }
        }
    }
}

fn series<'a>(name: &'a str, class: &'static str, values: &[f64]) -> Series<'a> {
    Series { name, class, is_area: false, values: values.iter().map(|v| Some(*v)).collect() }
}

fn area<'a>(name: &'a str, class: &'static str, values: Vec<Option<f64>>) -> Series<'a> {
    Series { name, class, is_area: true, values }
}

fn figure(title: &str, note: Markup, plot: &Plot<'_>) -> Markup {
    html! {
        figure {
            h2 { (title) }
            div class="scroll" { (draw(plot)) }
            figcaption { (note) }
        }
    }
}

fn curves(sheet: &TearSheet<'_>) -> Markup {
    let Backtest { sessions, equity, returns, days, .. } = sheet.backtest;
    let plot = |title, series, is_log, height, format| Plot {
        title,
        sessions,
        series,
        is_log,
        height,
        format,
    };
    let mut wealth = vec![series("strategy", "s1", equity)];
    if let Some(baseline) = sheet.baseline {
        wealth.push(series(&baseline.provenance.strategy, "s2", &baseline.equity));
    }
    let falls = drawdowns(returns).unwrap_or_default().into_iter().map(Some).collect();
    let mut rolling = vec![Series {
        values: rolling_sharpe(returns, ROLLING_DAYS),
        ..series("strategy", "s1", &[])
    }];
    if let Some(baseline) = sheet.baseline {
        let values = rolling_sharpe(&baseline.returns, ROLLING_DAYS);
        rolling.push(Series { values, ..series(&baseline.provenance.strategy, "s2", &[]) });
    }
    let exposure = |part: fn(&crate::Day) -> f64| -> Vec<Option<f64>> {
        let share = |day: &crate::Day| (day.equity() > 0.0).then(|| part(day) / day.equity());
        days.iter().map(share).collect()
    };
    let exposures = vec![
        area("long", "s1", exposure(|day| day.long)),
        area("short", "s2", exposure(|day| -day.short)),
        Series { is_area: false, ..area("net", "s3", exposure(|day| day.long - day.short)) },
    ];
    let times = |value: f64| {
        let is_whole = value >= 100.0 || value == value.round();
        let decimals = if is_whole { 0 } else { 2 };
        format!("{}\u{d7}", number(value, decimals))
    };
    let whole = |value: f64| percent(value, 0);
    html! {
        (figure("Equity", html! {
            "Wealth at each close as a multiple of the capital before the first session, after all "
            "costs, on a logarithmic scale."
        }, &plot("Equity", wealth, true, 300.0, times)))
        (figure("Drawdown", html! {
            "Fall of wealth from its running maximum, as a share of that" (note(sheet, Metric::MaxDrawdown)) "."
        }, &plot("Drawdown", vec![area("drawdown", "s1", falls)], false, 170.0, whole)))
        (figure("Rolling Sharpe ratio", html! {
            "Of the " (ROLLING_DAYS) " sessions that end with each day" (note(sheet, Metric::RollingSharpe)) "."
        }, &plot("Rolling Sharpe ratio", rolling, false, 190.0, |value| number(value, 1))))
        (figure("Exposure", html! {
            "Value of long and short positions at each close as a share of equity; net is long less short."
        }, &plot("Exposure", exposures, false, 190.0, whole)))
    }
}

fn months(sheet: &TearSheet<'_>) -> Markup {
    html! {
        figure {
            h2 { "Monthly returns, percent" }
            div class="scroll" { (charts::months(sheet.backtest)) }
            figcaption {
                "Growth over the sessions of a calendar month" (note(sheet, Metric::MonthlyReturn))
                "; the last column is that of the year. Blue is a gain, orange a loss; colours are full at 10 %."
            }
        }
    }
}

fn metrics(sheet: &TearSheet<'_>) -> Markup {
    let estimates = &sheet.evaluation.estimates;
    let blocks: Vec<&BlockInterval> = estimates
        .iter()
        .find(|e| !e.intervals.is_empty())
        .map_or(Vec::new(), |e| e.intervals.iter().collect());
    let row = |estimate: &Estimate| {
        let definition = estimate.metric.definition();
        html! {
            tr title=(definition.convention) {
                th scope="row" { (definition.title) (note(sheet, estimate.metric)) }
                td class="number" { (text::metric(estimate.metric, estimate.value)) }
                @for at in 0..blocks.len() {
                    td class="number interval" {
                        @if let Some(found) = estimate.intervals.get(at) { (interval(found, estimate.metric)) }
                    }
                }
            }
        }
    };
    html! {
        section {
            h2 { "Metrics" }
            div class="scroll" {
                table class="metrics" {
                    thead {
                        tr {
                            th { "Metric" }
                            th class="number" { "Value" }
                            @for block in &blocks {
                                th class="number" { "95 % interval, blocks of " (block.bootstrap.mean_block) }
                            }
                        }
                    }
                    tbody { @for estimate in estimates { (row(estimate)) } }
                }
            }
            p class="caption" {
                @if let Some(block) = blocks.first() {
                    "Percentile intervals of " (number(f64::from(block.bootstrap.resamples), 0))
                    " stationary bootstrap resamples (Politis and Romano 1994) with blocks of that mean "
                    "length in days, seed " (block.bootstrap.seed) ". "
                }
                @if let Some(baseline) = &sheet.evaluation.baseline {
                    "Comparisons are with " b { (baseline) } ". "
                }
                @if sheet.evaluation.trials > 1 {
                    "Trials that were looked at: " (sheet.evaluation.trials) ". "
                }
                "n/a is undefined, not zero."
            }
        }
    }
}

fn reliability(sheet: &TearSheet<'_>) -> Markup {
    let evaluation = sheet.evaluation;
    if evaluation.reliability.is_empty() {
        return html! {};
    }
    html! {
        figure {
            h2 { "Reliability" }
            (charts::reliability(&evaluation.reliability))
            figcaption {
                "How often the top label came true, by the probability that was said for it, over "
                (number(evaluation.forecasts as f64, 0)) " forecasts; bars are the share of forecasts in each bin. "
                "ECE " (text::metric(Metric::Ece, evaluation.value(Metric::Ece))) (note(sheet, Metric::Ece))
                " beside a log-loss skill of "
                (text::metric(Metric::LogLossSkill, evaluation.value(Metric::LogLossSkill)))
                (note(sheet, Metric::LogLossSkill)) " over the class prior: without skill, calibration is no evidence."
            }
        }
    }
}

fn costs(sheet: &TearSheet<'_>) -> Markup {
    let totals = sheet.backtest.totals();
    let gross: f64 = totals.costs.total() + totals.borrow;
    let parts = [
        ("Commission", totals.costs.commission, "Commission rate times traded value."),
        ("Spread", totals.costs.spread, "Half the quoted spread times traded value."),
        ("Impact", totals.costs.impact, "Two thirds of Y sigma sqrt(Q / ADV), times traded value."),
        (
            "Borrow fee",
            totals.borrow,
            "Yearly fee over 252, on the value of short positions at the close before.",
        ),
    ];
    let share =
        |part: f64| if gross > 0.0 { percent(part / gross, 1) } else { text::UNDEFINED.to_owned() };
    let rate = |part: f64| {
        let rate = part / totals.traded * 1e4;
        charts::shown(Some(rate).filter(|rate| rate.is_finite()), |rate| {
            format!("{} bp", number(rate, 2))
        })
    };
    html! {
        figure {
            h2 { "Costs" }
            div class="scroll" { (charts::costs(sheet.backtest)) }
            figcaption { "Costs of each calendar year in basis points of the year's average equity." }
            table class="metrics" {
                thead { tr {
                    th { "Part" } th class="number" { "Amount" } th class="number" { "Share" }
                    th class="number" { "Of traded value" }
                } }
                tbody {
                    @for (name, amount, convention) in parts {
                        tr title=(convention) {
                            th scope="row" { (name) }
                            td class="number" { (money(amount)) }
                            td class="number" { (share(amount)) }
                            td class="number" { (rate(amount)) }
                        }
                    }
                }
            }
            p class="caption" {
                "Amounts are in the currency of prices, m for millions, for a capital of " (money(sheet.backtest.provenance.config.capital))
                ". Traded value, bought and sold added: " (money(totals.traded)) ". Dividends received less paid: "
                (money(totals.dividends)) "; interest received less paid: " (money(totals.interest)) "."
            }
        }
    }
}

#[derive(Default)]
struct PerName {
    trades: usize,
    value: f64,
    costs: f64,
}

fn trades(backtest: &Backtest) -> Markup {
    let mut names: BTreeMap<usize, PerName> = BTreeMap::new();
    for trade in &backtest.trades {
        let name = names.entry(trade.name).or_default();
        name.trades += 1;
        name.value += trade.value();
        name.costs += trade.costs.total();
    }
    let first = backtest.trades.len().saturating_sub(LISTED_TRADES);
    html! {
        section {
            h2 { "Trades" }
            p class="caption" {
                (number(backtest.trades.len() as f64, 0)) " trades of " (names.len()) " names; shares with a minus were sold. "
                "Value is shares times the closing price they were traded at; costs are commission, half spread and impact."
            }
            div class="columns" {
                div class="scroll" {
                    h3 { "By name" }
                    table class="metrics" {
                        thead { tr { th { "Name" } th class="number" { "Trades" } th class="number" { "Value" } th class="number" { "Costs" } } }
                        tbody { @for (name, sum) in &names {
                            tr {
                                th scope="row" { (backtest.tickers[*name]) }
                                td class="number" { (number(sum.trades as f64, 0)) }
                                td class="number" { (money(sum.value)) }
                                td class="number" { (money(sum.costs)) }
                            }
                        } }
                    }
                }
                div class="scroll" {
                    h3 { "The last " (backtest.trades.len() - first) }
                    table class="metrics" {
                        thead { tr { th { "Session" } th { "Name" } th class="number" { "Shares" } th class="number" { "Price" } th class="number" { "Value" } th { "Why" } } }
                        tbody { @for trade in &backtest.trades[first..] {
                            tr {
                                td { (backtest.sessions[trade.session]) }
                                th scope="row" { (backtest.tickers[trade.name]) }
                                td class="number" { (number(trade.shares, 1)) }
                                td class="number" { (number(trade.price, 2)) }
                                td class="number" { (money(trade.value())) }
                                td { (why(trade.kind)) }
                            }
                        } }
                    }
                }
            }
        }
    }
}

const fn why(kind: TradeKind) -> &'static str {
    match kind {
        TradeKind::Rebalance => "decision",
        TradeKind::Liquidation => "end of span",
        TradeKind::Delisting => "delisting",
    }
}

fn footnotes(sheet: &TearSheet<'_>) -> Markup {
    let provenance = &sheet.backtest.provenance;
    let config = serde_json::to_string(&provenance.config).unwrap_or_default();
    html! {
        footer {
            h2 { "What the numbers mean" }
            ol {
                @for (place, definition) in shown(sheet).enumerate() {
                    li id={ "note-" (place + 1) } { b { (definition.title) ". " } (definition.convention) }
                }
            }
            h2 { "Where they are from" }
            p {
                "Snapshot " code { (provenance.snapshot.map_or("none".to_owned(), |id| id.to_string())) }
                ", backtest " (provenance.version) ". The same snapshot, configuration and seed give the same bytes."
            }
            p { code class="config" { (config) } }
        }
    }
}
