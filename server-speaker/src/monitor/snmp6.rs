//! UDP counters of the network namespace from /proc/net/snmp6 (RFC 4113 names with the kernel's prefix).
//!
//! `Udp6InDatagrams` counts a datagram when the service takes it out of its queue, not when it arrives (a test holds the
//! kernel to that), so its rate is the rate of service. The counters are of the whole namespace: they speak for one
//! service only if it is the only UDP service there.

use super::MonitorError;
use super::proc_file::ProcFile;

/// Of the calling thread's namespace, as every netlink socket it opens.
const PATH: &str = "/proc/thread-self/net/snmp6";

/// The counters that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Udp6Counters {
    /// Datagrams delivered to services.
    pub in_datagrams: u64,
    /// Datagrams dropped because a receive buffer was full.
    pub rcvbuf_errors: u64,
}

/// All counters.
#[derive(Debug)]
pub struct Snmp6(ProcFile);

impl Snmp6 {
    /// Opens the counters of this thread's namespace.
    pub fn open() -> Result<Self, MonitorError> {
        ProcFile::open(PATH).map(Snmp6)
    }

    /// The counters now.
    pub fn read(&mut self) -> Result<Udp6Counters, MonitorError> {
        parse(&self.0.read()?)
    }
}

fn parse(text: &str) -> Result<Udp6Counters, MonitorError> {
    let counter = |counter: &'static str| {
        text.lines()
            .filter_map(|line| line.split_once(char::is_whitespace))
            .find(|(name, _)| *name == counter)
            .and_then(|(_, value)| value.trim().parse().ok())
            .ok_or(MonitorError::Counter { path: PATH, counter })
    };
    Ok(Udp6Counters { in_datagrams: counter("Udp6InDatagrams")?, rcvbuf_errors: counter("Udp6RcvbufErrors")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_counters_are_found_by_name() {
        let text = "Ip6InReceives                   \t12\nUdp6InDatagrams                 \t7\nUdp6RcvbufErrors\t3\n";
        assert_eq!(parse(text).unwrap(), Udp6Counters { in_datagrams: 7, rcvbuf_errors: 3 });
    }

    #[test]
    fn a_missing_counter_is_named() {
        let error = parse("Udp6InDatagrams \t7\n").unwrap_err();
        assert!(error.to_string().contains("Udp6RcvbufErrors"), "{error}");
    }

    #[test]
    fn the_kernel_of_this_machine_has_them() {
        Snmp6::open().unwrap().read().unwrap();
    }
}
