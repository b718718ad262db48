//! Operations as netlink requests.

use std::collections::BTreeMap;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use ospf_proto::lsa::Prefix;

use super::FibOptions;
use super::ids::{Place, place};
use super::model::{GroupKind, Use};
use super::nexthop::{self, Buckets, Group, Mode};
use super::plan::Op;
use crate::netio::netlink;

/// Encodes an operation.
pub(super) fn operation(options: &FibOptions, op: &Op, sequence: u32) -> Vec<u8> {
    let protocol = options.protocol;
    let gateway = |id, member, mode| nexthop::set_gateway(protocol, (id, member, mode), sequence);
    let group = |id, kind, members: &BTreeMap<u32, u16>, mode| {
        let group = Group { id, members, buckets: buckets(options, id, kind) };
        nexthop::set_group(protocol, (group, mode), sequence)
    };
    match op {
        Op::CreateGateway(id, member) => gateway(*id, *member, Mode::Create),
        Op::ReplaceGateway(id, member) => gateway(*id, *member, Mode::Replace),
        Op::CreateGroup(id, kind, members) => group(*id, *kind, members, Mode::Create),
        Op::ReplaceGroup(id, kind, members) => group(*id, *kind, members, Mode::Replace),
        Op::DeleteObject(id) => nexthop::delete(*id, sequence),
        Op::AddRoute(prefix, used) => {
            let message = RouteNetlinkMessage::NewRoute(route(options, prefix, Some(used)));
            netlink::encode(message, NLM_F_CREATE | NLM_F_EXCL, sequence)
        }
        Op::ReplaceRoute(prefix, used) => {
            let message = RouteNetlinkMessage::NewRoute(route(options, prefix, Some(used)));
            netlink::encode(message, NLM_F_REPLACE, sequence)
        }
        Op::DeleteRoute(prefix) => {
            netlink::encode(RouteNetlinkMessage::DelRoute(route(options, prefix, None)), 0, sequence)
        }
    }
}

/// Asks for all routes of a table.
pub(super) fn routes(table: u32, sequence: u32) -> Vec<u8> {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    set_table(&mut message, table);
    netlink::encode(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP, sequence)
}

fn set_table(message: &mut RouteMessage, table: u32) {
    match u8::try_from(table) {
        Ok(table) => message.header.table = table,
        Err(_) => {
            message.header.table = RouteHeader::RT_TABLE_UNSPEC;
            message.attributes.push(RouteAttribute::Table(table));
        }
    }
}

/// The table of a resilient group. That of a slot group never moves a bucket by itself as long as all slots are members; were one
/// lost and put back, its bucket goes back to it at once.
fn buckets(options: &FibOptions, id: u32, kind: GroupKind) -> Option<Buckets> {
    let GroupKind::Resilient(count) = kind else { return None };
    Some(match place(id) {
        Place::SlotGroup(_) => Buckets { count, idle: 0, unbalanced: 0 },
        _ => Buckets { count, idle: options.idle_timer, unbalanced: options.unbalanced_timer },
    })
}

fn route(options: &FibOptions, prefix: &Prefix, used: Option<&Use>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.destination_prefix_length = prefix.length();
    message.header.protocol = options.protocol.into();
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    set_table(&mut message, options.table);
    message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet6(prefix.address())));
    message.attributes.push(RouteAttribute::Priority(options.metric));
    let source = options.preferred_source.filter(|_| used.is_some());
    message.attributes.extend(source.map(|source| RouteAttribute::PrefSource(RouteAddress::Inet6(source))));
    match used {
        Some(Use::Object(id)) => message.attributes.push(RouteAttribute::NhId(*id)),
        Some(Use::Paths(paths)) => {
            let hops = paths.iter().map(|(member, weight)| {
                let mut hop = RouteNextHop::default();
                hop.interface_index = member.iface;
                hop.hops = u8::try_from(weight.saturating_sub(1)).unwrap_or(u8::MAX);
                hop.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet6(member.gateway)));
                hop
            });
            message.attributes.push(RouteAttribute::MultiPath(hops.collect()));
        }
        Some(Use::Other) | None => {}
    }
    message
}
