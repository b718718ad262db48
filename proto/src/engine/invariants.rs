//! What always holds after a turn (docs/architecture.md); asserted in debug builds, in the simulator and in fuzzing.

use crate::ctx::Timer;
use crate::engine::Engine;
use crate::id::LsaKey;
use crate::lsdb::Entry;
use crate::rib::Basis;
use crate::spf::Graph;

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
        for (_, neighbor) in self.core.neighbors().enumerate().filter(|(number, _)| looked_at(*number)) {
            let timer = Timer::LsUpdRxmt(neighbor.id);
            let waiting = !neighbor.retransmissions.is_empty();
            if self.core.ctx.timers.is_running(timer) != waiting {
                return Err(format!("{:?}: retransmission timer and list differ", neighbor.id));
            }
            // Of a long list the first are looked at: each goes the way of them all.
            if let Some(key) =
                neighbor.retransmissions.iter().take(CHECKED_LSAS).find(|key| self.core.lsdb.get(key).is_none())
            {
                return Err(format!("{:?}: {key} is to be retransmitted and not in the LSDB", neighbor.id));
            }
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
        let heard = self.heard();
        let basis = Basis { trees: &self.trees, lsdb: &self.core.lsdb, heard: &heard, now };
        if !self.rib.is_exact(&basis) {
            return Err("the routing table is not what the LSDB gives".to_owned());
        }
        Ok(())
    }
}
