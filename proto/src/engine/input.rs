//! Inputs: packets (RFC 5340 §4.2.2), link events, commands.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::consts::{ALL_D_ROUTERS, ALL_SPF_ROUTERS};
use crate::ctx::{Ctx, DropReason, Event, Timer};
use crate::engine::config::NetworkType;
use crate::engine::{Command, Config, Engine, IfaceConfig, LinkEvent, LinkState};
use crate::id::{Domain, IfaceId, LsaKey, NeighborId, RouterId};
use crate::iface::{HelloIn, Iface, IfaceEvent, IfaceParams};
use crate::neighbor::{DdOutcome, Link, Local, Neighbor, NeighborEvent};
use crate::origin::Origin;
use crate::packet::{DbDesc, Packet, PacketBody};
use crate::state::NeighborState;

/// The least RxmtInterval, whatever is configured.
const LEAST_RETRANSMIT_INTERVAL: Duration = Duration::from_millis(100);

/// A packet as it came in.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketIn<'a> {
    pub(super) iface: IfaceId,
    pub(super) src: Ipv6Addr,
    pub(super) dst: Ipv6Addr,
    pub(super) bytes: &'a [u8],
}

impl Engine {
    pub(super) fn on_packet(&mut self, packet: PacketIn<'_>) {
        if let Err(reason) = self.receive(packet) {
            self.core.ctx.event(Event::Dropped { iface: packet.iface, src: packet.src, reason });
        }
    }

    /// The checks of RFC 5340 §4.2.2, then the packet itself. Nothing changes before the whole packet is decoded.
    fn receive(&mut self, input: PacketIn<'_>) -> Result<(), DropReason> {
        let PacketIn { iface: id, src, dst, bytes } = input;
        let iface = self.core.ifaces.get(&id).filter(|iface| iface.is_up()).ok_or(DropReason::NotEnabled)?;
        if !src.is_unicast_link_local() {
            return Err(DropReason::SourceNotLinkLocal);
        }
        let for_us =
            dst == ALL_SPF_ROUTERS || dst == iface.link_local || (dst == ALL_D_ROUTERS && iface.is_designated());
        if !for_us {
            return Err(DropReason::Destination);
        }
        let Packet { header, body } = Packet::decode(src, dst, bytes).map_err(DropReason::Malformed)?;
        if header.area_id != iface.params.area {
            return Err(DropReason::Area(header.area_id));
        }
        if header.instance_id != iface.params.instance_id {
            return Err(DropReason::Instance(header.instance_id));
        }
        if header.router_id == self.core.router_id {
            self.on_own_router_id(id, src);
            return Err(DropReason::OwnRouterId);
        }
        if self.duplicates.muted {
            return Err(DropReason::Muted);
        }
        let from = NeighborId { iface: id, router: header.router_id };
        if let PacketBody::Hello(hello) = &body {
            let dd_sequence = self.next_random() as u32;
            let input = HelloIn { src, router: from.router, hello, dd_sequence };
            let core = &mut self.core;
            let Some(iface) = core.ifaces.get_mut(&id) else { return Err(DropReason::NotEnabled) };
            return iface.on_hello(&mut core.ctx, &core.lsdb, input);
        }
        let kind = body.packet_type();
        let state = iface.neighbors.get(&from.router).map(|n| n.state);
        let state = state.ok_or(DropReason::UnknownNeighbor(from.router, kind))?;
        if let PacketBody::DbDesc(dd) = &body {
            return self.on_db_desc(from, dd);
        }
        if state < NeighborState::Exchange {
            return Err(DropReason::NeighborState(state, kind));
        }
        match body {
            PacketBody::LsReq(request) => self.core.on_ls_req(from, &request),
            PacketBody::LsUpd(update) => self.core.on_ls_upd(from, update),
            PacketBody::LsAck(ack) => self.core.on_ls_ack(from, &ack),
            PacketBody::Hello(_) | PacketBody::DbDesc(_) => {}
        }
        Ok(())
    }

    /// Database Description (RFC 2328 §10.6).
    fn on_db_desc(&mut self, from: NeighborId, dd: &DbDesc) -> Result<(), DropReason> {
        // It names us its neighbor by sending this: as good as a Hello that does.
        self.core.neighbor_event(from.iface, from.router, NeighborEvent::TwoWayReceived);
        let mut outcome = self.with_exchange(from, |neighbor, ctx, link| neighbor.on_db_desc(ctx, link, dd));
        loop {
            let events = match outcome {
                None | Some(DdOutcome::Done) => return Ok(()),
                Some(DdOutcome::Drop(reason)) => return Err(reason),
                Some(DdOutcome::Events(events)) => events,
            };
            outcome = None;
            for event in events {
                self.core.neighbor_event(from.iface, from.router, event);
                if event == NeighborEvent::NegotiationDone {
                    outcome = self.with_exchange(from, |neighbor, ctx, link| neighbor.after_negotiation(ctx, link, dd));
                }
            }
        }
    }

    fn with_exchange<T>(
        &mut self,
        id: NeighborId,
        f: impl FnOnce(&mut Neighbor, &mut Ctx, Link<'_>) -> T,
    ) -> Option<T> {
        let core = &mut self.core;
        let iface = core.ifaces.get_mut(&id.iface)?;
        let local = iface.local();
        let neighbor = iface.neighbors.get_mut(&id.router)?;
        Some(f(neighbor, &mut core.ctx, Link { local: &local, lsdb: &core.lsdb }))
    }

    pub(super) fn with_neighbor(&mut self, id: NeighborId, f: impl FnOnce(&mut Neighbor, &mut Ctx, &Local)) {
        self.with_exchange(id, |neighbor, ctx, link| f(neighbor, ctx, link.local));
    }

    pub(super) fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Gone(id) => self.link_gone(id),
            LinkEvent::State(link) => self.link_state(link),
        }
    }

    fn link_gone(&mut self, id: IfaceId) {
        self.links.remove(&id);
        self.iface_down(id);
        self.core.ifaces.remove(&id);
        self.core.ctx.origination_due = true;
    }

    fn link_state(&mut self, link: LinkState) {
        let id = link.iface;
        if self.links.get(&id).is_some_and(|before| before.name != link.name) {
            self.link_gone(id); // renamed: another interface as far as the configuration goes
        }
        self.links.insert(id, link.clone());
        let Some(config) = self.config.interfaces.iter().find(|config| config.name == link.name) else { return };
        let usable = !self.departed && link.up && (config.passive || link.link_local.is_some());
        let params = params(&self.config, config);
        let iface = self.core.ifaces.entry(id).or_insert_with(|| Iface::new(id, params));
        let link_local = link.link_local.unwrap_or(Ipv6Addr::UNSPECIFIED);
        let moved = iface.link_local != link_local;
        if !usable || moved {
            self.iface_down(id);
        }
        let Some(iface) = self.core.ifaces.get_mut(&id) else { return };
        let same = iface.prefixes == link.prefixes;
        let resized = iface.mtu != link.mtu;
        iface.mtu = link.mtu;
        iface.link_local = link_local;
        iface.prefixes = link.prefixes;
        self.core.ctx.origination_due |= !same;
        if usable {
            let dead_interval = iface.dead_interval();
            iface.on_event(&mut self.core.ctx, &self.core.lsdb, IfaceEvent::InterfaceUp);
            if !self.origin.is_ready() {
                let at = self.core.ctx.now + dead_interval;
                self.core.ctx.timers.set_if_idle(Timer::OriginationHold, at);
            }
        }
        if resized {
            self.restart_exchanges(id);
        }
    }

    /// Lets the exchanges on a link whose MTU has changed begin anew: the neighbor may have rejected the packet that would
    /// be repeated for the MTU in it (RFC 2328 §10.6), and would for ever.
    fn restart_exchanges(&mut self, id: IfaceId) {
        let held_up = [NeighborState::ExStart, NeighborState::Exchange];
        let neighbors = self.core.neighbors().filter(|n| n.id.iface == id && held_up.contains(&n.state)).map(|n| n.id);
        for neighbor in neighbors.collect::<Vec<_>>() {
            self.core.neighbor_event(neighbor.iface, neighbor.router, NeighborEvent::KillNbr);
        }
    }

    /// InterfaceDown; the LSAs of the link go with it.
    fn iface_down(&mut self, id: IfaceId) {
        if let Some(iface) = self.core.ifaces.get_mut(&id) {
            iface.on_event(&mut self.core.ctx, &self.core.lsdb, IfaceEvent::InterfaceDown);
        }
        let of_link: Vec<LsaKey> = self.core.lsdb.domain(Domain::Link(id)).map(|(key, _)| *key).collect();
        for key in of_link {
            self.core.ctx.timers.clear(Timer::Refresh(key));
            self.core.remove(&key);
        }
    }

    pub(super) fn on_command(&mut self, command: Command) {
        self.core.ctx.origination_due = true;
        match command {
            Command::Advertise { prefixes, companion } => self.origin.advertise(prefixes, companion),
            Command::RouterInformation(tlvs) => self.origin.inform(tlvs),
            Command::Flush => self.origin.leave(),
            Command::Goodbye => {
                self.departed = true;
                self.origin.leave();
                for id in self.core.ifaces.keys().copied().collect::<Vec<_>>() {
                    if let Some(iface) = self.core.ifaces.get_mut(&id) {
                        iface.send_goodbye(&mut self.core.ctx);
                    }
                    self.iface_down(id);
                }
            }
            Command::ClearNeighbor(wanted) => self.clear_neighbors(wanted),
        }
    }

    fn clear_neighbors(&mut self, wanted: Option<RouterId>) {
        let ids: Vec<NeighborId> =
            self.core.neighbors().map(|n| n.id).filter(|id| wanted.is_none_or(|router| router == id.router)).collect();
        for id in ids {
            self.core.neighbor_event(id.iface, id.router, NeighborEvent::KillNbr);
        }
    }
}

fn params(router: &Config, config: &IfaceConfig) -> IfaceParams {
    IfaceParams {
        router_id: router.router_id,
        name: config.name.clone(),
        area: config.area,
        point_to_point: config.network_type == NetworkType::PointToPoint,
        cost: config.cost,
        priority: config.priority,
        // Zero would be a busy loop.
        hello_interval: config.hello_interval.max(1),
        dead_interval: config.dead_interval.max(1),
        retransmit_interval: config.retransmit_interval.max(LEAST_RETRANSMIT_INTERVAL),
        instance_id: config.instance_id,
        passive: config.passive,
        mtu_ignore: config.mtu_ignore,
        max_neighbors: router.max_neighbors,
        options: Origin::options(router.forwarding),
    }
}
