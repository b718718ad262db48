//! Addresses on `lo`, in a user and network namespace of the test's own: no privilege needed.
//!
//! Its own harness: a user namespace can only be entered by a process with one thread.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::Ipv6Addr;

use nix::sched::{CloneFlags, unshare};
use server_speaker::advertise::Loopback;

fn main() {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .expect("user namespaces are refused here: sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces");
    std::fs::write("/proc/self/setgroups", "deny").unwrap();
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();

    an_address_comes_goes_and_bears_repetition();
    it_is_never_tentative_and_never_preferred();
    println!("loopback: 2 tests ok");
}

/// The flags of an address on lo as /proc shows them (IFA_F_*), none if it is not there.
fn flags(address: Ipv6Addr) -> Option<u32> {
    let text = std::fs::read_to_string("/proc/self/net/if_inet6").unwrap();
    let hex: String = address.octets().iter().map(|b| format!("{b:02x}")).collect();
    let line = text.lines().find(|line| line.starts_with(&hex))?;
    let fields: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((fields.get(2), fields.get(5)), (Some(&"80"), Some(&"lo")), "{line}");
    fields.get(4).map(|flags| u32::from_str_radix(flags, 16).unwrap())
}

fn an_address_comes_goes_and_bears_repetition() {
    let address: Ipv6Addr = "2001:db8:53::53".parse().unwrap();
    let mut lo = Loopback::open().unwrap();
    assert_eq!(flags(address), None);
    lo.add(address).unwrap();
    lo.add(address).unwrap();
    assert!(flags(address).is_some());
    lo.remove(address).unwrap();
    assert_eq!(flags(address), None);
    lo.remove(address).unwrap();
}

fn it_is_never_tentative_and_never_preferred() {
    const IFA_F_NODAD: u32 = 0x02;
    const IFA_F_DEPRECATED: u32 = 0x20;
    const IFA_F_TENTATIVE: u32 = 0x40;
    let address: Ipv6Addr = "2001:db8:53::54".parse().unwrap();
    let mut lo = Loopback::open().unwrap();
    lo.add(address).unwrap();
    let flags = flags(address).unwrap();
    assert_eq!(
        flags & (IFA_F_NODAD | IFA_F_DEPRECATED | IFA_F_TENTATIVE),
        IFA_F_NODAD | IFA_F_DEPRECATED,
        "{flags:#x}"
    );
    lo.remove(address).unwrap();
}
