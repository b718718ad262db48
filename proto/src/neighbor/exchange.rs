//! The Database Description process (RFC 2328 §10.6, §10.8; RFC 5340 §4.2.1.2, §4.2.2).
//!
//! Differs: the master answers the slave's claim with its own at once, without waiting for RxmtInterval. The slave keeps
//! its last packet as long as the adjacency lasts, not just RouterDeadInterval (§10.8); a duplicate that comes later still
//! is answered instead of tearing the adjacency down. The Database summary list is a place in the database and no copy: 256
//! neighbors that come at once do not each hold a list of 30,000 LSAs. What is installed meanwhile may be described, too, beside being
//! flooded.

use std::ops::Bound;

use crate::consts::MAX_AGE;
use crate::ctx::{Ctx, DropReason, Timer};
use crate::id::{Domain, LsaKey};
use crate::lsa::{LsaHeader, Recency, compare};
use crate::lsdb::{Entry, domain_of};
use crate::neighbor::{Link, Local, Neighbor, NeighborEvent};
use crate::packet::{DbDesc, DdFlags, PacketBody, PacketType};
use crate::state::NeighborState;
use crate::time::Instant;

/// What a Database Description packet leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DdOutcome {
    /// Nothing more.
    Done,
    /// These events, in order.
    Events(Vec<NeighborEvent>),
    /// Drop it, for this reason.
    Drop(DropReason),
}

impl Neighbor {
    /// Entering ExStart: a new sequence number, claim to be master, repeat until answered (RFC 2328 §10.3, ExStart).
    pub(super) fn begin_negotiation(&mut self, ctx: &mut Ctx, local: &Local) {
        self.clear_lists(ctx);
        self.dd_sequence = self.dd_sequence.wrapping_add(1);
        self.master = true;
        self.dd_received = None;
        let flags = DdFlags::I | DdFlags::M | DdFlags::MS;
        self.send_dd(ctx, local, flags, Vec::new());
    }

    /// Sends a Database Description packet; a master's is repeated until it is answered.
    fn send_dd(&mut self, ctx: &mut Ctx, local: &Local, flags: DdFlags, headers: Vec<LsaHeader>) {
        let dd = DbDesc { options: local.options, mtu: local.mtu, flags, sequence: self.dd_sequence, headers };
        local.send(ctx, self.address, PacketBody::DbDesc(dd.clone()));
        self.dd_sent = Some(dd);
        if self.master {
            ctx.timers.set(Timer::DdRxmt(self.id), ctx.now + local.retransmit_interval);
        } else {
            ctx.timers.clear(Timer::DdRxmt(self.id));
        }
    }

    /// Repeats the last Database Description packet (Timer::DdRxmt, or the slave answering a duplicate).
    pub fn resend_dd(&mut self, ctx: &mut Ctx, local: &Local) {
        let Some(dd) = self.dd_sent.clone() else { return };
        local.send(ctx, self.address, PacketBody::DbDesc(dd));
        if self.master {
            ctx.timers.set(Timer::DdRxmt(self.id), ctx.now + local.retransmit_interval);
        }
    }

    /// From here on the area's, the link's and the AS's LSAs are described (RFC 5340 §4.2.1.2); those at MaxAge go to the
    /// retransmission list instead (RFC 2328 §10.3, NegotiationDone).
    pub(super) fn begin_summary(&mut self, ctx: &mut Ctx, link: Link<'_>) {
        let carried = carried(link.local);
        for key in link.lsdb.max_aged(ctx.now).filter(|key| carried.contains(&key.domain)) {
            self.await_ack(ctx, *key, link.local.retransmit_interval);
        }
        self.summary = Some(Bound::Unbounded);
    }

    /// What is still to be described.
    fn undescribed<'a>(&self, now: Instant, link: Link<'a>) -> impl Iterator<Item = (&'a LsaKey, &'a Entry)> {
        let rest = self.summary.map(|behind| carried(link.local).map(|domain| (domain, behind)));
        let rest = rest.into_iter().flatten().flat_map(move |(domain, behind)| link.lsdb.domain_behind(domain, behind));
        // One that has aged out since follows by flooding.
        rest.filter(move |(_, entry)| !entry.is_max_age(now))
    }

    /// How many LSAs are still to be described. Counts them.
    pub fn summaries(&self, now: Instant, link: Link<'_>) -> usize {
        self.undescribed(now, link).count()
    }

    /// Sends the next part of the Database summary list.
    fn describe_next(&mut self, ctx: &mut Ctx, link: Link<'_>) {
        let room = link.local.body_room().saturating_sub(12) / LsaHeader::LENGTH;
        let mut rest = self.undescribed(ctx.now, link);
        let part: Vec<_> = rest.by_ref().take(room.max(1)).collect();
        let last = part.last().map(|(key, _)| **key).filter(|_| rest.next().is_some());
        drop(rest);
        self.summary = last.map(Bound::Excluded);
        let headers = part.iter().map(|(_, entry)| entry.header(ctx.now)).collect();
        let mut flags = DdFlags::empty();
        flags.set(DdFlags::M, self.summary.is_some());
        flags.set(DdFlags::MS, self.master);
        self.send_dd(ctx, link.local, flags, headers);
    }

    /// Receives a Database Description packet (RFC 2328 §10.6). The caller applies the events that come back; on
    /// `NegotiationDone` it then calls [`Neighbor::after_negotiation`].
    pub fn on_db_desc(&mut self, ctx: &mut Ctx, link: Link<'_>, dd: &DbDesc) -> DdOutcome {
        if dd.mtu > link.local.mtu && !link.local.mtu_ignore {
            return DdOutcome::Drop(DropReason::MtuMismatch(dd.mtu, link.local.mtu));
        }
        match self.state {
            NeighborState::Down | NeighborState::Init | NeighborState::TwoWay => {
                DdOutcome::Drop(DropReason::NeighborState(self.state, PacketType::DbDesc))
            }
            NeighborState::ExStart => self.negotiate(ctx, link.local, dd),
            NeighborState::Exchange => self.exchange(ctx, link, dd),
            NeighborState::Loading | NeighborState::Full => {
                if !self.is_duplicate(dd) {
                    return DdOutcome::Events(vec![NeighborEvent::SeqNumberMismatch]);
                }
                if !self.master {
                    self.resend_dd(ctx, link.local);
                }
                DdOutcome::Done
            }
        }
    }

    /// ExStart: who is master? (RFC 2328 §10.6)
    fn negotiate(&mut self, ctx: &mut Ctx, local: &Local, dd: &DbDesc) -> DdOutcome {
        let first = DdFlags::I | DdFlags::M | DdFlags::MS;
        if dd.flags.contains(first) && dd.headers.is_empty() && self.id.router > local.router_id {
            self.master = false;
            self.dd_sequence = dd.sequence;
        } else if !dd.flags.intersects(DdFlags::I | DdFlags::MS)
            && dd.sequence == self.dd_sequence
            && self.id.router < local.router_id
        {
            self.master = true;
        } else {
            if dd.flags.contains(first) && self.id.router < local.router_id {
                // It enters ExStart only now and had to drop our claim: it need not wait for RxmtInterval.
                self.resend_dd(ctx, local);
            }
            return DdOutcome::Done;
        }
        self.dd_received = Some((dd.flags, dd.options, dd.sequence));
        DdOutcome::Events(vec![NeighborEvent::NegotiationDone])
    }

    /// The first packet of the exchange: the slave answers the master's, the master takes in the slave's.
    pub fn after_negotiation(&mut self, ctx: &mut Ctx, link: Link<'_>, dd: &DbDesc) -> DdOutcome {
        self.take_in(ctx, link, dd)
    }

    /// Exchange: in sequence? (RFC 2328 §10.6)
    fn exchange(&mut self, ctx: &mut Ctx, link: Link<'_>, dd: &DbDesc) -> DdOutcome {
        if self.is_duplicate(dd) {
            if !self.master {
                self.resend_dd(ctx, link.local);
            }
            return DdOutcome::Done;
        }
        let options_before = self.dd_received.map(|(_, options, _)| options);
        let expected = if self.master { self.dd_sequence } else { self.dd_sequence.wrapping_add(1) };
        if dd.flags.contains(DdFlags::MS) == self.master
            || dd.flags.contains(DdFlags::I)
            || options_before.is_some_and(|before| before != dd.options)
            || dd.sequence != expected
        {
            return DdOutcome::Events(vec![NeighborEvent::SeqNumberMismatch]);
        }
        self.dd_received = Some((dd.flags, dd.options, dd.sequence));
        self.take_in(ctx, link, dd)
    }

    fn is_duplicate(&self, dd: &DbDesc) -> bool {
        self.dd_received == Some((dd.flags, dd.options, dd.sequence))
    }

    /// Takes in the headers and answers (RFC 2328 §10.6, last part).
    fn take_in(&mut self, ctx: &mut Ctx, link: Link<'_>, dd: &DbDesc) -> DdOutcome {
        for header in &dd.headers {
            let Some(domain) = domain_of(header.ls_type, link.local.area, link.local.iface) else {
                return DdOutcome::Events(vec![NeighborEvent::SeqNumberMismatch]);
            };
            let key = header.key(domain);
            let wanted = match link.lsdb.get(&key) {
                // An instance at MaxAge that we do not have would be discarded anyway (RFC 2328 §13 (4)).
                // Nor is one that the limits of the database have no room for asked for: it would be dropped, too.
                None => header.age < MAX_AGE && link.lsdb.has_room(key.adv_router, self.requests.len()).is_ok(),
                Some(entry) => compare(header, &entry.header(ctx.now)) == Recency::Newer,
            };
            if wanted {
                self.requests.insert(key, *header);
            }
        }
        let theirs_done = !dd.flags.contains(DdFlags::M);
        if self.master {
            let ours_done = self.dd_sent.as_ref().is_some_and(|sent| !sent.flags.contains(DdFlags::M));
            self.dd_sequence = self.dd_sequence.wrapping_add(1);
            if theirs_done && ours_done {
                return DdOutcome::Events(vec![NeighborEvent::ExchangeDone]);
            }
            self.describe_next(ctx, link);
        } else {
            self.dd_sequence = dd.sequence;
            self.describe_next(ctx, link);
            let ours_done = self.dd_sent.as_ref().is_some_and(|sent| !sent.flags.contains(DdFlags::M));
            if theirs_done && ours_done {
                return DdOutcome::Events(vec![NeighborEvent::ExchangeDone]);
            }
        }
        if self.outstanding.is_empty() {
            self.request_next(ctx, link.local);
        }
        DdOutcome::Done
    }
}

/// The domains whose LSAs are flooded over a link, in their order.
fn carried(link: &Local) -> [Domain; 3] {
    [Domain::As, Domain::Area(link.area), Domain::Link(link.iface)]
}
