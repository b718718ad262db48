//! Probes: a question asked of the service now and then, and the verdict over the answers.
//!
//! A wrong answer, a refusal or a reset is death; no answer in time is silence; a late one is slowness. What fails on our
//! side (no descriptor, no route, a program that cannot be started) is no fault of the service and changes nothing.

pub mod dns;
pub mod exec;
pub mod http;
pub mod self_test;
pub mod tcp;
pub mod tls;
pub mod verdict;

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

pub use dns::DnsProbe;
pub use exec::ExecProbe;
pub use http::HttpProbe;
pub use self_test::{SelfTest, SelfTestOptions};
pub use tcp::TcpProbe;
pub use tls::TlsProbe;
pub use verdict::Verdict;

use super::background::{Background, Schedule, Source};
use super::net::{self, ExchangeError};
use super::reading::{Said, Unreadable};
use crate::sample::Health;

/// A probe as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeConfig {
    /// The question.
    pub kind: ProbeKind,
    /// When it is asked, and what an answer counts.
    pub timing: Timing,
    /// The address of the service that must be on this host: else another server with the same address would answer. None
    /// where the file names an address.
    pub own: Option<Ipv6Addr>,
}

/// When a probe asks, and what an answer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From one question to the next.
    pub interval: Duration,
    /// The same before the first verdict and while the service fails.
    pub fast: Duration,
    /// No answer after this time is silence.
    pub timeout: Duration,
    /// An answer after this time is late.
    pub slow: Option<Duration>,
    /// So many good answers in a row make it alive.
    pub rise: usize,
    /// So many faults in a row make it faulty.
    pub fall: usize,
}

/// The kinds of probes.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeKind {
    /// A DNS query.
    Dns(DnsProbe),
    /// An HTTP(S) GET.
    Http(HttpProbe),
    /// A TCP connection.
    Tcp(TcpProbe),
    /// A TLS handshake.
    Tls(TlsProbe),
    /// A program.
    Exec(ExecProbe),
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeKind::Dns(dns) => write!(f, "dns {}", dns.address),
            ProbeKind::Http(http) => write!(f, "http {}", http.target.address()),
            ProbeKind::Tcp(tcp) => write!(f, "tcp {}", tcp.address),
            ProbeKind::Tls(tls) => write!(f, "tls {}", tls.address),
            ProbeKind::Exec(exec) => write!(f, "exec {}", exec.program.display()),
        }
    }
}

/// What one good exchange found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// In words.
    pub detail: String,
    /// What somebody should see to, though it is no fault yet.
    pub concern: Option<String>,
    /// The part of the capacity in use, if it was told.
    pub utilisation: Option<f64>,
}

impl Found {
    /// Nothing but good.
    pub fn good(detail: impl Into<String>) -> Self {
        Found { detail: detail.into(), ..Found::default() }
    }
}

/// Starts a probe in a task of its own.
pub fn open(config: ProbeConfig, seed_and_wake: (u64, Arc<Notify>)) -> Background {
    let name = format!("probe {}", config.kind);
    let Timing { interval, fast, timeout, .. } = config.timing;
    let schedule = Schedule { fast, ..Schedule::every(interval, timeout) };
    let verdict = Verdict::new(config.timing.rise, config.timing.fall);
    Background::spawn(name, schedule, Probe { config, verdict, concern: None }, seed_and_wake)
}

#[derive(Debug)]
struct Probe {
    config: ProbeConfig,
    verdict: Verdict,
    /// What was said last that somebody should see to.
    concern: Option<String>,
}

impl Probe {
    async fn ask(&mut self) -> Result<Found, ExchangeError> {
        if let Some(own) = self.config.own
            && !net::is_own(own).await?
        {
            return Err(ExchangeError::Peer(format!("{own} is no address of this host")));
        }
        match &mut self.config.kind {
            ProbeKind::Dns(dns) => dns.ask().await,
            ProbeKind::Http(http) => http.ask().await,
            ProbeKind::Tcp(tcp) => tcp.ask().await,
            ProbeKind::Tls(tls) => tls.ask().await,
            ProbeKind::Exec(exec) => exec.ask().await,
        }
    }

    /// The words say what this one exchange found; the health is the verdict over the last ones.
    fn said(&mut self, health: Health, detail: String) -> Said {
        self.verdict.note(health);
        let pending = self.verdict.pending().map(|pending| format!(" ({pending})")).unwrap_or_default();
        Said { health: self.verdict.health(), detail: detail + &pending, ..Said::default() }
    }
}

impl Source for Probe {
    const TELLS_HEALTH: bool = true;

    async fn take(&mut self) -> Result<Said, Unreadable> {
        let begun = Instant::now();
        let found = self.ask().await;
        let took = begun.elapsed();
        let words = |what: &str| format!("{what} in {:.1} ms", 1e3 * took.as_secs_f64());
        match found {
            Ok(found) => {
                let late = self.config.timing.slow.filter(|slow| took > *slow);
                let health = match late {
                    Some(slow) => Health::Slow(format!("answers after more than {} ms", slow.as_millis())),
                    None => Health::Alive,
                };
                let mut detail = words(&found.detail);
                if let Some(concern) = &found.concern {
                    detail = format!("{detail}; WARNING: {concern}");
                }
                if found.concern != self.concern
                    && let Some(concern) = &found.concern
                {
                    warn!("probe {}: {concern}", self.config.kind);
                }
                self.concern = found.concern;
                let said = self.said(health, detail);
                Ok(Said { utilisation: found.utilisation, ..said })
            }
            Err(ExchangeError::Peer(why)) => Ok(self.said(Health::Dead(why.clone()), words(&why))),
            Err(ExchangeError::Local(why)) => Err(Unreadable(why)),
        }
    }

    fn timed_out(&mut self, after: Duration) -> Result<Said, Unreadable> {
        let within = format!("within {} ms", after.as_millis());
        if let ProbeKind::Exec(exec) = &self.config.kind {
            return Err(Unreadable(format!("{} does not end {within}; it was killed", exec.program.display())));
        }
        let why = format!("no answer {within}");
        Ok(self.said(Health::Silent(why.clone()), why))
    }

    fn hurry(&self) -> bool {
        self.verdict.hurry()
    }
}
