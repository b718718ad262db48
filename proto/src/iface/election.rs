//! Election of Designated Router and Backup (RFC 2328 §9.4; RFC 5340 §4.2.1.1: routers are named by Router ID).

use crate::id::RouterId;

/// A router taking part: itself or a bidirectional neighbor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub router: RouterId,
    /// Router priority; 0: not eligible.
    pub priority: u8,
    /// The DR it names.
    pub dr: RouterId,
    /// The Backup DR it names.
    pub bdr: RouterId,
}

/// The elected (DR, Backup DR); 0.0.0.0: none. `me` names the current ones.
pub fn elect(me: Candidate, heard: Vec<Candidate>) -> (RouterId, RouterId) {
    // (1) the current ones are in `me`; (2), (3)
    let first = calculate(me, &heard);
    // (4) repeat if we have become or ceased to be one of them
    let changed = |now: RouterId, before: RouterId| (now == me.router) != (before == me.router);
    if !changed(first.0, me.dr) && !changed(first.1, me.bdr) {
        return first;
    }
    calculate(Candidate { dr: first.0, bdr: first.1, ..me }, &heard)
}

/// Steps (2) and (3).
fn calculate(me: Candidate, heard: &[Candidate]) -> (RouterId, RouterId) {
    let eligible: Vec<&Candidate> = heard.iter().chain(std::iter::once(&me)).filter(|c| c.priority > 0).collect();
    let best = |set: Vec<&&Candidate>| {
        set.into_iter().max_by_key(|c| (c.priority, c.router)).map_or(RouterId(0), |c| c.router)
    };
    // (2) Backup: among those that do not declare themselves DR, first those that declare themselves Backup
    let not_dr: Vec<&&Candidate> = eligible.iter().filter(|c| c.dr != c.router).collect();
    let declared: Vec<&&Candidate> = not_dr.iter().copied().filter(|c| c.bdr == c.router).collect();
    let bdr = if declared.is_empty() { best(not_dr) } else { best(declared) };
    // (3) DR: among those that declare themselves DR, else the Backup just elected
    let declared: Vec<&&Candidate> = eligible.iter().filter(|c| c.dr == c.router).collect();
    let dr = if declared.is_empty() { bdr } else { best(declared) };
    (dr, bdr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(router: u32, priority: u8, dr: u32, bdr: u32) -> Candidate {
        Candidate { router: RouterId(router), priority, dr: RouterId(dr), bdr: RouterId(bdr) }
    }

    #[test]
    fn alone_we_become_dr_without_backup() {
        assert_eq!(elect(candidate(1, 1, 0, 0), vec![]), (RouterId(1), RouterId(0)));
    }

    #[test]
    fn of_two_that_start_together_the_higher_router_id_becomes_dr_and_the_other_backup() {
        assert_eq!(elect(candidate(2, 1, 0, 0), vec![candidate(1, 1, 0, 0)]), (RouterId(2), RouterId(1)));
        // The other takes it for both (§9.4 (3)) until it hears who is Backup, which is itself.
        assert_eq!(elect(candidate(1, 1, 0, 0), vec![candidate(2, 1, 0, 0)]), (RouterId(2), RouterId(2)));
        assert_eq!(elect(candidate(1, 1, 2, 2), vec![candidate(2, 1, 2, 1)]), (RouterId(2), RouterId(1)));
    }

    #[test]
    fn a_newcomer_of_higher_priority_does_not_displace_the_dr() {
        assert_eq!(
            elect(candidate(9, 200, 0, 0), vec![candidate(1, 1, 1, 2), candidate(2, 1, 1, 2)]),
            (RouterId(1), RouterId(2))
        );
    }

    #[test]
    fn the_backup_becomes_dr_when_the_dr_is_gone() {
        assert_eq!(elect(candidate(2, 1, 1, 2), vec![candidate(3, 1, 1, 2)]), (RouterId(2), RouterId(3)));
    }

    #[test]
    fn priority_zero_never_becomes_anything() {
        assert_eq!(elect(candidate(9, 0, 0, 0), vec![]), (RouterId(0), RouterId(0)));
        assert_eq!(elect(candidate(9, 0, 0, 0), vec![candidate(1, 1, 1, 0)]), (RouterId(1), RouterId(0)));
    }

    proptest! {
        /// Routers that repeatedly hear each other's claims agree after a few rounds, and stay there.
        #[test]
        fn all_routers_agree(priorities in prop::collection::vec(0u8..4, 1..7)) {
            let mut all: Vec<Candidate> =
                (1u32..).zip(&priorities).map(|(id, p)| candidate(id, *p, 0, 0)).collect();
            for _ in 0..4 {
                let before = all.clone();
                for (i, me) in all.iter_mut().enumerate() {
                    let heard = before.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, c)| *c).collect();
                    (me.dr, me.bdr) = elect(before[i], heard);
                }
            }
            let views: std::collections::BTreeSet<_> = all.iter().map(|c| (c.dr, c.bdr)).collect();
            prop_assert_eq!(views.len(), 1);
            let (dr, bdr) = (all[0].dr, all[0].bdr);
            let eligible = priorities.iter().filter(|p| **p > 0).count();
            prop_assert_eq!(dr != RouterId(0), eligible > 0);
            prop_assert_eq!(bdr != RouterId(0), eligible > 1);
            prop_assert!(dr != bdr || eligible == 0);
        }
    }
}
