//! A running lab: its files, its peers, and what it tells about itself when something fails.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    fib::Fib,
    netns::Netns,
    peer::{Peer, RouterSpec, Version},
    process::tail,
    sandbox::WORK,
};

/// A lab owns its peers and knows its namespaces.
pub struct Lab {
    directory: PathBuf,
    peers: Vec<Box<dyn Peer>>,
    namespaces: Vec<Netns>,
}

/// A peer of a lab, as its lab knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(usize);

impl Lab {
    /// An empty lab with a directory for its files.
    pub fn new(name: &str) -> Result<Self> {
        let directory = Path::new(WORK).join(name);
        fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
        Ok(Self { directory, peers: vec![], namespaces: vec![] })
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where its logs are.
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// Includes a namespace in the diagnostics.
    pub fn watch(&mut self, netns: &Netns) {
        if !self.namespaces.iter().any(|known| known.name() == netns.name()) {
            self.namespaces.push(netns.clone());
        }
    }

    /// Starts a router of this version in a namespace.
    pub fn start(&mut self, version: &Version, netns: &Netns, spec: RouterSpec) -> Result<PeerId> {
        self.watch(netns);
        let peer = version.create(netns, spec, &self.directory)?;
        self.peers.push(peer);
        let id = PeerId(self.peers.len() - 1);
        self.peer(id)?.start()?;
        Ok(id)
    }

    /// Takes over a peer that was made elsewhere and started.
    pub fn adopt(&mut self, peer: Box<dyn Peer>) -> PeerId {
        self.watch(&peer.netns().clone());
        self.peers.push(peer);
        PeerId(self.peers.len() - 1)
    }

    /// A peer.
    pub fn peer(&mut self, id: PeerId) -> Result<&mut dyn Peer> {
        let peer = self.peers.get_mut(id.0).context("a peer of another lab")?;
        Ok(peer.as_mut())
    }

    /// What helps to understand a failure: what the peers say, their logs, the kernel's routes.
    pub fn diagnostics(&mut self) -> String {
        let mut text = String::new();
        for peer in &mut self.peers {
            let _ = writeln!(text, "--- {} ({}) in {}", peer.name(), peer.version(), peer.netns().name());
            let _ = writeln!(text, "{}", peer.diagnostics());
        }
        for netns in &self.namespaces {
            let routes = Fib::read(netns).map_or_else(|error| format!("{error:#}"), |fib| fib.to_string());
            let _ = writeln!(text, "--- routes of {}\n{routes}", netns.name());
        }
        let mut logs: Vec<_> = fs::read_dir(self.logs())
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        logs.sort();
        for log in logs {
            let _ = writeln!(text, "--- end of {}\n{}", log.display(), tail(&log, 40));
        }
        text
    }
}
