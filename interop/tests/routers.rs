//! ospfd-lite among FRR and BIRD: adjacencies in every role, the same database everywhere, routes in the kernel, and what
//! becomes of all that when it dies and comes back.

mod common;

use std::{
    net::Ipv4Addr,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use common::{ONE, PATIENCE, TWO, same_database, wait_gateways};
use interop::{
    fib::Fib,
    harness::{self, Needs},
    lab::{Lab, PeerId},
    lab_tests,
    monitor::Monitor,
    peer::{IfaceSpec, Kind, Role, RouterSpec, State, Version, wait_full},
    topology::{PointToPoint, Segment, link_local, net},
    wait::{Probe, hold_for, wait_for},
};

const THREE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

fn main() -> ExitCode {
    let mut tests = lab_tests![
        ours_is_dr_among_frr_and_bird,
        ours_is_backup_among_frr_and_bird,
        ours_is_drother_among_frr_and_bird,
        ours_and_frr_on_a_point_to_point_link,
        ours_and_bird_on_a_point_to_point_link,
        ours_killed_and_restarted_outruns_its_former_life,
        our_routes_come_back_after_carrier_loss,
        a_vanished_interface_comes_back_by_itself,
        sigterm_flushes_what_was_originated_and_removes_the_routes,
    ];
    tests.push(harness::LabTest::new("ours_is_dr_without_root", ours_is_dr_among_frr_and_bird).rootless());
    harness::main(Needs::Daemons, &tests)
}

fn ours_is_dr_among_frr_and_bird(lab: &mut Lab) -> Result<()> {
    three_on_a_link(lab, (200, Role::Dr), (100, Role::Backup), (1, Role::DrOther))
}

fn ours_is_backup_among_frr_and_bird(lab: &mut Lab) -> Result<()> {
    three_on_a_link(lab, (100, Role::Backup), (1, Role::DrOther), (200, Role::Dr))
}

fn ours_is_drother_among_frr_and_bird(lab: &mut Lab) -> Result<()> {
    three_on_a_link(lab, (1, Role::DrOther), (200, Role::Dr), (100, Role::Backup))
}

/// Ours, FRR and BIRD on one link, each with this priority and expected role; FRR and BIRD have a prefix each.
fn three_on_a_link(lab: &mut Lab, ours: (u8, Role), frr: (u8, Role), bird: (u8, Role)) -> Result<()> {
    let link = Segment::build(&["ours", "frr", "bird"])?;
    let [a, b, c] = link.nodes.as_slice() else { bail!("three nodes") };
    let iface = |priority| IfaceSpec::fast("eth0", Kind::Broadcast).with_priority(priority);
    let frr_spec = RouterSpec::new("frr", TWO, iface(frr.0)).with_prefix(net("2001:db8:b::1/128")?, 7);
    let bird_spec = RouterSpec::new("bird", THREE, iface(bird.0)).with_prefix(net("2001:db8:c::1/128")?, 5);
    // Started together, all wait for a DR, and the priorities decide.
    let frr_id = lab.start(&Version::Frr(None), b, frr_spec)?;
    let bird_id = lab.start(&Version::Bird(None), c, bird_spec)?;
    let ours_id = lab.start(&Version::Ours, a, RouterSpec::new("ours", ONE, iface(ours.0)))?;
    let roles = [(ours_id, ONE, ours.1), (frr_id, TWO, frr.1), (bird_id, THREE, bird.1)];
    adjacent(lab, &roles)?;
    for (x, y) in [(ours_id, frr_id), (ours_id, bird_id), (frr_id, bird_id)] {
        same_database(lab, x, y, "eth0")?;
    }
    // Routes to the others' prefixes are in our kernel, and stay.
    wait_gateways(a, "2001:db8:b::1/128", &[link_local(2)])?;
    wait_gateways(a, "2001:db8:c::1/128", &[link_local(3)])?;
    println!("{:?}: {} LSAs alike in all three", ours.1, lab.peer(ours_id)?.database()?.0.len());
    Ok(())
}

/// Waits until everybody is Full with DR and Backup, and every router sees the others in their roles.
fn adjacent(lab: &mut Lab, roles: &[(PeerId, Ipv4Addr, Role)]) -> Result<()> {
    for (peer, me, my_role) in roles {
        wait_for(&format!("{me} to be adjacent as {my_role:?}"), PATIENCE, || {
            let neighbors = lab.peer(*peer)?.neighbors()?;
            let fits = roles.iter().filter(|(_, router, _)| router != me).all(|(_, router, role)| {
                let wanted =
                    if *my_role == Role::DrOther && *role == Role::DrOther { State::TwoWay } else { State::Full };
                neighbors
                    .iter()
                    .any(|n| n.router_id == *router && n.state == wanted && n.role.is_none_or(|r| r == *role))
            });
            Ok(Probe::when(fits, (), format!("{neighbors:?}")))
        })?;
    }
    Ok(())
}

fn ours_and_frr_on_a_point_to_point_link(lab: &mut Lab) -> Result<()> {
    point_to_point(lab, &Version::Frr(None))
}

fn ours_and_bird_on_a_point_to_point_link(lab: &mut Lab) -> Result<()> {
    point_to_point(lab, &Version::Bird(None))
}

/// With a lower and with a higher Router ID than the peer's: once master, once slave of the exchange.
fn point_to_point(lab: &mut Lab, version: &Version) -> Result<()> {
    for (round, our_id, their_id) in [("low", ONE, TWO), ("high", TWO, ONE)] {
        let (a, b) = (format!("ours-{round}"), format!("peer-{round}"));
        let pair = PointToPoint::build(&a, &b)?;
        let iface = || IfaceSpec::fast("eth0", Kind::PointToPoint);
        let spec = RouterSpec::new(&b, their_id, iface()).with_prefix(net("2001:db8:b::1/128")?, 7);
        let peer = lab.start(version, &pair.b, spec)?;
        let ours = lab.start(&Version::Ours, &pair.a, RouterSpec::new(&a, our_id, iface()))?;
        wait_full(lab.peer(ours)?, &[their_id], PATIENCE)?;
        wait_full(lab.peer(peer)?, &[our_id], PATIENCE)?;
        same_database(lab, ours, peer, "eth0")?;
        let network_lsas = lab.peer(ours)?.database()?.0.iter().filter(|row| row.ls_type == 0x2002).count();
        ensure!(network_lsas == 0, "{network_lsas} Network-LSAs on a point-to-point link");
        wait_gateways(&pair.a, "2001:db8:b::1/128", &[link_local(2)])?;
    }
    Ok(())
}

/// Ours and FRR on a broadcast link; FRR has a prefix, ours a passive interface's.
fn ours_and_frr(lab: &mut Lab) -> Result<(Segment, PeerId, PeerId)> {
    let link = Segment::build(&["ours", "frr"])?;
    let [a, b] = link.nodes.as_slice() else { bail!("two nodes") };
    let iface = || IfaceSpec::fast("eth0", Kind::Broadcast);
    a.rtnl()?.add_address("lo", net("2001:db8:a::1/128")?)?;
    let spec = RouterSpec::new("frr", TWO, iface().with_priority(9)).with_prefix(net("2001:db8:b::1/128")?, 7);
    let frr = lab.start(&Version::Frr(None), b, spec)?;
    let spec = RouterSpec::new("ours", ONE, iface()).with_iface(IfaceSpec::passive("lo"));
    let ours = lab.start(&Version::Ours, a, spec)?;
    wait_full(lab.peer(ours)?, &[TWO], PATIENCE)?;
    wait_full(lab.peer(frr)?, &[ONE], PATIENCE)?;
    wait_gateways(a, "2001:db8:b::1/128", &[link_local(2)])?;
    wait_gateways(b, "2001:db8:a::1/128", &[link_local(1)])?;
    same_database(lab, ours, frr, "eth0")?;
    Ok((link, ours, frr))
}

fn router_lsa_sequence(lab: &mut Lab, at: PeerId, router: Ipv4Addr) -> Result<i32> {
    let database = lab.peer(at)?.database()?;
    let row = database.0.iter().find(|row| row.ls_type == 0x2001 && row.router == router);
    let sequence = row.with_context(|| format!("no Router-LSA of {router}"))?.sequence;
    Ok(sequence.cast_signed())
}

fn ours_killed_and_restarted_outruns_its_former_life(lab: &mut Lab) -> Result<()> {
    let (link, ours, frr) = ours_and_frr(lab)?;
    let [a, b] = link.nodes.as_slice() else { bail!("two nodes") };
    let before = router_lsa_sequence(lab, frr, ONE)?;
    let monitor = Monitor::start(b)?;
    let at_frr = net("2001:db8:a::1/128")?;
    let killed = Instant::now();
    lab.peer(ours)?.kill()?;
    // While it is dead its routes stay in the kernel.
    ensure!(!Fib::read(a)?.gateways(net("2001:db8:b::1/128")?).is_empty(), "the routes died with the daemon");
    lab.peer(ours)?.start()?;
    let down = killed.elapsed();
    ensure!(down < Duration::from_secs(1), "restarted after {down:?} only");
    wait_full(lab.peer(ours)?, &[TWO], PATIENCE)?;
    let full = Instant::now();
    monitor.wait_gateways(at_frr, &[link_local(1)].into(), killed, PATIENCE)?;
    wait_for("the former life to be outrun", PATIENCE, || {
        let now = router_lsa_sequence(lab, frr, ONE)?;
        Ok(Probe::when(now > before, (), format!("sequence {now:#x} after {before:#x}")))
    })?;
    same_database(lab, ours, frr, "eth0")?;
    let gaps: Vec<_> =
        monitor.history(at_frr).into_iter().filter(|c| c.at >= killed && c.gateways.is_empty()).collect();
    println!("down {down:?}, full {:?} after the kill, {} gaps in FRR's route", full - killed, gaps.len());
    let last = monitor.history(at_frr).into_iter().rfind(|c| c.at >= killed && !c.gateways.is_empty());
    if let Some(back) = last {
        ensure!(back.at < full + Duration::from_secs(1), "back {:?} after Full", back.at - full);
    }
    // Settled: nothing of the former life is left to be told, and nothing flaps.
    hold_for("the route", Duration::from_secs(8), || {
        let gateways = Fib::read(b)?.gateways(at_frr);
        Ok(Probe::when(gateways == [link_local(1)].into(), (), format!("{gateways:?}")))
    })
}

fn our_routes_come_back_after_carrier_loss(lab: &mut Lab) -> Result<()> {
    let (link, _, _) = ours_and_frr(lab)?;
    let [a, _] = link.nodes.as_slice() else { bail!("two nodes") };
    let [port, _] = link.ports.as_slice() else { bail!("two ports") };
    let prefix = net("2001:db8:b::1/128")?;
    port.set_carrier(false)?;
    wait_for("the kernel to drop the route", PATIENCE, || {
        let gateways = Fib::read(a)?.gateways(prefix);
        Ok(Probe::when(gateways.is_empty(), (), format!("{gateways:?}")))
    })?;
    port.set_carrier(true)?;
    wait_gateways(a, "2001:db8:b::1/128", &[link_local(2)])
}

fn a_vanished_interface_comes_back_by_itself(lab: &mut Lab) -> Result<()> {
    let (link, ours, _) = ours_and_frr(lab)?;
    let [a, _] = link.nodes.as_slice() else { bail!("two nodes") };
    let [port, _] = link.ports.as_slice() else { bail!("two ports") };
    a.rtnl()?.delete_link("eth0")?;
    wait_for("the neighbor to be gone", PATIENCE, || {
        let neighbors = lab.peer(ours)?.neighbors()?;
        Ok(Probe::when(neighbors.is_empty(), (), format!("{neighbors:?}")))
    })?;
    // A new interface of the same name, with another index.
    link.switch.join(port.name(), a, "eth0")?;
    port.plug()?;
    a.rtnl()?.add_address("eth0", net("fe80::1/64")?)?;
    wait_full(lab.peer(ours)?, &[TWO], PATIENCE)?;
    wait_gateways(a, "2001:db8:b::1/128", &[link_local(2)])
}

fn sigterm_flushes_what_was_originated_and_removes_the_routes(lab: &mut Lab) -> Result<()> {
    let (link, ours, frr) = ours_and_frr(lab)?;
    let [a, b] = link.nodes.as_slice() else { bail!("two nodes") };
    let stopped = Instant::now();
    let monitor = Monitor::start(b)?;
    lab.peer(ours)?.stop()?;
    let left: Vec<_> = Fib::read(a)?.routes().filter(|route| route.protocol == 89).map(|r| r.prefix).collect();
    ensure!(left.is_empty(), "left in the kernel: {left:?}");
    let gone = monitor.wait_gateways(net("2001:db8:a::1/128")?, &[].into(), stopped, PATIENCE)?;
    println!("FRR's route gone {:?} after SIGTERM", gone - stopped);
    ensure!(gone - stopped < Duration::from_secs(2), "FRR kept the route for {:?}", gone - stopped);
    wait_for("FRR to forget our LSAs", PATIENCE, || {
        let rows: Vec<_> = lab.peer(frr)?.database()?.0.into_iter().filter(|row| row.router == ONE).collect();
        Ok(Probe::when(rows.is_empty(), (), format!("{rows:?}")))
    })
}
