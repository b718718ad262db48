//! What a bench came to: medians with their spread, ratios, and where ospfd-lite is not twice as good, as Markdown and JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    process::Command,
    time::Duration,
};

use anyhow::Result;
use serde::Serialize;

use super::{
    Options,
    cell::Row,
    device::Make,
    plan::{Done, Plan},
};

/// What each row is.
const ROWS: [(Row, &str); 7] = [
    (
        Row::B1,
        "N virtual routers (degree 4 in the mean, a /64 each, 2 N LSAs) behind one adjacency: from the first Database Description, and \
         from the last LSA sent, until the kernel has all N routes; CPU time of it all, acknowledgments included; peak RSS",
    ),
    (
        Row::B2,
        "one link far away in the graph of N changes its cost, which moves the route of one prefix to another next hop: from the packet \
         to the kernel's notification; CPU time of the change",
    ),
    (
        Row::B3,
        "one of four servers with an anycast /128 beside the N routers raises or lowers its metric: from the packet to the kernel \
         sharing over the right servers; CPU time; all messages about routes and next hops that the kernel sent. ospfd-lite moves \
         only the slots of that server (256 of 1,024, a message each), so that no other flow changes its server; FRR and BIRD replace \
         the route, and the kernel deals all flows anew",
    ),
    (
        Row::B4,
        "k servers on one link with an adjacency each and one anycast /128: from the first Database Description until the kernel shares \
         over all of them (or over as many as the device can); CPU of it; and of 60 s in which nothing happens, Hellos every second",
    ),
    (
        Row::B5,
        "10,000 LSA updates per second for 10 s at N = 10,000 (N per second at other N), each with a changed metric, half of them \
         Router-LSAs; a server changes its cost every 1.3 s meanwhile (30,000 ms: not within 30 s). An instance that is superseded before it is acknowledged counts as \
         never acknowledged",
    ),
    (
        Row::B6,
        "three servers on one link and a fourth behind another: the speaker of a dead service flushes its prefix; a host falls silent \
         (dead interval 4 s, Hellos every second); the other link loses its carrier",
    ),
    (
        Row::B7,
        "three servers, Hellos every second, nothing happens for 60 s; voluntary context switches; the PT_LOAD segments of the programs \
         (FRR: ospf6d, zebra and libfrr)",
    ),
];

/// What is told, but is no merit.
const INFORMATION: [&str; 2] = ["next hops", "updates sent"];

/// One line: row, size, what, unit.
type Line = (Row, usize, String, String);

/// All that was measured.
#[derive(Debug)]
pub struct Report {
    command: String,
    date: String,
    commit: String,
    machine: String,
    load: String,
    smoke: bool,
    versions: BTreeMap<Make, String>,
    /// Lines in the order they came.
    order: Vec<Line>,
    values: BTreeMap<Line, BTreeMap<Make, Vec<f64>>>,
    failures: Vec<(Vec<Row>, usize, Make, String)>,
    /// How long the whole bench took.
    pub took: Duration,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    row: Row,
    size: usize,
    what: &'a str,
    unit: &'a str,
    device: Make,
    samples: &'a [f64],
}

#[derive(Serialize)]
struct JsonFailure<'a> {
    rows: &'a [Row],
    size: usize,
    device: Make,
    reason: &'a str,
}

#[derive(Serialize)]
struct Json<'a> {
    command: &'a str,
    date: &'a str,
    commit: &'a str,
    machine: &'a str,
    load: &'a str,
    seconds: f64,
    versions: &'a BTreeMap<Make, String>,
    values: Vec<JsonLine<'a>>,
    failures: Vec<JsonFailure<'a>>,
}

impl Report {
    /// Notes where and when.
    pub fn begin(options: &Options) -> Result<Self> {
        let said = |program: &str, words: &[&str]| {
            let output = Command::new(program).args(words).current_dir(env!("CARGO_MANIFEST_DIR")).output();
            output
                .ok()
                .filter(|done| done.status.success())
                .map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned())
        };
        let mut commit = said("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".into());
        if said("git", &["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changed| !changed.is_empty()) {
            commit.push_str(" with changes");
        }
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let of = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
        let gib = of(&memory, "MemTotal").split(' ').next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0)
            / 1048576.0;
        let machine = format!(
            "{cores} × {}, {gib:.0} GiB, Linux {}",
            of(&cpus, "model name"),
            read("/proc/sys/kernel/osrelease").trim()
        );
        let mut command = "cargo run --release -p interop --bin lab -- bench".to_owned();
        if options.smoke {
            command.push_str(" --smoke");
        }
        if !options.rows.is_empty() {
            let rows: Vec<_> = options.rows.iter().map(|row| format!("{row:?}")).collect();
            write!(command, " --rows {}", rows.join(","))?;
        }
        let sizes: Vec<_> = options.sizes.iter().map(usize::to_string).collect();
        write!(command, " --sizes {} --runs {}", sizes.join(","), options.runs)?;
        for (name, file) in [("json", &options.json), ("markdown", &options.markdown)] {
            if let Some(file) = file {
                write!(command, " --{name} {}", file.display())?;
            }
        }
        Ok(Self {
            command,
            date: said("date", &["-u", "+%F %H:%M UTC"]).unwrap_or_default(),
            commit,
            machine,
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            smoke: options.smoke,
            versions: BTreeMap::new(),
            order: vec![],
            values: BTreeMap::new(),
            failures: vec![],
            took: Duration::ZERO,
        })
    }

    /// Takes what a cell told.
    pub fn take(&mut self, plan: &Plan, device: Make, done: Done) {
        if let Some(version) = done.version {
            self.versions.insert(device, version);
        }
        for value in done.values {
            let line = (value.row, plan.size, value.what, value.unit);
            if !self.order.contains(&line) {
                self.order.push(line.clone());
            }
            self.values.entry(line).or_default().entry(device).or_default().push(value.value);
        }
        if let Some(reason) = done.failed {
            self.failures.push((plan.rows.clone(), plan.size, device, reason));
        }
    }

    /// Whose cells failed, and why.
    pub fn failures(&self) -> impl Iterator<Item = (Make, &str)> {
        self.failures.iter().map(|(_, _, device, reason)| (*device, reason.as_str()))
    }

    /// All samples.
    pub fn json(&self) -> Result<String> {
        let lines = self.order.iter().filter_map(|line| Some((line, self.values.get(line)?)));
        let mut values = vec![];
        for ((row, size, what, unit), devices) in lines {
            for (device, samples) in devices {
                values.push(JsonLine { row: *row, size: *size, what, unit, device: *device, samples });
            }
        }
        let failures = self.failures.iter().map(|(rows, size, device, reason)| JsonFailure {
            rows,
            size: *size,
            device: *device,
            reason,
        });
        Ok(serde_json::to_string_pretty(&Json {
            command: &self.command,
            date: &self.date,
            commit: &self.commit,
            machine: &self.machine,
            load: &self.load,
            seconds: self.took.as_secs_f64(),
            versions: &self.versions,
            values,
            failures: failures.collect(),
        })?)
    }

    /// The document.
    pub fn markdown(&self) -> String {
        let mut text = self.head();
        let mut short = vec![];
        for (row, what) in &ROWS {
            let lines: Vec<_> = self.order.iter().filter(|line| line.0 == *row).collect();
            let failed: Vec<_> = self.failures.iter().filter(|(rows, ..)| rows.contains(row)).collect();
            if lines.is_empty() && failed.is_empty() {
                continue;
            }
            let _ = writeln!(text, "\n## {row:?}\n\n{what}.\n");
            let _ = writeln!(text, "| N or k | what | ospfd-lite | FRR | BIRD | ratio |\n|---|---|---|---|---|---|");
            for line in lines {
                let (shown, ratio) = self.line(line);
                text.push_str(&shown);
                if let Some(ratio) = ratio.filter(|ratio| *ratio < 2.0) {
                    short.push(format!("{row:?}, {} at {}: {}", line.2, line.1, times(ratio)));
                }
            }
            let told: BTreeSet<String> =
                failed.into_iter().map(|(_, size, device, reason)| failure(*size, *device, reason)).collect();
            for failure in told {
                let _ = writeln!(text, "\n{failure}");
            }
        }
        let _ = writeln!(text, "\n## Where ospfd-lite is not at least twice as good as the better of the two\n");
        let _ = writeln!(text, "Why, and what bounds it: [micro benches](microbenchmarks.md).\n");
        if short.is_empty() {
            let _ = writeln!(text, "Nowhere in this run.");
        }
        for line in short {
            let _ = writeln!(text, "- {line}");
        }
        text
    }

    fn head(&self) -> String {
        let mut text = String::from("# Benchmarks\n\n");
        let _ = writeln!(
            text,
            "Written by `lab bench`, which runs ospfd-lite, FRR and BIRD as the device under test in turns on one machine, each cell in a \
             sandbox of its own with a fresh device, all fed by the same injector: a program that is DR on a link with the device, and says \
             the LSAs of all virtual routers in a seeded random graph, or is k servers with an adjacency each. A cell of the table is the \
             median of all runs, and least and largest in brackets. The ratio is the better of FRR and BIRD to ours: above 1, ours is \
             better; 2 is the goal. Time is from the instant before the packet is sent to the kernel's notification in the device's \
             namespace."
        );
        if self.smoke {
            let _ = writeln!(text, "\nThis was a smoke run: it measures nothing.");
        }
        let _ = writeln!(text, "\n    {}\n", self.command);
        let _ = writeln!(
            text,
            "| | |\n|---|---|\n| date | {} |\n| commit | {} |\n| machine | {} |",
            self.date, self.commit, self.machine
        );
        let _ = writeln!(
            text,
            "| load average at the start | {} |\n| took | {:.0} s |",
            self.load,
            self.took.as_secs_f64()
        );
        for (device, version) in &self.versions {
            let _ = writeln!(text, "| {} | {version}; {} |", device.name(), device.configuration());
        }
        text
    }

    /// A line of the table, and the ratio.
    fn line(&self, line: &Line) -> (String, Option<f64>) {
        let (_, size, what, unit) = line;
        let of = |device: Make| {
            self.values.get(line).and_then(|devices| devices.get(&device)).and_then(|all| Spread::of(all))
        };
        let [ours, frr, bird] = Make::ALL.map(of);
        let better = [&frr, &bird].into_iter().flatten().map(|spread| spread.median).reduce(f64::min);
        let merit = !INFORMATION.contains(&what.as_str());
        let ratio = ours.as_ref().zip(better).filter(|_| merit).and_then(|(ours, better)| ratio(ours.median, better));
        let cell = |spread: &Option<Spread>| spread.as_ref().map_or_else(|| "-".into(), Spread::shown);
        let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
        let shown = ratio.map_or_else(|| "-".into(), times);
        let shown = if ratio.is_some_and(|ratio| ratio < 2.0) { format!("**{shown}**") } else { shown };
        let text =
            format!("| {size} | {what}{unit} | {} | {} | {} | {shown} |\n", cell(&ours), cell(&frr), cell(&bird));
        (text, ratio)
    }
}

/// How much better ours is, less being better; none if both are nothing.
fn ratio(ours: f64, better: f64) -> Option<f64> {
    match (ours > 0.0, better > 0.0) {
        (false, false) => None,
        (false, true) => Some(f64::INFINITY),
        _ => Some(better / ours),
    }
}

fn times(ratio: f64) -> String {
    match ratio {
        r if r.is_infinite() => "∞".into(),
        r if r >= 10.0 => format!("{r:.0}"),
        r if r >= 1.0 => format!("{r:.1}"),
        r => format!("{r:.2}"),
    }
}

struct Spread {
    median: f64,
    least: f64,
    largest: f64,
}

impl Spread {
    fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let (low, high) = (*sorted.get(middle.saturating_sub(1 - sorted.len() % 2))?, *sorted.get(middle)?);
        Some(Self { median: f64::midpoint(low, high), least: *sorted.first()?, largest: *sorted.last()? })
    }

    fn shown(&self) -> String {
        let Self { median, least, largest } = self;
        if (largest - least).abs() < f64::EPSILON {
            return number(*median);
        }
        format!("{} ({} to {})", number(*median), number(*least), number(*largest))
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// What failed, in a line: of a long reason the beginning and the end, where it says what was seen last.
fn failure(size: usize, device: Make, reason: &str) -> String {
    const EACH: usize = 120;
    let all: Vec<char> = reason.chars().collect();
    let reason: String = match (all.get(..EACH), all.get(all.len().saturating_sub(EACH)..)) {
        (Some(first), Some(last)) if all.len() > 2 * EACH => first.iter().chain(&['…']).chain(last).collect(),
        _ => reason.to_owned(),
    };
    format!("{} at {size} failed: {reason}", device.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_number_is_between_the_two() {
        let spread = Spread::of(&[4.0, 1.0, 2.0, 10.0]).unwrap();
        assert_eq!((spread.median, spread.least, spread.largest), (3.0, 1.0, 10.0));
        assert_eq!(Spread::of(&[7.0, 5.0, 6.0]).unwrap().median, 6.0);
        assert!(Spread::of(&[]).is_none());
    }

    #[test]
    fn a_ratio_below_one_is_a_loss() {
        assert_eq!(ratio(2.0, 1.0).map(times).as_deref(), Some("0.50"));
        assert_eq!(ratio(0.0, 1.0).map(times).as_deref(), Some("∞"));
        assert_eq!(ratio(0.0, 0.0), None);
    }

    #[test]
    fn of_a_long_reason_both_ends_are_told() {
        let long = format!("waited for {}, last seen: nothing", "x".repeat(500));
        let told = failure(256, Make::Frr, &long);
        assert!(
            told.starts_with("FRR at 256 failed: waited for x") && told.ends_with("x, last seen: nothing"),
            "{told}"
        );
        assert!(told.chars().count() < 300 && failure(3, Make::Bird, "short").ends_with(": short"));
    }

    #[test]
    fn a_line_that_is_not_twice_as_good_is_said_plainly() {
        let options = Options {
            rows: vec![],
            sizes: vec![100],
            runs: 1,
            devices: vec![],
            json: None,
            markdown: None,
            smoke: true,
        };
        let mut report = Report::begin(&options).unwrap();
        let plan = Plan { rows: vec![Row::B2], size: 100, runs: 1, steady: None, limit: Duration::ZERO };
        for (device, value) in [(Make::Ours, 10.0), (Make::Frr, 15.0), (Make::Bird, 40.0)] {
            let value = crate::bench::cell::Value { row: Row::B2, what: "time".into(), unit: "ms".into(), value };
            report.take(&plan, device, Done { values: vec![value], ..Done::default() });
        }
        report.take(&plan, Make::Frr, Done { failed: Some("> 240 s".into()), ..Done::default() });
        let text = report.markdown();
        assert!(text.contains("| 100 | time, ms | 10 | 15 | 40 | **1.5** |"), "{text}");
        assert!(text.contains("- B2, time at 100: 1.5") && text.contains("FRR at 100 failed: > 240 s"), "{text}");
        assert!(report.json().unwrap().contains("\"samples\""));
    }
}
