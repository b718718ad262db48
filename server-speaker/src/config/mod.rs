//! `server-speaker.toml`: the tables shared with ospfd-lite, and the services.
//!
//! Every key is documented in `docs/configuration.md`; an unknown key is an error. An error names the file, the line,
//! the key and what is allowed. What passes here can run: nothing is refused later.

mod counts;
mod load;
mod monitor;
mod probe;
mod service;
mod shares;

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ospf_proto::engine::Config;
use ospf_proto::id::RouterId;
use ospf_proto::lsa::Prefix;
use ospfd_lite::config::{
    ConfigError, EngineKeys, InterfaceTable, LimitsTable, Ranged, Seconds, Source, Text, engine_config,
};
use serde::Deserialize;
use toml::Spanned;

use crate::law::Shares;

use service::{Given, ServiceTable};
pub use service::{SelfTestConfig, ServiceConfig};
pub use shares::ShareRouter;
use shares::{ShareKeys, check_interfaces};

/// Where the control socket is unless configured.
pub const CONTROL: &str = "/run/server-speaker/control.sock";
/// Where state is kept unless configured.
pub const STATE_DIR: &str = "/var/lib/server-speaker";
/// Records of one Router-Information LSA of at most 1,000 bytes; one per prefix.
const PREFIXES_MAX: usize = 24;

/// The file as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ServerFile {
    router_id: Spanned<Text<RouterId>>,
    control: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    metrics: Option<Text<SocketAddr>>,
    min_ls_interval: Option<Seconds<1_200, 3_600_000>>,
    min_ls_interval_topology: Option<Seconds<1_200, 3_600_000>>,
    #[serde(default)]
    limits: LimitsTable,
    ecmp_width: Option<Ranged<1, 8191>>,
    linger: Option<Seconds<2_000, 600_000>>,
    share_router_ids: Option<Spanned<String>>,
    share_link_local: Option<Spanned<Text<Ipv6Addr>>>,
    #[serde(default)]
    peers_in_place: Vec<Text<RouterId>>,
    #[serde(default)]
    allow_prefixes: Vec<Spanned<Text<Prefix>>>,
    #[serde(default)]
    interface: Vec<InterfaceTable>,
    #[serde(default)]
    service: Vec<ServiceTable>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The engine's part.
    pub engine: Config,
    /// The control socket.
    pub control: PathBuf,
    /// Where state is kept over a restart.
    pub state_dir: PathBuf,
    /// Where to listen for scrapes of the metrics; nowhere, if none.
    pub metrics: Option<SocketAddr>,
    /// How many equal-cost next hops the routers install; none: as they say, else 16.
    pub ecmp_width: Option<u16>,
    /// After leaving, the longest time that address and service stay for packets on their way.
    pub linger: Duration,
    /// The routers that this server appears as, its own first; none where no service has policy `shares`: then it is one
    /// router, and speaks from whatever link-local address there is.
    pub share_routers: Vec<ShareRouter>,
    /// Routers known to follow a metric that changes in place.
    pub peers_in_place: BTreeSet<RouterId>,
    /// The services; at least one.
    pub services: Vec<ServiceConfig>,
}

impl ServerConfig {
    /// Decodes and checks the whole file.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        let file: ServerFile = source.parse()?;
        let keys = EngineKeys {
            router_id: &file.router_id,
            min_ls_interval: file.min_ls_interval,
            min_ls_interval_topology: file.min_ls_interval_topology,
            limits: file.limits,
            interfaces: &file.interface,
            priority: 0,
            forwarding: false,
        };
        let engine = engine_config(source, keys)?;
        let allowed = allowed_prefixes(source, &file.allow_prefixes)?;
        let keys = ShareKeys { router_ids: file.share_router_ids.as_ref(), link_local: file.share_link_local.as_ref() };
        let mut share_routers = keys.routers(source, engine.router_id)?;
        let given = Given { allowed: &allowed, routers: share_routers.len() };
        if file.service.is_empty() {
            return Err(source.whole("no [[service]]; at least one is needed"));
        }
        let mut services: Vec<ServiceConfig> = Vec::new();
        for table in &file.service {
            let service = table.check(source, given)?;
            table.check_beside(source, (&service, &services))?;
            services.push(service);
        }
        let shares = services.iter().filter_map(|service| service.shares).map(Shares::most).max();
        share_routers.truncate(shares.map_or(0, |most| most as usize));
        if shares.is_some() {
            check_interfaces(source, &engine, &file.interface)?;
        }
        let prefixes: usize = services.iter().map(|s| s.prefixes.len()).sum();
        if prefixes > PREFIXES_MAX {
            let message = format!(
                "{prefixes} service prefixes; at most {PREFIXES_MAX}, or the Router-Information LSA exceeds 1,000 bytes"
            );
            return Err(source.whole(message));
        }
        Ok(ServerConfig {
            engine,
            control: file.control.unwrap_or_else(|| CONTROL.into()),
            state_dir: file.state_dir.unwrap_or_else(|| STATE_DIR.into()),
            metrics: file.metrics.map(|address| address.0),
            ecmp_width: file.ecmp_width.map(Ranged::get),
            linger: file.linger.map_or(Duration::from_secs(5), Seconds::get),
            share_routers,
            peers_in_place: file.peers_in_place.iter().map(|text| text.0).collect(),
            services,
        })
    }
}

fn allowed_prefixes(source: &Source, list: &[Spanned<Text<Prefix>>]) -> Result<BTreeSet<Prefix>, ConfigError> {
    for entry in list {
        if entry.get_ref().0.length() == 0 {
            let message = "::/0 is not allowed: a server never originates a default route; a longer prefix";
            return Err(source.error(entry.span(), message));
        }
    }
    Ok(list.iter().map(|entry| entry.get_ref().0).collect())
}

#[cfg(test)]
mod tests;
