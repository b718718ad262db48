//! Hello: sending (RFC 2328 §9.5, RFC 5340 §4.2.1.1) and receiving (RFC 2328 §10.5, RFC 5340 §4.2.2.1).

use std::cmp::Reverse;
use std::net::Ipv6Addr;

use crate::ctx::{Ctx, DropReason, Timer};
use crate::id::RouterId;
use crate::iface::Iface;
use crate::lsa::Options;
use crate::lsdb::Lsdb;
use crate::neighbor::{Neighbor, NeighborEvent};
use crate::packet::{Hello, PacketBody};
use crate::state::{IfaceState, NeighborState};

/// A Hello as it came in.
#[derive(Clone, Copy, Debug)]
pub struct HelloIn<'a> {
    /// Sender's address.
    pub src: Ipv6Addr,
    /// Sender.
    pub router: RouterId,
    /// Body.
    pub hello: &'a Hello,
    /// First DD sequence number should the sender be new.
    pub dd_sequence: u32,
}

impl Iface {
    /// Sends a Hello and starts the Hello timer anew.
    pub fn send_hello(&mut self, ctx: &mut Ctx) {
        self.hello_due = false;
        if !self.is_up() {
            return;
        }
        self.multicast_hello(ctx, self.heard());
        ctx.timers.set(Timer::Hello(self.id), ctx.now + self.hello_interval());
    }

    /// Whom a Hello names: all neighbors; if the MTU has become too small for that, those first with whom most has been
    /// achieved.
    fn heard(&self) -> Vec<RouterId> {
        let room = self.hello_room();
        if self.neighbors.len() <= room {
            return self.neighbors.keys().copied().collect();
        }
        let mut neighbors: Vec<&Neighbor> = self.neighbors.values().collect();
        neighbors.sort_by_key(|neighbor| Reverse(neighbor.state));
        neighbors.into_iter().take(room).map(|neighbor| neighbor.id.router).collect()
    }

    /// How many neighbors a Hello can name that goes out in one piece.
    fn hello_room(&self) -> usize {
        self.local().body_room().saturating_sub(Hello::FIXED) / size_of::<RouterId>()
    }

    /// How many neighbors there may be. A Hello in fragments is dropped by some (BIRD has room for the MTU), so that one
    /// neighbor too many would cost us all the others.
    fn most_neighbors(&self) -> usize {
        self.params.max_neighbors.min(self.hello_room())
    }

    /// Sends a Hello that names nobody: every neighbor drops us at once (1-Way).
    pub fn send_goodbye(&mut self, ctx: &mut Ctx) {
        if self.is_up() {
            self.multicast_hello(ctx, Vec::new());
        }
    }

    fn multicast_hello(&self, ctx: &mut Ctx, neighbors: Vec<RouterId>) {
        let hello = Hello {
            iface_id: self.id,
            priority: self.params.priority,
            options: self.params.options,
            hello_interval: self.params.hello_interval,
            dead_interval: self.params.dead_interval,
            dr: self.dr,
            bdr: self.bdr,
            neighbors,
        };
        self.local().multicast(ctx, PacketBody::Hello(hello));
    }

    /// Receives a Hello (RFC 2328 §10.5).
    pub fn on_hello(&mut self, ctx: &mut Ctx, lsdb: &Lsdb, input: HelloIn<'_>) -> Result<(), DropReason> {
        let HelloIn { src, router, hello, dd_sequence } = input;
        if hello.hello_interval != self.params.hello_interval {
            return Err(DropReason::HelloInterval(hello.hello_interval));
        }
        if hello.dead_interval != self.params.dead_interval {
            return Err(DropReason::DeadInterval(hello.dead_interval));
        }
        let area_type = Options::E | Options::N;
        if hello.options & area_type != self.params.options & area_type {
            return Err(DropReason::OptionsMismatch);
        }
        if self.params.point_to_point && self.neighbors.keys().any(|known| *known != router) {
            return Err(DropReason::SecondNeighbor(router));
        }
        let id = self.neighbor_id(router);
        let known = self.neighbors.contains_key(&router);
        if !known && self.neighbors.len() >= self.most_neighbors() {
            return Err(DropReason::Limit("neighbors on one interface"));
        }
        let neighbor = self.neighbors.entry(router).or_insert_with(|| Neighbor::new(id, src, dd_sequence));
        let before = Before { priority: neighbor.priority, dr: neighbor.dr, bdr: neighbor.bdr };
        let next_hop_changed = neighbor.address != src || neighbor.iface_id != hello.iface_id;
        neighbor.learn(src, hello);
        if next_hop_changed || !known {
            ctx.origination_due |= known;
            ctx.neighbors_changed = true;
        }
        // Two that may not become DR never form an adjacency.
        let matters = self.params.point_to_point || self.params.priority > 0 || hello.priority > 0;
        self.hello_due |= !known && matters;
        self.neighbor_event(ctx, lsdb, (router, NeighborEvent::HelloReceived));
        if hello.neighbors.contains(&self.params.router_id) {
            self.neighbor_event(ctx, lsdb, (router, NeighborEvent::TwoWayReceived));
        } else {
            self.neighbor_event(ctx, lsdb, (router, NeighborEvent::OneWay));
            if known && matters {
                // It lost us or has restarted: let it hear of us without waiting.
                self.hello_due = true;
            }
            return Ok(());
        }
        self.consider_election(router, hello, (known, before));
        Ok(())
    }

    /// BackupSeen and NeighborChange (RFC 2328 §10.5, last part; §9.2).
    fn consider_election(&mut self, router: RouterId, hello: &Hello, (known, before): (bool, Before)) {
        if self.params.point_to_point {
            return;
        }
        let two_way = self.neighbors.get(&router).is_some_and(|n| n.state >= NeighborState::TwoWay);
        if !two_way {
            return;
        }
        if self.state == IfaceState::Waiting {
            let alone_dr = hello.dr == router && hello.bdr == RouterId(0);
            // BackupSeen
            self.election_due = alone_dr || hello.bdr == router;
            return;
        }
        let claims = |claimed: RouterId| claimed == router;
        // NeighborChange
        if !known
            || hello.priority != before.priority
            || claims(hello.dr) != claims(before.dr)
            || claims(hello.bdr) != claims(before.bdr)
        {
            self.election_due = true;
        }
    }
}

/// What a neighbor's last Hello said.
#[derive(Clone, Copy, Debug)]
struct Before {
    priority: u8,
    dr: RouterId,
    bdr: RouterId,
}
