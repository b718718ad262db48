//! The statistics channel of BIND: `/json/v1/server`.

use serde_json::Value;

use super::totals::Tally;
use crate::monitor::reading::{Unreadable, plausible_total};

/// The totals of a document.
pub(super) fn read(text: &str) -> Result<Tally, Unreadable> {
    let document: Value =
        serde_json::from_str(text).map_err(|error| Unreadable(format!("no JSON of a statistics channel: {error}")))?;
    let born = document.get("boot-time").and_then(Value::as_str);
    let born = born.ok_or_else(|| Unreadable("no `boot-time`: not the statistics of BIND 9.10 or newer".into()))?;
    // What is 0 is left out.
    let total = |name: &str| match document.pointer("/nsstats").and_then(|stats| stats.get(name)) {
        None => Ok(0),
        Some(value) => {
            let number = value.as_f64().ok_or_else(|| Unreadable(format!("{name} is {value}, which is no number")))?;
            plausible_total(number)
        }
    };
    let (taken, lost) = (total("Requestv4")? + total("Requestv6")?, total("QryDropped")?);
    Ok(Tally {
        served: taken.saturating_sub(lost),
        dropped: Some(lost),
        born: Some(born.to_owned()),
        ..Tally::default()
    })
}
