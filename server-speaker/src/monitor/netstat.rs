//! The extended TCP counters of the network namespace from /proc/net/netstat: pairs of lines, names above values.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::MonitorError;

/// Of the calling thread's namespace, as every netlink socket it opens.
const PATH: &str = "/proc/thread-self/net/netstat";
const OVERFLOWS: &str = "ListenOverflows";

/// The open file: /proc answers anew at every read from its start.
#[derive(Debug)]
pub struct Netstat {
    file: File,
    buffer: Vec<u8>,
}

impl Netstat {
    /// Opens the counters of this thread's namespace.
    pub fn open() -> Result<Self, MonitorError> {
        let file = File::open(PATH).map_err(|source| MonitorError::File { path: PATH, source })?;
        Ok(Netstat { file, buffer: vec![0; 16 * 1024] })
    }

    /// Connections that were dropped since an accept queue was full, over all listeners of the namespace.
    pub fn listen_overflows(&mut self) -> Result<u64, MonitorError> {
        let read =
            self.file.read_at(&mut self.buffer, 0).map_err(|source| MonitorError::File { path: PATH, source })?;
        let text = String::from_utf8_lossy(self.buffer.get(..read).unwrap_or_default());
        parse(&text, OVERFLOWS).ok_or(MonitorError::Counter { path: PATH, counter: OVERFLOWS })
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
