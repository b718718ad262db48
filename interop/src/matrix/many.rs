//! A farm of 64 servers, each a process in a namespace of its own.

use std::time::Instant;

use anyhow::Result;

use super::{
    cell::Verdict,
    scenarios::set_cost,
    stage::{Cast, Stage},
};
use crate::lab::Lab;

const SERVERS: u16 = 64;

/// All of them in every kernel, and one that leaves.
pub fn sixty_four(lab: &mut Lab, cast: &Cast) -> Result<Verdict> {
    let mut stage = Stage::open(lab, cast, SERVERS)?;
    let since = Instant::now();
    set_cost(&mut stage, 0, 20)?;
    let out = stage.wait_members(&stage.rest(), since)?;
    let opened = stage.opened;
    let verdict = stage.pass().with("all Full", opened.all_full).with("FIB", opened.all_in_fib);
    Ok(verdict.with("last in FIB", opened.fib).with("one out", out))
}
