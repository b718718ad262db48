//! `lab conformance`: the conformance table (`docs/conformance.md`) held against the code.
//!
//! `table` parses the document; `sources` finds the tests and functions that it names; `mutants` breaks the code of
//! drawn rows, one at a time and in a copy, and expects the test that the row names to fail.

mod mutants;
mod sources;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

pub use mutants::{Mutant, Outcome, mutants};
pub use sources::Sources;
pub use table::{CodeRef, Row, Status, TestRef, parse};

/// The table, from the root of the workspace.
const TABLE: &str = "docs/conformance.md";

/// Options of `lab conformance`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What draws the rows to be broken.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many rows to break; 0: only check that what the table names exists.
    #[arg(long, default_value_t = 0)]
    mutate: usize,
    /// Break this row, not drawn ones.
    #[arg(long)]
    row: Vec<String>,
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The table of a workspace.
pub fn read(workspace: &Path) -> Result<Vec<Row>> {
    let path = workspace.join(TABLE);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    parse(&text).with_context(|| TABLE)
}

/// What is wrong with the table: rows without what their status calls for, names of nothing, mutants of no row.
pub fn check(workspace: &Path, rows: &[Row]) -> Result<Vec<String>> {
    let mut sources = Sources::new(workspace);
    let mut problems = Vec::new();
    let mut ids = BTreeSet::new();
    for row in rows {
        let mut problem = |what: String| problems.push(format!("line {}, {}: {what}", row.line, row.id));
        if !ids.insert(&row.id) {
            problem("another row has this id".to_owned());
        }
        if row.status == Status::Yes && (row.tests.is_empty() || row.code.is_empty()) {
            problem("`yes` calls for a test and for the code".to_owned());
        }
        if matches!(row.status, Status::No | Status::NotApplicable) && row.reason.is_empty() {
            problem("this status calls for a reason".to_owned());
        }
        for test in &row.tests {
            if let Err(error) = sources.test(test) {
                problem(format!("{error:#}"));
            }
        }
        for code in &row.code {
            if let Err(error) = sources.function(code) {
                problem(format!("{error:#}"));
            }
        }
    }
    for mutant in mutants(workspace)? {
        match rows.iter().find(|row| row.id == mutant.row) {
            Some(row) if row.status == Status::Yes => {}
            _ => problems.push(format!("{}: no row of status `yes` has this id", mutant.patch.display())),
        }
        if let Err(error) = mutant.applies(workspace) {
            problems.push(format!("{error:#}"));
        }
    }
    Ok(problems)
}

/// Checks the table, then breaks as many rows as are asked for. Says whether all is well.
pub fn run(options: &Options) -> Result<bool> {
    let workspace = workspace();
    let rows = read(&workspace)?;
    let problems = check(&workspace, &rows)?;
    for problem in &problems {
        println!("{problem}");
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        *counts.entry(row.status.name()).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let all = mutants(&workspace)?;
    println!("{} rows ({}), {} of them with a mutant", rows.len(), counts.join(", "), all.len());
    if !problems.is_empty() {
        println!("{} problems", problems.len());
        return Ok(false);
    }
    let drawn = if options.row.is_empty() {
        mutants::draw(all, options.seed, options.mutate)
    } else {
        all.into_iter().filter(|mutant| options.row.contains(&mutant.row)).collect()
    };
    if drawn.len() < options.mutate.max(options.row.len()) {
        bail!("only {} rows have a mutant", drawn.len());
    }
    if drawn.is_empty() {
        return Ok(true);
    }
    let by_id: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    mutants::break_each(&workspace, &by_id, &drawn)
}
