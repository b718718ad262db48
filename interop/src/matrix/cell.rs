//! One cell of the matrix: what it came to, in words and figures.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What a cell came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Result {
    /// As it should be.
    Pass,
    /// Not as it should be, and the peer's known doing.
    PeerLimitation,
    /// Not as it should be.
    Failure,
    /// There is nothing to play.
    NotApplicable,
}

/// A measured figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What.
    pub what: String,
    /// How much.
    pub value: f64,
    /// `s`, or empty for a number.
    pub unit: String,
}

impl fmt::Display for Figure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, value, unit } = self;
        match unit.as_str() {
            "s" if *value < 0.9995 => write!(out, "{what} {:.0} ms", 1000.0 * value),
            "s" => write!(out, "{what} {value:.1} s"),
            _ => write!(out, "{what} {value:.0}"),
        }
    }
}

/// What a cell came to, with all that there is to say about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// In a word.
    pub result: Result,
    /// Who the peer was.
    pub version: String,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// The reason, or what was observed.
    pub text: String,
    /// What the limitation is, and where it is written.
    pub limitation: Option<String>,
}

impl Default for Verdict {
    fn default() -> Self {
        Self::new(Result::Pass, "")
    }
}

impl Verdict {
    /// Nothing but a result and its reason.
    pub fn new(result: Result, text: &str) -> Self {
        Self { result, version: String::new(), figures: vec![], text: text.into(), limitation: None }
    }

    /// The same with one more time.
    pub fn with(mut self, what: &str, time: Duration) -> Self {
        self.figures.push(Figure { what: what.into(), value: time.as_secs_f64(), unit: "s".into() });
        self
    }

    /// The same with median and worst of some times.
    pub fn with_spread(self, what: &str, times: &[Duration]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let (Some(median), Some(worst)) = (sorted.get(sorted.len() / 2), sorted.last()) else { return self };
        self.with(what, *median).with(&format!("{what}, worst"), *worst)
    }

    /// The same with one more number.
    pub fn with_number(mut self, what: &str, number: usize) -> Self {
        self.figures.push(Figure { what: what.into(), value: number as f64, unit: String::new() });
        self
    }

    /// The figures in a line.
    pub fn measured(&self) -> String {
        self.figures.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// A cell of the matrix with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the peer's row.
    pub peer: String,
    /// The peer's role.
    pub role: String,
    /// Name of the scenario.
    pub scenario: String,
    /// What it came to.
    pub verdict: Verdict,
}
