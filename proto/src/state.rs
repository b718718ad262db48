//! The names of interface and neighbor states (RFC 2328 §9.1, §10.1).
//!
//! The machines themselves are in `iface` and `neighbor`; the names stand here because events and `show` speak them too.

use std::fmt;

/// Interface states (RFC 2328 §9.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IfaceState {
    /// The link cannot be used.
    #[default]
    Down,
    /// Looped back: a host route, no protocol (a passive interface without links behaves alike).
    Loopback,
    /// Looking for a DR, no election yet.
    Waiting,
    /// A point-to-point link.
    PointToPoint,
    /// A broadcast link on which somebody else is DR and somebody else Backup.
    DrOther,
    /// We are the Backup Designated Router.
    Backup,
    /// We are the Designated Router.
    Dr,
}

impl fmt::Display for IfaceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            IfaceState::Down => "Down",
            IfaceState::Loopback => "Loopback",
            IfaceState::Waiting => "Waiting",
            IfaceState::PointToPoint => "PointToPoint",
            IfaceState::DrOther => "DROther",
            IfaceState::Backup => "Backup",
            IfaceState::Dr => "DR",
        })
    }
}

/// Neighbor states (RFC 2328 §10.1); `Attempt` belongs to NBMA links, which are not built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NeighborState {
    /// Nothing heard.
    #[default]
    Down,
    /// A Hello was heard in which we are not named.
    Init,
    /// Bidirectional, no adjacency wanted.
    TwoWay,
    /// Master and first sequence number are being settled.
    ExStart,
    /// Databases are being described.
    Exchange,
    /// LSAs are being asked for.
    Loading,
    /// Fully adjacent.
    Full,
}

impl NeighborState {
    /// Whether LSAs are flooded to a neighbor in this state (RFC 2328 §13.3 (1)(a)).
    pub fn takes_floods(self) -> bool {
        self >= NeighborState::Exchange
    }
}

impl fmt::Display for NeighborState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            NeighborState::Down => "Down",
            NeighborState::Init => "Init",
            NeighborState::TwoWay => "TwoWay",
            NeighborState::ExStart => "ExStart",
            NeighborState::Exchange => "Exchange",
            NeighborState::Loading => "Loading",
            NeighborState::Full => "Full",
        })
    }
}
