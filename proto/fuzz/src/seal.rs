//! Makes lengths and checksums of damaged bytes right again, so that the damage gets past them to what lies behind.

use std::net::Ipv6Addr;

use ospf_proto::consts::IP_PROTOCOL;
use ospf_proto::lsa::LsaHeader;
use ospf_proto::packet::{PacketHeader, PacketType};
use ospf_proto::wire::{fletcher, pseudo_header_checksum};

/// Where the LSAs of a Link State Update begin (RFC 5340 §A.3.5).
const LSAS_AT: usize = PacketHeader::LENGTH + 4;

/// Writes `value` at `at`, where there is room for it.
fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..at + N) {
        place.copy_from_slice(&value);
    }
}

/// Fills in the length (RFC 5340 §A.4.2) and the checksum of an LSA.
pub fn lsa(bytes: &mut [u8]) {
    put(bytes, 18, u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    lsa_checksum(bytes);
}

fn lsa_checksum(bytes: &mut [u8]) {
    if let Some(summed) = bytes.get(2..).filter(|_| bytes.len() >= LsaHeader::LENGTH) {
        let checksum = fletcher(summed, 14);
        put(bytes, 16, checksum.to_be_bytes());
    }
}

/// Fills in version, length and checksum of a packet, and before these the checksums of the LSAs in an update as far as
/// their lengths lead.
pub fn packet(bytes: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
    put(bytes, 0, [3]);
    put(bytes, 2, u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    if bytes.get(1) == Some(&(PacketType::LsUpd as u8)) {
        let mut at = LSAS_AT;
        while let Some(&[high, low]) = bytes.get(at + 18..at + 20) {
            let length = usize::from(u16::from_be_bytes([high, low]));
            let Some(lsa) = bytes.get_mut(at..at + length).filter(|_| length >= LsaHeader::LENGTH) else { break };
            lsa_checksum(lsa);
            at += length;
        }
    }
    put(bytes, 12, [0, 0]);
    let checksum = pseudo_header_checksum(src, dst, IP_PROTOCOL, bytes);
    put(bytes, 12, checksum.to_be_bytes());
}
