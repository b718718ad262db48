//! A program of the user's: exit code 0 is life, 1 and 2 are death, and a number on its first line is the load.
//!
//! Everything else (another code, a signal, no start, no end in time) says nothing of the service: a broken check must not
//! take a server away.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::Found;
use crate::monitor::net::ExchangeError;
use crate::monitor::program::Group;
use crate::monitor::reading::plausible_utilisation;

/// So much of the output is kept; the rest is read and forgotten.
const OUTPUT_MAX: usize = 4096;

/// Runs a program, in a process group of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecProbe {
    /// Its path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl ExecProbe {
    /// One run. Dropping it kills the program and what it started.
    pub async fn ask(&self) -> Result<Found, ExchangeError> {
        let program = self.program.display();
        let local = |operation: &str, error: io::Error| ExchangeError::Local(format!("{operation} {program}: {error}"));
        let mut child = self.start().map_err(|error| local("starting", error))?;
        let mut group = Group::of(&child);
        let (status, output) = run(&mut child, &mut group).await.map_err(|error| local("running", error))?;
        match status.code() {
            Some(0) => Ok(found(&output)),
            Some(code @ (1 | 2)) => Err(ExchangeError::Peer(format!("{program}: exit code {code}"))),
            _ => Err(ExchangeError::Local(format!("{program}: {status}; 0 is alive, 1 and 2 are dead"))),
        }
    }

    fn start(&self) -> io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            // What it would say to the service manager is not ours.
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

async fn run(child: &mut Child, group: &mut Group) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut kept = Vec::new();
    let mut output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    let status = tokio::select! {
        biased;
        // The program ends, or closes its output first.
        status = child.wait() => status?,
        read = drain(&mut output, &mut kept) => {
            read?;
            child.wait().await?
        }
    };
    group.ended();
    // What is left in the pipe; what it started may hold the other end open for ever.
    let _open = timeout(Duration::ZERO, drain(&mut output, &mut kept)).await;
    Ok((status, kept))
}

/// Reads to the end.
async fn drain(output: &mut ChildStdout, kept: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; OUTPUT_MAX];
    loop {
        let length = output.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let room = OUTPUT_MAX - kept.len();
        kept.extend(buffer.iter().take(length.min(room)));
    }
}

fn found(output: &[u8]) -> Found {
    let text = String::from_utf8_lossy(output);
    let Some(number) = text.lines().next().and_then(|line| line.trim().parse::<f64>().ok()) else {
        return Found::good("exit code 0");
    };
    match plausible_utilisation(number) {
        Ok(utilisation) => Found { utilisation: Some(utilisation), ..Found::good("exit code 0") },
        Err(error) => Found::good(format!("exit code 0, but {error}")),
    }
}
