//! One `[[service]]` table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use ospf_proto::lsa::Prefix;
use ospfd_lite::config::{ConfigError, Ranged, Seconds, Source, Text};
use serde::Deserialize;
use toml::{Spanned, Value};

use crate::advertise::Strategy;
use crate::law::{PARAMETERS, Policy, Shares, Tuning};
use crate::monitor::MonitorConfig;
use crate::monitor::probe::dns::Transport;
use crate::monitor::probe::{DnsProbe, ProbeKind, SelfTestOptions};

use super::monitor::{Context, MonitorTable, check_together};
use super::shares::shares;

/// The greatest rate that the Farm TLV can tell (u32 in 0.001 q/s, all-ones is unknown).
const RATE_MAX: f64 = 4_294_967.0;

/// The longest time of emptying unless configured.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// The table as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ServiceTable {
    name: Spanned<String>,
    prefixes: Spanned<Vec<Spanned<Text<Prefix>>>>,
    #[serde(default)]
    manage_address: bool,
    monitor: Spanned<Vec<MonitorTable>>,
    capacity: Option<Spanned<f64>>,
    policy: Option<Spanned<PolicyName>>,
    shares: Option<Spanned<Value>>,
    strategy: Option<Spanned<StrategyName>>,
    min_serving: Option<Ranged<0, 255>>,
    #[serde(default)]
    last_resort: bool,
    drain_file: Option<Spanned<PathBuf>>,
    drain_limit: Option<Seconds<0, 3_600_000>>,
    self_test: Option<Spanned<SelfTestTable>>,
    #[serde(default)]
    law: BTreeMap<String, Spanned<f64>>,
}

/// The self-test as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SelfTestTable {
    duration: Option<Seconds<100, 10_000>>,
    concurrency: Option<Ranged<1, 1024>>,
}

/// Policies that may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PolicyName {
    Goodput,
    Static,
    Naive,
    Shares,
}

/// Strategies that may be named; not all are there yet.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StrategyName {
    Auto,
    InPlace,
    WithLink,
    WithSpf,
    External,
}

/// What the top of the file gives to every service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    /// `allow-prefixes`.
    pub(super) allowed: &'a BTreeSet<Prefix>,
    /// The routers that this server can appear as; none without `share-router-ids`.
    pub(super) routers: usize,
}

/// A checked self-test.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfTestConfig {
    /// The query: that of the first DNS probe by UDP.
    pub dns: DnsProbe,
    /// Its bounds.
    pub options: SelfTestOptions,
}

/// One checked service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceConfig {
    /// Its name, for people.
    pub name: String,
    /// Its anycast prefixes; at least one. The first stands for the service where peers are counted.
    pub prefixes: Vec<Prefix>,
    /// Put the prefixes on `lo` while running.
    pub manage_address: bool,
    /// What is watched; at least one.
    pub monitors: Vec<MonitorConfig>,
    /// Nominal capacity, queries per second.
    pub capacity: Option<f64>,
    /// How the cost is chosen.
    pub policy: Policy,
    /// As how many next hops it appears; none: as one.
    pub shares: Option<Shares>,
    /// How a cost change is announced.
    pub strategy: Strategy,
    /// A drain waits while fewer other servers than this are in the class.
    pub min_serving: u8,
    /// A dead service stays advertised while nobody else advertises it.
    pub last_resort: bool,
    /// While this file is there the service is drained.
    pub drain_file: Option<PathBuf>,
    /// The longest time from the maximum cost to the flush when drained.
    pub drain_limit: Duration,
    /// The law's parameters.
    pub tuning: Tuning,
    /// The self-test out of the class, if one is wanted.
    pub self_test: Option<SelfTestConfig>,
}

impl ServiceConfig {
    /// The ports of its sockets that are watched.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.monitors.iter().filter_map(|monitor| match monitor {
            MonitorConfig::Socket(target) => Some(target.port),
            _ => None,
        })
    }

    /// Whether anything counts its queries.
    pub fn measures(&self) -> bool {
        self.monitors.iter().any(|monitor| monitor.counts() || monitor.counts_namespace())
    }

    /// Whether it measures load by counters that speak for the whole namespace.
    pub fn counts_udp(&self) -> bool {
        self.monitors.iter().any(MonitorConfig::counts_namespace) && !self.monitors.iter().any(MonitorConfig::counts)
    }
}

impl ServiceTable {
    /// The service, if all of its keys make sense.
    pub(super) fn check(&self, source: &Source, given: Given<'_>) -> Result<ServiceConfig, ConfigError> {
        let name = self.name.get_ref();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            let message = format!("\"{name}\" is not allowed; 1..=64 letters, digits, `-`, `_` or `.`");
            return Err(source.error(self.name.span(), message));
        }
        let prefixes = self.check_prefixes(source, given.allowed)?;
        let capacity = self.check_capacity(source)?;
        let policy = self.check_policy(source, capacity)?;
        let monitors = self.monitors(source, &prefixes)?;
        let self_test = self.check_self_test(source, &monitors)?;
        Ok(ServiceConfig {
            name: name.clone(),
            manage_address: self.manage_address,
            monitors,
            prefixes,
            capacity,
            policy,
            shares: self.check_shares(source, given.routers)?,
            strategy: self.check_strategy(source)?,
            min_serving: self.min_serving.map_or(1, Ranged::get),
            last_resort: self.last_resort,
            drain_file: self.check_drain_file(source)?,
            drain_limit: self.drain_limit.map_or(DRAIN_LIMIT, Seconds::get),
            tuning: self.check_law(source)?,
            self_test,
        })
    }

    /// What two services must not have in common.
    pub(super) fn check_beside(
        &self,
        source: &Source,
        (own, others): (&ServiceConfig, &[ServiceConfig]),
    ) -> Result<(), ConfigError> {
        if others.iter().any(|o| o.name == *self.name.get_ref()) {
            let message = format!("a second service {}; one is allowed", self.name.get_ref());
            return Err(source.error(self.name.span(), message));
        }
        for prefix in self.prefixes.get_ref() {
            let taken = others.iter().find(|o| o.prefixes.contains(&prefix.get_ref().0));
            if let Some(other) = taken {
                let message = format!("{} already belongs to service {}", prefix.get_ref().0, other.name);
                return Err(source.error(prefix.span(), message));
            }
        }
        if let Some(other) = others.iter().find(|other| own.counts_udp() && other.counts_udp()) {
            let message = format!(
                "a second service with a UDP monitor beside {} is not allowed: the kernel counts datagrams for the whole \
                 network namespace; run a server-speaker for each in a namespace of its own",
                other.name
            );
            return Err(source.error(self.monitor.span(), message));
        }
        Ok(())
    }

    fn check_prefixes(&self, source: &Source, allowed: &BTreeSet<Prefix>) -> Result<Vec<Prefix>, ConfigError> {
        if self.prefixes.get_ref().is_empty() {
            return Err(source.error(self.prefixes.span(), "[] is not allowed; at least one prefix"));
        }
        let mut prefixes = Vec::new();
        for entry in self.prefixes.get_ref() {
            let prefix = entry.get_ref().0;
            let refuse = |message: String| Err(source.error(entry.span(), message));
            if prefix.length() == 0 {
                return refuse("::/0 is not allowed: a server never originates a default route; a /128".into());
            }
            if let Some(kind) = not_global(prefix.address()) {
                return refuse(format!("{prefix} is not allowed: a {kind} address is not routed; a global one"));
            }
            if prefix.length() != 128 && !allowed.contains(&prefix) {
                return refuse(format!("{prefix} is not allowed; a /128, or a prefix that allow-prefixes lists"));
            }
            if prefix.length() != 128 && self.manage_address {
                return refuse(format!("{prefix} cannot be put on lo by manage-address; a /128"));
            }
            if prefixes.contains(&prefix) {
                return refuse(format!("{prefix} is named twice"));
            }
            prefixes.push(prefix);
        }
        Ok(prefixes)
    }

    fn monitors(&self, source: &Source, prefixes: &[Prefix]) -> Result<Vec<MonitorConfig>, ConfigError> {
        let hosts: Vec<Ipv6Addr> = prefixes.iter().filter(|p| p.length() == 128).map(Prefix::address).collect();
        let context = Context { source, hosts: &hosts };
        let monitors: Vec<MonitorConfig> =
            self.monitor.get_ref().iter().map(|table| table.check(&context)).collect::<Result<_, _>>()?;
        check_together(source, self.monitor.span(), &monitors)?;
        Ok(monitors)
    }

    fn check_capacity(&self, source: &Source) -> Result<Option<f64>, ConfigError> {
        let Some(capacity) = &self.capacity else { return Ok(None) };
        let rate = *capacity.get_ref();
        if !(0.001..=RATE_MAX).contains(&rate) {
            let message = format!("{rate} is not allowed; 0.001..={RATE_MAX} queries per second");
            return Err(source.error(capacity.span(), message));
        }
        Ok(Some(rate))
    }

    fn check_drain_file(&self, source: &Source) -> Result<Option<PathBuf>, ConfigError> {
        let Some(path) = &self.drain_file else { return Ok(None) };
        if path.get_ref().is_absolute() {
            return Ok(Some(path.get_ref().clone()));
        }
        let message = format!("{} is not allowed; an absolute path", path.get_ref().display());
        Err(source.error(path.span(), message))
    }

    fn check_self_test(
        &self,
        source: &Source,
        monitors: &[MonitorConfig],
    ) -> Result<Option<SelfTestConfig>, ConfigError> {
        let Some(table) = &self.self_test else { return Ok(None) };
        let dns = monitors.iter().find_map(|monitor| match monitor {
            MonitorConfig::Probe(probe) => match &probe.kind {
                ProbeKind::Dns(dns) if dns.transport == Transport::Udp => Some(dns.clone()),
                _ => None,
            },
            _ => None,
        });
        let Some(dns) = dns else {
            let message = "a self-test asks what a `probe = { dns = ... }` by UDP asks; none is among the monitors";
            return Err(source.error(table.span(), message));
        };
        let defaults = SelfTestOptions::default();
        let options = SelfTestOptions {
            duration: table.get_ref().duration.map_or(defaults.duration, Seconds::get),
            concurrency: table.get_ref().concurrency.map_or(defaults.concurrency, Ranged::get),
        };
        Ok(Some(SelfTestConfig { dns, options }))
    }

    fn check_law(&self, source: &Source) -> Result<Tuning, ConfigError> {
        let mut tuning = Tuning::default();
        for (key, value) in &self.law {
            let Some(parameter) = PARAMETERS.iter().find(|parameter| parameter.key == key) else {
                let known: Vec<&str> = PARAMETERS.iter().map(|parameter| parameter.key).collect();
                let message = format!("law.{key} is not known; one of {}", known.join(", "));
                return Err(source.error(value.span(), message));
            };
            let set = parameter.set(&mut tuning, *value.get_ref());
            set.map_err(|message| source.error(value.span(), message))?;
        }
        tuning.check().map_err(|message| match self.law.values().next() {
            Some(first) => source.error(first.span(), message),
            None => source.whole(message),
        })?;
        Ok(tuning)
    }

    fn check_policy(&self, source: &Source, capacity: Option<f64>) -> Result<Policy, ConfigError> {
        let Some(policy) = &self.policy else { return Ok(Policy::default()) };
        match policy.get_ref() {
            PolicyName::Goodput | PolicyName::Shares => Ok(Policy::Goodput),
            PolicyName::Static => Ok(Policy::Static),
            PolicyName::Naive if capacity.is_some() => Ok(Policy::Naive),
            PolicyName::Naive => Err(source.error(policy.span(), "\"naive\" needs `capacity` beside it")),
        }
    }

    fn check_shares(&self, source: &Source, routers: usize) -> Result<Option<Shares>, ConfigError> {
        match (&self.policy, &self.shares) {
            (Some(policy), _) if *policy.get_ref() == PolicyName::Shares && routers == 0 => {
                let message = "\"shares\" needs share-router-ids at the top: a block of Router IDs for the other routers that \
                               this server appears as";
                Err(source.error(policy.span(), message))
            }
            (Some(policy), key) if *policy.get_ref() == PolicyName::Shares => {
                shares(source, key.as_ref(), routers).map(Some)
            }
            (_, Some(key)) => Err(source.error(key.span(), "shares needs policy = \"shares\" beside it")),
            _ => Ok(None),
        }
    }

    fn check_strategy(&self, source: &Source) -> Result<Strategy, ConfigError> {
        let Some(strategy) = &self.strategy else { return Ok(Strategy::default()) };
        match strategy.get_ref() {
            StrategyName::Auto => Ok(Strategy::Auto),
            StrategyName::InPlace => Ok(Strategy::InPlace),
            StrategyName::WithLink => Ok(Strategy::WithLink),
            StrategyName::WithSpf => Ok(Strategy::WithSpf),
            StrategyName::External => {
                let message =
                    "\"external\" is not yet supported; \"auto\", \"in-place\", \"with-link\" or \"with-spf\"";
                Err(source.error(strategy.span(), message))
            }
        }
    }
}

/// Why an address cannot be a service's.
fn not_global(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("unspecified")
    } else if address.is_loopback() {
        Some("loopback")
    } else if address.is_multicast() {
        Some("multicast")
    } else if address.is_unicast_link_local() {
        Some("link-local")
    } else {
        None
    }
}
