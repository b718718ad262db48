//! An engine's daemon that we started: it goes with its handle.

use std::{
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::engine::answers;
use crate::{
    process::tail,
    wait::{Probe, wait_for},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon with all its files in one folder.
#[derive(Debug)]
pub(super) struct Own {
    name: &'static str,
    child: Child,
    directory: PathBuf,
}

/// The socket of a daemon that has its files there.
pub(super) fn socket(directory: &Path) -> OsString {
    let mut socket = OsString::from("unix://");
    socket.push(directory.join("engine.sock"));
    socket
}

impl Own {
    /// Starts what `words` say, which is to listen on the socket of `directory`, and waits until it answers.
    pub(super) fn start(name: &'static str, words: &[OsString], directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let log = fs::File::create(log(directory))?;
        // The daemon goes in order, and its containers with it, even if this process is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).args(words);
        // A process group of its own: the terminal's Ctrl-C is for us, who then end it in order.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        let mut own = Self { name, child, directory: directory.to_owned() };
        wait_for(&format!("{name} to answer"), PATIENCE, || {
            if let Some(status) = own.child.try_wait()? {
                return Ok(Probe::Ready(Err(anyhow!(
                    "{name} ended ({status}); it needs cgroups, overlay file systems and bridges of the kernel. The end \
                     of its log:\n{}",
                    own.tail()
                ))));
            }
            Ok(Probe::when(answers(Some(&socket(directory))), Ok(()), own.tail()))
        })??;
        Ok(own)
    }

    fn tail(&self) -> String {
        tail(&log(&self.directory), 15)
    }

    /// SIGTERM, its end, and the mounts that it leaves.
    fn stop(&mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let ended = wait_for(&format!("{} to end", self.name), PATIENCE, || {
            Ok(self.child.try_wait()?.map_or_else(|| Probe::NotYet("it runs".into()), Probe::Ready))
        });
        if ended.is_err() {
            self.child.kill()?;
            self.child.wait()?;
        }
        for mount in fs::read_to_string("/proc/self/mounts")?.lines().rev() {
            let target = mount.split(' ').nth(1).unwrap_or_default();
            if Path::new(target).starts_with(&self.directory) {
                umount2(target, MntFlags::MNT_DETACH).with_context(|| format!("unmounting {target}"))?;
            }
        }
        ended.map(drop).with_context(|| format!("the end of its log:\n{}", self.tail()))
    }
}

fn log(directory: &Path) -> PathBuf {
    directory.join("engine.log")
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("stopping our {}: {error:#}", self.name);
        }
    }
}
