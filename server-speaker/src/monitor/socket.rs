//! The sockets of a service: receive queue, drops and rate (UDP) or accept queue and its overflows (TCP), and whether
//! they are there at all.

use std::net::Ipv6Addr;
use std::time::Duration;

use ospf_proto::time::Instant;
use serde::{Deserialize, Serialize};

use super::MonitorError;
use super::diag::{SockDiag, UdpSocketState};
use super::netstat::Netstat;
use super::reading::{Counts, Monitor, Queue, Reading, Said, Unreadable};
use super::snmp6::Snmp6;
use crate::sample::Health;

/// The transport of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Queue, drops and rates.
    Udp,
    /// Accept queue and its overflows.
    Tcp,
}

/// Which sockets make up the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Transport.
    pub protocol: Protocol,
    /// Local port.
    pub port: u16,
    /// The addresses that must be served: each by a socket bound to it or to the wildcard.
    pub addresses: Vec<Ipv6Addr>,
}

/// How long a reading holds: it is taken anew every 100 ms.
const VALID: Duration = Duration::from_secs(1);

/// Watches the sockets of one service.
#[derive(Debug)]
pub struct SocketMonitor {
    name: String,
    target: Target,
    diag: SockDiag,
    overflows: Netstat,
    /// Counts the queries too, by the counters of the network namespace; none where another source counts them.
    snmp6: Option<Snmp6>,
}

impl SocketMonitor {
    /// A monitor in this thread's network namespace; with `counts` it tells the served queries too (UDP only).
    pub fn open(target: Target, counts: bool) -> Result<Self, MonitorError> {
        let counts = counts && target.protocol == Protocol::Udp;
        let protocol = if target.protocol == Protocol::Udp { "udp" } else { "tcp" };
        Ok(SocketMonitor {
            name: format!("socket {protocol}/{}", target.port),
            target,
            diag: SockDiag::open()?,
            overflows: Netstat::open()?,
            snmp6: if counts { Some(Snmp6::open()?) } else { None },
        })
    }

    /// What is watched.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether every address is served: one exact lookup each, cheap enough for every few milliseconds.
    fn health(&mut self) -> Result<Health, MonitorError> {
        for address in &self.target.addresses {
            let found = match self.target.protocol {
                Protocol::Udp => self.diag.udp(*address, self.target.port)?.is_some(),
                Protocol::Tcp => self.diag.listener(*address, self.target.port)?.is_some(),
            };
            if !found {
                return Ok(Health::Dead(self.missing(*address)));
            }
        }
        Ok(Health::Alive)
    }

    fn said(&mut self) -> Result<Said, MonitorError> {
        let health = self.health()?;
        let mut said = Said { health: Some(health.clone()), ..Said::default() };
        if health != Health::Alive {
            return Ok(said);
        }
        match self.target.protocol {
            Protocol::Tcp => said.queue = self.backlog()?,
            Protocol::Udp => {
                let sockets = self.own_sockets()?;
                said.queue = (!sockets.is_empty()).then(|| receive_queue(&sockets));
                if let (Some(snmp6), false) = (&mut self.snmp6, sockets.is_empty()) {
                    let served = snmp6.read()?.in_datagrams;
                    said.counts = Some(Counts { served, ..Counts::default() });
                }
            }
        }
        Ok(said)
    }

    /// The accept queues of all listeners together; their overflows are counted for the whole namespace.
    fn backlog(&mut self) -> Result<Option<Queue>, MonitorError> {
        let mut queue = Queue { dropped: self.overflows.listen_overflows()?, ..Queue::default() };
        let listeners = self.diag.listeners(self.target.port)?;
        for listener in &listeners {
            queue.waiting += u64::from(listener.backlog);
            queue.room += u64::from(listener.backlog_max);
        }
        Ok((!listeners.is_empty()).then_some(queue))
    }

    fn own_sockets(&mut self) -> Result<Vec<UdpSocketState>, MonitorError> {
        let mut sockets = self.diag.udp_dump(self.target.port)?;
        let addresses = &self.target.addresses;
        sockets.retain(|s| s.address.is_unspecified() || addresses.contains(&s.address));
        Ok(sockets)
    }

    /// Other UDP sockets of the namespace, as `[address]:port`. Their datagrams are counted as ours.
    fn others(&mut self) -> Result<Vec<String>, MonitorError> {
        if self.snmp6.is_none() {
            return Ok(Vec::new());
        }
        let own = self.own_sockets()?;
        let mut others = self.diag.udp_dump(0)?;
        others.retain(|s| !own.iter().any(|o| o.cookie == s.cookie));
        Ok(others.iter().map(|s| format!("[{}]:{}", s.address, s.port)).collect())
    }

    fn missing(&self, address: Ipv6Addr) -> String {
        match self.target.protocol {
            Protocol::Udp => format!("no UDP socket for [{address}]:{}", self.target.port),
            Protocol::Tcp => format!("no listening TCP socket for [{address}]:{}", self.target.port),
        }
    }
}

impl Monitor for SocketMonitor {
    fn name(&self) -> &str {
        &self.name
    }

    fn tells_health(&self) -> bool {
        true
    }

    fn read(&mut self, now: Instant) -> Result<Reading, Unreadable> {
        let said = self.said().map_err(|error| Unreadable(error.to_string()))?;
        Ok(Reading::new(now, VALID, said))
    }

    fn pulse(&mut self) -> Option<Health> {
        self.health().ok()
    }

    fn warnings(&mut self) -> Vec<String> {
        match self.others() {
            Ok(others) if others.is_empty() => Vec::new(),
            Ok(others) => vec![format!(
                "other UDP sockets in this network namespace are counted as this service's load: {}",
                others.join(", ")
            )],
            Err(error) => vec![error.to_string()],
        }
    }
}

fn receive_queue(sockets: &[UdpSocketState]) -> Queue {
    Queue {
        waiting: sockets.iter().map(|s| u64::from(s.queue)).sum(),
        room: sockets.iter().map(|s| u64::from(s.buffer)).sum(),
        dropped: sockets.iter().map(|s| u64::from(s.drops)).sum(),
        generation: generation(sockets),
    }
}

/// A number for this set of sockets (FNV-1a over their cookies, in any order of the dump).
fn generation(sockets: &[UdpSocketState]) -> u64 {
    let mut cookies: Vec<[u8; 8]> = sockets.iter().map(|s| s.cookie).collect();
    cookies.sort_unstable();
    cookies
        .iter()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
