//! The sandbox every lab runs in: its own user (unless root), network, mount and pid namespaces, entered by re-executing
//! the running binary, so that a lab never touches the host and ends with its process (the child is pid 1 of its
//! pid namespace: when it goes, the kernel kills everything the lab started).
//!
//! `unshare(CLONE_NEWUSER)` is refused to a process with threads, so `enter` comes first in `main`.

use std::{
    fs,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{prctl, signal::Signal},
    unistd::{Uid, getgid, getuid},
};

use crate::{netns::Netns, nl::Rtnl};

/// Set for the re-executed child: "this process is inside".
pub const INSIDE: &str = "LAB_SANDBOX";
/// Set by a user (or a test) to take a user namespace even as root.
pub const FORCE_USERNS: &str = "LAB_FORCE_USERNS";

/// Where the lab keeps its files: on the sandbox's own tmpfs.
pub const WORK: &str = "/run/lab";

/// What `enter` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Inside: go on with the lab.
    Inside,
    /// Outside: the lab ran in a child, which ended with this exit code.
    Outside(i32),
}

/// Enters the sandbox by running this same command line again inside it.
///
/// Must be called before any thread is started.
pub fn enter() -> Result<Side> {
    if std::env::var_os(INSIDE).is_some() {
        furnish()?;
        return Ok(Side::Inside);
    }
    let executable = std::env::current_exe().context("finding the running binary")?;
    unshare_all()?;
    let mut command = Command::new(executable);
    let mut arguments = std::env::args_os();
    if let Some(zero) = arguments.next() {
        command.arg0(zero);
    }
    let status = command.args(arguments).env(INSIDE, "1").status().context("starting the lab inside its namespaces")?;
    Ok(Side::Outside(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))))
}

/// True in the re-executed child.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

fn unshare_all() -> Result<()> {
    let (user, group) = (getuid(), getgid());
    let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if Uid::effective().is_root() && std::env::var_os(FORCE_USERNS).is_none() {
        return unshare(flags).map_err(|errno| refused("unshare(net, mnt, pid)", errno));
    }
    flags |= CloneFlags::CLONE_NEWUSER;
    unshare(flags).map_err(|errno| refused("unshare(user, net, mnt, pid)", errno))?;
    let write = |file: &str, text: String| {
        fs::write(file, text).map_err(|error| {
            refused(&format!("writing {file}"), Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EPERM as i32)))
        })
    };
    write("/proc/self/setgroups", "deny".into())?;
    write("/proc/self/uid_map", format!("0 {user} 1"))?;
    write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Explains a refusal by the switch that caused it, as far as the kernel shows it.
fn refused(what: &str, errno: Errno) -> anyhow::Error {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok().map(|text| text.trim().to_owned())
    };
    let mut causes = vec![];
    for (name, bad, good) in [
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user.max_user_namespaces", "0", "15000"),
        ("user.max_net_namespaces", "0", "15000"),
    ] {
        if read(name).as_deref() == Some(bad) {
            causes.push(format!("{name} = {bad}: allow it with `sysctl -w {name}={good}` as root"));
        }
    }
    if errno == Errno::ENOSPC && causes.is_empty() {
        causes.push("user.max_user_namespaces (or another user.max_*_namespaces) is used up: raise it as root".into());
    }
    if errno == Errno::EINVAL {
        causes.push("the process already had threads, or this kernel has no user namespaces".into());
    }
    if causes.is_empty() {
        causes.push(
            "none of kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns and \
             user.max_user_namespaces forbids it, so a container's seccomp or security profile does; run as root \
             outside of it"
                .into(),
        );
    }
    anyhow!("the lab needs its own namespaces, but {what} was refused ({errno}): {}", causes.join("; "))
}

/// Mounts what a lab needs inside: nothing of it is visible outside.
fn furnish() -> Result<()> {
    // The outer process may be killed: then this one must not stay behind.
    prctl::set_pdeathsig(Signal::SIGKILL).context("tying the lab to its parent")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|errno| refused("making the mounts private", errno))?;
    let fresh = |kind: &str, target: &str| {
        mount(Some(kind), target, Some(kind), MsFlags::empty(), none)
            .map_err(|errno| refused(&format!("mounting {kind} on {target}"), errno))
    };
    fresh("proc", "/proc")?;
    fresh("sysfs", "/sys")?;
    if in_use("/run") {
        bail!("a lab has a /run of its own, so neither it nor its working directory may lie below /run");
    }
    fresh("tmpfs", "/run")?;
    if !in_use("/var/tmp") {
        fresh("tmpfs", "/var/tmp")?; // FRR writes to /var/tmp/frr; below it may lie somebody else's
    }
    for directory in ["/run/netns", "/run/frr", "/run/bird", WORK, "/var/tmp/frr"] {
        fs::create_dir_all(directory).with_context(|| format!("creating {directory}"))?;
    }
    if Path::new("/etc/frr").is_dir() {
        fresh("tmpfs", "/etc/frr")?; // unreadable for ordinary users, and FRR looks into it
    }
    own_frr_groups(Path::new("/"))?;
    let base = Netns::current("sandbox")?;
    base.run(|| Rtnl::open()?.up("lo"))?
}

/// Whether the running binary or the working directory lies below a directory.
fn in_use(directory: &str) -> bool {
    [std::env::current_exe(), std::env::current_dir()].into_iter().flatten().any(|path| path.starts_with(directory))
}

/// Fails if a file to be written would land on a file system that ends with the lab.
pub fn ensure_lasting(file: &Path) -> Result<()> {
    let file = std::path::absolute(file).context("finding the place of a file")?;
    for directory in ["/run", "/var/tmp", "/etc/frr"] {
        if file.starts_with(directory) && !in_use(directory) {
            bail!("{}: what a lab writes below {directory} ends with the lab; choose another place", file.display());
        }
    }
    Ok(())
}

/// FRR insists that its user is a member of the group frrvty. Only uid 0 is mapped here and setgroups is denied, so the
/// sandbox shows an /etc/group in which both groups are group 0 with root as member.
pub fn own_frr_groups(root: &Path) -> Result<()> {
    let real = root.join("etc/group");
    let text = fs::read_to_string(&real).with_context(|| format!("reading {}", real.display()))?;
    if !text.lines().any(|line| line.starts_with("frrvty:")) {
        return Ok(());
    }
    let mut changed = String::with_capacity(text.len());
    for line in text.lines() {
        changed.push_str(match line.split(':').next() {
            Some("frrvty") => "frrvty:x:0:root",
            Some("frr") => "frr:x:0:root",
            _ => line,
        });
        changed.push('\n');
    }
    let copy = tempfile::Builder::new().prefix("group").tempfile_in("/run").context("writing a group file")?;
    let (_, path) = copy.keep().context("keeping the group file")?;
    fs::write(&path, changed)?;
    let none: Option<&str> = None;
    mount(Some(&path), &real, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("binding the lab's group file over {}", real.display()))
}

/// Makes another Debian root usable as the home of a peer: this sandbox's /proc, /sys, /dev and /run inside it, and
/// FRR's groups as above. The root itself may belong to somebody else and is not written to.
pub fn furnish_root(root: &Path) -> Result<()> {
    if !root.join("etc/group").is_file() {
        bail!("{} is no Debian root (no etc/group); make one with `cargo lab root trixie`", root.display());
    }
    let marker = root.join("run/lab");
    if marker.is_dir() {
        return Ok(()); // done before in this sandbox
    }
    let none: Option<&str> = None;
    for directory in ["proc", "sys", "dev", "run"] {
        let target = root.join(directory);
        mount(Some(&Path::new("/").join(directory)), &target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
            .with_context(|| format!("binding /{directory} to {}", target.display()))?;
    }
    for directory in ["var/tmp", "etc/frr"] {
        let target = root.join(directory);
        if target.is_dir() {
            mount(Some("tmpfs"), &target, Some("tmpfs"), MsFlags::empty(), none)
                .with_context(|| format!("mounting tmpfs on {}", target.display()))?;
        }
    }
    fs::create_dir_all(root.join("var/tmp/frr"))?;
    own_frr_groups(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_a_sysctl_or_says_that_none_forbids_it() {
        let text = refused("unshare(user)", Errno::EPERM).to_string();
        assert!(text.contains("kernel.unprivileged_userns_clone") || text.contains("user.max_"), "{text}");
    }

    #[test]
    fn exhausted_namespaces_name_their_sysctl() {
        assert!(refused("unshare(user)", Errno::ENOSPC).to_string().contains("user.max_user_namespaces"));
    }
}
