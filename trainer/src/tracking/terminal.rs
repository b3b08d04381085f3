//! A run in the terminal.

use std::{collections::BTreeMap, fmt::Write as _, fs, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use super::log::Record;

/// Metrics shown beside the progress bar, the first that are there.
const SHOWN: [&str; 4] = ["train.loss", "validation.loss", "reward.total", "decision.entropy"];

/// Characters of a sparkline.
const WIDTH: usize = 40;

/// Levels of a sparkline.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Returns a bar with the time that is left.
pub(super) fn bar(total: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template(
        "{bar:24} step {pos}/{len} elapsed {elapsed} left {eta} {wide_msg}",
    )?;
    let bar = ProgressBar::new(total).with_style(style);
    // A step may take minutes.
    bar.enable_steady_tick(Duration::from_secs(1));
    Ok(bar)
}

/// Returns what stands beside the bar after a step.
pub(super) fn line(record: &Record) -> String {
    let mut text = String::new();
    for name in SHOWN {
        if let Some(value) = record.metrics.get(name) {
            let _ = write!(text, "{name} {value:.4}  ");
        }
    }
    let _ = write!(text, "{:.0} tok/s", record.tokens_per_s);
    if let Some(rss) = record.rss_bytes {
        let _ = write!(text, "  {:.2} GB", rss as f64 / 1e9);
    }
    text
}

/// Returns a line for each metric: first and last value, and its course.
pub(super) fn summary(records: &[Record]) -> String {
    let mut series: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, value) in records.iter().flat_map(|record| &record.metrics) {
        series.entry(name).or_default().push(*value);
    }
    let width = series.keys().map(|name| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, values) in series {
        let (Some(first), Some(last)) = (values.first(), values.last()) else { continue };
        let _ = writeln!(text, "{name:<width$} {} {first:.4} -> {last:.4}", sparkline(&values));
    }
    text
}

/// Draws values as blocks of eight heights, the mean of each of at most 40 runs.
fn sparkline(values: &[f64]) -> String {
    let n = values.len().min(WIDTH);
    let means: Vec<f64> = (0..n)
        .filter_map(|i| values.get(i * values.len() / n..(i + 1) * values.len() / n))
        .map(|run| run.iter().sum::<f64>() / run.len() as f64)
        .collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let level = |mean: &f64| {
        let share = if high > low { (mean - low) / (high - low) } else { 0.5 };
        let level = (share * (LEVELS.len() - 1) as f64).round() as usize;
        LEVELS[level.min(LEVELS.len() - 1)]
    };
    means.iter().map(level).collect()
}

/// Returns the resident memory of this process, where /proc tells.
pub(super) fn rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_has_the_course_of_its_values() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[2.0, 2.0]), "▅▅");
        assert_eq!(sparkline(&[]), "");
        let long: Vec<f64> = (0..1_000).map(f64::from).collect();
        assert_eq!(sparkline(&long).chars().count(), WIDTH);
    }

    #[test]
    fn memory_is_told() {
        let rss = rss_bytes().unwrap();
        assert!((1 << 20..1 << 40).contains(&rss), "{rss}");
    }
}
