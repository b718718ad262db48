//! What every stage from here on shares in a turn: the time, the timers, the retransmission lists, and the list of effects.
//!
//! Protocol code neither sends nor logs: it appends [`Effect`]s, and the engine hands them out in order.

mod event;
mod retransmissions;
mod timers;

use std::net::Ipv6Addr;

pub use event::{DropReason, Event};
pub use retransmissions::{Adjacency, Retransmissions};
pub use timers::{Timer, Timers};

use crate::id::IfaceId;
use crate::time::Instant;

/// Something to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a packet.
    Transmit(Transmit),
    /// Join or leave a multicast group.
    Membership(Membership),
    /// Tell what happened.
    Event(Event),
}

/// A packet to send, checksum included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The interface to send on.
    pub iface: IfaceId,
    /// The link-local source.
    pub src: Ipv6Addr,
    /// A multicast group or a neighbor's link-local address.
    pub dst: Ipv6Addr,
    /// The OSPF packet, from the version byte on.
    pub bytes: Vec<u8>,
}

/// A change of group membership; the wanted state, idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The interface.
    pub iface: IfaceId,
    /// AllSPFRouters or AllDRouters.
    pub group: Ipv6Addr,
    /// Join or leave.
    pub joined: bool,
}

/// The context of one turn.
#[derive(Clone, Debug, Default)]
pub struct Ctx {
    /// The time of this turn.
    pub now: Instant,
    /// Every running timer.
    pub timers: Timers,
    /// What the neighbors have not acknowledged.
    pub retransmissions: Retransmissions,
    /// What is to be done, in order.
    pub effects: Vec<Effect>,
    /// Something that our own LSAs describe has changed: an interface, an adjacency, a DR.
    pub origination_due: bool,
    /// A neighbor has come, gone or moved to another address.
    pub neighbors_changed: bool,
}

impl Ctx {
    /// Adds a packet to send.
    pub fn transmit(&mut self, transmit: Transmit) {
        self.effects.push(Effect::Transmit(transmit));
    }

    /// Adds an event.
    pub fn event(&mut self, event: Event) {
        self.effects.push(Effect::Event(event));
    }
}
