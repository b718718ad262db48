//! The service addresses on `lo`: /128, no duplicate address detection (nobody can be asked on `lo`), preferred lifetime 0
//! so that the host never uses an anycast address as the source of its own connections (RFC 4291 §2.6, RFC 6724 rule 3).

use std::io;
use std::net::Ipv6Addr;

use super::netlink::{Place, Requests, addresses};

/// The loopback interface has index 1 in every network namespace (LOOPBACK_IFINDEX of Linux).
const LO: Place = Place { index: 1, length: 128, detect_duplicates: false };

/// An address could not be put on `lo` or taken away.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {address}/128 on lo: {source}")]
pub struct LoopbackError {
    /// What was tried.
    pub operation: &'static str,
    /// With which address.
    pub address: Ipv6Addr,
    /// Why it failed.
    pub source: io::Error,
}

impl LoopbackError {
    /// Whether CAP_NET_ADMIN is missing.
    pub fn is_privilege(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }
}

/// Puts addresses on `lo` of the namespace it was opened in. The kernel answers at once: nothing to await.
#[derive(Debug)]
pub struct Loopback {
    requests: Requests,
}

impl Loopback {
    /// Opens a netlink socket in this thread's namespace.
    pub fn open() -> io::Result<Self> {
        Ok(Loopback { requests: Requests::open()? })
    }

    /// Puts an address on `lo`; one that is there already is given our lifetimes.
    pub fn add(&mut self, address: Ipv6Addr) -> Result<(), LoopbackError> {
        let refused = |source| LoopbackError { operation: "adding", address, source };
        self.requests.add_address(LO, address).map_err(refused)
    }

    /// Takes an address from `lo`; one that is not there is no error.
    pub fn remove(&mut self, address: Ipv6Addr) -> Result<(), LoopbackError> {
        let refused = |source| LoopbackError { operation: "removing", address, source };
        self.requests.remove_address(LO, address).map_err(refused)
    }

    /// Whether the address is on `lo`.
    pub fn has(&self, address: Ipv6Addr) -> Result<bool, LoopbackError> {
        let found = addresses().map_err(|source| LoopbackError { operation: "looking for", address, source })?;
        Ok(found.iter().any(|row| row.address == address && row.interface == "lo"))
    }
}
