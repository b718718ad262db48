//! The live picture: a table redrawn in place on a terminal, plain lines elsewhere.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _, stdout},
};

use super::stage::{Sample, Told};

/// A server in the table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub name: String,
    pub told: Option<Told>,
    pub share: f64,
    pub answered: u64,
    pub dropped: u64,
    pub cost_changes: u32,
}

/// The table of servers.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<8}{:>8}{:>10}{:>10}{:>8}{:>8}{:>10}{:>10}{:>9}",
        "server", "load", "offered", "capacity", "cost", "share", "answered", "dropped", "changes"
    );
    for row in rows {
        let told = row.told.unwrap_or_default();
        let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
        let load =
            told.offered.zip(told.capacity).map_or_else(|| "-".into(), |(x, mu)| format!("{:.0} %", 100.0 * x / mu));
        let cost = told.cost.map_or_else(|| "-".to_owned(), |cost| cost.to_string());
        let share = format!("{:.1} %", 100.0 * row.share);
        let _ = write!(
            text,
            "\n{:<8}{load:>8}{:>10}{:>10}{cost:>8}{share:>8}{:>10}{:>10}{:>9}",
            row.name,
            shown(told.offered),
            shown(told.capacity),
            row.answered,
            row.dropped,
            row.cost_changes
        );
    }
    text
}

/// Where the picture goes.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    /// Lines of the table that stands at the end of the terminal.
    drawn: usize,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { terminal: stdout().is_terminal(), drawn: 0 }
    }

    /// Shows a sample.
    pub(super) fn show(&mut self, sample: &Sample, act: &str, rows: &[Row]) {
        let clients = &sample.clients;
        let head = format!(
            "{:5.0} s  act {act}: {} asked, {} answered, {} lost in a second",
            sample.at.as_secs_f64(),
            clients.sent,
            clients.answered(),
            clients.lost
        );
        if self.terminal {
            let text = format!("{head}\n{}", table(rows));
            self.clear();
            println!("{text}");
            self.drawn = text.lines().count();
        } else {
            let server = |row: &Row| {
                let told = row.told.unwrap_or_default();
                let cost = told.cost.map_or_else(|| "-".to_owned(), |cost| cost.to_string());
                let capacity = told.capacity.map_or_else(|| "-".to_owned(), |mu| format!("{mu:.0}"));
                format!("{} cost {cost} capacity {capacity} share {:.0} %", row.name, 100.0 * row.share)
            };
            println!("{head} | {}", rows.iter().map(server).collect::<Vec<_>>().join(" | "));
        }
    }

    /// Prints what stays.
    pub(super) fn say(&mut self, text: &str) {
        self.clear();
        println!("{text}");
    }

    fn clear(&mut self) {
        if self.drawn > 0 {
            // Cursor up, and erase to the end of the screen.
            print!("\x1b[{}A\x1b[J", self.drawn);
            let _ = stdout().flush();
            self.drawn = 0;
        }
    }
}
