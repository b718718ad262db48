//! Share and cost over time as an SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::stage::{Sample, Timeline};

/// A value of a server in a sample.
type Value = fn(&Timeline, &Sample, usize) -> Option<f64>;

/// A panel: its title, what it shows, and how long before the sample that was, in seconds.
type Panel = (&'static str, Value, f64);

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
    // The answers of a sample are those to the queries sent 2 to 1 seconds before it.
    let panels: [Panel; 2] = [("share of the answers, %", share, 1.5), ("cost (gap: not advertised)", cost, 0.0)];
    for (half, shown) in halves.iter().zip(panels) {
        panel(half, timeline, shown).map_err(|error| anyhow!("{error}"))?;
    }
    area.present().map_err(|error| anyhow!("{error}"))
}

fn panel<'a, D: DrawingBackend + 'a>(
    area: &DrawingArea<D, plotters::coord::Shift>,
    timeline: &Timeline,
    (title, value, lag): Panel,
) -> Result<(), DrawingAreaErrorKind<D::ErrorType>> {
    let end = timeline.samples.last().map_or(1.0, |sample| sample.at.as_secs_f64());
    let all = |sample| (0..timeline.servers.len()).filter_map(move |server| value(timeline, sample, server));
    let top = timeline.samples.iter().flat_map(all).fold(1.0, f64::max) * 1.3;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(45)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart.configure_mesh().x_desc("seconds").light_line_style(TRANSPARENT).draw()?;
    for (level, (at, act)) in timeline.acts.iter().enumerate() {
        let x = at.as_secs_f64();
        chart.draw_series(LineSeries::new([(x, 0.0), (x, top)], BLACK.mix(0.3)))?;
        // In turn on three levels: some acts are short.
        let y = top * (0.98 - 0.05 * (level % 3) as f64);
        chart.draw_series([Text::new(format!(" {act}"), (x, y), ("sans-serif", 11))])?;
    }
    for (server, name) in timeline.servers.iter().enumerate() {
        let colour = Palette99::pick(server).stroke_width(2);
        let point = |sample: &Sample| {
            let x = sample.at.as_secs_f64() - lag;
            value(timeline, sample, server).filter(|_| x >= 0.0).map(|y| (x, y))
        };
        let points: Vec<_> = timeline.samples.iter().map(point).collect();
        for (part, run) in points.split(Option::is_none).filter(|run| !run.is_empty()).enumerate() {
            let drawn = chart.draw_series(LineSeries::new(run.iter().flatten().copied(), colour))?;
            if part == 0 {
                drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
            }
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
}
