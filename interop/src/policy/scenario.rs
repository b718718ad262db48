//! What happens to a simulated farm: read from TOML, or taken from the built-in ones.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is about, in a line.
    #[serde(default)]
    pub about: String,
    /// Nominal capacities of the servers, queries per second.
    pub servers: Vec<f64>,
    /// Receive buffer of each, queries.
    #[serde(default = "buffer")]
    pub buffer: usize,
    /// An answer later than this is lost, seconds.
    #[serde(default = "timeout")]
    pub timeout: f64,
    /// The router's equal-cost next hops at most.
    #[serde(default = "width")]
    pub width: usize,
    /// Length, seconds.
    pub duration: f64,
    /// Only what is asked in this time counts, seconds; without it, everything.
    #[serde(default)]
    pub counted: Option<(f64, f64)>,
    /// The load.
    pub load: LoadCurve,
    /// Clients of unlike weight behind a hash of their addresses; without it every query is a flow of its own.
    #[serde(default)]
    pub zipf: Option<Zipf>,
    /// What happens.
    #[serde(default, rename = "event")]
    pub events: Vec<Event>,
}

/// The load over time, as a part of the sum of the nominal capacities.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum LoadCurve {
    /// All the time the same.
    Constant(f64),
    /// From each time (seconds) on this load.
    Steps(Vec<(f64, f64)>),
    /// Up and down as a cosine.
    Diurnal {
        /// The lowest load, at the beginning.
        low: f64,
        /// The highest.
        high: f64,
        /// Seconds from low to low.
        period: f64,
    },
}

/// Sources whose rates follow Zipf's law.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zipf {
    /// How many.
    pub sources: usize,
    /// The exponent.
    pub exponent: f64,
}

/// Something that happens to a server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When, seconds.
    pub at: f64,
    /// To which servers (from 0).
    pub servers: Vec<usize>,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happens.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happening {
    /// Its capacity becomes this part of the nominal.
    Capacity(f64),
    /// It warms up: its capacity grows from a part of the nominal to the whole in so many seconds.
    Warm(f64, f64),
    /// False: it falls silent, and the router notices after the dead interval. True: it starts (again); one whose first
    /// such event this is has not been there before.
    Alive(bool),
}

fn buffer() -> usize {
    256
}

fn timeout() -> f64 {
    1.0
}

fn width() -> usize {
    64
}

impl LoadCurve {
    /// The load at a time.
    pub fn at(&self, time: f64) -> f64 {
        match self {
            LoadCurve::Constant(load) => *load,
            LoadCurve::Steps(steps) => steps.iter().rfind(|(from, _)| *from <= time).map_or(0.0, |(_, load)| *load),
            LoadCurve::Diurnal { low, high, period } => {
                let phase = (time / period * std::f64::consts::TAU).cos();
                low + (high - low) * (1.0 - phase) / 2.0
            }
        }
    }
}

impl Scenario {
    /// Reads a scenario; an error names the file and what is wrong.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        Scenario::parse(&text).with_context(|| format!("in {}", file.display()))
    }

    /// As [`Scenario::read`], from its text.
    pub fn parse(text: &str) -> Result<Self> {
        let scenario: Scenario = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.servers.is_empty(), "`servers` is empty: give each server's capacity in queries per second");
        for capacity in &self.servers {
            ensure!(
                (1.0..=1e6).contains(capacity),
                "`servers`: a capacity of {capacity} q/s is not within 1 to 1000000"
            );
        }
        ensure!((1..=1_000_000).contains(&self.buffer), "`buffer`: {} is not within 1 to 1000000", self.buffer);
        ensure!((1..=1024).contains(&self.width), "`width`: {} is not within 1 to 1024", self.width);
        ensure!(self.timeout > 0.0 && self.timeout <= 60.0, "`timeout`: {} is not within 0 to 60 s", self.timeout);
        ensure!(
            self.duration > 0.0 && self.duration <= 1e6,
            "`duration`: {} is not within 0 to 1000000 s",
            self.duration
        );
        for event in &self.events {
            if let Some(server) = event.servers.iter().find(|server| **server >= self.servers.len()) {
                bail!(
                    "event at {} s: there is no server {server}, the last one is {}",
                    event.at,
                    self.servers.len() - 1
                );
            }
        }
        Ok(())
    }

    /// The sum of the nominal capacities.
    pub fn capacity(&self) -> f64 {
        self.servers.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_read_and_what_is_wrong_is_said() {
        let text = "name = \"slow\"\nservers = [1000, 1000]\nduration = 60\nload = [[0, 0.5], [10, 0.9]]\n\
                    event = [{ at = 20, servers = [1], capacity = 0.3 }, { at = 30, servers = [1], warm = [0.2, 60] }]\n";
        let scenario = Scenario::parse(text).unwrap();
        assert_eq!((scenario.load.at(9.0), scenario.load.at(10.0)), (0.5, 0.9));
        assert!(matches!(scenario.events[0].what, Happening::Capacity(part) if part == 0.3));
        assert!(matches!(scenario.events[1].what, Happening::Warm(from, over) if (from, over) == (0.2, 60.0)));
        let error = Scenario::parse(&text.replace("servers = [1]", "servers = [2]")).unwrap_err().to_string();
        assert_eq!(error, "event at 20 s: there is no server 2, the last one is 1");
        assert!(Scenario::parse(&text.replace("duration", "durration")).unwrap_err().to_string().contains("durration"));
    }

    #[test]
    fn a_diurnal_load_begins_low_and_is_high_at_half_the_period() {
        let curve = LoadCurve::Diurnal { low: 0.2, high: 0.8, period: 1800.0 };
        assert!((curve.at(0.0) - 0.2).abs() < 1e-9 && (curve.at(900.0) - 0.8).abs() < 1e-9);
    }
}
