//! CPU time and CPU pressure of a cgroup (version 2), from one reading to the next.
//!
//! Utilisation is the CPU time over what the group may have: the least quota of `cpu.max` on the way to the root, at most
//! its CPUs. With `psi` the part of the time in which one of its tasks waited for a CPU (`some` of `cpu.pressure`) is added:
//! a service that runs for 0.5 and waits for 0.4 of the time is busy for 0.9 of it, however idle its own CPU time looks.
//! For one worker that is exact; of many, one that waits while others have nothing to do counts too much.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::monitor::reading::Unreadable;

/// Where cgroups are mounted, and where on a host that has version 1 beside.
const MOUNT: &str = "/sys/fs/cgroup";
const MOUNT_HYBRID: &str = "/sys/fs/cgroup/unified";
/// Every cgroup has this file, and no other directory.
const MARK: &str = "cgroup.controllers";
/// CPUs of the machine.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// Which cgroup and what of it.
#[derive(Clone, Debug, PartialEq)]
pub struct CgroupConfig {
    /// Where it is.
    pub place: Place,
    /// The CPU pressure counts too.
    pub psi: bool,
    /// The CPUs that the service can use at most, where its workers are fewer than the CPUs it may have.
    pub cpus: Option<f64>,
}

/// Where a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its directory.
    Path(PathBuf),
    /// That of a unit of the service manager, in the system slice.
    Unit(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Path(path) => write!(f, "{}", path.display()),
            Place::Unit(unit) => f.write_str(unit),
        }
    }
}

impl Place {
    fn directory(&self) -> PathBuf {
        match self {
            Place::Path(path) => path.clone(),
            Place::Unit(unit) => {
                let hybrid = !Path::new(MOUNT).join(MARK).exists() && Path::new(MOUNT_HYBRID).join(MARK).exists();
                Path::new(if hybrid { MOUNT_HYBRID } else { MOUNT }).join(below_mount(unit))
            }
        }
    }
}

/// `system.slice/knot.service`; the instances of a template have a slice of their own (systemd.slice(5)).
fn below_mount(unit: &str) -> PathBuf {
    let slice = Path::new("system.slice");
    match unit.split_once('@') {
        Some((template, _)) => slice.join(format!("system-{}.slice", template.replace('-', "\\x2d"))).join(unit),
        None => slice.join(unit),
    }
}

/// The part of a time in which the group used, or wanted, its CPUs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    cpu: f64,
    pressure: Option<f64>,
    cpus: f64,
}

impl Usage {
    pub(super) fn utilisation(&self) -> f64 {
        self.cpu + self.pressure.unwrap_or(0.0)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} % of {:.2} CPUs", 100.0 * self.cpu, self.cpus)?;
        match self.pressure {
            Some(pressure) => write!(f, ", waiting for one {:.0} % of the time", 100.0 * pressure),
            None => Ok(()),
        }
    }
}

/// Totals at one moment, microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Totals {
    at: Instant,
    /// Another directory of the same name is another group.
    inode: u64,
    used: u64,
    waited: Option<u64>,
}

/// A cgroup that is looked at again and again.
#[derive(Debug)]
pub(super) struct Cgroup {
    config: CgroupConfig,
    last: Option<Totals>,
}

impl Cgroup {
    pub(super) fn new(config: CgroupConfig) -> Self {
        Cgroup { config, last: None }
    }

    /// Whether it can be read now.
    pub(super) fn look(&self) -> Result<(), Unreadable> {
        let directory = self.config.place.directory();
        self.totals(&directory, Instant::now())?;
        self.cpus(&directory).map(|_| ())
    }

    /// What was used since the last reading; nothing can be said at the first one of a group.
    pub(super) fn read(&mut self, now: Instant) -> Result<Usage, Unreadable> {
        let directory = self.config.place.directory();
        let last = self.last.take();
        let new = self.totals(&directory, now)?;
        self.last = Some(new);
        let last = last.filter(|last| last.inode == new.inode && last.used <= new.used && last.waited <= new.waited);
        let last = last.ok_or_else(|| Unreadable("read for the first time".into()))?;
        let elapsed = now.duration_since(last.at).as_secs_f64();
        if elapsed <= 0.0 {
            return Err(Unreadable("read twice at once".into()));
        }
        let part = |old: u64, new: u64| new.saturating_sub(old) as f64 / 1e6 / elapsed;
        let cpus = self.cpus(&directory)?;
        let pressure = last.waited.zip(new.waited).map(|(old, new)| part(old, new));
        Ok(Usage { cpu: part(last.used, new.used) / cpus, pressure, cpus })
    }

    fn totals(&self, directory: &Path, at: Instant) -> Result<Totals, Unreadable> {
        let inode = fs::metadata(directory).map_err(|error| unreadable(directory, &error))?.ino();
        let used = field(&directory.join("cpu.stat"), |text| {
            text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()
        })?;
        let pressure = self.config.psi.then(|| {
            field(&directory.join("cpu.pressure"), |text| {
                text.lines().find_map(|line| line.strip_prefix("some "))?.split_once("total=")?.1.trim().parse().ok()
            })
        });
        Ok(Totals { at, inode, used, waited: pressure.transpose()? })
    }

    /// The CPUs it may use, above 0.
    fn cpus(&self, directory: &Path) -> Result<f64, Unreadable> {
        let of_cpuset = groups(directory).map(|group| group.join("cpuset.cpus.effective")).find(|path| path.exists());
        let mut cpus = field(&of_cpuset.unwrap_or_else(|| ONLINE.into()), count)?;
        for path in groups(directory).map(|group| group.join("cpu.max")).filter(|path| path.exists()) {
            cpus = field(&path, quota)?.map_or(cpus, |quota| cpus.min(quota));
        }
        Ok(self.config.cpus.map_or(cpus, |own| cpus.min(own)))
    }
}

/// The group and those that it is part of.
fn groups(directory: &Path) -> impl Iterator<Item = &Path> {
    directory.ancestors().take_while(|group| group.join(MARK).exists())
}

/// `max 100000` or `150000 100000`: microseconds of CPU time in so many microseconds.
fn quota(text: &str) -> Option<Option<f64>> {
    let (quota, period) = text.trim().split_once(' ')?;
    if quota == "max" {
        return Some(None);
    }
    let (quota, period): (u32, u32) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0 && period > 0).then(|| Some(f64::from(quota) / f64::from(period)))
}

/// How many CPUs a list such as `0-3,8` names; at least one.
fn count(text: &str) -> Option<f64> {
    let mut cpus: u32 = 0;
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        cpus = cpus.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(f64::from(cpus))
}

fn field<T>(path: &Path, of: impl Fn(&str) -> Option<T>) -> Result<T, Unreadable> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    of(&text).ok_or_else(|| Unreadable(format!("{} makes no sense: \"{:.60}\"", path.display(), text.trim())))
}

fn unreadable(path: &Path, error: &io::Error) -> Unreadable {
    Unreadable(format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
