//! Acknowledgments (RFC 2328 §13.5, §13.7) and retransmission (§13.6).

use crate::consts::{ALL_D_ROUTERS, ALL_SPF_ROUTERS, DELAYED_ACK};
use crate::ctx::{DropReason, Event, Timer};
use crate::flood::Core;
use crate::flood::send::send_updates;
use crate::id::{IfaceId, LsaKey, NeighborId};
use crate::lsa::{LsaHeader, Recency, compare};
use crate::lsdb::domain_of;
use crate::packet::{LsAck, PacketBody};
use crate::state::IfaceState;

/// Why a delayed acknowledgment may be due (table 19 of RFC 2328 §13.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    /// A newer instance, not flooded back out of the interface.
    NotFloodedBack,
    /// A duplicate that was an implied acknowledgment, from the DR, while we are Backup.
    ImpliedFromDr,
}

/// How many Link State Updates one retransmission sends at most, so that a slow neighbor with a long list is not
/// flooded faster than it can read.
const RETRANSMIT_PACKETS: usize = 16;

impl Core {
    /// Holds an acknowledgment back, or decides that none is due (table 19 of RFC 2328 §13.5).
    pub(super) fn acknowledge(&mut self, from: NeighborId, ack: Ack, header: LsaHeader, key: LsaKey) {
        let Some(iface) = self.ifaces.get_mut(&from.iface) else { return };
        let from_dr = iface.params.point_to_point || iface.dr == from.router;
        // The Backup acknowledges only what comes from the DR.
        if ack == Ack::NotFloodedBack && iface.state == IfaceState::Backup && !from_dr {
            return;
        }
        iface.delayed_acks.insert(key, header);
        self.ctx.timers.set_if_idle(Timer::DelayedAck(from.iface), self.ctx.now + DELAYED_ACK);
    }

    /// Acknowledges at once, to the sender alone.
    pub(super) fn send_direct_acks(&mut self, to: NeighborId, headers: Vec<LsaHeader>) {
        let Some(iface) = self.ifaces.get(&to.iface) else { return };
        let Some(dst) = iface.neighbors.get(&to.router).map(|n| n.address) else { return };
        let local = iface.local();
        for part in headers.chunks((local.body_room() / LsaHeader::LENGTH).max(1)) {
            local.send(&mut self.ctx, dst, PacketBody::LsAck(LsAck { headers: part.to_vec() }));
        }
    }

    /// Sends the delayed acknowledgments of an interface (Timer::DelayedAck).
    pub fn send_delayed_acks(&mut self, iface_id: IfaceId) {
        let Some(iface) = self.ifaces.get_mut(&iface_id) else { return };
        let headers: Vec<LsaHeader> = std::mem::take(&mut iface.delayed_acks).into_values().collect();
        let dst = if iface.params.point_to_point || iface.is_designated() { ALL_SPF_ROUTERS } else { ALL_D_ROUTERS };
        let local = iface.local();
        for part in headers.chunks((local.body_room() / LsaHeader::LENGTH).max(1)) {
            local.send(&mut self.ctx, dst, PacketBody::LsAck(LsAck { headers: part.to_vec() }));
        }
    }

    /// Receives a Link State Acknowledgment (RFC 2328 §13.7).
    pub fn on_ls_ack(&mut self, from: NeighborId, ack: &LsAck) {
        let Some(iface) = self.ifaces.get(&from.iface) else { return };
        let (area, iface_id) = (iface.params.area, iface.id);
        let Some(src) = iface.neighbors.get(&from.router).map(|neighbor| neighbor.address) else { return };
        for header in &ack.headers {
            let Some(domain) = domain_of(header.ls_type, area, iface_id) else { continue };
            let key = header.key(domain);
            if !self.ctx.retransmissions.contains(from, &key) {
                continue;
            }
            let have = self.lsdb.get(&key).map(|entry| entry.header(self.ctx.now));
            if have.is_some_and(|have| compare(header, &have) == Recency::Same) {
                self.ctx.retransmissions.remove(from, &key);
            } else {
                let reason = DropReason::AckMismatch(key);
                self.ctx.event(Event::Dropped { iface: iface_id, src, reason });
            }
        }
    }

    /// Sends the neighbors of a link that are due what they have not acknowledged (Timer::LsUpdRxmt; RFC 2328 §13.6).
    pub fn retransmit(&mut self, iface_id: IfaceId) {
        let now = self.ctx.now;
        let Some(iface) = self.ifaces.get(&iface_id) else { return };
        let local = iface.local();
        for router in self.ctx.retransmissions.due(iface_id, now) {
            let Some(neighbor) = iface.neighbors.get(&router) else { continue };
            let mut room = local.body_room().saturating_mul(RETRANSMIT_PACKETS);
            let mut groups = Vec::new();
            for key in self.ctx.retransmissions.list_of(neighbor.id) {
                let Some(entry) = self.lsdb.get(key) else { continue };
                let size = entry.lsa().raw.len();
                if size > room && !groups.is_empty() {
                    break;
                }
                room = room.saturating_sub(size);
                groups.push(vec![*key]);
            }
            let dst = neighbor.address;
            send_updates(&mut self.ctx, &self.lsdb, (&local, dst), &groups);
            self.ctx.retransmissions.sent_again(neighbor.id, now + local.retransmit_interval);
        }
        if let Some(next) = self.ctx.retransmissions.next_due(iface_id) {
            self.ctx.timers.set(Timer::LsUpdRxmt(iface_id), next);
        }
    }
}
