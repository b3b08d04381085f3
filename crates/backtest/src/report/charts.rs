//! The charts that are not lines: months, costs by year, reliability.

use std::collections::BTreeMap;

use chrono::{Datelike as _, NaiveDate};
use maud::{Markup, html};

use super::{
    plot::px,
    text::{UNDEFINED, number, percent},
};
use crate::{Backtest, metrics::monthly_returns, reliability::Bin};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A monthly return whose colour is full.
const FULL_COLOUR: f64 = 0.10;

/// Returns of months, a row for each year.
pub(super) fn months(backtest: &Backtest) -> Markup {
    let days: Vec<(NaiveDate, f64)> =
        backtest.sessions.iter().copied().zip(backtest.returns.iter().copied()).collect();
    let months = monthly_returns(&days);
    let mut years: BTreeMap<i32, f64> = BTreeMap::new();
    for ((year, _), value) in &months {
        *years.entry(*year).or_insert(1.0) *= 1.0 + value;
    }
    html! {
        table class="heat" {
            thead { tr { th { "Year" } @for month in MONTHS { th { (month) } } th { "Year" } } }
            tbody {
                @for (year, growth) in &years {
                    tr {
                        th scope="row" { (year) }
                        @for month in 1..=12_u32 {
                            @match months.get(&(*year, month)) {
                                Some(value) => (cell(*value, &format!("{} {year}", MONTHS[month as usize - 1]))),
                                None => td class="none" {},
                            }
                        }
                        td class="sum" title={ "All months of " (year) ": " (percent(growth - 1.0, 2)) } {
                            (number((growth - 1.0) * 100.0, 1))
                        }
                    }
                }
            }
        }
    }
}

fn cell(value: f64, month: &str) -> Markup {
    let class = if value < 0.0 { "loss" } else { "gain" };
    let depth = (value.abs() / FULL_COLOUR).min(1.0);
    html! {
        td class=(class) style={ "--depth:" (format!("{:.0}", depth * 100.0)) "%" }
            title={ (month) ": " (percent(value, 2)) } {
            (number(value * 100.0, 1))
        }
    }
}

/// What costs of a year are made of, in basis points of its average equity.
struct Year {
    year: i32,
    parts: [f64; 4],
}

/// The parts of costs, with the class of their colour.
const PARTS: [(&str, &str); 4] =
    [("commission", "c1"), ("spread", "c2"), ("impact", "c3"), ("borrow fee", "c4")];

fn years(backtest: &Backtest) -> Vec<Year> {
    let mut years: BTreeMap<i32, ([f64; 4], f64, f64)> = BTreeMap::new();
    for (session, day) in backtest.sessions.iter().zip(&backtest.days) {
        let (sums, equity, count) = years.entry(session.year()).or_default();
        let parts = [day.costs.commission, day.costs.spread, day.costs.impact, day.borrow];
        sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
        (*equity, *count) = (*equity + day.equity(), *count + 1.0);
    }
    let in_points = |(year, (sums, equity, count)): (i32, ([f64; 4], f64, f64))| {
        let average = equity / count;
        let points = |sum: f64| if average > 0.0 { sum / average * 1e4 } else { 0.0 };
        Year { year, parts: sums.map(points) }
    };
    years.into_iter().map(in_points).collect()
}

/// Costs of each year as stacked bars.
pub(super) fn costs(backtest: &Backtest) -> Markup {
    let years = years(backtest);
    let most = years.iter().map(|year| year.parts.iter().sum::<f64>()).fold(0.0, f64::max);
    let top = if most > 0.0 { rounded_up(most) } else { 1.0 };
    let (height, left, right) = (150.0, 64.0, 12.0);
    let slot = (920.0 - left - right) / years.len().max(1) as f64;
    let y = |points: f64| 10.0 + height * (1.0 - points / top);
    let every = years.len().div_ceil(14).max(1);
    html! {
        svg viewBox="0 0 920 186" role="img" aria-label="Costs by year" {
            title { "Costs by year" }
            @for share in [0.0, 0.5, 1.0] {
                line class="grid" x1=(left) x2=(920.0 - right) y1=(px(y(top * share))) y2=(px(y(top * share))) {}
                text class="tick" x=(left - 8.0) y=(px(y(top * share) + 4.0)) text-anchor="end" {
                    (number(top * share, if top < 10.0 { 1 } else { 0 })) " bp"
                }
            }
            @for (i, year) in years.iter().enumerate() {
                @for ((part, base), (_, class)) in year.parts.iter().zip(stack(&year.parts)).zip(PARTS) {
                    @if *part > 0.0 {
                        rect class={ "bar " (class) } x=(px(left + slot * (i as f64 + 0.15)))
                            width=(px(slot * 0.7)) y=(px(y(base + part))) height=(px(height * part / top)) {}
                    }
                }
                rect class="hover" x=(px(left + slot * i as f64)) width=(px(slot)) y="10" height=(height) {
                    title { (bar_title(year)) }
                }
                @if i.is_multiple_of(every) {
                    text class="tick" x=(px(left + slot * (i as f64 + 0.5))) y="178" text-anchor="middle" { (year.year) }
                }
            }
        }
        ul class="legend" {
            @for (i, (name, class)) in PARTS.iter().enumerate() {
                @if years.iter().any(|year| year.parts[i] > 0.0) {
                    li { span class={ "swatch " (class) } {} (name) }
                }
            }
        }
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below a positive number.
fn rounded_up(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
    steps.into_iter().find(|step| *step >= value).unwrap_or(value)
}

fn stack(parts: &[f64; 4]) -> [f64; 4] {
    let mut base = 0.0;
    parts.map(|part| {
        base += part;
        base - part
    })
}

fn bar_title(year: &Year) -> String {
    let mut text = format!("{}: {} bp", year.year, number(year.parts.iter().sum(), 1));
    for ((name, _), part) in PARTS.iter().zip(year.parts) {
        if part > 0.0 {
            text += &format!("\n{name}: {} bp", number(part, 1));
        }
    }
    text
}

/// Said and observed frequencies of the top label, with the number of forecasts.
pub(super) fn reliability(bins: &[Bin]) -> Markup {
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(1).max(1) as f64;
    let at = |share: f64| 40.0 + 270.0 * share;
    let up = |share: f64| 280.0 - 270.0 * share;
    html! {
        svg class="square" viewBox="0 0 330 320" role="img" aria-label="Reliability" {
            title { "Reliability of the top label" }
            @for share in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
                line class="grid" x1="40" x2="310" y1=(px(up(share))) y2=(px(up(share))) {}
                text class="tick" x="34" y=(px(up(share) + 4.0)) text-anchor="end" { (number(share, 1)) }
                text class="tick" x=(px(at(share))) y="296" text-anchor="middle" { (number(share, 1)) }
            }
            line class="zero" x1=(px(at(0.0))) y1=(px(up(0.0))) x2=(px(at(1.0))) y2=(px(up(1.0))) {}
            @for bin in bins.iter().filter(|bin| bin.count > 0) {
                rect class="count" x=(px(at(bin.low) + 1.0)) width=(px(at(bin.high) - at(bin.low) - 2.0))
                    y=(px(up(0.25 * bin.count as f64 / most))) height=(px(67.5 * bin.count as f64 / most)) {}
                @if let (Some(said), Some(seen)) = (bin.confidence, bin.frequency) {
                    circle class="dot" cx=(px(at(said))) cy=(px(up(seen))) r="5" {
                        title { (bin_title(bin, said, seen)) }
                    }
                }
            }
            text class="tick" x="175" y="314" text-anchor="middle" { "probability that was said" }
        }
    }
}

fn bin_title(bin: &Bin, said: f64, seen: f64) -> String {
    let (low, high) = (number(bin.low, 2), number(bin.high, 2));
    let count = bin.count;
    format!(
        "({low}, {high}]: said {}, came true {}, {count} forecasts",
        number(said, 3),
        number(seen, 3)
    )
}

/// A value, or that there is none.
pub(super) fn shown(value: Option<f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| UNDEFINED.to_owned(), format)
}
