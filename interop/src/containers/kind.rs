//! The engines that a farm can be run with, and how one of our own is started.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use nix::unistd::Uid;

use super::{
    engine::{answers, compose_program, find},
    own::{Own, socket},
};

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The engine that answers `docker`, or `dockerd`.
    Docker,
    /// Podman behind Docker's interface: the service that CONTAINER_HOST names, or one of our own.
    Podman,
}

/// Starts our Podman: what it leaves to others to remove must be in namespaces.
const PODMAN: &str = include_str!("podman.sh");
/// Programs of our Podman, which are Debian's packages of these names.
const PARTS: [&str; 3] = ["podman", "netavark", "catatonit"];

/// Debian packages without which the farm is not run with both engines.
pub fn missing_packages() -> Vec<&'static str> {
    let mut missing = vec![];
    // Also for Podman: the program `docker` is who we ask.
    if find("docker").is_none() || (find("dockerd").is_none() && !answers(None)) {
        missing.push("docker.io");
    }
    if compose_program().is_none() {
        missing.push("docker-compose");
    }
    // With a service that runs, its helpers are its own affair.
    let parts = if Kind::Podman.named().is_some() { &PARTS[..1] } else { &PARTS };
    missing.extend(parts.iter().filter(|part| find(part).is_none()));
    missing
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Docker => "dockerd",
            Self::Podman => "podman",
        }
    }

    /// How to get it.
    pub(super) fn advice(self) -> String {
        let (packages, variable) = match self {
            Self::Docker => ("docker.io docker-compose".into(), "DOCKER_HOST"),
            Self::Podman => (format!("{} docker.io docker-compose", PARTS.join(" ")), "CONTAINER_HOST"),
        };
        format!(
            "`cargo lab test` as root installs them; by hand: apt-get install {packages} (or name the socket of an \
             engine that runs in {variable})"
        )
    }

    /// The socket of one that runs here, if it is not where `docker` looks.
    pub(super) fn named(self) -> Option<OsString> {
        std::env::var_os("CONTAINER_HOST").filter(|_| self == Self::Podman)
    }

    /// Whether there is one that need not be started.
    pub(super) fn runs(self) -> Result<bool> {
        match (self, self.named()) {
            (Self::Docker, _) => Ok(answers(None)),
            (Self::Podman, None) => Ok(false),
            (Self::Podman, Some(named)) if answers(Some(&named)) => Ok(true),
            (Self::Podman, Some(named)) => bail!("nothing answers at CONTAINER_HOST={}", named.display()),
        }
    }

    /// Starts one of our own.
    pub(super) fn start(self, directory: &Path) -> Result<Own> {
        let words = match self {
            Self::Docker => dockerd(directory),
            Self::Podman => podman(directory),
        };
        let (name, advice) = (self.name(), self.advice());
        let Some(words) = words else { bail!("no container engine answers, and {name} is not here. {advice}") };
        if !Uid::effective().is_root() {
            bail!(
                "no container engine answers to this user, and starting {name} needs root: run this as root, or start \
                 an engine and join its group (Debian: adduser $USER docker). {advice}"
            );
        }
        Own::start(name, &words, directory)
    }
}

fn dockerd(directory: &Path) -> Option<Vec<OsString>> {
    let option = |name: &str, value: PathBuf| [name.into(), value.into_os_string()];
    let mut words = vec![find("dockerd")?.into_os_string()];
    words.extend(option("--data-root", directory.join("data")));
    words.extend(option("--exec-root", directory.join("exec")));
    words.extend(option("--pidfile", directory.join("docker.pid")));
    words.extend(["--host".into(), socket(directory)]);
    let untouched = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false"];
    words.extend(untouched.map(OsString::from));
    Some(words)
}

fn podman(directory: &Path) -> Option<Vec<OsString>> {
    let [_, netavark, catatonit] = PARTS.map(find);
    find("podman")?;
    let mut words: Vec<OsString> =
        ["unshare", "--mount", "--net", "--", "sh", "-c", PODMAN, "sh"].map(Into::into).into();
    words.extend([directory.into(), socket(directory), netavark?.into(), catatonit?.into()]);
    Some(words)
}
