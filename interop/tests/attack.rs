//! ospfd-lite under attack by a valid neighbor: whatever it sends, the router lives, counts it, and neither the adjacency
//! with an innocent router nor that router's route suffers.

use std::process::ExitCode;

use anyhow::{Result, bail};
use interop::{
    attack::{
        self,
        cases::{self, Case},
    },
    harness::{self, Needs},
    lab::Lab,
    lab_tests,
    peer::Version,
};

fn main() -> ExitCode {
    let tests = lab_tests![
        malformed_packets_and_lsas_are_counted_and_change_nothing,
        a_neighbor_cannot_disturb_another_adjacency,
        a_neighbor_cannot_spoil_the_database,
    ];
    harness::main(Needs::Daemons, &tests)
}

fn malformed_packets_and_lsas_are_counted_and_change_nothing(lab: &mut Lab) -> Result<()> {
    stand(lab, cases::MALFORMED)
}

fn a_neighbor_cannot_disturb_another_adjacency(lab: &mut Lab) -> Result<()> {
    stand(lab, cases::NEIGHBOR)
}

fn a_neighbor_cannot_spoil_the_database(lab: &mut Lab) -> Result<()> {
    stand(lab, cases::DATABASE)
}

fn stand(lab: &mut Lab, cases: &[Case]) -> Result<()> {
    let outcomes = attack::attack(lab, &Version::Ours, &cases.iter().collect::<Vec<_>>())?;
    let faults: Vec<_> =
        outcomes.iter().flat_map(|o| o.faults.iter().map(move |fault| format!("{}: {fault}", o.name))).collect();
    if outcomes.len() != cases.len() || !faults.is_empty() {
        bail!("{} of {} cases, faults: {faults:#?}", outcomes.len(), cases.len());
    }
    Ok(())
}
