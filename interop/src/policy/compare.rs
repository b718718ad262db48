//! Policies side by side: a table, and pictures of what happened.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::agent::{Policy, Setup};
use super::farm;
use super::scenario::Scenario;
use super::tally::{Second, Tally};

/// Runs a scenario under each policy and prints the table; draws the last seed's runs into `plots`, if wanted.
pub fn compare(scenario: &Scenario, setups: &[Setup], (seeds, plots): (u64, Option<&Path>)) -> Result<()> {
    println!("\n{}: {}", scenario.name, scenario.about);
    println!("| policy | lost % | least | most | goodput/capacity | p99 ms | LSAs/server/h | records | max/mean use |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for setup in setups {
        let policy = setup.policy;
        let runs: Vec<Tally> = (1..=seeds).map(|seed| farm::run(scenario, *setup, seed)).collect();
        println!("{}", row(policy, scenario, &runs));
        if let (Some(directory), Some(run)) = (plots, runs.last()) {
            std::fs::create_dir_all(directory)?;
            let name = format!("{}-{}", scenario.name, policy.name());
            draw(&directory.join(format!("{name}.svg")), &name, run)?;
        }
    }
    Ok(())
}

fn row(policy: Policy, scenario: &Scenario, runs: &[Tally]) -> String {
    let mean = |of: fn(&Tally) -> f64| runs.iter().map(of).sum::<f64>() / runs.len().max(1) as f64;
    let lost = || runs.iter().map(Tally::lost_percent);
    format!(
        "| {} | {:.2} | {:.2} | {:.2} | {:.3} | {:.0} | {:.1} | {:.0} | {:.2} |",
        policy.name(),
        mean(Tally::lost_percent),
        lost().fold(f64::INFINITY, f64::min),
        lost().fold(0.0, f64::max),
        mean(Tally::goodput) / scenario.capacity(),
        1e3 * mean(Tally::p99),
        mean(Tally::lsas_per_hour),
        mean(|run| f64::from(run.records())),
        mean(Tally::imbalance),
    )
}

/// A panel: its title, and a value of a server from one second to the next.
type Panel = (&'static str, fn(&Second, &Second) -> Option<f64>);

fn draw(file: &Path, title: &str, run: &Tally) -> Result<()> {
    let root = SVGBackend::new(file, (1000, 760)).into_drawing_area();
    let failed = |error: DrawingAreaErrorKind<_>| anyhow!("{}: {error}", file.display());
    root.fill(&WHITE).map_err(failed)?;
    let parts = root.titled(title, ("sans-serif", 20)).map_err(failed)?.split_evenly((3, 1));
    let panels: [Panel; 2] = [
        ("utilisation (work done / capacity)", |before, after| Some(after.busy - before.busy)),
        ("cost (gap: not advertised)", |_, after| after.cost.map(f64::from)),
    ];
    for (part, (title, value)) in parts.iter().zip(panels) {
        let servers = run.seconds.first().map_or(0, Vec::len);
        let line = |server: usize| -> Vec<(f64, f64)> {
            let pairs = run.seconds.windows(2).enumerate();
            let point = |(second, pair): (usize, &[Vec<Second>])| {
                let [before, after] = pair else { return None };
                Some((second as f64 + 1.0, value(before.get(server)?, after.get(server)?)?))
            };
            pairs.filter_map(point).collect()
        };
        panel(part, title, (0..servers).map(line).collect()).map_err(failed)?;
    }
    let lost = (0..run.loss.len()).map(|second| (second as f64, run.lost_between(second, second + 1))).collect();
    parts.last().map_or(Ok(()), |part| panel(part, "lost, % of a second's queries", vec![lost])).map_err(failed)?;
    root.present().map_err(failed)
}

fn panel<'a, D: DrawingBackend + 'a>(
    area: &DrawingArea<D, plotters::coord::Shift>,
    title: &str,
    lines: Vec<Vec<(f64, f64)>>,
) -> Result<(), DrawingAreaErrorKind<D::ErrorType>> {
    let points = || lines.iter().flatten();
    let (end, top) = points().fold((1.0, 1.0), |(x, y): (f64, f64), (at, value)| (x.max(*at), y.max(*value)));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 14))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(45)
        .build_cartesian_2d(0.0..end, 0.0..top * 1.1)?;
    chart.configure_mesh().light_line_style(TRANSPARENT).draw()?;
    for (server, line) in lines.into_iter().enumerate() {
        chart.draw_series(LineSeries::new(line, Palette99::pick(server).stroke_width(1)))?;
    }
    Ok(())
}
