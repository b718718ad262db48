//! Sources of load and health, one file each. Every source yields [`crate::sample::Sample`]s and decides nothing.
//!
//! All reads are synchronous and take microseconds (1.3 us for one exact `sock_diag` request): nothing to await.

pub mod diag;
pub mod snmp6;
pub mod socket;

pub use socket::{Protocol, SocketMonitor, Target};

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
