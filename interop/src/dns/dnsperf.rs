//! dnsperf as an independent client at a constant rate.

use std::{fs, net::Ipv6Addr, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::client::TIMEOUT;
use crate::process::{Place, Proc};

/// The Debian package `dnsperf` has it.
pub const DNSPERF: &str = "/usr/bin/dnsperf";
/// Source ports.
const FLOWS: usize = 500;
const PATIENCE: Duration = Duration::from_secs(10);

/// A running dnsperf.
#[derive(Debug)]
pub struct Dnsperf(Proc);

/// What it says at its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// Queries sent.
    pub sent: u64,
    /// Not answered in time.
    pub lost: u64,
    /// Mean latency of the answered, seconds.
    pub latency: f64,
}

impl Dnsperf {
    /// Asks `server` at a constant rate until it is told to end; `name` is that of its log.
    pub fn start(name: &str, place: Place<'_>, server: Ipv6Addr, rate: f64) -> Result<Self> {
        if !Path::new(DNSPERF).exists() {
            bail!("no {DNSPERF}: install the Debian package `dnsperf` (`cargo lab test` as root does it)");
        }
        fs::create_dir_all(place.logs)?;
        let queries = place.logs.join(format!("{name}.queries"));
        fs::write(&queries, "who.farm.example TXT\n")?;
        let mut command = Command::new(DNSPERF);
        command.args(["-f", "inet6", "-s", &server.to_string(), "-d"]).arg(&queries);
        command.args(["-Q", &format!("{rate:.0}"), "-c", &FLOWS.to_string(), "-q", "65536"]);
        // Without a limit of time it ends with its file of queries.
        command.args(["-t", &TIMEOUT.as_secs().to_string(), "-l", "86400"]);
        Proc::start(name, place, &mut command).map(Self)
    }

    /// Fails if it has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        self.0.ensure_running()
    }

    /// Ends it; what it has to say.
    pub fn finish(mut self) -> Result<Report> {
        self.ensure_running()?;
        self.0.signal(Signal::SIGINT)?;
        self.0.wait_end(PATIENCE)?;
        read(&self.0.log()).with_context(|| format!("reading what dnsperf says:\n{}", self.0.tail(30)))
    }
}

fn read(text: &str) -> Result<Report> {
    let number = |label: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
        line.and_then(|rest| rest.split_whitespace().next()).with_context(|| format!("no {label:?}"))
    };
    Ok(Report {
        sent: number("Queries sent:")?.parse()?,
        lost: number("Queries lost:")?.parse()?,
        latency: number("Average Latency (s):")?.parse()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_statistics_are_read() {
        let text = "Statistics:\n\n  Queries sent:         1400\n  Queries completed:    1398 (99.86%)\n  \
                    Queries lost:         2 (0.14%)\n\n  Run time (s):         1.0\n\n  \
                    Average Latency (s):  0.000417 (min 0.000027, max 0.003)\n";
        assert_eq!(read(text).unwrap(), Report { sent: 1400, lost: 2, latency: 0.000417 });
        read("dnsperf: Error").unwrap_err();
    }
}
