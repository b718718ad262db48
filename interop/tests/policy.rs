//! The policy simulator: rows of the acceptance table that take little time. All rows: `lab sim farm --accept`.

use interop::policy::{
    acceptance,
    agent::{Policy, Setup},
    farm,
    scenario::Scenario,
};

#[test]
fn overload_pairs_deaths_and_re_hashing_come_out_as_they_should() {
    for row in [3, 6, 11, 15] {
        let outcomes = acceptance::table(1, Some(row)).unwrap();
        assert!(!outcomes.is_empty());
        for outcome in outcomes {
            assert!(outcome.holds(), "{outcome:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_another() {
    let scenario = Scenario::parse(include_str!("../scenarios/slow-server.toml")).unwrap();
    let scenario = Scenario { duration: 80.0, counted: None, ..scenario };
    let run = |seed| {
        let tally = farm::run(&scenario, Setup::new(Policy::Goodput), seed);
        (tally.loss, tally.seconds)
    };
    assert!(run(1) == run(1));
    assert!(run(1) != run(2));
}
