//! A processor for what is measured and another for what measures it, where times below a millisecond count.
//!
//! Else the kernel wakes an observer on the processor of the daemon that it observes, where it waits until that has done all it
//! does. And a processor that sleeps takes its time to wake up, above all a virtual one, which its host has given to somebody
//! else meanwhile: 0.2 to 2.5 ms were seen. So both are kept awake.
//!
//! The switch and the hosts behind it are not the router's work either, but a packet that is sent through a bridge is taken by
//! all of them in the sender's time: [`Farm::build_apart`](crate::topology::Farm::build_apart) gives that to the observers' processor.

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::{Pid, gettid},
};

/// A daemon and its observers on processors of their own; until it is dropped these do not sleep.
#[derive(Debug)]
pub struct Apart {
    stop: Arc<AtomicBool>,
    wakers: Vec<JoinHandle<Result<()>>>,
}

impl Apart {
    /// Gives a daemon a processor of its own, this process another one, on which its threads of the name `busy` run when nobody
    /// else wants to.
    pub fn keep(daemon: u32, busy: &str) -> Result<Self> {
        let (ours, theirs) = processors()?;
        pin(Pid::from_raw(i32::try_from(daemon)?), theirs)?;
        for entry in fs::read_dir("/proc/self/task")? {
            let thread: i32 = entry?.file_name().to_string_lossy().parse().context("the name of a thread")?;
            pin(Pid::from_raw(thread), ours)?;
            let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm"))?;
            if name.trim() == busy {
                stand_back(Pid::from_raw(thread))?;
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let wakers = [ours, theirs].into_iter().map(|cpu| {
            let stopped = Arc::clone(&stop);
            thread::Builder::new().name("awake".into()).spawn(move || stay_awake(cpu, &stopped))
        });
        Ok(Self { wakers: wakers.collect::<Result<_, _>>()?, stop })
    }
}

/// The processor of the observers and that of the observed.
pub(crate) fn processors() -> Result<(usize, usize)> {
    let all = sched_getaffinity(Pid::from_raw(0)).context("asking for the processors")?;
    let mut there = (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap_or(false));
    let both = there.next().zip(there.next());
    both.context("measuring below a millisecond needs two processors")
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for waker in self.wakers.drain(..) {
            if let Err(error) = waker.join().unwrap_or_else(|_| Err(anyhow!("the thread panicked"))) {
                eprintln!("keeping a processor awake: {error:#}");
            }
        }
    }
}

/// Runs whenever nobody else does.
fn stay_awake(cpu: usize, stop: &AtomicBool) -> Result<()> {
    pin(gettid(), cpu)?;
    stand_back(gettid())?;
    while !stop.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
    Ok(())
}

fn pin(thread: Pid, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(thread, &set).with_context(|| format!("pinning thread {thread} to processor {cpu}"))
}

/// `SCHED_IDLE`, which needs no privilege.
fn stand_back(thread: Pid) -> Result<()> {
    let status = Command::new("chrt").args(["--idle", "--pid", "0"]).arg(thread.to_string()).status();
    ensure!(status.context("running chrt (of util-linux)")?.success(), "chrt failed for thread {thread}");
    Ok(())
}
