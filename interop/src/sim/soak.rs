//! `lab sim soak`: many seeds, each a random network with trouble; failing ones are told with the command that replays
//! them, and can be shrunk to a trace.

use std::{
    cell::RefCell,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::Result;
use clap::Args;

use crate::sim::{net::Stats, scenario::Scenario};

/// Random networks under random trouble.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Routers per network, a fifth of them servers.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(3..=200))]
    routers: u16,
    /// How many seeds to play at a time; 0: one per processor.
    #[arg(long, short, default_value_t = 0)]
    jobs: usize,
    /// Stop at the first failing seed.
    #[arg(long)]
    fail_fast: bool,
    /// Instead: shrink the trouble of this failing seed, and write what is left as a trace.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "first", "replay"])]
    shrink: Option<u64>,
    /// Instead: replay a trace.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "first"])]
    replay: Option<PathBuf>,
    /// Print every packet but Hellos, every event and every route change.
    #[arg(long)]
    trace: bool,
}

/// What a soak found.
#[derive(Debug, Default)]
pub struct Report {
    /// Seeds run.
    pub seeds: u64,
    /// Failing seeds, and what was broken.
    pub failed: Vec<(u64, String)>,
    /// Sums.
    pub stats: Stats,
}

/// Runs; false if something failed.
pub fn run(options: &Options) -> Result<bool> {
    if let Some(seed) = options.shrink {
        return shrink(seed, options.routers.into());
    }
    if let Some(path) = &options.replay {
        return Ok(match play(&Scenario::load(path)?, options.trace) {
            Ok(stats) => {
                println!("{}: holds ({} events)", path.display(), stats.events);
                true
            }
            Err(broken) => {
                println!("{}: {broken}", path.display());
                false
            }
        });
    }
    let begin = Instant::now();
    let threads = match options.jobs {
        0 => thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let plan = Plan { routers: options.routers.into(), threads, fail_fast: options.fail_fast, trace: options.trace };
    let seeds = options.first..options.first.saturating_add(options.seeds);
    let report = soak(seeds, &plan, |seed, broken| {
        let line = broken.replace('\n', " ");
        println!("FAILED lab sim soak --first {seed} --seeds 1 --routers {}   # {line}", options.routers);
    });
    println!(
        "{} seeds of {} routers, {} failed; {} events, {} packets delivered, {} SPF runs, {} transient loops; {:.1} s",
        report.seeds,
        options.routers,
        report.failed.len(),
        report.stats.events,
        report.stats.packets,
        report.stats.spf,
        report.stats.loops,
        begin.elapsed().as_secs_f64()
    );
    Ok(report.failed.is_empty())
}

/// How to soak.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Routers per network.
    pub routers: usize,
    /// Threads.
    pub threads: usize,
    /// Stop at the first failing seed.
    pub fail_fast: bool,
    /// Print what the routers say and do.
    pub trace: bool,
}

/// Plays every seed; `failed` hears of a failing one at once.
pub fn soak(seeds: Range<u64>, plan: &Plan, failed: impl Fn(u64, &str) + Sync) -> Report {
    let next = AtomicU64::new(seeds.start);
    let report = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..plan.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let outcome = play(&Scenario::of_seed(seed, plan.routers), plan.trace);
                    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                    report.seeds += 1;
                    match outcome {
                        Ok(stats) => report.stats.add(&stats),
                        Err(broken) => {
                            failed(seed, &broken);
                            report.failed.push((seed, broken));
                            if plan.fail_fast {
                                next.store(seeds.end, Ordering::Relaxed);
                            }
                        }
                    }
                }
            });
        }
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// Where and why this thread panicked.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Plays one scenario; a panic of an engine is a failure like any other.
pub fn play(scenario: &Scenario, trace: bool) -> std::result::Result<Stats, String> {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if PANIC.with_borrow(Option::is_none) {
                before(info);
            } else {
                PANIC.set(Some(info.to_string()));
            }
        }));
    });
    PANIC.set(Some("a panic".to_owned()));
    let played = catch_unwind(AssertUnwindSafe(|| scenario.play(trace)));
    let panic = PANIC.take();
    match played {
        Ok(outcome) => outcome.map_err(|error| format!("{error:#}")),
        Err(_) => Err(panic.unwrap_or_default()),
    }
}

/// Where traces are kept; the test suite replays every one of them.
pub fn regressions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions")
}

/// Takes away what a failing seed does not need to fail.
fn shrink(seed: u64, routers: usize) -> Result<bool> {
    let scenario = Scenario::of_seed(seed, routers);
    let Err(mut broken) = play(&scenario, false) else {
        println!("seed {seed} holds: nothing to shrink");
        return Ok(true);
    };
    println!("{} disturbances: {broken}", scenario.trouble.len());
    let mut least = scenario;
    let mut candidates: Vec<Scenario> = Vec::new();
    loop {
        candidates.clear();
        // Halves first, then one by one.
        let n = least.trouble.len();
        for part in [n / 2, n / 4, 1] {
            for start in (0..n).step_by(part.max(1)).filter(|_| part > 0) {
                let mut fewer = least.clone();
                fewer.trouble.drain(start..(start + part).min(n));
                candidates.push(fewer);
            }
        }
        candidates.extend([Scenario { loss: 0, ..least.clone() }, Scenario { ages: false, ..least.clone() }]);
        candidates.retain(|candidate| *candidate != least);
        let found = candidates.drain(..).find_map(|candidate| Some((play(&candidate, false).err()?, candidate)));
        let Some((why, smaller)) = found else { break };
        println!("{} disturbances, loss {} of 1000: {why}", smaller.trouble.len(), smaller.loss);
        (broken, least) = (why, smaller);
    }
    let directory = regressions();
    std::fs::create_dir_all(&directory)?;
    let path = directory.join(format!("seed-{seed}.json"));
    least.save(&path)?;
    println!("written to {}: {broken}", path.display());
    Ok(false)
}
