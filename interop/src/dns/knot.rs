//! Knot DNS as a real server of a farm: one zone, whose answer to [`super::query`] is the server's name.

use std::{
    fs,
    net::Ipv6Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::brake::{Brake, TAKES};
use crate::{
    process::{Place, Proc},
    seccomp,
    wait::{Probe, wait_for},
};

/// The Debian package `knot` has it.
pub const KNOTD: &str = "/usr/sbin/knotd";
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts one on `[address]:53`, which need not exist yet, with a capacity in queries per second; its files are in
/// `directory`. It has one worker for UDP.
pub fn start(
    name: &str,
    address: Ipv6Addr,
    (directory, place): (&Path, Place<'_>),
    capacity: f64,
) -> Result<(Proc, Brake)> {
    if !Path::new(KNOTD).exists() {
        bail!("no {KNOTD}: install the Debian package `knot` (`cargo lab test` as root does it)");
    }
    let configuration = write(name, address, directory)?;
    let mut command = Command::new(KNOTD);
    command.arg("-c").arg(configuration);
    // A former one's word that it has started is in the same log.
    let before = fs::read_to_string(place.logs.join(format!("{name}-knot.log"))).map_or(0, |log| log.len());
    let hold = || seccomp::hold_calls_of_this_thread(TAKES);
    let (mut process, calls) = Proc::start_after(&format!("{name}-knot"), place, &mut command, hold)?;
    let brake = Brake::start(place.netns, calls, capacity)?;
    wait_for(&format!("knotd of {name}"), PATIENCE, || {
        process.ensure_running()?;
        let log = process.log();
        let started = log.get(before..).is_some_and(|log| log.contains("server started"));
        Ok(Probe::when(started, (), process.tail(3)))
    })?;
    Ok((process, brake))
}

fn write(name: &str, address: Ipv6Addr, directory: &Path) -> Result<PathBuf> {
    fs::create_dir_all(directory.join("run"))?;
    let at = directory.display();
    let zone = format!(
        "farm.example. 3600 SOA {name}.farm.example. hostmaster.farm.example. 1 3600 600 86400 60\n\
         farm.example. 3600 NS {name}.farm.example.\n\
         {name}.farm.example. 3600 AAAA {address}\n\
         who.farm.example. 0 TXT \"{name}\"\n"
    );
    fs::write(directory.join("farm.example.zone"), zone)?;
    let text = format!(
        "server:\n    rundir: \"{at}/run\"\n    listen: [ \"{address}@53\" ]\n    udp-workers: 1\n    \
         tcp-workers: 1\n    background-workers: 1\n\
         database:\n    storage: \"{at}/db\"\n\
         log:\n  - target: stdout\n    any: info\n\
         zone:\n  - domain: farm.example\n    storage: \"{at}\"\n    file: \"farm.example.zone\"\n    \
         journal-content: none\n    zonefile-load: whole\n"
    );
    let file = directory.join("knot.conf");
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}
