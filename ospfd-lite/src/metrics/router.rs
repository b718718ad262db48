//! The router daemon's metrics. Every name begins with `ospfd_lite_`.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ospf_proto::engine::View;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::{EngineMetrics, set};
use crate::control::farm::{Farm, Probes};
use crate::netio::Counters;
use crate::netio::fib::Fib;
use crate::netio::probe::{Outcome, Way};

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// What is measured as it happens; the rest is read at each scrape.
#[derive(Clone, Debug)]
pub struct RouterMetrics {
    reaction: Histogram,
    operations: Histogram,
}

/// What is read at a scrape beside the engine.
#[derive(Clone, Copy, Debug)]
pub struct Routing<'a> {
    /// Our routes in the kernel.
    pub fib: &'a Fib,
    /// The farms.
    pub farms: &'a [Farm],
    /// Farm TLVs in the database that do not decode.
    pub malformed: u64,
    /// What became of the probes; none: nothing is probed.
    pub probes: Probes<'a>,
}

impl Default for RouterMetrics {
    fn default() -> Self {
        RouterMetrics {
            // 31 us to 1 s.
            reaction: Histogram::new(exponential_buckets(1.0 / 32_768.0, 2.0, 16)),
            operations: Histogram::new(exponential_buckets(1.0, 2.0, 15)),
        }
    }
}

impl RouterMetrics {
    /// The kernel has followed a turn: so long after its packets were taken from the kernel, by so many netlink requests.
    pub fn reacted(&self, after: Duration, operations: u64) {
        self.reaction.observe(after.as_secs_f64());
        self.operations.observe(operations as f64);
    }

    /// The text of a scrape.
    pub fn text(&self, view: &View<'_>, counters: &Counters, routing: Routing<'_>) -> Result<String, std::fmt::Error> {
        let Routing { fib, farms, malformed, probes } = routing;
        let mut registry = Registry::with_prefix("ospfd_lite");
        EngineMetrics::register(&mut registry, view, counters);
        let help = "From taking packets from the kernel to the last netlink request that follows from them";
        registry.register_with_unit("reaction", help, Unit::Seconds, self.reaction.clone());
        registry.register("reaction_operations", "Netlink requests of one such reaction", self.operations.clone());
        register_fib(&mut registry, fib);
        set(&mut registry, "farm_tlvs_malformed", "Farm TLVs in the database that do not decode", malformed as f64);
        register_farms(&mut registry, farms);
        if let Some(probes) = probes {
            register_probes(&mut registry, probes);
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

fn register_fib(registry: &mut Registry, fib: &Fib) {
    let counters = fib.counters();
    for (name, help, value) in [
        ("fib_operations", "Netlink requests that the kernel did", counters.done),
        ("fib_refused", "Netlink requests that it refused", counters.refused),
        ("fib_reads", "How often its tables were read whole", counters.reads),
        (
            "fib_repairs",
            "How often they had to be put right: somebody else changed them, or the kernel lost something",
            counters.repairs,
        ),
        ("fib_fights", "Repairs that waited because somebody else changes our routes again and again", counters.fights),
    ] {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
    let sizes = fib.sizes();
    set(registry, "routes_wanted", "Routes that are to be in the kernel", sizes.wanted as f64);
    set(registry, "routes_installed", "Routes of ours in the kernel", sizes.installed as f64);
    set(registry, "slot_groups", "Slot groups in use", sizes.slot_groups as f64);
}

fn register_farms(registry: &mut Registry, farms: &[Farm]) {
    let (weight, installed, capacity, load) =
        (Gauges::default(), Gauges::default(), Gauges::default(), Gauges::default());
    let packets: Family<Labels, Counter> = Family::default();
    for farm in farms {
        for server in &farm.servers {
            let labels = vec![("prefix", farm.prefix.clone()), ("server", server.router_id.clone())];
            weight.get_or_create(&labels).set(server.weight);
            installed.get_or_create(&labels).set(server.installed);
            for (family, value) in [(&capacity, server.capacity), (&load, server.load)] {
                if let Some(value) = value {
                    family.get_or_create(&labels).set(value);
                }
            }
            if let Some(count) = server.packets {
                packets.get_or_create(&labels).inc_by(count);
            }
        }
    }
    registry.register("farm_weight", "A server's part of the prefix's packets, as wanted", weight);
    registry.register("farm_installed", "The same by what the kernel has", installed);
    registry.register("farm_capacity", "Its capacity as it counts here, queries per second", capacity);
    registry.register("farm_load", "The rate it says it is offered, queries per second", load);
    registry.register("farm_packets", "Packets that its next hops got, as the kernel counts", packets);
}

fn register_probes(registry: &mut Registry, probes: &BTreeMap<Way, Outcome>) {
    let counters = || Family::<Labels, Counter>::default();
    let (sent, answered, failed) = (counters(), counters(), counters());
    let (round_trip, missed) = (Gauges::default(), Gauges::default());
    for ((prefix, member), outcome) in probes {
        let labels = vec![
            ("prefix", prefix.to_string()),
            ("gateway", member.gateway.to_string()),
            ("interface", member.iface.to_string()),
        ];
        for (family, value) in [(&sent, outcome.sent), (&answered, outcome.answered), (&failed, outcome.failed)] {
            family.get_or_create(&labels).inc_by(value);
        }
        missed.get_or_create(&labels).set(f64::from(outcome.missed));
        if let Some(time) = outcome.round_trip {
            round_trip.get_or_create(&labels).set(time.as_secs_f64());
        }
    }
    registry.register("probes_sent", "Echo requests to a service address by one of its next hops", sent);
    registry.register("probes_answered", "Answers to them", answered);
    registry.register("probes_failed", "Probes that could not be sent", failed);
    registry.register("probes_missed", "How many in a row have no answer", missed);
    registry.register_with_unit("probe_round_trip", "How long the last answer took", Unit::Seconds, round_trip);
}
