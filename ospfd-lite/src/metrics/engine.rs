//! What both daemons tell of their OSPFv3 engine.

use ospf_proto::engine::View;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::netio::Counters;

type Labels = Vec<(&'static str, String)>;

/// Registers the engine's metrics as they are now.
#[derive(Clone, Copy, Debug)]
pub struct EngineMetrics;

impl EngineMetrics {
    /// Into `registry`, under its prefix.
    pub fn register(registry: &mut Registry, view: &View<'_>, counters: &Counters) {
        let total = |registry: &mut Registry, name: &str, help: &str, value: u64| {
            let counter: Counter = Counter::default();
            counter.inc_by(value);
            registry.register(name, help, counter);
        };
        total(registry, "spf_runs", "SPF calculations", counters.spf_runs);
        total(registry, "lsas_originated", "LSAs originated or refreshed", counters.originated);
        total(registry, "lsas_flushed", "LSAs of ours flushed", counters.flushed);
        total(registry, "neighbor_changes", "Changes of a neighbor's state", counters.neighbor_changes);
        total(registry, "route_changes", "Changes of the routing table", counters.route_changes);
        set(registry, "lsas", "LSAs in the database", counters.lsas as f64);
        let received: Family<Labels, Counter> = Family::default();
        let sent: Family<Labels, Counter> = Family::default();
        let dropped: Family<Labels, Counter> = Family::default();
        for (name, iface) in &counters.interfaces {
            for (family, key, counts) in [
                (&received, "type", &iface.received),
                (&sent, "type", &iface.sent),
                (&dropped, "reason", &iface.dropped),
            ] {
                for (what, count) in counts {
                    family.get_or_create(&vec![("interface", name.clone()), (key, what.clone())]).inc_by(*count);
                }
            }
        }
        registry.register("packets_received", "Packets received, by type", received);
        registry.register("packets_sent", "Packets sent, by type", sent);
        registry.register("packets_dropped", "Packets dropped, by reason", dropped);
        let neighbors: Family<Labels, Gauge> = Family::default();
        let full: Family<Labels, Gauge> = Family::default();
        for iface in view.interfaces() {
            let labels = vec![("interface", iface.name.clone())];
            neighbors.get_or_create(&labels).set(i64::try_from(iface.neighbors).unwrap_or(i64::MAX));
            full.get_or_create(&labels).set(i64::try_from(iface.full).unwrap_or(i64::MAX));
        }
        registry.register("neighbors", "Neighbors in any state above Down", neighbors);
        registry.register("adjacencies", "Neighbors in state Full", full);
    }
}

/// A gauge of one value.
pub fn set(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge: Gauge<f64, std::sync::atomic::AtomicU64> = Gauge::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}
