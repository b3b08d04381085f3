//! Named lines as SVG.

use std::{ops::Range, path::Path};

use anyhow::{Context as _, anyhow};
use gradients::write_atomically;
use plotters::prelude::*;

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

/// Lines over one pair of axes.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) size: (u32, u32),
    pub(crate) x: Axis<'a>,
    pub(crate) y: Axis<'a>,
    /// Radius of the points along the lines; none at 0.
    pub(crate) point_size: u32,
    /// Ends of a thin grey line that others are compared with.
    pub(crate) reference: Option<[(f64, f64); 2]>,
    pub(crate) lines: Vec<(&'a str, Vec<(f64, f64)>)>,
}

/// One axis: what it shows and from where to where.
pub(crate) struct Axis<'a> {
    pub(crate) name: &'a str,
    pub(crate) range: Range<f64>,
}

impl Plot<'_> {
    /// Writes the plot, whole or not at all.
    ///
    /// # Errors
    /// Fails where the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut svg = String::new();
        // Its errors borrow from the string that is drawn into.
        let drawn = self.draw(&mut svg).map_err(|error| anyhow!("{error}"));
        drawn.with_context(|| format!("cannot draw {}", path.display()))?;
        write_atomically(path, svg.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn draw<'s>(
        &self,
        svg: &'s mut String,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'s> as DrawingBackend>::ErrorType>> {
        let area = SVGBackend::with_string(svg, self.size).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(self.x.range.clone(), self.y.range.clone())?;
        chart
            .configure_mesh()
            .x_desc(self.x.name)
            .y_desc(self.y.name)
            .light_line_style(TRANSPARENT)
            .draw()?;
        if let Some(ends) = self.reference {
            chart.draw_series(LineSeries::new(ends, BLACK.mix(0.4)))?;
        }
        for (i, (name, points)) in self.lines.iter().enumerate() {
            let style = COLOURS[i % COLOURS.len()].stroke_width(2);
            let line = LineSeries::new(points.iter().copied(), style).point_size(self.point_size);
            let legend = move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], style);
            chart.draw_series(line)?.label(*name).legend(legend);
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .draw()?;
        area.present()
    }
}
