//! Lines and areas over sessions as inline SVG.

use std::fmt::Write as _;

use chrono::{Datelike as _, NaiveDate};
use maud::{Markup, html};

const WIDTH: f64 = 920.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;

/// Sessions one tooltip is for: the width over this is what a hand can point at.
const TOOLTIPS: usize = 90;

/// A series of a plot, one value for each session.
pub(super) struct Series<'a> {
    pub(super) name: &'a str,
    /// Class of its colours.
    pub(super) class: &'static str,
    /// Whether the space down to 0 is filled.
    pub(super) is_area: bool,
    pub(super) values: Vec<Option<f64>>,
}

/// What is plotted, over which sessions.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) sessions: &'a [NaiveDate],
    pub(super) series: Vec<Series<'a>>,
    pub(super) is_log: bool,
    pub(super) height: f64,
    pub(super) format: fn(f64) -> String,
}

/// Values to heights.
struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    height: f64,
}

impl Axis {
    fn new(plot: &Plot<'_>) -> Self {
        let values = plot.series.iter().flat_map(|series| series.values.iter().flatten());
        let mut range = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
        if !range.0.is_finite() {
            range = (0.0, 1.0);
        }
        // Areas are filled from 0, and ratios are read against it.
        if !plot.is_log {
            range = (range.0.min(0.0), range.1.max(0.0));
        }
        let (mut low, mut high) = range;
        if high - low < 1e-9 * high.abs().max(1e-3) {
            (low, high) = if plot.is_log { (low * 0.9, high * 1.1) } else { (low, high + 1.0) };
        }
        let is_log = plot.is_log && low > 0.0;
        Self { low, high, is_log, height: plot.height - TOP - BOTTOM }
    }

    fn y(&self, value: f64) -> f64 {
        let share = match self.is_log {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        TOP + self.height * (1.0 - share)
    }

    fn ticks(&self) -> Vec<f64> {
        let range = self.low..=self.high;
        if !(self.low.is_finite() && self.high.is_finite()) {
            return Vec::new();
        }
        if self.is_log {
            let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
            for steps in [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]] {
                let all = decades
                    .clone()
                    .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
                let ticks: Vec<f64> = all.filter(|tick| range.contains(tick)).collect();
                if ticks.len() <= 8 && ticks.len() > 1 {
                    return ticks;
                }
            }
        }
        let raw = (self.high - self.low) / 5.0;
        let decade = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|s| s * decade).find(|s| *s >= raw);
        let step = step.unwrap_or(raw);
        let first = (self.low / step).ceil() as i64;
        (first..)
            .map(|i| i as f64 * step)
            .take_while(|tick| *tick <= self.high + step * 1e-9)
            .collect()
    }
}

/// Draws a plot: grid, series, labels, and a column of tooltips. Shapes have an end of their
/// own, or a reader of HTML would put the next one inside.
pub(super) fn draw(plot: &Plot<'_>) -> Markup {
    let axis = Axis::new(plot);
    let count = plot.sessions.len().max(2);
    let x = |row: usize| LEFT + (WIDTH - LEFT - RIGHT) * row as f64 / (count - 1) as f64;
    let bottom = plot.height - BOTTOM;
    let view = format!("0 0 {WIDTH} {}", plot.height);
    html! {
        svg viewBox=(view) role="img" aria-label=(plot.title) {
            title { (plot.title) }
            @for tick in axis.ticks() {
                line class=(if tick == 0.0 { "zero" } else { "grid" }) x1=(LEFT) x2=(WIDTH - RIGHT)
                    y1=(px(axis.y(tick))) y2=(px(axis.y(tick))) {}
                text class="tick" x=(LEFT - 8.0) y=(px(axis.y(tick) + 4.0)) text-anchor="end" {
                    ((plot.format)(tick))
                }
            }
            @for (row, label) in dates(plot.sessions) {
                line class="mark" x1=(px(x(row))) x2=(px(x(row))) y1=(bottom) y2=(bottom + 4.0) {}
                text class="tick" x=(px(x(row))) y=(bottom + 18.0) text-anchor="middle" { (label) }
            }
            @for series in &plot.series {
                @if series.is_area {
                    path class={ "area " (series.class) } d=(area(&series.values, &axis, x)) {}
                }
                path class={ "line " (series.class) } d=(line(&series.values, &axis, x)) {}
            }
            @for (from, to) in columns(plot.sessions.len()) {
                rect class="hover" x=(px(x(from))) y=(TOP) width=(px(x(to.min(count - 1)) - x(from)))
                    height=(axis.height) {
                    title { (tooltip(plot, (from + to.saturating_sub(1)) / 2)) }
                }
            }
        }
        @if plot.series.len() > 1 {
            ul class="legend" {
                @for series in &plot.series {
                    li { span class={ "swatch " (series.class) } {} (series.name) }
                }
            }
        }
    }
}

/// A tenth of a pixel is as fine as a screen shows.
pub(super) fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn columns(sessions: usize) -> impl Iterator<Item = (usize, usize)> {
    let width = sessions.div_ceil(TOOLTIPS).max(1);
    (0..sessions).step_by(width).map(move |from| (from, (from + width).min(sessions)))
}

fn tooltip(plot: &Plot<'_>, row: usize) -> String {
    let mut text = plot.sessions[row].to_string();
    for series in &plot.series {
        let value = series.values.get(row).copied().flatten();
        let value = value.map_or_else(|| super::text::UNDEFINED.to_owned(), plot.format);
        let _ = write!(text, "\n{}: {value}", series.name);
    }
    text
}

/// Returns the rows to draw: of each pixel the lowest and the highest value, so that no
/// day of a crash is left out.
fn rows(values: &[Option<f64>]) -> Vec<usize> {
    let bucket = values.len().div_ceil((WIDTH - LEFT - RIGHT) as usize).max(1);
    let mut rows = Vec::new();
    for from in (0..values.len()).step_by(bucket) {
        let bucket = from..(from + bucket).min(values.len());
        let defined = || bucket.clone().filter_map(|row| Some((values[row]?, row)));
        let low = defined().min_by(|a, b| a.0.total_cmp(&b.0));
        let high = defined().max_by(|a, b| a.0.total_cmp(&b.0));
        rows.extend(low.into_iter().chain(high).map(|(_, row)| row));
    }
    rows.extend(values.iter().rposition(Option::is_some));
    rows.sort_unstable();
    rows.dedup();
    rows
}

fn line(values: &[Option<f64>], axis: &Axis, x: impl Fn(usize) -> f64) -> String {
    let mut path = String::new();
    for (i, row) in rows(values).into_iter().enumerate() {
        let Some(value) = values[row] else { continue };
        let command = if i == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{} {}", px(x(row)), px(axis.y(value)));
    }
    path
}

fn area(values: &[Option<f64>], axis: &Axis, x: impl Fn(usize) -> f64) -> String {
    let rows = rows(values);
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return String::new() };
    let (start, end) = (px(x(*first)), px(x(*last)));
    let base = px(axis.y(if axis.is_log { axis.low } else { 0.0 }));
    format!("{}L{end} {base}L{start} {base}Z", line(values, axis, x))
}

/// Labels of the time axis: first sessions of years, or of months in a short span.
fn dates(sessions: &[NaiveDate]) -> Vec<(usize, String)> {
    let key = |date: &NaiveDate, is_short: bool| {
        if is_short { date.year() * 12 + date.month0() as i32 } else { date.year() }
    };
    let years = sessions.last().zip(sessions.first()).map_or(0, |(l, f)| l.year() - f.year());
    let is_short = years < 3;
    let begins = |row: &usize| key(&sessions[*row], is_short) != key(&sessions[row - 1], is_short);
    let starts: Vec<usize> = (1..sessions.len()).filter(begins).collect();
    let step = starts.len().div_ceil(14).max(1);
    let label = |row: usize| {
        let format = if is_short { "%b %Y" } else { "%Y" };
        (row, sessions[row].format(format).to_string())
    };
    // Whole steps of years: 2000, 2005, 2010.
    let step = [1, 2, 5, 10, 20, 50].into_iter().find(|s| *s >= step).unwrap_or(step);
    let is_labelled = |row: &usize| {
        let at = if is_short {
            sessions[*row].month0() as usize
        } else {
            sessions[*row].year() as usize
        };
        at.is_multiple_of(step)
    };
    starts.into_iter().filter(is_labelled).map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_extreme_is_lost_by_thinning() {
        let mut values: Vec<Option<f64>> = (0..9_000).map(|i| Some(f64::from(i % 7))).collect();
        values[4_321] = Some(-50.0);
        values[8_000] = Some(99.0);
        values[..20].fill(None);
        let rows = rows(&values);
        assert!(rows.contains(&4_321) && rows.contains(&8_000) && rows.len() < 2_000);
        assert!(rows.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(rows.last(), Some(&8_999));
        assert!(rows[0] >= 20);
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = |low, high, is_log| Axis { low, high, is_log, height: 100.0 };
        assert_eq!(axis(-0.54, 0.0, false).ticks(), [-0.4, -0.2, 0.0]);
        assert_eq!(axis(0.8, 13.0, true).ticks(), [1.0, 2.0, 5.0, 10.0]);
        let near = axis(0.97, 1.02, true).ticks();
        assert!(near.len() > 2 && near.iter().all(|tick| (0.97..=1.02 + 1e-9).contains(tick)));
    }
}
