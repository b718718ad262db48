//! What ospfd-lite shows of a farm (`show farm --json`), as a lab reads it.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use ipnetwork::Ipv6Network;
use serde::Deserialize;

use crate::peer::ours::Daemon;

/// A service prefix at the link router.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FarmRow {
    /// The prefix.
    pub prefix: String,
    /// How it is shared: `stable`, `resilient`, `hash-threshold`, `multipath` or `single`.
    pub sharing: String,
    /// Why not as configured, if so.
    pub why: Option<String>,
    /// The kernel's group.
    pub group: Option<u32>,
    /// Its slots.
    pub slots: Option<usize>,
    /// Where the weights are from: `capacity`, `equal` or `originators`.
    pub weights: String,
    /// Its originators.
    pub servers: Vec<ServerRow>,
}

/// An originator of a service prefix.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ServerRow {
    /// Its Router ID.
    pub router_id: Ipv4Addr,
    /// The metric of the prefix in its LSA.
    pub metric: u16,
    /// Whether it is one of the lowest distance.
    pub in_class: bool,
    /// Its capacity, queries per second.
    pub capacity: Option<f64>,
    /// Over what it is reached.
    pub next_hops: Vec<HopRow>,
    /// Its share of the prefix, 0 to 1.
    pub weight: f64,
    /// How many slots are its own.
    pub slots: Option<usize>,
    /// Packets sent to it, where the kernel counts them.
    pub packets: Option<u64>,
    /// Probes in a row that had no answer.
    pub unanswered: Option<u32>,
}

/// A next hop as shown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HopRow {
    /// Its link-local address.
    pub gateway: Ipv6Addr,
    /// Its interface.
    pub interface: String,
}

impl FarmRow {
    /// The rows of all prefixes.
    pub fn all(router: &Daemon) -> Result<Vec<Self>> {
        serde_json::from_value(router.show("farm")?).context("understanding show farm")
    }

    /// The row of a prefix.
    pub fn of(router: &Daemon, prefix: Ipv6Network) -> Result<Self> {
        let answer = router.command(&["show", "farm", &prefix.to_string(), "--json"])?;
        let [row] = serde_json::from_str(&answer).with_context(|| format!("understanding show farm {prefix}"))?;
        Ok(row)
    }

    /// The weight of an originator, 0 if it is none.
    pub fn weight(&self, router: Ipv4Addr) -> f64 {
        self.servers.iter().find(|server| server.router_id == router).map_or(0.0, |server| server.weight)
    }
}
