//! What always holds after a turn (docs/architecture.md); asserted in debug builds, in the simulator and in fuzzing.

use crate::ctx::Timer;
use crate::engine::Engine;
use crate::id::LsaKey;
use crate::lsdb::Entry;
use crate::neighbor::Neighbor;
use crate::rib::Basis;
use crate::spf::Graph;
use crate::state::NeighborState;

/// Above this many LSAs the routing table is not computed anew after every turn of a debug build.
const CHECKED_LSAS: usize = 300;
/// Above this many neighbors each turn looks at one in so many.
const CROWD: usize = 64;
/// Every so many turns it is computed anew even if nothing has changed.
const CHECKED_TURNS: u64 = 64;

impl Engine {
    /// After a turn that changed nothing for routing the table is computed anew only now and then: such a turn could break it
    /// only by a change that was not noted, and that shows later as well.
    pub(super) fn assert_invariants(&self, routed: bool) {
        let limit = if routed || self.turns.is_multiple_of(CHECKED_TURNS) { CHECKED_LSAS } else { 0 };
        if let Err(broken) = self.check_invariants(limit) {
            debug_assert!(false, "invariant broken: {broken}");
        }
    }

    /// Checks the invariants; trees and table are computed anew only for a database of at most `limit` LSAs, and not while SPF
    /// is held back. An error names the one that is broken.
    pub fn check_invariants(&self, limit: usize) -> Result<(), String> {
        let now = self.core.ctx.now;
        // On a crowded link each turn looks at some of the neighbors, many turns at all of them.
        let (all, crowded) = (limit > CHECKED_LSAS, self.core.neighbors().count() > CROWD);
        let looked_at = |number: usize| all || !crowded || number % CROWD == self.turns as usize % CROWD;
        let lists = &self.core.ctx.retransmissions;
        let flooded = self.core.neighbors().filter(|n| n.state.takes_floods());
        if !lists.flooded().eq(flooded.map(|n| (n.id, n.state == NeighborState::Full))) {
            return Err("those that LSAs are flooded to are not the neighbors from Exchange on".to_owned());
        }
        let short = all || lists.len() <= CHECKED_LSAS;
        for (_, neighbor) in self.core.neighbors().enumerate().filter(|(number, _)| looked_at(*number)) {
            self.check_list_of(neighbor, short)?;
        }
        // Of long lists the first are looked at: each goes the way of them all.
        let mut listed = lists.iter().take(if all { usize::MAX } else { CHECKED_LSAS });
        if let Some((iface, key, _)) = listed.find(|(_, key, _)| self.core.lsdb.get(key).is_none()) {
            return Err(format!("interface {iface}: {key} is to be retransmitted and not in the LSDB"));
        }
        let owed = |n: &Neighbor| lists.length_of(n.id);
        if short && lists.iter().map(|(_, _, who)| who.len()).sum::<usize>() != self.core.neighbors().map(owed).sum() {
            return Err("the retransmission lists hold what no neighbor knows of".to_owned());
        }
        if let Some((at, timer)) = self.next_timer()
            && at <= now
        {
            return Err(format!("{timer:?} is due at {at} and it is {now}: a busy loop"));
        }
        if self.core.lsdb.len() > limit || self.holds_back() {
            return Ok(());
        }
        let missed = |(_, entry): &(&LsaKey, &Entry)| entry.is_max_age(now) && !entry.lsa().is_max_age();
        if let Some((key, _)) = self.core.lsdb.iter().find(missed) {
            return Err(format!("{key} has reached MaxAge and was not aged out"));
        }
        for (area, tree) in &self.trees {
            if Graph::build(&self.core.lsdb, *area, now).tree(self.core.router_id) != *tree {
                return Err(format!("the tree of area {area} is not what the LSDB gives"));
            }
        }
        let basis = Basis { trees: &self.trees, lsdb: &self.core.lsdb, heard: &self.core, now };
        if !self.rib.is_exact(&basis) {
            return Err("the routing table is not what the LSDB gives".to_owned());
        }
        Ok(())
    }

    /// The length and the deadline that a neighbor knows are those of its retransmission list, and the timer of the link is in
    /// time for it. To count it, all lists of the link are gone through: only if they are `short`.
    fn check_list_of(&self, neighbor: &Neighbor, short: bool) -> Result<(), String> {
        let (ctx, id) = (&self.core.ctx, neighbor.id);
        if short && !ctx.retransmissions.is_exact(id) {
            return Err(format!("{id:?}: the retransmission list is not as long as is said"));
        }
        let Some(adjacency) = ctx.retransmissions.adjacency(id) else { return Ok(()) };
        if adjacency.retransmit_at.is_some() != (adjacency.unacknowledged() > 0) {
            return Err(format!("{id:?}: retransmission deadline and list differ"));
        }
        let timer = ctx.timers.deadline(Timer::LsUpdRxmt(id.iface));
        if adjacency.retransmit_at.is_some_and(|at| timer.is_none_or(|timer| timer > at)) {
            return Err(format!("{id:?}: the retransmission timer of the link comes too late or never"));
        }
        Ok(())
    }
}
