//! Bringing the database to what is wanted: originate, refresh, flush (RFC 2328 §12.4, §13.4, §14.1).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::consts::{
    ADJACENCY_GATHER, ADJACENCY_GRACE, INITIAL_SEQUENCE, LS_REFRESH_TIME, MAX_AGE, MAX_OWN_LSA, MAX_SEQUENCE,
    MIN_LS_INTERVAL_TOPOLOGY,
};
use crate::ctx::{Event, Timer};
use crate::flood::Core;
use crate::id::{IfaceId, LsaKey};
use crate::lsa::{LsType, Lsa, LsaBody, LsaHeader};
use crate::lsdb::Source;
use crate::neighbor::Neighbor;
use crate::origin::{Memory, Origin, Wanted};
use crate::state::NeighborState;
use crate::time::Instant;

/// So many LSAs of ours are remembered in any case; beyond that only those that are in the database or have just been.
const MEMORY_LIMIT: usize = 4096;

/// How long at least originations pause when the rate limit holds them back: not every token is worth a look at all LSAs.
const RATE_PAUSE: Duration = Duration::from_secs(1);

/// What is to be done about one LSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Nothing.
    No,
    /// Originate it with this content; the content differs from the one in the database (or there is none).
    Say(&'static str),
    /// Originate the same content under a new sequence number.
    Again(&'static str),
    /// Flush it.
    Flush(&'static str),
}

impl Origin {
    /// Brings the database to what is wanted, as far as that is allowed now; timers are set for the rest.
    pub fn reconcile(&mut self, core: &mut Core) {
        core.ctx.origination_due = false;
        if !self.is_ready() {
            return;
        }
        let wanted = self.wanted(core);
        let mut keys: BTreeSet<LsaKey> = wanted.keys().copied().collect();
        keys.extend(core.lsdb.originated_by(core.router_id).map(|(key, _)| *key));
        let (service, other): (Vec<LsaKey>, Vec<LsaKey>) = keys.into_iter().partition(|key| self.is_service(key));
        self.say_services(core, &wanted, &service);
        for key in other {
            self.say_one(core, key, wanted.get(&key));
        }
    }

    /// Service prefixes: a changed one takes its companion along, in the same LS Update and behind it.
    fn say_services(&mut self, core: &mut Core, wanted: &Wanted, keys: &[LsaKey]) {
        let companions = self.companions(core);
        let companion_at = companions.iter().map(|key| self.not_before(key)).max().unwrap_or(Instant::EPOCH);
        let mut said = Vec::new();
        for key in keys {
            let body = wanted.get(key);
            let due = self.due(core, key, body);
            let changed = matches!(due, Due::Say(_)) && core.lsdb.get(key).is_some();
            if changed && companion_at > core.ctx.now {
                core.ctx.timers.set(Timer::MinLsInterval(*key), companion_at.max(self.not_before(key)));
                continue;
            }
            if self.carry_out(core, *key, (due, body)) {
                self.companion_owed |= changed || matches!(due, Due::Flush(_));
                said.push(*key);
            }
        }
        if self.companion_owed && !companions.is_empty() {
            if companion_at <= core.ctx.now {
                said.extend(self.say_companions(core, &companions));
            } else if let Some(first) = companions.first() {
                core.ctx.timers.set(Timer::MinLsInterval(*first), companion_at);
            }
        }
        core.flood(&said, None);
    }

    /// Originates the companions with a toggled content.
    fn say_companions(&mut self, core: &mut Core, companions: &[LsaKey]) -> Vec<LsaKey> {
        self.companion_owed = false;
        match self.companion {
            super::Companion::None => return Vec::new(),
            super::Companion::Link => self.toggled_link = !self.toggled_link,
            super::Companion::Router => self.toggled_router = !self.toggled_router,
        }
        let wanted = self.wanted(core);
        let mut said = Vec::new();
        for key in companions {
            let body = wanted.get(key);
            let due = self.due(core, key, body);
            if self.carry_out(core, *key, (due, body)) {
                said.push(*key);
            }
        }
        said
    }

    fn say_one(&mut self, core: &mut Core, key: LsaKey, body: Option<&LsaBody>) {
        let due = self.due(core, &key, body);
        if matches!(due, Due::Say(_)) && self.gathers(core, key) {
            return;
        }
        if self.carry_out(core, key, (due, body)) {
            core.flood(&[key], None);
        }
    }

    /// Whether a Network-LSA should wait: adjacencies that it will have to list are being formed right now.
    fn gathers(&mut self, core: &mut Core, key: LsaKey) -> bool {
        if key.ls_type != LsType::NETWORK {
            return false;
        }
        let now = core.ctx.now;
        let forms = |n: &Neighbor| {
            (NeighborState::ExStart..NeighborState::Full).contains(&n.state) && now.since(n.since) < ADJACENCY_GRACE
        };
        let iface = core.ifaces.get(&IfaceId(key.link_state_id.0));
        let forming = iface.is_some_and(|iface| iface.neighbors.values().any(forms));
        let since = *self.gathering.entry(key).or_insert(now);
        if !forming || now.since(since) >= ADJACENCY_GATHER {
            self.gathering.remove(&key);
            return false;
        }
        core.ctx.timers.set_if_idle(Timer::AdjacencyGrace, now + ADJACENCY_GRACE);
        true
    }

    /// What is to be done about an LSA, leaving MinLSInterval aside.
    fn due(&self, core: &Core, key: &LsaKey, body: Option<&LsaBody>) -> Due {
        let entry = core.lsdb.get(key);
        let present = entry.filter(|entry| !entry.is_max_age(core.ctx.now));
        let heard = core.heard_own.contains_key(key);
        match (body, present) {
            (None, None) => Due::No,
            (None, Some(_)) if heard => Due::Flush("not ours any more: left from a former life"),
            (None, Some(_)) => Due::Flush("no longer wanted"),
            (Some(_), None) => Due::Say("new"),
            (Some(body), Some(entry)) if entry.lsa().body != *body => Due::Say("changed"),
            (Some(_), Some(_)) if heard => Due::Again("outrun: a newer instance of ours was about"),
            (Some(_), Some(_)) if self.refresh_due.contains(key) => Due::Again("refresh"),
            (Some(_), Some(_)) => Due::No,
        }
    }

    /// Does it, if it may be done now; says whether there is something to flood.
    fn carry_out(&mut self, core: &mut Core, key: LsaKey, (due, body): (Due, Option<&LsaBody>)) -> bool {
        match (due, body) {
            (Due::Flush(cause), _) => self.flush(core, key, (cause, Source::Ours)),
            (Due::Say(cause) | Due::Again(cause), Some(body)) => self.originate(core, key, (body, cause)),
            _ => {
                core.heard_own.remove(&key);
                false
            }
        }
    }

    fn not_before(&self, key: &LsaKey) -> Instant {
        self.memory.get(key).map_or(Instant::EPOCH, |memory| memory.not_before)
    }

    /// A foreign instance is answered: tells when that was one too many.
    fn answered(&mut self, core: &mut Core, key: LsaKey) {
        if core.heard_own.remove(&key).is_some()
            && let Some(rest) = self.fights.answer(key, core.ctx.now)
        {
            core.ctx.event(Event::Contested { key, rest });
        }
    }

    /// Originates an LSA under the next sequence number (RFC 2328 §12.4).
    fn originate(&mut self, core: &mut Core, key: LsaKey, (body, cause): (&LsaBody, &'static str)) -> bool {
        let now = core.ctx.now;
        let heard = core.heard_own.get(&key).copied();
        let rests_until = heard.map_or(Instant::EPOCH, |_| self.fights.until(&key));
        let not_before = self.not_before(&key).max(rests_until);
        if not_before > now {
            core.ctx.timers.set(Timer::MinLsInterval(key), not_before);
            return false;
        }
        if !self.may_originate(core) {
            return false;
        }
        let in_lsdb = core.lsdb.get(&key).map(|entry| entry.lsa().header.sequence);
        let last = self.memory.get(&key).map(|memory| memory.sequence).max(in_lsdb).max(heard);
        let sequence = match last {
            None => INITIAL_SEQUENCE,
            Some(MAX_SEQUENCE) => return self.wrap(core, key),
            Some(last) => last + 1,
        };
        self.answered(core, key);
        let LsaKey { ls_type, link_state_id, adv_router, .. } = key;
        let header = LsaHeader { ls_type, link_state_id, adv_router, sequence, ..LsaHeader::default() };
        let lsa = Lsa::build(header, body.clone());
        if lsa.raw.len() > MAX_OWN_LSA && key.ls_type != LsType::NETWORK {
            core.ctx.event(Event::TooLarge { key, bytes: lsa.raw.len() });
            let again = now + self.interval(&key);
            self.remember(core, key, (last.unwrap_or(INITIAL_SEQUENCE - 1), again));
            return false;
        }
        core.install(key.domain, lsa, Source::Ours);
        self.refresh_due.remove(&key);
        let again = now + self.interval(&key);
        self.remember(core, key, (sequence, again));
        core.ctx.timers.set(Timer::Refresh(key), now + LS_REFRESH_TIME);
        core.ctx.timers.clear(Timer::MinLsInterval(key));
        core.ctx.event(Event::Originated { key, sequence, cause });
        true
    }

    /// Takes a token of the rate limit; without one Timer::OriginationRate brings us back.
    fn may_originate(&mut self, core: &mut Core) -> bool {
        match self.bucket.take(core.ctx.now) {
            Ok(()) => true,
            Err(again) => {
                core.ctx.timers.set_if_idle(Timer::OriginationRate, again.max(core.ctx.now + RATE_PAUSE));
                false
            }
        }
    }

    /// When an LSA may be flushed: a service prefix, and everything when we leave, at once. Anything else once all have
    /// had the instance for MinLSArrival: a flush that some router drops for its sake and another takes for unknown
    /// meets the old instance on its way, and leaves it behind. A foreign one that comes again and again rests.
    fn flush_at(&self, core: &Core, key: &LsaKey) -> Instant {
        match core.lsdb.get(key) {
            Some(entry) if entry.source() != Source::Ours && !self.leaving && self.fights.until(key) > core.ctx.now => {
                self.fights.until(key)
            }
            Some(entry) if entry.source() != Source::Requested && !self.leaving && !self.is_service(key) => {
                entry.installed() + MIN_LS_INTERVAL_TOPOLOGY
            }
            _ => Instant::EPOCH,
        }
    }

    /// Flushes an LSA (RFC 2328 §14.1); a service prefix without delay.
    fn flush(&mut self, core: &mut Core, key: LsaKey, (cause, source): (&'static str, Source)) -> bool {
        let heard = core.heard_own.get(&key).copied();
        let flush_at = self.flush_at(core, &key);
        if flush_at > core.ctx.now {
            core.ctx.timers.set(Timer::MinLsInterval(key), flush_at);
            return false;
        }
        let free = self.leaving || self.is_service(&key);
        if !free && !self.may_originate(core) {
            return false;
        }
        self.answered(core, key);
        let Some(entry) = core.lsdb.get(&key) else { return false };
        // A foreign instance that we have not taken has to be outrun by the flush.
        let lsa = match heard.filter(|heard| *heard > entry.lsa().header.sequence) {
            Some(heard) => {
                let header = LsaHeader { sequence: heard.saturating_add(1), ..entry.lsa().header };
                Lsa::build(header, entry.lsa().body.clone()).with_age(MAX_AGE)
            }
            None => entry.lsa().with_age(MAX_AGE),
        };
        let sequence = lsa.header.sequence;
        core.install(key.domain, lsa, source);
        let before = self.not_before(&key);
        let again = before.max(core.ctx.now + MIN_LS_INTERVAL_TOPOLOGY);
        self.remember(core, key, (sequence, again));
        self.refresh_due.remove(&key);
        core.ctx.timers.clear(Timer::Refresh(key));
        core.ctx.timers.clear(Timer::MinLsInterval(key));
        core.ctx.event(Event::Flushed { key, cause });
        true
    }

    /// The sequence space is used up: flush, and begin anew once the LSA is gone everywhere (RFC 2328 §12.1.6).
    fn wrap(&mut self, core: &mut Core, key: LsaKey) -> bool {
        match core.lsdb.get(&key) {
            Some(entry) if entry.is_max_age(core.ctx.now) => false, // `forget` brings us back
            Some(_) => self.flush(core, key, ("the sequence numbers are used up", Source::Wrapping)),
            None => {
                self.memory.remove(&key);
                core.ctx.origination_due = true;
                false
            }
        }
    }

    fn remember(&mut self, core: &Core, key: LsaKey, (sequence, not_before): (i32, Instant)) {
        if self.memory.len() >= MEMORY_LIMIT && !self.memory.contains_key(&key) {
            let now = core.ctx.now;
            self.memory.retain(|key, memory| memory.not_before > now || core.lsdb.get(key).is_some());
        }
        let memory = self.memory.entry(key).or_insert(Memory { sequence, not_before });
        memory.sequence = memory.sequence.max(sequence);
        memory.not_before = not_before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AreaId, Domain, LinkStateId, RouterId};
    use crate::lsdb::Limits;
    use crate::origin::OriginParams;

    #[test]
    fn strange_lsas_under_our_name_are_flushed_and_not_remembered_for_ever() {
        let params = OriginParams {
            area: AreaId(0),
            forwarding: true,
            min_ls_interval: MIN_LS_INTERVAL_TOPOLOGY,
            min_ls_interval_topology: MIN_LS_INTERVAL_TOPOLOGY,
            max_originations: 1_000_000,
        };
        let (mut core, mut origin) = (Core::new(RouterId(1), Limits::default()), Origin::new(params));
        origin.begin(&mut core);
        for round in 0..20 {
            for id in 0..1000 {
                let (ls_type, link_state_id) = (LsType(0xaabc), LinkStateId(round * 1000 + id));
                let header =
                    LsaHeader { ls_type, link_state_id, adv_router: RouterId(1), sequence: 1, ..LsaHeader::default() };
                let lsa = Lsa::from_body_bytes(header, &[]).unwrap();
                core.install(Domain::Area(AreaId(0)), lsa, Source::Requested);
            }
            origin.reconcile(&mut core);
            core.remove_max_aged();
            core.ctx.now = core.ctx.now + Duration::from_secs(5);
        }
        core.remove_max_aged();
        assert!(core.lsdb.is_empty());
        assert!(origin.memory.len() <= MEMORY_LIMIT, "{}", origin.memory.len());
    }
}
