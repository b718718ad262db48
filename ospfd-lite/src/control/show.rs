//! What `show` shows: serialisable rows built from the engine's view. Names are FRRouting's where it has one; times are
//! seconds.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use ospf_proto::engine::{NetworkType, View};
use ospf_proto::id::{Domain, IfaceId, RouterId};
use ospf_proto::lsa::Options;
use ospf_proto::rib::PathType;
use ospf_proto::state::IfaceState;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body;

/// A row of `show neighbor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Neighbor {
    /// Router ID.
    pub neighbor_id: String,
    /// Its priority.
    pub priority: u8,
    /// Until it is declared dead.
    pub dead_time: Option<f64>,
    /// State (RFC 2328 §10.1).
    pub state: String,
    /// What the neighbor is on the link: `DR`, `Backup`, `DROther` or `PointToPoint`.
    pub if_state: String,
    /// In this state for.
    pub duration: f64,
    /// Our interface.
    pub interface: String,
    /// What we are on the link.
    pub interface_state: String,
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// Its Interface ID.
    pub neighbor_interface_id: u32,
    /// The DR it names.
    pub dr: String,
    /// The Backup DR it names.
    pub bdr: String,
    /// Its options, such as `V6|E|R`.
    pub options: String,
    /// LSAs yet to be described.
    pub summaries: usize,
    /// LSAs yet to be requested.
    pub requests: usize,
    /// LSAs sent and not yet acknowledged.
    pub retransmissions: usize,
}

/// A row of `show interface`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// The kernel's name.
    pub interface: String,
    /// Interface ID: the kernel's index.
    pub interface_id: u32,
    /// Area.
    pub area: String,
    /// `broadcast` or `point-to-point`.
    #[serde(rename = "type")]
    pub network_type: String,
    /// State (RFC 2328 §9.1).
    pub state: String,
    /// The link-local address we speak from.
    pub link_local: Option<Ipv6Addr>,
    /// MTU.
    pub mtu: u16,
    /// Configured cost.
    pub cost: u16,
    /// Our priority.
    pub priority: u8,
    /// Designated Router.
    pub dr: String,
    /// Backup Designated Router.
    pub bdr: String,
    /// HelloInterval.
    pub hello_interval: u16,
    /// RouterDeadInterval.
    pub dead_interval: u16,
    /// Passive.
    pub passive: bool,
    /// Neighbors above Down.
    pub neighbors: usize,
    /// Neighbors in Full.
    pub full: usize,
    /// Until the next Hello.
    pub hello_in: Option<f64>,
}

/// A row of `show database`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatabaseLsa {
    /// `link`, `area` or `as`: the domain it lives in.
    pub scope: String,
    /// The area, for area scope.
    pub area: Option<String>,
    /// The interface, for link scope.
    pub interface: Option<String>,
    /// LS type.
    pub ls_type: u16,
    /// Its name.
    pub ls_type_name: String,
    /// Link State ID.
    pub link_state_id: String,
    /// Advertising Router.
    pub adv_router: String,
    /// LS sequence number, hexadecimal.
    pub sequence: String,
    /// LS checksum, hexadecimal.
    pub checksum: String,
    /// Length in bytes.
    pub length: u16,
    /// Age.
    pub age: u16,
    /// Whether we originated it.
    pub ours: bool,
    /// The body, decoded.
    pub body: Value,
}

/// A row of `show route`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The destination.
    pub prefix: String,
    /// `intra-area`, `inter-area`, `external-1` or `external-2`.
    pub path_type: String,
    /// The sum of costs.
    pub distance: u32,
    /// The next hops; none for a prefix of our own.
    pub next_hops: Vec<NextHop>,
    /// The routers that originate the prefix at this distance.
    pub originators: Vec<String>,
    /// State of the route in the kernel, where the daemon installs routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fib: Option<String>,
}

/// A next hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextHop {
    /// The interface.
    pub interface: String,
    /// The router; none if the destination is on the link.
    pub gateway: Option<Ipv6Addr>,
}

/// The rows of `show neighbor`.
pub fn neighbors(view: &View<'_>) -> Vec<Neighbor> {
    let rows = view.neighbors().into_iter().map(|neighbor| Neighbor {
        summaries: view.summaries(&neighbor),
        neighbor_id: neighbor.router.to_string(),
        priority: neighbor.priority,
        dead_time: neighbor.dead_in.map(seconds),
        state: neighbor.state.to_string(),
        if_state: role(&neighbor.iface_state, neighbor.router, (neighbor.dr, neighbor.bdr)).to_owned(),
        duration: seconds(neighbor.since),
        interface: neighbor.iface_name,
        interface_state: neighbor.iface_state.to_string(),
        address: neighbor.address,
        neighbor_interface_id: neighbor.neighbor_iface.0,
        dr: neighbor.dr.to_string(),
        bdr: neighbor.bdr.to_string(),
        options: options(neighbor.options),
        requests: neighbor.requests,
        retransmissions: neighbor.retransmissions,
    });
    rows.collect()
}

/// The rows of `show interface`.
pub fn interfaces(view: &View<'_>) -> Vec<Interface> {
    let rows = view.interfaces().into_iter().map(|iface| Interface {
        interface: iface.name,
        interface_id: iface.iface.0,
        area: iface.area.to_string(),
        network_type: match iface.network_type {
            NetworkType::Broadcast => "broadcast".to_owned(),
            NetworkType::PointToPoint => "point-to-point".to_owned(),
        },
        state: iface.state.to_string(),
        link_local: iface.link_local,
        mtu: iface.mtu,
        cost: iface.cost,
        priority: iface.priority,
        dr: iface.dr.to_string(),
        bdr: iface.bdr.to_string(),
        hello_interval: iface.hello_interval,
        dead_interval: iface.dead_interval,
        passive: iface.passive,
        neighbors: iface.neighbors,
        full: iface.full,
        hello_in: iface.hello_in.map(seconds),
    });
    rows.collect()
}

/// The rows of `show database`, in key order.
pub fn database(view: &View<'_>) -> Vec<DatabaseLsa> {
    let names = interface_names(view);
    let rows = view.lsas().into_iter().map(|row| {
        let (scope, area, interface) = match row.key.domain {
            Domain::Link(iface) => ("link", None, Some(interface_name(&names, iface))),
            Domain::Area(area) => ("area", Some(area.to_string()), None),
            Domain::As => ("as", None, None),
        };
        DatabaseLsa {
            scope: scope.to_owned(),
            area,
            interface,
            ls_type: row.key.ls_type.0,
            ls_type_name: row.key.ls_type.to_string(),
            link_state_id: row.key.link_state_id.to_string(),
            adv_router: row.key.adv_router.to_string(),
            sequence: format!("{:#010x}", row.lsa.header.sequence),
            checksum: format!("{:#06x}", row.lsa.header.checksum),
            length: row.lsa.header.length,
            age: row.age,
            ours: row.ours,
            body: body::value(row.lsa),
        }
    });
    rows.collect()
}

/// The name of a type of path.
pub(super) fn path_type(path_type: PathType) -> &'static str {
    match path_type {
        PathType::IntraArea => "intra-area",
        PathType::InterArea => "inter-area",
        PathType::External1 => "external-1",
        PathType::External2 => "external-2",
    }
}

/// The rows of `show route`, without the state in the kernel.
pub fn routes(view: &View<'_>) -> Vec<Route> {
    let names = interface_names(view);
    let rows = view.routes().iter().map(|(prefix, route)| Route {
        prefix: prefix.to_string(),
        path_type: path_type(route.path_type).to_owned(),
        distance: route.distance,
        next_hops: route
            .next_hops
            .iter()
            .map(|hop| NextHop { interface: interface_name(&names, hop.iface), gateway: hop.gateway })
            .collect(),
        originators: route.originators().map(|router| router.to_string()).collect(),
        fib: None,
    });
    rows.collect()
}

/// The names of the options that are set.
pub(super) fn options(options: Options) -> String {
    let named = Options::V6
        | Options::E
        | Options::MC
        | Options::N
        | Options::R
        | Options::DC
        | Options::AF
        | Options::L
        | Options::AT;
    let mut names: Vec<String> = (options & named).iter_names().map(|(name, _)| name.to_owned()).collect();
    let rest = (options - named).bits();
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names.join("|")
}

/// The interfaces' names.
pub(super) type Names = BTreeMap<IfaceId, String>;

/// The names of the interfaces.
pub(super) fn interface_names(view: &View<'_>) -> Names {
    view.interfaces().into_iter().map(|iface| (iface.iface, iface.name)).collect()
}

/// The name of one of them.
pub(super) fn interface_name(names: &Names, iface: IfaceId) -> String {
    names.get(&iface).cloned().unwrap_or_else(|| format!("if{iface}"))
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

/// What a neighbor is on the link, by its own Hellos.
fn role(ours: &IfaceState, router: RouterId, (dr, bdr): (RouterId, RouterId)) -> &'static str {
    if *ours == IfaceState::PointToPoint {
        "PointToPoint"
    } else if router == dr {
        "DR"
    } else if router == bdr {
        "Backup"
    } else {
        "DROther"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_named_and_unknown_bits_kept() {
        assert_eq!(options(Options::V6 | Options::E | Options::R), "V6|E|R");
        assert_eq!(options(Options::from_bits_retain(0x0080_0001)), "V6|0x800000");
        assert_eq!(options(Options::empty()), "");
    }

    #[test]
    fn a_neighbor_is_what_its_hellos_say() {
        let (a, b, c) = (RouterId(1), RouterId(2), RouterId(3));
        assert_eq!(role(&IfaceState::DrOther, a, (a, b)), "DR");
        assert_eq!(role(&IfaceState::Dr, b, (a, b)), "Backup");
        assert_eq!(role(&IfaceState::Dr, c, (a, b)), "DROther");
        assert_eq!(role(&IfaceState::PointToPoint, c, (a, b)), "PointToPoint");
    }
}
