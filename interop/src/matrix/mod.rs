//! `lab matrix`: our router and our server beside every version of FRR and BIRD that there is, in every role, scenario by
//! scenario. [`table`] says what is played; each cell is a lab in a process of its own; [`report`] writes what it came to.

pub mod cell;
pub mod many;
pub mod mismatch;
pub mod report;
pub mod scenarios;
pub mod stage;
pub mod table;

use std::{
    collections::VecDeque,
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{harness::supervise, lab::Lab};
use cell::{Cell, Result as Word, Verdict};
use stage::{Cast, Stage};
use table::{PEERS, PeerRow, Play, Role, SCENARIOS, ScenarioRow};

/// Options of `lab matrix`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only this peer (may be repeated).
    #[arg(long)]
    pub peer: Vec<String>,
    /// Only this role of the peer (may be repeated).
    #[arg(long, value_enum)]
    pub role: Vec<Role>,
    /// Only this scenario (may be repeated).
    #[arg(long)]
    pub scenario: Vec<String>,
    /// The host's own packages and a handful of cells: two minutes.
    #[arg(long)]
    pub short: bool,
    /// Print the rows of the matrix and play nothing.
    #[arg(long)]
    pub list: bool,
    /// Write every cell with its figures.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the tables, such as docs/interop.md.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// How many cells at once (those that need the machine for themselves are played one by one).
    #[arg(long, default_value_t = 4)]
    pub jobs: usize,
}

/// Which cell a process plays.
#[derive(Debug, Clone, clap::Args)]
pub struct One {
    peer: String,
    #[arg(value_enum)]
    role: Role,
    scenario: String,
}

/// What the last line of a cell's process begins with.
const VERDICT: &str = "verdict ";

/// A cell to be played.
#[derive(Clone, Copy)]
struct Job {
    peer: &'static PeerRow,
    role: Role,
    scenario: &'static ScenarioRow,
}

/// Plays what is asked for, and writes it down; false if a cell failed.
pub fn run(options: &Options) -> Result<bool> {
    let jobs = chosen(options)?;
    if options.list {
        report::list(&mut std::io::stdout())?;
        return Ok(true);
    }
    for job in &jobs {
        (job.peer.version)().with_context(|| format!("the peer {}", job.peer.name))?;
    }
    let run = report::Run::begin()?;
    let (alone, together): (Vec<_>, Vec<_>) = jobs.iter().copied().partition(|job| job.scenario.alone());
    let mut cells = play_all(together, options.jobs.max(1));
    cells.extend(play_all(alone, 1));
    let report = report::Report { run: run.end(), cells };
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?).with_context(|| file.display().to_string())?;
    }
    if let Some(file) = &options.markdown {
        std::fs::write(file, report.markdown()).with_context(|| file.display().to_string())?;
    }
    println!("{}", report.summary());
    Ok(report.failures() == 0)
}

/// The cells that are asked for, in the order of the table.
fn chosen(options: &Options) -> Result<Vec<Job>> {
    for name in &options.peer {
        let known = PEERS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
        ensure!(table::peer(name).is_some(), "no peer {name:?}; there are {known}");
    }
    for name in &options.scenario {
        let known = SCENARIOS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
        ensure!(table::scenario(name).is_some(), "no scenario {name:?}; there are {known}");
    }
    let wanted = |names: &[String], name: &str| names.is_empty() || names.iter().any(|one| one == name);
    let mut jobs = vec![];
    for peer in PEERS.iter().filter(|row| wanted(&options.peer, row.name) && (row.of_the_host || !options.short)) {
        for scenario in SCENARIOS.iter().filter(|row| wanted(&options.scenario, row.name)) {
            for role in Role::ALL.into_iter().filter(|role| options.role.is_empty() || options.role.contains(role)) {
                if !options.short || scenario.short.contains(&role) {
                    jobs.push(Job { peer, role, scenario });
                }
            }
        }
    }
    ensure!(!jobs.is_empty(), "nothing to play");
    Ok(jobs)
}

/// Plays cells, so many at once, and tells each as it ends.
fn play_all(jobs: Vec<Job>, at_once: usize) -> Vec<Cell> {
    let count = jobs.len();
    let (queue, cells) = (Mutex::new(VecDeque::from(jobs)), Mutex::new(Vec::with_capacity(count)));
    thread::scope(|scope| {
        for _ in 0..at_once.min(count) {
            scope.spawn(|| {
                while let Some(job) = { queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() } {
                    let started = Instant::now();
                    let verdict = job.judged();
                    let Job { peer, role, scenario } = job;
                    let took = started.elapsed().as_secs_f64();
                    println!(
                        "{:<9} {:<11} {:<17} {} ({took:.0} s)",
                        peer.name,
                        role.name(),
                        scenario.name,
                        verdict.line()
                    );
                    let cell = Cell {
                        peer: peer.name.into(),
                        role: role.name().into(),
                        scenario: scenario.name.into(),
                        verdict,
                    };
                    cells.lock().unwrap_or_else(PoisonError::into_inner).push(cell);
                }
            });
        }
    });
    cells.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    /// Plays the cell in a process of its own and judges what it says.
    fn judged(self) -> Verdict {
        if let Some(why) = self.scenario.not_applicable(self.role) {
            return Verdict::new(Word::NotApplicable, why);
        }
        let mut verdict = self.play().unwrap_or_else(|error| Verdict::new(Word::Failure, &format!("{error:#}")));
        let known = || {
            let version = (self.peer.version)().ok()?;
            table::limitation(&Cast { peer: self.peer, role: self.role, version }, self.scenario.name, &verdict.text)
        };
        if verdict.result == Word::Failure
            && let Some(known) = known()
        {
            verdict.result = Word::PeerLimitation;
            verdict.limitation = Some(known.told.into());
        }
        if verdict.result == Word::Pass && !verdict.version.starts_with(self.peer.says) {
            verdict.result = Word::Failure;
            verdict.text = format!("the peer is {:?}, not {}", verdict.version, self.peer.says);
        }
        verdict
    }

    fn play(self) -> Result<Verdict> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["matrix-cell", self.peer.name, self.role.name(), self.scenario.name]);
        let ended = supervise(&mut command, self.scenario.limit())?;
        let said = ended.out.lines().rev().find_map(|line| line.strip_prefix(VERDICT));
        let Some(said) = said else { bail!("{}: {}{}", ended.how, ended.out, ended.err) };
        let verdict: Verdict = serde_json::from_str(said).context("reading a verdict")?;
        if verdict.result == Word::Failure {
            eprintln!("{} {} {}:\n{}", self.peer.name, self.role, self.scenario.name, ended.err);
        }
        Ok(verdict)
    }
}

/// Plays one cell, inside of its sandbox, and prints its verdict.
pub fn play(one: &One) -> Result<bool> {
    let peer = table::peer(&one.peer).context("no such peer")?;
    let scenario = table::scenario(&one.scenario).context("no such scenario")?;
    let cast = Cast { peer, role: one.role, version: (peer.version)()? };
    let mut lab = Lab::new("matrix")?;
    let played = match scenario.play {
        Play::Farm(scene) => on_a_farm(&mut lab, &cast, scene),
        Play::Pair(scene) | Play::Alone(scene) => scene(&mut lab, &cast),
    };
    let verdict = played.unwrap_or_else(|error| Verdict::new(Word::Failure, &format!("{error:#}")));
    if verdict.result == Word::Failure {
        eprintln!("{}", lab.diagnostics());
    }
    println!("{VERDICT}{}", serde_json::to_string(&verdict)?);
    Ok(true)
}

/// How many servers a farm has, unless their number is the point.
const SERVERS: u16 = 3;

fn on_a_farm(lab: &mut Lab, cast: &Cast, scene: fn(&mut Stage<'_>) -> Result<Verdict>) -> Result<Verdict> {
    let mut stage = Stage::open(lab, cast, SERVERS)?;
    let version = stage.version.clone();
    match scene(&mut stage) {
        Ok(verdict) => Ok(verdict),
        Err(error) => {
            eprintln!("{}", stage.diagnostics());
            Ok(Verdict { version, ..Verdict::new(Word::Failure, &format!("{error:#}")) })
        }
    }
}
