//! The extended TCP counters of the network namespace from /proc/net/netstat: pairs of lines, names above values.

use super::MonitorError;
use super::proc_file::ProcFile;

/// Of the calling thread's namespace, as every netlink socket it opens.
const PATH: &str = "/proc/thread-self/net/netstat";
const OVERFLOWS: &str = "ListenOverflows";

/// The counters.
#[derive(Debug)]
pub struct Netstat(ProcFile);

impl Netstat {
    /// Opens the counters of this thread's namespace.
    pub fn open() -> Result<Self, MonitorError> {
        ProcFile::open(PATH).map(Netstat)
    }

    /// Connections that were dropped since an accept queue was full, over all listeners of the namespace.
    pub fn listen_overflows(&mut self) -> Result<u64, MonitorError> {
        parse(&self.0.read()?, OVERFLOWS).ok_or(MonitorError::Counter { path: PATH, counter: OVERFLOWS })
    }
}

fn parse(text: &str, counter: &str) -> Option<u64> {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        if let Some(at) = names.split_whitespace().position(|name| name == counter) {
            return values.split_whitespace().nth(at)?.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_stands_under_its_name() {
        let text =
            "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 333\nIpExt: InNoRoutes\nIpExt: 4\n";
        assert_eq!(parse(text, OVERFLOWS), Some(22));
        assert_eq!(parse(text, "InNoRoutes"), Some(4));
        assert_eq!(parse(text, "Other"), None);
    }

    #[test]
    fn the_kernel_of_this_machine_has_it() {
        Netstat::open().unwrap().listen_overflows().unwrap();
    }
}
