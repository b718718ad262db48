//! The matrix as data: names that can be asked for, limitations that can be met, and what a report says of its cells.

use std::{collections::BTreeSet, path::Path};

use interop::matrix::{
    cell::{Cell, Result, Verdict},
    report::{About, Report, complete},
    table::{LIMITATIONS, PEERS, Role, SCENARIOS, scenario},
};

#[test]
fn no_two_rows_have_one_name() {
    let peers: BTreeSet<_> = PEERS.iter().map(|row| row.name).collect();
    let scenarios: BTreeSet<_> = SCENARIOS.iter().map(|row| row.name).collect();
    assert_eq!((peers.len(), scenarios.len()), (PEERS.len(), SCENARIOS.len()));
}

#[test]
fn every_row_is_played_somewhere_and_every_role_is_in_the_short_form() {
    for row in SCENARIOS {
        assert!(Role::ALL.iter().any(|role| row.not_applicable(*role).is_none()), "{}", row.name);
        assert!(row.short.iter().all(|role| row.not_applicable(*role).is_none()), "{}", row.name);
    }
    for role in Role::ALL {
        assert!(SCENARIOS.iter().any(|row| row.short.contains(&role)), "{role}");
    }
    assert!(PEERS.iter().any(|row| row.of_the_host), "the short form has no peer");
}

#[test]
fn every_limitation_is_one_of_a_cell_that_is_played_and_asks_for_evidence() {
    for one in LIMITATIONS {
        let row = scenario(one.scenario).unwrap_or_else(|| panic!("no scenario {}", one.scenario));
        assert!(!one.roles.is_empty() && one.roles.iter().all(|role| row.not_applicable(*role).is_none()));
        assert!(one.peers.iter().all(|peer| PEERS.iter().any(|row| row.name.starts_with(peer))), "{:?}", one.peers);
        assert!(one.evidence.len() > 10, "{:?} would excuse anything", one.evidence);
    }
}

#[test]
fn a_failure_is_shown_with_what_was_observed_and_no_cell_is_passed_over() {
    let cell = |role: Role, verdict| Cell {
        peer: "frr-8.4".into(),
        role: role.name().into(),
        scenario: "ecmp".into(),
        verdict,
    };
    let failed = Verdict::new(Result::Failure, "waited `long`\nfor nothing");
    let passed = Verdict::default().with("FIB", std::time::Duration::from_millis(12));
    let run = About {
        date: String::new(),
        command: String::new(),
        commit: String::new(),
        kernel: String::new(),
        machine: String::new(),
        load: (String::new(), String::new()),
        profile: String::new(),
        took: 0.0,
    };
    let report = Report { run, cells: vec![cell(Role::Dr, failed), cell(Role::Bdr, passed)] };
    assert_eq!(report.failures(), 1);
    let text = report.markdown();
    let row = text.lines().find(|line| line.starts_with("| ecmp | not played")).unwrap();
    assert_eq!(row, "| ecmp | not played | not played | **[FAILURE](#failures)** | pass: FIB 12 ms | not played |");
    assert!(text.contains("dr, ecmp: Observed: `waited 'long' for nothing`"), "{text}");
}

#[test]
fn the_document_has_every_cell() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/interop.md");
    let missing = complete(&document).unwrap();
    assert!(missing.is_empty(), "write it anew (`lab matrix --markdown docs/interop.md`); it lacks {missing:?}");
}
