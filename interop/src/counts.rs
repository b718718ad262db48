//! `lab counts`: instructions that the engine's parts take, counted by callgrind and compared with those of the repository.
//! A count hardly depends on the machine's load, so a few per cent more are a regression.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cargo::cargo;

const BASELINE: &str = "proto/benches/counts.txt";
/// The function of `proto/benches/counts.rs` in which is counted.
const MEASURED: &str = "--toggle-collect=*counts*measured*";
/// Begins the line that names the compiler.
const COMPILER: &str = "# rustc ";

/// Options of `lab counts`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Write what was counted to the baseline instead of comparing.
    #[arg(long)]
    write: bool,
    /// How many per cent more or less are no change.
    #[arg(long, default_value_t = 5.0)]
    tolerance: f64,
    /// Only tasks whose name contains this.
    filter: Option<String>,
}

/// Counts and compares; true if nothing has changed by more than the tolerance.
pub fn run(options: &Options) -> Result<bool> {
    if !Path::new("/usr/bin/valgrind").exists() {
        bail!("valgrind is missing: apt-get install -y valgrind");
    }
    let program = build()?;
    let names = text(&mut Command::new(&program))?;
    let wanted = options.filter.as_deref().unwrap_or_default();
    let mut counted = BTreeMap::new();
    for name in names.lines().filter(|name| name.contains(wanted)) {
        counted.insert(name.to_owned(), count(&program, name)?);
    }
    if counted.is_empty() {
        bail!("no task's name contains {wanted:?}");
    }
    let compiler = text(Command::new("rustc").arg("--version"))?;
    let compiler = compiler.trim().trim_start_matches("rustc ").to_owned();
    let file = workspace().join(BASELINE);
    if options.write {
        let mut baseline = fs::read_to_string(&file).map(|text| parse(&text)).unwrap_or_default().1;
        baseline.extend(counted);
        fs::write(&file, print(&compiler, &baseline)).with_context(|| format!("writing {}", file.display()))?;
        println!("{} written", file.display());
        return Ok(true);
    }
    let (of, baseline) = parse(&fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?);
    if of != compiler {
        println!("the baseline is of rustc {of}, this is {compiler}: `cargo lab counts --write` makes one of it");
    }
    let mut good = true;
    println!("{:<24} {:>14} {:>14} {:>8}", "task", "baseline", "counted", "change");
    for (name, count) in &counted {
        let before = baseline.get(name).copied();
        let change = before.map(|before| (*count as f64 / before as f64 - 1.0) * 100.0);
        let within = change.is_some_and(|change| change.abs() <= options.tolerance);
        good &= within;
        let before = before.map_or_else(|| "none".into(), |before| before.to_string());
        let change = change.map_or_else(|| "-".into(), |change| format!("{change:+.1} %"));
        println!("{name:<24} {before:>14} {count:>14} {change:>8}{}", if within { "" } else { "  <--" });
    }
    if !good {
        println!("what is meant to be so is written by `cargo lab counts --write`, and committed with its reason");
    }
    Ok(good)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds the tasks with the profile of benches; the path of their program.
fn build() -> Result<PathBuf> {
    let mut command = cargo();
    command.current_dir(workspace()).args(["bench", "-q", "-p", "ospf-proto", "--bench", "counts", "--no-run"]);
    command.arg("--message-format=json").stderr(std::process::Stdio::inherit());
    let messages = text(&mut command)?;
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_ours = |message: &Value| message.pointer("/target/name").and_then(Value::as_str) == Some("counts");
    let program = artifacts.filter(is_ours).find_map(|message| message.get("executable")?.as_str().map(PathBuf::from));
    program.context("cargo names no program of the bench `counts`")
}

fn text(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("running {command:?}"))?;
    if !done.status.success() {
        bail!("{command:?} failed ({}): {}", done.status, String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8(done.stdout)?)
}

/// Instructions of one run.
fn count(program: &Path, name: &str) -> Result<u64> {
    let out = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--collect-atstart=no", MEASURED]);
    command.arg(format!("--callgrind-out-file={}", out.path().display())).arg(program).arg(name);
    text(&mut command)?;
    total(&fs::read_to_string(out.path())?).with_context(|| format!("{name}: callgrind has counted nothing"))
}

/// The line `totals: 1234` (older: `summary:`) of callgrind's file.
fn total(file: &str) -> Option<u64> {
    let found = file.lines().find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")))?;
    found.trim().parse().ok().filter(|count| *count > 0)
}

/// The compiler, and the instructions of each task.
fn parse(text: &str) -> (String, BTreeMap<String, u64>) {
    let compiler = text.lines().find_map(|line| line.strip_prefix(COMPILER)).unwrap_or("unknown").to_owned();
    let rows = text.lines().filter_map(|line| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    });
    (compiler, rows.collect())
}

fn print(compiler: &str, counts: &BTreeMap<String, u64>) -> String {
    let mut text = format!(
        "# Instructions of one run of each task, written by `cargo lab counts --write`.\n{COMPILER}{compiler}\n"
    );
    for (name, count) in counts {
        let _ = writeln!(text, "{name:<24} {count}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let counts = BTreeMap::from([("a/b/10".to_owned(), 5), ("c".to_owned(), 70_000)]);
        assert_eq!(parse(&print("1.95.0 (x y)", &counts)), ("1.95.0 (x y)".to_owned(), counts));
    }

    #[test]
    fn the_total_of_callgrind_is_found_and_nothing_counted_is_an_error() {
        assert_eq!(total("events: Ir\nsummary: 12\n\ntotals: 12\n"), Some(12));
        assert_eq!(total("events: Ir\ntotals: 0\n"), None);
    }
}
