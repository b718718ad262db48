//! All sources of one service together: what is stale, what is excused, what the law gets.
//!
//! Fail-static: a source that cannot be read changes nothing while its last reading holds, and then makes the health
//! unknown (if it tells health) or the load unknown (the law keeps its figures). A probe that gets its answers late or not
//! at all beside a full queue that moves has found an overload, which is the law's business, and no fault: else a farm that
//! is overloaded as a whole would withdraw as a whole.

use std::time::Duration;

use ospf_proto::time::Instant;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::reading::{Counts, Monitor, Queue, Reading, Unreadable};
use crate::sample::{Health, Load, Sample};

/// Above this part of the room a queue explains late answers.
const FULL: f64 = 0.25;
/// Above this utilisation the service has no room for a probe.
const SATURATED: f64 = 0.95;
/// An answer that is missed now may have been lost in the queue so long ago.
const EXCUSE: Duration = Duration::from_secs(5);
/// A service that took no query for this time, by the times of the readings, does not move: its full queue is no excuse.
const PROGRESS: Duration = Duration::from_secs(2);

/// The sources of one service.
#[derive(Debug)]
pub struct Board {
    service: String,
    sources: Vec<Slot>,
    pressure: Pressure,
    busy: Busy,
    taken: Taken,
    /// The counts that the law has had already.
    counted: Option<Instant>,
    /// Why a fault was not counted, if one was not.
    excuse: Option<&'static str>,
}

#[derive(Debug)]
struct Slot {
    monitor: Box<dyn Monitor>,
    last: Option<Reading>,
    /// Why it cannot be read, and since when.
    trouble: Option<(Instant, Unreadable)>,
    stale: bool,
    failures: u64,
}

/// What `explain` shows of one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceRow {
    /// What it watches.
    pub name: String,
    /// Age of its last reading, seconds.
    pub age: Option<f64>,
    /// That reading does not hold any more.
    pub stale: bool,
    /// What it said, in words.
    pub said: String,
    /// Why it cannot be read, if so.
    pub error: Option<String>,
    /// How often it began to be unreadable.
    pub failures: u64,
}

impl Slot {
    fn read(&mut self, now: Instant, service: &str) {
        match self.monitor.read(now) {
            Ok(reading) => {
                if let Some((since, _)) = self.trouble.take().filter(|_| self.last.is_some()) {
                    let seconds = now.since(since).as_secs_f64();
                    info!("{service}: {} can be read again after {seconds:.1} s", self.monitor.name());
                }
                self.last = Some(reading);
            }
            Err(error) => {
                if self.trouble.is_none() && self.last.is_some() {
                    warn!(
                        "{service}: {} cannot be read: {error}; its last word holds until it is stale",
                        self.monitor.name()
                    );
                }
                self.failures += u64::from(self.trouble.is_none());
                let since = self.trouble.take().map_or(now, |(since, _)| since);
                self.trouble = Some((since, error));
            }
        }
        let stale = self.last.as_ref().is_some_and(|reading| now >= reading.until);
        if stale && !self.stale {
            warn!("{service}: {} is stale: nothing is concluded from it until it can be read", self.monitor.name());
        }
        self.stale = stale;
    }

    fn fresh(&self) -> Option<&Reading> {
        self.last.as_ref().filter(|_| !self.stale)
    }

    /// What it says of the health; none if it never does.
    fn health(&self) -> Option<Health> {
        if !self.monitor.tells_health() {
            return None;
        }
        if let Some(health) = self.fresh().and_then(|reading| reading.said.health.clone()) {
            return Some(health);
        }
        let why = self.trouble.as_ref().map_or_else(|| "says nothing".to_owned(), |(_, error)| error.to_string());
        let stale = if self.stale { " (stale)" } else { "" };
        Some(Health::Unknown(format!("{}: {why}{stale}", self.monitor.name())))
    }

    fn row(&self, now: Instant) -> SourceRow {
        let said = self.last.as_ref().map(|reading| &reading.said);
        let mut words: Vec<String> = Vec::new();
        if let Some(said) = said {
            words.extend(said.health.as_ref().map(|health| match health.why() {
                None => "alive".to_owned(),
                Some(why) => why.to_owned(),
            }));
            words.extend(said.utilisation.map(|utilisation| format!("{:.0} % used", 100.0 * utilisation)));
            words.extend(
                said.queue.map(|queue| format!("queue {:.0} %, {} dropped", 100.0 * queue.fill(), queue.dropped)),
            );
            words.extend(
                said.counts
                    .map(|counts| format!("{} {}", counts.served, if counts.arrived { "arrived" } else { "served" })),
            );
            words.extend(Some(said.detail.clone()).filter(|detail| !detail.is_empty()));
        }
        SourceRow {
            name: self.monitor.name().to_owned(),
            age: self.last.as_ref().map(|reading| now.since(reading.at).as_secs_f64()),
            stale: self.stale,
            said: words.join("; "),
            error: self.trouble.as_ref().map(|(_, error)| error.to_string()),
            failures: self.failures,
        }
    }
}

impl Board {
    /// The board of `service`.
    pub fn new(service: &str, monitors: Vec<Box<dyn Monitor>>) -> Self {
        let slot = |monitor| Slot { monitor, last: None, trouble: None, stale: false, failures: 0 };
        Board {
            service: service.to_owned(),
            sources: monitors.into_iter().map(slot).collect(),
            pressure: Pressure::default(),
            busy: Busy::default(),
            taken: Taken::default(),
            counted: None,
            excuse: None,
        }
    }

    /// Health alone, from what is at hand within microseconds and the last words of the others.
    pub fn pulse(&mut self, now: Instant) -> Health {
        for slot in &mut self.sources {
            if let (Some(health), Some(last)) = (slot.monitor.pulse(), &mut slot.last) {
                last.said.health = Some(health);
            }
        }
        self.health(now)
    }

    /// Reads all sources.
    pub fn sample(&mut self, now: Instant) -> Sample {
        for slot in &mut self.sources {
            slot.read(now, &self.service);
        }
        // The queue of the source that counts; else the first.
        let counted = self.newest(|reading| reading.said.queue.filter(|_| reading.said.counts.is_some()));
        let queue = counted.or_else(|| self.newest(|reading| reading.said.queue)).map(|(_, queue)| queue);
        let counts = self.newest(|reading| reading.said.counts);
        // What arrived in front of a queue that nobody sees is not what the service took.
        let tells = counts.is_some_and(|(_, counts)| !counts.arrived || queue.is_some());
        let counts = counts.map(|(at, counts)| (at, self.taken.of(counts, queue.unwrap_or_default())));
        let said = || self.sources.iter().filter_map(Slot::fresh);
        let fill = said().filter_map(|reading| reading.said.queue).map(|queue| queue.fill()).fold(0.0, f64::max);
        let used = said().filter_map(|reading| Some((reading.at, reading.said.utilisation?)));
        let utilisation = used.max_by(|(_, a), (_, b)| a.total_cmp(b));
        let taken = counts.filter(|_| tells).map(|(at, counts)| (at, counts.served));
        self.pressure.note((now, fill), taken, utilisation);
        let utilisation = utilisation.map(|(_, utilisation)| utilisation);
        let busy = self.busy.add(now, utilisation);
        let load = counts.filter(|(at, _)| self.counted != Some(*at)).map(|(at, counts)| {
            self.counted = Some(at);
            together(counts, queue.unwrap_or_default(), busy)
        });
        Sample { at: now, health: self.health(now), load, counted: self.counted }
    }

    /// What the first source that knows has said last, unless it is stale.
    fn newest<T>(&self, of: impl Fn(&Reading) -> Option<T>) -> Option<(Instant, T)> {
        self.sources.iter().find_map(|slot| slot.fresh().and_then(|reading| Some((reading.at, of(reading)?))))
    }

    fn health(&mut self, now: Instant) -> Health {
        let worst = self.sources.iter().filter_map(Slot::health).max().unwrap_or(Health::Alive);
        let (health, excuse) = self.pressure.excuse(now, worst);
        if excuse.is_some() && self.excuse.is_none() {
            warn!("{}: a probe fails, but {}: an overload and no fault", self.service, excuse.unwrap_or_default());
        }
        self.excuse = excuse;
        health
    }

    /// Why a probe that fails is not counted, if so.
    pub fn excuse(&self) -> Option<&'static str> {
        self.excuse
    }

    /// The sources, for `explain`.
    pub fn rows(&self, now: Instant) -> Vec<SourceRow> {
        self.sources.iter().map(|slot| slot.row(now)).collect()
    }

    /// What makes the readings doubtful.
    pub fn warnings(&mut self) -> Vec<String> {
        self.sources.iter_mut().flat_map(|slot| slot.monitor.warnings()).collect()
    }

    /// Queries served, ever, and when that was read.
    pub fn served(&self) -> Option<(Instant, u64)> {
        self.newest(|reading| reading.said.counts).map(|(at, counts)| (at, counts.served))
    }

    /// Part of the queue in use, as read last.
    pub fn fill(&self) -> Option<f64> {
        self.newest(|reading| reading.said.queue).map(|(_, queue)| queue.fill())
    }
}

fn together(counts: Counts, queue: Queue, busy: Option<u64>) -> Load {
    Load {
        served: counts.served,
        dropped: queue.dropped.saturating_add(counts.dropped.unwrap_or(0)),
        busy: counts.busy.or(busy),
        queue: queue.waiting,
        buffer: queue.room,
        generation: counts.generation ^ queue.generation.rotate_left(1),
    }
}

/// Signs of an overload.
#[derive(Clone, Copy, Debug, Default)]
struct Pressure {
    full: Option<Instant>,
    saturated: Option<Instant>,
    /// What the service took in total, and when that was read; none while nobody tells.
    taken: Option<(Instant, u64)>,
    /// When that total was seen to move last, or to be told first.
    progress: Option<Instant>,
}

impl Pressure {
    fn note(
        &mut self,
        (now, fill): (Instant, f64),
        taken: Option<(Instant, u64)>,
        utilisation: Option<(Instant, f64)>,
    ) {
        if fill > FULL {
            self.full = Some(now);
        }
        if let Some((at, _)) = utilisation.filter(|(_, utilisation)| *utilisation >= SATURATED) {
            self.saturated = Some(at);
        }
        let before = std::mem::replace(&mut self.taken, taken);
        if before.map(|(_, total)| total) != taken.map(|(_, total)| total) {
            self.progress = taken.map(|(at, _)| at);
        }
    }

    /// The health without the faults that an overload explains. Only readings that say so show that a service does not
    /// move: in an overload those who count are slow too.
    fn excuse(&self, now: Instant, health: Health) -> (Health, Option<&'static str>) {
        let recent = |at: Option<Instant>| at.is_some_and(|at| now.since(at) <= EXCUSE);
        let (full, saturated) = (recent(self.full), recent(self.saturated));
        let moves = self.taken.zip(self.progress).map(|((read, _), moved)| read.since(moved) < PROGRESS);
        match (health, moves) {
            (Health::Slow(_) | Health::Silent(_), Some(true)) if full => {
                (Health::Alive, Some("its queue is full and moves"))
            }
            (Health::Slow(_) | Health::Silent(_), Some(true)) if saturated => {
                (Health::Alive, Some("it is used to capacity and answers others"))
            }
            // Nobody counts its answers: it may be overloaded or stuck. What it is worth is for the law to weigh.
            (Health::Silent(why), None) if full || saturated => (Health::Slow(why), None),
            (health, _) => (health, None),
        }
    }
}

/// What the service took of what arrived: all that its queue did not drop.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// Generation, arrivals and drops at the beginning.
    origin: Option<(u64, u64, u64)>,
    most: u64,
}

impl Taken {
    fn of(&mut self, counts: Counts, queue: Queue) -> Counts {
        if !counts.arrived {
            return counts;
        }
        let generation = counts.generation ^ queue.generation.rotate_left(1);
        let origin = self.origin.filter(|(of, ..)| *of == generation);
        let (_, arrived, dropped) = *self.origin.insert(origin.unwrap_or((generation, counts.served, queue.dropped)));
        if origin.is_none() {
            self.most = 0;
        }
        // The drops were read after the arrivals and may be ahead of them: nothing is taken back for that.
        let kept = counts.served.saturating_sub(arrived).saturating_sub(queue.dropped.saturating_sub(dropped));
        self.most = self.most.max(kept);
        Counts { served: self.most, arrived: false, ..counts }
    }
}

/// Busy time made of utilisations.
#[derive(Clone, Copy, Debug, Default)]
struct Busy {
    micros: f64,
    last: Option<Instant>,
}

impl Busy {
    fn add(&mut self, now: Instant, utilisation: Option<f64>) -> Option<u64> {
        let last = self.last.take();
        let utilisation = utilisation?;
        self.last = Some(now);
        self.micros += last.map_or(0.0, |last| now.since(last).as_secs_f64() * 1e6 * utilisation);
        Some(self.micros as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(served: u64, generation: u64) -> Counts {
        Counts { served, generation, arrived: true, ..Counts::default() }
    }

    fn dropped(dropped: u64, generation: u64) -> Queue {
        Queue { dropped, generation, ..Queue::default() }
    }

    #[test]
    fn what_arrived_less_what_the_queue_dropped_was_taken() {
        let mut taken = Taken::default();
        assert_eq!(taken.of(arrived(1000, 0), dropped(5000, 1)).served, 0);
        assert_eq!(taken.of(arrived(1300, 0), dropped(5100, 1)).served, 200);
        // The drops are ahead of the arrivals.
        assert_eq!(taken.of(arrived(1300, 0), dropped(5150, 1)).served, 200);
        assert_eq!(taken.of(arrived(1400, 0), dropped(5150, 1)).served, 250);
        // Other sockets, another counter.
        assert_eq!(taken.of(arrived(1500, 0), dropped(0, 2)).served, 0);
        assert_eq!(taken.of(arrived(1600, 0), dropped(0, 2)).served, 100);
        assert_eq!(taken.of(arrived(3, 1), dropped(0, 2)).served, 0);
        let counts = Counts { served: 7, ..Counts::default() };
        assert_eq!(taken.of(counts, dropped(5, 2)), counts, "counted behind the queue");
    }

    #[test]
    fn a_service_that_is_stuck_takes_nothing_however_much_arrives() {
        let mut taken = Taken::default();
        let served = |taken: &mut Taken, k: u64| taken.of(arrived(100 * k, 0), dropped(100 * k, 1)).served;
        served(&mut taken, 0);
        assert!((1..50).all(|k| served(&mut taken, k) == 0));
    }

    #[test]
    fn what_the_service_lost_is_added_to_what_its_queue_dropped() {
        let counts = Counts { served: 9, dropped: Some(3), ..Counts::default() };
        assert_eq!(together(counts, dropped(40, 0), None).dropped, 43);
        assert_eq!(together(Counts { dropped: None, ..counts }, dropped(40, 0), None).dropped, 40);
    }
}
