//! What happens in the cells.

mod network;

use anyhow::{Result, bail};

use super::cell::{Row, Told};
use crate::lab::Lab;

/// Plays the scene of a cell's rows.
pub fn run(lab: &mut Lab, told: &Told<'_>) -> Result<()> {
    match told.which.rows.as_slice() {
        rows if rows.iter().all(|row| [Row::B1, Row::B2, Row::B3].contains(row)) => network::run(lab, told),
        rows => bail!("no scene has {rows:?}"),
    }
}
