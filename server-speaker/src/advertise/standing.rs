//! Whether a service is advertised at all: health, drain, and the two guards against serving nobody.

use std::fmt;

use serde::Serialize;

use crate::sample::Health;

/// What the decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The newest word on the service's life.
    pub health: &'a Health,
    /// It is advertised now.
    pub advertised: bool,
    /// The operator wants it drained.
    pub drained: bool,
    /// Others that advertise it, at any cost.
    pub others: usize,
    /// Others in the class that are not being drained.
    pub serving: usize,
    /// A drain waits while fewer others than this serve.
    pub min_serving: usize,
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
        matches!(self, Standing::Serving | Standing::Assumed | Standing::DrainWaits | Standing::LastResort)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Standing::Serving => "serving",
            Standing::Assumed => "serving (health unreadable, alive before)",
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
    match situation.health {
        Health::Dead(_) if situation.last_resort && situation.others == 0 => Standing::LastResort,
        Health::Dead(_) => Standing::Dead,
        Health::Unknown(_) if !situation.advertised => Standing::Unproven,
        Health::Alive | Health::Unknown(_) if situation.drained => {
            if situation.serving < situation.min_serving {
                Standing::DrainWaits
            } else {
                Standing::Drained
            }
        }
        Health::Unknown(_) => Standing::Assumed,
        Health::Alive => Standing::Serving,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Situation<'static> = Situation {
        health: &Health::Alive,
        advertised: true,
        drained: false,
        others: 2,
        serving: 2,
        min_serving: 1,
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
        assert_eq!(standing(drained), Standing::Drained);
        assert_eq!(standing(Situation { serving: 0, ..drained }), Standing::DrainWaits);
        assert_eq!(standing(Situation { serving: 0, min_serving: 0, ..drained }), Standing::Drained);
    }
}
