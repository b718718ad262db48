//! The kernel's settings that a router's work depends on.

use tracing::{info, warn};

const HASH_POLICY: &str = "fib_multipath_hash_policy";

/// Looks at the settings, and sets the hash policy if it is to; what keeps a router from doing its work is said with what to do
/// about it.
pub fn prepare(set_hash_policy: bool) {
    for warning in warnings(set_hash_policy) {
        warn!("{warning}");
    }
}

fn path(name: &str) -> String {
    format!("/proc/sys/net/ipv6/{name}")
}

fn warnings(set_hash_policy: bool) -> Vec<String> {
    let is_zero = |name: &str| std::fs::read_to_string(path(name)).is_ok_and(|value| value.trim() == "0");
    let mut warnings = Vec::new();
    if is_zero("conf/all/forwarding") {
        warnings.push(
            "the kernel does not forward IPv6; set it with `sysctl -w net.ipv6.conf.all.forwarding=1`".to_owned(),
        );
    }
    if is_zero(HASH_POLICY) {
        let by_hand = "equal-cost next hops are shared by addresses, not by flows; set it with `sysctl -w \
                       net.ipv6.fib_multipath_hash_policy=1`";
        if !set_hash_policy {
            warnings.push(format!("{by_hand}, or allow it by set-hash-policy in [fib]"));
        } else if let Err(error) = std::fs::write(path(HASH_POLICY), "1") {
            warnings.push(format!("{by_hand} (this program may not: {error})"));
        } else {
            info!("equal-cost next hops are shared by flows: net.ipv6.fib_multipath_hash_policy was 0 and is 1 now");
        }
    }
    warnings
}
