//! `lab sim mutants`: does the soak notice? Each patch of `interop/mutants` breaks the engine in one way; it is applied to
//! a copy of the workspace, and the soak there has to fail within five minutes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::cargo::cargo;

/// Faults put into a copy of the engine on purpose.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Only the mutants whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// The longest time for each, seconds; building not counted.
    #[arg(long, default_value_t = 300)]
    limit: u64,
}

/// Where the patches are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants")
}

/// Every patch, by name.
pub fn patches() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory()).context("reading interop/mutants")?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut found: Vec<PathBuf> =
        paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "patch")).collect();
    found.sort();
    Ok(found)
}

/// Runs; false if a mutant is not found.
pub fn run(options: &Options) -> Result<bool> {
    let copy = tempfile::tempdir().context("making a directory for the copy")?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace above interop")?;
    let tree = copy.path().join("tree");
    duplicate(workspace, &tree)?;
    // All mutants share one target directory: only proto and interop are built anew.
    let target = workspace.join("target/mutants");
    let mut missed = Vec::new();
    let name = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let wanted = |path: &PathBuf| options.only.as_ref().is_none_or(|only| name(path).contains(only.as_str()));
    let all: Vec<PathBuf> = patches()?.into_iter().filter(wanted).collect();
    ensure!(!all.is_empty(), "no mutant of that name");
    // As it is, the copy has to hold: else nothing that is found means anything.
    build(&tree, &target)?;
    match soak(&target, Duration::from_secs(options.limit), 50)? {
        Soaked::Held(_) => {}
        Soaked::Failed(line, _) => bail!("the unchanged engine fails already: {line}"),
    }
    for patch in &all {
        apply(&tree, patch, false)?;
        let built = build(&tree, &target);
        let soaked = built.and_then(|()| soak(&target, Duration::from_secs(options.limit), u64::MAX >> 1));
        apply(&tree, patch, true)?;
        match soaked? {
            Soaked::Failed(line, took) => {
                println!("found     {:<28} {:>6.1} s  {line}", name(patch), took.as_secs_f64())
            }
            Soaked::Held(took) => {
                println!("NOT FOUND {:<28} {:>6.1} s", name(patch), took.as_secs_f64());
                missed.push(name(patch));
            }
        }
    }
    println!("{} of {} mutants found", all.len() - missed.len(), all.len());
    Ok(missed.is_empty())
}

/// Copies the workspace without what is built and without its history.
fn duplicate(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "target" || name == ".git" {
            continue;
        }
        let (from, to) = (entry.path(), to.join(&name));
        match entry.file_type()? {
            kind if kind.is_dir() => duplicate(&from, &to)?,
            kind if kind.is_file() => {
                fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a patch applies to the tree in `directory`.
pub fn applies(directory: &Path, patch: &Path) -> Result<bool> {
    let status = Command::new("git").args(["apply", "--check"]).arg(patch).current_dir(directory).status();
    Ok(status.context("running git")?.success())
}

fn apply(tree: &Path, patch: &Path, reverse: bool) -> Result<()> {
    let mut command = Command::new("git");
    command.arg("apply").args(reverse.then_some("--reverse")).arg(patch).current_dir(tree);
    ensure!(command.status().context("running git")?.success(), "{} does not apply", patch.display());
    Ok(())
}

fn build(tree: &Path, target: &Path) -> Result<()> {
    let mut command = cargo();
    command.args(["build", "-q", "--release", "-p", "interop", "--bin", "lab"]);
    // One changed line is not worth a whole build: what is lost in speed is won many times over.
    command.args(["--config", "profile.release.incremental=true"]);
    command.current_dir(tree).env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", "-Awarnings");
    ensure!(command.status().context("running cargo")?.success(), "the copy does not build");
    Ok(())
}

/// What a soak came to, and when.
enum Soaked {
    Failed(String, Duration),
    Held(Duration),
}

fn soak(target: &Path, limit: Duration, seeds: u64) -> Result<Soaked> {
    let begin = Instant::now();
    let mut command = Command::new(target.join("release/lab"));
    command.args(["sim", "soak", "--fail-fast", "--seeds", &seeds.to_string()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("starting the soak")?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begin.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(Soaked::Held(begin.elapsed()));
        }
        thread::sleep(Duration::from_millis(50));
    };
    let took = begin.elapsed();
    let mut output = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        std::io::Read::read_to_string(&mut stdout, &mut output)?;
    }
    if status.success() {
        return Ok(Soaked::Held(took));
    }
    let line = output.lines().find(|line| line.starts_with("FAILED"));
    let line: String = line.with_context(|| format!("the soak ended with {status}"))?.chars().take(200).collect();
    Ok(Soaked::Failed(line, took))
}
