//! The socket of a service: its receive queue and drops for UDP, its life for UDP and TCP.

use std::net::Ipv6Addr;

use ospf_proto::time::Instant;
use serde::{Deserialize, Serialize};

use super::MonitorError;
use super::diag::{SockDiag, UdpSocketState};
use super::snmp6::Snmp6;
use crate::sample::{Health, Load, Sample};

/// The transport of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Queue, drops and rates.
    Udp,
    /// Health only.
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

/// Watches the sockets of one service.
#[derive(Debug)]
pub struct SocketMonitor {
    target: Target,
    diag: SockDiag,
    snmp6: Snmp6,
}

impl SocketMonitor {
    /// A monitor in this thread's network namespace.
    pub fn open(target: Target) -> Result<Self, MonitorError> {
        Ok(SocketMonitor { target, diag: SockDiag::open()?, snmp6: Snmp6::open()? })
    }

    /// What is watched.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether every address is served: one exact lookup each, cheap enough for every few milliseconds.
    pub fn health(&mut self) -> Health {
        for address in &self.target.addresses {
            let found = match self.target.protocol {
                Protocol::Udp => self.diag.udp(*address, self.target.port).map(|s| s.is_some()),
                Protocol::Tcp => self.diag.listener(*address, self.target.port).map(|l| l.is_some()),
            };
            match found {
                Ok(true) => {}
                Ok(false) => return Health::Dead(self.missing(*address)),
                Err(error) => return Health::Unknown(error.to_string()),
            }
        }
        Health::Alive
    }

    /// Health and, for UDP, the counters of all its sockets together.
    pub fn sample(&mut self, now: Instant) -> Sample {
        let health = self.health();
        let load = match (self.target.protocol, &health) {
            (Protocol::Udp, Health::Alive) => self.load(),
            _ => Ok(None),
        };
        match load {
            Ok(load) => Sample { at: now, health, load },
            Err(error) => Sample { at: now, health: Health::Unknown(error.to_string()), load: None },
        }
    }

    fn load(&mut self) -> Result<Option<Load>, MonitorError> {
        let sockets = self.own_sockets()?;
        let counters = self.snmp6.read()?;
        if sockets.is_empty() {
            return Ok(None);
        }
        Ok(Some(Load {
            served: counters.in_datagrams,
            dropped: sockets.iter().map(|s| u64::from(s.drops)).sum(),
            busy: None,
            queue: sockets.iter().map(|s| u64::from(s.queue)).sum(),
            buffer: sockets.iter().map(|s| u64::from(s.buffer)).sum(),
            generation: generation(&sockets),
        }))
    }

    fn own_sockets(&mut self) -> Result<Vec<UdpSocketState>, MonitorError> {
        let mut sockets = self.diag.udp_dump(self.target.port)?;
        let addresses = &self.target.addresses;
        sockets.retain(|s| s.address.is_unspecified() || addresses.contains(&s.address));
        Ok(sockets)
    }

    /// Other UDP sockets of the namespace, as `[address]:port`. Their datagrams are counted as ours.
    pub fn others(&mut self) -> Result<Vec<String>, MonitorError> {
        if self.target.protocol != Protocol::Udp {
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

/// A number for this set of sockets (FNV-1a over their cookies, in any order of the dump).
fn generation(sockets: &[UdpSocketState]) -> u64 {
    let mut cookies: Vec<[u8; 8]> = sockets.iter().map(|s| s.cookie).collect();
    cookies.sort_unstable();
    cookies
        .iter()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
