//! Sources that need time (a network exchange, a program): each in a task of its own, so that none waits for another, and
//! the newest word of each at hand without waiting.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ospf_proto::time::Instant;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::reading::{Monitor, Reading, Said, Unreadable};
use crate::law::random::Random;
use crate::sample::Health;

/// A reading is stale after so many intervals (and the time one may take).
const STALE_INTERVALS: u32 = 3;

/// How often a source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From one reading to the next.
    pub interval: Duration,
    /// The same while the service seems to fail.
    pub fast: Duration,
    /// No reading may take longer.
    pub timeout: Duration,
    /// A reading is stale after this time.
    pub stale: Duration,
}

impl Schedule {
    /// Always the same interval; stale after three.
    pub fn every(interval: Duration, timeout: Duration) -> Self {
        Schedule { interval, fast: interval, timeout, stale: interval * STALE_INTERVALS + timeout }
    }
}

/// What needs time to be read.
pub trait Source: Send + 'static {
    /// Whether its readings say anything of the health.
    const TELLS_HEALTH: bool;

    /// One reading.
    fn take(&mut self) -> impl Future<Output = Result<Said, Unreadable>> + Send;

    /// What it means that a reading did not end in time; the reading was given up.
    fn timed_out(&mut self, after: Duration) -> Result<Said, Unreadable> {
        Err(Unreadable(format!("not read within {} ms", after.as_millis())))
    }

    /// Whether the service seems to fail: the fast interval holds.
    fn hurry(&self) -> bool {
        false
    }
}

/// The word of a source and when it was given.
type Word = Option<(std::time::Instant, Result<Said, Unreadable>)>;

/// A source in a task of its own. The task ends with this value.
#[derive(Debug)]
pub struct Background {
    name: String,
    tells_health: bool,
    stale: Duration,
    newest: watch::Receiver<Word>,
    /// When the newest word was given, on the clock of those who read: the same at every look.
    dated: Option<(std::time::Instant, Instant)>,
    task: JoinHandle<()>,
}

impl Background {
    /// Starts reading. The first reading comes after a part of the interval drawn from `seed`, so that a farm that starts
    /// at once does not probe at once; `wake` is notified when the health that it says changes. Needs a tokio runtime.
    pub fn spawn<S: Source>(name: String, schedule: Schedule, source: S, (seed, wake): (u64, Arc<Notify>)) -> Self {
        let (sender, newest) = watch::channel(None);
        // Never long: nothing is advertised before the first reading.
        let splay = schedule.interval.min(Duration::from_secs(1)).mul_f64(Random::new(seed).uniform(0.0, 1.0));
        let task = tokio::spawn(run(schedule, source, splay, (sender, wake)));
        Background { name, tells_health: S::TELLS_HEALTH, stale: schedule.stale, newest, dated: None, task }
    }
}

async fn run(
    schedule: Schedule,
    mut source: impl Source,
    splay: Duration,
    (sender, wake): (watch::Sender<Word>, Arc<Notify>),
) {
    sleep(splay).await;
    loop {
        let begun = tokio::time::Instant::now();
        let word = match timeout(schedule.timeout, source.take()).await {
            Ok(word) => word,
            Err(_) => source.timed_out(schedule.timeout),
        };
        let health = |word: &Result<Said, Unreadable>| word.as_ref().ok().and_then(|said| said.health.clone());
        let new = health(&word);
        let old = sender.send_replace(Some((std::time::Instant::now(), word)));
        if new != old.and_then(|(_, word)| health(&word)) {
            wake.notify_one();
        }
        let interval = if source.hurry() { schedule.fast } else { schedule.interval };
        tokio::time::sleep_until(begun + interval).await;
    }
}

impl Monitor for Background {
    fn name(&self) -> &str {
        &self.name
    }

    fn tells_health(&self) -> bool {
        self.tells_health
    }

    fn read(&mut self, now: Instant) -> Result<Reading, Unreadable> {
        let word = self.newest.borrow();
        let Some((taken, word)) = word.as_ref() else { return Err(Unreadable("not yet read".into())) };
        let said = word.clone()?;
        let at = match self.dated {
            Some((word, at)) if word == *taken => at,
            _ => Instant::from_epoch(now.since_epoch().saturating_sub(taken.elapsed())),
        };
        self.dated = Some((*taken, at));
        Ok(Reading::new(at, self.stale, said))
    }

    fn pulse(&mut self) -> Option<Health> {
        self.newest.borrow().as_ref().and_then(|(_, word)| word.as_ref().ok()?.health.clone())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says how often it was read; hangs from the third time on.
    struct Hanging(u64);

    impl Source for Hanging {
        const TELLS_HEALTH: bool = false;

        async fn take(&mut self) -> Result<Said, Unreadable> {
            self.0 += 1;
            if self.0 >= 3 {
                std::future::pending::<()>().await;
            }
            Ok(Said { detail: self.0.to_string(), ..Said::default() })
        }
    }

    fn spawn(source: impl Source) -> Background {
        let schedule = Schedule::every(Duration::from_millis(100), Duration::from_millis(50));
        Background::spawn("test".into(), schedule, source, (1, Arc::new(Notify::new())))
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_hangs_is_given_up_in_time_and_says_so() {
        let mut monitor = spawn(Hanging(0));
        let now = Instant::from_epoch(Duration::from_secs(9));
        assert_eq!(monitor.read(now), Err(Unreadable("not yet read".into())));
        sleep(Duration::from_millis(160)).await;
        assert!(monitor.read(now).is_ok());
        sleep(Duration::from_millis(260)).await;
        assert_eq!(monitor.read(now), Err(Unreadable("not read within 50 ms".into())));
    }

    #[tokio::test]
    async fn a_word_has_the_same_time_at_every_look() {
        let mut monitor = spawn(Hanging(1));
        let start = std::time::Instant::now();
        let now = || Instant::from_epoch(Duration::from_secs(9) + start.elapsed());
        let first = loop {
            match monitor.read(now()) {
                Ok(reading) => break reading,
                Err(_) => sleep(Duration::from_millis(1)).await,
            }
        };
        for _ in 0..20 {
            let again = monitor.read(now()).map(|reading| reading.at);
            assert_eq!(again, Ok(first.at));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_health_wakes() {
        struct Alive;
        impl Source for Alive {
            const TELLS_HEALTH: bool = true;

            async fn take(&mut self) -> Result<Said, Unreadable> {
                Ok(Said { health: Some(Health::Alive), ..Said::default() })
            }
        }
        let wake = Arc::new(Notify::new());
        let schedule = Schedule::every(Duration::from_secs(5), Duration::from_secs(1));
        let _monitor = Background::spawn("test".into(), schedule, Alive, (1, wake.clone()));
        timeout(Duration::from_secs(2), wake.notified()).await.expect("woken at the first reading");
        assert!(timeout(Duration::from_secs(20), wake.notified()).await.is_err(), "no change, no wake");
    }
}
