//! The simulator in the test suite: some seeds, every trace that once failed, and the mutants' patches.

use std::{fs, path::Path};

use interop::sim::{
    mutants,
    scenario::Scenario,
    soak::{Plan, play, regressions, soak},
};

#[test]
fn some_seeds_hold() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan { routers: 14, threads, fail_fast: false, trace: false };
    let report = soak(0..16, &plan, |seed, broken| println!("seed {seed}: {broken}"));
    assert_eq!(report.seeds, 16);
    assert_eq!(report.failed, vec![]);
    assert!(report.stats.packets > 100_000, "{:?}", report.stats);
}

#[test]
fn every_trace_that_once_failed_holds() {
    let mut paths: Vec<_> = fs::read_dir(regressions()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        if let Err(broken) = Scenario::load(&path).map_err(|error| error.to_string()).and_then(|s| play(&s, false)) {
            panic!("{}: {broken}", path.display());
        }
    }
}

#[test]
fn a_scenario_is_the_same_for_ever_and_survives_being_written() {
    let scenario = Scenario::of_seed(3, 8);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.json");
    scenario.save(&path).unwrap();
    assert_eq!(Scenario::load(&path).unwrap(), scenario);
    let (a, b) = (play(&scenario, false).unwrap(), play(&scenario, false).unwrap());
    assert_eq!((a.events, a.packets, a.spf, a.loops), (b.events, b.packets, b.spf, b.loops));
}

#[test]
fn every_mutant_applies_to_the_engine_as_it_is() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let patches = mutants::patches().unwrap();
    assert!(patches.len() >= 10, "{}", patches.len());
    for patch in patches {
        assert!(mutants::applies(workspace, &patch).unwrap(), "{} does not apply", patch.display());
    }
}
