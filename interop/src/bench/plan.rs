//! Which cells a bench has, and how one is run: a process and a sandbox of its own, with a limit.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{
    Options,
    cell::{Row, VERSION, Value},
    device::Make,
};
use crate::harness::supervise;

/// Cells of all devices for the same rows and size.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Their rows.
    pub rows: Vec<Row>,
    /// How many virtual routers or servers.
    pub size: usize,
    /// How many runs each device gets, in turns.
    pub runs: u32,
    /// Seconds of steady state; then all devices run side by side, as nobody is in a hurry.
    pub steady: Option<u64>,
    /// How long a cell may take.
    pub limit: Duration,
}

/// The numbers of servers of B4.
const SERVERS: [usize; 4] = [3, 16, 64, 256];
/// Servers of B6 and B7.
const FEW: usize = 3;

/// The cells of the wanted rows, in their order.
pub fn plans(options: &Options) -> Vec<Plan> {
    let smoke = options.smoke;
    let wanted = |row: &Row| options.rows.is_empty() || options.rows.contains(row);
    let limit = Duration::from_secs(240);
    let runs = if smoke { 1 } else { options.runs.max(1) };
    let mut plans = vec![];
    let network: Vec<Row> = [Row::B1, Row::B2, Row::B3].into_iter().filter(wanted).collect();
    let sizes = if smoke { vec![100] } else { options.sizes.clone() };
    if !network.is_empty() {
        plans.extend(sizes.iter().map(|&size| Plan { rows: network.clone(), size, runs, steady: None, limit }));
    }
    let few = if smoke { &SERVERS[..1] } else { &SERVERS[..] };
    if wanted(&Row::B4) {
        for &size in few {
            plans.push(Plan { rows: vec![Row::B4], size, runs: runs.min(2), steady: None, limit });
        }
    }
    if wanted(&Row::B5) {
        let size = sizes.iter().copied().max().unwrap_or(100);
        plans.push(Plan { rows: vec![Row::B5], size, runs: 1, steady: None, limit });
    }
    if wanted(&Row::B6) {
        plans.push(Plan { rows: vec![Row::B6], size: FEW, runs, steady: None, limit });
    }
    let steady = Some(if smoke { 2 } else { 60 });
    for &size in few {
        // B7 is what the fewest servers of B4 cost.
        let rows = [Row::B4, Row::B7]
            .into_iter()
            .filter(wanted)
            .filter(|row| *row == Row::B4 || size == FEW)
            .collect::<Vec<_>>();
        if !rows.is_empty() {
            plans.push(Plan { rows, size, runs: 1, steady, limit });
        }
    }
    plans
}

/// What came of a cell.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// What it told.
    pub values: Vec<Value>,
    /// The device's version, if it came that far.
    pub version: Option<String>,
    /// Why it is not complete.
    pub failed: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// Runs one cell to its end or its limit.
pub fn run(plan: &Plan, device: Make, smoke: bool) -> Done {
    let start = Instant::now();
    let mut done = Done::default();
    if let Err(error) = attempt(plan, (device, smoke), &mut done) {
        done.failed = Some(format!("{error:#}"));
    }
    done.took = start.elapsed();
    done
}

fn attempt(plan: &Plan, (device, smoke): (Make, bool), done: &mut Done) -> Result<()> {
    let rows: Vec<String> = plan.rows.iter().map(|row| format!("{row:?}")).collect();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench-cell", "--rows", &rows.join(","), "--size", &plan.size.to_string()]);
    command.args(["--device", device.argument()]);
    if smoke {
        command.arg("--smoke");
    }
    if let Some(seconds) = plan.steady {
        command.args(["--steady", &seconds.to_string()]);
    }
    let ended = supervise(&mut command, plan.limit)?;
    for line in ended.out.lines() {
        match line.strip_prefix(VERSION) {
            Some(version) => done.version = Some(version.into()),
            None => done.values.push(serde_json::from_str(line).with_context(|| format!("a cell told {line:?}"))?),
        }
    }
    if ended.late {
        bail!("> {:.0} s", plan.limit.as_secs_f64());
    }
    if !ended.good {
        // The reason is the last line that `lab` prints; before it come the diagnostics.
        let reason = ended.err.lines().rev().find_map(|line| line.strip_prefix("lab: "));
        bail!("{}", reason.unwrap_or("it ended without a reason"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(rows: &[Row], smoke: bool) -> Options {
        let sizes = vec![100, 10_000];
        Options { rows: rows.to_vec(), sizes, runs: 3, devices: vec![], json: None, markdown: None, smoke }
    }

    #[test]
    fn every_row_has_a_cell_and_a_wanted_one_no_other() {
        for smoke in [false, true] {
            let all: std::collections::BTreeSet<Row> =
                plans(&options(&[], smoke)).into_iter().flat_map(|plan| plan.rows).collect();
            assert_eq!(all.len(), 7);
        }
        let some = plans(&options(&[Row::B2, Row::B7], false));
        let shown: Vec<_> = some.iter().map(|plan| (plan.rows.clone(), plan.size, plan.runs)).collect();
        assert_eq!(shown, [(vec![Row::B2], 100, 3), (vec![Row::B2], 10_000, 3), (vec![Row::B7], 3, 1)]);
    }
}
