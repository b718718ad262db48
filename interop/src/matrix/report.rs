//! What the matrix came to: as text, as JSON, and as the tables of `docs/interop.md`.

use std::{collections::BTreeSet, fmt::Write as _, fs, io::Write, path::Path, process::Command, time::Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{
    cell::{Cell, Result as Word, Verdict},
    table::{PEERS, PeerRow, Role, SCENARIOS, ScenarioRow},
};

/// Where and when the cells were played.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// Beginning, UTC.
    pub date: String,
    /// What was asked for.
    pub command: String,
    /// Of the sources, with a word if they are changed.
    pub commit: String,
    /// Name and release.
    pub kernel: String,
    /// Model and number of processors.
    pub machine: String,
    /// Load averages at the beginning and at the end.
    pub load: (String, String),
    /// How the daemons are built.
    pub profile: String,
    /// Seconds.
    pub took: f64,
}

/// A run that goes on.
pub struct Run {
    about: About,
    started: Instant,
}

impl Run {
    /// Notes where and when it begins.
    pub fn begin() -> Result<Self> {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let words: Vec<_> = std::env::args().skip(1).collect();
        let cargo = if cfg!(debug_assertions) { "cargo lab" } else { "cargo run --release -q -p interop --bin lab --" };
        let about = About {
            date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])?,
            command: format!("{cargo} {}", words.join(" ")),
            commit: commit(),
            kernel: said("uname", &["-sr"])?,
            machine: machine(),
            load: (load(), String::new()),
            profile: profile.into(),
            took: 0.0,
        };
        Ok(Self { about, started: Instant::now() })
    }

    /// Notes how it ends.
    pub fn end(mut self) -> About {
        self.about.load.1 = load();
        self.about.took = self.started.elapsed().as_secs_f64();
        self.about
    }
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("starting {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The commit of the sources; an installed `lab` has none.
fn commit() -> String {
    let git = |words: &[&str]| said("git", &[&["-C", env!("CARGO_MANIFEST_DIR")], words].concat()).unwrap_or_default();
    let (head, changed) = (git(&["rev-parse", "--short=12", "HEAD"]), git(&["status", "--porcelain", "-uno"]));
    match (head.is_empty(), changed.is_empty()) {
        (true, _) => "unknown".into(),
        (false, true) => head,
        (false, false) => format!("{head} with changes"),
    }
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<_> = cpus.lines().filter_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).collect();
    format!("{} x {}", models.len(), models.first().unwrap_or(&"processor"))
}

fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Prints the rows and columns.
pub fn list(out: &mut dyn Write) -> Result<()> {
    writeln!(out, "peers:")?;
    PEERS.iter().try_for_each(|row| writeln!(out, "  {:<18} {}", row.name, row.origin))?;
    writeln!(out, "roles of the peer:")?;
    Role::ALL.iter().try_for_each(|role| writeln!(out, "  {:<18} {}", role.name(), role.told()))?;
    writeln!(out, "scenarios:")?;
    for row in SCENARIOS {
        let not: Vec<_> = row.not_in.iter().map(|(role, _)| role.name()).collect();
        let not = if not.is_empty() { String::new() } else { format!(" (not: {})", not.join(", ")) };
        writeln!(out, "  {:<18} {}{not}", row.name, row.told)?;
    }
    Ok(())
}

impl Verdict {
    /// In a line.
    pub fn line(&self) -> String {
        let measured = self.measured();
        match self.result {
            Word::Pass => format!("pass: {measured}"),
            Word::PeerLimitation => {
                format!("peer limitation: {} [{}]", self.limitation.as_deref().unwrap_or_default(), self.text)
            }
            Word::Failure => format!("FAILURE: {}", self.text.lines().next().unwrap_or_default()),
            Word::NotApplicable => "n/a".into(),
        }
    }
}

/// Everything about a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Where and when.
    pub run: About,
    /// What it came to.
    pub cells: Vec<Cell>,
}

impl Report {
    fn count(&self, word: Word) -> usize {
        self.cells.iter().filter(|cell| cell.verdict.result == word).count()
    }

    /// How many cells failed.
    pub fn failures(&self) -> usize {
        self.count(Word::Failure)
    }

    /// The sums.
    pub fn summary(&self) -> String {
        format!(
            "{} cells in {:.0} s: {} pass, {} peer limitations, {} failures, {} not applicable",
            self.cells.len(),
            self.run.took,
            self.count(Word::Pass),
            self.count(Word::PeerLimitation),
            self.failures(),
            self.count(Word::NotApplicable),
        )
    }

    fn cell(&self, peer: &PeerRow, role: Role, scenario: &ScenarioRow) -> Option<&Cell> {
        self.cells.iter().find(|cell| {
            (cell.peer.as_str(), cell.role.as_str(), cell.scenario.as_str()) == (peer.name, role.name(), scenario.name)
        })
    }

    /// The document.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.head(&mut out);
        for peer in PEERS.iter().filter(|peer| self.cells.iter().any(|cell| cell.peer == peer.name)) {
            self.table(&mut out, peer);
        }
        self.notes(&mut out);
        out
    }

    fn head(&self, out: &mut String) {
        let About { date, command, commit, kernel, machine, load, profile, took } = &self.run;
        let _ = write!(
            out,
            "# Beside FRR and BIRD\n\nWritten by `lab matrix`, not by hand: our router (ospfd-lite) and our server (server-speaker) with every version of\n\
             FRRouting and BIRD below, each in five roles. What is played is data: `interop/src/matrix/table.rs`.\n\n\
             {}.\n\n\
             | run | |\n|---|---|\n| date | {date}, {:.0} minutes |\n| commit | `{commit}` |\n| command | `{command}` |\n\
             | daemons | {profile} build |\n| kernel | {kernel} |\n| machine | {machine}; load average {} before, {} after |\n",
            self.summary(),
            took / 60.0,
            load.0,
            load.1,
        );
        for peer in PEERS {
            let versions: BTreeSet<_> = self
                .cells
                .iter()
                .filter(|cell| cell.peer == peer.name && !cell.verdict.version.is_empty())
                .map(|cell| cell.verdict.version.as_str())
                .collect();
            if !versions.is_empty() {
                let versions = versions.into_iter().collect::<Vec<_>>().join(", ");
                let _ = writeln!(out, "| {} | {versions}, {} |", peer.name, peer.origin);
            }
        }
        let _ = write!(
            out,
            "\nOne cell again, with what everybody says if it fails: `cargo lab matrix --peer frr-8.4 --role dr --scenario death`. The rows: `cargo\n\
             lab matrix --list`. The short form that every change has to pass: `cargo lab matrix --short`.\n\n## Roles\n\n| column | who is who |\n|---|---|\n"
        );
        for role in Role::ALL {
            let _ = writeln!(out, "| {role} | {} |", role.told());
        }
        let _ = write!(out, "\n## Scenarios\n\n| row | what has to happen |\n|---|---|\n");
        for row in SCENARIOS {
            let _ = writeln!(out, "| {} | {} |", row.name, row.told);
        }
        let _ = write!(
            out,
            "\nEverywhere: Linux network namespaces, one bridge, hello 1 s, dead 4 s, no load on the service. Kernels are watched by netlink,\n\
             neighbors and databases asked of the daemons every 20 ms (which is in the figures of *Full*). Times begin with the command,\n\
             the signal or the cut; a command line costs some 10 to 30 ms. Four cells are played at once unless `--jobs` says otherwise, the\n\
             row of 64 servers alone.\n"
        );
    }

    fn table(&self, out: &mut String, peer: &PeerRow) {
        let roles = Role::ALL.map(Role::name).join(" | ");
        let _ = write!(out, "\n## {}\n\n| | {roles} |\n|---|---|---|---|---|---|\n", peer.name);
        for scenario in SCENARIOS {
            let _ = write!(out, "| {} |", scenario.name);
            for role in Role::ALL {
                let text = self.cell(peer, role, scenario).map_or_else(|| "not played".into(), |cell| self.entry(cell));
                let _ = write!(out, " {text} |");
            }
            out.push('\n');
        }
    }

    fn entry(&self, cell: &Cell) -> String {
        let verdict = &cell.verdict;
        let measured = verdict.measured();
        let colon = if measured.is_empty() { "" } else { ": " };
        match verdict.result {
            Word::Pass => format!("pass{colon}{measured}"),
            Word::PeerLimitation => format!("[peer limitation](#peer-limitations){colon}{measured}"),
            Word::Failure => "**[FAILURE](#failures)**".into(),
            Word::NotApplicable => "n/a".into(),
        }
    }

    fn notes(&self, out: &mut String) {
        let _ = write!(out, "\n## Not applicable\n\n| row | column | why |\n|---|---|---|\n");
        for row in SCENARIOS {
            for (role, why) in row.not_in {
                let _ = writeln!(out, "| {} | {role} | {why} |", row.name);
            }
        }
        for (title, word, none) in
            [("Peer limitations", Word::PeerLimitation, "None was met."), ("Failures", Word::Failure, "None.")]
        {
            let _ = write!(out, "\n## {title}\n\n");
            let mut any = false;
            for cell in self.cells.iter().filter(|cell| cell.verdict.result == word) {
                let Verdict { text, limitation, version, .. } = &cell.verdict;
                let told = limitation.as_ref().map(|told| format!("{told} ")).unwrap_or_default();
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                let text: String = text.chars().take(700).collect();
                let _ = writeln!(
                    out,
                    "* {} ({version}), {}, {}: {told}Observed: `{}`",
                    cell.peer,
                    cell.role,
                    cell.scenario,
                    text.replace('`', "'")
                );
                any = true;
            }
            if !any {
                let _ = writeln!(out, "{none}");
            }
        }
    }
}

/// Whether a document has every row of the matrix.
pub fn complete(document: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(document).with_context(|| document.display().to_string())?;
    let mut missing = vec![];
    for peer in PEERS {
        let section = text.split("\n## ").find(|section| section.starts_with(&format!("{}\n", peer.name)));
        for row in SCENARIOS {
            let begins = format!("| {} |", row.name);
            let line = section.and_then(|section| section.lines().find(|line| line.starts_with(&begins)));
            if line.is_none_or(|line| line.contains("not played")) {
                missing.push(format!("{} {}", peer.name, row.name));
            }
        }
    }
    Ok(missing)
}
