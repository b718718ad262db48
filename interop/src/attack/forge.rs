//! Packets and LSAs that nobody would originate: built as RFC 5340 §A.3 and §A.4 say, then bent.

use std::{iter::Peekable, net::Ipv6Addr};

use ospf_proto::{
    consts::IP_PROTOCOL,
    id::{LinkStateId, RouterId},
    lsa::{LsType, LsaHeader},
    wire::{Reader, Writer, fletcher, pseudo_header_checksum},
};

/// Bytes of LSAs in one LS Update that is to fit into an Ethernet frame.
const BATCH: usize = 1400;

/// Overwrites bytes, as far as there are any.
pub fn patch(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (place, new) in bytes.iter_mut().skip(at).zip(value) {
        *place = *new;
    }
}

/// Makes the checksum of a packet right, over as many bytes as its length field says and are there.
pub fn sum_packet(src: Ipv6Addr, dst: Ipv6Addr, mut bytes: Vec<u8>) -> Vec<u8> {
    patch(&mut bytes, 12, &[0, 0]);
    let length = match bytes.get(2..4) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => 0,
    };
    let covered = bytes.get(..length).unwrap_or(&bytes);
    let sum = pseudo_header_checksum(src, dst, IP_PROTOCOL, covered);
    patch(&mut bytes, 12, &sum.to_be_bytes());
    bytes
}

/// Makes the checksum of an LSA right.
pub fn sum_lsa(mut lsa: Vec<u8>) -> Vec<u8> {
    let sum = fletcher(lsa.get(2..).unwrap_or_default(), 14);
    patch(&mut lsa, 16, &sum.to_be_bytes());
    lsa
}

/// An LSA with any body: length and checksum are right, nothing else is checked.
pub fn lsa(header: LsaHeader, body: &[u8]) -> Vec<u8> {
    let mut w = Writer::with_capacity(LsaHeader::LENGTH + body.len());
    header.encode(&mut w);
    w.put_bytes(body);
    let length = u16::try_from(w.len()).unwrap_or(u16::MAX);
    w.patch_u16(18, length);
    sum_lsa(w.into_vec())
}

/// A header of this type, Link State ID and originator.
pub fn header(ls_type: LsType, id: u32, router: u32) -> LsaHeader {
    LsaHeader {
        age: 1,
        ls_type,
        link_state_id: LinkStateId(id),
        adv_router: RouterId(router),
        sequence: ospf_proto::consts::INITIAL_SEQUENCE,
        ..LsaHeader::default()
    }
}

/// The header of an LSA.
pub fn header_of(lsa: &[u8]) -> Option<LsaHeader> {
    LsaHeader::decode(&mut Reader::new(lsa)).ok()
}

/// As many of the LSAs as fit into one frame; at least one, if there is any.
pub fn fill(lsas: &mut Peekable<impl Iterator<Item = Vec<u8>>>) -> Vec<Vec<u8>> {
    let (mut batch, mut bytes) = (vec![], 0);
    while let Some(lsa) = lsas.next_if(|lsa| bytes == 0 || bytes + lsa.len() <= BATCH) {
        bytes += lsa.len();
        batch.push(lsa);
    }
    batch
}

/// An AS-External-LSA of 36 bytes for a /64 (RFC 5340 §A.4.7), with metric 1.
pub fn external(router: u32, number: u32) -> Vec<u8> {
    let [a, b, c, d] = number.to_be_bytes();
    let body = [0, 0, 0, 1, 64, 0, 0, 0, 0x20, 0x01, 0x0d, 0xb8, a, b, c, d];
    lsa(header(LsType::AS_EXTERNAL, number + 1, router), &body)
}

/// One IPv6 fragment (RFC 8200 §4.5) of an OSPF packet.
#[derive(Debug, Clone, Copy)]
pub struct Fragment<'a> {
    /// Identification.
    pub id: u32,
    /// Offset in units of eight bytes.
    pub offset: u16,
    /// Whether more are to follow.
    pub more: bool,
    /// Its part of the packet.
    pub payload: &'a [u8],
}

impl Fragment<'_> {
    /// Fragment header and payload.
    pub fn bytes(&self) -> Vec<u8> {
        let place = (self.offset << 3) | u16::from(self.more);
        let mut w = Writer::with_capacity(8 + self.payload.len());
        w.put_u8(IP_PROTOCOL);
        w.put_u8(0);
        w.put_u16(place);
        w.put_u32(self.id);
        w.put_bytes(self.payload);
        w.into_vec()
    }
}

#[cfg(test)]
mod tests {
    use ospf_proto::lsa::Lsa;

    use super::*;

    #[test]
    fn a_forged_external_lsa_is_a_good_one_until_it_is_bent() {
        let bytes = external(0x0a00_0001, 7);
        assert_eq!(bytes.len(), 36);
        let good = Lsa::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(good.header.link_state_id, LinkStateId(8));
        let mut bent = bytes;
        patch(&mut bent, 24, &[129]);
        Lsa::decode(&mut Reader::new(&sum_lsa(bent))).unwrap_err();
    }

    #[test]
    fn a_fragment_starts_with_its_header() {
        let bytes = Fragment { id: 0x0102_0304, offset: 185, more: true, payload: &[9] }.bytes();
        assert_eq!(bytes, [89, 0, 5, 0xc9, 1, 2, 3, 4, 9]);
    }

    #[test]
    fn lsas_are_packed_into_frames_and_an_oversized_one_goes_alone() {
        let mut lsas = [1000, 400, 1, 3000, 5].map(|length| vec![0; length]).into_iter().peekable();
        let mut sizes = vec![];
        while lsas.peek().is_some() {
            sizes.push(fill(&mut lsas).len());
        }
        assert_eq!(sizes, [2, 1, 1, 1]);
    }
}
