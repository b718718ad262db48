//! `lab fuzz`: the fuzz targets of `proto/fuzz`, each for a while, two at a time.
//!
//! cargo-fuzz asks for a nightly compiler; `RUSTC_BOOTSTRAP` lets the stable one do. The targets are safe Rust without a
//! line of unsafe code, so they run without a sanitizer, several times faster. What they find first goes to a scratch
//! corpus in the target folder: the committed corpora and regressions are only read.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Mutex,
    thread,
};

use anyhow::{Context, Result, bail};

use crate::cargo::cargo;

/// The targets, those that need the most first.
pub const TARGETS: [&str; 6] = ["engine_ops", "config", "decode_packet", "roundtrip", "decode_lsa", "farm_tlv"];
/// Targets that run at the same time.
const AT_ONCE: usize = 2;
/// Memory of one target: above it libFuzzer reports a leak or a bomb.
const MEMORY_MIB: u32 = 2048;
/// One input may take so many seconds.
const SLOWEST: u32 = 60;
/// The release of cargo-fuzz that is installed where there is none.
const CARGO_FUZZ: &str = "0.13.2";
/// Targets of so many features that libFuzzer's entropic schedule, which counts each in every run, takes longer than the
/// target itself.
const MANY_FEATURES: [&str; 1] = ["engine_ops"];

/// Options of `lab fuzz`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How long each target runs.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    /// Only this one.
    #[arg(long, value_parser = TARGETS)]
    pub target: Option<String>,
}

/// What libFuzzer said of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Report {
    executions: u64,
    coverage: u64,
    features: u64,
    inputs: u64,
    /// Where the inputs that broke something were written.
    crashes: Vec<String>,
    /// The first panic message.
    panic: Option<String>,
}

impl Report {
    /// Lines of libFuzzer's standard error: `#2402 NEW cov: 4636 ft: 12447 corp: 2707/530Kb ...`, `Test unit written to`.
    fn add_line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix('#') {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let Some(executions) = words.first().and_then(|word| word.parse().ok()) else { return };
            self.executions = executions;
            let after = |name: &str| {
                let value = words.iter().skip_while(|word| **word != name).nth(1)?;
                value.split('/').next()?.parse().ok()
            };
            self.coverage = after("cov:").unwrap_or(self.coverage);
            self.features = after("ft:").unwrap_or(self.features);
            self.inputs = after("corp:").unwrap_or(self.inputs);
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.crashes.push(path.trim().to_owned());
        } else if self.panic.is_none() && line.contains("panicked at") {
            self.panic = Some(line.to_owned());
        } else if let Some(executions) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = executions.trim().parse().unwrap_or(self.executions);
        }
    }
}

/// Runs the targets; exit code 1 if one of them found something.
pub fn run(options: &Options) -> Result<ExitCode> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    if !proto.join("fuzz/Cargo.toml").is_file() {
        bail!("no sources in {}: fuzzing needs them", proto.display());
    }
    install()?;
    let targets: Vec<&str> = match &options.target {
        Some(target) => vec![target],
        None => TARGETS.to_vec(),
    };
    println!("building {}", targets.join(", "));
    let mut build = cargo_fuzz(&proto, "build", &targets);
    if options.target.is_some() {
        build.args(&targets);
    }
    let status = build.status().with_context(|| format!("starting {build:?}"))?;
    if !status.success() {
        bail!("{build:?} failed ({status})");
    }
    println!("{:<14} {:>12} {:>7} {:>7} {:>7} {:>8}", "target", "executions", "cov", "ft", "inputs", "crashes");
    let waiting = Mutex::new(targets.iter().copied());
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.next());
    let worker = || -> Result<bool> {
        let mut clean = true;
        while let Some(target) = next() {
            clean &= run_target(cargo_fuzz(&proto, "run", &targets), (&proto, target), options.seconds)?;
        }
        Ok(clean)
    };
    let clean = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_fold(true, |clean, worker| match worker.join() {
            Ok(result) => result.map(|it| clean & it),
            Err(_) => bail!("a worker panicked"),
        })
    })?;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `cargo fuzz`, installed first if it is missing.
fn install() -> Result<()> {
    let there = cargo().args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.context("starting cargo")?.success() {
        return Ok(());
    }
    let arguments = ["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ];
    println!("there is no cargo-fuzz: cargo {}", arguments.join(" "));
    let status = cargo().args(arguments).status().context("starting cargo")?;
    if !status.success() {
        bail!(
            "cargo {} failed ({status}); it needs a C++ compiler (build-essential) and the registry",
            arguments.join(" ")
        );
    }
    Ok(())
}

/// `cargo fuzz <verb>` in the crate above `fuzz`. The daemons are built in only where their files are fuzzed. Comparisons are
/// not traced: that takes as long as all the rest of a run, and the dictionary, the corpora and the made-right checksums
/// lead behind what it would find.
fn cargo_fuzz(proto: &Path, verb: &str, targets: &[&str]) -> Command {
    let mut command = cargo();
    command.current_dir(proto).env("RUSTC_BOOTSTRAP", "1").args([
        "fuzz",
        verb,
        "--sanitizer",
        "none",
        "--no-trace-compares",
    ]);
    if !targets.contains(&"config") {
        command.arg("--no-default-features");
    }
    command
}

/// Runs one target and prints its line; says whether it found nothing. `command` is `cargo fuzz run` with the features
/// that were built.
fn run_target(mut command: Command, (proto, target): (&Path, &str), seconds: u32) -> Result<bool> {
    let scratch = scratch(proto, target)?;
    command.arg(target).arg(&scratch);
    let kept = ["corpus", "regressions"].map(|kind| proto.join("fuzz").join(kind).join(target));
    command.args(kept.iter().filter(|folder| folder.is_dir()));
    command.args(["--", "-print_final_stats=1"]);
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-rss_limit_mb={MEMORY_MIB}"));
    command.arg(format!("-timeout={SLOWEST}"));
    if MANY_FEATURES.contains(&target) {
        command.arg("-entropic=0");
    }
    let dictionary = proto.join(format!("fuzz/{target}.dict"));
    if dictionary.is_file() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let mut report = Report::default();
    let mut last = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            report.add_line(&line);
            last.push(line);
            last.drain(..last.len().saturating_sub(40));
        }
    }
    let status = child.wait()?;
    let Report { executions, coverage, features, inputs, crashes, panic } = &report;
    println!(
        "{target:<14} {executions:>12} {coverage:>7} {features:>7} {inputs:>7} {:>8}",
        if status.success() { crashes.len() } else { crashes.len().max(1) }
    );
    if status.success() {
        return Ok(true);
    }
    if crashes.is_empty() {
        eprintln!("{target}: {status}\n{}", last.join("\n"));
    }
    for crash in crashes {
        eprintln!("{target}: {}\n  input: {crash}", panic.as_deref().unwrap_or("no panic: too slow or too large"));
        eprintln!("  mend it, and keep the input in proto/fuzz/regressions/{target}/");
    }
    Ok(false)
}

/// Where new inputs go: beside the running binary's profile, so that `cargo clean` clears them away.
fn scratch(proto: &Path, target: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => proto.join("../target"),
    };
    let folder = folder.join("fuzz-corpus").join(target);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_those_of_the_fuzz_crate() {
        let manifest =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/fuzz/Cargo.toml")).unwrap();
        let paths =
            manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""));
        let mut declared: Vec<&str> = paths.collect();
        declared.sort_unstable();
        let mut known = TARGETS.to_vec();
        known.sort_unstable();
        assert_eq!(declared, known);
    }

    #[test]
    fn a_report_holds_what_libfuzzer_said() {
        let mut report = Report::default();
        for line in [
            "INFO: Seed: 1234",
            "#2\tINITED cov: 40 ft: 41 corp: 1/1b exec/s: 0 rss: 30Mb",
            "#2402573\tREDUCE cov: 4636 ft: 12447 corp: 2707/530Kb lim: 968 exec/s: 6192 rss: 36Mb L: 662/964 MS: 2 Copy-",
            "thread '<unnamed>' (1) panicked at src/net.rs:177:21:",
            "artifact_prefix='./'; Test unit written to ./crash-da39",
            "stat::number_of_executed_units: 2402600",
        ] {
            report.add_line(line);
        }
        let panic = Some("thread '<unnamed>' (1) panicked at src/net.rs:177:21:".to_owned());
        let crashes = vec!["./crash-da39".to_owned()];
        let expected = Report { executions: 2_402_600, coverage: 4636, features: 12447, inputs: 2707, crashes, panic };
        assert_eq!(report, expected);
    }
}
