//! One run of a program whose output is read: no shell, no input, bounded output. Whoever drops the run, as a time limit
//! does, kills the program and all that it has started.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::reading::Unreadable;

/// The longest output that is read; the longest known, of a name server's statistics, is a tenth.
const OUTPUT_MAX: u64 = 256 * 1024;
/// Of what it complains only the beginning is of interest.
const COMPLAINT_MAX: u64 = 1024;

/// Runs `command`, its first word found by PATH, and returns what it writes. To be run under a time limit.
pub(super) async fn output(command: &[String]) -> Result<String, Unreadable> {
    let (program, arguments) = command.split_first().ok_or_else(|| Unreadable("no command".into()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Unreadable(format!("{program}: {error}")))?;
    let mut group = Group::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (said, complaint) = tokio::join!(bounded(stdout, OUTPUT_MAX + 1), bounded(stderr, COMPLAINT_MAX));
    if said.len() as u64 > OUTPUT_MAX {
        return Err(Unreadable(format!("{program} writes more than {OUTPUT_MAX} bytes")));
    }
    let status = child.wait().await.map_err(|error| Unreadable(format!("{program}: {error}")))?;
    group.ended();
    if !status.success() {
        let complaint = String::from_utf8_lossy(&complaint);
        let first = complaint.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        return Err(Unreadable(format!("{program}: {status}: {first}").trim_end_matches([':', ' ']).to_owned()));
    }
    String::from_utf8(said).map_err(|_| Unreadable(format!("{program} writes no text")))
}

/// What a pipe says until its end, at most `limit` bytes. A pipe that breaks has ended.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _broken = pipe.take(limit).read_to_end(&mut bytes).await;
    }
    bytes
}

/// A process group that has to end: killed when this is dropped, unless its leader has been waited for.
pub(super) struct Group(Option<Pid>);

impl Group {
    /// The group that this process leads. To be dropped before the process is: only until then is the number its own.
    pub(super) fn of(leader: &Child) -> Self {
        Group(leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// The leader has been waited for.
    pub(super) fn ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // An error means that nobody is left in it.
            let _gone = kill_process_group(leader, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn what_it_writes_is_returned_and_a_failure_says_why() {
        assert_eq!(output(&sh("echo $LC_ALL; cat")).await, Ok("C\n".into()));
        let error = output(&sh("echo; echo no such zone >&2; echo 7; exit 3")).await.unwrap_err();
        assert_eq!(error.0, "sh: exit status: 3: no such zone");
        let error = output(&["/no/such/program".to_owned()]).await.unwrap_err();
        assert!(error.0.starts_with("/no/such/program: No such file"), "{error}");
        assert_eq!(output(&sh("printf '\\377'")).await.unwrap_err().0, "sh writes no text");
    }

    #[tokio::test]
    async fn endless_output_ends_the_program() {
        let error = output(&sh("while :; do echo 0123456789012345678901234567890123456789; done")).await.unwrap_err();
        assert!(error.0.contains("more than 262144 bytes"), "{error}");
    }

    /// Whether it runs: a killed process that nobody has waited for does not.
    fn runs(pid: &str) -> bool {
        let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script = format!("sleep 600 & echo $! $$ > {0}.new; mv {0}.new {0}; wait", pids.display());
        let command = sh(&script);
        let mut run = Box::pin(output(&command));
        let mut text = String::new();
        while text.is_empty() {
            assert!(timeout(Duration::from_millis(10), &mut run).await.is_err(), "it hangs");
            text = std::fs::read_to_string(&pids).unwrap_or_default();
        }
        let pids: Vec<&str> = text.split_whitespace().collect();
        assert!(pids.len() == 2 && pids.iter().all(|pid| runs(pid)));
        drop(run);
        timeout(Duration::from_secs(10), async {
            while pids.iter().any(|pid| runs(pid)) {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("both are killed");
    }
}
