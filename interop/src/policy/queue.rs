//! A server as a queue: first in, first out, exponential service, a bounded buffer; every query is an event of its own.

use std::collections::VecDeque;

use server_speaker::law::random::Random;

/// A query on its way through a server.
#[derive(Clone, Copy, Debug)]
struct Query {
    arrived: f64,
    done: f64,
}

/// A query that was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// When it was asked.
    pub arrived: f64,
    /// How long it took.
    pub took: f64,
}

/// A server.
#[derive(Debug)]
pub struct Queue {
    /// Capacity, queries per second.
    rate: f64,
    buffer: usize,
    queue: VecDeque<Query>,
    /// All service times so far, the future ones of the queue included.
    work: f64,
    /// Queries that were answered.
    pub served: u64,
    /// Queries that found the buffer full.
    pub dropped: u64,
}

impl Queue {
    /// An idle server that answers `rate` queries per second and keeps `buffer` waiting.
    pub fn new(rate: f64, buffer: usize) -> Self {
        Queue { rate, buffer, queue: VecDeque::new(), work: 0.0, served: 0, dropped: 0 }
    }

    /// A query arrives; false if the buffer is full. What is done must have been [taken](Queue::finish) before.
    pub fn arrive(&mut self, now: f64, random: &mut Random) -> bool {
        // One is being served, the others wait.
        if self.queue.len() > self.buffer {
            self.dropped += 1;
            return false;
        }
        let takes = exponential(random, self.rate);
        let start = self.queue.back().map_or(now, |last| last.done.max(now));
        self.work += takes;
        self.queue.push_back(Query { arrived: now, done: start + takes });
        true
    }

    /// Takes out the next query that is done by `now`.
    pub fn finish(&mut self, now: f64) -> Option<Answer> {
        let first = self.queue.front().filter(|first| first.done <= now)?;
        let answer = Answer { arrived: first.arrived, took: first.done - first.arrived };
        self.queue.pop_front();
        self.served += 1;
        Some(answer)
    }

    /// Queries waiting or being served.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The capacity now.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Changes the capacity; what is in the queue is served faster or slower from now on.
    pub fn set_rate(&mut self, now: f64, rate: f64) {
        let stretch = self.rate / rate;
        let end = self.end(now);
        for query in self.queue.iter_mut().filter(|query| query.done > now) {
            query.done = now + (query.done - now) * stretch;
        }
        self.work += self.end(now) - end;
        self.rate = rate;
    }

    /// Loses all that is in the queue; says how many that were.
    pub fn clear(&mut self, now: f64) -> Vec<f64> {
        self.work -= self.end(now) - now;
        self.queue.drain(..).map(|query| query.arrived).collect()
    }

    /// When the queue will have run dry.
    fn end(&self, now: f64) -> f64 {
        self.queue.back().map_or(now, |last| last.done.max(now))
    }

    /// For how long it has been busy, seconds.
    pub fn busy(&self, now: f64) -> f64 {
        self.work - (self.end(now) - now)
    }
}

/// An exponentially distributed time.
pub fn exponential(random: &mut Random, rate: f64) -> f64 {
    -(1.0 - random.uniform(0.0, 1.0)).ln() / rate
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a queue at `load` for `seconds`: (part dropped, busy part, p99 of the answers).
    fn run(load: f64, buffer: usize, seconds: f64) -> (f64, f64, f64) {
        let (mut random, mut queue, mut now) = (Random::new(7), Queue::new(1000.0, buffer), 0.0);
        let (mut asked, mut times) = (0u64, vec![]);
        while now < seconds {
            now += exponential(&mut random, 1000.0 * load);
            while let Some(answer) = queue.finish(now) {
                times.push(answer.took);
            }
            queue.arrive(now, &mut random);
            asked += 1;
        }
        times.sort_by(f64::total_cmp);
        let p99 = times[times.len() * 99 / 100];
        (queue.dropped as f64 / asked as f64, queue.busy(now) / now, p99)
    }

    #[test]
    fn the_queue_agrees_with_the_closed_forms() {
        // M/M/1: p99 = ln 100 / (mu (1 - rho)); above capacity 1 - 1/rho is lost.
        let (lost, busy, p99) = run(0.8, 256, 400.0);
        assert!(lost < 1e-6 && (busy - 0.8).abs() < 0.01, "{lost} {busy}");
        assert!((p99 - 100f64.ln() / 200.0).abs() < 0.15 * p99, "{p99}");
        let (lost, busy, _) = run(1.2, 256, 100.0);
        assert!((lost - (1.0 - 1.0 / 1.2)).abs() < 0.01 && busy > 0.99, "{lost} {busy}");
    }

    #[test]
    fn a_slower_server_stretches_what_waits_and_counts_it_as_busy() {
        let (mut random, mut queue) = (Random::new(1), Queue::new(100.0, 10));
        (0..5).for_each(|_| assert!(queue.arrive(0.0, &mut random)));
        let end = queue.end(0.0);
        queue.set_rate(0.0, 50.0);
        assert!((queue.end(0.0) - 2.0 * end).abs() < 1e-9);
        assert!((queue.busy(2.0 * end) - 2.0 * end).abs() < 1e-9);
        assert_eq!(queue.clear(0.0).len(), 5);
        assert!(queue.busy(1.0).abs() < 1e-9);
    }
}
