//! `lab root`: another Debian beside the host's, whose FRR and BIRD serve as further peer versions. Made by debootstrap
//! from the mirror that the host's own apt uses, in stages, so that an interrupted run goes on where it stopped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::Uid,
};

/// A directory that says where the trixie root is, instead of the usual place.
pub const VARIABLE: &str = "LAB_ROOT_TRIXIE";
const USUAL: &str = "/var/cache/lab/trixie";
/// Written last: the root is complete.
const COMPLETE: &str = "etc/lab-complete";
/// BIRD 3 conflicts with BIRD 2 as a package, so it is unpacked here.
const BIRD3: &str = "opt/bird3";

/// Where the trixie root is, or how to get it.
pub fn trixie() -> Result<PathBuf> {
    let directory = place();
    if !directory.join(COMPLETE).is_file() {
        bail!("no complete Debian trixie at {}: make it as root with `cargo lab root trixie`", directory.display());
    }
    Ok(directory)
}

fn place() -> PathBuf {
    std::env::var_os(VARIABLE).map_or_else(|| PathBuf::from(USUAL), PathBuf::from)
}

/// Makes the root, or completes it, and tells where it is.
pub fn make(suite: &str, directory: Option<&Path>) -> Result<PathBuf> {
    let directory = directory.map_or_else(place, Path::to_owned);
    if directory.join(COMPLETE).is_file() {
        return Ok(directory);
    }
    if !Uid::effective().is_root() {
        bail!("debootstrap needs root: run `sudo cargo lab root {suite}`");
    }
    if !Path::new("/usr/sbin/debootstrap").exists() {
        bail!("debootstrap is missing: apt-get install -y debootstrap");
    }
    // Mounts made below are seen by nobody else and vanish with this process.
    unshare(CloneFlags::CLONE_NEWNS).context("taking a private mount namespace")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    if !directory.join("etc/debian_version").is_file() {
        bootstrap(suite, &directory)?;
    }
    install(&directory)?;
    fs::write(directory.join(COMPLETE), suite)?;
    Ok(directory)
}

/// Stage 1: the base system, moved to its place when complete.
fn bootstrap(suite: &str, directory: &Path) -> Result<()> {
    let mirror = mirror()?;
    let parent = directory.parent().context("a root directory needs a parent")?;
    fs::create_dir_all(parent)?;
    let partial = directory.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).context("removing an interrupted debootstrap")?;
    }
    println!("debootstrap {suite} from the host's mirror to {} (about a minute)", directory.display());
    let mut command = Command::new("/usr/sbin/debootstrap");
    command.args(["--variant=minbase", suite]).arg(&partial).arg(&mirror);
    let log = parent.join("debootstrap.log");
    command.stdout(fs::File::create(&log)?).stderr(fs::File::options().append(true).open(&log)?);
    run(&mut command).with_context(|| format!("see {}", log.display()))?;
    fs::rename(&partial, directory).context("moving the new root to its place")
}

/// Stage 2: the peers, by the new root's own apt.
fn install(root: &Path) -> Result<()> {
    let none: Option<&str> = None;
    for directory in ["proc", "sys", "dev"] {
        let target = root.join(directory);
        mount(Some(&Path::new("/").join(directory)), &target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
            .with_context(|| format!("binding /{directory}"))?;
    }
    fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf")).context("copying resolv.conf")?;
    // Packages must not start their daemons.
    let policy = root.join("usr/sbin/policy-rc.d");
    fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
    run(Command::new("chmod").arg("755").arg(&policy))?;
    let inside = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg(root).args(["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"]).args(arguments);
        run(&mut command)
    };
    println!("installing frr, bird2 and bird3 in {}", root.display());
    inside(&["apt-get", "-q", "update"])?;
    inside(&["apt-get", "-q", "install", "-y", "--no-install-recommends", "frr", "bird2", "iproute2"])?;
    inside(&[
        "sh",
        "-ec",
        &format!("cd /tmp && apt-get -q download bird3 && dpkg -x bird3_*.deb /{BIRD3} && rm bird3_*.deb"),
    ])?;
    inside(&["apt-get", "-q", "clean"])?;
    // An ordinary user's lab mounts over these.
    for directory in ["etc/frr", "var/tmp", "run"] {
        fs::create_dir_all(root.join(directory))?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {:?}", command.get_program()))?;
    if !status.success() {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let known =
            arguments.iter().filter(|argument| !argument.contains("://")).cloned().collect::<Vec<_>>().join(" ");
        bail!("{} {known} failed ({status})", command.get_program().to_string_lossy());
    }
    Ok(())
}

/// The mirror of the host's main archive.
fn mirror() -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let found = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => mirror_of_lines(&text),
            Some("sources") => mirror_of_stanzas(&text),
            _ => None,
        };
        if let Some(mirror) = found {
            return Ok(mirror);
        }
    }
    bail!("no Debian mirror in /etc/apt/sources.list or /etc/apt/sources.list.d")
}

/// The main archive: a repository that has the component main and is not the security archive.
fn is_main_archive(uri: &str, components: &str) -> bool {
    let path = uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    uri.contains("://") && path == "debian" && components.split_whitespace().any(|component| component == "main")
}

/// `deb [options] URI suite components...`
fn mirror_of_lines(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let rest = if rest.starts_with('[') { rest.split_once(']')?.1.trim_start() } else { rest };
        let (uri, rest) = rest.split_once(char::is_whitespace)?;
        is_main_archive(uri, rest).then(|| uri.to_owned())
    })
}

/// deb822: stanzas of `Types:`, `URIs:`, `Suites:`, `Components:`.
fn mirror_of_stanzas(text: &str) -> Option<String> {
    text.split("\n\n").find_map(|stanza| {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
                .unwrap_or_default()
        };
        let enabled = field("Enabled") != "no" && field("Types").split_whitespace().any(|kind| kind == "deb");
        let uri = field("URIs").split_whitespace().find(|uri| is_main_archive(uri, field("Components")))?;
        enabled.then(|| uri.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_archive_is_found_in_both_notations() {
        let stanzas = "Types: deb\nURIs: http://mirror.example/debian-security\nSuites: x-security\nComponents: main\n\n\
                       Types: deb\n# a comment\nURIs: http://mirror.example/debian\nSuites: x\nComponents: main\n";
        assert_eq!(mirror_of_stanzas(stanzas).as_deref(), Some("http://mirror.example/debian"));
        let lines =
            "# deb http://old.example/debian x main\ndeb [signed-by=/k] http://mirror.example/debian x main contrib\n";
        assert_eq!(mirror_of_lines(lines).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(mirror_of_lines("deb http://mirror.example/debian-security x main\n"), None);
    }
}
