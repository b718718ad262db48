//! Waiting for a condition instead of sleeping: a failure tells what was seen last.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

const STEP: Duration = Duration::from_millis(20);

/// What a probe found: the wanted thing, or a description of what there is instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe<T> {
    /// The condition holds.
    Ready(T),
    /// It does not hold yet; this was seen.
    NotYet(String),
}

impl<T> Probe<T> {
    /// `Ready(value)` if `holds`, else `NotYet` with the value's description.
    pub fn when(holds: bool, value: T, seen: impl Into<String>) -> Self {
        if holds { Self::Ready(value) } else { Self::NotYet(seen.into()) }
    }
}

/// Polls `probe` until it is ready. An error of the probe counts as "not yet": a daemon that starts has no socket yet.
pub fn wait_for<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Result<Probe<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let last = match probe() {
            Ok(Probe::Ready(value)) => return Ok(value),
            Ok(Probe::NotYet(seen)) => seen,
            Err(error) => format!("{error:#}"),
        };
        if start.elapsed() >= timeout {
            bail!("waited {:.1} s for {what}; last seen: {last}", start.elapsed().as_secs_f64());
        }
        thread::sleep(STEP);
    }
}

/// Watches that a condition keeps holding for `duration`; the first violation is the error.
pub fn hold_for(what: &str, duration: Duration, mut probe: impl FnMut() -> Result<Probe<()>>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < duration {
        if let Probe::NotYet(seen) = probe()? {
            bail!("{what} held for {:.1} s only, then: {seen}", start.elapsed().as_secs_f64());
        }
        thread::sleep(STEP);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_wait_tells_what_was_seen_last() {
        let mut n = 0;
        let error = wait_for("three", Duration::from_millis(50), || {
            n += 1;
            Ok(Probe::when(false, (), "two"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("for three; last seen: two"), "{error}");
        assert!(n > 1);
    }

    #[test]
    fn a_probe_that_errs_at_first_may_succeed_later() {
        let mut n = 0;
        let got = wait_for("n", Duration::from_secs(5), || {
            n += 1;
            if n < 3 { bail!("no socket") } else { Ok(Probe::Ready(n)) }
        });
        assert_eq!(got.unwrap(), 3);
    }
}
