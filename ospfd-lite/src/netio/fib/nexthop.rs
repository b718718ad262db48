//! Next-hop object messages (`linux/nexthop.h`), which the netlink crates lack.
//!
//! ```text
//!  struct nhmsg: family u8, scope u8, protocol u8, reserved u8, flags u32
//!  NHA_ID u32 | NHA_GROUP [{ id u32, weight - 1 low u8, high u8, reserved u16 }] | NHA_GROUP_TYPE u16
//!  NHA_BLACKHOLE | NHA_OIF u32 | NHA_GATEWAY address
//!  NHA_RES_GROUP { buckets u16, idle timer u32, unbalanced timer u32, both in 1/100 s }
//!  NHA_OP_FLAGS u32 | NHA_GROUP_STATS [{ id u32, packets u32 or u64 }]
//! ```

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use netlink_packet_core::{
    DefaultNla, Emitable, NLA_F_NESTED, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NetlinkSerializable,
    NlasIterator,
};

use super::ids::PROBE;
use super::model::{GroupKind, Member, Object};
use crate::netio::netlink;

pub(super) const RTM_NEWNEXTHOP: u16 = 104;
pub(super) const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GROUP_TYPE: u16 = 3;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_GROUPS: u16 = 9;
const NHA_RES_GROUP: u16 = 12;
const NHA_OP_FLAGS: u16 = 14;
const NHA_GROUP_STATS: u16 = 15;

const NHA_RES_GROUP_BUCKETS: u16 = 1;
const NHA_RES_GROUP_IDLE_TIMER: u16 = 2;
const NHA_RES_GROUP_UNBALANCED_TIMER: u16 = 3;

const NHA_GROUP_STATS_ENTRY_ID: u16 = 1;
const NHA_GROUP_STATS_ENTRY_PACKETS: u16 = 2;
const NHA_OP_FLAG_DUMP_STATS: u32 = 1;

const RESILIENT: u16 = 1;
/// Units of the timers of a resilient group in a second (`USER_HZ`).
const TICKS: u32 = 100;

/// The table of a resilient group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buckets {
    pub(super) count: u16,
    /// How long a bucket must have been unused before it may go to another member, seconds.
    pub(super) idle: u32,
    /// After how long of imbalance buckets in use go too, seconds; 0: never.
    pub(super) unbalanced: u32,
}

const HEADER: usize = 8;
const AF_UNSPEC: u8 = 0;
const AF_INET6: u8 = nix::libc::AF_INET6 as u8;

/// A next-hop object as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) id: u32,
    pub(super) protocol: u8,
    pub(super) object: Object,
}

struct Message {
    kind: u16,
    family: u8,
    protocol: u8,
    attributes: Vec<DefaultNla>,
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        HEADER + self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let header = [self.family, 0, self.protocol, 0, 0, 0, 0, 0];
        let (head, rest) = buffer.split_at_mut(HEADER);
        head.copy_from_slice(&header);
        self.attributes.as_slice().emit(rest);
    }
}

fn u32_attribute(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

/// Whether a message is to create something or to change what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Create,
    Replace,
}

impl Mode {
    fn flags(self) -> u16 {
        match self {
            Mode::Create => NLM_F_CREATE | NLM_F_EXCL,
            Mode::Replace => NLM_F_REPLACE,
        }
    }
}

/// Creates the object of a gateway, or points one that exists to another.
pub(super) fn set_gateway(protocol: u8, (id, member, mode): (u32, Member, Mode), sequence: u32) -> Vec<u8> {
    let attributes = vec![
        u32_attribute(NHA_ID, id),
        u32_attribute(NHA_OIF, member.iface),
        DefaultNla::new(NHA_GATEWAY, member.gateway.octets().to_vec()),
    ];
    let message = Message { kind: RTM_NEWNEXTHOP, family: AF_INET6, protocol, attributes };
    netlink::encode(message, mode.flags(), sequence)
}

/// A group: its members with their weights, and its buckets if it is resilient.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    pub(super) id: u32,
    pub(super) members: &'a BTreeMap<u32, u16>,
    pub(super) buckets: Option<Buckets>,
}

/// Creates a group, or replaces the members of one that exists.
pub(super) fn set_group(protocol: u8, (group, mode): (Group<'_>, Mode), sequence: u32) -> Vec<u8> {
    let entries = group.members.iter().flat_map(|(id, weight)| {
        let [low, high] = weight.saturating_sub(1).to_le_bytes();
        [id.to_ne_bytes().as_slice(), &[low, high, 0, 0]].concat()
    });
    let mut attributes = vec![u32_attribute(NHA_ID, group.id), DefaultNla::new(NHA_GROUP, entries.collect())];
    if let Some(buckets) = group.buckets {
        let nested = vec![
            DefaultNla::new(NHA_RES_GROUP_BUCKETS, buckets.count.to_ne_bytes().to_vec()),
            u32_attribute(NHA_RES_GROUP_IDLE_TIMER, buckets.idle.saturating_mul(TICKS)),
            u32_attribute(NHA_RES_GROUP_UNBALANCED_TIMER, buckets.unbalanced.saturating_mul(TICKS)),
        ];
        let mut value = vec![0; nested.as_slice().buffer_len()];
        nested.as_slice().emit(&mut value);
        attributes.push(DefaultNla::new(NHA_GROUP_TYPE, RESILIENT.to_ne_bytes().to_vec()));
        attributes.push(DefaultNla::new(NHA_RES_GROUP | NLA_F_NESTED, value));
    }
    let message = Message { kind: RTM_NEWNEXTHOP, family: AF_UNSPEC, protocol, attributes };
    netlink::encode(message, mode.flags(), sequence)
}

/// Creates an object that drops packets, to find out whether there are next-hop objects at all; no route uses it.
pub(super) fn create_probe(protocol: u8, sequence: u32) -> Vec<u8> {
    let attributes = vec![u32_attribute(NHA_ID, PROBE), DefaultNla::new(NHA_BLACKHOLE, Vec::new())];
    let message = Message { kind: RTM_NEWNEXTHOP, family: AF_INET6, protocol, attributes };
    netlink::encode(message, NLM_F_CREATE | NLM_F_REPLACE, sequence)
}

/// Deletes an object; the kernel deletes the routes that use it.
pub(super) fn delete(id: u32, sequence: u32) -> Vec<u8> {
    let message =
        Message { kind: RTM_DELNEXTHOP, family: AF_UNSPEC, protocol: 0, attributes: vec![u32_attribute(NHA_ID, id)] };
    netlink::encode(message, 0, sequence)
}

/// Asks for all objects.
pub(super) fn dump(sequence: u32) -> Vec<u8> {
    let message = Message { kind: RTM_GETNEXTHOP, family: AF_UNSPEC, protocol: 0, attributes: Vec::new() };
    netlink::encode(message, NLM_F_DUMP, sequence)
}

/// Asks for all groups with the packets that each member got; a kernel before 6.9 refuses it.
pub(super) fn dump_statistics(sequence: u32) -> Vec<u8> {
    let attributes = vec![DefaultNla::new(NHA_GROUPS, Vec::new()), u32_attribute(NHA_OP_FLAGS, NHA_OP_FLAG_DUMP_STATS)];
    let message = Message { kind: RTM_GETNEXTHOP, family: AF_UNSPEC, protocol: 0, attributes };
    netlink::encode(message, NLM_F_DUMP, sequence)
}

fn u32_of(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

/// Reads what the kernel tells of an object; none if it is malformed.
pub(super) fn parse(payload: &[u8]) -> Option<Told> {
    let protocol = *payload.get(2)?;
    let (mut id, mut group, mut group_type, mut buckets) = (None, None, 0, None);
    let (mut iface, mut gateway) = (None, None);
    for attribute in NlasIterator::new(payload.get(HEADER..)?) {
        let attribute = attribute.ok()?;
        let value = attribute.value();
        match attribute.kind() {
            NHA_ID => id = Some(u32_of(value)?),
            NHA_GROUP => group = Some(members(value)?),
            NHA_GROUP_TYPE => group_type = u16::from_ne_bytes(value.try_into().ok()?),
            NHA_RES_GROUP => buckets = bucket_count(value),
            NHA_OIF => iface = Some(u32_of(value)?),
            NHA_GATEWAY => gateway = <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from),
            _ => {}
        }
    }
    let object = match (group, iface, gateway) {
        (Some(members), ..) if group_type == 0 => Object::Group(GroupKind::Threshold, members),
        (Some(members), ..) if group_type == RESILIENT => Object::Group(GroupKind::Resilient(buckets?), members),
        (None, Some(iface), Some(gateway)) => Object::Gateway(Member { iface, gateway }),
        _ => Object::Other,
    };
    Some(Told { id: id?, protocol, object })
}

/// The members of a group with their weights.
fn members(value: &[u8]) -> Option<BTreeMap<u32, u16>> {
    let entries = value.chunks_exact(8).map(|entry| {
        let (id, weight) = entry.split_first_chunk::<4>()?;
        let weight = u16::from_le_bytes(*weight.first_chunk::<2>()?);
        Some((u32::from_ne_bytes(*id), weight.saturating_add(1)))
    });
    entries.collect()
}

fn bucket_count(value: &[u8]) -> Option<u16> {
    let mut attributes = NlasIterator::new(value).filter_map(Result::ok);
    let buckets = attributes.find(|attribute| attribute.kind() == NHA_RES_GROUP_BUCKETS)?;
    Some(u16::from_ne_bytes(buckets.value().try_into().ok()?))
}

/// The group that statistics are of, and the packets that each of its members got.
pub(super) fn parse_statistics(payload: &[u8]) -> Option<(u32, BTreeMap<u32, u64>)> {
    let (mut id, mut packets) = (None, BTreeMap::new());
    for attribute in NlasIterator::new(payload.get(HEADER..)?) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            NHA_ID => id = Some(u32_of(attribute.value())?),
            NHA_GROUP_STATS => {
                for entry in NlasIterator::new(attribute.value()) {
                    let (member, count) = parse_statistic(entry.ok()?.value())?;
                    packets.insert(member, count);
                }
            }
            _ => {}
        }
    }
    Some((id?, packets))
}

fn parse_statistic(value: &[u8]) -> Option<(u32, u64)> {
    let (mut id, mut packets) = (None, None);
    for attribute in NlasIterator::new(value) {
        let attribute = attribute.ok()?;
        let value = attribute.value();
        match attribute.kind() {
            NHA_GROUP_STATS_ENTRY_ID => id = Some(u32_of(value)?),
            // 32 bits as long as they suffice.
            NHA_GROUP_STATS_ENTRY_PACKETS => {
                packets = u32_of(value).map(u64::from).or_else(|| Some(u64::from_ne_bytes(value.try_into().ok()?)));
            }
            _ => {}
        }
    }
    Some((id?, packets?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_has_the_bytes_of_linux_nexthop_h() {
        let member = Member { iface: 3, gateway: "fe80::1".parse().unwrap() };
        let bytes = set_gateway(89, (7, member, Mode::Create), 1);
        let mut expected = Vec::new();
        expected.extend(60u32.to_ne_bytes()); // nlmsg_len
        expected.extend(104u16.to_ne_bytes());
        expected.extend((1u16 | 0x400 | 0x200).to_ne_bytes()); // REQUEST, CREATE, EXCL
        expected.extend(1u32.to_ne_bytes());
        expected.extend(0u32.to_ne_bytes());
        expected.extend([10, 0, 89, 0, 0, 0, 0, 0]);
        expected.extend([8u16.to_ne_bytes(), 1u16.to_ne_bytes()].concat());
        expected.extend(7u32.to_ne_bytes());
        expected.extend([8u16.to_ne_bytes(), 5u16.to_ne_bytes()].concat());
        expected.extend(3u32.to_ne_bytes());
        expected.extend([20u16.to_ne_bytes(), 6u16.to_ne_bytes()].concat());
        expected.extend(member.gateway.octets());
        assert_eq!(bytes, expected);
        let told = parse(&bytes[16..]).unwrap();
        assert_eq!(told, Told { id: 7, protocol: 89, object: Object::Gateway(member) });
    }

    #[test]
    fn a_group_is_read_back_as_written() {
        let members = BTreeMap::from([(7, 1), (8, 256), (9, 300)]);
        let group = Group { id: 89_000_009, members: &members, buckets: None };
        let told = parse(&set_group(89, (group, Mode::Replace), 2)[16..]).unwrap();
        let object = Object::Group(GroupKind::Threshold, members.clone());
        assert_eq!(told, Told { id: 89_000_009, protocol: 89, object });
        let buckets = Some(Buckets { count: 64, idle: 120, unbalanced: 0 });
        let told = parse(&set_group(89, (Group { buckets, ..group }, Mode::Create), 2)[16..]).unwrap();
        assert_eq!(told.object, Object::Group(GroupKind::Resilient(64), members));
    }

    #[test]
    fn statistics_have_counts_of_either_width() {
        let entry = |id: u32, packets: Vec<u8>| {
            let inner = vec![u32_attribute(1, id), DefaultNla::new(2, packets)];
            let mut value = vec![0; inner.as_slice().buffer_len()];
            inner.as_slice().emit(&mut value);
            DefaultNla::new(1 | NLA_F_NESTED, value)
        };
        let entries = vec![entry(7, 5u32.to_ne_bytes().to_vec()), entry(8, (1u64 << 33).to_ne_bytes().to_vec())];
        let mut value = vec![0; entries.as_slice().buffer_len()];
        entries.as_slice().emit(&mut value);
        let attributes = vec![u32_attribute(NHA_ID, 3), DefaultNla::new(NHA_GROUP_STATS | NLA_F_NESTED, value)];
        let message = Message { kind: RTM_NEWNEXTHOP, family: 0, protocol: 89, attributes };
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        assert_eq!(parse_statistics(&bytes), Some((3, BTreeMap::from([(7, 5), (8, 1 << 33)]))));
        assert_eq!(parse_statistics(&bytes[..bytes.len() - 2]), None);
    }

    #[test]
    fn a_truncated_message_is_none() {
        let bytes = set_gateway(89, (9, Member { iface: 1, gateway: Ipv6Addr::LOCALHOST }, Mode::Replace), 2);
        assert_eq!(parse(&bytes[16..22]), None);
    }
}
