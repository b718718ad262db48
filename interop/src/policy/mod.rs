//! The policy simulator: what a policy makes of a farm, in virtual time and with the law's own code.
//!
//! Every query is an event; the servers are queues, the router hashes, floods and throttles as real ones do. What it leaves
//! out: retries of clients, loss on the link, and everything that OSPF does beside carrying costs and records.

pub mod acceptance;
pub mod agent;
pub mod compare;
pub mod farm;
pub mod queue;
pub mod router;
pub mod scenario;
pub mod table;
pub mod tally;
pub mod trace;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;

use agent::{Policy, Setup};
use scenario::Scenario;

/// The built-in scenarios.
const SCENARIOS: [(&str, &str); 8] = [
    ("steady", include_str!("../../scenarios/steady.toml")),
    ("mixed", include_str!("../../scenarios/mixed.toml")),
    ("flash-crowd", include_str!("../../scenarios/flash-crowd.toml")),
    ("slow-server", include_str!("../../scenarios/slow-server.toml")),
    ("death", include_str!("../../scenarios/death.toml")),
    ("cold-join", include_str!("../../scenarios/cold-join.toml")),
    ("diurnal", include_str!("../../scenarios/diurnal.toml")),
    ("beyond-capacity", include_str!("../../scenarios/beyond-capacity.toml")),
];

/// Options of `lab sim farm`.
#[derive(Debug, Args)]
pub struct Options {
    /// Scenarios: built-in names, or TOML files; all built-in ones without this.
    #[arg(long = "scenario", value_name = "NAME|FILE", value_delimiter = ',')]
    pub scenarios: Vec<String>,
    /// Policies side by side.
    #[arg(
        long = "policy",
        value_enum,
        value_delimiter = ',',
        default_value = "equal-cost,naive,goodput,shares,weighted,oracle"
    )]
    pub policies: Vec<Policy>,
    /// Runs of each, with seeds 1, 2, ...
    #[arg(long, default_value_t = 5)]
    pub seeds: u64,
    /// Draw utilisation, cost and losses of each into this directory, as SVG.
    #[arg(long, value_name = "DIR")]
    pub plot: Option<PathBuf>,
    /// Instead: the acceptance table, every figure that the law has to reproduce.
    #[arg(long, conflicts_with_all = ["scenarios", "config"])]
    pub accept: bool,
    /// One row of the acceptance table alone.
    #[arg(long, requires = "accept")]
    pub row: Option<u32>,
    /// Instead: the first service of this server-speaker configuration ...
    #[arg(long, value_name = "FILE", requires = "trace")]
    pub config: Option<PathBuf>,
    /// ... under this load: lines of SECONDS,QUERIES_PER_SECOND of the whole farm.
    #[arg(long, value_name = "CSV", requires = "config")]
    pub trace: Option<PathBuf>,
    /// ... on so many servers.
    #[arg(long, default_value_t = 3, requires = "config")]
    pub servers: usize,
}

/// Runs the simulator; false if a figure is not as it should be.
pub fn run(options: &Options) -> Result<bool> {
    if options.accept {
        return accept(options);
    }
    let how = (options.seeds, options.plot.as_deref());
    if let (Some(config), Some(trace)) = (&options.config, &options.trace) {
        let (scenario, own) = trace::scenario(config, trace, options.servers)?;
        let others = [Policy::EqualCost, Policy::Oracle].into_iter().filter(|other| *other != own.policy);
        let setups: Vec<Setup> = std::iter::once(own).chain(others.map(Setup::new)).collect();
        compare::compare(&scenario, &setups, how)?;
        return Ok(true);
    }
    let scenarios: Vec<Scenario> = if options.scenarios.is_empty() {
        SCENARIOS.iter().map(|(_, text)| Scenario::parse(text)).collect::<Result<_>>()?
    } else {
        options.scenarios.iter().map(|wanted| find(wanted)).collect::<Result<_>>()?
    };
    let setups: Vec<Setup> = options.policies.iter().copied().map(Setup::new).collect();
    for scenario in &scenarios {
        compare::compare(scenario, &setups, how)?;
    }
    Ok(true)
}

/// A built-in scenario, or a file.
fn find(wanted: &str) -> Result<Scenario> {
    if let Some((_, text)) = SCENARIOS.iter().find(|(name, _)| *name == wanted) {
        return Scenario::parse(text);
    }
    if !Path::new(wanted).exists() {
        let names: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
        bail!("there is neither a scenario nor a file `{wanted}`; built in are {}", names.join(", "));
    }
    Scenario::read(Path::new(wanted))
}

fn accept(options: &Options) -> Result<bool> {
    let outcomes = acceptance::table(options.seeds, options.row)?;
    println!("| row | case | figure | mean | least | most | expected | |\n|---|---|---|---|---|---|---|---|");
    for outcome in &outcomes {
        let least = outcome.values.iter().fold(f64::INFINITY, |a, b| a.min(*b));
        let most = outcome.values.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        println!(
            "| {} | {} | {} | {:.3} | {least:.3} | {most:.3} | {:.3} to {:.3} | {} |",
            outcome.row,
            outcome.case,
            outcome.what,
            outcome.mean(),
            outcome.range.0,
            outcome.range.1,
            if outcome.holds() { "ok" } else { "FAILS" }
        );
    }
    Ok(outcomes.iter().all(acceptance::Outcome::holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_is_sound_and_carries_its_name() {
        for (name, text) in SCENARIOS {
            assert_eq!(Scenario::parse(text).unwrap().name, name);
        }
        assert!(find("no-such").unwrap_err().to_string().contains("beyond-capacity"));
    }
}
