//! `lab bench`: ospfd-lite, FRR and BIRD as the device under test beside each other, on one machine in one run, all fed by the
//! same injector.

pub mod book;
pub mod cell;
pub mod device;
pub mod graph;
pub mod injector;
pub mod measure;
pub mod plan;
pub mod report;
pub mod routes;
pub mod scenes;
pub mod session;

use std::{fs, path::PathBuf, thread, time::Instant};

use anyhow::{Context, Result, bail};

use cell::Row;
use device::Make;
use plan::{Done, Plan};
use report::Report;

/// Options of `lab bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only these rows.
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    pub rows: Vec<Row>,
    /// Numbers of virtual routers for B1, B2, B3; B5 takes the largest.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 10_000])]
    pub sizes: Vec<usize>,
    /// Runs of each row and device, in turns; B4 has two at most, B5 and steady states one.
    #[arg(long, default_value_t = 3)]
    pub runs: u32,
    /// Only these devices.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub devices: Vec<Make>,
    /// Write all values here.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write the tables here.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
    /// A smallest run of each row: whether it comes to its end, not how fast.
    #[arg(long)]
    pub smoke: bool,
}

/// Runs the bench and writes its tables; false if a cell of ours failed, or any in a smoke run.
pub fn run(options: &Options) -> Result<bool> {
    if cfg!(debug_assertions) && !options.smoke {
        bail!("a dev build is not worth measuring: cargo run --release -p interop --bin lab -- bench");
    }
    let plans = plan::plans(options);
    if plans.is_empty() {
        bail!("no such rows");
    }
    let devices = if options.devices.is_empty() { Make::ALL.to_vec() } else { options.devices.clone() };
    let start = Instant::now();
    let mut report = Report::begin(options)?;
    for plan in &plans {
        for run in 0..plan.runs {
            // Whoever is first has another place in the next run.
            let turn =
                (0..devices.len()).filter_map(|place| devices.get((place + run as usize) % devices.len()).copied());
            run_devices(plan, turn.collect(), (options, &mut report));
        }
    }
    report.took = start.elapsed();
    let markdown = report.markdown();
    if let Some(file) = &options.json {
        fs::write(file, report.json()?).with_context(|| format!("writing {}", file.display()))?;
    }
    match &options.markdown {
        Some(file) => fs::write(file, &markdown).with_context(|| format!("writing {}", file.display()))?,
        None => println!("\n{markdown}"),
    }
    Ok(!report.failures().any(|(device, _)| options.smoke || device == Make::Ours))
}

/// Runs a cell of each device: one after the other, or side by side where nobody is in a hurry.
fn run_devices(plan: &Plan, devices: Vec<Make>, (options, report): (&Options, &mut Report)) {
    let all: Vec<(Make, Done)> = if plan.steady.is_some() || options.smoke {
        thread::scope(|scope| {
            let run = |device| (device, scope.spawn(move || plan::run(plan, device, options.smoke)));
            let running: Vec<_> = devices.into_iter().map(run).collect();
            let failed = || Done { failed: Some("the bench panicked".into()), ..Done::default() };
            running.into_iter().map(|(device, cell)| (device, cell.join().unwrap_or_else(|_| failed()))).collect()
        })
    } else {
        devices.into_iter().map(|device| (device, plan::run(plan, device, options.smoke))).collect()
    };
    for (device, done) in all {
        let end = done.failed.as_deref().unwrap_or("done");
        let rows: Vec<_> = plan.rows.iter().map(|row| format!("{row:?}")).collect();
        println!("{} {} {}: {:.1} s, {end}", rows.join(","), plan.size, device.name(), done.took.as_secs_f64());
        report.take(plan, device, done);
    }
}
