//! A process of a lab: its output goes to a file, and it ends with its handle.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    netns::Netns,
    wait::{Probe, wait_for},
};

/// A running (or ended) process with its log.
#[derive(Debug)]
pub struct Proc {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

/// Where a process is to run.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its network namespace.
    pub netns: &'a Netns,
    /// Its root directory, if not the host's.
    pub root: Option<&'a Path>,
    /// Directory for its log.
    pub logs: &'a Path,
}

impl Proc {
    /// Starts `command`; standard output and error are appended to `<logs>/<name>.log`.
    pub fn start(name: &str, place: Place<'_>, command: &mut Command) -> Result<Self> {
        Ok(Self::start_after(name, place, command, || Ok(()))?.0)
    }

    /// The same; what `prepare` sets for its thread is inherited by the process.
    pub fn start_after<T: Send>(
        name: &str,
        place: Place<'_>,
        command: &mut Command,
        prepare: impl FnOnce() -> Result<T> + Send,
    ) -> Result<(Self, T)> {
        fs::create_dir_all(place.logs)?;
        let log = place.logs.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).context("opening a log")?;
        command.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        let started = place.netns.spawn_after(command, place.root, prepare);
        let (mut child, prepared) = started.with_context(|| format!("starting {name}"))?;
        let stdin = child.stdin.take();
        Ok((Self { name: name.into(), child, stdin, log }, prepared))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes one line to its standard input.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().ok_or_else(|| anyhow!("{} has no standard input", self.name))?;
        writeln!(stdin, "{line}")
            .and_then(|()| stdin.flush())
            .with_context(|| format!("telling {} {line:?}", self.name))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("looking after {}", self.name))
    }

    /// Fails with the end of the log if it has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} ended ({status}); the end of its log:\n{}", self.name, self.tail(30))),
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)
            .with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Waits for its end.
    pub fn wait_end(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait_for(&what, timeout, || {
            Ok(self.child.try_wait()?.map_or_else(|| Probe::NotYet("it runs".into()), Probe::Ready))
        })
    }

    /// SIGTERM, then waits for its end.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait_end(timeout)
    }

    /// SIGKILL, and its end.
    pub fn kill(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }

    /// The last lines of its log.
    pub fn tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    /// Everything it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// The last lines of a file.
pub fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

impl Drop for Proc {
    fn drop(&mut self) {
        // Nothing is left to do about an error here; the pid namespace's end takes the rest.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end in a namespace and returns its standard output.
pub fn output(netns: &Netns, root: Option<&Path>, command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let shown = format!("{command:?}");
    let done = netns.spawn(command, root)?.wait_with_output().with_context(|| format!("running {shown}"))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        let errors = String::from_utf8_lossy(&done.stderr);
        return Err(anyhow!("{shown} failed ({}): {}", done.status, errors.trim()));
    }
    Ok(text)
}
