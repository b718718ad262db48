//! How many next hops a server is worth to routers that share equally over them (see [`crate::law`]).
//!
//! A server that appears `m` times among the equal-cost next hops gets `m` shares; with `m` proportional to its capacity
//! a farm of unlike servers can be used whole.

use ospf_proto::time::Instant;
use serde::Serialize;

use super::tuning::Tuning;
use crate::sample::maybe_seconds;

/// The most next hops of one server.
pub const HOPS_MAX: u32 = 16;

/// How many next hops a server appears as to routers that share equally.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shares {
    /// As many as its capacity is worth, at most so many (and at most [`HOPS_MAX`]).
    Auto(u32),
    /// Always so many.
    Fixed(u32),
}

impl Shares {
    /// The most that it will ever be.
    pub fn most(self) -> u32 {
        match self {
            Shares::Auto(most) | Shares::Fixed(most) => most.clamp(1, HOPS_MAX),
        }
    }
}

/// What bounds a server's next hops at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// It has no more routers than this.
    pub most: u32,
    /// What the routers' width leaves it beside the others: no step upwards goes beyond it.
    pub room: u32,
    /// The farm has more next hops than the routers' width, and this server is to make up for it.
    pub gives_back: bool,
}

/// The memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Hops {
    /// Next hops now.
    pub m: u32,
    #[serde(serialize_with = "maybe_seconds")]
    wish: Option<Instant>,
    #[serde(serialize_with = "maybe_seconds")]
    changed: Option<Instant>,
}

/// What is measured of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Capacity, queries per second.
    pub mu: f64,
    /// Its standard error.
    pub sigma: f64,
    /// Utilisation.
    pub rho: f64,
    /// Nominal capacity, queries per second.
    pub nominal: Option<f64>,
}

/// What is no reason to move from `m` next hops.
fn deviation(m: f64, tuning: &Tuning) -> f64 {
    tuning.hops_move.max(tuning.hops_move_part * m)
}

impl Hops {
    /// A server that starts or comes back, slowly: with a quarter of what its nominal capacity is worth.
    pub fn slow_start(nominal: Option<f64>, (unit, most): (f64, u32), now: Option<Instant>) -> Self {
        let whole = nominal.map_or(1.0, |nominal| (nominal / unit).round().clamp(1.0, f64::from(most)));
        Hops { m: ((whole / 4.0).round() as u32).max(1), wish: None, changed: now }
    }

    /// One step of a server in the class; `unit` is the capacity per next hop.
    pub fn step(&mut self, now: Instant, measured: Measured, (unit, bounds): (f64, Bounds), tuning: &Tuning) {
        let (r, m) = (measured.mu / unit, f64::from(self.m));
        // Several quarters are within the noise of a server of many next hops.
        let tight = measured.rho > tuning.hops_tight_rho && r < m - tuning.hops_tight.max(4.0 * measured.sigma / unit);
        // Not contradicted by measurement, the nominal capacity holds: a start-up's noise shall not settle beside it.
        let nominal = measured.nominal.map(|nominal| nominal / unit).filter(|n| (r - n).abs() <= deviation(*n, tuning));
        let wanted = if tight { (r + tuning.hops_tight).floor() } else { nominal.unwrap_or(r).round() };
        let wanted = (wanted.max(1.0) as u32).min(bounds.most).min(2 * self.m);
        let moves = tight || (r - m).abs() > deviation(m, tuning);
        let (wanted, moves) = match bounds.room.max(1) {
            room if bounds.gives_back && room < self.m => (wanted.min(room), true),
            room if wanted > self.m => (wanted.min(room.max(self.m)), moves),
            _ => (wanted, moves),
        };
        if !moves || wanted == self.m {
            self.wish = None;
            return;
        }
        let since = *self.wish.get_or_insert(now);
        let apart = self.changed.is_none_or(|at| (now - at).as_secs_f64() >= tuning.hops_apart);
        if (now - since).as_secs_f64() >= tuning.hops_dwell && apart {
            *self = Hops { m: wanted, wish: None, changed: Some(now) };
        }
    }
}

/// The capacity per next hop with which `width` next hops, at most `most` of one server, serve these capacities best (0 if
/// there are none).
pub fn best_unit(capacities: &[f64], (width, most): (usize, u32)) -> f64 {
    let most = f64::from(most);
    let (sum, max) = capacities.iter().fold((0.0, 0.0), |(sum, max): (f64, f64), c| (sum + c, max.max(*c)));
    let base = (sum / width.max(1) as f64).max(max / 8.0);
    let mut best = (base, 0.0);
    for step in 0..200 {
        let unit = base * 0.7 * (6.0f64 / 0.7).powf(f64::from(step) / 199.0);
        let worth: Vec<(f64, f64)> = capacities.iter().map(|c| (*c, (c / unit).round().clamp(1.0, most))).collect();
        let hops: f64 = worth.iter().map(|(_, m)| m).sum();
        if hops > width as f64 && width >= capacities.len() {
            continue;
        }
        let limit = limit(worth, width);
        if limit > best.1 + 0.005 {
            best = (unit, limit);
        }
    }
    centred(best.0, capacities, most)
}

/// The unit that gives the same next hops as `unit`, with the capacities as far from the next rounding as can be: the
/// first one tried lies at its edge, where noise alone moves a next hop.
fn centred(unit: f64, capacities: &[f64], most: f64) -> f64 {
    let hops = |unit: f64| capacities.iter().map(|c| (c / unit).round().clamp(1.0, most)).collect::<Vec<f64>>();
    let wanted = hops(unit);
    let mean = capacities.iter().sum::<f64>() / wanted.iter().sum::<f64>().max(1.0);
    if hops(mean) == wanted { mean } else { unit }
}

/// What equal shares over `m` next hops each can carry, as a part of the whole: the best of the classes by `mu / m`.
fn limit(mut worth: Vec<(f64, f64)>, width: usize) -> f64 {
    let whole: f64 = worth.iter().map(|(mu, _)| mu).sum();
    worth.sort_by(|(mu, m), (nu, n)| (nu / n).total_cmp(&(mu / m)));
    let (mut hops, mut most) = (0.0, 0.0);
    for (mu, m) in worth {
        hops += m;
        if hops > width as f64 {
            break;
        }
        most = f64::max(most, hops * mu / m);
    }
    if whole > 0.0 { most / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FREE: Bounds = Bounds { most: HOPS_MAX, room: 1000, gives_back: false };

    fn at(seconds: f64) -> Instant {
        Instant::from_epoch(Duration::from_secs_f64(seconds))
    }

    fn measured(mu: f64, rho: f64) -> Measured {
        Measured { mu, sigma: mu.sqrt() / 2.0, rho, nominal: None }
    }

    #[test]
    fn a_saturated_server_gives_none_back_for_noise() {
        let mut hops = Hops { m: 8, wish: None, changed: None };
        (0..80).for_each(|tick| {
            hops.step(at(f64::from(tick) * 0.1), measured(965.0, 1.2), (125.0, FREE), &Tuning::default())
        });
        assert_eq!(hops.m, 8, "3.5 % is two sigma");
        (80..160).for_each(|tick| {
            hops.step(at(f64::from(tick) * 0.1), measured(930.0, 1.2), (125.0, FREE), &Tuning::default())
        });
        assert_eq!(hops.m, 7);
    }

    #[test]
    fn the_unit_gives_a_4_2_1_farm_its_exact_ratio_where_the_width_holds_it() {
        let farm = [4000.0, 2000.0, 1000.0, 4000.0, 2000.0, 1000.0, 4000.0, 2000.0];
        let unit = best_unit(&farm, (64, HOPS_MAX));
        let hops: Vec<f64> = farm.iter().map(|c| (c / unit).round()).collect();
        assert!(hops.iter().zip(farm).all(|(m, c)| (m / hops[2] - c / 1000.0).abs() < 1e-9), "{hops:?}");
        assert!(limit(farm.iter().zip(&hops).map(|(c, m)| (*c, *m)).collect(), 64) > 0.999);
        let narrow = best_unit(&farm, (8, HOPS_MAX));
        assert!(farm.iter().map(|c| (c / narrow).round().max(1.0)).sum::<f64>() <= 8.0);
    }

    #[test]
    fn like_servers_are_worth_a_whole_number_of_next_hops() {
        let unit = best_unit(&[1000.0; 8], (64, HOPS_MAX));
        assert!((1000.0 / unit - 8.0).abs() < 1e-9, "{unit}");
    }

    #[test]
    fn a_cold_server_doubles_every_five_seconds_and_noise_moves_nothing() {
        let mut hops = Hops::slow_start(Some(8000.0), (1000.0, HOPS_MAX), Some(at(0.0)));
        assert_eq!(hops.m, 2);
        let mut seen = vec![];
        for tick in 1..300 {
            let before = hops.m;
            let mu = 8000.0 * (1.0 + 0.05 * f64::from(tick % 3 - 1));
            hops.step(at(f64::from(tick) * 0.1), measured(mu, 0.5), (1000.0, FREE), &Tuning::default());
            if hops.m != before {
                seen.push((f64::from(tick) * 0.1, hops.m));
            }
        }
        assert_eq!(seen.iter().map(|(_, m)| *m).collect::<Vec<_>>(), vec![4, 8]);
        assert!(seen[1].0 - seen[0].0 >= 4.99);
    }

    #[test]
    fn a_saturated_server_that_had_rounded_up_gives_one_back() {
        let mut hops = Hops { m: 4, wish: None, changed: None };
        (0..40).for_each(|tick| {
            hops.step(at(f64::from(tick) * 0.1), measured(3600.0, 0.9), (1000.0, FREE), &Tuning::default())
        });
        assert_eq!(hops.m, 4);
        (40..80).for_each(|tick| {
            hops.step(at(f64::from(tick) * 0.1), measured(3600.0, 1.0), (1000.0, FREE), &Tuning::default())
        });
        assert_eq!(hops.m, 3);
    }

    fn settled(mut hops: Hops, mu: f64, bounds: Bounds) -> u32 {
        (0..400).for_each(|tick| {
            let now = at(f64::from(tick) * 0.1);
            hops.step(now, measured(mu, 0.5), (1000.0, bounds), &Tuning::default());
        });
        hops.m
    }

    #[test]
    fn a_server_takes_what_the_routers_width_leaves_and_not_more_than_it_has_routers() {
        let start = Hops { m: 2, wish: None, changed: None };
        assert_eq!(settled(start, 8000.0, FREE), 8);
        assert_eq!(settled(start, 8000.0, Bounds { most: 6, ..FREE }), 6);
        assert_eq!(settled(start, 8000.0, Bounds { room: 5, ..FREE }), 5);
        // Less room is no reason to give anything back, unless the farm is beyond the width.
        let many = Hops { m: 8, wish: None, changed: None };
        assert_eq!(settled(many, 8000.0, Bounds { room: 5, ..FREE }), 8);
        assert_eq!(settled(many, 8000.0, Bounds { room: 5, gives_back: true, ..FREE }), 5);
        assert_eq!(settled(many, 8000.0, Bounds { room: 0, gives_back: true, ..FREE }), 1);
    }

    #[test]
    fn the_unit_counts_with_the_routers_that_a_server_has() {
        // Four next hops for the strongest at most: 4:2:1, and not 8:4:2.
        let farm = [4000.0, 2000.0, 1000.0];
        let unit = best_unit(&farm, (64, 4));
        assert_eq!(farm.map(|c| (c / unit).round()), [4.0, 2.0, 1.0]);
    }
}
