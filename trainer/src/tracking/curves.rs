//! Curves of a run as SVG, one file for each group of metrics.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::log::Record;
use crate::plot::{Axis, Plot};

/// Points of one metric, by step.
type Series<'a> = BTreeMap<&'a str, Vec<(f64, f64)>>;

/// Draws `curve-GROUP.svg` for each group: losses of all splits in one, otherwise what
/// stands before the first dot of a metric's name. Returns the files.
///
/// # Errors
/// Fails where a file cannot be written.
pub(super) fn write(dir: &Path, records: &[Record]) -> anyhow::Result<Vec<PathBuf>> {
    let mut groups: BTreeMap<&str, Series<'_>> = BTreeMap::new();
    for record in records {
        for (name, value) in record.metrics.iter().filter(|(_, value)| value.is_finite()) {
            let series = groups.entry(group(name)).or_default().entry(name).or_default();
            series.push((record.step as f64, *value));
        }
    }
    let mut files = Vec::new();
    for (group, series) in groups {
        let path = dir.join(format!("curve-{group}.svg"));
        draw(group, series, &path)?;
        files.push(path);
    }
    Ok(files)
}

fn group(name: &str) -> &str {
    let (first, last) = (name.split('.').next(), name.rsplit('.').next());
    match last {
        Some("loss") => "loss",
        _ => first.unwrap_or(name),
    }
}

fn draw(title: &str, series: Series<'_>, path: &Path) -> anyhow::Result<()> {
    let points = series.values().flatten();
    let steps = range(points.clone().map(|(step, _)| *step));
    let values = range(points.map(|(_, value)| *value));
    let plot = Plot {
        title,
        size: (960, 480),
        x: Axis { name: "step", range: steps },
        y: Axis { name: "", range: values },
        point_size: 0,
        reference: None,
        lines: series.into_iter().collect(),
    };
    plot.write(path)
}

/// The range of values with room around them; a single value gets some too.
fn range(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if !(low.is_finite() && high.is_finite()) {
        return 0.0..1.0;
    }
    let room = if high > low { 0.05 * (high - low) } else { 0.5 };
    low - room..high + room
}
