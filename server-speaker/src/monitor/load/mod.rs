//! How much of the service's capacity is in use, told by others: the CPU time and pressure of its cgroup, a file, a metric,
//! a program.
//!
//! It says nothing of the health: a source that fails makes no healthy service disappear.

mod cgroup;
mod file;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use cgroup::Cgroup;
pub use cgroup::{CgroupConfig, Place};

use super::background::{Background, Schedule, Source};
use super::http::{HttpTarget, text};
use super::program;
use super::prometheus::Selector;
use super::reading::{Said, Unreadable, plausible_utilisation};

/// Who tells, and how often he is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadConfig {
    /// Who tells.
    pub source: LoadSource,
    /// How often he is asked.
    pub schedule: Schedule,
}

/// Who tells.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadSource {
    /// The kernel, of a cgroup (version 2).
    Cgroup(CgroupConfig),
    /// Somebody who says a number; it times the scale is the utilisation, 0.0 to 1.0.
    Told(Teller, f64),
}

/// Who says a number.
#[derive(Clone, Debug, PartialEq)]
pub enum Teller {
    /// A file with one number, which is written again and again.
    File(PathBuf),
    /// A metric in the Prometheus text format.
    Prometheus(Box<HttpTarget>, Selector),
    /// A program that writes one number, and its arguments.
    Exec(Vec<String>),
}

impl fmt::Display for LoadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadSource::Cgroup(config) => write!(f, "cgroup {}", config.place),
            LoadSource::Told(Teller::File(path), _) => write!(f, "file {}", path.display()),
            LoadSource::Told(Teller::Prometheus(target, metric), _) => {
                write!(f, "prometheus {} {metric}", target.address())
            }
            LoadSource::Told(Teller::Exec(command), _) => {
                write!(f, "exec {}", command.first().map_or("", String::as_str))
            }
        }
    }
}

/// Starts looking. Needs a tokio runtime; programs run in this thread's network namespace.
pub fn open(config: &LoadConfig, start: (u64, Arc<Notify>)) -> Background {
    let name = format!("load {}", config.source);
    match config.source.clone() {
        LoadSource::Cgroup(cgroup) => {
            let cgroup = Cgroup::new(cgroup);
            if let Err(error) = cgroup.look() {
                // It comes and goes with the service.
                warn!("{name}: {error}; looked for again");
            }
            Background::spawn(name, config.schedule, cgroup, start)
        }
        LoadSource::Told(teller, scale) => {
            let told = Told { teller, scale, stale: config.schedule.stale };
            Background::spawn(name, config.schedule, told, start)
        }
    }
}

struct Told {
    teller: Teller,
    scale: f64,
    stale: Duration,
}

impl Source for Told {
    const TELLS_HEALTH: bool = false;

    async fn take(&mut self) -> Result<Said, Unreadable> {
        let value = match &mut self.teller {
            Teller::File(path) => number(&file::read(path.clone(), self.stale).await?)?,
            Teller::Prometheus(target, metric) => metric.sum(&text(target).await?)?,
            Teller::Exec(command) => number(&program::output(command).await?)?,
        };
        Ok(Said { utilisation: Some(plausible_utilisation(value * self.scale)?), ..Said::default() })
    }
}

impl Source for Cgroup {
    const TELLS_HEALTH: bool = false;

    async fn take(&mut self) -> Result<Said, Unreadable> {
        let usage = self.read(std::time::Instant::now())?;
        let utilisation = Some(plausible_utilisation(usage.utilisation())?);
        Ok(Said { utilisation, detail: usage.to_string(), ..Said::default() })
    }
}

/// The one number of a text.
fn number(text: &str) -> Result<f64, Unreadable> {
    let text = text.trim();
    text.parse().map_err(|_| Unreadable(format!("\"{text:.40}\" is no number")))
}

#[cfg(test)]
mod tests;
