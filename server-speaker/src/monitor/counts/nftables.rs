//! A named counter of nftables, which counts what comes in front of the service's queue:
//!
//! ```text
//! table inet speaker {
//!     counter dns { }
//!     chain input { type filter hook input priority filter; udp dport 53 counter name dns; }
//! }
//! ```

use std::fmt;

use serde_json::Value;

use super::totals::Tally;
use crate::monitor::reading::{Unreadable, plausible_total};

/// Which counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nftables {
    /// Family of the table: `inet`, `ip6`, `ip` or `netdev`.
    pub family: &'static str,
    /// The table.
    pub table: String,
    /// The counter.
    pub counter: String,
}

impl fmt::Display for Nftables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.counter)
    }
}

impl Nftables {
    /// What is run.
    pub fn command(&self) -> Vec<String> {
        ["nft", "-j", "list", "counter", self.family, &self.table, &self.counter].map(str::to_owned).to_vec()
    }

    /// The total in what it said (libnftables-json(5)).
    pub(super) fn read(&self, text: &str) -> Result<Tally, Unreadable> {
        let document: Value =
            serde_json::from_str(text).map_err(|error| Unreadable(format!("no JSON of nft: {error}")))?;
        let objects = document.get("nftables").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let counter = objects.iter().filter_map(|object| object.get("counter")).find(|counter| self.is(counter));
        let packets = counter.and_then(|counter| counter.get("packets")?.as_f64());
        let packets = packets.ok_or_else(|| Unreadable(format!("no packets of counter {self} are told")))?;
        Ok(Tally { served: plausible_total(packets)?, arrived: true, ..Tally::default() })
    }

    fn is(&self, counter: &Value) -> bool {
        let has = |key: &str, value: &str| counter.get(key).and_then(Value::as_str) == Some(value);
        has("family", self.family) && has("table", &self.table) && has("name", &self.counter)
    }
}
