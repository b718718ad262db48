//! The statistics of NSD, Knot DNS and Unbound, by the control program of each. They are asked without being reset.

use std::fmt;
use std::path::PathBuf;

use super::totals::Tally;
use crate::monitor::reading::{Unreadable, plausible_total};

/// Which name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// NSD: `nsd-control stats_noreset`.
    Nsd,
    /// Knot DNS: `knotc stats`, which needs `mod-stats` as a global module.
    Knot,
    /// Unbound: `unbound-control stats_noreset`.
    Unbound,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Nsd => "nsd",
            Kind::Knot => "knot",
            Kind::Unbound => "unbound",
        })
    }
}

/// A name server and how its control program reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Which name server.
    pub kind: Kind,
    /// The control program, if it is not the one found by PATH.
    pub program: Option<PathBuf>,
    /// The configuration of the name server, if not its default.
    pub config: Option<PathBuf>,
    /// The control socket (Knot DNS), if not its default.
    pub socket: Option<PathBuf>,
}

impl Control {
    /// What is run.
    pub fn command(&self) -> Vec<String> {
        let (program, ask): (_, &[&str]) = match self.kind {
            Kind::Nsd => ("nsd-control", &["stats_noreset"]),
            // Without -f the counters that are 0 are left out.
            Kind::Knot => ("knotc", &["-f", "stats", "mod-stats.server-operation"]),
            Kind::Unbound => ("unbound-control", &["stats_noreset"]),
        };
        let text = |path: &PathBuf| path.display().to_string();
        let mut command = vec![self.program.as_ref().map_or_else(|| program.to_owned(), text)];
        for (option, path) in [("-c", &self.config), ("-s", &self.socket)] {
            if let Some(path) = path {
                command.extend([option.to_owned(), text(path)]);
            }
        }
        command.extend(ask.iter().map(|word| (*word).to_owned()));
        command
    }

    /// The totals in what it said.
    pub(super) fn read(&self, text: &str) -> Result<Tally, Unreadable> {
        let total = |key| number(text, key).and_then(plausible_total);
        match self.kind {
            Kind::Nsd => {
                let uptime = Some(number(text, "time.boot")?);
                Ok(Tally { served: total("num.queries")?, uptime, ..Tally::default() })
            }
            Kind::Knot => Ok(Tally { served: total("mod-stats.server-operation[query]")?, ..Tally::default() }),
            Kind::Unbound => {
                let (taken, lost) = (total("total.num.queries")?, total("total.requestlist.exceeded")?);
                Ok(Tally {
                    served: taken.saturating_sub(lost),
                    dropped: Some(lost),
                    uptime: Some(number(text, "time.up")?),
                    ..Tally::default()
                })
            }
        }
    }
}

/// The value of `key` in lines such as `num.queries=7` and `server.zone-count = 1`.
fn number(text: &str, key: &str) -> Result<f64, Unreadable> {
    let value = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
        .ok_or_else(|| Unreadable(format!("no {key} is told")))?;
    value.parse().map_err(|_| Unreadable(format!("{key} is \"{value:.40}\", which is no number")))
}
