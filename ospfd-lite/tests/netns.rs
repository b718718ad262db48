//! The host against a real kernel, in network namespaces of its own.
//!
//! Each test is run by a child process, which unshares while it has one thread: a user and a network namespace for an
//! ordinary user, a network namespace alone for root.

// A test without the harness is not `cfg(test)`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::net::{Ipv6Addr, SocketAddrV6};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sched::{CloneFlags, unshare};
use ospf_proto::ctx::Event;
use ospf_proto::engine::{Config, IfaceConfig, LinkEvent};
use ospf_proto::id::{AreaId, IfaceId, RouterId};
use ospf_proto::lsa::Prefix;
use ospf_proto::packet::{DbDesc, Hello, LsAck, Packet, PacketBody, PacketHeader};
use ospf_proto::state::NeighborState;
use ospfd_lite::control::{Request, Response};
use ospfd_lite::netio::fib::{Fib, FibChange, FibOptions, Member, Sharing, Wanted};
use ospfd_lite::netio::{Driver, DriverEvent, Options};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

const CHILD: &str = "OSPFD_LITE_NETNS_TEST";
const PATIENCE: Duration = Duration::from_secs(20);

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("a_route_appears_and_its_group_is_replaced_in_place", groups),
    ("slots_change_hands_one_by_one", slots),
    ("slots_that_somebody_else_changes_are_put_right", slot_interference),
    ("a_table_of_slots_is_adopted", slots_of_a_former_life),
    ("every_kind_of_sharing_has_its_weights", kinds),
    ("prefixes_share_few_messages", messages),
    ("lost_notifications_are_made_up_for", lost_notifications),
    ("table_and_source_are_as_configured", table_and_source),
    ("routes_come_back_with_the_carrier", carrier),
    ("foreign_routes_are_left_alone", foreign),
    ("what_somebody_else_deletes_is_put_back", interference),
    ("a_former_life_is_adopted_or_removed", former_life),
    ("links_are_told_as_they_come_change_and_go", links),
    ("two_routers_become_full_over_raw_sockets", full),
    ("hellos_that_wait_are_heard_before_silence_is_judged", late_reader),
    ("a_flood_of_hellos_holds_up_neither_our_own_nor_other_packets", hello_flood),
    ("a_hello_that_rests_is_heard_before_its_senders_database_description", resting_hello),
    ("what_else_comes_does_not_wait_for_hellos_that_rest", passed_hellos),
    ("what_came_late_on_one_link_makes_nobody_silent_on_another", late_reader_of_two_links),
];

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(CHILD) {
        enter();
        let (_, test) = TESTS.iter().find(|(known, _)| *known == name).unwrap();
        test();
        return ExitCode::SUCCESS;
    }
    let allowed = namespaces_are_allowed();
    if !allowed {
        eprintln!(
            "user namespaces are refused here (see the sysctls kernel.unprivileged_userns_clone, \
             kernel.apparmor_restrict_unprivileged_userns, user.max_user_namespaces); run as root"
        );
    }
    let trials = TESTS.iter().map(|(name, _)| Trial::test(*name, || child(name)).with_ignored_flag(!allowed));
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

fn child(name: &str) -> Result<(), Failed> {
    let output = Command::new("/proc/self/exe").env(CHILD, name).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Err(format!("{}\n{text}", output.status).into())
}

fn namespaces_are_allowed() -> bool {
    nix::unistd::geteuid().is_root()
        || Command::new("unshare").args(["-Urn", "true"]).status().is_ok_and(|status| status.success())
}

/// Goes into namespaces with a veth pair `v1`-`v2` and the loopback up.
fn enter() {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if uid.is_root() {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
    } else {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).unwrap();
        std::fs::write("/proc/self/setgroups", "deny").unwrap();
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();
    }
    // What the code says of its decisions belongs to a failure.
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false).with_writer(std::io::stderr).init();
    ip("link set lo up");
    veth("v1", "v2");
    ip("addr add fe80::a/64 dev v1 nodad");
    let _ = std::fs::write("/proc/sys/net/ipv6/fib_multipath_hash_policy", "1");
}

/// Adds a veth pair, both ends up.
fn veth(one: &str, other: &str) {
    ip(&format!("link add {one} type veth peer name {other}"));
    for link in [one, other] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{link}/accept_dad"), "0").unwrap();
        ip(&format!("link set {link} up"));
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn ip_json(arguments: &str) -> Vec<Value> {
    let output = Command::new("ip").arg("-j").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    if output.stdout.is_empty() { Vec::new() } else { serde_json::from_slice(&output.stdout).unwrap() }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn index(name: &str) -> IfaceId {
    IfaceId(nix::net::if_::if_nametoindex(name).unwrap())
}

fn prefix() -> Prefix {
    "2001:db8:53::53/128".parse().unwrap()
}

fn gateway(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n)
}

fn member(n: u16) -> Member {
    Member { iface: index("v1").0, gateway: gateway(n) }
}

/// A route over gateways with their weights, of an originator each.
fn weighted(prefix: Prefix, gateways: &[(u16, u32)]) -> FibChange {
    let shares = gateways.iter().map(|(n, weight)| (member(*n), *weight)).collect();
    FibChange { prefix, wanted: Some(Wanted { shares: Arc::new(shares), originators: gateways.len() }) }
}

fn install(prefix: Prefix, gateways: &[u16]) -> FibChange {
    weighted(prefix, &gateways.iter().map(|n| (*n, 1)).collect::<Vec<_>>())
}

fn open() -> Fib {
    open_with(Sharing::HashThreshold)
}

fn open_with(sharing: Sharing) -> Fib {
    Fib::open(FibOptions { sharing, slots: 64, ..FibOptions::default() }).unwrap()
}

/// The gateways of our route to `prefix` in the kernel, and the object it uses.
fn installed(prefix: Prefix) -> Option<(Vec<String>, u64)> {
    let shown = prefix.to_string();
    let shown = shown.strip_suffix("/128").unwrap_or(&shown);
    let routes = ip_json("-6 route show proto 89");
    let route = routes.iter().find(|route| route["dst"] == shown)?;
    assert_eq!(route["metric"], 20);
    let one = |hop: &Value| hop["gateway"].as_str().map(str::to_owned);
    let mut gateways: Vec<String> = match route["nexthops"].as_array() {
        Some(hops) => hops.iter().filter_map(one).collect(),
        None => one(route).into_iter().collect(),
    };
    gateways.sort();
    Some((gateways, route["nhid"].as_u64()?))
}

fn gateways(prefix: Prefix) -> Vec<String> {
    installed(prefix).map(|(gateways, _)| gateways).unwrap_or_default()
}

/// Follows the kernel until the condition holds.
async fn until(fib: &mut Fib, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::select! {
            () = fib.follow() => {}
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
    }
}

fn groups() {
    run(async {
        let mut fib = open();
        fib.apply(vec![install(prefix(), &[1])]);
        assert_eq!(gateways(prefix()), ["fe80::1"], "the route is there when apply returns");
        fib.apply(vec![install(prefix(), &[1, 2, 3])]);
        let (three, group) = installed(prefix()).unwrap();
        assert_eq!(three, ["fe80::1", "fe80::2", "fe80::3"]);
        fib.apply(vec![install(prefix(), &[1, 3])]);
        assert_eq!(installed(prefix()).unwrap(), (vec!["fe80::1".to_owned(), "fe80::3".to_owned()], group));
        let other: Prefix = "2001:db8:54::/48".parse().unwrap();
        fib.apply(vec![install(other, &[1, 3])]);
        let ids: Vec<_> = ip_json("-6 route show proto 89").iter().map(|route| route["nhid"].as_u64()).collect();
        assert_eq!(ids, [Some(group), Some(group)], "prefixes share a group");
        let many: Vec<FibChange> =
            (0..2000).map(|n| install(Prefix::host(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, n)), &[1, 2])).collect();
        fib.apply(many);
        assert_eq!(ip_json("-6 route show proto 89").len(), 2002);
        assert_eq!(fib.counters().refused, 0);
        fib.clear();
        assert_eq!(ip_json("-6 route show proto 89").len(), 0);
        assert_eq!(ip_json("nexthop show").len(), 0);
    });
}

/// The gateway of each slot of the group that our route to `prefix` uses, by the kernel's word.
fn slot_table(prefix: Prefix) -> Vec<String> {
    let (_, group) = installed(prefix).unwrap();
    let objects = ip_json("nexthop show");
    let shown = objects.iter().find(|object| object["id"].as_u64() == Some(group)).unwrap();
    assert_eq!(shown["type"], "resilient", "{shown}");
    let ids = shown["group"].as_array().unwrap().iter().map(|member| member["id"].as_u64().unwrap());
    let gateway = |id| objects.iter().find(|o| o["id"].as_u64() == Some(id)).unwrap()["gateway"].as_str().unwrap();
    ids.map(|id| gateway(id).to_owned()).collect()
}

/// The object of a slot: the group has the last identifier of its block.
fn slot(group: u64, index: u64) -> u64 {
    group - 9_999 + index
}

fn owned(table: &[String], n: u16) -> usize {
    table.iter().filter(|owner| **owner == gateway(n).to_string()).count()
}

fn moved(a: &[String], b: &[String]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

fn slots() {
    run(async {
        let mut fib = open_with(Sharing::Stable);
        fib.apply(vec![install(prefix(), &[1, 2, 3, 4])]);
        let four = slot_table(prefix());
        assert_eq!((four.len(), owned(&four, 1), owned(&four, 4)), (64, 16, 16));
        let before = fib.counters().done;
        fib.apply(vec![install(prefix(), &[1, 2, 4])]);
        let three = slot_table(prefix());
        assert_eq!(
            (moved(&four, &three), fib.counters().done - before),
            (16, 16),
            "one message for each slot that moves"
        );
        fib.apply(vec![install(prefix(), &[1, 2, 3, 4])]);
        assert_eq!(moved(&three, &slot_table(prefix())), 16);
        fib.apply(vec![weighted(prefix(), &[(1, 400), (2, 200), (3, 100), (4, 100)])]);
        let weighted = slot_table(prefix());
        assert_eq!([1, 2, 3, 4].map(|n| owned(&weighted, n)), [32, 16, 8, 8]);
        // A second prefix that is shared alike uses the same group; one that is not has its own.
        let other: Prefix = "2001:db8:54::/48".parse().unwrap();
        fib.apply(vec![self::weighted(other, &[(1, 400), (2, 200), (3, 100), (4, 100)])]);
        assert_eq!(installed(other).unwrap().1, installed(prefix()).unwrap().1);
        fib.apply(vec![install(other, &[1, 2])]);
        assert_ne!(installed(other).unwrap().1, installed(prefix()).unwrap().1);
        assert_eq!(fib.sizes().slot_groups, 2);
        assert_eq!(fib.counters().refused, 0);
        // To one gateway and back: the group is not needed meanwhile.
        fib.apply(vec![install(prefix(), &[2])]);
        assert_eq!(gateways(prefix()), ["fe80::2"]);
        fib.apply(vec![install(prefix(), &[1, 2])]);
        assert_eq!(fib.installed(&prefix()).unwrap().sharing, "stable");
        fib.count_packets();
        assert!(fib.packets(&prefix()).is_some(), "the kernel counts packets (6.9 or newer)");
        fib.clear();
        assert_eq!(ip_json("nexthop show").len(), 0);
    });
}

fn slot_interference() {
    run(async {
        let mut fib = open_with(Sharing::Stable);
        ip("-6 route add 2001:db8:99::/48 via fe80::9 dev v1 metric 30 proto static");
        fib.apply(vec![install(prefix(), &[1, 2])]);
        let table = slot_table(prefix());
        let group = || installed(prefix()).unwrap().1;
        let right = || installed(prefix()).is_some() && slot_table(prefix()) == table;
        ip(&format!("nexthop replace id {} via fe80::7 dev v1 proto 89", slot(group(), 5)));
        assert!(!right());
        until(&mut fib, "a slot is pointed back", right).await;
        ip(&format!("nexthop del id {}", slot(group(), 5)));
        until(&mut fib, "a slot is put back into its group", right).await;
        let former = group();
        ip(&format!("nexthop del id {former}"));
        until(&mut fib, "the group is made anew", right).await;
        ip(&format!("nexthop replace id {} via fe80::7 dev v1 proto static", slot(former, 6)));
        until(&mut fib, "another group is used where an identifier is taken", || right() && group() != former).await;
        ip("-6 route replace 2001:db8:53::53/128 via fe80::7 dev v1 metric 20 proto 89");
        until(&mut fib, "the route is put right", right).await;
        ip("nexthop flush proto 89");
        until(&mut fib, "all is made anew", right).await;
        assert_eq!(ip_json("-6 route show proto static").len(), 1);
        assert_eq!(fib.status(&prefix()).unwrap(), "installed");
    });
}

fn slots_of_a_former_life() {
    run(async {
        let mut fib = open_with(Sharing::Stable);
        fib.apply(vec![weighted(prefix(), &[(1, 3), (2, 1), (3, 1)])]);
        fib.apply(vec![weighted(prefix(), &[(1, 2), (2, 1), (3, 1)])]);
        let (table, group) = (slot_table(prefix()), installed(prefix()).unwrap().1);
        drop(fib);
        let mut fib = open_with(Sharing::Stable);
        fib.apply(vec![weighted(prefix(), &[(1, 2), (2, 1), (3, 1)])]);
        fib.release();
        assert_eq!((slot_table(prefix()), installed(prefix()).unwrap().1), (table.clone(), group));
        assert_eq!(fib.counters().done, 0, "what is right is not touched");
        drop(fib);
        // Another number of slots: another group, without a moment in between.
        let mut fib = Fib::open(FibOptions { slots: 128, ..FibOptions::default() }).unwrap();
        fib.apply(vec![weighted(prefix(), &[(1, 2), (2, 1), (3, 1)])]);
        fib.release();
        assert_eq!(slot_table(prefix()).len(), 128);
        assert_eq!(ip_json("nexthop show").len(), 129);
        fib.clear();
        // The greatest one is read back whole.
        let mut fib = Fib::open(FibOptions { slots: 4000, ..FibOptions::default() }).unwrap();
        fib.apply(vec![install(prefix(), &[1, 2])]);
        drop(fib);
        let mut fib = Fib::open(FibOptions { slots: 4000, ..FibOptions::default() }).unwrap();
        fib.apply(vec![install(prefix(), &[1, 2])]);
        fib.release();
        assert_eq!(fib.counters().done, 0);
    });
}

fn kinds() {
    run(async {
        for (sharing, shown) in [
            (Sharing::Resilient, "resilient"),
            (Sharing::HashThreshold, "hash-threshold"),
            (Sharing::Multipath, "multipath"),
            (Sharing::Stable, "stable"),
        ] {
            let mut fib = open_with(sharing);
            fib.apply(vec![weighted(prefix(), &[(1, 400), (2, 200), (3, 100)])]);
            fib.apply(vec![weighted(prefix(), &[(1, 400), (2, 100)])]);
            let installed = fib.installed(&prefix()).unwrap();
            assert_eq!((installed.sharing, installed.why), (shown, None));
            let part = installed.parts[&member(1)];
            assert!((part - 0.8).abs() < 0.01, "{shown}: {part}");
            assert_eq!((installed.parts.len(), fib.status(&prefix()).as_deref()), (2, Some("installed")), "{shown}");
            fib.apply(vec![install(prefix(), &[3])]);
            assert_eq!(fib.installed(&prefix()).unwrap().sharing, "single");
            fib.apply(vec![install(prefix(), &[1, 2])]);
            assert_eq!((fib.counters().refused, fib.status(&prefix()).as_deref()), (0, Some("installed")), "{shown}");
            // Somebody else takes a path of a route out, or the route.
            ip("-6 route del 2001:db8:53::53/128 proto 89");
            let status = || ip_json("-6 route show proto 89").len() == 1;
            until(&mut fib, "the route is back", status).await;
            // A former life of another kind is followed without a moment in between.
            fib.clear();
            assert_eq!(ip_json("-6 route show proto 89").len() + ip_json("nexthop show").len(), 0, "{shown}");
        }
        let mut fib = open_with(Sharing::Multipath);
        fib.apply(vec![install(prefix(), &[1, 2])]);
        drop(fib);
        let mut fib = open_with(Sharing::Stable);
        fib.apply(vec![install(prefix(), &[1, 2])]);
        fib.release();
        assert_eq!((fib.installed(&prefix()).unwrap().sharing, slot_table(prefix()).len()), ("stable", 64));
        fib.apply(vec![FibChange {
            wanted: install(prefix(), &[1, 2]).wanted.map(|wanted| Wanted { originators: 1, ..wanted }),
            prefix: prefix(),
        }]);
        let one = fib.installed(&prefix()).unwrap();
        assert_eq!(one.sharing, "hash-threshold");
        assert_eq!(one.why.as_deref(), Some("slots are for prefixes of two or more originators"));
    });
}

fn numbered(n: u16) -> Prefix {
    Prefix::host(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, n))
}

/// The cost of a server's change does not depend on the number of prefixes; beyond 16 sets of next hops there are no slots.
fn messages() {
    run(async {
        let mut fib = open_with(Sharing::Stable);
        let farm =
            |count: u16, gateways: &[u16]| (0..count).map(|n| install(numbered(n), gateways)).collect::<Vec<_>>();
        fib.apply(farm(2000, &[1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(fib.sizes().installed, 2000);
        let before = fib.counters().done;
        fib.apply(farm(2000, &[1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(fib.counters().done - before, 8, "as many messages as slots move");
        let many: Vec<FibChange> = (0..20).map(|n| install(numbered(3000 + n), &[1, 100 + n])).collect();
        fib.apply(many);
        assert_eq!(fib.sizes().slot_groups, 16);
        let last = fib.installed(&numbered(3019)).unwrap();
        assert_eq!(last.sharing, "hash-threshold");
        assert_eq!(last.why.as_deref(), Some("all 16 slot groups are in use by other sets of next hops"));
        assert_eq!(fib.counters().refused, 0);
        // One that becomes free is used when all is looked at again.
        fib.apply(vec![FibChange { prefix: numbered(3000), wanted: None }]);
        let again: Vec<FibChange> = vec![install(numbered(3019), &[1, 119, 120])];
        fib.apply(again);
        assert_eq!(fib.installed(&numbered(3019)).unwrap().sharing, "stable");
        fib.clear();
        assert_eq!(ip_json("nexthop show").len(), 0);
    });
}

/// A watching socket that is far too small for what happens.
fn lost_notifications() {
    run(async {
        let options = FibOptions { watch_buffer: 2048, slots: 64, ..FibOptions::default() };
        let mut fib = Fib::open(options).unwrap();
        fib.apply(vec![install(prefix(), &[1, 2])]);
        let table = slot_table(prefix());
        let batch: String =
            (0..2000).map(|n| format!("route add 2001:db8:7::{n:x}/128 via fe80::9 dev v1 proto static\n")).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), batch).unwrap();
        let reads = fib.counters().reads;
        ip(&format!("-6 -batch {}", file.path().display()));
        let (_, group) = installed(prefix()).unwrap();
        ip(&format!("nexthop replace id {} via fe80::7 dev v1 proto 89", slot(group, 9)));
        until(&mut fib, "what was lost is read", || slot_table(prefix()) == table).await;
        assert!(fib.counters().reads > reads, "the socket was too large to lose anything");
        assert_eq!(ip_json("-6 route show proto static").len(), 2000);
    });
}

fn table_and_source() {
    run(async {
        ip("addr add 2001:db8:1::1/128 dev lo nodad");
        let options = FibOptions {
            table: 1000,
            preferred_source: Some("2001:db8:1::1".parse().unwrap()),
            slots: 64,
            ..FibOptions::default()
        };
        let mut fib = Fib::open(options).unwrap();
        fib.apply(vec![install(prefix(), &[1, 2])]);
        assert_eq!(installed(prefix()), None, "not in the main table");
        let routes = ip_json("-6 route show table 1000");
        assert_eq!((routes.len(), &routes[0]["prefsrc"]), (1, &Value::from("2001:db8:1::1")), "{routes:?}");
        assert_eq!(fib.status(&prefix()).as_deref(), Some("installed"));
        drop(fib);
        // Another source in the next life.
        let mut fib = Fib::open(FibOptions { preferred_source: None, ..options }).unwrap();
        fib.apply(vec![install(prefix(), &[1, 2])]);
        fib.release();
        let routes = ip_json("-6 route show table 1000");
        assert_eq!((routes.len(), &routes[0]["prefsrc"]), (1, &Value::Null), "{routes:?}");
    });
}

fn carrier() {
    run(async {
        let mut fib = open();
        fib.apply(vec![install(prefix(), &[1, 2])]);
        assert_eq!(gateways(prefix()).len(), 2);
        ip("link set v2 down");
        until(&mut fib, "the kernel drops the route", || installed(prefix()).is_none()).await;
        assert_eq!(ip_json("nexthop show").len(), 0, "the kernel drops the objects with the carrier");
        ip("link set v2 up");
        until(&mut fib, "the route is back", || gateways(prefix()).len() == 2).await;
        // A flap between two looks: the kernel has lost everything although the link is up again.
        ip("link set v2 down");
        ip("link set v2 up");
        until(&mut fib, "the route is back after a flap", || gateways(prefix()).len() == 2).await;
    });
}

fn foreign() {
    run(async {
        let mut fib = open();
        ip("-6 route add 2001:db8:53::53/128 via fe80::9 dev v1 metric 20 proto static");
        ip("nexthop add id 5 via fe80::9 dev v1 proto static");
        fib.apply(vec![install(prefix(), &[1])]);
        let routes = ip_json("-6 route show 2001:db8:53::53");
        assert_eq!(routes.len(), 1, "{routes:?}");
        assert_eq!(routes[0]["gateway"], "fe80::9");
        let status = |fib: &Fib| fib.status(&prefix()).unwrap();
        assert!(status(&fib).starts_with("blocked"), "{}", status(&fib));
        ip("-6 route del 2001:db8:53::53/128 proto static");
        until(&mut fib, "the way is free", || gateways(prefix()) == ["fe80::1"]).await;
        assert_eq!(status(&fib), "installed");
        // A connected prefix wins over a learned one.
        let lan: Prefix = "2001:db8:1::/64".parse().unwrap();
        fib.apply(vec![install(lan, &[1])]);
        ip("addr add 2001:db8:1::1/64 dev v2 nodad");
        until(&mut fib, "the route gives way", || installed(lan).is_none()).await;
        fib.clear();
        let objects = ip_json("nexthop show");
        assert_eq!(objects.len(), 1, "{objects:?}");
        assert_eq!(objects[0]["id"], 5);
        assert_eq!(ip_json("-6 route show 2001:db8:1::/64").len(), 1);
    });
}

fn interference() {
    run(async {
        let mut fib = open();
        fib.apply(vec![install(prefix(), &[1, 2])]);
        let (_, group) = installed(prefix()).unwrap();
        ip("-6 route del 2001:db8:53::53/128 proto 89");
        until(&mut fib, "the route is put back", || gateways(prefix()).len() == 2).await;
        ip(&format!("nexthop del id {group}"));
        until(&mut fib, "the group is put back", || gateways(prefix()).len() == 2).await;
        assert!(fib.counters().done >= 6);
    });
}

fn former_life() {
    run(async {
        let gone: Prefix = "2001:db8:55::/64".parse().unwrap();
        let mut fib = open();
        fib.apply(vec![install(prefix(), &[1, 2]), install(gone, &[1])]);
        let before = installed(prefix()).unwrap();
        drop(fib);
        let mut fib = open();
        assert!(fib.holds_former());
        fib.apply(vec![install(prefix(), &[1, 2])]);
        assert_eq!(installed(prefix()).unwrap(), before);
        assert_eq!(gateways(gone), ["fe80::1"], "kept until the first calculation");
        fib.apply(vec![install(prefix(), &[1])]);
        assert_eq!(installed(prefix()).unwrap(), before, "left whole while the next hops are learned one by one");
        fib.apply(vec![install(prefix(), &[1, 2])]);
        assert_eq!(fib.counters().done, 0, "what is right is not touched");
        fib.release();
        assert_eq!(gateways(gone), [""; 0]);
        assert_eq!(installed(prefix()).unwrap(), before);
        fib.clear();
        assert_eq!(ip_json("nexthop show").len(), 0);
    });
}

fn driver(router: u32, name: &str) -> Driver {
    driver_with_dead(router, name, 4)
}

fn driver_with_dead(router: u32, name: &str, dead_interval: u16) -> Driver {
    driver_on(router, &[name], dead_interval)
}

fn driver_on(router: u32, names: &[&str], dead_interval: u16) -> Driver {
    let mut config = Config::new(RouterId(router));
    for name in names {
        let mut iface = IfaceConfig::new(*name);
        (iface.hello_interval, iface.dead_interval) = (1, dead_interval);
        config.interfaces.push(iface);
    }
    Driver::new(Options { config, control: None }).unwrap()
}

/// Runs a driver until a link event satisfies the condition.
async fn link_event(driver: &mut Driver, what: &str, holds: impl Fn(&LinkEvent) -> bool) {
    let wait = async {
        loop {
            if let DriverEvent::Turn(turn) = driver.next().await.unwrap()
                && turn.links.iter().any(&holds)
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}

fn links() {
    run(async {
        let mut driver = driver(1, "v1");
        let local = gateway(0xa);
        let state = |event: &LinkEvent, up: bool| matches!(event, LinkEvent::State(state) if state.up == up && state.link_local.is_some());
        link_event(&mut driver, "up at start", |event| state(event, true)).await;
        ip("link set v2 down");
        link_event(&mut driver, "carrier lost", |event| state(event, false)).await;
        ip("link set v2 up");
        link_event(&mut driver, "carrier back", |event| state(event, true)).await;
        let lan: Prefix = "2001:db8:1::/64".parse().unwrap();
        ip("addr add 2001:db8:1::1/64 dev v1 nodad");
        link_event(
            &mut driver,
            "an address",
            |event| matches!(event, LinkEvent::State(state) if state.prefixes == [lan]),
        )
        .await;
        ip("link set v1 mtu 1400");
        link_event(&mut driver, "the MTU", |event| matches!(event, LinkEvent::State(state) if state.mtu == 1400)).await;
        let before = index("v1");
        ip("link del v1");
        link_event(&mut driver, "gone", |event| *event == LinkEvent::Gone(before)).await;
        assert!(driver.view().neighbors().is_empty());
        ip("link add v1 type veth peer name v2");
        ip("link set v1 addrgenmode none");
        ip("link set v1 up");
        ip("link set v2 up");
        ip("addr add fe80::a/64 dev v1 nodad");
        link_event(&mut driver, "back under another index", |event| {
            matches!(event, LinkEvent::State(state) if state.up && state.iface != before && state.link_local == Some(local))
        })
        .await;
    });
}

fn full() {
    run(async {
        ip("addr add 2001:db8:1::1/64 dev v1 nodad");
        let (mut one, mut two) = (driver(1, "v1"), driver(2, "v2"));
        let is_full = |driver: &Driver| driver.view().neighbors().iter().any(|n| n.state == NeighborState::Full);
        let both = async {
            while !(is_full(&one) && is_full(&two)) {
                tokio::select! {
                    event = one.next() => drop(event.unwrap()),
                    event = two.next() => drop(event.unwrap()),
                }
            }
        };
        tokio::time::timeout(PATIENCE, both).await.expect("both become Full");
        let counters = one.counters().interfaces["v1"].clone();
        assert!(counters.received["hello"] > 0 && counters.sent["db_desc"] > 0, "{counters:?}");
        assert_eq!(counters.receive_unusable + counters.send_refused, 0, "{counters:?}");
        let show = |subject| match one.show(&Request::new("show", [subject])) {
            Response::Ok(text) => serde_json::from_str::<Value>(text.get()).unwrap(),
            Response::Error(error) => panic!("{error}"),
        };
        let answer = show("neighbor");
        assert_eq!((&answer[0]["neighbor_id"], &answer[0]["state"]), (&"0.0.0.2".into(), &"Full".into()));
        let answer = show("database");
        assert!(answer.as_array().unwrap().iter().any(|lsa| lsa["ls_type_name"] == "Router-LSA"));
    });
}

/// A neighbor that is nothing but a socket.
struct Stub {
    socket: Socket,
    router: RouterId,
    address: Ipv6Addr,
    to: SocketAddrV6,
}

impl Stub {
    /// On `v2`, of Router ID 2.
    fn new() -> Self {
        Stub::on("v2", 2, (gateway(0xb), gateway(0xa)))
    }

    /// On a link, of this Router ID and address, saying what it says to another one.
    fn on(link: &str, router: u32, (address, to): (Ipv6Addr, Ipv6Addr)) -> Self {
        ip(&format!("addr add {address}/64 dev {link} nodad"));
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(89))).unwrap();
        socket.bind_device(Some(link.as_bytes())).unwrap();
        socket.bind(&SocketAddrV6::new(address, 0, 0, index(link).0).into()).unwrap();
        Stub { socket, router: RouterId(router), address, to: SocketAddrV6::new(to, 0, 0, index(link).0) }
    }

    fn send(&self, body: PacketBody) {
        let header = PacketHeader { router_id: self.router, area_id: AreaId(0), instance_id: 0 };
        let bytes = Packet { header, body }.encode(self.address, *self.to.ip());
        self.socket.send_to(&bytes, &self.to.into()).unwrap();
    }

    fn hello(&self, dead_interval: u16) {
        self.hello_naming(vec![RouterId(1)], dead_interval);
    }

    fn hello_naming(&self, neighbors: Vec<RouterId>, dead_interval: u16) {
        self.send(PacketBody::Hello(Hello {
            iface_id: IfaceId(9),
            options: ospf_proto::lsa::Options::V6 | ospf_proto::lsa::Options::E | ospf_proto::lsa::Options::R,
            hello_interval: 1,
            dead_interval,
            neighbors,
            ..Hello::default()
        }));
    }
}

/// How many packets of a type all interfaces together have sent or received.
fn count(driver: &Driver, sent: bool, packet_type: &str) -> u64 {
    let counters = driver.counters().interfaces;
    let counted = counters.values().map(|iface| if sent { &iface.sent } else { &iface.received });
    counted.filter_map(|counted| counted.get(packet_type)).sum()
}

/// Runs a driver until it has heard so many Hellos; says whether a neighbor went Down meanwhile.
async fn hear(driver: &mut Driver, hellos: u64) -> bool {
    let mut down = false;
    let wait = async {
        while count(driver, false, "hello") < hellos {
            if let DriverEvent::Turn(turn) = driver.next().await.unwrap() {
                let gone = |event: &Event| matches!(event, Event::NeighborState { to: NeighborState::Down, .. });
                down |= turn.events.iter().any(gone);
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("Hellos are heard");
    down
}

/// The daemon is kept from running for longer than RouterDeadInterval, while its neighbor's Hellos come in.
fn late_reader() {
    run(async {
        let mut driver = driver_with_dead(1, "v1", 2);
        let stub = Stub::new();
        stub.hello(2);
        assert!(!hear(&mut driver, 1).await);
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(1200));
            stub.hello(2);
        }
        assert!(!hear(&mut driver, 4).await, "a Hello that had arrived was not heard in time");
        // The last one counts from its arrival, so that real silence is noticed.
        let down = async {
            while !driver.view().neighbors().is_empty() {
                drop(driver.next().await.unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(4), down).await.expect("silence is noticed");
    });
}

/// The same with a neighbor on each of two links: the Hellos of the one that is read first came after the other's
/// RouterDeadInterval, in which the other has sent its own.
fn late_reader_of_two_links() {
    run(async {
        veth("v3", "v4");
        ip("addr add fe80::c/64 dev v3 nodad");
        let mut driver = driver_on(1, &["v1", "v3"], 2);
        let stubs = [Stub::new(), Stub::on("v4", 3, (gateway(0xd), gateway(0xc)))];
        let hello = || stubs.iter().for_each(|stub| stub.hello(2));
        hello();
        assert!(!hear(&mut driver, 2).await);
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(1200));
            hello();
        }
        assert!(!hear(&mut driver, 8).await, "a Hello that had arrived was not heard in time");
        assert_eq!(driver.view().neighbors().len(), 2);
    });
}

fn hello_flood() {
    run(async {
        let mut driver = driver_with_dead(1, "v1", 4);
        let stub = Arc::new(Stub::new());
        let stop = Arc::new(AtomicBool::new(false));
        let flood = std::thread::spawn({
            let (stub, stop) = (Arc::clone(&stub), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    stub.hello(4);
                }
            }
        });
        assert!(!hear(&mut driver, 1000).await);
        let own = count(&driver, true, "hello");
        stub.send(PacketBody::LsAck(LsAck::default()));
        let served = async {
            while count(&driver, false, "ls_ack") == 0 || count(&driver, true, "hello") < own + 2 {
                drop(driver.next().await.unwrap());
            }
        };
        let served = tokio::time::timeout(PATIENCE, served).await;
        stop.store(true, Ordering::Relaxed);
        flood.join().unwrap();
        served.expect("our Hellos go out and other packets come in");
    });
}

/// Makes the link a crowded one, on which Hellos rest for a tenth of a second: one rest begins when this returns. Returns how
/// many there were.
async fn crowd(driver: &mut Driver, stub: &Stub) -> u64 {
    let mut sent = 0;
    let mut beat = tokio::time::interval(Duration::from_millis(40));
    while sent < 60 {
        tokio::select! {
            event = driver.next() => drop(event.unwrap()),
            _ = beat.tick() => { stub.hello(4); sent += 1; }
        }
    }
    hear(driver, sent).await;
    sent
}

/// Runs a driver until it has received so many packets of a type.
async fn receive(driver: &mut Driver, packet_type: &str, wanted: u64) {
    let received = async {
        while count(driver, false, packet_type) < wanted {
            drop(driver.next().await.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, received).await.expect("the packet comes in");
}

/// A Database Description that comes after a Hello is not heard before it.
fn resting_hello() {
    run(async {
        let mut driver = driver_with_dead(1, "v1", 4);
        let stub = Stub::new();
        let sent = crowd(&mut driver, &stub).await;
        stub.hello_naming(vec![], 4);
        stub.send(PacketBody::DbDesc(DbDesc::default()));
        receive(&mut driver, "db_desc", 1).await;
        assert_eq!(count(&driver, false, "hello"), sent + 1);
    });
}

fn passed_hellos() {
    run(async {
        let mut driver = driver_with_dead(1, "v1", 4);
        let stub = Stub::new();
        let mut sent = crowd(&mut driver, &stub).await;
        // When a timer is due all Hellos are heard at once: not in each of ten tenths of a second.
        for acks in 1..=10 {
            stub.hello(4);
            stub.hello(4);
            stub.send(PacketBody::LsAck(LsAck::default()));
            receive(&mut driver, "ls_ack", acks).await;
            if count(&driver, false, "hello") == sent {
                return;
            }
            sent += 2;
            hear(&mut driver, sent).await;
        }
        panic!("the Hellos were heard before each of ten acknowledgments");
    });
}
