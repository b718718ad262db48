//! `lab demo`: a farm of three servers behind one router plays its story under real queries, and every act states a
//! claim and what was measured. The exit code is 0 only if every claim held.

mod acts;
mod plot;
mod screen;
mod stage;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{
    capture::{Capture, Keep},
    peer::Version,
    sandbox,
    topology::Farm,
};
use stage::Stage;

/// Options of the demo.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Who plays the link router.
    #[arg(long, value_enum, default_value_t = Router::OspfdLite)]
    pub router: Router,
    /// Keep a capture of the farm link in this directory.
    #[arg(long, value_name = "DIR")]
    pub pcap: Option<PathBuf>,
    /// Draw share and cost over time into this file.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Break a part on purpose: the demo must then fail.
    #[arg(long, value_enum)]
    pub r#break: Option<Break>,
}

/// The link router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Router {
    /// Our own.
    OspfdLite,
    /// FRRouting, as installed.
    Frr,
    /// BIRD, as installed.
    Bird,
}

impl Router {
    fn version(self) -> Version {
        match self {
            Self::OspfdLite => Version::Ours,
            Self::Frr => Version::Frr(None),
            Self::Bird => Version::Bird(None),
        }
    }

    /// How long after the server's flush the router may need to move its route. BIRD computes once per `tick 1`.
    fn reaction(self) -> Duration {
        match self {
            Self::OspfdLite | Self::Frr => Duration::from_millis(500),
            Self::Bird => Duration::from_millis(1600),
        }
    }
}

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Break {
    /// The law that weighs the farm's goodput is replaced by a cost proportional to load.
    ClassRule,
}

/// What an act measured, and whether its claim held.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// The claim held.
    pub holds: bool,
    /// In words and figures.
    pub text: String,
}

/// One act of the story.
pub struct Act {
    /// What happens.
    pub title: &'static str,
    /// What is claimed.
    pub claim: String,
    /// Plays it and measures.
    pub play: fn(&mut Stage) -> Result<Measurement>,
}

/// Plays the demo inside the sandbox; true if every claim held.
pub fn run(options: &Options) -> Result<bool> {
    let start = Instant::now();
    options.pcap.iter().chain(&options.plot).try_for_each(|file| sandbox::ensure_lasting(file))?;
    println!("a client, a link router and three servers that answer {:.0} queries/s each", stage::CAPACITY);
    let mut stage = Stage::build(options)?;
    let capture = match &options.pcap {
        Some(directory) => {
            fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
            let file = directory.join("farm.pcap");
            Some((Capture::start(&stage.farm.router, Farm::FARM_SIDE, &file, Keep::All)?, file))
        }
        None => None,
    };
    let outcome = perform(&mut stage);
    if let Some((capture, file)) = capture {
        let packets = capture.finish()?;
        println!("captured {packets} packets of the farm link in {}", file.display());
    }
    let results = match outcome {
        Ok(results) => results,
        Err(error) => {
            eprintln!("{}", stage.diagnostics());
            return Err(error);
        }
    };
    if let Some(file) = &options.plot {
        plot::draw(file, &stage.timeline).with_context(|| format!("drawing {}", file.display()))?;
        println!("drew {}", file.display());
    }
    println!("\n{}", stage.summary_table()?);
    for (act, measurement) in &results {
        println!(
            "{} {}\n     claim: {}\n     measured: {}",
            verdict(measurement.holds),
            act.title,
            act.claim,
            measurement.text
        );
    }
    let held = results.iter().filter(|(_, measurement)| measurement.holds).count();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "\n{held} of {} claims held with {} as link router, {seconds:.0} s",
        results.len(),
        stage.router_version()?
    );
    let all = held == results.len();
    if !all {
        eprintln!("{}", stage.diagnostics());
    }
    Ok(all)
}

fn verdict(holds: bool) -> &'static str {
    if holds { "PASS" } else { "FAIL" }
}

/// Starts everything and plays the acts. A failed act is a failed claim, and the story goes on.
fn perform(stage: &mut Stage) -> Result<Vec<(Act, Measurement)>> {
    stage.open()?;
    let mut results = vec![];
    for act in acts::story(stage.router) {
        stage.announce(act.title, &act.claim);
        let measurement = (act.play)(stage)
            .unwrap_or_else(|error| Measurement { holds: false, text: format!("not played to its end: {error:#}") });
        stage.conclude(verdict(measurement.holds), &measurement.text);
        results.push((act, measurement));
    }
    Ok(results)
}
