//! RAII network namespaces. A namespace is a file descriptor; to work in it, a short-lived thread enters it. A process
//! started by such a thread lives in that namespace, and so does a socket opened by it, wherever it is used later.

use std::{
    fs::{self, File},
    os::fd::AsRawFd,
    path::Path,
    process::{Child, Command},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, anyhow};
use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::{chdir, chroot},
};

use crate::nl::{Rtnl, VethEnd};

/// A network namespace; it goes when the last handle and the last process in it have gone.
#[derive(Debug, Clone)]
pub struct Netns {
    name: Arc<str>,
    file: Arc<File>,
}

impl Netns {
    /// Creates an empty namespace whose `lo` is up.
    pub fn create(name: &str) -> Result<Self> {
        let created = thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET).with_context(|| format!("creating the namespace {name}"))?;
                    Self::current(name)
                })
                .join()
        });
        let netns = created.map_err(|_| anyhow!("the thread creating {name} panicked"))??;
        netns.sysctl("net.ipv6.conf.all.accept_dad", "0")?;
        netns.sysctl("net.ipv6.conf.default.accept_dad", "0")?;
        netns.sysctl("net.ipv6.conf.default.router_solicitations", "0")?;
        // IN6_ADDR_GEN_MODE_NONE: every link-local address of a lab is chosen, none is derived.
        netns.sysctl("net.ipv6.conf.default.addr_gen_mode", "1")?;
        netns.rtnl()?.up("lo")?;
        Ok(netns)
    }

    /// A handle to the calling thread's namespace.
    pub fn current(name: &str) -> Result<Self> {
        let file = File::open("/proc/thread-self/ns/net").context("opening the current network namespace")?;
        Ok(Self { name: name.into(), file: Arc::new(file) })
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread inside the namespace and returns its result.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&*self.file, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {}", self.name))?;
                    Ok(work())
                })
                .join()
        })
        .map_err(|_| anyhow!("a thread in {} panicked", self.name))?
    }

    /// A netlink socket of this namespace.
    pub fn rtnl(&self) -> Result<Rtnl> {
        self.run(Rtnl::open)?
    }

    /// Starts `command` in the namespace and, if `root` is given, with that directory as its root.
    pub fn spawn(&self, command: &mut Command, root: Option<&Path>) -> Result<Child> {
        Ok(self.spawn_after(command, root, || Ok(()))?.0)
    }

    /// The same; what `prepare` sets for its thread is inherited by the process.
    pub fn spawn_after<T: Send>(
        &self,
        command: &mut Command,
        root: Option<&Path>,
        prepare: impl FnOnce() -> Result<T> + Send,
    ) -> Result<(Child, T)> {
        self.run(|| {
            if let Some(root) = root {
                // The root directory is per process unless unshared: only this thread and its child move.
                unshare(CloneFlags::CLONE_FS).context("unsharing the root directory")?;
                chroot(root).with_context(|| format!("entering {}", root.display()))?;
                chdir("/")?;
            }
            let prepared = prepare()?;
            let child = command.spawn();
            let child = child.with_context(|| format!("starting {:?} in {}", command.get_program(), self.name))?;
            Ok((child, prepared))
        })?
    }

    /// Sets a `net.*` switch of the namespace, in the notation of sysctl(8).
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.run(|| fs::write(&path, value))?.with_context(|| format!("setting {name} = {value} in {}", self.name))
    }

    /// Makes the namespace a router that spreads flows by their 5-tuple.
    pub fn make_router(&self) -> Result<()> {
        self.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        self.sysctl("net.ipv6.conf.default.forwarding", "1")?;
        self.sysctl("net.ipv6.fib_multipath_hash_policy", "1")
    }

    /// Two namespaces joined by a veth pair; both ends are up.
    pub fn join(&self, own: &str, peer: &Self, theirs: &str) -> Result<()> {
        let a = VethEnd { name: own, mac: mac_of(&self.name, own), netns: self.file.as_raw_fd() };
        let b = VethEnd { name: theirs, mac: mac_of(&peer.name, theirs), netns: peer.file.as_raw_fd() };
        let mut here = self.rtnl()?;
        here.add_veth(&a, &b)?;
        here.up(own)?;
        peer.rtnl()?.up(theirs)
    }
}

/// A locally administered hardware address, the same in every run (FNV-1a of both names).
fn mac_of(namespace: &str, interface: &str) -> [u8; 6] {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in namespace.bytes().chain([0]).chain(interface.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let [_, _, _, b3, b4, b5, b6, b7] = hash.to_be_bytes();
    [0x02, b3, b4, b5, b6, b7]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn hardware_addresses_of_a_large_lab_are_distinct_and_local_unicast() {
        let all: BTreeSet<_> = (0..1000).map(|k| mac_of(&format!("s{k}"), "eth0")).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|mac| mac[0] == 0x02));
    }
}
