//! The simulator: engines on random networks in virtual time, everything decided by a seed.
//!
//! After every turn of an engine its invariants hold (docs/architecture.md); when the trouble is over, databases are the
//! same everywhere and the forwarding tables are those of an independent oracle. What labs with real kernels cannot
//! show, this can: thousands of crashes, partitions and losses, each one exactly repeatable.

pub mod mutants;
pub mod net;
pub mod oracle;
pub mod random;
pub mod scale;
pub mod scenario;
pub mod soak;
pub mod topology;

use anyhow::Result;
use clap::Subcommand;

/// Simulations in virtual time.
#[derive(Debug, Subcommand)]
pub enum Simulation {
    /// Random networks under loss, partitions and crashes; the invariants and an oracle judge.
    Soak(soak::Options),
    /// One large network from nothing to quiescence.
    Scale(scale::Options),
    /// Break the engine on purpose, patch by patch: the soak has to notice.
    Mutants(mutants::Options),
    /// A farm under a policy: the figures that the law has to reproduce.
    Farm(crate::policy::Options),
}

/// Runs a simulation; false if something was found broken.
pub fn run(simulation: &Simulation) -> Result<bool> {
    match simulation {
        Simulation::Soak(options) => soak::run(options),
        Simulation::Scale(options) => scale::run(options),
        Simulation::Mutants(options) => mutants::run(options),
        Simulation::Farm(options) => crate::policy::run(options),
    }
}
