//! Share and cost over time as an SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::stage::{Sample, Timeline};

/// A value of a server in a sample.
type Value = fn(&Timeline, &Sample, usize) -> Option<f64>;

fn share(timeline: &Timeline, sample: &Sample, server: usize) -> Option<f64> {
    timeline.servers.get(server).map(|name| 100.0 * sample.clients.share(name))
}

fn cost(_: &Timeline, sample: &Sample, server: usize) -> Option<f64> {
    sample.told.get(server).copied().flatten()?.cost.map(f64::from)
}

/// Draws the timeline.
pub(super) fn draw(file: &Path, timeline: &Timeline) -> Result<()> {
    let area = SVGBackend::new(file, (1100, 700)).into_drawing_area();
    area.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
    let halves = area.split_evenly((2, 1));
    for (half, (title, value)) in
        halves.iter().zip([("share of the answers, %", share as Value), ("cost", cost as Value)])
    {
        panel(half, timeline, (title, value)).map_err(|error| anyhow!("{error}"))?;
    }
    area.present().map_err(|error| anyhow!("{error}"))
}

fn panel<'a, D: DrawingBackend + 'a>(
    area: &DrawingArea<D, plotters::coord::Shift>,
    timeline: &Timeline,
    (title, value): (&str, Value),
) -> Result<(), DrawingAreaErrorKind<D::ErrorType>> {
    let end = timeline.samples.last().map_or(1.0, |sample| sample.at.as_secs_f64());
    let all = |sample| (0..timeline.servers.len()).filter_map(move |server| value(timeline, sample, server));
    let top = timeline.samples.iter().flat_map(all).fold(1.0, f64::max) * 1.15;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(45)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart.configure_mesh().x_desc("seconds").draw()?;
    for (at, act) in &timeline.acts {
        let x = at.as_secs_f64();
        chart.draw_series(LineSeries::new([(x, 0.0), (x, top)], BLACK.mix(0.3)))?;
        chart.draw_series([Text::new(act.clone(), (x, top * 0.98), ("sans-serif", 11))])?;
    }
    for (server, name) in timeline.servers.iter().enumerate() {
        let colour = Palette99::pick(server).stroke_width(2);
        let points = timeline.samples.iter();
        let points = points.filter_map(|sample| Some((sample.at.as_secs_f64(), value(timeline, sample, server)?)));
        chart
            .draw_series(LineSeries::new(points, colour))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()
}
