//! A server's daemon is killed and restarted at once: ours, FRR's and BIRD's in the same act, behind the same link router.

mod common;

use std::{
    net::{Ipv4Addr, SocketAddrV6},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::{ONE, PATIENCE, ours::settled};
use interop::{
    daemons,
    dns::client::{Arrivals, Generator, Load},
    harness::{self, Needs},
    lab::{Lab, PeerId},
    lab_tests,
    monitor::Monitor,
    peer::{IfaceSpec, Kind, Peer, RouterSpec, State, Version, ours::Speaker},
    process::{Place, Proc},
    topology::{Farm, Server, net},
    wait::{Probe, hold_for, wait_for},
};

fn main() -> ExitCode {
    let tests = lab_tests![
        a_killed_server_is_back_behind_frr,
        a_killed_server_is_back_behind_ospfd_lite,
        a_killed_server_is_back_behind_bird
    ];
    harness::main(Needs::Daemons, &tests)
}

fn a_killed_server_is_back_behind_frr(lab: &mut Lab) -> Result<()> {
    killed_and_restarted(lab, &Version::Frr(None))
}

fn a_killed_server_is_back_behind_ospfd_lite(lab: &mut Lab) -> Result<()> {
    killed_and_restarted(lab, &Version::Ours)
}

fn a_killed_server_is_back_behind_bird(lab: &mut Lab) -> Result<()> {
    killed_and_restarted(lab, &Version::Bird(None))
}

/// Queries per second to each server.
const RATE: f64 = 200.0;
/// How long after the kill queries are counted.
const COUNTED: Duration = Duration::from_secs(15);

/// A server with an address of its own, its daemon and its DNS responder.
struct Node {
    prefix: String,
    router_id: Ipv4Addr,
    daemon: PeerId,
    _service: Proc,
}

fn killed_and_restarted(lab: &mut Lab, router: &Version) -> Result<()> {
    let farm = Farm::build(3)?;
    farm.all().iter().for_each(|netns| lab.watch(netns));
    let spec = RouterSpec::new("router", ONE, IfaceSpec::fast(Farm::FARM_SIDE, Kind::Broadcast).with_priority(9))
        .with_iface(IfaceSpec::passive(Farm::CLIENT_SIDE));
    let router = lab.start(router, &farm.router, spec)?;
    let monitor = Monitor::start(&farm.router)?;
    let mut nodes = vec![];
    for (last, place) in (11u8..).zip(&farm.servers) {
        nodes.push(start_server(lab, last, place)?);
    }
    let [ours, ..] = nodes.as_slice() else { anyhow::bail!("three servers") };
    for (node, place) in nodes.iter().zip(&farm.servers) {
        monitor.wait_gateways(net(&node.prefix)?, &[place.address].into(), Instant::now(), PATIENCE)?;
    }
    println!("link router {}", lab.peer(router)?.version());
    // Old enough for a changed LSA not to meet MinLSArrival.
    hold_for("the farm", Duration::from_secs(3), || Ok(Probe::Ready(())))?;
    for (node, place) in nodes.iter().zip(&farm.servers) {
        let before = sequence(lab, router, node.router_id)?;
        let prefix = net(&node.prefix)?;
        let load =
            Load { target: SocketAddrV6::new(prefix.ip(), 53, 0, 0), flows: 64, rate: RATE, arrivals: Arrivals::Paced };
        let clients = Generator::start(&farm.client, load)?;
        wait_for("answers", PATIENCE, || {
            let seen = clients.summary(Instant::now() - Duration::from_secs(2), Instant::now())?;
            Ok(Probe::when(seen.answered() > 100, (), format!("{seen:?}")))
        })?;
        let killed = Instant::now();
        lab.peer(node.daemon)?.kill()?;
        lab.peer(node.daemon)?.start()?;
        let down = killed.elapsed();
        let full = wait_for("Full again", PATIENCE, || {
            let neighbors = lab.peer(node.daemon)?.neighbors()?;
            let full = neighbors.iter().any(|n| n.router_id == ONE && n.state == State::Full);
            Ok(Probe::when(full, Instant::now(), format!("{neighbors:?}")))
        })?;
        let back = monitor.wait_gateways(prefix, &[place.address].into(), killed, PATIENCE)?;
        wait_for("the former life to be outrun", PATIENCE, || {
            let now = sequence(lab, router, node.router_id)?;
            Ok(Probe::when(now > before, (), format!("sequence {now:#x} after {before:#x}")))
        })?;
        let summary = settled(&clients, killed, killed + COUNTED)?;
        let gaps = monitor.history(prefix).iter().filter(|c| c.at >= killed && c.gateways.is_empty()).count();
        // Where the route never went there is nothing to come back.
        let after = if gaps == 0 { Duration::ZERO } else { back.saturating_duration_since(full) };
        println!(
            "{}: down {:.2} s, Full {:.2} s after the kill, route gone {gaps} times and back {:.2} s after Full, {} of {} queries lost",
            lab.peer(node.daemon)?.version(),
            down.as_secs_f64(),
            (full - killed).as_secs_f64(),
            after.as_secs_f64(),
            summary.lost,
            summary.sent,
        );
        if node.daemon == ours.daemon {
            ensure!(down < Duration::from_secs(1), "restarted after {down:?} only");
            ensure!(after < Duration::from_secs(1), "the route came back {after:?} after Full");
        }
    }
    Ok(())
}

/// Ours in the first namespace, FRR in the second, BIRD in the third.
fn start_server(lab: &mut Lab, last: u8, place: &Server) -> Result<Node> {
    let router_id = Ipv4Addr::new(192, 0, 2, last);
    let prefix = format!("2001:db8:53::{last}/128");
    let name = place.netns.name();
    let service = start_service(lab, place, &prefix)?;
    let iface = IfaceSpec::fast("eth0", Kind::Broadcast).with_priority(0);
    let spec = RouterSpec::new(name, router_id, iface);
    let daemon = match last {
        11 => {
            let services = format!(
                "[[service]]\nname = \"dns\"\nprefixes = [\"{prefix}\"]\ncapacity = 1000.0\n\
                 monitor = [{{ socket = {{ protocol = \"udp\", port = 53 }} }}]\n"
            );
            let mut speaker = Speaker::new(&place.netns, spec, &services, &lab.directory().join(name))?;
            speaker.start()?;
            lab.adopt(Box::new(speaker))
        }
        12 => lab.start(&Version::Frr(None), &place.netns, spec.with_prefix(net(&prefix)?, 10))?,
        _ => lab.start(&Version::Bird(None), &place.netns, spec.with_prefix(net(&prefix)?, 10))?,
    };
    Ok(Node { prefix, router_id, daemon, _service: service })
}

fn start_service(lab: &Lab, place: &Server, prefix: &str) -> Result<Proc> {
    place.netns.rtnl()?.add_address("lo", net(prefix)?)?;
    let mut command = Command::new(daemons::find("lab")?);
    let bind = format!("[{}]:53", net(prefix)?.ip());
    command.args(["dns-responder", "--bind", &bind, "--name", place.netns.name()]);
    command.args(["--service-time-us", "1000", "--rcvbuf", "65536"]);
    let place_of = Place { netns: &place.netns, root: None, logs: &lab.logs() };
    let mut service = Proc::start(&format!("{}-dns", place.netns.name()), place_of, &mut command)?;
    wait_for("the responder", PATIENCE, || {
        service.ensure_running()?;
        Ok(Probe::when(service.log().contains("serving"), (), service.log()))
    })?;
    Ok(service)
}

/// The sequence number of a router's Router-LSA as the link router has it.
fn sequence(lab: &mut Lab, at: PeerId, router: Ipv4Addr) -> Result<i32> {
    let database = lab.peer(at)?.database()?;
    let row = database.0.iter().find(|row| row.ls_type == 0x2001 && row.router == router);
    Ok(row.with_context(|| format!("no Router-LSA of {router}"))?.sequence.cast_signed())
}
