//! Sending LSAs: the flooding procedure (RFC 2328 §13.3), packing into Link State Updates, answering requests.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use crate::consts::{ALL_D_ROUTERS, ALL_SPF_ROUTERS, INF_TRANS_DELAY};
use crate::ctx::{Adjacency, Ctx, Timer};
use crate::flood::Core;
use crate::id::{IfaceId, LsaKey, NeighborId};
use crate::lsa::{Recency, compare};
use crate::lsdb::{Lsdb, domain_of};
use crate::neighbor::{Local, NeighborEvent};
use crate::packet::{LsReq, LsUpd, PacketBody};

impl Core {
    /// Floods LSAs of one domain (the instances in the LSDB) out of the eligible interfaces (RFC 2328 §13.3), all in
    /// one Link State Update where they fit. `from` is the neighbor that sent them. Says whether they go back out of
    /// the interface they came in on.
    pub fn flood(&mut self, keys: &[LsaKey], from: Option<NeighborId>) -> bool {
        let mut back = false;
        for iface_id in self.ifaces.keys().copied().collect::<Vec<_>>() {
            let group: Vec<LsaKey> = keys.iter().filter(|key| self.flood_out(**key, iface_id, from)).copied().collect();
            if group.is_empty() {
                continue;
            }
            back |= from.is_some_and(|f| f.iface == iface_id);
            if let Some(iface) = self.ifaces.get_mut(&iface_id) {
                iface.pending.push(group);
            }
        }
        back
    }

    /// §13.3 for one LSA and one interface: says whether it is to be sent.
    fn flood_out(&mut self, key: LsaKey, iface_id: IfaceId, from: Option<NeighborId>) -> bool {
        let Some(header) = self.lsdb.get(&key).map(|entry| entry.header(self.ctx.now)) else { return false };
        let Some(iface) = self.ifaces.get_mut(&iface_id).filter(|iface| iface.carries(key.domain)) else {
            return false;
        };
        let retransmit_at = self.ctx.now + iface.params.retransmit_interval;
        // (1) each neighbor, (a) from Exchange on
        let adjacencies = self.ctx.retransmissions.adjacencies(iface_id);
        let (mut listed, mut loaded) = (Vec::with_capacity(adjacencies.len()), Vec::new());
        for Adjacency { router, full, .. } in adjacencies.iter().copied() {
            // (b)
            if !full
                && let Some(neighbor) = iface.neighbors.get_mut(&router)
                && let Some(wanted) = neighbor.requests.get(&key)
            {
                let recency = compare(&header, wanted);
                if recency == Recency::Older {
                    continue;
                }
                neighbor.request_satisfied(&key);
                loaded.push(router);
                if recency == Recency::Same {
                    continue;
                }
            }
            // (c)
            if from == Some(NeighborId { iface: iface_id, router }) {
                continue;
            }
            // (d)
            listed.push(router);
        }
        let added = !listed.is_empty();
        if added {
            self.ctx.retransmissions.add_all(iface_id, key, (listed, retransmit_at));
            self.ctx.timers.set_if_idle(Timer::LsUpdRxmt(iface_id), retransmit_at);
        }
        for router in loaded {
            self.continue_loading(iface_id, router);
        }
        // (2)
        if !added {
            return false;
        }
        let Some(iface) = self.ifaces.get(&iface_id) else { return false };
        if let Some(from) = from.filter(|from| from.iface == iface_id) {
            // (3) the DR and the Backup have flooded it already
            if !iface.params.point_to_point && (from.router == iface.dr || from.router == iface.bdr) {
                return false;
            }
            // (4)
            if iface.state == crate::state::IfaceState::Backup {
                return false;
            }
        }
        // (5)
        true
    }

    /// Sends what flooding has collected in this turn.
    pub fn send_pending(&mut self) {
        for iface in self.ifaces.values_mut() {
            let pending = std::mem::take(&mut iface.pending);
            if pending.is_empty() || !iface.is_up() {
                continue;
            }
            let dst =
                if iface.params.point_to_point || iface.is_designated() { ALL_SPF_ROUTERS } else { ALL_D_ROUTERS };
            let local = iface.local();
            send_updates(&mut self.ctx, &self.lsdb, (&local, dst), &pending);
        }
    }

    /// Answers a Link State Request (RFC 2328 §10.7).
    pub fn on_ls_req(&mut self, from: NeighborId, request: &LsReq) {
        let Some(iface) = self.ifaces.get(&from.iface) else { return };
        let Some(neighbor) = iface.neighbors.get(&from.router) else { return };
        let local = iface.local();
        let (mut found, mut named) = (Vec::new(), BTreeSet::new());
        for wanted in &request.requests {
            let key = domain_of(wanted.ls_type, local.area, local.iface).map(|domain| LsaKey {
                domain,
                ls_type: wanted.ls_type,
                link_state_id: wanted.link_state_id,
                adv_router: wanted.adv_router,
            });
            match key.filter(|key| self.lsdb.get(key).is_some()) {
                // Once, however often it is named: a small packet shall not draw megabytes from us.
                Some(key) if named.insert(key) => found.push(vec![key]),
                Some(_) => {}
                None => return self.neighbor_event(from.iface, from.router, NeighborEvent::BadLsReq),
            }
        }
        let dst = neighbor.address;
        send_updates(&mut self.ctx, &self.lsdb, (&local, dst), &found);
    }
}

/// The count field in front of the LSAs of a Link State Update (RFC 5340 §A.3.5).
const COUNT: usize = 4;

/// Sends groups of LSAs in as few Link State Updates as the MTU allows; a group is split only if it alone is too large.
/// An LSA larger than the MTU goes out alone, and IP fragments it.
pub(super) fn send_updates(ctx: &mut Ctx, lsdb: &Lsdb, (local, dst): (&Local, Ipv6Addr), groups: &[Vec<LsaKey>]) {
    let room = local.body_room().saturating_sub(COUNT);
    let size = |keys: &[LsaKey]| -> usize {
        keys.iter().filter_map(|key| lsdb.get(key)).map(|entry| entry.lsa().raw.len()).sum()
    };
    let mut packet: Vec<LsaKey> = Vec::new();
    let mut used = 0;
    for group in groups {
        let parts: Vec<&[LsaKey]> =
            if size(group) <= room { vec![group.as_slice()] } else { group.chunks(1).collect() };
        for part in parts {
            let more = size(part);
            if used + more > room && !packet.is_empty() {
                send_update(ctx, lsdb, (local, dst), &std::mem::take(&mut packet));
            }
            // The same LSA changed twice in one turn is sent once.
            packet.retain(|key| !part.contains(key));
            packet.extend_from_slice(part);
            used = size(&packet);
        }
    }
    if !packet.is_empty() {
        send_update(ctx, lsdb, (local, dst), &packet);
    }
}

fn send_update(ctx: &mut Ctx, lsdb: &Lsdb, (local, dst): (&Local, Ipv6Addr), keys: &[LsaKey]) {
    let lsas = keys
        .iter()
        .filter_map(|key| lsdb.get(key))
        .map(|entry| entry.lsa().with_age(aged(entry.age(ctx.now))))
        .collect::<Vec<_>>();
    if !lsas.is_empty() {
        local.send(ctx, dst, PacketBody::LsUpd(LsUpd { lsas, rejected: Vec::new() }));
    }
}

/// The age to send (RFC 2328 §13.3: InfTransDelay is added, never beyond MaxAge).
fn aged(age: u16) -> u16 {
    age.saturating_add(INF_TRANS_DELAY).min(crate::consts::MAX_AGE)
}
