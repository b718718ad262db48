//! The neighbor state machine as a table (RFC 2328 §10.3).
//!
//! Differs: `Attempt` and the event `Start` belong to NBMA links and do not exist here. `SeqNumberMismatch` and
//! `BadLSReq` have one row each for all states from Exchange on.

use crate::state::NeighborState::{self, Down, ExStart, Exchange, Full, Init, Loading, TwoWay};

/// Events (RFC 2328 §10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NeighborEvent {
    /// A Hello was received.
    HelloReceived,
    /// We are named in its Hello.
    TwoWayReceived,
    /// Master and sequence number are settled.
    NegotiationDone,
    /// Both sides have described everything.
    ExchangeDone,
    /// It asked for an LSA that we do not have.
    BadLsReq,
    /// Nothing is left to be requested.
    LoadingDone,
    /// Whether an adjacency is wanted may have changed.
    AdjOk,
    /// A Database Description packet out of sequence, or with other options, or with the I-bit.
    SeqNumberMismatch,
    /// We are not named in its Hello.
    OneWay,
    /// It shall be forgotten.
    KillNbr,
    /// Silent for RouterDeadInterval.
    InactivityTimer,
    /// The link is down.
    LlDown,
}

impl NeighborEvent {
    /// Every event, for tables and tests.
    pub const ALL: [NeighborEvent; 12] = [
        NeighborEvent::HelloReceived,
        NeighborEvent::TwoWayReceived,
        NeighborEvent::NegotiationDone,
        NeighborEvent::ExchangeDone,
        NeighborEvent::BadLsReq,
        NeighborEvent::LoadingDone,
        NeighborEvent::AdjOk,
        NeighborEvent::SeqNumberMismatch,
        NeighborEvent::OneWay,
        NeighborEvent::KillNbr,
        NeighborEvent::InactivityTimer,
        NeighborEvent::LlDown,
    ];

    /// The name as RFC 2328 §10.2 spells it.
    pub const fn name(self) -> &'static str {
        match self {
            NeighborEvent::HelloReceived => "HelloReceived",
            NeighborEvent::TwoWayReceived => "2-WayReceived",
            NeighborEvent::NegotiationDone => "NegotiationDone",
            NeighborEvent::ExchangeDone => "ExchangeDone",
            NeighborEvent::BadLsReq => "BadLSReq",
            NeighborEvent::LoadingDone => "LoadingDone",
            NeighborEvent::AdjOk => "AdjOK?",
            NeighborEvent::SeqNumberMismatch => "SeqNumberMismatch",
            NeighborEvent::OneWay => "1-Way",
            NeighborEvent::KillNbr => "KillNbr",
            NeighborEvent::InactivityTimer => "InactivityTimer",
            NeighborEvent::LlDown => "LLDown",
        }
    }
}

/// The state a transition leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// No change.
    Stay,
    /// This one.
    State(NeighborState),
    /// By whether an adjacency is wanted (RFC 2328 §10.4).
    ByAdjacency {
        /// If it is.
        yes: NeighborState,
        /// If not.
        no: NeighborState,
    },
    /// By what is left on the Link state request list.
    ByRequests {
        /// Nothing.
        empty: NeighborState,
        /// Something.
        left: NeighborState,
    },
}

/// What a transition does besides changing the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the inactivity timer anew.
    RestartInactivity,
    /// Clear the lists of the exchange. The retransmission list goes with the state, whatever led out of it.
    ClearLists,
    /// Begin to describe our LSDB (Database summary list).
    BeginSummary,
    /// Send Link State Requests.
    RequestNext,
    /// Stop the inactivity timer.
    StopTimers,
}

/// The row of the table for a state and an event; none: nothing happens (RFC 2328 §10.3).
///
/// Entering ExStart (from whatever state) starts the negotiation: that is an entry action, not a column.
pub fn transition(state: NeighborState, event: NeighborEvent) -> Option<(Next, &'static [Action])> {
    use Action::{BeginSummary, ClearLists, RequestNext, RestartInactivity, StopTimers};
    use NeighborEvent as E;
    let row: (Next, &'static [Action]) = match (event, state) {
        (E::HelloReceived, Down) => (Next::State(Init), &[RestartInactivity]),
        (E::HelloReceived, _) => (Next::Stay, &[RestartInactivity]),
        (E::TwoWayReceived, Init) => (Next::ByAdjacency { yes: ExStart, no: TwoWay }, &[]),
        (E::NegotiationDone, ExStart) => (Next::State(Exchange), &[BeginSummary]),
        (E::ExchangeDone, Exchange) => (Next::ByRequests { empty: Full, left: Loading }, &[RequestNext]),
        (E::LoadingDone, Loading) => (Next::State(Full), &[]),
        (E::AdjOk, TwoWay) => (Next::ByAdjacency { yes: ExStart, no: TwoWay }, &[]),
        (E::AdjOk, ExStart) => (Next::ByAdjacency { yes: ExStart, no: TwoWay }, &[]),
        (E::AdjOk, Exchange) => (Next::ByAdjacency { yes: Exchange, no: TwoWay }, &[]),
        (E::AdjOk, Loading) => (Next::ByAdjacency { yes: Loading, no: TwoWay }, &[]),
        (E::AdjOk, Full) => (Next::ByAdjacency { yes: Full, no: TwoWay }, &[]),
        (E::SeqNumberMismatch | E::BadLsReq, Exchange | Loading | Full) => (Next::State(ExStart), &[ClearLists]),
        (E::OneWay, TwoWay | ExStart | Exchange | Loading | Full) => (Next::State(Init), &[ClearLists]),
        (E::KillNbr | E::LlDown, _) => (Next::State(Down), &[ClearLists, StopTimers]),
        (E::InactivityTimer, _) => (Next::State(Down), &[ClearLists]),
        _ => return None,
    };
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [NeighborState; 7] = [Down, Init, TwoWay, ExStart, Exchange, Loading, Full];

    /// RFC 2328 §10.3, one line a row: event, then the state reached from Down, Init, TwoWay, ExStart, Exchange,
    /// Loading, Full; `-`: nothing happens, `a/b`: by adjacency or by the request list.
    const TABLE: &str = "
        HelloReceived      Init  Init         TwoWay         ExStart        Exchange        Loading        Full
        2-WayReceived      -     ExStart/TwoWay -            -              -               -              -
        NegotiationDone    -     -            -              Exchange       -               -              -
        ExchangeDone       -     -            -              -              Full/Loading    -              -
        BadLSReq           -     -            -              -              ExStart         ExStart        ExStart
        LoadingDone        -     -            -              -              -               Full           -
        AdjOK?             -     -            ExStart/TwoWay ExStart/TwoWay Exchange/TwoWay Loading/TwoWay Full/TwoWay
        SeqNumberMismatch  -     -            -              -              ExStart         ExStart        ExStart
        1-Way              -     -            Init           Init           Init            Init           Init
        KillNbr            Down  Down         Down           Down           Down            Down           Down
        InactivityTimer    Down  Down         Down           Down           Down            Down           Down
        LLDown             Down  Down         Down           Down           Down            Down           Down
    ";

    #[test]
    fn every_event_in_every_state_leads_where_rfc_2328_10_3_says() {
        let rows: Vec<Vec<&str>> =
            TABLE.lines().map(|l| l.split_whitespace().collect()).filter(|r: &Vec<&str>| !r.is_empty()).collect();
        assert_eq!(rows.len(), NeighborEvent::ALL.len());
        for (row, event) in rows.iter().zip(NeighborEvent::ALL) {
            assert_eq!(row[0], event.name());
            assert_eq!(row.len(), 1 + STATES.len());
            for (cell, state) in row[1..].iter().zip(STATES) {
                let got = match transition(state, event).map(|(next, _)| next) {
                    None => "-".to_owned(),
                    Some(Next::Stay) => state.to_string(),
                    Some(Next::State(to)) => to.to_string(),
                    Some(Next::ByAdjacency { yes, no }) => format!("{yes}/{no}"),
                    Some(Next::ByRequests { empty, left }) => format!("{empty}/{left}"),
                };
                assert_eq!(*cell, got, "{} in {state}", event.name());
            }
        }
    }

    #[test]
    fn losing_an_adjacency_clears_the_lists() {
        for state in [Exchange, Loading, Full] {
            for event in [NeighborEvent::BadLsReq, NeighborEvent::SeqNumberMismatch, NeighborEvent::OneWay] {
                let (_, actions) = transition(state, event).unwrap();
                assert!(actions.contains(&Action::ClearLists));
            }
        }
    }
}
