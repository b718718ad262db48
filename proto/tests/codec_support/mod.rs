//! Strategies that make every LSA body and every packet.

use std::net::Ipv6Addr;

use ospf_proto::id::{AreaId, IfaceId, LinkStateId, RouterId};
use ospf_proto::lsa::{
    AsExternalLsa, FarmTlv, InterAreaPrefixLsa, InterAreaRouterLsa, IntraAreaPrefixLsa, LinkLsa, LsType, Lsa, LsaBody,
    LsaHeader, LsaPrefix, NetworkLsa, Options, Prefix, PrefixOptions, RouterFlags, RouterInformationLsa, RouterLink,
    RouterLinkType, RouterLsa, ServiceFlags, ServiceRecord, SharingMode, Tlv,
};
use ospf_proto::packet::{DbDesc, DdFlags, Hello, LsAck, LsReq, LsRequest, LsUpd, Packet, PacketBody, PacketHeader};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// A metric or options field of 24 bits.
const BITS_24: u32 = 0x00ff_ffff;

/// Any address.
pub(crate) fn address() -> impl Strategy<Value = Ipv6Addr> {
    any::<[u8; 16]>().prop_map(Ipv6Addr::from)
}

/// A prefix of any length.
pub(crate) fn prefix() -> impl Strategy<Value = Prefix> {
    (address(), 0u8..=128).prop_map(|(address, length)| Prefix::new(address, length).unwrap())
}

fn options() -> impl Strategy<Value = Options> {
    (0..=BITS_24).prop_map(Options::from_bits_retain)
}

/// Options that announce no bytes behind the packet.
fn plain_options() -> impl Strategy<Value = Options> {
    options().prop_map(|options| options - Options::L - Options::AT)
}

fn prefix_options() -> impl Strategy<Value = PrefixOptions> {
    any::<u8>().prop_map(PrefixOptions::from_bits_retain)
}

fn router_id() -> impl Strategy<Value = RouterId> {
    any::<u32>().prop_map(RouterId)
}

fn link_state_id() -> impl Strategy<Value = LinkStateId> {
    any::<u32>().prop_map(LinkStateId)
}

fn listed(metric: impl Strategy<Value = u16>) -> impl Strategy<Value = LsaPrefix> {
    (prefix(), prefix_options(), metric).prop_map(|(prefix, options, metric)| LsaPrefix { prefix, options, metric })
}

fn router_lsa() -> impl Strategy<Value = RouterLsa> {
    let link = (any::<u8>(), any::<u16>(), any::<[u32; 2]>(), router_id()).prop_map(|(kind, metric, ids, router)| {
        RouterLink {
            link_type: RouterLinkType::from(kind),
            metric,
            iface_id: IfaceId(ids[0]),
            neighbor_iface_id: IfaceId(ids[1]),
            neighbor_router_id: router,
        }
    });
    (any::<u8>(), options(), vec(link, 0..6)).prop_map(|(flags, options, links)| RouterLsa {
        flags: RouterFlags::from_bits_retain(flags),
        options,
        links,
    })
}

fn external() -> impl Strategy<Value = AsExternalLsa> {
    let referenced = option::of(((1..=u16::MAX).prop_map(LsType), link_state_id()));
    (
        any::<bool>(),
        0..=BITS_24,
        (prefix_options(), prefix()),
        option::of(address()),
        option::of(any::<u32>()),
        referenced,
    )
        .prop_map(|(type_2, metric, (options, prefix), forwarding, tag, referenced)| AsExternalLsa {
            type_2,
            metric,
            options,
            prefix,
            forwarding,
            tag,
            referenced,
        })
}

/// A Farm TLV.
pub(crate) fn farm_tlv() -> impl Strategy<Value = FarmTlv> {
    let rate = || option::of(0..u32::MAX);
    let service = (prefix(), any::<[u8; 3]>(), router_id(), (rate(), rate(), rate())).prop_map(
        |(prefix, [class, m, flags], owner, (mu, x, nominal))| ServiceRecord {
            prefix_len: prefix.length(),
            class,
            m,
            flags: ServiceFlags::from_bits_retain(flags),
            prefix: prefix.address(),
            owner,
            mu,
            x,
            nominal,
        },
    );
    (any::<u8>(), any::<u16>(), vec(service, 0..5)).prop_map(|(sharing, ecmp_width, services)| FarmTlv {
        sharing: SharingMode::from(sharing),
        ecmp_width,
        services,
    })
}

/// The LS types that this code decodes, with a body each.
pub(crate) fn known() -> impl Strategy<Value = (LsType, LsaBody)> {
    let network = (options(), vec(router_id(), 0..8)).prop_map(|(options, attached)| NetworkLsa { options, attached });
    let inter_prefix = (0..=BITS_24, prefix_options(), prefix())
        .prop_map(|(metric, options, prefix)| InterAreaPrefixLsa { metric, options, prefix });
    let inter_router = (options(), 0..=BITS_24, router_id())
        .prop_map(|(options, metric, destination)| InterAreaRouterLsa { options, metric, destination });
    let link = (any::<u8>(), options(), address(), vec(listed(Just(0)), 0..5))
        .prop_map(|(priority, options, link_local, prefixes)| LinkLsa { priority, options, link_local, prefixes });
    let intra = (any::<u16>(), link_state_id(), router_id(), vec(listed(any::<u16>()), 0..6)).prop_map(
        |(referenced_type, referenced_id, referenced_router, prefixes)| IntraAreaPrefixLsa {
            referenced_type: LsType(referenced_type),
            referenced_id,
            referenced_router,
            prefixes,
        },
    );
    let tlv = (any::<u16>(), vec(any::<u8>(), 0..20)).prop_map(|(tlv_type, value)| Tlv { tlv_type, value });
    let information = vec(prop_oneof![tlv, farm_tlv().prop_map(|farm| farm.to_tlv())], 0..4)
        .prop_map(|tlvs| RouterInformationLsa { tlvs });
    prop_oneof![
        router_lsa().prop_map(|body| (LsType::ROUTER, LsaBody::Router(body))),
        network.prop_map(|body| (LsType::NETWORK, LsaBody::Network(body))),
        inter_prefix.prop_map(|body| (LsType::INTER_AREA_PREFIX, LsaBody::InterAreaPrefix(body))),
        inter_router.prop_map(|body| (LsType::INTER_AREA_ROUTER, LsaBody::InterAreaRouter(body))),
        external().prop_map(|body| (LsType::AS_EXTERNAL, LsaBody::AsExternal(body))),
        external().prop_map(|body| (LsType::NSSA, LsaBody::Nssa(body))),
        link.prop_map(|body| (LsType::LINK, LsaBody::Link(body))),
        intra.prop_map(|body| (LsType::INTRA_AREA_PREFIX, LsaBody::IntraAreaPrefix(body))),
        (information, 0u16..8).prop_map(|(body, top)| (LsType(top << 13 | 12), LsaBody::RouterInformation(body))),
    ]
}

/// A header of any LSA, its length and checksum without meaning.
pub(crate) fn lsa_header() -> impl Strategy<Value = LsaHeader> {
    (0u16..=3600, any::<u16>(), link_state_id(), router_id(), any::<i32>(), any::<[u16; 2]>()).prop_map(
        |(age, ls_type, link_state_id, adv_router, sequence, [checksum, length])| LsaHeader {
            age,
            ls_type: LsType(ls_type),
            link_state_id,
            adv_router,
            sequence,
            checksum,
            length,
        },
    )
}

/// An LSA, of a known type or of one kept whole.
pub(crate) fn lsa() -> impl Strategy<Value = Lsa> {
    let known =
        (lsa_header(), known()).prop_map(|(header, (ls_type, body))| Lsa::build(LsaHeader { ls_type, ..header }, body));
    let unknown = (lsa_header(), vec(any::<u8>(), 0..40))
        .prop_filter_map("a type without a codec", |(header, body)| {
            (!header.ls_type.is_known()).then(|| Lsa::from_body_bytes(header, &body).unwrap())
        });
    prop_oneof![5 => known, 1 => unknown]
}

/// A packet that can be sent.
pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    let hello = (any::<[u32; 3]>(), any::<u8>(), plain_options(), any::<[u16; 2]>(), vec(router_id(), 0..6)).prop_map(
        |(ids, priority, options, intervals, neighbors)| {
            PacketBody::Hello(Hello {
                iface_id: IfaceId(ids[0]),
                priority,
                options,
                hello_interval: intervals[0],
                dead_interval: intervals[1],
                dr: RouterId(ids[1]),
                bdr: RouterId(ids[2]),
                neighbors,
            })
        },
    );
    let db_desc = (plain_options(), any::<u16>(), any::<u8>(), any::<u32>(), vec(lsa_header(), 0..6)).prop_map(
        |(options, mtu, flags, sequence, headers)| {
            PacketBody::DbDesc(DbDesc { options, mtu, flags: DdFlags::from_bits_retain(flags), sequence, headers })
        },
    );
    let request = (any::<u16>(), link_state_id(), router_id()).prop_map(|(ls_type, link_state_id, adv_router)| {
        LsRequest { ls_type: LsType(ls_type), link_state_id, adv_router }
    });
    let body = prop_oneof![
        hello,
        db_desc,
        vec(request, 0..6).prop_map(|requests| PacketBody::LsReq(LsReq { requests })),
        vec(lsa(), 0..5).prop_map(|lsas| PacketBody::LsUpd(LsUpd { lsas, rejected: vec![] })),
        vec(lsa_header(), 0..6).prop_map(|headers| PacketBody::LsAck(LsAck { headers })),
    ];
    ((1..=u32::MAX).prop_map(RouterId), any::<u32>(), any::<u8>(), body).prop_map(
        |(router_id, area, instance_id, body)| Packet {
            header: PacketHeader { router_id, area_id: AreaId(area), instance_id },
            body,
        },
    )
}
