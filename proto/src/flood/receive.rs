//! Receiving a Link State Update: the steps of RFC 2328 §13 (with RFC 5340 §4.5.1).
//!
//! Differs: an LSA that was requested and comes malformed in a packet whose checksum is right is not requested again:
//! the neighbor's database holds it so, and one bad LSA must not keep an adjacency in Loading for ever. A newer instance
//! of an LSA that we originated is outrun (§13.4) without being installed, flooded or acknowledged before: whoever
//! forges it cannot take our own routes away, nor use us to spread it.

use crate::consts::{MAX_AGE, MAX_SEQUENCE, MIN_LS_ARRIVAL};
use crate::ctx::{DropReason, Event};
use crate::flood::Core;
use crate::flood::ack::Ack;
use crate::flood::send::send_updates;
use crate::id::{IfaceId, LsaKey, NeighborId, RouterId};
use crate::lsa::{Lsa, LsaHeader, Recency, compare};
use crate::lsdb::{Breach, Source, domain_of};
use crate::neighbor::NeighborEvent;
use crate::packet::{LsUpd, RejectedLsa};
use crate::state::IfaceState;

/// What becomes of a received LSA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Steps (1)-(3), (5)(a): dropped without acknowledgment.
    Drop(DropReason),
    /// Beyond a limit of the database: acknowledged, so that it is not sent for ever, and dropped.
    Refuse(Breach),
    /// Step (4): at MaxAge and unknown here: acknowledged and dropped.
    AckOnly,
    /// Step (5): newer than ours, or new.
    Install,
    /// Step (6): the database exchange has gone wrong.
    BadLsReq,
    /// Step (7): the instance that we have.
    Duplicate,
    /// Step (8): older than ours, which is sent back.
    SendBack,
    /// Step (8): older than ours, which is at MaxAge and MaxSequenceNumber, or was sent just now.
    Ignore,
}

/// The verdict on an LSA of a neighbor; changes nothing. Step (1), the checksum, was verified by the decoder.
pub fn verdict(core: &Core, from: NeighborId, (key, header): (LsaKey, &LsaHeader)) -> Verdict {
    let now = core.ctx.now;
    let ours = core.lsdb.get(&key);
    // (4)
    if header.age >= MAX_AGE && ours.is_none() && !core.exchanging() {
        return Verdict::AckOnly;
    }
    let Some(entry) = ours else {
        return core.lsdb.has_room(key.adv_router, 0).map_or_else(Verdict::Refuse, |()| Verdict::Install);
    };
    let have = entry.header(now);
    match compare(header, &have) {
        // (5)
        Recency::Newer => {
            // (a)
            if entry.source() == Source::Flooded && now.since(entry.installed()) < MIN_LS_ARRIVAL {
                return Verdict::Drop(DropReason::MinLsArrival(key));
            }
            Verdict::Install
        }
        recency => {
            let neighbor = core.ifaces.get(&from.iface).and_then(|iface| iface.neighbors.get(&from.router));
            // (6)
            if neighbor.is_some_and(|n| n.requests.contains_key(&key)) {
                return Verdict::BadLsReq;
            }
            // (7)
            if recency == Recency::Same {
                return Verdict::Duplicate;
            }
            // (8)
            let wrapping = have.age >= MAX_AGE && have.sequence == MAX_SEQUENCE;
            let just_sent = core.sent_back.get(&key).is_some_and(|at| now.since(*at) < MIN_LS_ARRIVAL);
            if wrapping || just_sent { Verdict::Ignore } else { Verdict::SendBack }
        }
    }
}

impl Core {
    /// Receives a Link State Update from a neighbor in state Exchange or higher.
    pub fn on_ls_upd(&mut self, from: NeighborId, update: LsUpd) {
        let Some(iface) = self.ifaces.get(&from.iface) else { return };
        let (local, src) = (iface.local(), iface.neighbors.get(&from.router).map(|n| n.address));
        let Some(src) = src else { return };
        for RejectedLsa { header, error } in update.rejected {
            // (1)
            let domain = domain_of(header.ls_type, local.area, local.iface);
            let key = header.key(domain.unwrap_or(crate::id::Domain::Link(local.iface)));
            let reason = DropReason::MalformedLsa(key, error);
            self.ctx.event(Event::Dropped { iface: from.iface, src, reason });
            // What its database holds will not be better for asking again.
            if let Some(neighbor) = self.ifaces.get_mut(&from.iface).and_then(|i| i.neighbors.get_mut(&from.router)) {
                neighbor.request_satisfied(&key);
            }
        }
        let mut acks = Vec::new();
        for lsa in update.lsas {
            // (2), (3): a scope that does not exist
            let Some(domain) = domain_of(lsa.header.ls_type, local.area, local.iface) else {
                let key = lsa.key(crate::id::Domain::Link(local.iface));
                let reason = DropReason::ReservedScope(key);
                self.ctx.event(Event::Dropped { iface: from.iface, src, reason });
                continue;
            };
            let key = lsa.key(domain);
            match verdict(self, from, (key, &lsa.header)) {
                Verdict::Drop(reason) => self.ctx.event(Event::Dropped { iface: from.iface, src, reason }),
                Verdict::AckOnly => acks.push(lsa.header),
                Verdict::Refuse(breach) => {
                    self.refuse(from, (key, breach));
                    acks.push(lsa.header);
                }
                Verdict::Install => self.accept(from, key, lsa),
                Verdict::BadLsReq => {
                    self.neighbor_event(from.iface, from.router, NeighborEvent::BadLsReq);
                    break;
                }
                Verdict::Duplicate => acks.extend(self.on_duplicate(from, key, lsa.header)),
                Verdict::SendBack => {
                    self.sent_back.insert(key, self.ctx.now);
                    send_updates(&mut self.ctx, &self.lsdb, (&local, src), &[vec![key]]);
                }
                Verdict::Ignore => {}
            }
        }
        self.send_direct_acks(from, acks);
        self.continue_loading(from.iface, from.router);
    }

    /// An LSA beyond a limit: counted, and told when the limit is reached.
    fn refuse(&mut self, from: NeighborId, (key, breach): (LsaKey, Breach)) {
        let neighbor = self.ifaces.get_mut(&from.iface).and_then(|iface| iface.neighbors.get_mut(&from.router));
        let Some(neighbor) = neighbor else { return };
        neighbor.request_satisfied(&key);
        let (src, reason) = (neighbor.address, DropReason::Limit(breach.key()));
        self.ctx.event(Event::Dropped { iface: from.iface, src, reason });
        if self.lsdb.note_breach(breach) {
            self.ctx.event(Event::LimitReached { breach });
        }
    }

    /// Step (5): a newer instance.
    fn accept(&mut self, from: NeighborId, key: LsaKey, lsa: Lsa) {
        let header = lsa.header;
        // (f)
        if key.adv_router == self.router_id {
            let heard = self.heard_own.entry(key).or_insert(header.sequence);
            *heard = header.sequence.max(*heard);
            self.ctx.origination_due = true;
            if self.stands(&key) {
                let neighbor = self.ifaces.get_mut(&from.iface).and_then(|i| i.neighbors.get_mut(&from.router));
                if let Some(neighbor) = neighbor {
                    neighbor.request_satisfied(&key);
                }
                return;
            }
        }
        let neighbor = self.ifaces.get(&from.iface).and_then(|iface| iface.neighbors.get(&from.router));
        let requested = neighbor.is_some_and(|n| n.requests.contains_key(&key));
        let source = if requested { Source::Requested } else { Source::Flooded };
        // (c), (d): before (b), so that what is flooded is what is in the database
        self.install(key.domain, lsa, source);
        // (b)
        let flooded_back = self.flood(&[key], Some(from));
        // (e)
        if !flooded_back {
            self.acknowledge(from, Ack::NotFloodedBack, header, key);
        }
    }

    /// Whether our own instance stays in the database until it has outrun a foreign one: what is left from a former life,
    /// or flushed, does not.
    fn stands(&self, key: &LsaKey) -> bool {
        self.lsdb.get(key).is_some_and(|entry| entry.source() == Source::Ours && !entry.is_max_age(self.ctx.now))
    }

    /// Step (7): the same instance: an implied acknowledgment, or a retransmission. Returns what to acknowledge directly.
    fn on_duplicate(&mut self, from: NeighborId, key: LsaKey, header: LsaHeader) -> Option<LsaHeader> {
        let iface = self.ifaces.get(&from.iface)?;
        let backup = iface.state == IfaceState::Backup;
        let from_dr = iface.dr == from.router && !iface.params.point_to_point;
        // (a)
        let implied = self.ctx.retransmissions.remove(from, &key);
        // (b), by table 19 of §13.5
        if !implied {
            return Some(header);
        }
        if backup && from_dr {
            self.acknowledge(from, Ack::ImpliedFromDr, header, key);
        }
        None
    }

    /// The request list may be shorter now: asks on, or goes to Full.
    pub(super) fn continue_loading(&mut self, iface: IfaceId, router: RouterId) {
        let Some(local) = self.ifaces.get(&iface).map(|iface| iface.local()) else { return };
        let Some(neighbor) = self.ifaces.get_mut(&iface).and_then(|iface| iface.neighbors.get_mut(&router)) else {
            return;
        };
        if neighbor.continue_loading(&mut self.ctx, &local) {
            self.neighbor_event(iface, router, NeighborEvent::LoadingDone);
        }
    }
}
