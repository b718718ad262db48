//! The keys from which the engine's configuration is made: `router-id`, the two intervals and `[[interface]]`.

use std::time::Duration;

use ospf_proto::engine::{Config, IfaceConfig, NetworkType};
use ospf_proto::id::{AreaId, RouterId};
use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, Ranged, Seconds, Source, Text};

/// One `[[interface]]` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct InterfaceTable {
    /// The kernel's name of the interface.
    pub name: Spanned<String>,
    /// The area.
    pub area: Option<Spanned<Text<AreaId>>>,
    /// The type of the link.
    #[serde(rename = "type")]
    pub network_type: Option<Type>,
    /// Output cost.
    pub cost: Option<Ranged<1, 65535>>,
    /// Router priority.
    pub priority: Option<Ranged<0, 255>>,
    /// HelloInterval, seconds.
    pub hello_interval: Option<Ranged<1, 65535>>,
    /// RouterDeadInterval, seconds.
    pub dead_interval: Option<Spanned<Ranged<1, 65535>>>,
    /// RxmtInterval, seconds.
    pub retransmit_interval: Option<Seconds<100, 65_535_000>>,
    /// Instance ID.
    pub instance_id: Option<Ranged<0, 255>>,
    /// Advertise the prefixes, form no adjacency.
    pub passive: Option<bool>,
    /// Accept Database Description packets with a larger MTU.
    pub mtu_ignore: Option<bool>,
}

/// The type of a link.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// Several routers, a DR.
    Broadcast,
    /// Exactly two routers.
    PointToPoint,
}

/// The keys of a daemon's file that make up the engine's configuration.
#[derive(Clone, Copy, Debug)]
pub struct EngineKeys<'a> {
    /// `router-id`.
    pub router_id: &'a Spanned<Text<RouterId>>,
    /// `min-ls-interval`.
    pub min_ls_interval: Option<Seconds<1_200, 3_600_000>>,
    /// `min-ls-interval-topology`.
    pub min_ls_interval_topology: Option<Seconds<1_200, 3_600_000>>,
    /// `[limits]`.
    pub limits: LimitsTable,
    /// `[[interface]]`.
    pub interfaces: &'a [InterfaceTable],
    /// The priority of an interface that names none: 1 for a router, 0 for a server.
    pub priority: u8,
    /// Whether we forward.
    pub forwarding: bool,
}

/// The `[limits]` table: what protects us and the area.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LimitsTable {
    /// LSAs taken in, in all.
    pub max_lsas: Option<Ranged<100, 10_000_000>>,
    /// LSAs taken in of one originator.
    pub max_lsas_per_router: Option<Ranged<10, 10_000_000>>,
    /// Neighbors on one interface.
    pub max_neighbors: Option<Ranged<1, 65_535>>,
    /// Originations per second in the long run.
    pub max_originations: Option<Ranged<1, 10_000>>,
}

impl LimitsTable {
    fn apply(self, config: &mut Config) {
        let set = |wanted: Option<u32>, limit: &mut usize| {
            if let Some(wanted) = wanted.and_then(|wanted| usize::try_from(wanted).ok()) {
                *limit = wanted;
            }
        };
        set(self.max_lsas.map(Ranged::get), &mut config.limits.lsas);
        set(self.max_lsas_per_router.map(Ranged::get), &mut config.limits.lsas_per_router);
        set(self.max_neighbors.map(Ranged::get), &mut config.max_neighbors);
        config.max_originations = self.max_originations.map_or(config.max_originations, Ranged::get);
    }
}

/// Makes the engine's configuration.
pub fn engine_config(source: &Source, keys: EngineKeys<'_>) -> Result<Config, ConfigError> {
    let router_id = keys.router_id.get_ref().0;
    if router_id == RouterId(0) {
        return Err(
            source.error(keys.router_id.span(), "0.0.0.0 is not allowed; any other, unique in the routing domain")
        );
    }
    let mut config = Config::new(router_id);
    config.forwarding = keys.forwarding;
    keys.limits.apply(&mut config);
    config.min_ls_interval = keys.min_ls_interval.map_or(config.min_ls_interval, Seconds::get);
    config.min_ls_interval_topology =
        keys.min_ls_interval_topology.map_or(config.min_ls_interval_topology, Seconds::get);
    if keys.interfaces.is_empty() {
        return Err(source.whole("no [[interface]]; at least one is needed"));
    }
    for table in keys.interfaces {
        let iface = table.config(source, keys.priority)?;
        if config.interfaces.iter().any(|other| other.name == iface.name) {
            return Err(source.error(table.name.span(), format!("a second table for {}; one is allowed", iface.name)));
        }
        if let Some(first) = config.interfaces.first()
            && first.area != iface.area
        {
            let span = table.area.as_ref().map_or_else(|| table.name.span(), Spanned::span);
            let message = format!(
                "area {} is not allowed beside area {} of {}; all interfaces must be in one area (border routers are not \
                 supported)",
                iface.area, first.area, first.name
            );
            return Err(source.error(span, message));
        }
        config.interfaces.push(iface);
    }
    Ok(config)
}

impl InterfaceTable {
    fn config(&self, source: &Source, priority: u8) -> Result<IfaceConfig, ConfigError> {
        let name = self.name.get_ref();
        // IFNAMSIZ and dev_valid_name() of Linux.
        if name.is_empty() || name.len() > 15 || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
            let message =
                format!("\"{name}\" is not allowed; an interface's name has 1..=15 bytes, no blank, `/` or `:`");
            return Err(source.error(self.name.span(), message));
        }
        let mut iface = IfaceConfig::new(name.clone());
        iface.priority = self.priority.map_or(priority, Ranged::get);
        iface.area = self.area.as_ref().map_or(iface.area, |area| area.get_ref().0);
        iface.network_type = match self.network_type {
            Some(Type::Broadcast) => NetworkType::Broadcast,
            Some(Type::PointToPoint) => NetworkType::PointToPoint,
            None => iface.network_type,
        };
        iface.cost = self.cost.map_or(iface.cost, Ranged::get);
        iface.hello_interval = self.hello_interval.map_or(iface.hello_interval, Ranged::get);
        iface.dead_interval = match &self.dead_interval {
            Some(dead) => dead.get_ref().get(),
            None => iface.hello_interval.saturating_mul(4),
        };
        if iface.dead_interval <= iface.hello_interval {
            let message = format!(
                "{} is not allowed; more than the hello-interval of {}, commonly 4 times as much",
                iface.dead_interval, iface.hello_interval
            );
            let span = self.dead_interval.as_ref().map_or_else(|| self.name.span(), Spanned::span);
            return Err(source.error(span, message));
        }
        iface.retransmit_interval = self.retransmit_interval.map_or(Duration::from_secs(1), Seconds::get);
        iface.instance_id = self.instance_id.map_or(iface.instance_id, Ranged::get);
        iface.passive = self.passive.unwrap_or(iface.passive);
        iface.mtu_ignore = self.mtu_ignore.unwrap_or(iface.mtu_ignore);
        Ok(iface)
    }
}
