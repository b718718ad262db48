//! Totals of queries from whoever counts them: the service's own statistics (NSD, Knot DNS, Unbound, BIND, a Prometheus
//! text endpoint) or an nftables counter on its port.
//!
//! It says nothing of the health: statistics that fail make no healthy service disappear.

mod bind;
mod control;
mod nftables;
mod totals;

use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

pub use control::{Control, Kind};
pub use nftables::Nftables;
use totals::{Tally, Totals};

use super::background::{Background, Schedule, Source};
use super::http::{HttpTarget, text};
use super::program;
use super::prometheus::Selector;
use super::reading::{Said, Unreadable, plausible_total};

/// Who counts, and how often he is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct CountsConfig {
    /// Who counts.
    pub source: CountsSource,
    /// How often he is asked.
    pub schedule: Schedule,
}

/// Who counts.
#[derive(Clone, Debug, PartialEq)]
pub enum CountsSource {
    /// A name server, asked by its control program.
    Control(Control),
    /// The statistics channel of BIND (JSON).
    Bind(HttpTarget),
    /// Metrics in the Prometheus text format.
    Prometheus(Box<PrometheusCounts>),
    /// A named counter of nftables in front of the service.
    Nftables(Nftables),
}

/// Which metrics of an endpoint are totals of queries.
#[derive(Clone, Debug, PartialEq)]
pub struct PrometheusCounts {
    /// The endpoint.
    pub target: HttpTarget,
    /// Queries taken by the service.
    pub served: Selector,
    /// Queries that it took and lost.
    pub dropped: Option<Selector>,
    /// Seconds in which its workers were busy, of all together.
    pub busy: Option<Selector>,
    /// How many workers there are.
    pub workers: u32,
}

impl fmt::Display for CountsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CountsSource::Control(control) => write!(f, "{}", control.kind),
            CountsSource::Bind(target) => write!(f, "bind {}", target.address()),
            CountsSource::Prometheus(counts) => write!(f, "prometheus {}", counts.target.address()),
            CountsSource::Nftables(nftables) => write!(f, "nftables {nftables}"),
        }
    }
}

/// Starts counting. Needs a tokio runtime; programs run in this thread's network namespace.
pub fn open(config: &CountsConfig, start: (u64, Arc<Notify>)) -> Background {
    let counter = Counter { source: config.source.clone(), totals: Totals::default() };
    Background::spawn(format!("counts {}", config.source), config.schedule, counter, start)
}

struct Counter {
    source: CountsSource,
    totals: Totals,
}

impl Source for Counter {
    const TELLS_HEALTH: bool = false;

    async fn take(&mut self) -> Result<Said, Unreadable> {
        let tally = match &mut self.source {
            CountsSource::Control(control) => control.read(&program::output(&control.command()).await?)?,
            CountsSource::Bind(target) => bind::read(&text(target).await?)?,
            CountsSource::Prometheus(counts) => counts.read().await?,
            CountsSource::Nftables(nftables) => nftables.read(&program::output(&nftables.command()).await?)?,
        };
        Ok(Said { counts: Some(self.totals.add(tally)), ..Said::default() })
    }
}

impl PrometheusCounts {
    async fn read(&mut self) -> Result<Tally, Unreadable> {
        let text = text(&mut self.target).await?;
        self.tally(&text)
    }

    fn tally(&self, text: &str) -> Result<Tally, Unreadable> {
        let total = |selector: &Selector, scale: f64| {
            let value = selector.sum(text)? * scale;
            plausible_total(value).map_err(|error| Unreadable(format!("{selector}: {error}")))
        };
        let busy = 1e6 / f64::from(self.workers);
        Ok(Tally {
            served: total(&self.served, 1.0)?,
            dropped: self.dropped.as_ref().map(|selector| total(selector, 1.0)).transpose()?,
            busy: self.busy.as_ref().map(|selector| total(selector, busy)).transpose()?,
            ..Tally::default()
        })
    }
}

#[cfg(test)]
mod tests;
