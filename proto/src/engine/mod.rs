//! The engine: the only place that knows every stage.
//!
//! One turn of [`Engine::handle`]: clamp time forward; fire due timers in (deadline, name) order; apply the input;
//! settle in a fixed order (elections, adjacencies, originations, flooding and acknowledgments, then SPF, routes,
//! diff). No turn posts work to itself: what is left for later is a timer with a name. The same configuration, seed
//! and inputs give byte-identical outputs.

mod config;
mod duplicate;
mod input;
mod invariants;
mod io;
mod routing;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use config::{Config, IfaceConfig, NetworkType};
pub use io::{Command, Input, LinkEvent, LinkState, Output, Unacknowledged};
pub use view::{IfaceView, LsaView, NeighborView, View, Wake};

pub use crate::origin::Companion;

use crate::consts::MIN_LS_INTERVAL_TOPOLOGY;
use crate::ctx::{Effect, Timer};
use crate::flood::Core;
use crate::id::{AreaId, IfaceId};
use crate::iface::IfaceEvent;
use crate::neighbor::NeighborEvent;
use crate::origin::{Origin, OriginParams};
use crate::rib::Rib;
use crate::spf::Tree;
use crate::state::IfaceState;
use crate::time::Instant;

/// One OSPFv3 router. A clone is the same router at the same point of its life.
#[derive(Clone, Debug)]
pub struct Engine {
    config: Config,
    core: Core,
    origin: Origin,
    trees: BTreeMap<AreaId, Tree>,
    rib: Rib,
    /// The areas whose graph changed since SPF ran: it may not before `spf_at`.
    held_back: BTreeSet<AreaId>,
    spf_at: Instant,
    links: BTreeMap<IfaceId, LinkState>,
    outputs: VecDeque<Output>,
    /// Counts up from the seed: DD sequence numbers that differ from life to life.
    random: u64,
    /// How many turns there have been.
    turns: u64,
    /// How many changes of Router-Information LSAs there have been.
    information_changes: u64,
    /// Up to when LSAs have been aged out.
    aged_until: Instant,
    duplicates: duplicate::Duplicates,
    /// [`Command::Goodbye`] was given: no interface comes up again.
    departed: bool,
}

/// Settling ends after a few rounds; each round answers what the one before it changed.
const SETTLE_ROUNDS: usize = 8;

impl Engine {
    /// A router that knows no link yet. `seed` should differ from life to life; `now` is its first instant.
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        let area = config.interfaces.first().map_or(AreaId(0), |iface| iface.area);
        let origin = Origin::new(OriginParams {
            area,
            forwarding: config.forwarding,
            min_ls_interval: config.min_ls_interval.max(MIN_LS_INTERVAL_TOPOLOGY),
            min_ls_interval_topology: config.min_ls_interval_topology.max(MIN_LS_INTERVAL_TOPOLOGY),
            max_originations: config.max_originations.max(1),
        });
        let mut core = Core::new(config.router_id, config.limits);
        core.ctx.now = now;
        Engine {
            config,
            core,
            origin,
            trees: BTreeMap::new(),
            rib: Rib::default(),
            held_back: BTreeSet::new(),
            spf_at: now,
            links: BTreeMap::new(),
            outputs: VecDeque::new(),
            random: seed,
            turns: 0,
            information_changes: 0,
            aged_until: now,
            duplicates: duplicate::Duplicates::default(),
            departed: false,
        }
    }

    /// Takes one input at `now` (time never goes back: an earlier `now` counts as the last one). Total: whatever comes
    /// in, there is no error and no panic; what is wrong with it comes out as an event.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.core.ctx.now = self.core.ctx.now.max(now);
        while let Some(timer) = self.core.ctx.timers.pop_due(self.core.ctx.now) {
            self.on_timer(timer);
        }
        match input {
            Input::Tick => {}
            Input::Packet { iface, src, dst, bytes } => self.on_packet(input::PacketIn { iface, src, dst, bytes }),
            Input::Link(event) => self.on_link(event),
            Input::Command(command) => self.on_command(command),
        }
        let routed = self.settle();
        self.turns = self.turns.wrapping_add(1);
        if cfg!(debug_assertions) {
            self.assert_invariants(routed);
        }
    }

    /// The next output of the turns so far; does no work.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the engine wants an [`Input::Tick`] at the latest; after a drained turn always later than its `now`.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.next_timer().map(|(at, _)| at)
    }

    /// The next deadline and what it is for.
    pub fn next_timer(&self) -> Option<(Instant, Timer)> {
        self.core.ctx.timers.next()
    }

    /// A read-only view.
    pub fn view(&self) -> View<'_> {
        View::new(self)
    }

    fn on_timer(&mut self, timer: Timer) {
        let core = &mut self.core;
        match timer {
            Timer::Hello(iface) => {
                if let Some(iface) = core.ifaces.get_mut(&iface) {
                    iface.hello_due = true;
                }
            }
            Timer::Wait(iface) => {
                if let Some(iface) = core.ifaces.get_mut(&iface) {
                    iface.on_event(&mut core.ctx, &core.lsdb, IfaceEvent::WaitTimer);
                }
            }
            Timer::Inactivity(id) => core.neighbor_event(id.iface, id.router, NeighborEvent::InactivityTimer),
            Timer::DdRxmt(id) => self.with_neighbor(id, |neighbor, ctx, local| neighbor.resend_dd(ctx, local)),
            Timer::LsReqRxmt(id) => self.with_neighbor(id, |neighbor, ctx, local| neighbor.request_next(ctx, local)),
            Timer::LsUpdRxmt(iface) => core.retransmit(iface),
            Timer::DelayedAck(iface) => core.send_delayed_acks(iface),
            Timer::MinLsInterval(_) => core.ctx.origination_due = true,
            Timer::Refresh(key) => self.origin.refresh(core, key),
            Timer::OriginationHold => {
                let longest = self.config.interfaces.iter().map(|iface| iface.dead_interval).max().unwrap_or(40);
                self.origin.hold_is_over(core, Duration::from_secs(u64::from(longest)));
            }
            Timer::AdjacencyGrace | Timer::OriginationRate => core.ctx.origination_due = true,
            Timer::DuplicateHold => self.duplicate_is_gone(),
            Timer::Spf => {} // `route` sees that it is due
            Timer::Expiry => self.age_out(),
        }
    }

    fn age_out(&mut self) {
        let now = self.core.ctx.now;
        let expired: Vec<_> = self.core.lsdb.expired(self.aged_until, now).copied().collect();
        self.aged_until = now;
        for key in expired {
            self.core.age_out(key);
        }
    }

    /// Brings everything into line with what this turn has changed.
    ///
    /// Says whether anything that routing depends on has changed.
    fn settle(&mut self) -> bool {
        for _ in 0..SETTLE_ROUNDS {
            self.run_elections();
            self.origin.consider_ready(&mut self.core);
            if self.core.ctx.origination_due {
                self.origin.reconcile(&mut self.core);
            }
            self.core.send_pending();
            let freed = self.core.remove_max_aged();
            self.core.ctx.origination_due |= freed;
            let electing = self.core.ifaces.values().any(|iface| iface.election_due);
            if !electing && !self.core.ctx.origination_due {
                break;
            }
        }
        let muted = self.duplicates.muted;
        for iface in self.core.ifaces.values_mut().filter(|iface| iface.hello_due && !muted) {
            iface.send_hello(&mut self.core.ctx);
        }
        self.hand_out_effects();
        let routed = self.route();
        let expiry = self.core.lsdb.next_expiry(self.core.ctx.now);
        match expiry.into_iter().chain(self.core.next_removal()).min() {
            Some(at) => self.core.ctx.timers.set(Timer::Expiry, at),
            None => self.core.ctx.timers.clear(Timer::Expiry),
        }
        self.hand_out_effects();
        routed
    }

    fn run_elections(&mut self) {
        let core = &mut self.core;
        for iface in core.ifaces.values_mut().filter(|iface| iface.election_due) {
            iface.election_due = false;
            let event =
                if iface.state == IfaceState::Waiting { IfaceEvent::BackupSeen } else { IfaceEvent::NeighborChange };
            iface.on_event(&mut core.ctx, &core.lsdb, event);
        }
    }

    fn hand_out_effects(&mut self) {
        for effect in self.core.ctx.effects.drain(..) {
            self.outputs.push_back(match effect {
                Effect::Transmit(transmit) => Output::Transmit(transmit),
                Effect::Membership(membership) => Output::Membership(membership),
                Effect::Event(event) => Output::Event(event),
            });
        }
    }

    /// A number that was not handed out before in this life (splitmix64 of a counter).
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
