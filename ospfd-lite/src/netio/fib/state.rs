//! The model of the kernel's tables, as its messages tell of them, and whether it can be trusted.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteType};
use nix::libc::{RTM_DELLINK, RTM_DELROUTE, RTM_NEWLINK, RTM_NEWROUTE};
use ospf_proto::lsa::Prefix;
use tracing::{debug, warn};

use super::FibOptions;
use super::ids::IDS;
use super::model::{Foreign, Kernel, Member, RTPROT_KERNEL, Use};
use super::nexthop::{self, RTM_DELNEXTHOP, RTM_NEWNEXTHOP};
use crate::netio::netlink::Raw;

/// The model, and whether it can be trusted.
#[derive(Debug)]
pub(super) struct State {
    pub(super) options: FibOptions,
    pub(super) kernel: Kernel,
    /// Whether each link is up and has its carrier.
    pub(super) links: BTreeMap<u32, bool>,
    pub(super) stale: bool,
    /// Whether somebody else changed what concerns us since this was last cleared.
    pub(super) disturbed: bool,
    pub(super) reads: u64,
    /// The port of the socket for requests, by which the kernel says whose doing a change is.
    port: u32,
}

impl State {
    /// Knows nothing yet; `port` is that of the socket for requests.
    pub(super) fn new(options: FibOptions, port: u32) -> Self {
        State {
            options,
            kernel: Kernel::default(),
            links: BTreeMap::new(),
            stale: true,
            disturbed: true,
            reads: 0,
            port,
        }
    }

    /// Takes one message of the kernel.
    pub(super) fn apply(&mut self, raw: Raw<'_>) {
        let ours_doing = raw.port == self.port;
        match raw.kind {
            RTM_NEWNEXTHOP | RTM_DELNEXTHOP => match nexthop::parse(raw.payload) {
                Some(told) => self.nexthop(raw.kind == RTM_NEWNEXTHOP, ours_doing, told),
                None => warn!("a next-hop message of the kernel does not decode"),
            },
            RTM_NEWROUTE | RTM_DELROUTE => match RouteMessage::parse(raw.payload) {
                Ok(message) => self.route(raw.kind == RTM_NEWROUTE, ours_doing, &message),
                Err(error) => debug!(%error, "a route message of the kernel does not decode"),
            },
            RTM_NEWLINK | RTM_DELLINK => match LinkMessage::parse(raw.payload) {
                Ok(message) => self.link(raw.kind == RTM_NEWLINK, &message),
                Err(error) => warn!(%error, "a link message of the kernel does not decode"),
            },
            _ => {}
        }
    }

    fn nexthop(&mut self, exists: bool, ours_doing: bool, told: nexthop::Told) {
        if !IDS.contains(&told.id) {
            return;
        }
        self.disturbed |= !ours_doing;
        if !exists {
            self.kernel.remove_object(told.id);
        } else if told.protocol == self.options.protocol {
            self.kernel.taken.remove(&told.id);
            self.kernel.set_object(told.id, told.object);
        } else {
            self.kernel.remove_object(told.id);
            self.kernel.taken.insert(told.id);
        }
    }

    fn route(&mut self, exists: bool, ours_doing: bool, message: &RouteMessage) {
        let header = &message.header;
        let told = Told::of(message);
        let elsewhere = told.table != self.options.table
            || header.address_family != AddressFamily::Inet6
            || header.source_prefix_length != 0
            || header.flags.contains(RouteFlags::Cloned);
        let Some(prefix) = Prefix::new(told.destination, header.destination_prefix_length).filter(|_| !elsewhere)
        else {
            return;
        };
        let protocol = u8::from(header.protocol);
        let FibOptions { protocol: ours, metric, preferred_source, .. } = self.options;
        if protocol == ours && told.metric == metric {
            let before = self.kernel.routes().get(&prefix).cloned();
            let used = if told.source == preferred_source { told.used() } else { Use::Other };
            if exists {
                self.disturbed |= !ours_doing && before.as_ref() != Some(&used);
                self.kernel.set_route(prefix, used);
            } else if before.as_ref() == Some(&used) {
                self.kernel.remove_route(&prefix);
                self.disturbed |= !ours_doing;
            } else if !ours_doing && used.object().is_none() && before.is_some() {
                // One of several gateways: the kernel does not say what is left.
                self.stale = true;
            }
            return;
        }
        let connected = protocol == RTPROT_KERNEL && !told.gateway() && header.kind == RouteType::Unicast;
        let dead = header.flags.intersects(RouteFlags::Dead | RouteFlags::Linkdown);
        if (connected && !dead) || told.metric == metric {
            let foreign = (prefix, Foreign { protocol, metric: told.metric, iface: told.iface });
            self.disturbed |=
                if exists { self.kernel.foreign.insert(foreign) } else { self.kernel.foreign.remove(&foreign) };
        }
    }

    fn link(&mut self, exists: bool, message: &LinkMessage) {
        if message.header.interface_family != AddressFamily::Unspec {
            return;
        }
        let needed = LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp;
        let up = exists && message.header.flags.contains(needed);
        let before = self.links.insert(message.header.index, up);
        if !exists {
            self.links.remove(&message.header.index);
        }
        // The kernel drops next-hop objects of a link without telling.
        self.stale |= before.unwrap_or(false) != up;
    }
}

/// What the attributes of a route message say.
struct Told {
    table: u32,
    metric: u32,
    iface: u32,
    object: Option<u32>,
    destination: Ipv6Addr,
    source: Option<Ipv6Addr>,
    via: Option<Ipv6Addr>,
    paths: Option<BTreeMap<Member, u16>>,
    /// It has gateways of a kind that we do not make.
    other: bool,
}

impl Told {
    fn of(message: &RouteMessage) -> Self {
        let mut told = Told {
            table: u32::from(message.header.table),
            metric: 0,
            iface: 0,
            object: None,
            destination: Ipv6Addr::UNSPECIFIED,
            source: None,
            via: None,
            paths: None,
            other: false,
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(value) => told.table = *value,
                RouteAttribute::Priority(value) => told.metric = *value,
                RouteAttribute::Oif(value) => told.iface = *value,
                RouteAttribute::NhId(value) => told.object = Some(*value),
                RouteAttribute::Destination(RouteAddress::Inet6(value)) => told.destination = *value,
                RouteAttribute::PrefSource(RouteAddress::Inet6(value)) => told.source = Some(*value),
                RouteAttribute::Gateway(RouteAddress::Inet6(value)) => told.via = Some(*value),
                RouteAttribute::MultiPath(hops) => {
                    told.paths = hops.iter().map(path).collect();
                    told.other |= told.paths.is_none();
                }
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => told.other = true,
                _ => {}
            }
        }
        told
    }

    fn gateway(&self) -> bool {
        self.via.is_some() || self.paths.is_some() || self.other
    }

    fn used(self) -> Use {
        match (self.object, self.paths, self.via) {
            (Some(id), ..) => Use::Object(id),
            (None, Some(paths), None) if !self.other => Use::Paths(paths),
            (None, None, Some(gateway)) => Use::Paths(BTreeMap::from([(Member { iface: self.iface, gateway }, 1)])),
            _ => Use::Other,
        }
    }
}

/// One gateway of a route with several, and its weight.
fn path(hop: &RouteNextHop) -> Option<(Member, u16)> {
    let gateway = hop.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) => Some(*gateway),
        _ => None,
    });
    Some((Member { iface: hop.interface_index, gateway: gateway? }, u16::from(hop.hops) + 1))
}
