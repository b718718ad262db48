//! What a device costs: CPU time, memory and wake-ups of its processes by /proc, and the size of its programs.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::libc::ESRCH;

use crate::{attack::stage::find_process, netns::Netns};

/// The processes of a device.
#[derive(Debug, Clone)]
pub struct Processes(Vec<u32>);

/// What they have used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// Time on a processor, user and kernel.
    pub cpu: Duration,
    /// How often a thread gave up the processor to wait: each is a wake-up later.
    pub waits: u64,
}

impl Processes {
    /// Finds the processes of these names in a namespace.
    pub fn find(netns: &Netns, names: &[&str]) -> Result<Self> {
        names.iter().map(|name| find_process(netns, name)).collect::<Result<_>>().map(Self)
    }

    /// What all their threads have used; one that has ended takes along what it had used.
    pub fn used(&self) -> Result<Used> {
        let mut used = Used::default();
        for process in &self.0 {
            for task in fs::read_dir(format!("/proc/{process}/task")).context("the device has ended")?.flatten() {
                let (Some(schedstat), Some(status)) = (told(&task.path(), "schedstat")?, told(&task.path(), "status")?)
                else {
                    continue;
                };
                // schedstat counts nanoseconds, stat ticks of 10 ms.
                let first = schedstat.split(' ').next().and_then(|text| text.parse().ok());
                used.cpu += Duration::from_nanos(first.with_context(|| format!("schedstat {schedstat:?}"))?);
                used.waits += field(&status, "voluntary_ctxt_switches:")?;
            }
        }
        Ok(used)
    }

    /// The sum of one field of /proc/PID/status that is in kB, in bytes: `VmHWM:` or `VmRSS:`.
    pub fn memory(&self, name: &str) -> Result<u64> {
        let of = |process: &u32| field(&read(Path::new(&format!("/proc/{process}/status")))?, name);
        self.0.iter().map(of).sum::<Result<u64>>().map(|kib| kib * 1024)
    }

    /// What their programs come to when loaded: the programs and the shared libraries that no other package brings.
    pub fn programs(&self, libraries: &[&str]) -> Result<u64> {
        let mut files = BTreeSet::new();
        for process in &self.0 {
            files.insert(fs::read_link(format!("/proc/{process}/exe"))?);
            let maps = read(Path::new(&format!("/proc/{process}/maps")))?;
            let mapped = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).map(PathBuf::from);
            let named = |path: &PathBuf| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                libraries.iter().any(|library| name.starts_with(library))
            };
            files.extend(mapped.filter(named));
        }
        files.iter().map(|file| loaded(file)).sum()
    }
}

/// A file of a thread's; none if the thread has just ended.
fn told(task: &Path, name: &str) -> Result<Option<String>> {
    match fs::read_to_string(task.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {name} of {}", task.display())),
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// A number of /proc/PID/status.
fn field(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let text = line.with_context(|| format!("no {name} of a process that has ended"))?;
    text.split_whitespace().next().and_then(|number| number.parse().ok()).with_context(|| format!("{name} {text}"))
}

/// Bytes of an ELF file that are loaded (its PT_LOAD segments): debug information does not count.
fn loaded(file: &Path) -> Result<u64> {
    const PT_LOAD: u64 = 1;
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let number = |at: usize, size: usize| {
        let bytes = bytes.get(at..at + size)?;
        Some(bytes.iter().rev().fold(0u64, |number, byte| (number << 8) | u64::from(*byte)))
    };
    let sum = || {
        let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let mut sum = 0;
        for entry in 0..count {
            let at = usize::try_from(table + entry * size).ok()?;
            if number(at, 4)? == PT_LOAD {
                sum += number(at + 32, 8)?;
            }
        }
        Some(sum)
    };
    // ELF, 64 bits, little endian.
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("{} is no 64-bit little-endian ELF file", file.display());
    }
    sum().with_context(|| format!("{} is cut off", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_uses_is_read() {
        let own = Processes(vec![std::process::id()]);
        // Other tests' threads end meanwhile and take along what they had used, so that the sum may fall as well.
        let (mut before, mut work) = (own.used().unwrap(), 0u64);
        loop {
            for _ in 0..1_000_000 {
                work = work.wrapping_mul(31).wrapping_add(1);
            }
            let now = own.used().unwrap();
            if now.cpu > before.cpu {
                break;
            }
            before = now;
        }
        assert!(own.memory("VmHWM:").unwrap() >= own.memory("VmRSS:").unwrap() / 2, "{work}");
        let size = own.programs(&[]).unwrap();
        assert!(size > 100_000 && size < fs::metadata("/proc/self/exe").unwrap().len(), "{size}");
    }

    /// Threads that come and go between two looks at them are no error.
    #[test]
    fn threads_may_end_while_they_are_counted() {
        let own = Processes(vec![std::process::id()]);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::thread::spawn(|| {}).join().unwrap();
                }
            });
            for _ in 0..2000 {
                own.used().unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn a_field_is_read_by_its_whole_name() {
        let status = "voluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t9\nVmRSS:\t  12 kB\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:").unwrap(), 7);
        assert_eq!(field(status, "VmRSS:").unwrap(), 12);
        assert!(field(status, "VmHWM:").is_err());
    }
}
