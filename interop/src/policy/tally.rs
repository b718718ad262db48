//! What came of a run: losses, times, costs, and the story second by second.

use super::queue::Answer;
use super::scenario::Scenario;

/// Resolution of the answer times, seconds.
const BIN: f64 = 0.0005;

/// One server at one second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Second {
    /// The cost as everybody sees it.
    pub cost: Option<u16>,
    /// Next hops.
    pub hops: u32,
    /// The router's table leads to it.
    pub serving: bool,
    /// Queries sent to it so far.
    pub arrived: u64,
    /// Seconds it was busy so far.
    pub busy: f64,
    /// Its capacity.
    pub rate: f64,
    /// Prefix LSAs after the first one, so far.
    pub lsas: u32,
    /// Records so far.
    pub records: u32,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Tally {
    counted: (f64, f64),
    timeout: f64,
    asked: u64,
    lost: u64,
    answered: u64,
    times: Vec<u64>,
    /// Asked and lost per second, from the beginning.
    pub loss: Vec<(u64, u64)>,
    /// Per second, per server.
    pub seconds: Vec<Vec<Second>>,
    /// How much of the hash moved at each change of the table.
    pub moved: Vec<f64>,
    servers: usize,
}

impl Tally {
    pub(super) fn new(scenario: &Scenario, servers: usize) -> Self {
        let counted = scenario.counted.unwrap_or((0.0, scenario.duration));
        let length = scenario.duration.ceil() as usize + 1;
        Tally {
            counted,
            timeout: scenario.timeout,
            asked: 0,
            lost: 0,
            answered: 0,
            times: vec![0; (scenario.timeout / BIN) as usize + 1],
            loss: vec![(0, 0); length],
            seconds: Vec::with_capacity(length),
            moved: Vec::new(),
            servers,
        }
    }

    fn counts(&self, at: f64) -> bool {
        (self.counted.0..self.counted.1).contains(&at)
    }

    pub(super) fn asked(&mut self, at: f64) {
        self.asked += u64::from(self.counts(at));
        if let Some((asked, _)) = self.loss.get_mut(at as usize) {
            *asked += 1;
        }
    }

    pub(super) fn lost(&mut self, at: f64) {
        self.lost += u64::from(self.counts(at));
        if let Some((_, lost)) = self.loss.get_mut(at as usize) {
            *lost += 1;
        }
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        if answer.took > self.timeout {
            return self.lost(answer.arrived);
        }
        if self.counts(answer.arrived) {
            self.answered += 1;
            if let Some(bin) = self.times.get_mut((answer.took / BIN) as usize) {
                *bin += 1;
            }
        }
    }

    pub(super) fn second(&mut self, row: Vec<Second>) {
        self.seconds.push(row);
    }

    /// Lost queries, percent of those asked.
    pub fn lost_percent(&self) -> f64 {
        100.0 * self.lost as f64 / self.asked.max(1) as f64
    }

    /// Answers per second.
    pub fn goodput(&self) -> f64 {
        self.answered as f64 / (self.counted.1 - self.counted.0)
    }

    /// 99 % of the answers took at most this, seconds.
    pub fn p99(&self) -> f64 {
        let (mut rest, mut bins) = ((0.99 * self.answered as f64) as u64, self.times.iter().enumerate());
        let found = bins.find(|(_, count)| {
            let reached = rest < **count;
            rest = rest.saturating_sub(**count);
            reached
        });
        found.map_or(0.0, |(bin, _)| (bin as f64 + 0.5) * BIN)
    }

    /// Lost in `from..to` (whole seconds), percent of those asked then.
    pub fn lost_between(&self, from: usize, to: usize) -> f64 {
        let part = self.loss.get(from..to.min(self.loss.len())).unwrap_or_default();
        let (asked, lost) = part.iter().fold((0, 0), |(a, l), (asked, lost)| (a + asked, l + lost));
        100.0 * lost as f64 / asked.max(1) as f64
    }

    fn row(&self, second: f64) -> &[Second] {
        let last = self.seconds.len().saturating_sub(1);
        self.seconds.get((second as usize).saturating_sub(1).min(last)).map_or(&[], Vec::as_slice)
    }

    /// Prefix LSAs of each server in the counted time.
    pub fn lsas(&self) -> Vec<u32> {
        let (before, after) = (self.row(self.counted.0), self.row(self.counted.1));
        let first = self.counted.0 <= 0.0;
        after.iter().zip(before).map(|(after, before)| after.lsas - if first { 0 } else { before.lsas }).collect()
    }

    /// Prefix LSAs per server and hour.
    pub fn lsas_per_hour(&self) -> f64 {
        let all: u32 = self.lsas().iter().sum();
        f64::from(all) / self.servers as f64 * 3600.0 / (self.counted.1 - self.counted.0)
    }

    /// Records of all servers in the counted time.
    pub fn records(&self) -> u32 {
        let (before, after) = (self.row(self.counted.0), self.row(self.counted.1));
        after.iter().zip(before).map(|(after, before)| after.records - before.records).sum()
    }

    /// Utilisation of each server in the counted time.
    pub fn utilisation(&self) -> Vec<f64> {
        let (before, after) = (self.row(self.counted.0), self.row(self.counted.1));
        let time = self.counted.1 - self.counted.0.max(1.0);
        after.iter().zip(before).map(|(after, before)| (after.busy - before.busy) / time).collect()
    }

    /// The greatest utilisation over the mean one.
    pub fn imbalance(&self) -> f64 {
        let all = self.utilisation();
        let mean = all.iter().sum::<f64>() / all.len().max(1) as f64;
        all.iter().fold(0.0, |max: f64, one| max.max(*one)) / mean.max(f64::MIN_POSITIVE)
    }

    /// The last second of `from..to` in which more than one percent was lost, counted from `from`; 0 if none was.
    pub fn relief(&self, from: usize, to: usize) -> usize {
        let bad = |second: &usize| self.lost_between(*second, second + 1) > 1.0;
        (from..to).rev().find(bad).map_or(0, |second| second + 1 - from)
    }

    /// Seconds from `from` until the router's table leads to `server`.
    pub fn back(&self, server: usize, from: usize) -> Option<usize> {
        let serving = |row: &Vec<Second>| row.get(server).is_some_and(|second| second.serving);
        self.seconds.iter().skip(from).position(serving)
    }

    /// How many servers the table leads to at a second.
    pub fn serving(&self, second: usize) -> usize {
        self.row(second as f64).iter().filter(|second| second.serving).count()
    }

    /// Spread of the servers' shares per second beside that of chance alone: 1.0 means as even as independent queries can be.
    pub fn unevenness(&self) -> f64 {
        let (from, to) = (self.counted.0.max(1.0) as usize, self.counted.1 as usize);
        let (mut sum, mut expected) = (0.0, 0.0);
        for pair in self.seconds.get(from - 1..to.min(self.seconds.len())).unwrap_or_default().windows(2) {
            let [before, after] = pair else { continue };
            let counts: Vec<f64> = after.iter().zip(before).map(|(a, b)| (a.arrived - b.arrived) as f64).collect();
            let mean = counts.iter().sum::<f64>() / counts.len().max(1) as f64;
            sum += counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>();
            // Of n counts that add up to their sum, the squares add up to (n - 1) times the variance.
            expected += mean * (counts.len().saturating_sub(1)) as f64;
        }
        (sum / expected.max(f64::MIN_POSITIVE)).sqrt()
    }

    /// The period in which the servers' shares swing, seconds: the lag, of 4 to 40, at which they resemble themselves most.
    pub fn period(&self) -> f64 {
        let (from, to) = (self.counted.0.max(1.0) as usize, self.counted.1 as usize);
        let rows = self.seconds.get(from - 1..to.min(self.seconds.len())).unwrap_or_default();
        let share = |server: usize| {
            let arrived = |row: &Vec<Second>| row.get(server).map_or(0, |second| second.arrived);
            let series: Vec<f64> = rows
                .windows(2)
                .filter_map(|pair| Some((arrived(pair.last()?) - arrived(pair.first()?)) as f64))
                .collect();
            let mean = series.iter().sum::<f64>() / series.len().max(1) as f64;
            series.into_iter().map(|count| count - mean).collect::<Vec<f64>>()
        };
        let shares: Vec<Vec<f64>> = (0..self.servers).map(share).collect();
        let likeness = |lag: usize| {
            let products =
                |series: &Vec<f64>| series.iter().zip(series.iter().skip(lag)).map(|(a, b)| a * b).sum::<f64>();
            shares.iter().map(products).sum::<f64>()
        };
        (4..=40).max_by(|a, b| likeness(*a).total_cmp(&likeness(*b))).map_or(0.0, |lag| lag as f64)
    }
}
