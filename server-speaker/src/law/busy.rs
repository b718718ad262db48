//! Capacity as completions per busy second, for a service that tells how busy it is (see [`crate::law`]).
//!
//! It does not depend on how much traffic the server gets, so nothing that follows from it can feed back into it.

use serde::Serialize;

/// What an assumed capacity weighs against measurement: so much of a busy second's worth.
const ASSUMED: f64 = 0.3;
/// Below this weight nothing is known.
const KNOWN: f64 = 0.02;

/// Completions and busy time, both fading, so that their ratio is the capacity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BusyRatio {
    /// Completions per second.
    completions: f64,
    /// Busy fraction, over the same time.
    busy: f64,
    /// Busy fraction, faster.
    fraction: f64,
}

impl BusyRatio {
    /// Begins with an assumed capacity, which a second of work outweighs; without one, with nothing.
    pub fn assume(mu: Option<f64>) -> Self {
        let (completions, busy) = mu.map_or((0.0, 0.0), |mu| (ASSUMED * mu, ASSUMED));
        BusyRatio { completions, busy, fraction: 0.0 }
    }

    /// Takes `rate` completions per second and the busy fraction (0.0 to 1.0) with the weight `a`.
    pub fn observe(&mut self, a: f64, rate: f64, busy: f64) {
        self.completions += a * (rate - self.completions);
        self.busy += a * (busy - self.busy);
    }

    /// Takes the busy fraction of this moment, with the weight `a`.
    pub fn note_fraction(&mut self, a: f64, busy: f64) {
        self.fraction += a * (busy - self.fraction);
    }

    /// The capacity, queries per second; none while too little is known.
    pub fn mu(&self) -> Option<f64> {
        (self.busy >= KNOWN).then(|| self.completions / self.busy)
    }

    /// The busy fraction of the last second or so.
    pub fn fraction(&self) -> f64 {
        self.fraction
    }

    /// Standard error of `mu`: with the time constant `time` it rests on about `2 time mu` completions, whose times vary as those of a Poisson process.
    pub fn sigma(&self, time: f64) -> f64 {
        self.mu().map_or(0.0, |mu| (mu / (2.0 * time)).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The weight of a tenth of a second at a time constant of two busy seconds.
    fn a(busy: f64) -> f64 {
        1.0 - (-0.1 * busy / 2.0).exp()
    }

    #[test]
    fn the_capacity_is_right_at_any_load_and_follows_a_change_within_seconds() {
        for load in [0.1, 0.5, 1.0] {
            let mut ratio = BusyRatio::assume(None);
            assert_eq!(ratio.mu(), None);
            (0..100).for_each(|_| ratio.observe(a(load), 1000.0 * load, load));
            assert!((ratio.mu().unwrap() - 1000.0).abs() < 1e-6);
        }
        let mut ratio = BusyRatio::assume(Some(1000.0));
        let mut seconds = 0.0;
        while ratio.mu().unwrap() > 330.0 {
            ratio.observe(a(1.0), 300.0, 1.0);
            seconds += 0.1;
        }
        assert!(seconds < 4.5, "{seconds}");
        assert!((ratio.sigma(2.0) - (ratio.mu().unwrap() / 4.0).sqrt()).abs() < 1e-9);
    }
}
