//! Echo packets (RFC 4443 §4) with their IPv6 header (RFC 8200 §3).

use std::net::Ipv6Addr;

use ospf_proto::wire::pseudo_header_checksum;

/// `ICMPV6_ECHO_REPLY`.
pub(super) const ECHO_REPLY: u8 = 129;
/// `ICMPV6_ECHO_REQUEST`.
const ECHO_REQUEST: u8 = 128;
/// The Next Header value of ICMPv6.
const ICMPV6: u8 = 58;
const HOP_LIMIT: u8 = 64;

/// An echo request from `source` to `target`, IPv6 header and all.
pub(super) fn request((source, target): (Ipv6Addr, Ipv6Addr), (id, sequence): (u16, u16)) -> Vec<u8> {
    let mut echo = vec![ECHO_REQUEST, 0, 0, 0];
    echo.extend(id.to_be_bytes());
    echo.extend(sequence.to_be_bytes());
    let checksum = pseudo_header_checksum(source, target, ICMPV6, &echo);
    if let Some(field) = echo.get_mut(2..4) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((echo.len() as u16).to_be_bytes());
    packet.extend([ICMPV6, HOP_LIMIT]);
    packet.extend(source.octets());
    packet.extend(target.octets());
    packet.extend(echo);
    packet
}

/// The identifier and sequence number of an echo reply; none: it is something else.
pub(super) fn reply(icmp: &[u8]) -> Option<(u16, u16)> {
    match icmp {
        [ECHO_REPLY, 0, _, _, id_high, id_low, high, low, ..] => {
            Some((u16::from_be_bytes([*id_high, *id_low]), u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_header_and_checksum_and_a_reply_is_known_again() {
        let (source, target) = ("2001:db8::1".parse().unwrap(), "2001:db8:53::53".parse().unwrap());
        let packet = request((source, target), (0x1234, 7));
        assert_eq!((packet.len(), packet[0], &packet[4..8]), (48, 0x60, [0, 8, 58, 64].as_slice()));
        assert_eq!(packet[8..24], source.octets());
        assert_eq!(packet[24..40], target.octets());
        // Over a packet with its checksum in place the sum comes out as nothing.
        assert_eq!(pseudo_header_checksum(source, target, ICMPV6, &packet[40..]), 0);
        let mut answer = packet[40..].to_vec();
        assert_eq!(reply(&answer), None, "a request is no reply");
        answer[0] = ECHO_REPLY;
        assert_eq!(reply(&answer), Some((0x1234, 7)));
        assert_eq!(reply(&answer[..7]), None);
    }
}
