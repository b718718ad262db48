//! Next-hop object messages (`linux/nexthop.h`), which the netlink crates lack.
//!
//! ```text
//!  struct nhmsg: family u8, scope u8, protocol u8, reserved u8, flags u32
//!  NHA_ID u32 | NHA_GROUP [{ id u32, weight - 1 low u8, high u8, reserved u16 }] | NHA_GROUP_TYPE u16
//!  NHA_OIF u32 | NHA_GATEWAY address
//! ```

use std::net::Ipv6Addr;

use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NetlinkSerializable, NlasIterator,
};

use super::model::{Member, Object};
use crate::netio::netlink;

pub(super) const RTM_NEWNEXTHOP: u16 = 104;
pub(super) const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GROUP_TYPE: u16 = 3;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

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

/// Creates the object of a gateway.
pub(super) fn create_gateway(protocol: u8, (id, member): (u32, Member), sequence: u32) -> Vec<u8> {
    let attributes = vec![
        u32_attribute(NHA_ID, id),
        u32_attribute(NHA_OIF, member.iface),
        DefaultNla::new(NHA_GATEWAY, member.gateway.octets().to_vec()),
    ];
    let message = Message { kind: RTM_NEWNEXTHOP, family: AF_INET6, protocol, attributes };
    netlink::encode(message, NLM_F_CREATE | NLM_F_EXCL, sequence)
}

/// Creates a group, or replaces the members of one that exists.
pub(super) fn set_group(protocol: u8, (id, members, exists): (u32, &[u32], bool), sequence: u32) -> Vec<u8> {
    let entries = members.iter().flat_map(|member| {
        let id = member.to_ne_bytes();
        [id.as_slice(), &[0; 4]].concat()
    });
    let attributes = vec![u32_attribute(NHA_ID, id), DefaultNla::new(NHA_GROUP, entries.collect())];
    let message = Message { kind: RTM_NEWNEXTHOP, family: AF_UNSPEC, protocol, attributes };
    netlink::encode(message, if exists { NLM_F_REPLACE } else { NLM_F_CREATE | NLM_F_EXCL }, sequence)
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

/// Reads what the kernel tells of an object; none if it is malformed.
pub(super) fn parse(payload: &[u8]) -> Option<Told> {
    let protocol = *payload.get(2)?;
    let (mut id, mut group, mut group_type) = (None, None, 0);
    let (mut iface, mut gateway) = (None, None);
    for attribute in NlasIterator::new(payload.get(HEADER..)?) {
        let attribute = attribute.ok()?;
        let value = attribute.value();
        match attribute.kind() {
            NHA_ID => id = Some(u32::from_ne_bytes(value.try_into().ok()?)),
            NHA_GROUP => group = Some(members(value)),
            NHA_GROUP_TYPE => group_type = u16::from_ne_bytes(value.try_into().ok()?),
            NHA_OIF => iface = Some(u32::from_ne_bytes(value.try_into().ok()?)),
            NHA_GATEWAY => gateway = <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from),
            _ => {}
        }
    }
    let object = match (group, iface, gateway) {
        (Some(Some(members)), _, _) if group_type == 0 => Object::Group(members),
        (None, Some(iface), Some(gateway)) => Object::Gateway(Member { iface, gateway }),
        _ => Object::Other,
    };
    Some(Told { id: id?, protocol, object })
}

/// The members of a group; none if they are weighted, which ours are not.
fn members(value: &[u8]) -> Option<std::collections::BTreeSet<u32>> {
    let entries = value.chunks_exact(8).map(|entry| {
        let (id, weight) = entry.split_first_chunk::<4>()?;
        (weight.first() == Some(&0) && weight.get(1) == Some(&0)).then_some(u32::from_ne_bytes(*id))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_has_the_bytes_of_linux_nexthop_h() {
        let member = Member { iface: 3, gateway: "fe80::1".parse().unwrap() };
        let bytes = create_gateway(89, (7, member), 1);
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
        let bytes = set_group(89, (9, &[7, 8], true), 2);
        let told = parse(&bytes[16..]).unwrap();
        assert_eq!(told, Told { id: 9, protocol: 89, object: Object::Group([7, 8].into()) });
    }

    #[test]
    fn a_weighted_group_is_not_taken_for_ours() {
        let mut bytes = set_group(89, (9, &[7, 8], false), 2);
        let last = bytes.len() - 4;
        bytes[last] = 5;
        assert_eq!(parse(&bytes[16..]).unwrap().object, Object::Other);
    }

    #[test]
    fn a_truncated_message_is_none() {
        let bytes = set_group(89, (9, &[7], false), 2);
        assert_eq!(parse(&bytes[16..22]), None);
    }
}
