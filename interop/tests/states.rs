//! What `explain` says of a server in each state: a person at 3 a.m. has nothing else.

mod common;

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, ensure};
use common::{
    PATIENCE,
    ours::{Setup, SpeakerFarm},
};
use interop::{
    harness::{self, Needs},
    lab::Lab,
    lab_tests,
    peer::{Peer, Version},
    wait::{Probe, wait_for},
};

fn main() -> ExitCode {
    let tests = lab_tests![explain_in_every_state_of_the_law, explain_in_every_state_of_health];
    harness::main(Needs::Daemons, &tests)
}

/// A probe that is quick to judge, beside the socket.
const PROBED: &str = r#"{ socket = { protocol = "udp", port = 53 } },
    { probe = { dns = { name = "who.farm.example.", type = "TXT" }, interval = 1, fast-interval = 0.2, slow = 0.2 } },
    { load = { file = { path = "/nowhere/load" } } }"#;

/// Waits until `explain` of a server says all of these; prints it.
fn explained(farm: &mut SpeakerFarm, server: usize, state: &str, words: &[&str]) -> Result<String> {
    let text = wait_for(&format!("explain of {state}"), PATIENCE, || {
        let text = farm.node(server)?.speaker.daemon().command(&["explain", "dns"])?;
        let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
        Ok(Probe::when(missing.is_empty(), text.clone(), format!("no {missing:?} in:\n{text}")))
    })?;
    println!("=== {state}\n{text}");
    Ok(text)
}

fn explain_in_every_state_of_the_law(lab: &mut Lab) -> Result<()> {
    // Weighed by capacity nobody would have to leave.
    let mut farm = SpeakerFarm::open(lab, Setup { fib: "weights = \"equal\"\n", ..Setup::new("", &Version::Ours) })?;
    let clients = farm.load(600.0)?;
    explained(
        &mut farm,
        2,
        "in the class",
        &[
            "cost                  10:",
            "the farm answers most with this server in the class",
            "it would leave the class",
            "stated and acknowledged",
        ],
    )?;

    let slowed = Instant::now();
    farm.set_capacity(2, 130.0)?;
    farm.wait_members(&[0, 1], slowed, PATIENCE)?;
    let out = explained(
        &mut farm,
        2,
        "out of the class",
        &["cost                  20:", "hold-down ends in", "it would come back"],
    )?;
    ensure!(out.contains("left: the farm answers more without this server"), "no reason among the decisions:\n{out}");

    farm.set_capacity(2, 400.0)?;
    farm.wait_members(&[0, 1, 2], slowed, 2 * PATIENCE)?;
    clients.set_rate(1800.0);
    explained(
        &mut farm,
        2,
        "overloaded with all others",
        &["backlogged", "cost                  10:", "no capacity of this server"],
    )?;
    clients.set_rate(300.0);

    farm.set_cost(2, 33)?;
    explained(
        &mut farm,
        2,
        "pinned by hand",
        &["cost                  33: pinned by hand", "stated and acknowledged"],
    )?;
    farm.node(2)?.speaker.daemon().command(&["cost", "dns", "auto"])?;

    farm.node(2)?.speaker.daemon().command(&["drain", "dns"])?;
    explained(&mut farm, 2, "draining", &["cost                  65535: draining"])?;
    explained(&mut farm, 2, "drained", &["standing              withdrawn: drained"])?;
    farm.node(2)?.speaker.daemon().command(&["undrain", "dns"])?;
    explained(
        &mut farm,
        2,
        "back from a drain",
        &["standing              serving", "in our LSAs           2001:db8:53::53/128 10"],
    )?;

    farm.kill_service(2)?;
    explained(
        &mut farm,
        2,
        "dead",
        &["health                no UDP socket", "withdrawn: dead", "in our LSAs           nothing"],
    )
    .map(drop)
}

fn explain_in_every_state_of_health(lab: &mut Lab) -> Result<()> {
    let setup =
        Setup { monitors: PROBED, service_keys: "last-resort = true\n", servers: 2, ..Setup::new("", &Version::Ours) };
    let mut farm = SpeakerFarm::build(lab, setup)?;
    farm.node(0)?.speaker.start()?;
    explained(
        &mut farm,
        0,
        "without a service",
        &["health                no UDP socket", "withdrawn: dead", "in our LSAs           nothing"],
    )?;
    farm.start_service(lab, 0)?;
    farm.start(lab, 1)?;
    farm.wait_members(&[0, 1], Instant::now(), PATIENCE)?;
    let words = ["NOERROR in", "standing              serving", "load file", "cannot be read"];
    explained(&mut farm, 0, "serving, with a monitor that cannot be read", &words)?;

    farm.set_capacity(0, 3.0)?;
    let slow = [
        "health                answers after more than 200 ms",
        "standing              serving",
        "capacity counted      0.0 q/s",
    ];
    explained(&mut farm, 0, "slow", &slow)?;
    farm.set_capacity(0, 400.0)?;
    explained(&mut farm, 0, "no longer slow", &["health                alive", "capacity counted      400.0 q/s"])?;

    farm.kill_service(1)?;
    explained(&mut farm, 1, "dead", &["withdrawn: dead"])?;
    farm.kill_service(0)?;
    explained(&mut farm, 0, "dead, the last resort", &["advertised although dead (last resort)"])?;

    let router = farm.router;
    lab.peer(router)?.kill()?;
    explained(&mut farm, 0, "unheard", &["confirmed             no adjacency is Full: nobody hears us"]).map(drop)
}
