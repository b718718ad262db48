//! A structured attacker: a valid neighbor of ospfd-lite, FRR or BIRD that sends what no router would, and what becomes of
//! the victim, of its adjacency with an innocent router and of that router's route.

pub mod cases;
pub mod forge;
pub mod memory;
pub mod neighbor;
pub mod stage;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{lab::Lab, peer::Version};
use cases::Case;
use stage::{Outcome, Stage};

/// Options of `lab attack`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Who is attacked.
    #[arg(long, value_enum, default_value_t = Victim::All)]
    pub victim: Victim,
    /// Only the case of this name.
    #[arg(long)]
    pub case: Option<String>,
}

/// Who is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Victim {
    /// ospfd-lite.
    Ours,
    /// FRRouting, as installed.
    Frr,
    /// BIRD, as installed.
    Bird,
    /// Each of them in turn.
    All,
}

impl Victim {
    fn versions(self) -> Vec<(&'static str, Version)> {
        let (ours, frr, bird) = (("ours", Version::Ours), ("frr", Version::Frr(None)), ("bird", Version::Bird(None)));
        match self {
            Self::Ours => vec![ours],
            Self::Frr => vec![frr],
            Self::Bird => vec![bird],
            Self::All => vec![ours, frr, bird],
        }
    }
}

/// Attacks and prints a table per victim; false if ours did not stand a case.
pub fn run(options: &Options) -> Result<bool> {
    let chosen: Vec<&Case> =
        cases::all().filter(|case| options.case.as_ref().is_none_or(|name| name == case.name)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = cases::all().map(|case| case.name).collect();
        bail!("no such case; there are {}", names.join(", "));
    }
    let mut good = true;
    for (name, version) in options.victim.versions() {
        let mut lab = Lab::new(&format!("attack-{name}"))?;
        let outcomes = attack(&mut lab, &version, &chosen)?;
        let ours = matches!(version, Version::Ours);
        for outcome in &outcomes {
            for fault in &outcome.faults {
                println!("{}: {fault}", outcome.name);
                good &= !ours;
            }
        }
    }
    Ok(good)
}

/// Runs the cases one after the other against one victim, telling each as it ends.
pub fn attack(lab: &mut Lab, version: &Version, cases: &[&Case]) -> Result<Vec<Outcome>> {
    let mut stage = Stage::build(lab, version)?;
    println!("victim: {}", stage.version(lab)?);
    println!("{}", Outcome::HEAD);
    let mut outcomes = vec![];
    for case in cases {
        let outcome = stage.run(lab, case)?;
        println!("{outcome}");
        let dead = !outcome.alive;
        outcomes.push(outcome);
        if dead {
            // The next case gets a victim of its own.
            stage.revive(lab)?;
        }
    }
    Ok(outcomes)
}
