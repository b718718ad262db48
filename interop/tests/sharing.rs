//! How the link router shares an address over its servers, by a stream of 2,000 flows: what is lost, and which flows move,
//! when one server leaves and returns and when one becomes weaker; ospfd-lite beside FRR, and its ways of sharing beside
//! each other.

mod common;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use common::{
    PATIENCE, SERVICE,
    stated::{CLAIMED, Change, StatedFarm, router_id},
};
use interop::{
    harness::{self, Needs},
    lab::Lab,
    lab_tests,
    peer::Version,
    topology::net,
    wait::{Probe, wait_for},
};

fn main() -> ExitCode {
    let tests = lab_tests![
        a_server_leaves_and_returns_at_ospfd_lite_and_frr,
        hash_thresholds_move_more_and_lose_nothing,
        the_kernels_resilient_groups_lose_nothing,
        probes_tell_of_the_next_hop_that_takes_no_packets,
    ];
    // The streams are steady only if the machine keeps up.
    harness::main_at_once(1, Needs::Daemons, &tests)
}

const SERVERS: u16 = 8;
/// The server that things happen to: one in the middle, which costs a hash of thresholds most.
const CHOSEN: usize = 3;
/// Slots of a stable group, as delivered.
const SLOTS: usize = 1024;
/// A server of eight becomes weaker by so much.
const WEAKER: f64 = 0.2;

/// A server leaves and returns; nobody else is concerned.
fn leave_and_return(farm: &StatedFarm, how: &str) -> Result<[Change; 2]> {
    let all: Vec<_> = (0..usize::from(SERVERS)).collect();
    let others: Vec<_> = all.iter().copied().filter(|server| *server != CHOSEN).collect();
    let least = 1.0 / f64::from(SERVERS);
    let left = farm.change(&format!("{how}: 8 to 7"), least, |farm| {
        farm.withdraw(CHOSEN)?;
        farm.wait_members(&others).map(drop)
    })?;
    let returned = farm.change(&format!("{how}: 7 to 8"), least, |farm| {
        farm.advertise(CHOSEN)?;
        farm.wait_members(&all).map(drop)
    })?;
    let strays = left.settled.servers.get(CHOSEN).context("the chosen server's packets")?;
    ensure!(*strays == 0, "{strays} packets reached the server that had left");
    for (server, count) in left.settled.servers.iter().enumerate().filter(|(server, _)| *server != CHOSEN) {
        ensure!(*count > 0, "server {server} got nothing: {:?}", left.settled);
    }
    Ok([left, returned])
}

/// A server states a fifth less capacity.
fn weaker(farm: &StatedFarm, how: &str) -> Result<Change> {
    let (all, part) = (f64::from(SERVERS), 1.0 - WEAKER);
    let (old, new) = (1.0 / all, part / (all - WEAKER));
    farm.change(&format!("{how}: one weaker by {:.0} %", 100.0 * WEAKER), old - new, |farm| {
        farm.claim(CHOSEN, part * CLAIMED)?;
        wait_for("the weight to follow", PATIENCE, || {
            let row = farm.shown()?;
            let weight = row.weight(router_id(CHOSEN));
            Ok(Probe::when((weight - new).abs() < 0.25 * (old - new), (), format!("{weight:.4}: {row:?}")))
        })
    })
}

fn a_server_leaves_and_returns_at_ospfd_lite_and_frr(lab: &mut Lab) -> Result<()> {
    println!("{}", Change::HEAD);
    let frr = StatedFarm::open(lab, ("f", &Version::Frr(None), ""), SERVERS)?;
    let theirs = leave_and_return(&frr, "FRR")?;
    drop(frr);
    let ours = StatedFarm::open(lab, ("o", &Version::Ours, ""), SERVERS)?;
    let row = ours.shown()?;
    ensure!(row.sharing == "stable" && row.slots == Some(SLOTS), "not shared as delivered: {row:?}");
    let moved = leave_and_return(&ours, "stable")?;
    let weakened = weaker(&ours, "stable")?;
    for change in moved.iter().chain([&weakened]) {
        change.nothing_lost()?;
        change.few_moved(SLOTS)?;
    }
    for (mine, other) in moved.iter().zip(&theirs) {
        ensure!(mine.moves.part() < other.moves.part(), "FRR moved fewer: {mine}\n{other}");
    }
    Ok(())
}

/// One of the other ways of sharing: nothing is lost, and the figures are told.
fn alternative(lab: &mut Lab, sharing: &str) -> Result<()> {
    let farm = StatedFarm::open(lab, ("", &Version::Ours, &format!("sharing = {sharing:?}\n")), SERVERS)?;
    let row = farm.shown()?;
    ensure!(row.sharing == sharing, "not shared as configured: {row:?}");
    println!("{}", Change::HEAD);
    let moved = leave_and_return(&farm, sharing)?;
    let weakened = weaker(&farm, sharing)?;
    moved.iter().chain([&weakened]).try_for_each(Change::nothing_lost)
}

fn hash_thresholds_move_more_and_lose_nothing(lab: &mut Lab) -> Result<()> {
    alternative(lab, "hash-threshold")
}

fn the_kernels_resilient_groups_lose_nothing(lab: &mut Lab) -> Result<()> {
    alternative(lab, "resilient")
}

/// A server that OSPF leads to and that has lost the service address: nobody but a probe by its next hop can tell. It is said,
/// and nothing else follows from it.
fn probes_tell_of_the_next_hop_that_takes_no_packets(lab: &mut Lab) -> Result<()> {
    let farm = StatedFarm::open(lab, ("probing", &Version::Ours, "[probe]\ninterval = 1\n"), 3)?;
    let wait = |what: &str, wanted: &dyn Fn(usize, u32) -> bool| {
        wait_for(what, PATIENCE, || {
            let unanswered: Vec<_> = farm.shown()?.servers.iter().map(|server| server.unanswered).collect();
            let right = unanswered.iter().enumerate().all(|(server, count)| count.is_some_and(|c| wanted(server, c)));
            Ok(Probe::when(right && unanswered.len() == 3, (), format!("{unanswered:?}")))
        })
    };
    wait("answers to the probes of all three", &|_, unanswered| unanswered == 0)?;
    let server = farm.farm.servers.get(1).context("the second server")?;
    server.netns.rtnl()?.delete_address("lo", net(SERVICE)?)?;
    wait("probes without an answer", &|server, unanswered| {
        if server == 1 { unanswered >= 3 } else { unanswered == 0 }
    })?;
    let log = std::fs::read_to_string(lab.logs().join("probingrouter-ospfd-lite.log"))?;
    ensure!(log.contains("does not answer probes, though OSPF leads there"), "not said: {log}");
    let shown = farm.shown()?;
    ensure!(shown.servers.iter().all(|server| server.in_class && server.weight > 0.3), "it was acted upon: {shown:?}");
    server.netns.rtnl()?.add_address("lo", net(SERVICE)?)?;
    wait("answers again", &|_, unanswered| unanswered == 0)
}
