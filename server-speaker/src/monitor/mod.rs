//! Sources of load and health, one file each. Every source yields [`Reading`]s and decides nothing; [`Board`] puts those of
//! one service together.
//!
//! What the kernel tells is read at once, in microseconds (1.3 us for one exact `sock_diag` request). What needs time (a
//! network exchange, a program) runs in a task of its own ([`Background`]).

pub mod background;
pub mod board;
pub mod counts;
pub mod destroy;
pub mod diag;
pub mod http;
pub mod load;
pub mod net;
pub mod netstat;
pub mod probe;
mod proc_file;
mod process;
mod program;
mod prometheus;
pub mod reading;
pub mod snmp6;
pub mod socket;
pub mod tls;

use std::sync::Arc;

use tokio::sync::Notify;

pub use background::{Background, Schedule, Source};
pub use board::{Board, SourceRow};
pub use counts::CountsConfig;
pub use destroy::DestroyWatch;
pub use load::LoadConfig;
pub use probe::ProbeConfig;
pub use process::{ProcessMonitor, ProcessTarget};
pub use prometheus::Selector;
pub use reading::{Counts, Monitor, Queue, Reading, Said, Unreadable};
pub use socket::{Protocol, SocketMonitor, Target};

/// What is watched, as configured.
#[derive(Clone, Debug, PartialEq)]
pub enum MonitorConfig {
    /// The service's sockets.
    Socket(Target),
    /// The service's main process.
    Process(ProcessTarget),
    /// Totals of queries.
    Counts(CountsConfig),
    /// The utilisation.
    Load(LoadConfig),
    /// A question asked of the service.
    Probe(Box<ProbeConfig>),
}

impl MonitorConfig {
    /// Whether its totals are those of the whole network namespace unless another source counts.
    pub fn counts_namespace(&self) -> bool {
        matches!(self, MonitorConfig::Socket(target) if target.protocol == Protocol::Udp)
    }

    /// Whether it counts queries itself.
    pub fn counts(&self) -> bool {
        matches!(self, MonitorConfig::Counts(_))
    }

    /// Whether it says anything of the health.
    pub fn tells_health(&self) -> bool {
        match self {
            MonitorConfig::Counts(_) | MonitorConfig::Load(_) => false,
            MonitorConfig::Socket(_) | MonitorConfig::Process(_) | MonitorConfig::Probe(_) => true,
        }
    }
}

/// Opens the monitors of one service. `wake` is notified when one of them sees the health change; `seed` splays those that
/// read at intervals. Needs a tokio runtime, and stays in this thread's network namespace.
pub fn open(
    configs: &[MonitorConfig],
    (seed, wake): (u64, &Arc<Notify>),
) -> Result<Vec<Box<dyn Monitor>>, MonitorError> {
    let counted = configs.iter().any(MonitorConfig::counts);
    let mut monitors: Vec<Box<dyn Monitor>> = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        let (seed, wake) = (seed.wrapping_add(index as u64), wake.clone());
        monitors.push(match config {
            MonitorConfig::Socket(target) => Box::new(SocketMonitor::open(target.clone(), !counted)?),
            MonitorConfig::Process(target) => Box::new(ProcessMonitor::open(target.clone(), wake)),
            MonitorConfig::Counts(config) => Box::new(counts::open(config, (seed, wake))),
            MonitorConfig::Load(config) => Box::new(load::open(config, (seed, wake))),
            MonitorConfig::Probe(probe) => Box::new(probe::open(probe.as_ref().clone(), (seed, wake))),
        });
    }
    Ok(monitors)
}

/// A kernel interface that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The netlink socket.
    #[error("sock_diag: {operation}: {source}")]
    Netlink {
        /// What was being done.
        operation: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The kernel's answer makes no sense.
    #[error("sock_diag: {0}")]
    Answer(String),
    /// A file of /proc.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A counter that is not there.
    #[error("{path}: no counter {counter}")]
    Counter {
        /// In which file.
        path: &'static str,
        /// Which counter.
        counter: &'static str,
    },
}
