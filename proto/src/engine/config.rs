//! Configuration of the engine: what a person decides, with the defaults of DESIGN.

use std::time::Duration;

use crate::consts;
use crate::id::{AreaId, RouterId};
use crate::lsdb::Limits;

/// Configuration of one router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our Router ID; not 0.0.0.0.
    pub router_id: RouterId,
    /// Whether we forward: sets the R-bit. Without it our links carry MaxLinkMetric and no prefixes of links are
    /// advertised: we are a server, never transit (RFC 5340 §A.2).
    pub forwarding: bool,
    /// MinLSInterval of Intra-Area-Prefix- and Router-Information LSAs; at least 1.2 s.
    pub min_ls_interval: Duration,
    /// MinLSInterval of Router-, Network- and Link-LSAs; at least 1.2 s.
    pub min_ls_interval_topology: Duration,
    /// From one run of SPF to the next at least so much passes (RFC 8405 §3 has the reasons); none by default: a small area
    /// reacts at once. The first change after a quiet spell is always followed at once.
    pub spf_interval: Duration,
    /// How many LSAs are taken in.
    pub limits: Limits,
    /// How many neighbors an interface has at most.
    pub max_neighbors: usize,
    /// How many LSAs of ours may be originated per second in the long run, 1 or more; [`consts::ORIGINATION_BURST`] times as many at
    /// once. Flushes of service prefixes are free.
    pub max_originations: u32,
    /// The interfaces to run on, found by name when the link appears.
    pub interfaces: Vec<IfaceConfig>,
}

impl Config {
    /// A configuration with defaults and no interface.
    pub fn new(router_id: RouterId) -> Self {
        Config {
            router_id,
            forwarding: true,
            min_ls_interval: consts::MIN_LS_INTERVAL,
            min_ls_interval_topology: consts::MIN_LS_INTERVAL_TOPOLOGY,
            spf_interval: Duration::ZERO,
            limits: Limits::default(),
            max_neighbors: consts::MAX_NEIGHBORS,
            max_originations: consts::MAX_ORIGINATIONS,
            interfaces: Vec::new(),
        }
    }
}

/// The type of a link (RFC 2328 §1.2); NBMA and point-to-multipoint are not built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkType {
    /// Several routers, a DR.
    #[default]
    Broadcast,
    /// Exactly two routers, no DR.
    PointToPoint,
}

/// Configuration of one interface (RFC 5340 appendix C.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfaceConfig {
    /// The kernel's name of the interface.
    pub name: String,
    /// Its area.
    pub area: AreaId,
    /// Its type.
    pub network_type: NetworkType,
    /// Output cost, 1..=65535; a router that does not forward advertises MaxLinkMetric instead.
    pub cost: u16,
    /// Router priority; 0: never DR.
    pub priority: u8,
    /// HelloInterval, whole seconds 1..=65535.
    pub hello_interval: u16,
    /// RouterDeadInterval, whole seconds 1..=65535.
    pub dead_interval: u16,
    /// RxmtInterval.
    pub retransmit_interval: Duration,
    /// Instance ID (RFC 5340 §2.4).
    pub instance_id: u8,
    /// Advertise its prefixes, form no adjacency.
    pub passive: bool,
    /// Accept Database Description packets with a larger MTU.
    pub mtu_ignore: bool,
}

impl IfaceConfig {
    /// Defaults of RFC 2328 appendix C.3, but a retransmit interval of 1 s (a farm's link, not a satellite).
    pub fn new(name: impl Into<String>) -> Self {
        IfaceConfig {
            name: name.into(),
            area: AreaId(0),
            network_type: NetworkType::Broadcast,
            cost: 10,
            priority: 1,
            hello_interval: 10,
            dead_interval: 40,
            retransmit_interval: Duration::from_secs(1),
            instance_id: 0,
            passive: false,
            mtu_ignore: false,
        }
    }
}
