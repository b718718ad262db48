//! The self-test of a service that is out of its class: started when the law asks for it, at intervals, its result handed to
//! the law once.

use std::time::Duration;

use ospf_proto::time::Instant;
use tracing::{info, warn};

use crate::config::SelfTestConfig;
use crate::monitor::Unreadable;
use crate::monitor::probe::SelfTest;

/// Runs the self-tests of one service.
#[derive(Debug)]
pub struct Tester {
    config: Option<SelfTestConfig>,
    running: Option<SelfTest>,
    last: Option<Instant>,
    /// How many have ended: each makes a hole in the counts, since its queries are nobody's.
    ended: u64,
    outcome: Option<String>,
}

impl Tester {
    /// Of a service for which a self-test is configured, or not.
    pub fn new(config: Option<SelfTestConfig>) -> Self {
        Tester { config, running: None, last: None, ended: 0, outcome: None }
    }

    /// Whether one is under way: what is counted meanwhile is our own.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// How many have ended.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// What the last one said, for people.
    pub fn outcome(&self) -> Option<&str> {
        self.outcome.as_deref()
    }

    /// One look: begins a test if one is `wanted` and due, gives the result of one that has ended.
    pub fn step(
        &mut self,
        now: Instant,
        (wanted, every): (bool, Duration),
        service: &str,
    ) -> Option<Result<f64, Unreadable>> {
        let config = self.config.as_ref()?;
        if !wanted {
            // Back in the class: what it would say is of no use any more.
            self.running = None;
            self.last = None;
            return None;
        }
        if let Some(result) = self.running.as_mut().and_then(SelfTest::poll) {
            self.running = None;
            self.ended += 1;
            return match result {
                Ok(rate) => {
                    info!("{service}: self-test: {rate:.0} q/s of our own queries are answered");
                    self.outcome = Some(format!("{rate:.0} q/s"));
                    Some(Ok(rate))
                }
                Err(error) => {
                    warn!("{service}: no self-test: {error}; the hold-down counts");
                    self.outcome = Some(error.to_string());
                    Some(Err(error))
                }
            };
        }
        let due = self.last.is_none_or(|last| now.since(last) >= every);
        if self.running.is_none() && due {
            self.running = Some(SelfTest::start(config.dns.clone(), config.options));
            self.last = Some(now);
        }
        None
    }
}
