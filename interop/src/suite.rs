//! `lab test`: the one command that runs every test of the workspace, with real peers, and lets none be skipped.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use crate::{cargo::cargo, containers, root};

/// What the labs need, as Debian packages, and a file of each by which it is known to be there.
const PACKAGES: [(&str, &str); 8] = [
    ("frr", "/usr/lib/frr/ospf6d"),
    ("bird2", "/usr/sbin/bird"),
    ("tshark", "/usr/bin/tshark"),
    ("iproute2", "/usr/sbin/ip"),
    ("ethtool", "/usr/sbin/ethtool"),
    ("knot", "/usr/sbin/knotd"),
    ("dnsperf", "/usr/bin/dnsperf"),
    ("debootstrap", "/usr/sbin/debootstrap"),
];

/// Exit code: something is missing that this user may not install.
const PRIVILEGE: u8 = 3;

/// Options of `lab test`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Also the long runs.
    #[arg(long)]
    pub long: bool,
}

/// The counts of `test result:` lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
    filtered: u64,
    files: u64,
}

impl Counts {
    /// `test result: ok. 18 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.06s`
    fn add_line(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        self.files += 1;
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else { continue };
            match words.next() {
                Some("passed") => self.passed += number,
                Some("failed") => self.failed += number,
                Some("ignored") => self.ignored += number,
                Some("filtered") => self.filtered += number,
                _ => {}
            }
        }
    }
}

/// What was said of each test that failed, to be told once more at the end of a long output.
#[derive(Debug, Clone, Default)]
struct Failures {
    lines: Vec<String>,
    /// Lines still to be kept of the report under way.
    room: usize,
}

impl Failures {
    /// So much of a report is kept: the assertion or the chain of errors, and not the diagnostics after it.
    const KEPT: usize = 20;

    /// `---- name ----` or `---- name stdout ----`, then the report, until the next one or the list of names.
    fn add_line(&mut self, line: &str) {
        if line.starts_with("---- ") && line.ends_with(" ----") {
            self.room = Self::KEPT;
        } else if line == "failures:" {
            self.room = 0;
        }
        if self.room > 0 && !line.trim().is_empty() {
            self.lines.push(line.to_owned());
            self.room -= 1;
        }
    }
}

/// Provides what is missing, runs every test and judges.
pub fn run(options: &Options) -> Result<ExitCode> {
    let mut missing: Vec<_> =
        PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect();
    missing.extend(containers::missing_packages());
    let needs_root = root::trixie().is_err();
    if !missing.is_empty() || needs_root {
        if !Uid::effective().is_root() {
            eprintln!("the tests need more of Debian; run this once, then `cargo lab test` again:");
            eprintln!("{}", command_for_root(&missing, needs_root)?);
            return Ok(ExitCode::from(PRIVILEGE));
        }
        if !missing.is_empty() {
            install(&missing)?;
        }
        if needs_root {
            println!("making a Debian trixie root for newer peers");
            make_root()?;
        }
    }
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    if options.long {
        command.env("LAB_LONG", "1");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("starting cargo test")?;
    let (mut counts, mut failures) = (Counts::default(), Failures::default());
    for line in BufReader::new(child.stdout.take().context("no output of cargo test")?).lines() {
        let line = line?;
        counts.add_line(&line);
        failures.add_line(&line);
        println!("{line}");
    }
    let status = child.wait()?;
    let Counts { passed, failed, ignored, filtered, files } = counts;
    let good = status.success() && passed > 0 && failed + ignored + filtered == 0;
    let word = if good { "ok" } else { "FAILED" };
    for line in &failures.lines {
        println!("{line}");
    }
    println!("\nlab test: {files} test binaries");
    println!("test result: {word}. {passed} passed; {failed} failed; {ignored} ignored; {filtered} filtered out");
    if ignored + filtered > 0 {
        println!("a skipped test is a failure here");
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn command_for_root(missing: &[&str], needs_root: bool) -> Result<String> {
    let mut steps = vec![];
    if !missing.is_empty() {
        steps.push(format!("apt-get install -y {}", missing.join(" ")));
    }
    if needs_root {
        steps.push(format!("{} root trixie", std::env::current_exe()?.display()));
    }
    Ok(format!("sudo sh -c '{}'", steps.join(" && ")))
}

fn install(missing: &[&str]) -> Result<()> {
    println!("installing by apt-get: {}", missing.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y"]).args(arguments);
        command.status().context("starting apt-get")
    };
    if !apt(&["update"])?.success() {
        bail!("apt-get update failed");
    }
    let mut arguments = vec!["install", "--no-install-recommends"];
    arguments.extend(missing);
    if !apt(&arguments)?.success() {
        bail!("apt-get install {} failed", missing.join(" "));
    }
    Ok(())
}

/// In a process of its own: it takes a mount namespace.
fn make_root() -> Result<()> {
    let status =
        Command::new(std::env::current_exe()?).args(["root", "trixie"]).status().context("starting lab root")?;
    if !status.success() {
        bail!("lab root trixie failed ({status})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_binaries_are_added_up() {
        let mut counts = Counts::default();
        counts
            .add_line("test result: ok. 18 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.06s");
        counts.add_line(
            "test result: FAILED. 7 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; finished in 31.69s",
        );
        counts.add_line("test frr ... ok");
        assert_eq!(counts, Counts { passed: 25, failed: 1, ignored: 2, filtered: 3, files: 2 });
    }

    #[test]
    fn the_reason_of_each_failure_is_told_again_without_its_diagnostics() {
        let mut failures = Failures::default();
        let report: Vec<_> = (0..100).map(|n| format!("line {n}")).collect();
        let first = ["test a ... ok", "failures:", "", "---- a ----", "exit status: 1", "", "1.3 % lost"];
        let after = ["---- b stdout ----", "panicked", "", "failures:", "    a", "    b", "test result: FAILED."];
        for line in first.iter().copied().chain(report.iter().map(String::as_str)).chain(after) {
            failures.add_line(line);
        }
        let (a, b) = failures.lines.split_at(Failures::KEPT);
        assert_eq!(a[..3], ["---- a ----", "exit status: 1", "1.3 % lost"]);
        assert_eq!(b, ["---- b stdout ----", "panicked"]);
    }

    #[test]
    fn an_ordinary_user_is_told_one_line() {
        let line = command_for_root(&["frr", "tshark"], false).unwrap();
        assert_eq!(line, "sudo sh -c 'apt-get install -y frr tshark'");
        assert!(command_for_root(&["frr"], true).unwrap().contains(" && "));
    }
}
