//! What happens in the cells.

mod death;
mod network;
mod servers;
mod storm;

use anyhow::{Result, bail};

use super::cell::{Row, Told};
use crate::lab::Lab;

/// Plays the scene of a cell's rows.
pub fn run(lab: &mut Lab, told: &Told<'_>) -> Result<()> {
    let only = |some: &[Row]| told.which.rows.iter().all(|row| some.contains(row));
    match () {
        () if only(&[Row::B1, Row::B2, Row::B3]) => network::run(lab, told),
        () if only(&[Row::B4, Row::B7]) => servers::run(lab, told),
        () if only(&[Row::B5]) => storm::run(lab, told),
        () if only(&[Row::B6]) => death::run(lab, told),
        () => bail!("no scene has {:?}", told.which.rows),
    }
}
