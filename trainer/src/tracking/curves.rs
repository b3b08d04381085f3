//! Curves of a run as SVG, one file for each group of metrics.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use plotters::prelude::*;

use super::log::Record;

const SIZE: (u32, u32) = (960, 480);

/// Colours that people with any colour vision tell apart (Okabe and Ito 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

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
        let partial = path.with_extension("svg.partial");
        let mut svg = String::new();
        draw(group, &series, &mut svg).with_context(|| format!("cannot draw {group}"))?;
        fs::write(&partial, svg)
            .and_then(|()| fs::rename(&partial, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
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

fn draw(title: &str, series: &Series<'_>, svg: &mut String) -> anyhow::Result<()> {
    let points = series.values().flatten();
    let steps = range(points.clone().map(|(step, _)| *step));
    let values = range(points.map(|(_, value)| *value));
    let failed = |error: &dyn std::fmt::Display| anyhow!("{error}");
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|e| failed(&e))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(steps, values)
        .map_err(|e| failed(&e))?;
    chart
        .configure_mesh()
        .x_desc("step")
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(|e| failed(&e))?;
    for (i, (name, points)) in series.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))
            .map_err(|e| failed(&e))?
            .label(*name)
            .legend(move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2))
            });
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()
        .map_err(|e| failed(&e))?;
    area.present().map_err(|e| failed(&e))?;
    Ok(())
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
