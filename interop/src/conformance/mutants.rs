//! Breaks the code of a row in a copy of the workspace: the test that the row names has to fail.
//!
//! A mutant is a patch `interop/mutants/conformance/<row>.patch` that disables what the row's code does. The copy and
//! its target folder stay under the workspace's target folder, so that the next run builds only what changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::{Row, Sources, sources::Place};
use crate::{cargo::cargo, sim::random::Random};

/// Where the patches are, from the root of the workspace.
const PATCHES: &str = "interop/mutants/conformance";
/// What of the workspace a build needs.
const COPIED: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "docs",
    "README.md",
    "proto",
    "ospfd-lite",
    "server-speaker",
    "interop",
];
/// A mutant whose test has not ended by then does not end at all, and that is a failure of the test.
const PATIENCE: Duration = Duration::from_secs(180);

/// A patch that breaks what a row claims.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mutant {
    /// The row's id.
    pub row: String,
    /// The patch.
    pub patch: PathBuf,
}

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// It did not end.
    Endless,
}

/// Every mutant of a workspace, by row.
pub fn mutants(workspace: &Path) -> Result<Vec<Mutant>> {
    let folder = workspace.join(PATCHES);
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let patch = entry?.path();
        if patch.extension() == Some(OsStr::new("patch")) {
            let row = patch.file_stem().and_then(OsStr::to_str).context("the name of a patch is no text")?.to_owned();
            found.push(Mutant { row, patch });
        }
    }
    found.sort();
    Ok(found)
}

/// So many of the mutants, drawn by a seed; the same ones for the same seed and mutants.
pub(super) fn draw(mut mutants: Vec<Mutant>, seed: u64, count: usize) -> Vec<Mutant> {
    let mut random = Random::new(seed, 0);
    for at in 0..mutants.len() {
        let other = at + random.index(mutants.len() - at);
        mutants.swap(at, other);
    }
    mutants.truncate(count);
    mutants
}

impl Mutant {
    /// Whether the patch fits the sources; an error if not.
    pub fn applies(&self, workspace: &Path) -> Result<()> {
        self.git_apply(workspace, &["--check"])
    }

    fn git_apply(&self, tree: &Path, options: &[&str]) -> Result<()> {
        // Below a repository `git apply` would take the paths to start at its root.
        let tree = fs::canonicalize(tree)?;
        let ceiling = tree.parent().unwrap_or(&tree);
        let output = Command::new("git")
            .current_dir(&tree)
            .env("GIT_CEILING_DIRECTORIES", ceiling)
            .arg("apply")
            .args(options)
            .arg(fs::canonicalize(&self.patch)?)
            .output()
            .context("starting git")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("{} does not apply: {}", self.patch.display(), why.trim());
        }
        Ok(())
    }

    /// The files that the patch changes.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let text = fs::read_to_string(&self.patch)?;
        let files: Vec<PathBuf> = text
            .lines()
            .filter_map(|line| line.strip_prefix("+++ b/"))
            .map(|line| PathBuf::from(line.trim()))
            .collect();
        if files.is_empty() {
            bail!("{} changes no file", self.patch.display());
        }
        Ok(files)
    }
}

/// The copy of a workspace.
struct Copy {
    tree: PathBuf,
    target: PathBuf,
    /// Nobody else works in it.
    _lock: fs::File,
}

impl Copy {
    /// Brings the copy up to date; what has not changed keeps its time, so that it is not built again.
    fn make(workspace: &Path) -> Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
        let home = target.join("conformance");
        let tree = home.join("tree");
        fs::create_dir_all(&tree).with_context(|| format!("making {}", tree.display()))?;
        let lock = fs::File::create(home.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!("another run works in {}", home.display());
        }
        for name in COPIED {
            mirror(&workspace.join(name), &tree.join(name))?;
        }
        Ok(Self { tree, target: home.join("target"), _lock: lock })
    }

    fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target).args(["test", "-q"]);
        // Built once for each mutant and looked at by nobody.
        command.env("CARGO_PROFILE_DEV_DEBUG", "0");
        command
    }

    /// Builds the file of tests that holds a test.
    fn build(&self, place: &Place) -> Result<()> {
        let output = self.cargo().args(arguments(place)).arg("--no-run").output().context("starting cargo")?;
        if !output.status.success() {
            bail!("{place:?} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Runs one test, which must be built.
    fn run(&self, place: &Place) -> Result<Outcome> {
        let mut command = self.cargo();
        command.args(arguments(place)).arg("--").arg("--exact").arg(&place.path).process_group(0);
        let (status, text) = within(PATIENCE, command)?;
        if !text.contains("running 1 test") {
            bail!("{place:?} did not run:\n{text}");
        }
        Ok(match status {
            None => Outcome::Endless,
            Some(status) if status.success() => Outcome::Passed,
            Some(_) => Outcome::Failed,
        })
    }
}

fn arguments(place: &Place) -> Vec<&str> {
    let mut arguments = vec!["-p", place.package];
    match &place.target {
        Some(target) => arguments.extend(["--test", target]),
        None => arguments.push("--lib"),
    }
    arguments
}

/// Runs a command (the leader of its process group) for so long at most; its status, if it ended, and what it printed.
fn within(patience: Duration, mut command: Command) -> Result<(Option<ExitStatus>, String)> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("starting cargo")?;
    let group = Pid::from_raw(i32::try_from(child.id())?);
    let mut out = child.stdout.take().context("stdout")?;
    let (done, watch) = std::sync::mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let late = watch.recv_timeout(patience).is_err();
        if late {
            let _ = killpg(group, Signal::SIGKILL);
        }
        late
    });
    let mut text = Vec::new();
    out.read_to_end(&mut text)?;
    let status = child.wait()?;
    let _ = done.send(());
    let late = watchdog.join().unwrap_or(false);
    Ok(((!late).then_some(status), String::from_utf8_lossy(&text).into_owned()))
}

/// Makes `to` what `from` is: writes what differs, removes what is too much.
fn mirror(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        let bytes = fs::read(from)?;
        if fs::read(to).ok().as_ref() != Some(&bytes) {
            fs::write(to, bytes).with_context(|| format!("writing {}", to.display()))?;
        }
        return Ok(());
    }
    fs::create_dir_all(to)?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let name = entry?.file_name();
        // Fuzzing has its own workspace, with corpora; a target folder is no source.
        if name != "target" && name != "fuzz" {
            mirror(&from.join(&name), &to.join(&name))?;
            names.insert(name);
        }
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !names.contains(&entry.file_name()) {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
    }
    Ok(())
}

/// Runs the named test of each mutant's row without and with the mutant; says whether it passed without and failed with
/// every one.
pub(super) fn break_each(workspace: &Path, rows: &BTreeMap<&str, &Row>, drawn: &[Mutant]) -> Result<bool> {
    let copy = Copy::make(workspace)?;
    let mut sources = Sources::new(&copy.tree);
    let mut cases = Vec::new();
    for mutant in drawn {
        let row = rows.get(mutant.row.as_str()).with_context(|| format!("no row {}", mutant.row))?;
        let test = row.tests.first().with_context(|| format!("row {} names no test", row.id))?;
        cases.push((mutant, *row, test, sources.test(test)?));
    }
    let places: BTreeSet<&Place> = cases.iter().map(|(.., place)| place).collect();
    for place in places {
        copy.build(place)?;
        let outcome = copy.run(place)?;
        if outcome != Outcome::Passed {
            bail!("{} fails without any mutant", place.path);
        }
    }
    let mut survivors = 0;
    for (mutant, row, test, place) in &cases {
        let originals: Vec<(PathBuf, Vec<u8>)> = mutant
            .files()?
            .into_iter()
            .map(|file| copy.tree.join(file))
            .map(|path| fs::read(&path).map(|bytes| (path, bytes)))
            .collect::<std::io::Result<_>>()?;
        mutant.git_apply(&copy.tree, &[])?;
        let outcome = copy.build(place).and_then(|()| copy.run(place));
        for (path, bytes) in originals {
            fs::write(path, bytes)?;
        }
        let said = match outcome.with_context(|| format!("mutant of row {}", row.id))? {
            Outcome::Passed => {
                survivors += 1;
                "SURVIVED"
            }
            Outcome::Failed => "found",
            Outcome::Endless => "found (the test never ended)",
        };
        println!("{said}: {} ({}): {} [{}]", row.id, row.section, row.rule, test.0);
    }
    println!("{} of {} mutants found", cases.len() - survivors, cases.len());
    Ok(survivors == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(row: &str) -> Mutant {
        Mutant { row: row.to_owned(), patch: PathBuf::from(format!("{row}.patch")) }
    }

    #[test]
    fn a_seed_draws_the_same_rows_and_each_once() {
        let all: Vec<Mutant> = (0..40).map(|n| mutant(&n.to_string())).collect();
        let drawn = draw(all.clone(), 7, 20);
        assert_eq!(drawn, draw(all.clone(), 7, 20));
        assert_ne!(drawn, draw(all.clone(), 8, 20));
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 20);
        assert_eq!(draw(all, 7, 100).len(), 40);
    }
}
