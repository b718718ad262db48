//! The law in a whole farm: its acceptance figures in a small deterministic simulation.

// A panic is how a test fails.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod sim;

use server_speaker::law::{CLASS_COST, Claim, Policy};
use sim::Sim;

const EIGHT: [f64; 8] = [1000.0; 8];

fn farm_4_2_1(unit: f64) -> Vec<f64> {
    [4.0, 2.0, 1.0, 4.0, 2.0, 1.0, 4.0, 2.0].map(|u| u * unit).to_vec()
}

#[test]
fn identical_servers_at_80_percent_lose_nothing_and_change_no_cost() {
    let mut sim = Sim::new(Policy::Goodput, &EIGHT, 6400.0);
    sim.run(300.0);
    assert_eq!(sim.decisions(), 0);
    assert!(sim.lost_since(&(0, 0)) <= 0.0002, "lost {}", sim.lost_since(&(0, 0)));
}

#[test]
fn identical_servers_near_saturation_change_no_cost_whatever_the_arrivals() {
    for load in [0.9, 0.95, 1.0, 1.05] {
        for seed in 1..4 {
            let mut sim = Sim::seeded(Policy::Goodput, &EIGHT.map(|mu| 0.3 * mu), 2400.0 * load, seed);
            sim.run(200.0);
            assert_eq!(sim.decisions(), 0, "load {load}, seed {seed}");
        }
    }
}

#[test]
fn an_overloaded_farm_stays_together_and_answers_at_its_capacity() {
    for (load, lost) in [(1.1, 0.091), (1.2, 0.167)] {
        let mut sim = Sim::new(Policy::Goodput, &EIGHT, 8000.0 * load);
        sim.run(10.0);
        let (mark, served) = (sim.mark(), sim.served());
        sim.run(200.0);
        assert_eq!(sim.decisions(), 0, "load {load}");
        let goodput = (sim.served() - served) as f64 / (8000.0 * 200.0);
        assert!(goodput >= 0.99, "goodput {goodput} at load {load}");
        let measured = sim.lost_since(&mark);
        assert!((measured - lost).abs() < 0.005, "lost {measured} at load {load}");
    }
}

#[test]
fn a_server_slowed_to_30_percent_leaves_within_6_s_and_returns_after_its_recovery() {
    let mut sim = Sim::new(Policy::Goodput, &EIGHT, 4800.0);
    sim.run(30.0);
    let mark = sim.mark();
    sim.servers[3].mu = 300.0;
    sim.run(60.0);
    let lost = sim.lost_since(&mark);
    let (left, cost) = sim.servers[3].decisions[0];
    assert!(left - 30.0 <= 6.0 && cost > CLASS_COST, "left {left} with cost {cost}");
    assert!(lost <= 0.010, "lost {lost} while slow");
    sim.servers[3].mu = 1000.0;
    let mark = sim.mark();
    sim.run(90.0);
    assert_eq!(sim.in_class(), 8);
    assert!(sim.lost_since(&mark) < 0.003, "lost {} after recovery", sim.lost_since(&mark));
    assert!(sim.servers.iter().enumerate().all(|(i, s)| i == 3 || s.decisions.is_empty()));
}

#[test]
fn a_server_slow_for_an_hour_makes_at_most_28_changes_and_the_others_none() {
    let mut sim = Sim::new(Policy::Goodput, &EIGHT.map(|mu| mu / 10.0), 480.0);
    sim.run(30.0);
    let mark = sim.mark();
    sim.servers[7].mu = 30.0;
    sim.run(3600.0);
    let changes = sim.servers[7].lsas();
    assert!((1..=28).contains(&changes), "{changes} changes");
    assert_eq!(sim.decisions(), sim.servers[7].decisions.len());
    assert!(sim.lost_since(&mark) <= 0.01, "lost {}", sim.lost_since(&mark));
}

#[test]
fn a_4_2_1_farm_at_half_load_shrinks_from_8_to_6_within_20_s_and_then_rests() {
    let capacities = farm_4_2_1(400.0);
    let load = 0.5 * capacities.iter().sum::<f64>();
    let mut sim = Sim::new(Policy::Goodput, &capacities, load);
    sim.run(20.0);
    assert_eq!(sim.in_class(), 6);
    let (mark, decisions) = (sim.mark(), sim.decisions());
    sim.run(300.0);
    assert_eq!((sim.in_class(), sim.decisions()), (6, decisions));
    assert!(sim.lost_since(&mark) <= 0.0005, "lost {}", sim.lost_since(&mark));
}

#[test]
fn all_servers_halved_under_load_stay_and_recover() {
    let mut sim = Sim::new(Policy::Goodput, &EIGHT, 5600.0);
    sim.run(30.0);
    let mark = sim.mark();
    sim.servers.iter_mut().for_each(|s| s.mu = 500.0);
    sim.run(60.0);
    let lost = sim.lost_since(&mark);
    assert!((lost - 0.286).abs() < 0.015, "lost {lost}");
    sim.servers.iter_mut().for_each(|s| s.mu = 1000.0);
    sim.run(5.0);
    let mark = sim.mark();
    sim.run(30.0);
    assert!(sim.lost_since(&mark) < 0.001, "lost {} after recovery", sim.lost_since(&mark));
}

#[test]
fn a_flash_crowd_changes_no_cost() {
    for (calm, flash) in [(0.3, 0.9), (0.5, 1.5)] {
        let mut sim = Sim::new(Policy::Goodput, &EIGHT, 8000.0 * calm);
        sim.run(30.0);
        sim.load = 8000.0 * flash;
        sim.run(60.0);
        sim.load = 8000.0 * calm;
        sim.run(5.0);
        let mark = sim.mark();
        sim.run(60.0);
        assert_eq!(sim.decisions(), 0, "flash to {flash}");
        assert!(sim.lost_since(&mark) <= 0.0005);
    }
}

#[test]
fn of_three_servers_at_half_load_one_slowed_to_a_third_leaves_and_comes_back() {
    let mut sim = Sim::new(Policy::Goodput, &[300.0; 3], 450.0);
    sim.run(20.0);
    assert_eq!(sim.decisions(), 0);
    sim.servers[1].mu = 100.0;
    sim.run(8.0);
    let (left, _) = sim.servers[1].decisions[0];
    assert!(left <= 28.0, "left at {left}");
    assert_eq!(sim.in_class(), 2);
    sim.servers[1].mu = 300.0;
    sim.run(60.0);
    assert_eq!((sim.in_class(), sim.decisions()), (3, 2));
    let mark = sim.mark();
    sim.run(60.0);
    assert_eq!(sim.decisions(), 2);
    assert!(sim.lost_since(&mark) < 0.001);
}

#[test]
fn three_overloaded_servers_stay_together() {
    for load in [1.1, 1.3, 2.0] {
        let mut sim = Sim::new(Policy::Goodput, &[300.0; 3], 900.0 * load);
        sim.run(120.0);
        assert_eq!(sim.decisions(), 0, "load {load}");
        assert!(sim.served() as f64 >= 0.97 * 900.0 * 120.0);
    }
}

#[test]
fn three_servers_that_know_no_capacity_stay_together_in_every_load() {
    for load in [0.5, 0.9, 1.2] {
        let mut sim = Sim::new(Policy::Goodput, &[300.0; 3], 900.0 * load).forget_nominal();
        sim.run(120.0);
        assert_eq!(sim.decisions(), 0, "load {load}");
        let learnt = sim.servers.iter().all(|s| s.estimate().is_some());
        assert_eq!(learnt, load > 1.0, "capacity is learnt under backlog only (load {load})");
    }
}

#[test]
fn naive_cost_makes_the_farm_oscillate_and_lose_what_static_does_not() {
    let mut naive = Sim::new(Policy::Naive, &EIGHT, 6400.0);
    naive.run(10.0);
    let mark = naive.mark();
    naive.run(100.0);
    let lost = naive.lost_since(&mark);
    assert!(lost > 0.3, "lost {lost}");
    assert!(naive.servers.iter().all(|s| s.lsas() >= 15), "every server changes at the rate limit");
    let mut fixed = Sim::new(Policy::Static, &EIGHT, 6400.0);
    fixed.run(100.0);
    assert_eq!((fixed.decisions(), fixed.lost_since(&(0, 0))), (0, 0.0));
}

/// What one server of eight may tell, all of it false.
fn lies() -> Vec<Claim> {
    let rates = [Some(0.0), Some(100_000.0), Some(4_294_967.0), Some(f64::NAN), None];
    let mut lies = Vec::new();
    for mu in rates {
        for x in rates {
            lies.extend([None, mu].map(|nominal| Claim { mu, x, nominal }));
        }
    }
    lies
}

#[test]
fn a_liar_neither_empties_the_farm_nor_keeps_an_honest_server_from_leaving() {
    for lie in lies() {
        let mut sim = Sim::new(Policy::Goodput, &EIGHT.map(|mu| mu / 5.0), 800.0);
        sim.servers[0].lie = Some(lie);
        sim.run(30.0);
        assert!(sim.servers.iter().skip(1).all(|s| s.decisions.is_empty()), "{lie:?}");
        sim.servers[3].mu = 40.0;
        sim.run(60.0);
        let left = sim.servers[3].decisions.first().map(|(at, _)| at - 30.0);
        assert!(left.is_some_and(|left| left <= 25.0), "{lie:?}: the slow one left after {left:?}");
        assert!(sim.servers.iter().enumerate().all(|(i, s)| i <= 3 || s.decisions.is_empty()), "{lie:?}");
    }
}

#[test]
fn an_overloaded_farm_with_a_liar_stays_together() {
    for lie in lies() {
        let mut sim = Sim::new(Policy::Goodput, &EIGHT.map(|mu| mu / 5.0), 1920.0);
        sim.servers[0].lie = Some(lie);
        sim.run(60.0);
        assert!(sim.servers.iter().skip(1).all(|s| s.decisions.is_empty()), "{lie:?}");
    }
}

#[test]
fn a_slow_server_leaves_and_returns_by_the_rule_and_if_all_are_slow_nobody_moves() {
    let mut sim = Sim::new(Policy::Goodput, &EIGHT.map(|mu| mu / 5.0), 800.0);
    sim.run(30.0);
    sim.servers[3].slow = true;
    sim.run(10.0);
    assert_eq!(sim.in_class(), 7, "{:?}", sim.servers[3].decisions);
    sim.run(120.0);
    assert_eq!(sim.in_class(), 7, "as long as it is slow no hold-down that ends brings it back");
    sim.servers[3].slow = false;
    sim.run(60.0);
    assert_eq!(sim.in_class(), 8);
    assert_eq!(sim.servers[3].decisions.len(), 2);

    let mut sim = Sim::new(Policy::Goodput, &EIGHT.map(|mu| mu / 5.0), 800.0);
    sim.run(30.0);
    sim.servers.iter_mut().for_each(|server| server.slow = true);
    sim.run(60.0);
    assert!(sim.in_class() > 0);
    assert_eq!(sim.decisions(), 0, "nobody answers in time, and nobody would answer more without the others");
}
