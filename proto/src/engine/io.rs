//! What goes into the engine and what comes out.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use crate::ctx::{Event, Membership, Transmit};
use crate::id::{IfaceId, LsaKey, RouterId};
use crate::lsa::{Prefix, Tlv};
use crate::origin::Companion;
use crate::rib::RouteChange;

/// One input of [`super::Engine::handle`].
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The time has come (see [`super::Engine::next_timeout`]).
    Tick,
    /// A packet was received: the OSPF packet without IP header.
    Packet {
        /// The interface it came in on.
        iface: IfaceId,
        /// Source address.
        src: Ipv6Addr,
        /// Destination address.
        dst: Ipv6Addr,
        /// From the version byte on.
        bytes: &'a [u8],
    },
    /// The state of a link.
    Link(LinkEvent),
    /// A wish of the operator or of the daemon.
    Command(Command),
}

/// A link as the kernel has it: always the whole state, so that repeating one changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The link exists.
    State(LinkState),
    /// The link is gone.
    Gone(IfaceId),
}

/// The state of one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// The kernel's interface index.
    pub iface: IfaceId,
    /// The kernel's name; configuration is found by it.
    pub name: String,
    /// Administratively up, and with carrier.
    pub up: bool,
    /// MTU in bytes.
    pub mtu: u16,
    /// The link-local address to speak from; without one the interface stays Down.
    pub link_local: Option<Ipv6Addr>,
    /// The prefixes of the other addresses of the interface (a /128 is advertised with the LA-bit).
    pub prefixes: Vec<Prefix>,
}

/// Commands: each states a whole wanted state, so that repeating one changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The service prefixes to advertise, each in an Intra-Area-Prefix-LSA of its own, with its metric (0..=65535).
    /// A prefix that is no longer named is flushed at once.
    Advertise {
        /// Prefix to metric.
        prefixes: BTreeMap<Prefix, u16>,
        /// What goes out behind a changed metric, in the same LS Update.
        companion: Companion,
    },
    /// The TLVs of our Router-Information LSA (instance 1; RFC 7770 §2.2); none: flushed.
    RouterInformation(Vec<Tlv>),
    /// Flush everything we originated and originate nothing more. Done when `view().flushes_pending()` is 0; then
    /// [`Command::Goodbye`].
    Flush,
    /// Send Hellos without neighbors (so that they drop us at once) and go Down on every interface, for good.
    Goodbye,
    /// Drop the adjacencies with this router (all, if none is named); they form anew.
    ClearNeighbor(Option<RouterId>),
}

/// One output of [`super::Engine::poll_output`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a packet.
    Transmit(Transmit),
    /// Join or leave a group.
    Membership(Membership),
    /// A route to install or remove.
    Route(RouteChange),
    /// Tell it.
    Event(Event),
}

/// An LSA of ours that some neighbor has not acknowledged yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unacknowledged {
    /// The LSA.
    pub key: LsaKey,
    /// Whose acknowledgment is missing.
    pub neighbor: RouterId,
}
