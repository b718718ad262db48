//! The test harness of the labs. Each test runs in a process and a sandbox of its own, so labs run side by side and a
//! failed one leaves nothing behind. There is no way to skip: what a test needs and does not find is a failure.

use std::{
    io::Read,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    daemons,
    lab::Lab,
    sandbox::{self, Side},
};

const WHICH: &str = "LAB_TEST";
const LABS_AT_ONCE: usize = 4;

/// A lab test: a sentence, and what proves it.
#[derive(Clone, Copy)]
pub struct LabTest {
    /// Its name.
    pub name: &'static str,
    /// What it does in its lab.
    pub run: fn(&mut Lab) -> Result<()>,
    /// How long it may take.
    pub limit: Duration,
    /// Take a user namespace even as root: the lab as an ordinary user has it.
    pub rootless: bool,
    /// Runs only with `LAB_LONG=1`, which `lab test --long` sets; otherwise it does not exist.
    pub long: bool,
}

impl LabTest {
    /// A test of three minutes at most.
    pub const fn new(name: &'static str, run: fn(&mut Lab) -> Result<()>) -> Self {
        Self { name, run, limit: Duration::from_secs(180), rootless: false, long: false }
    }

    /// The same in a user namespace, even as root.
    pub const fn rootless(self) -> Self {
        Self { rootless: true, ..self }
    }

    /// A test of the long runs, with its limit.
    pub const fn long(self, limit: Duration) -> Self {
        Self { limit, long: true, ..self }
    }
}

/// Makes a [`LabTest`] of each function, named as it is.
#[macro_export]
macro_rules! lab_tests {
    ($($function:ident),* $(,)?) => {
        vec![$($crate::harness::LabTest::new(stringify!($function), $function)),*]
    };
}

/// What a file of lab tests runs besides FRR and BIRD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Peers,
    /// Our daemons, which are built first.
    Daemons,
}

/// The `main` of a file of lab tests.
pub fn main(needs: Needs, tests: &[LabTest]) -> ExitCode {
    main_at_once(LABS_AT_ONCE, needs, tests)
}

/// The same with so many labs at once, where they load the machine.
pub fn main_at_once(labs: usize, needs: Needs, tests: &[LabTest]) -> ExitCode {
    if let Some(which) = std::env::var_os(WHICH) {
        return match tests.iter().find(|test| *test.name == *which) {
            Some(test) => inside(test),
            None => {
                eprintln!("no lab test {which:?}");
                ExitCode::FAILURE
            }
        };
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(labs);
    if !arguments.list
        && needs == Needs::Daemons
        && let Err(error) = daemons::build()
    {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    let long = std::env::var_os("LAB_LONG").is_some();
    let trial =
        |test: LabTest| Trial::test(test.name, move || outside(&test).map_err(|e| Failed::from(format!("{e:#}"))));
    let trials = tests.iter().filter(|test| long || !test.long).copied().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn inside(test: &LabTest) -> ExitCode {
    let run = || -> Result<Option<i32>> {
        match sandbox::enter()? {
            Side::Outside(code) => Ok(Some(code)),
            Side::Inside => {
                let mut lab = Lab::new(test.name)?;
                if let Err(error) = (test.run)(&mut lab) {
                    eprintln!("{error:#}\n\n{}", lab.diagnostics());
                    return Ok(Some(1));
                }
                Ok(None)
            }
        }
    };
    match run() {
        Ok(None | Some(0)) => ExitCode::SUCCESS,
        Ok(Some(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one test in a child process, and ends it when its time is up.
fn outside(test: &LabTest) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(WHICH, test.name);
    if test.rootless {
        command.env(sandbox::FORCE_USERNS, "1");
    }
    let ended = supervise(&mut command, test.limit)?;
    if !ended.good {
        bail!("{}\n{}\n{}", ended.how, ended.err, ended.out);
    }
    for line in ended.out.lines() {
        println!("{}: {line}", test.name);
    }
    Ok(())
}

/// What became of a lab in a process of its own.
#[derive(Debug, Clone)]
pub struct Ended {
    /// It ended by itself and said that all is well.
    pub good: bool,
    /// It did not end in time, and was killed.
    pub late: bool,
    /// How it ended, in words.
    pub how: String,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// Runs a lab in a child process, and ends it when its time is up.
pub fn supervise(command: &mut Command, limit: Duration) -> Result<Ended> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting the lab")?;
    let (mut out, mut err) = (child.stdout.take().context("stdout")?, child.stderr.take().context("stderr")?);
    let errors = thread::spawn(move || {
        let mut text = vec![];
        err.read_to_end(&mut text).map(|_| text)
    });
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let (done, watch) = std::sync::mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let late = watch.recv_timeout(limit).is_err();
        if late {
            // The sandbox dies with this process.
            let _ = kill(pid, Signal::SIGKILL);
        }
        late
    });
    let start = Instant::now();
    let mut shown = vec![];
    out.read_to_end(&mut shown)?;
    let status = child.wait()?;
    let _ = done.send(());
    let late = watchdog.join().unwrap_or(false);
    let errors = errors.join().unwrap_or_else(|_| Ok(vec![]))?;
    let how = if late { format!("not done after {:.0} s", start.elapsed().as_secs_f64()) } else { status.to_string() };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ended { good: !late && status.success(), late, how, out: text(&shown), err: text(&errors) })
}
