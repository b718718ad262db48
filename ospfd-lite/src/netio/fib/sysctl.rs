//! The kernel's settings that a router's work depends on.

use tracing::{info, warn};

/// Which settings may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sysctls {
    /// `net.ipv6.fib_multipath_hash_policy`: to 1 if it is 0.
    pub hash_policy: bool,
    /// `net.ipv4.nexthop_compat_mode`: to 0. None: it does not matter, since there are no slots.
    pub compat_mode: Option<bool>,
}

/// A setting, and what it is to be.
struct Setting {
    name: &'static str,
    bad: &'static str,
    good: &'static str,
    /// What is wrong while it is bad.
    harm: &'static str,
    /// The key that allows us to change it.
    key: Option<(&'static str, bool)>,
}

/// Looks at the settings, and changes those that may be changed; what keeps a router from doing its work is said with what to do
/// about it.
pub fn prepare(sysctls: Sysctls) {
    let settings = [
        Setting {
            name: "net.ipv6.conf.all.forwarding",
            bad: "0",
            good: "1",
            harm: "the kernel does not forward IPv6",
            key: None,
        },
        Setting {
            name: "net.ipv6.fib_multipath_hash_policy",
            bad: "0",
            good: "1",
            harm: "equal-cost next hops are shared by addresses, not by flows",
            key: Some(("set-hash-policy", sysctls.hash_policy)),
        },
    ];
    let compat_mode = sysctls.compat_mode.map(|allowed| Setting {
        name: "net.ipv4.nexthop_compat_mode",
        bad: "1",
        good: "0",
        harm: "for each slot that changes hands the kernel tells everybody of every route that uses it",
        key: Some(("set-compat-mode", allowed)),
    });
    for setting in settings.into_iter().chain(compat_mode) {
        setting.prepare();
    }
}

impl Setting {
    fn prepare(&self) {
        let Setting { name, good, harm, .. } = self;
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        if !std::fs::read_to_string(&path).is_ok_and(|value| value.trim() == self.bad) {
            return;
        }
        match self.key {
            None => warn!("{harm}; set it with `sysctl -w {name}={good}`"),
            Some((key, false)) => {
                warn!("{harm}; set it with `sysctl -w {name}={good}`, or allow it by {key} in [fib]");
            }
            Some((_, true)) => match std::fs::write(&path, good) {
                Ok(()) => info!("{name} was {} and is {good} now: else {harm}", self.bad),
                Err(error) => {
                    warn!("{harm}; set it with `sysctl -w {name}={good}` (this program may not: {error})");
                }
            },
        }
    }
}
