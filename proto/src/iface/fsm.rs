//! The interface state machine (RFC 2328 §9.3).
//!
//! Differs: the events `LoopInd` and `UnloopInd` do not exist (the kernel tells no such thing); a passive interface is
//! put into state Loopback: its prefixes are advertised and nothing else happens.

use crate::state::IfaceState::{self, Backup, Down, Dr, DrOther, Loopback, PointToPoint, Waiting};

/// Events (RFC 2328 §9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IfaceEvent {
    /// The link can be used.
    InterfaceUp,
    /// The waiting is over.
    WaitTimer,
    /// A Backup DR was seen, or that there is none.
    BackupSeen,
    /// Bidirectional neighbors, their priorities or the DRs that they name have changed.
    NeighborChange,
    /// The link cannot be used.
    InterfaceDown,
}

impl IfaceEvent {
    /// Every event, for tables and tests.
    pub const ALL: [IfaceEvent; 5] = [
        IfaceEvent::InterfaceUp,
        IfaceEvent::WaitTimer,
        IfaceEvent::BackupSeen,
        IfaceEvent::NeighborChange,
        IfaceEvent::InterfaceDown,
    ];
}

/// Where a transition leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfaceNext {
    /// Up: PointToPoint, Waiting, DROther (priority 0) or, if passive, Loopback.
    Up,
    /// Elect DR and Backup DR; the result is the state.
    Elect,
    /// Down.
    Down,
}

/// The row of the table for a state and an event; none: nothing happens.
pub fn transition(state: IfaceState, event: IfaceEvent) -> Option<IfaceNext> {
    match (event, state) {
        (IfaceEvent::InterfaceUp, Down) => Some(IfaceNext::Up),
        (IfaceEvent::WaitTimer | IfaceEvent::BackupSeen, Waiting) => Some(IfaceNext::Elect),
        (IfaceEvent::NeighborChange, DrOther | Backup | Dr) => Some(IfaceNext::Elect),
        (IfaceEvent::InterfaceDown, Loopback | Waiting | PointToPoint | DrOther | Backup | Dr) => Some(IfaceNext::Down),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_in_every_state_leads_where_rfc_2328_9_3_says() {
        const STATES: [IfaceState; 7] = [Down, Loopback, Waiting, PointToPoint, DrOther, Backup, Dr];
        let table = [
            ("InterfaceUp", "Up - - - - - -"),
            ("WaitTimer", "- - Elect - - - -"),
            ("BackupSeen", "- - Elect - - - -"),
            ("NeighborChange", "- - - - Elect Elect Elect"),
            ("InterfaceDown", "- Down Down Down Down Down Down"),
        ];
        assert_eq!(table.len(), IfaceEvent::ALL.len());
        for ((name, row), event) in table.iter().zip(IfaceEvent::ALL) {
            assert_eq!(*name, format!("{event:?}"));
            let cells: Vec<&str> = row.split(' ').collect();
            assert_eq!(cells.len(), STATES.len());
            for (cell, state) in cells.iter().zip(STATES) {
                let got = transition(state, event).map_or("-".to_owned(), |next| format!("{next:?}"));
                assert_eq!(*cell, got, "{name} in {state}");
            }
        }
    }
}
