//! The service's main process, by a pidfd: its death is an event. Needs no privilege for any process that can be seen.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ospf_proto::time::Instant;
use ospfd_lite::netio::register_fd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::process::Command;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::reading::{Monitor, Reading, Said, Unreadable};
use crate::sample::Health;

/// Without a process, how often one is looked for.
const SEARCH: Duration = Duration::from_millis(200);
/// The service manager must answer within this time.
const ANSWER: Duration = Duration::from_secs(2);
/// The word of an event holds while the event does not come; this is only how long `explain` calls it fresh.
const VALID: Duration = Duration::from_secs(1);

/// Which process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessTarget {
    /// The process whose number stands in this file.
    PidFile(PathBuf),
    /// The main process of this unit of the service manager.
    Unit(String),
}

impl fmt::Display for ProcessTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProcessTarget::PidFile(path) => write!(f, "{}", path.display()),
            ProcessTarget::Unit(unit) => f.write_str(unit),
        }
    }
}

type Word = Result<Said, Unreadable>;

/// Watches one process, and the next one when it has ended.
#[derive(Debug)]
pub struct ProcessMonitor {
    name: String,
    newest: watch::Receiver<Word>,
    task: JoinHandle<()>,
}

impl ProcessMonitor {
    /// Starts watching; `wake` is notified when the process ends or a new one is found. Needs a tokio runtime.
    pub fn open(target: ProcessTarget, wake: Arc<Notify>) -> Self {
        let (sender, newest) = watch::channel(Err(Unreadable("not yet read".into())));
        let name = format!("process {target}");
        let task = tokio::spawn(async move {
            let mut tell = |word: Word| {
                let changed = sender.send_if_modified(|old| {
                    let changed = *old != word;
                    *old = word;
                    changed
                });
                if changed {
                    wake.notify_one();
                }
            };
            loop {
                let succeeded = watch_one(&target, &mut tell).await;
                if !succeeded {
                    sleep(SEARCH).await;
                }
            }
        });
        ProcessMonitor { name, newest, task }
    }
}

/// Finds the process and tells of its life until it ends; tells what is wrong if there is none. True: another has taken over.
async fn watch_one(target: &ProcessTarget, tell: &mut impl FnMut(Word)) -> bool {
    let found = match find(target).await {
        Ok(Some(pid)) => open(pid).map(|process| (pid, process)),
        Ok(None) => Err(Ok(Health::Dead(format!("{target}: no process")))),
        Err(error) => Err(Err(error)),
    };
    let (pid, process) = match found {
        Ok(found) => found,
        Err(Ok(dead)) => {
            tell(Ok(Said { health: Some(dead), ..Said::default() }));
            return false;
        }
        Err(Err(error)) => {
            tell(Err(error));
            return false;
        }
    };
    let detail = format!("process {pid}");
    tell(Ok(Said { health: Some(Health::Alive), detail: detail.clone(), ..Said::default() }));
    // A pidfd is readable when the process has ended.
    match process.readable().await {
        Ok(_) => {
            // One that has handed over to another is not missed. A service manager is asked only afterwards: it takes time.
            if let ProcessTarget::PidFile(_) = target
                && find(target).await.is_ok_and(|found| found.is_some_and(|other| other != pid && open(other).is_ok()))
            {
                return true;
            }
            let dead = Health::Dead(format!("{target}: process {pid} has ended"));
            tell(Ok(Said { health: Some(dead), detail, ..Said::default() }));
        }
        Err(error) => tell(Err(Unreadable(format!("waiting for process {pid}: {error}")))),
    }
    false
}

/// The process: death if there is none with this number, unreadable if it may not be watched.
fn open(pid: i32) -> Result<AsyncFd<OwnedFd>, Result<Health, Unreadable>> {
    let unreadable = |error: io::Error| Err(Unreadable(format!("watching process {pid}: {error}")));
    let Some(number) = Pid::from_raw(pid) else {
        return Err(Err(Unreadable(format!("{pid} is no process number"))));
    };
    match pidfd_open(number, PidfdFlags::NONBLOCK) {
        Ok(process) => register_fd(process).map_err(unreadable),
        Err(rustix::io::Errno::SRCH) => Err(Ok(Health::Dead(format!("process {pid} does not exist")))),
        Err(error) => Err(unreadable(error.into())),
    }
}

async fn find(target: &ProcessTarget) -> Result<Option<i32>, Unreadable> {
    let text = match target {
        ProcessTarget::PidFile(path) => match tokio::fs::read_to_string(path).await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Unreadable(format!("{}: {error}", path.display()))),
        },
        ProcessTarget::Unit(unit) => main_pid(unit).await?,
    };
    match text.trim().parse::<i32>() {
        Ok(0) => Ok(None),
        Ok(pid) if pid > 0 => Ok(Some(pid)),
        _ => Err(Unreadable(format!("{target}: {:?} is no process number", text.chars().take(40).collect::<String>()))),
    }
}

async fn main_pid(unit: &str) -> Result<String, Unreadable> {
    let mut command = Command::new("systemctl");
    command.args(["show", "--property", "MainPID", "--value", "--", unit]).kill_on_drop(true);
    let output = match timeout(ANSWER, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(Unreadable(format!("starting systemctl: {error}"))),
        Err(_) => return Err(Unreadable(format!("systemctl does not answer within {} s", ANSWER.as_secs()))),
    };
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(Unreadable(format!("systemctl show {unit}: {}: {}", output.status, why.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Monitor for ProcessMonitor {
    fn name(&self) -> &str {
        &self.name
    }

    fn tells_health(&self) -> bool {
        true
    }

    fn read(&mut self, now: Instant) -> Result<Reading, Unreadable> {
        let said = self.newest.borrow().clone()?;
        Ok(Reading::new(now, VALID, said))
    }

    fn pulse(&mut self) -> Option<Health> {
        self.newest.borrow().as_ref().ok()?.health.clone()
    }
}

impl Drop for ProcessMonitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap()
    }

    fn health(monitor: &mut ProcessMonitor) -> Option<Health> {
        monitor.read(Instant::EPOCH).ok()?.said.health
    }

    async fn woken(wake: &Notify) {
        timeout(Duration::from_secs(5), wake.notified()).await.expect("woken");
    }

    #[tokio::test]
    async fn the_death_of_the_process_wakes_and_the_next_one_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let mut first = sleeper();
        std::fs::write(&file, format!("{}\n", first.id())).unwrap();
        let wake = Arc::new(Notify::new());
        let mut monitor = ProcessMonitor::open(ProcessTarget::PidFile(file.clone()), wake.clone());
        woken(&wake).await;
        assert_eq!(health(&mut monitor), Some(Health::Alive));
        first.kill().unwrap();
        first.wait().unwrap();
        woken(&wake).await;
        assert!(matches!(monitor.pulse(), Some(Health::Dead(why)) if why.contains("has ended")));
        let mut second = sleeper();
        std::fs::write(&file, format!("{}\n", second.id())).unwrap();
        while monitor.pulse() != Some(Health::Alive) {
            woken(&wake).await;
        }
        second.kill().unwrap();
        second.wait().unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_no_process_and_nonsense_in_it_is_unreadable() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let wake = Arc::new(Notify::new());
        let mut monitor = ProcessMonitor::open(ProcessTarget::PidFile(file.clone()), wake.clone());
        woken(&wake).await;
        assert!(matches!(health(&mut monitor), Some(Health::Dead(_))));
        std::fs::write(&file, "nonsense").unwrap();
        woken(&wake).await;
        let error = monitor.read(Instant::EPOCH).unwrap_err();
        assert!(error.to_string().contains("\"nonsense\" is no process number"), "{error}");
    }
}
