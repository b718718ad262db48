//! One cell of the bench: one device, one size, in a process and a sandbox of its own. It tells each value as soon as it has it,
//! a JSON object per line, so that what comes before a failure is not lost.

use std::{io::Write, time::Duration};

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{device::Make, scenes};
use crate::lab::Lab;

/// A row of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "UPPER")]
#[expect(missing_docs, reason = "what they are stands in `rows`")]
pub enum Row {
    B1,
    B2,
    B3,
    B4,
    B5,
    B6,
    B7,
}

/// One measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// The row.
    pub row: Row,
    /// What was measured.
    pub what: String,
    /// In this unit.
    pub unit: String,
    /// The value.
    pub value: f64,
}

/// Which cell.
#[derive(Debug, Clone, clap::Args)]
pub struct Which {
    /// Its rows, which share what they set up.
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',', required = true)]
    pub rows: Vec<Row>,
    /// The device under test.
    #[arg(long, value_enum)]
    pub device: Make,
    /// How many virtual routers or servers.
    #[arg(long)]
    pub size: usize,
    /// As short as it can be.
    #[arg(long)]
    pub smoke: bool,
    /// Measure the steady state of so many seconds, and not the way there (B4, B7).
    #[arg(long)]
    pub steady: Option<u64>,
}

/// In front of the device's version, in a line of its own.
pub const VERSION: &str = "version ";

/// What a cell says while it runs.
#[derive(Debug)]
pub struct Told<'a> {
    /// Which cell it is.
    pub which: &'a Which,
}

impl Told<'_> {
    /// Whether a row is wanted.
    pub fn wants(&self, row: Row) -> bool {
        self.which.rows.contains(&row)
    }

    /// Tells program and version of the device.
    pub fn version(&self, version: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        Ok(writeln!(out, "{VERSION}{version}")?)
    }

    /// Tells a value.
    pub fn value(&self, row: Row, (what, unit): (&str, &str), value: f64) -> Result<()> {
        if !self.wants(row) {
            return Ok(());
        }
        let value = Value { row, what: what.into(), unit: unit.into(), value };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&value)?)?;
        Ok(out.flush()?)
    }

    /// Tells a time in milliseconds.
    pub fn time(&self, row: Row, what: &str, time: Duration) -> Result<()> {
        self.value(row, (what, "ms"), 1e3 * time.as_secs_f64())
    }

    /// Tells memory in MiB.
    pub fn memory(&self, row: Row, what: &str, bytes: u64) -> Result<()> {
        self.value(row, (what, "MiB"), bytes as f64 / f64::from(1 << 20))
    }
}

/// Runs a cell inside its sandbox.
pub fn run(which: &Which) -> Result<()> {
    let mut lab = Lab::new("bench")?;
    let told = Told { which };
    let done = scenes::run(&mut lab, &told);
    if done.is_err() {
        eprintln!("{}", lab.diagnostics());
    }
    done
}
