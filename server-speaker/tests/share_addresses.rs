//! The link-local addresses of share routers, in a user and network namespace of the test's own: no privilege needed.
//!
//! Its own harness: a user namespace can only be entered by a process with one thread.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod link;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use server_speaker::advertise::{AddressNote, ShareAddressError, ShareAddresses};

const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_DEPRECATED: u32 = 0x20;
const IFA_F_TENTATIVE: u32 = 0x40;

fn main() {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .expect("user namespaces are refused here: sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces");
    std::fs::write("/proc/self/setgroups", "deny").unwrap();
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();
    link::veth("a0", "a1", &File::open("/proc/self/ns/net").unwrap());
    link::up("a0");
    link::up("a1");

    they_come_pass_the_detection_of_duplicates_and_go();
    an_address_that_another_host_has_is_said_once_and_spoken_from_when_it_is_free();
    an_interface_without_ipv6_is_said_with_what_to_do();
    a_port_of_a_bridge_is_refused();
    println!("share_addresses: 4 tests ok");
}

fn block(place: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5a, 0xc000, 0x020b, place)
}

fn ours(address: Ipv6Addr) -> bool {
    (0..16).any(|place| address == block(place))
}

fn wanted(interface: &str, places: &[u16]) -> BTreeMap<String, BTreeSet<Ipv6Addr>> {
    [(interface.to_owned(), places.iter().map(|place| block(*place)).collect())].into()
}

/// The flags of an address as /proc shows them (IFA_F_*), none if it is not there.
fn flags(address: Ipv6Addr, interface: &str) -> Option<u32> {
    let text = std::fs::read_to_string("/proc/self/net/if_inet6").unwrap();
    let hex: String = address.octets().iter().map(|b| format!("{b:02x}")).collect();
    let line = text.lines().find(|line| line.starts_with(&hex) && line.ends_with(&format!(" {interface}")))?;
    line.split_whitespace().nth(4).map(|flags| u32::from_str_radix(flags, 16).unwrap())
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_good(address: Ipv6Addr, interface: &str) -> bool {
    flags(address, interface).is_some_and(|flags| flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED) == 0)
}

fn they_come_pass_the_detection_of_duplicates_and_go() {
    let mut addresses = ShareAddresses::open().unwrap();
    let mut all = wanted("a0", &[0, 1]);
    all.extend(wanted("not-there", &[0, 1]));
    let notes = addresses.keep(&all, ours).unwrap();
    assert_eq!(notes, [0, 1].map(|place| AddressNote::Added(block(place), "a0".into())));
    until("no longer tentative", || is_good(block(1), "a0"));
    assert_ne!(flags(block(1), "a0").unwrap() & IFA_F_DEPRECATED, 0, "never the source of anything else");
    assert_eq!(addresses.keep(&all, ours).unwrap(), []);
    // What is not ours stays, whatever it is.
    let others = |text: String| text.lines().filter(|line| line.ends_with(" a0") && !line.contains("5a")).count();
    let before = others(std::fs::read_to_string("/proc/self/net/if_inet6").unwrap());
    let notes = addresses.keep(&wanted("a0", &[1]), ours).unwrap();
    assert_eq!(notes, [AddressNote::Removed(block(0), "a0".into())]);
    assert_eq!((flags(block(0), "a0"), is_good(block(1), "a0")), (None, true));
    addresses.keep(&wanted("a0", &[]), ours).unwrap();
    assert_eq!(flags(block(1), "a0"), None);
    assert_eq!(others(std::fs::read_to_string("/proc/self/net/if_inet6").unwrap()), before);
}

fn an_address_that_another_host_has_is_said_once_and_spoken_from_when_it_is_free() {
    let (mut here, mut there) = (ShareAddresses::open().unwrap(), ShareAddresses::open().unwrap());
    there.keep(&wanted("a1", &[3]), ours).unwrap();
    until("the other host has it", || is_good(block(3), "a1"));
    let mut duplicates = 0;
    let mut look = |here: &mut ShareAddresses| {
        let notes = here.keep(&wanted("a0", &[3]), ours).unwrap();
        duplicates += notes.iter().filter(|note| matches!(note, AddressNote::Duplicate(..))).count();
        duplicates
    };
    until("the duplicate is found", || look(&mut here) == 1);
    let found = Instant::now();
    while found.elapsed() < Duration::from_secs(3) {
        assert!(look(&mut here) == 1 && !is_good(block(3), "a0"), "it is still the other's");
        std::thread::sleep(Duration::from_millis(50));
    }
    there.keep(&wanted("a1", &[]), ours).unwrap();
    until("it is free", || look(&mut here) == 1 && is_good(block(3), "a0"));
    here.keep(&wanted("a0", &[]), ours).unwrap();
}

fn an_interface_without_ipv6_is_said_with_what_to_do() {
    std::fs::write("/proc/sys/net/ipv6/conf/a1/disable_ipv6", "1").unwrap();
    let error = ShareAddresses::open().unwrap().keep(&wanted("a1", &[0]), ours).unwrap_err();
    assert!(!error.is_privilege(), "no capability is missing");
    let text = error.to_string();
    assert!(text.starts_with("adding fe80::5a:c000:20b:0 on a1 for a share router: "), "{text}");
    assert!(text.contains("sysctl net.ipv6.conf.a1.disable_ipv6=0"), "{text}");
}

fn a_port_of_a_bridge_is_refused() {
    link::bridge("br0");
    link::join("a0", "br0");
    let error = ShareAddresses::open().unwrap().keep(&wanted("a0", &[0]), ours).unwrap_err();
    assert!(matches!(error, ShareAddressError::BridgePort { .. }), "{error}");
    assert!(error.to_string().contains("a0 is a port of a bridge"), "{error}");
    assert_eq!(flags(block(0), "a0"), None);
}
