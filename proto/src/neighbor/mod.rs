//! Neighbors: the state machine of RFC 2328 §10, database exchange and loading.
//!
//! `fsm` is the table; `exchange` is the Database Description process (§10.6, §10.8); `request` is the Link State
//! Request process (§10.9). A neighbor is identified by its Router ID on every link type (RFC 5340 §4.1.3).

mod exchange;
mod fsm;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::ops::Bound;
use std::time::Duration;

pub use exchange::DdOutcome;
pub use fsm::{Action, NeighborEvent, Next, transition};

use crate::consts::{ADJACENCY_GRACE, ALL_SPF_ROUTERS};
use crate::ctx::{Ctx, Event, Timer, Transmit};
use crate::id::{AreaId, IfaceId, LsaKey, NeighborId, RouterId};
use crate::lsa::{LsaHeader, Options};
use crate::lsdb::Lsdb;
use crate::packet::{DbDesc, DdFlags, Hello, Packet, PacketBody, PacketHeader};
use crate::state::NeighborState;
use crate::time::Instant;

/// Our end of a link, as its neighbors need it.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    /// Our Router ID.
    pub router_id: RouterId,
    /// The area of the link.
    pub area: AreaId,
    /// Our Interface ID.
    pub iface: IfaceId,
    /// Our link-local address.
    pub link_local: Ipv6Addr,
    /// Our MTU, bytes.
    pub mtu: u16,
    /// Instance ID.
    pub instance_id: u8,
    /// Options we put into Hello and Database Description packets.
    pub options: Options,
    /// RouterDeadInterval.
    pub dead_interval: Duration,
    /// RxmtInterval.
    pub retransmit_interval: Duration,
    /// Accept a larger MTU in Database Description packets.
    pub mtu_ignore: bool,
    /// The link is a point-to-point one.
    pub point_to_point: bool,
}

impl Local {
    /// Room for OSPF behind the IPv6 header and the OSPF header, bytes.
    pub fn body_room(&self) -> usize {
        usize::from(self.mtu).saturating_sub(40 + PacketHeader::LENGTH)
    }

    /// Sends `body` to `dst`; on a point-to-point link to AllSPFRouters, whatever it is (RFC 2328 §8.1).
    pub fn send(&self, ctx: &mut Ctx, dst: Ipv6Addr, body: PacketBody) {
        let dst = if self.point_to_point { ALL_SPF_ROUTERS } else { dst };
        let header = PacketHeader { router_id: self.router_id, area_id: self.area, instance_id: self.instance_id };
        let bytes = Packet { header, body }.encode(self.link_local, dst);
        ctx.transmit(Transmit { iface: self.iface, src: self.link_local, dst, bytes });
    }

    /// Sends `body` to every router on the link.
    pub fn multicast(&self, ctx: &mut Ctx, body: PacketBody) {
        self.send(ctx, ALL_SPF_ROUTERS, body);
    }
}

/// Our end of the link and the database: what exchange works on.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// Our end.
    pub local: &'a Local,
    /// The database.
    pub lsdb: &'a Lsdb,
}

/// One neighbor on one link.
#[derive(Clone, Debug)]
pub struct Neighbor {
    /// Which.
    pub id: NeighborId,
    /// Its state.
    pub state: NeighborState,
    /// Since when.
    pub since: Instant,
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// Its Interface ID.
    pub iface_id: IfaceId,
    /// Its router priority.
    pub priority: u8,
    /// Its options, from its Hellos.
    pub options: Options,
    /// The DR it names.
    pub dr: RouterId,
    /// The Backup DR it names.
    pub bdr: RouterId,
    /// Behind which LSA of the database those begin that are still to be described (Database summary list); none: none are.
    summary: Option<Bound<LsaKey>>,
    /// LSAs to ask for: the instance it described (Link state request list).
    pub requests: BTreeMap<LsaKey, LsaHeader>,
    /// LSAs asked for in the last Link State Request and still missing.
    outstanding: BTreeSet<LsaKey>,
    /// We are master of the exchange.
    master: bool,
    /// DD sequence number.
    dd_sequence: u32,
    /// Flags, options and sequence number of the last Database Description packet received.
    dd_received: Option<(DdFlags, Options, u32)>,
    /// The last Database Description packet sent.
    dd_sent: Option<DbDesc>,
}

impl Neighbor {
    /// A neighbor heard for the first time, in state Down. `dd_sequence` should differ from life to life.
    pub fn new(id: NeighborId, address: Ipv6Addr, dd_sequence: u32) -> Self {
        Neighbor {
            id,
            state: NeighborState::Down,
            since: Instant::EPOCH,
            address,
            iface_id: IfaceId(0),
            priority: 0,
            options: Options::empty(),
            dr: RouterId(0),
            bdr: RouterId(0),
            summary: None,
            requests: BTreeMap::new(),
            outstanding: BTreeSet::new(),
            master: false,
            dd_sequence,
            dd_received: None,
            dd_sent: None,
        }
    }

    /// Takes over what a Hello says of its sender.
    pub fn learn(&mut self, address: Ipv6Addr, hello: &Hello) {
        self.address = address;
        self.iface_id = hello.iface_id;
        self.priority = hello.priority;
        self.options = hello.options;
        self.dr = hello.dr;
        self.bdr = hello.bdr;
    }

    /// Applies an event: looks the transition up in the table and carries out its actions.
    ///
    /// `adjacency` says whether an adjacency with this neighbor is wanted (RFC 2328 §10.4).
    pub fn on_event(&mut self, ctx: &mut Ctx, event: NeighborEvent, (link, adjacency): (Link<'_>, bool)) {
        let Some((next, actions)) = transition(self.state, event) else { return };
        let to = match next {
            Next::Stay => self.state,
            Next::State(state) => state,
            Next::ByAdjacency { yes, no } => {
                if adjacency {
                    yes
                } else {
                    no
                }
            }
            Next::ByRequests { empty, left } => {
                if self.requests.is_empty() {
                    empty
                } else {
                    left
                }
            }
        };
        let from = std::mem::replace(&mut self.state, to);
        if to != from {
            // The Link state retransmission list is there, beside those of the other neighbors.
            ctx.retransmissions.entered(self.id, to);
        }
        for action in actions {
            self.act(ctx, *action, link);
        }
        if to != from {
            self.since = ctx.now;
            self.enter(ctx, from, link);
            let (iface, router) = (self.id.iface, self.id.router);
            ctx.event(Event::NeighborState { iface, router, from, to, cause: event.name() });
            if event == NeighborEvent::OneWay && from == NeighborState::Full {
                ctx.timers.set_if_idle(Timer::AdjacencyGrace, ctx.now + ADJACENCY_GRACE);
            } else if from == NeighborState::Full || to == NeighborState::Full {
                ctx.origination_due = true;
            }
        }
    }

    fn act(&mut self, ctx: &mut Ctx, action: Action, link: Link<'_>) {
        match action {
            Action::RestartInactivity => {
                ctx.timers.set(Timer::Inactivity(self.id), ctx.now + link.local.dead_interval);
            }
            Action::ClearLists => self.clear_lists(ctx),
            Action::BeginSummary => self.begin_summary(ctx, link),
            Action::RequestNext => self.request_next(ctx, link.local),
            Action::StopTimers => ctx.timers.clear(Timer::Inactivity(self.id)),
        }
    }

    /// What entering a state means whatever the event was.
    fn enter(&mut self, ctx: &mut Ctx, from: NeighborState, link: Link<'_>) {
        match self.state {
            NeighborState::ExStart => self.begin_negotiation(ctx, link.local),
            NeighborState::Down | NeighborState::Init | NeighborState::TwoWay if from >= NeighborState::ExStart => {
                self.clear_lists(ctx);
                ctx.timers.clear(Timer::DdRxmt(self.id));
            }
            NeighborState::Loading | NeighborState::Full if self.master => ctx.timers.clear(Timer::DdRxmt(self.id)),
            _ => {}
        }
    }

    fn clear_lists(&mut self, ctx: &mut Ctx) {
        self.summary = None;
        self.requests.clear();
        self.outstanding.clear();
        ctx.timers.clear(Timer::LsReqRxmt(self.id));
    }

    /// Puts an LSA on the retransmission list.
    pub fn await_ack(&mut self, ctx: &mut Ctx, key: LsaKey, retransmit_interval: Duration) {
        let at = ctx.now + retransmit_interval;
        ctx.retransmissions.add(self.id, key, at);
        // If it runs it is due before: RxmtInterval is the same for the whole link.
        ctx.timers.set_if_idle(Timer::LsUpdRxmt(self.id.iface), at);
    }
}
