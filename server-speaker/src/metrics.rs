//! The daemon's metrics, made anew at each scrape from the state of that moment. Every name begins with `server_speaker_`.

use std::sync::atomic::AtomicU64;

use ospf_proto::time::Instant;
use ospfd_lite::metrics::{EngineMetrics, set};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::advertise::Confirmation;
use crate::router::Routers;
use crate::service::Service;

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// The text of a scrape.
pub fn text(services: &[Service], routers: &Routers) -> Result<String, std::fmt::Error> {
    let (own, mut registry) = (routers.own(), Registry::with_prefix("server_speaker"));
    let now = own.driver().now();
    EngineMetrics::register(&mut registry, &own.view(), &own.driver().counters());
    let (state, since) = own.reconciler().state();
    let confirmed = *state == Confirmation::Confirmed;
    set(&mut registry, "confirmed", "1: our LSAs state what is wanted and every neighbor has it", f64::from(confirmed));
    let unconfirmed = if confirmed { 0.0 } else { now.since(since).as_secs_f64() };
    set(&mut registry, "unconfirmed_seconds", "For how long they have not", unconfirmed);
    register_services(&mut registry, services);
    register_routers(&mut registry, routers);
    register_monitors(&mut registry, services, now);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn register_services(registry: &mut Registry, services: &[Service]) {
    let mut gauges = |name: &str, help: &str, of: &dyn Fn(&Service) -> Option<f64>| {
        let family = Gauges::default();
        for service in services {
            if let Some(value) = of(service) {
                family.get_or_create(&vec![("service", service.config.name.clone())]).set(value);
            }
        }
        registry.register(name, help, family);
    };
    gauges("advertised", "1: the prefixes are advertised", &|s| Some(f64::from(s.standing.is_advertised())));
    gauges("cost", "Cost at which they are advertised", &|s| s.cost().map(f64::from));
    gauges("next_hops", "As how many next hops it is to be advertised", &|s| Some(f64::from(s.next_hops())));
    gauges("in_class", "1: in the lowest-cost class by its own will", &|s| Some(f64::from(s.law.rule.is_in())));
    gauges("drained", "1: somebody wants it drained", &|s| Some(f64::from(s.is_drained())));
    gauges("capacity", "Estimated capacity mu, queries per second", &|s| s.law.estimator.mu());
    gauges("capacity_nominal", "Nominal capacity, queries per second", &|s| s.law.estimator.nominal());
    gauges("offered", "Offered rate x, queries per second", &|s| Some(s.law.estimator.x()));
    gauges("utilisation", "rho: 1 is capacity, above is overload", &|s| s.law.estimator.rho());
    gauges("queue", "Part of the queue's room in use", &|s| s.board().fill());
    gauges("backlogged", "1: the queue is backlogged", &|s| Some(f64::from(s.law.estimator.backlogged())));
    gauges("excused", "1: a probe fails, and an overload explains it", &|s| {
        Some(f64::from(s.board().excuse().is_some()))
    });
    let changes: Family<Labels, Counter> = Family::default();
    for service in services {
        changes.get_or_create(&vec![("service", service.config.name.clone())]).inc_by(service.cost_changes);
    }
    registry.register("cost_changes", "Changes of the cost, or of whether there is one", changes);
}

fn register_routers(registry: &mut Registry, routers: &Routers) {
    let (heard, advertises, confirmed) = (Gauges::default(), Gauges::default(), Gauges::default());
    for router in routers.all() {
        let labels = vec![("router", router.view().router_id().to_string())];
        heard.get_or_create(&labels).set(f64::from(router.is_heard()));
        advertises.get_or_create(&labels).set(f64::from(router.advertises()));
        let state = router.reconciler().state().0;
        confirmed.get_or_create(&labels).set(f64::from(*state == Confirmation::Confirmed));
    }
    registry.register("share_router_heard", "1: a neighbor of this router of ours is Full", heard);
    registry.register("share_router_advertises", "1: it is to advertise something", advertises);
    registry.register("share_router_confirmed", "1: its LSAs state that, and every neighbor has it", confirmed);
}

fn register_monitors(registry: &mut Registry, services: &[Service], now: Instant) {
    let (age, stale, failing) = (Gauges::default(), Gauges::default(), Gauges::default());
    let failures: Family<Labels, Counter> = Family::default();
    for service in services {
        for row in service.board().rows(now) {
            let labels = vec![("service", service.config.name.clone()), ("monitor", row.name.clone())];
            if let Some(seconds) = row.age {
                age.get_or_create(&labels).set(seconds);
            }
            stale.get_or_create(&labels).set(f64::from(row.stale));
            failing.get_or_create(&labels).set(f64::from(row.error.is_some()));
            failures.get_or_create(&labels).inc_by(row.failures);
        }
    }
    registry.register("monitor_age_seconds", "Age of a monitor's last reading", age);
    registry.register("monitor_stale", "1: that reading does not hold any more", stale);
    registry.register("monitor_unreadable", "1: the monitor cannot be read now", failing);
    registry.register("monitor_failures", "How often a monitor began to be unreadable", failures);
}
