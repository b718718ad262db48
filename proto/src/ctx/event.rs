//! What happened, as values: the edge turns them into log lines and counters.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::id::{AreaId, IfaceId, LsaKey, RouterId};
use crate::lsdb::Breach;
use crate::packet::PacketType;
use crate::state::{IfaceState, NeighborState};
use crate::wire::DecodeError;

/// Something a person or a counter may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interface changed its state.
    IfaceState {
        /// The interface.
        iface: IfaceId,
        /// State before.
        from: IfaceState,
        /// State now.
        to: IfaceState,
    },
    /// A neighbor changed its state.
    NeighborState {
        /// Our interface.
        iface: IfaceId,
        /// The neighbor.
        router: RouterId,
        /// State before.
        from: NeighborState,
        /// State now.
        to: NeighborState,
        /// The event of RFC 2328 §10.2 that did it.
        cause: &'static str,
    },
    /// The DR or Backup DR of a link changed (0.0.0.0: none).
    Elected {
        /// The interface.
        iface: IfaceId,
        /// The Designated Router.
        dr: RouterId,
        /// The Backup Designated Router.
        bdr: RouterId,
    },
    /// A packet, or an LSA in it, was dropped.
    Dropped {
        /// Where it came in.
        iface: IfaceId,
        /// Who sent it.
        src: Ipv6Addr,
        /// Why.
        reason: DropReason,
    },
    /// We originated or refreshed an LSA.
    Originated {
        /// Which.
        key: LsaKey,
        /// Under which sequence number.
        sequence: i32,
        /// Why.
        cause: &'static str,
    },
    /// We flushed an LSA of ours.
    Flushed {
        /// Which.
        key: LsaKey,
        /// Why.
        cause: &'static str,
    },
    /// An LSA of ours that we may not send is too large, and is not originated.
    TooLarge {
        /// Which.
        key: LsaKey,
        /// Its size in bytes.
        bytes: usize,
    },
    /// A limit of the database is reached: further LSAs are acknowledged and dropped until there is room.
    LimitReached {
        /// Which limit, and by whom.
        breach: Breach,
    },
    /// Another router uses our Router ID. Who came first goes on; the newcomer is silent until the other is gone.
    DuplicateRouterId {
        /// Where it was seen.
        iface: IfaceId,
        /// The address it sends from.
        src: Ipv6Addr,
        /// Whether we are silent because of it.
        silent: bool,
    },
    /// Somebody keeps originating an LSA of ours, another router with our Router ID or a forger: enough answers for now.
    Contested {
        /// The LSA.
        key: LsaKey,
        /// How long until it is answered again.
        rest: Duration,
    },
    /// SPF ran.
    Spf {
        /// The area.
        area: AreaId,
        /// Vertices in the tree.
        vertices: usize,
    },
}

/// Why a packet or an LSA was dropped; `label` is the value of the metric's `reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Nobody listens: the interface is unknown, down or passive.
    NotEnabled,
    /// The source is not a link-local address (RFC 5340 §A.1).
    SourceNotLinkLocal,
    /// The destination is neither a group we are in nor our address.
    Destination,
    /// The packet does not decode.
    Malformed(DecodeError),
    /// An LSA inside a good packet does not decode; the others are used.
    MalformedLsa(LsaKey, DecodeError),
    /// Another area (RFC 5340 §4.2.2).
    Area(AreaId),
    /// Another instance (RFC 5340 §2.4).
    Instance(u8),
    /// Our own Router ID.
    OwnRouterId,
    /// We are silent because another router uses our Router ID.
    Muted,
    /// HelloInterval differs: theirs, in seconds.
    HelloInterval(u16),
    /// RouterDeadInterval differs: theirs, in seconds.
    DeadInterval(u16),
    /// The E- or N-bit differs.
    OptionsMismatch,
    /// Not from a known neighbor.
    UnknownNeighbor(RouterId, PacketType),
    /// The neighbor is in no state to send this.
    NeighborState(NeighborState, PacketType),
    /// A Database Description packet names a larger MTU than ours: theirs, ours.
    MtuMismatch(u16, u16),
    /// An LSA of a scope that does not exist.
    ReservedScope(LsaKey),
    /// An LSA that may not be flooded here (an AS-External-LSA in a stub area).
    NotAllowedHere(LsaKey),
    /// Less than MinLSArrival after the instance before.
    MinLsArrival(LsaKey),
    /// An acknowledgment of an instance that we do not have.
    AckMismatch(LsaKey),
    /// A point-to-point link that already has a neighbor.
    SecondNeighbor(RouterId),
    /// Above a configured limit.
    Limit(&'static str),
}

impl DropReason {
    /// The reason as a short word for counters.
    pub fn label(&self) -> &'static str {
        match self {
            DropReason::NotEnabled => "not_enabled",
            DropReason::SourceNotLinkLocal => "source_not_link_local",
            DropReason::Destination => "destination",
            DropReason::Malformed(_) => "malformed",
            DropReason::MalformedLsa(..) => "malformed_lsa",
            DropReason::Area(_) => "area",
            DropReason::Instance(_) => "instance",
            DropReason::OwnRouterId => "own_router_id",
            DropReason::Muted => "muted",
            DropReason::HelloInterval(_) => "hello_interval",
            DropReason::DeadInterval(_) => "dead_interval",
            DropReason::OptionsMismatch => "options",
            DropReason::UnknownNeighbor(..) => "unknown_neighbor",
            DropReason::NeighborState(..) => "neighbor_state",
            DropReason::MtuMismatch(..) => "mtu",
            DropReason::ReservedScope(_) => "reserved_scope",
            DropReason::NotAllowedHere(_) => "not_allowed_here",
            DropReason::MinLsArrival(_) => "min_ls_arrival",
            DropReason::AckMismatch(_) => "ack_mismatch",
            DropReason::SecondNeighbor(_) => "second_neighbor",
            DropReason::Limit(_) => "limit",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DropReason::NotEnabled => f.write_str("OSPF is not running on this interface"),
            DropReason::SourceNotLinkLocal => f.write_str("the source is not a link-local address"),
            DropReason::Destination => f.write_str("the destination is neither ours nor a group we are in"),
            DropReason::Malformed(error) => write!(f, "malformed packet: {error}"),
            DropReason::MalformedLsa(key, error) => write!(f, "malformed {key}: {error}"),
            DropReason::Area(area) => write!(f, "it is of area {area}; check the area on both ends"),
            DropReason::Instance(id) => write!(f, "it is of instance {id}; check the instance ID on both ends"),
            DropReason::OwnRouterId => f.write_str("it carries our own Router ID"),
            DropReason::Muted => f.write_str("we are silent while another router uses our Router ID"),
            DropReason::HelloInterval(theirs) => {
                write!(f, "its hello-interval is {theirs} s; set the same on both ends")
            }
            DropReason::DeadInterval(theirs) => write!(f, "its dead-interval is {theirs} s; set the same on both ends"),
            DropReason::OptionsMismatch => {
                f.write_str("its E- or N-bit differs: one end takes the area for a stub area")
            }
            DropReason::UnknownNeighbor(router, packet) => write!(f, "{packet} from {router}, which is no neighbor"),
            DropReason::NeighborState(state, packet) => write!(f, "{packet} from a neighbor in state {state}"),
            DropReason::MtuMismatch(theirs, ours) => {
                write!(f, "its interface MTU is {theirs}, ours {ours}; set the same on both ends or mtu-ignore")
            }
            DropReason::ReservedScope(key) => write!(f, "{key} has the reserved flooding scope"),
            DropReason::NotAllowedHere(key) => write!(f, "{key} may not be flooded here"),
            DropReason::MinLsArrival(key) => write!(f, "{key} came less than 1 s after the instance before"),
            DropReason::AckMismatch(key) => write!(f, "acknowledgment of another instance of {key}"),
            DropReason::SecondNeighbor(router) => {
                write!(f, "a second neighbor {router} on a point-to-point link; set the type to broadcast")
            }
            DropReason::Limit(what) => write!(f, "above the limit of {what}"),
        }
    }
}
