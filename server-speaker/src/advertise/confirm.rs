//! Wanted and confirmed: what our LSAs state and who has acknowledged them, beside what they ought to state.
//!
//! The engine does what it is told as soon as MinLSInterval lets it. This looks whether it has, says where it stands, and
//! tells the engine again if it has not after a time that no rule explains.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ospf_proto::id::RouterId;
use ospf_proto::lsa::Prefix;
use ospf_proto::time::Instant;

/// Beyond MinLSInterval, the time in which a wish must have become an LSA.
const PATIENCE: Duration = Duration::from_secs(2);
/// A neighbor that has not acknowledged for this time is named: several retransmissions are lost.
const ACK_PATIENCE: Duration = Duration::from_secs(10);

/// Where the advertisement stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Confirmation {
    /// Every neighbor has acknowledged what is wanted.
    #[default]
    Confirmed,
    /// No adjacency is Full: nobody hears us.
    Unheard,
    /// Our LSAs do not state it yet.
    Pending,
    /// Stated; these neighbors have not acknowledged it.
    Unacknowledged(BTreeSet<RouterId>),
}

impl fmt::Display for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Confirmation::Confirmed => f.write_str("stated and acknowledged"),
            Confirmation::Unheard => f.write_str("no adjacency is Full: nobody hears us"),
            Confirmation::Pending => f.write_str("not stated yet (MinLSInterval)"),
            Confirmation::Unacknowledged(by) => {
                let names: Vec<String> = by.iter().map(RouterId::to_string).collect();
                write!(f, "stated, not acknowledged by {}", names.join(", "))
            }
        }
    }
}

/// What is seen at one look.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// What ought to be advertised.
    pub wanted: &'a BTreeMap<Prefix, u16>,
    /// What our LSAs in the database state.
    pub stated: BTreeMap<Prefix, u16>,
    /// The neighbors that have not acknowledged some LSA of ours.
    pub unacknowledged: BTreeSet<RouterId>,
    /// LSAs of ours may be originated.
    pub ready: bool,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// The engine is to be told again, and the log why.
    TellAgain(String),
    /// The log is to be told of something wrong.
    Say(String),
    /// The log is to be told of something that is as it should be.
    Note(String),
}

/// Compares, look by look.
#[derive(Clone, Debug)]
pub struct Reconciler {
    patience: Duration,
    state: Confirmation,
    since: Instant,
    complained: bool,
}

impl Reconciler {
    /// Begins; `min_ls_interval` is the time that the engine may hold a change back.
    pub fn new(now: Instant, min_ls_interval: Duration) -> Self {
        let patience = min_ls_interval + PATIENCE;
        Reconciler { patience, state: Confirmation::Unheard, since: now, complained: false }
    }

    /// Where it stands, and since when.
    pub fn state(&self) -> (&Confirmation, Instant) {
        (&self.state, self.since)
    }

    /// One look.
    pub fn step(&mut self, now: Instant, seen: Seen<'_>) -> Action {
        let state = if !seen.ready {
            Confirmation::Unheard
        } else if seen.stated != *seen.wanted {
            Confirmation::Pending
        } else if !seen.unacknowledged.is_empty() {
            Confirmation::Unacknowledged(seen.unacknowledged)
        } else {
            Confirmation::Confirmed
        };
        // Another neighbor that is late is the same state.
        if std::mem::discriminant(&state) != std::mem::discriminant(&self.state) {
            let was_unheard = self.state == Confirmation::Unheard;
            (self.since, self.complained) = (now, false);
            self.state = state;
            return match self.state {
                Confirmation::Unheard => {
                    Action::Say("no adjacency is Full any more: nobody hears what is advertised".into())
                }
                _ if was_unheard => Action::Note("an adjacency is Full: what is advertised is heard".into()),
                _ => Action::None,
            };
        }
        self.state = state;
        let time = now - self.since;
        let (late, action) = match &self.state {
            Confirmation::Pending => {
                let text = format!(
                    "our LSAs still do not state what is wanted after {:.1} s: telling the engine again",
                    time.as_secs_f64()
                );
                (time >= self.patience, Action::TellAgain(text))
            }
            Confirmation::Unacknowledged(_) => (time >= ACK_PATIENCE, Action::Say(self.state.to_string())),
            _ => (false, Action::None),
        };
        if !late || self.complained {
            return Action::None;
        }
        // Told again, it gets the whole patience again.
        match &action {
            Action::TellAgain(_) => self.since = now,
            _ => self.complained = true,
        }
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_epoch(Duration::from_secs(seconds))
    }

    fn prefixes(cost: u16) -> BTreeMap<Prefix, u16> {
        ["2001:db8::53/128".parse().map(|prefix| (prefix, cost)).unwrap()].into()
    }

    fn look(reconciler: &mut Reconciler, seconds: u64, (stated, late): (u16, &[u32]), ready: bool) -> Action {
        let unacknowledged = late.iter().map(|id| RouterId(*id)).collect();
        let seen = Seen { wanted: &prefixes(10), stated: prefixes(stated), unacknowledged, ready };
        reconciler.step(at(seconds), seen)
    }

    fn new() -> Reconciler {
        let mut reconciler = Reconciler::new(at(0), Duration::from_secs(5));
        assert!(matches!(look(&mut reconciler, 1, (10, &[]), true), Action::Note(text) if text.contains("is heard")));
        reconciler
    }

    #[test]
    fn a_wish_that_does_not_become_an_lsa_is_told_again_and_again() {
        let mut reconciler = new();
        assert_eq!(look(&mut reconciler, 10, (20, &[]), true), Action::None);
        assert_eq!(look(&mut reconciler, 16, (20, &[]), true), Action::None, "MinLSInterval may still run");
        assert!(matches!(look(&mut reconciler, 17, (20, &[]), true), Action::TellAgain(_)));
        assert_eq!(look(&mut reconciler, 18, (20, &[]), true), Action::None);
        assert!(matches!(look(&mut reconciler, 24, (20, &[]), true), Action::TellAgain(_)));
        look(&mut reconciler, 25, (10, &[]), true);
        assert_eq!(reconciler.state(), (&Confirmation::Confirmed, at(25)));
    }

    #[test]
    fn a_neighbor_that_does_not_acknowledge_is_named_once() {
        let mut reconciler = new();
        assert_eq!(look(&mut reconciler, 10, (10, &[7]), true), Action::None);
        assert_eq!(look(&mut reconciler, 19, (10, &[7]), true), Action::None);
        let said = Action::Say("stated, not acknowledged by 0.0.0.7".into());
        assert_eq!(look(&mut reconciler, 20, (10, &[7]), true), said);
        assert_eq!(look(&mut reconciler, 40, (10, &[7]), true), Action::None);
    }

    #[test]
    fn a_farm_that_nobody_reaches_is_said() {
        let mut reconciler = new();
        let said = look(&mut reconciler, 9, (10, &[]), false);
        assert!(matches!(said, Action::Say(text) if text.contains("nobody hears")));
        assert_eq!(look(&mut reconciler, 99, (10, &[]), false), Action::None);
    }
}
