//! The link-local addresses of the share routers, a contiguous block of them on each interface.
//!
//! They are found to be unique on the link (duplicate address detection) before anybody speaks from them, and have preferred
//! lifetime 0: the host never takes one as the source of anything else (RFC 6724 rule 3).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv6Addr;

use netlink_packet_route::address::AddressFlags;

use super::netlink::{Address, Place, Requests, addresses};

const EPERM: i32 = 1;

/// The kernel refuses what the share routers need.
#[derive(Debug, thiserror::Error)]
pub enum ShareAddressError {
    /// An order was refused.
    #[error(
        "{operation} {address} on {interface} for a share router: {source}. It needs CAP_NET_ADMIN and IPv6 on {interface} \
         (sysctl net.ipv6.conf.{interface}.disable_ipv6=0); without either set policy = \"goodput\""
    )]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// With which address.
        address: Ipv6Addr,
        /// On which interface.
        interface: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The interface has no IPv6 of its own.
    #[error(
        "{interface} is a port of a bridge: what arrives there is the bridge's. Name the bridge in [[interface]] instead"
    )]
    BridgePort {
        /// Which.
        interface: String,
    },
    /// The kernel cannot be asked.
    #[error("looking for the addresses of the share routers: {0}")]
    Read(io::Error),
}

impl ShareAddressError {
    /// Whether CAP_NET_ADMIN is missing. (An interface without IPv6 is EACCES.)
    pub fn is_privilege(&self) -> bool {
        matches!(self, ShareAddressError::Refused { source, .. } if source.raw_os_error() == Some(EPERM))
    }
}

/// What is to be said of one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressNote {
    /// Put there.
    Added(Ipv6Addr, String),
    /// Taken away: of a former life, or another host's.
    Removed(Ipv6Addr, String),
    /// Another host of the link has it.
    Duplicate(Ipv6Addr, String),
}

/// Keeps the addresses.
#[derive(Debug)]
pub struct ShareAddresses {
    requests: Requests,
    /// Found on another host, and said.
    duplicates: BTreeSet<(String, Ipv6Addr)>,
}

impl ShareAddresses {
    /// Opens a netlink socket in this thread's namespace.
    pub fn open() -> io::Result<Self> {
        Ok(ShareAddresses { requests: Requests::open()?, duplicates: BTreeSet::new() })
    }

    /// Puts on each interface what is wanted there and takes away what else of `ours` is there. An interface that does not
    /// exist yet is passed over.
    pub fn keep(
        &mut self,
        wanted: &BTreeMap<String, BTreeSet<Ipv6Addr>>,
        ours: impl Fn(Ipv6Addr) -> bool,
    ) -> Result<Vec<AddressNote>, ShareAddressError> {
        let there = addresses().map_err(ShareAddressError::Read)?;
        let mut notes = Vec::new();
        for (interface, addresses) in wanted {
            let Some(link) = self.requests.link(interface).map_err(ShareAddressError::Read)? else { continue };
            if link.bridge_port {
                return Err(ShareAddressError::BridgePort { interface: interface.clone() });
            }
            let on_it = || there.iter().filter(|row| row.interface == *interface);
            for row in on_it().filter(|row| ours(row.address)) {
                let known = (interface.clone(), row.address);
                if is_duplicate(row) {
                    if self.duplicates.insert(known) {
                        notes.push(AddressNote::Duplicate(row.address, interface.clone()));
                    }
                    // Put there anew, it is looked for on the link again.
                    self.remove(row.address, (interface, link.index))?;
                } else if !addresses.contains(&row.address) {
                    self.remove(row.address, (interface, link.index))?;
                    notes.push(AddressNote::Removed(row.address, interface.clone()));
                } else if !row.flags.contains(AddressFlags::Tentative) {
                    self.duplicates.remove(&known);
                }
            }
            for address in addresses.iter().filter(|wanted| !on_it().any(|row| row.address == **wanted)) {
                let added = self.requests.add_address(place(link.index), *address);
                added.map_err(refused("adding", *address, interface))?;
                if !self.duplicates.contains(&(interface.clone(), *address)) {
                    notes.push(AddressNote::Added(*address, interface.clone()));
                }
            }
        }
        Ok(notes)
    }

    fn remove(&mut self, address: Ipv6Addr, (interface, index): (&str, u32)) -> Result<(), ShareAddressError> {
        let removed = self.requests.remove_address(place(index), address);
        removed.map_err(refused("removing", address, interface))
    }
}

fn is_duplicate(row: &Address) -> bool {
    row.flags.contains(AddressFlags::Dadfailed)
}

fn refused(operation: &'static str, address: Ipv6Addr, interface: &str) -> impl FnOnce(io::Error) -> ShareAddressError {
    let interface = interface.to_owned();
    move |source| ShareAddressError::Refused { operation, address, interface, source }
}

fn place(index: u32) -> Place {
    Place { index, length: 64, detect_duplicates: true }
}
