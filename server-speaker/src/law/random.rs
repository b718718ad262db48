//! A small seeded generator, so that the law's only randomness (hold jitter, phase) is part of its explicit state.

use serde::Serialize;

/// SplitMix64: one addition and two multiplications a number, and every seed is a good one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Random(u64);

impl Random {
    /// A generator from a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `low..high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * ((self.bits() >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_they_fill_the_range() {
        let mut one = Random::new(7);
        let mut two = Random::new(7);
        let drawn: Vec<f64> = (0..1000).map(|_| one.uniform(0.75, 1.25)).collect();
        assert!(drawn.iter().all(|&v| v == two.uniform(0.75, 1.25)));
        assert!(drawn.iter().all(|v| (0.75..1.25).contains(v)));
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!((mean - 1.0).abs() < 0.02, "mean {mean}");
    }
}
