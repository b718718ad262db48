//! The labs with other people's routers only: that the machinery sees what there is to see, before our own daemons are
//! judged by it.

mod common;

use std::{
    collections::BTreeSet,
    net::SocketAddrV6,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use common::{
    ONE, PATIENCE, SERVICE, TWO, agree_on_a_broadcast_link, same_database, share_an_address, shared_farm, wait_gateways,
};
use interop::{
    daemons,
    dns::client::{Arrivals, Generator, Load, TIMEOUT},
    fib::Fib,
    harness::{self, Needs},
    lab::Lab,
    lab_tests,
    monitor::Monitor,
    peer::{IfaceSpec, Kind, Role, RouterSpec, State, Version, wait_full},
    process::{Place, Proc},
    sandbox,
    topology::{Farm, PointToPoint, link_local, net},
    wait::{Probe, wait_for},
};

fn main() -> ExitCode {
    let mut tests = lab_tests![
        frr_and_bird_become_full_on_a_broadcast_link_and_agree,
        frr_and_bird_become_full_on_a_point_to_point_link_and_agree,
        frr_shares_an_address_over_three_bird_servers,
        bird_shares_an_address_over_three_frr_servers,
        an_unplugged_server_is_forgotten_after_the_dead_interval,
        a_farm_of_responders_answers_its_capacity_and_no_more,
        a_route_change_is_seen_by_the_monitor_as_by_a_dump,
    ];
    // The same once more as an ordinary user has it.
    tests.push(
        harness::LabTest::new(
            "frr_and_bird_agree_without_root",
            frr_and_bird_become_full_on_a_broadcast_link_and_agree,
        )
        .rootless(),
    );
    tests.push(
        harness::LabTest::new("a_refused_user_namespace_names_its_sysctl", a_refused_user_namespace_names_its_sysctl)
            .rootless(),
    );
    harness::main(Needs::Peers, &tests)
}

fn frr_and_bird_become_full_on_a_broadcast_link_and_agree(lab: &mut Lab) -> Result<()> {
    let (link, frr, bird) = agree_on_a_broadcast_link(lab, &Version::Frr(None), &Version::Bird(None))?;
    // Whoever came first is DR; each must see the other in one of the two roles, and not the same.
    let mut roles = BTreeSet::new();
    for id in [frr, bird] {
        roles.extend(lab.peer(id)?.neighbors()?.iter().filter_map(|neighbor| neighbor.role));
    }
    ensure!(roles == BTreeSet::from([Role::Dr, Role::Backup]), "roles {roles:?}");
    // Each has the other's prefix in its kernel.
    let [a, b] = link.nodes.as_slice() else { anyhow::bail!("two nodes") };
    wait_gateways(a, "2001:db8:b::1/128", &[link_local(2)])?;
    wait_gateways(b, "2001:db8:a::1/128", &[link_local(1)])
}

fn frr_and_bird_become_full_on_a_point_to_point_link_and_agree(lab: &mut Lab) -> Result<()> {
    let pair = PointToPoint::build("frr", "bird")?;
    let iface = || IfaceSpec::fast("eth0", Kind::PointToPoint);
    let frr = lab.start(&Version::Frr(None), &pair.a, RouterSpec::new("frr", ONE, iface()))?;
    let bird = RouterSpec::new("bird", TWO, iface()).with_prefix(net("2001:db8:b::1/128")?, 5);
    let bird = lab.start(&Version::Bird(None), &pair.b, bird)?;
    wait_full(lab.peer(frr)?, &[TWO], PATIENCE)?;
    wait_full(lab.peer(bird)?, &[ONE], PATIENCE)?;
    same_database(lab, frr, bird, "eth0")?;
    let network_lsas = lab.peer(bird)?.database()?.0.iter().filter(|row| row.ls_type == 0x2002).count();
    ensure!(network_lsas == 0, "{network_lsas} Network-LSAs on a point-to-point link");
    wait_gateways(&pair.a, "2001:db8:b::1/128", &[link_local(2)])
}

fn frr_shares_an_address_over_three_bird_servers(lab: &mut Lab) -> Result<()> {
    share_an_address(lab, &Version::Frr(None), &Version::Bird(None))
}

fn bird_shares_an_address_over_three_frr_servers(lab: &mut Lab) -> Result<()> {
    share_an_address(lab, &Version::Bird(None), &Version::Frr(None))
}

fn an_unplugged_server_is_forgotten_after_the_dead_interval(lab: &mut Lab) -> Result<()> {
    let (farm, router, _) = shared_farm(lab, &Version::Frr(None), &Version::Bird(None))?;
    let all: Vec<_> = farm.servers.iter().map(|server| server.address).collect();
    wait_gateways(&farm.router, SERVICE, &all)?;
    let monitor = Monitor::start(&farm.router)?;
    let [gone, rest @ ..] = farm.servers.as_slice() else { anyhow::bail!("three servers") };
    let cut = Instant::now();
    gone.port.unplug()?;
    let wanted = rest.iter().map(|server| server.address).collect();
    let at = monitor.wait_gateways(net(SERVICE)?, &wanted, cut, Duration::from_secs(20))?;
    // The last hello came up to 1 s before the cut; the dead interval is 4 s.
    let after = at - cut;
    ensure!((2.5..6.0).contains(&after.as_secs_f64()), "gone after {after:?} where 3 to 4 s were expected");
    let neighbors = lab.peer(router)?.neighbors()?;
    ensure!(neighbors.iter().filter(|n| n.state == State::Full).count() == 2, "{neighbors:?}");
    gone.port.plug()?;
    wait_gateways(&farm.router, SERVICE, &all)
}

/// Static routes, no routing protocol: the measuring instruments against each other.
fn a_farm_of_responders_answers_its_capacity_and_no_more(lab: &mut Lab) -> Result<()> {
    let farm = Farm::build(3)?;
    let address = net(SERVICE)?;
    let gateways: Vec<_> = farm.servers.iter().map(|server| server.address).collect();
    farm.router.rtnl()?.add_route(address, Farm::FARM_SIDE, &gateways)?;
    let mut responders = vec![];
    for server in &farm.servers {
        server.netns.rtnl()?.add_address("lo", address)?;
        let mut command = Command::new(daemons::find("lab")?);
        // 200 queries per second each: 600 in all.
        command.args(["dns-responder", "--bind", "[2001:db8:53::53]:53", "--service-time-us", "5000"]);
        command.args(["--rcvbuf", "16384", "--name", server.netns.name()]);
        let place = Place { netns: &server.netns, root: None, logs: &lab.logs() };
        responders.push(Proc::start(&format!("{}-dns", server.netns.name()), place, &mut command)?);
    }
    for responder in &mut responders {
        wait_for("the responder", PATIENCE, || {
            responder.ensure_running()?;
            Ok(Probe::when(responder.log().contains("serving"), (), responder.log()))
        })?;
    }
    let target = SocketAddrV6::new(address.ip(), 53, 0, 0);
    let load = Load { target, flows: 512, rate: 300.0, arrivals: Arrivals::Poisson(7) };
    let clients = Generator::start(&farm.client, load)?;
    let measure = |seconds: u64| {
        let from = Instant::now() + TIMEOUT;
        let to = from + Duration::from_secs(seconds);
        // Every query of the period must have had its time.
        wait_for("the period to end", Duration::from_secs(seconds + 5), || {
            Ok(Probe::when(Instant::now() > to + TIMEOUT + Duration::from_millis(100), (), "not over"))
        })?;
        clients.summary(from, to)
    };
    let half = measure(6)?;
    println!("half load: {half:?}");
    ensure!(half.loss() < 0.01, "lost at half load: {half:?}");
    for server in &farm.servers {
        let share = half.share(server.netns.name());
        ensure!((0.26..0.41).contains(&share), "{} has a share of {share:.3}: {half:?}", server.netns.name());
    }
    clients.set_rate(1200.0);
    let over = measure(6)?;
    println!("double load: {over:?}");
    let goodput = over.answered() as f64 / 6.0;
    ensure!((0.98 * 600.0..1.01 * 600.0).contains(&goodput), "goodput {goodput:.0} of 600: {over:?}");
    // One server slows down to a third: 200 + 200 + 67.
    let [first, ..] = responders.as_mut_slice() else { anyhow::bail!("three responders") };
    first.tell("service-time-us 15000")?;
    let slow = measure(6)?;
    println!("one slow: {slow:?}");
    let goodput = slow.answered() as f64 / 6.0;
    ensure!((0.97 * 467.0..1.02 * 467.0).contains(&goodput), "goodput {goodput:.0} of 467: {slow:?}");
    let (_, strange) = clients.oddities();
    ensure!(strange == 0, "{strange} datagrams that answered nothing");
    Ok(())
}

fn a_route_change_is_seen_by_the_monitor_as_by_a_dump(lab: &mut Lab) -> Result<()> {
    let (farm, _, servers) = shared_farm(lab, &Version::Frr(None), &Version::Bird(None))?;
    let monitor = Monitor::start(&farm.router)?;
    let all: BTreeSet<_> = farm.servers.iter().map(|server| server.address).collect();
    let service = net(SERVICE)?;
    monitor.wait_gateways(service, &all, Instant::now(), PATIENCE)?;
    for (round, server) in servers.iter().cycle().take(9).enumerate() {
        let metric = if round % 2 == 0 { 10 } else { 15 };
        lab.peer(*server)?.set_metric(service, metric)?;
        // MinLSArrival: changes of one server are at least a second apart, and each gets its own wait.
        wait_for("mirror and kernel to agree", PATIENCE, || {
            let (mirror, kernel) = (monitor.fib(), Fib::read(&farm.router)?);
            Ok(Probe::when(mirror == kernel, (), format!("mirror\n{mirror}\nkernel\n{kernel}")))
        })?;
    }
    ensure!(monitor.messages() > 0, "no notification came");
    Ok(())
}

/// The limit of a user namespace's own children can be set inside it, so this test harms nobody else.
fn a_refused_user_namespace_names_its_sysctl(_lab: &mut Lab) -> Result<()> {
    let check = || {
        Command::new(daemons::find("lab")?)
            .arg("sandbox-check")
            .env_remove(sandbox::INSIDE)
            .output()
            .map_err(anyhow::Error::from)
    };
    let allowed = check()?;
    ensure!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
    std::fs::write("/proc/sys/user/max_user_namespaces", "0")?;
    let refused = check()?;
    let text = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success(), "it was not refused");
    ensure!(text.contains("user.max_user_namespaces = 0") && text.contains("sysctl -w"), "{text}");
    Ok(())
}
