//! Whether a service is advertised at all: health, drain, and the two guards against serving nobody.

use std::fmt;

use serde::Serialize;

use super::drain::DRAIN_COST;
use crate::sample::Health;

/// The cost of a dead service that is the last resort: behind all that live, before one that is being drained.
pub const LAST_RESORT_COST: u16 = DRAIN_COST - 1;

/// What the decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The newest word on the service's life.
    pub health: &'a Health,
    /// It is advertised now.
    pub advertised: bool,
    /// It was seen alive in this life of the daemon.
    pub proven: bool,
    /// The operator wants it drained.
    pub drained: bool,
    /// Others that advertise it, for better than as a last resort.
    pub others: usize,
    /// Others in the class that are not being drained.
    pub serving: usize,
    /// A drain waits while fewer others than this serve.
    pub min_serving: usize,
    /// A drain has got to the point where the prefixes are withdrawn.
    pub emptied: bool,
    /// Stay advertised when dead if nobody else is there.
    pub last_resort: bool,
}

/// Advertised or not, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Advertised: it answers.
    Serving,
    /// Advertised: its health could not be read, and it was alive before.
    Assumed,
    /// Advertised although drained: too few others serve.
    DrainWaits,
    /// Advertised at the maximum cost: drained, its last queries are awaited.
    Draining,
    /// Advertised although dead: nobody else is there and it is the last resort.
    LastResort,
    /// Withdrawn: dead.
    Dead,
    /// Not advertised: it has never been seen alive.
    Unproven,
    /// Withdrawn: drained.
    Drained,
}

impl Standing {
    /// Whether the prefixes are advertised.
    pub fn is_advertised(self) -> bool {
        !matches!(self, Standing::Dead | Standing::Unproven | Standing::Drained)
    }

    /// The cost that it demands whatever the law says, if any.
    pub fn cost(self) -> Option<u16> {
        match self {
            Standing::Draining => Some(DRAIN_COST),
            Standing::LastResort => Some(LAST_RESORT_COST),
            _ => None,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Standing::Serving => "serving",
            Standing::Assumed => "serving (health unreadable, alive before)",
            Standing::Draining => "draining: at the maximum cost until the last queries are answered",
            Standing::DrainWaits => "serving (drain waits: too few others serve)",
            Standing::LastResort => "advertised although dead (last resort)",
            Standing::Dead => "withdrawn: dead",
            Standing::Unproven => "not advertised: not yet seen alive",
            Standing::Drained => "withdrawn: drained",
        })
    }
}

/// Decides.
pub fn standing(situation: Situation<'_>) -> Standing {
    let enough_others = situation.serving >= situation.min_serving;
    let dead = matches!(situation.health, Health::Dead(_) | Health::Silent(_));
    // Before the health: what a drain has taken away (the address, the service itself) is no death.
    if situation.drained && !situation.advertised && (situation.emptied || enough_others) {
        return Standing::Drained;
    }
    match situation.health {
        _ if dead && situation.last_resort && situation.others == 0 && situation.proven => Standing::LastResort,
        Health::Dead(_) | Health::Silent(_) => Standing::Dead,
        Health::Unknown(_) if !situation.advertised => Standing::Unproven,
        _ if situation.drained && !enough_others => Standing::DrainWaits,
        _ if situation.drained && situation.emptied => Standing::Drained,
        _ if situation.drained => Standing::Draining,
        Health::Unknown(_) => Standing::Assumed,
        // A slow one serves: what it is worth is for the law to weigh.
        Health::Alive | Health::Slow(_) => Standing::Serving,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::CLASS_COST;

    const CALM: Situation<'static> = Situation {
        health: &Health::Alive,
        advertised: true,
        proven: true,
        drained: false,
        others: 2,
        serving: 2,
        min_serving: 1,
        emptied: false,
        last_resort: false,
    };

    fn dead() -> Health {
        Health::Dead("no socket".into())
    }

    #[test]
    fn a_dead_service_is_withdrawn_whatever_the_others_do() {
        let health = dead();
        assert_eq!(standing(Situation { health: &health, ..CALM }), Standing::Dead);
        assert_eq!(standing(Situation { health: &health, others: 0, serving: 0, ..CALM }), Standing::Dead);
    }

    #[test]
    fn the_last_resort_stays_only_while_nobody_else_is_there() {
        let health = dead();
        let last = Situation { health: &health, last_resort: true, ..CALM };
        assert_eq!(standing(last), Standing::Dead);
        assert_eq!(standing(Situation { others: 0, ..last }), Standing::LastResort);
        assert_eq!(standing(Situation { others: 0, proven: false, ..last }), Standing::Dead, "it never lived");
    }

    #[test]
    fn an_unreadable_health_changes_nothing() {
        let health = Health::Unknown("netlink".into());
        assert_eq!(standing(Situation { health: &health, ..CALM }), Standing::Assumed);
        assert_eq!(standing(Situation { health: &health, advertised: false, ..CALM }), Standing::Unproven);
    }

    #[test]
    fn a_drain_waits_until_enough_others_serve() {
        let drained = Situation { drained: true, ..CALM };
        assert_eq!(standing(drained), Standing::Draining);
        assert_eq!(standing(Situation { emptied: true, ..drained }), Standing::Drained);
        assert_eq!(standing(Situation { serving: 0, ..drained }), Standing::DrainWaits);
        assert_eq!(standing(Situation { serving: 0, min_serving: 0, ..drained }), Standing::Draining);
        assert_eq!(standing(Situation { advertised: false, ..drained }), Standing::Drained);
    }

    #[test]
    fn a_silent_service_is_dead_and_a_slow_one_serves() {
        let (silent, slow) = (Health::Silent("no answer".into()), Health::Slow("900 ms".into()));
        assert_eq!(standing(Situation { health: &silent, ..CALM }), Standing::Dead);
        assert_eq!(standing(Situation { health: &slow, ..CALM }), Standing::Serving);
    }

    #[test]
    fn a_drained_service_that_is_stopped_afterwards_stays_drained() {
        for health in [dead(), Health::Unknown("no address".into()), Health::Alive] {
            let done =
                Situation { health: &health, advertised: false, drained: true, emptied: true, serving: 0, ..CALM };
            assert_eq!(standing(done), Standing::Drained, "{health:?}");
        }
    }

    #[test]
    fn a_drain_that_waited_for_others_waits_over_a_restart_too() {
        let restarted = Situation { advertised: false, drained: true, serving: 0, ..CALM };
        assert_eq!(standing(restarted), Standing::DrainWaits);
        assert_eq!(standing(Situation { serving: 2, ..restarted }), Standing::Drained);
    }

    #[test]
    fn the_last_resort_lies_behind_all_that_live() {
        assert!(Standing::LastResort.cost() > Some(CLASS_COST));
        assert!(Standing::LastResort.cost() < Standing::Draining.cost());
    }
}
