//! Interfaces: the state machine of RFC 2328 §9, DR election (§9.4), Hello (§9.5, §10.5). An interface owns its
//! neighbors.
//!
//! Differs: an interface on which somebody new is heard sends a Hello at once (at most once a turn), so that an
//! adjacency need not wait for HelloInterval.

mod election;
mod fsm;
mod hello;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

pub use election::{Candidate, elect};
pub use fsm::{IfaceEvent, IfaceNext, transition};
pub use hello::HelloIn;

use crate::consts::{ALL_D_ROUTERS, ALL_SPF_ROUTERS};
use crate::ctx::{Ctx, Effect, Event, Membership, Timer};
use crate::id::{AreaId, Domain, IfaceId, LsaKey, NeighborId, RouterId};
use crate::lsa::{LsaHeader, Options, Prefix};
use crate::lsdb::Lsdb;
use crate::neighbor::{Link, Local, Neighbor, NeighborEvent};
use crate::state::{IfaceState, NeighborState};

/// What a person configured for an interface, in the engine's units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfaceParams {
    /// Our Router ID.
    pub router_id: RouterId,
    /// Kernel name.
    pub name: String,
    /// Area.
    pub area: AreaId,
    /// A point-to-point link rather than a broadcast one.
    pub point_to_point: bool,
    /// Output cost.
    pub cost: u16,
    /// Router priority.
    pub priority: u8,
    /// HelloInterval, seconds.
    pub hello_interval: u16,
    /// RouterDeadInterval, seconds.
    pub dead_interval: u16,
    /// RxmtInterval.
    pub retransmit_interval: Duration,
    /// Instance ID.
    pub instance_id: u8,
    /// No Hellos, no adjacency.
    pub passive: bool,
    /// Accept a larger MTU in Database Description packets.
    pub mtu_ignore: bool,
    /// Neighbors at most.
    pub max_neighbors: usize,
    /// Options of our Hellos and Database Description packets.
    pub options: Options,
}

/// One interface.
#[derive(Clone, Debug)]
pub struct Iface {
    /// Interface ID.
    pub id: IfaceId,
    /// Configuration.
    pub params: IfaceParams,
    /// State.
    pub state: IfaceState,
    /// MTU, bytes.
    pub mtu: u16,
    /// Our link-local address while the interface is not Down.
    pub link_local: Ipv6Addr,
    /// The link's prefixes.
    pub prefixes: Vec<Prefix>,
    /// The Designated Router; 0.0.0.0: none.
    pub dr: RouterId,
    /// The Backup Designated Router; 0.0.0.0: none.
    pub bdr: RouterId,
    /// The neighbors.
    pub neighbors: BTreeMap<RouterId, Neighbor>,
    /// Acknowledgments held back (RFC 2328 §13.5).
    pub delayed_acks: BTreeMap<LsaKey, LsaHeader>,
    /// LSAs to be flooded out of here at the end of the turn; those of one group belong into one packet.
    pub pending: Vec<Vec<LsaKey>>,
    /// A Hello is to be sent at the end of the turn.
    pub hello_due: bool,
    /// In state Waiting BackupSeen, else NeighborChange happened: to be elected anew at the end of the turn.
    pub election_due: bool,
}

impl Iface {
    /// An interface in state Down.
    pub fn new(id: IfaceId, params: IfaceParams) -> Self {
        Iface {
            id,
            params,
            state: IfaceState::Down,
            mtu: 0,
            link_local: Ipv6Addr::UNSPECIFIED,
            prefixes: Vec::new(),
            dr: RouterId(0),
            bdr: RouterId(0),
            neighbors: BTreeMap::new(),
            delayed_acks: BTreeMap::new(),
            pending: Vec::new(),
            hello_due: false,
            election_due: false,
        }
    }

    /// Our end of the link, for the neighbors.
    pub fn local(&self) -> Local {
        Local {
            router_id: self.params.router_id,
            area: self.params.area,
            iface: self.id,
            link_local: self.link_local,
            mtu: self.mtu,
            instance_id: self.params.instance_id,
            options: self.params.options,
            dead_interval: self.dead_interval(),
            retransmit_interval: self.params.retransmit_interval,
            mtu_ignore: self.params.mtu_ignore,
            point_to_point: self.params.point_to_point,
        }
    }

    /// RouterDeadInterval.
    pub fn dead_interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.params.dead_interval))
    }

    /// HelloInterval.
    pub fn hello_interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.params.hello_interval))
    }

    /// Whether the protocol runs on it.
    pub fn is_up(&self) -> bool {
        self.state > IfaceState::Loopback
    }

    /// Whether LSAs of a domain are flooded over it (RFC 5340 §4.5.2).
    pub fn carries(&self, domain: Domain) -> bool {
        self.is_up()
            && match domain {
                Domain::As => true,
                Domain::Area(area) => self.params.area == area,
                Domain::Link(id) => self.id == id,
            }
    }

    /// Whether we are DR or Backup DR.
    pub fn is_designated(&self) -> bool {
        matches!(self.state, IfaceState::Dr | IfaceState::Backup)
    }

    /// Neighbors in state Full.
    pub fn full_neighbors(&self) -> impl Iterator<Item = &Neighbor> {
        self.neighbors.values().filter(|n| n.state == NeighborState::Full)
    }

    /// Whether an adjacency with `neighbor` is wanted (RFC 2328 §10.4).
    fn wants_adjacency(&self, neighbor: RouterId) -> bool {
        self.params.point_to_point || self.is_designated() || neighbor == self.dr || neighbor == self.bdr
    }

    /// Applies an event to a neighbor; one that goes Down is forgotten.
    pub fn neighbor_event(&mut self, ctx: &mut Ctx, lsdb: &Lsdb, (router, event): (RouterId, NeighborEvent)) {
        let adjacency = self.wants_adjacency(router);
        let local = self.local();
        let Some(neighbor) = self.neighbors.get_mut(&router) else { return };
        let before = neighbor.state;
        neighbor.on_event(ctx, event, (Link { local: &local, lsdb }, adjacency));
        let after = neighbor.state;
        // NeighborChange (RFC 2328 §9.2): bidirectional communication was established or lost.
        if (before >= NeighborState::TwoWay) != (after >= NeighborState::TwoWay) && self.state != IfaceState::Waiting {
            self.election_due = true;
        }
        if after == NeighborState::Down {
            self.neighbors.remove(&router);
            ctx.neighbors_changed = true;
        }
    }

    /// Applies an event of the interface state machine (RFC 2328 §9.3), `InterfaceUp` and `InterfaceDown` in the main;
    /// the election is done by [`Iface::run_election`].
    pub fn on_event(&mut self, ctx: &mut Ctx, lsdb: &Lsdb, event: IfaceEvent) {
        let Some(next) = transition(self.state, event) else { return };
        match next {
            IfaceNext::Up => {
                let to = if self.params.passive {
                    IfaceState::Loopback
                } else if self.params.point_to_point {
                    IfaceState::PointToPoint
                } else if self.params.priority == 0 {
                    IfaceState::DrOther
                } else {
                    IfaceState::Waiting
                };
                self.come_up(ctx, to);
            }
            IfaceNext::Elect => self.run_election(ctx, lsdb),
            IfaceNext::Down => self.go_down(ctx, lsdb),
        }
    }

    fn come_up(&mut self, ctx: &mut Ctx, to: IfaceState) {
        if to > IfaceState::Loopback {
            self.join(ctx, ALL_SPF_ROUTERS, true);
            self.hello_due = true;
        }
        match to {
            IfaceState::Waiting => ctx.timers.set(Timer::Wait(self.id), ctx.now + self.dead_interval()),
            // Ineligible to become DR: DROther at once (RFC 2328 §9.3); who is DR the first Hellos will tell.
            IfaceState::DrOther => self.election_due = true,
            _ => {}
        }
        self.set_state(ctx, to);
    }

    fn go_down(&mut self, ctx: &mut Ctx, lsdb: &Lsdb) {
        let routers: Vec<RouterId> = self.neighbors.keys().copied().collect();
        for router in routers {
            self.neighbor_event(ctx, lsdb, (router, NeighborEvent::KillNbr));
        }
        let id = self.id;
        for timer in [Timer::Hello(id), Timer::Wait(id), Timer::DelayedAck(id), Timer::LsUpdRxmt(id)] {
            ctx.timers.clear(timer);
        }
        if self.is_designated() {
            self.join(ctx, ALL_D_ROUTERS, false);
        }
        if self.is_up() {
            self.join(ctx, ALL_SPF_ROUTERS, false);
        }
        self.delayed_acks.clear();
        self.pending.clear();
        self.hello_due = false;
        self.election_due = false;
        self.set_designated(ctx, RouterId(0), RouterId(0));
        self.set_state(ctx, IfaceState::Down);
    }

    fn join(&self, ctx: &mut Ctx, group: Ipv6Addr, joined: bool) {
        ctx.effects.push(Effect::Membership(Membership { iface: self.id, group, joined }));
    }

    fn set_state(&mut self, ctx: &mut Ctx, to: IfaceState) {
        let from = std::mem::replace(&mut self.state, to);
        if from != to {
            ctx.event(Event::IfaceState { iface: self.id, from, to });
            ctx.origination_due = true;
        }
    }

    fn set_designated(&mut self, ctx: &mut Ctx, dr: RouterId, bdr: RouterId) {
        if (self.dr, self.bdr) != (dr, bdr) {
            self.dr = dr;
            self.bdr = bdr;
            ctx.event(Event::Elected { iface: self.id, dr, bdr });
            ctx.origination_due = true;
        }
    }

    /// Elects DR and Backup DR and acts on the result (RFC 2328 §9.4).
    pub fn run_election(&mut self, ctx: &mut Ctx, lsdb: &Lsdb) {
        self.election_due = false;
        if self.params.point_to_point || self.state < IfaceState::Waiting {
            return;
        }
        ctx.timers.clear(Timer::Wait(self.id));
        let me =
            Candidate { router: self.params.router_id, priority: self.params.priority, dr: self.dr, bdr: self.bdr };
        let heard = self.neighbors.values().filter(|n| n.state >= NeighborState::TwoWay).map(|n| Candidate {
            router: n.id.router,
            priority: n.priority,
            dr: n.dr,
            bdr: n.bdr,
        });
        let (dr, bdr) = elect(me, heard.collect());
        let before = (self.dr, self.bdr);
        // (5) the new state
        let to = if dr == me.router {
            IfaceState::Dr
        } else if bdr == me.router {
            IfaceState::Backup
        } else {
            IfaceState::DrOther
        };
        let was_designated = self.is_designated();
        self.set_designated(ctx, dr, bdr);
        self.set_state(ctx, to);
        if was_designated != self.is_designated() {
            self.join(ctx, ALL_D_ROUTERS, self.is_designated());
        }
        if before != (dr, bdr) {
            // Our Hellos name the new ones; who sees itself named need not wait for HelloInterval.
            self.hello_due = true;
            // (7) an adjacency may be wanted now, or no longer
            let routers: Vec<RouterId> =
                self.neighbors.values().filter(|n| n.state >= NeighborState::TwoWay).map(|n| n.id.router).collect();
            for router in routers {
                self.neighbor_event(ctx, lsdb, (router, NeighborEvent::AdjOk));
            }
        }
    }

    /// The identity of a neighbor on this interface.
    pub fn neighbor_id(&self, router: RouterId) -> NeighborId {
        NeighborId { iface: self.id, router }
    }
}
