//! What holds for every LSA and every packet: round trips, truncation, corruption.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests, outside the functions that clippy takes for tests"
)]

mod codec_support;

use std::net::Ipv6Addr;

use codec_support::{address, farm_tlv, lsa, packet, prefix};
use ospf_proto::lsa::{FarmTlv, Lsa, LsaError, LsaHeader, LsaPrefix, Prefix, PrefixOptions, Recency, compare};
use ospf_proto::packet::{Packet, PacketBody};
use ospf_proto::wire::{Reader, Writer, pseudo_header_checksum};
use proptest::collection::vec;
use proptest::prelude::*;

const SRC: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const DST: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 5);

/// Makes the length field and the checksum of a damaged packet right again, so that the damage gets through to the body.
fn reseal(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes[12..14].fill(0);
    let checksum = pseudo_header_checksum(SRC, DST, 89, &bytes);
    bytes[12..14].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

proptest! {
    #[test]
    fn every_lsa_decodes_to_what_was_built(lsa in lsa()) {
        let mut r = Reader::new(&lsa.raw);
        prop_assert_eq!(Lsa::decode(&mut r), Ok(lsa.clone()));
        prop_assert!(r.is_empty());
        prop_assert_eq!(usize::from(lsa.header.length), lsa.raw.len());
        prop_assert_eq!(&lsa.wire_bytes(lsa.header.age)[..], &lsa.raw[..]);
        prop_assert_eq!(compare(&lsa.header, &lsa.header), Recency::Same);
        prop_assert_eq!(Lsa::from_body_bytes(lsa.header, lsa.body_bytes()), Ok(lsa));
    }

    #[test]
    fn every_truncation_of_an_lsa_is_a_framing_error(lsa in lsa()) {
        for cut in 0..lsa.raw.len() {
            let mut r = Reader::new(&lsa.raw[..cut]);
            prop_assert!(matches!(Lsa::decode(&mut r), Err(LsaError::Framing(_))), "cut at {}", cut);
        }
    }

    /// The age is outside the checksum; the length field moves the frame, which only the packet's own length can tell.
    #[test]
    fn every_flipped_bit_of_an_lsa_is_noticed_but_in_age_and_length(lsa in lsa(), bit in any::<prop::sample::Index>()) {
        // Bytes 2..18 and those behind 20.
        let bit = bit.index((lsa.raw.len() - 4) * 8);
        let bit = if bit < 16 * 8 { 16 + bit } else { 32 + bit };
        let mut bytes = lsa.raw.to_vec();
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
        prop_assert!(Lsa::decode(&mut Reader::new(&bytes)).is_err());
    }

    #[test]
    fn every_packet_decodes_to_what_was_encoded(packet in packet(), src in address(), dst in address()) {
        let bytes = packet.encode(src, dst);
        let decoded = Packet::decode(src, dst, &bytes);
        prop_assert_eq!(decoded.as_ref(), Ok(&packet));
        prop_assert_eq!(packet.encode(src, dst), bytes);
    }

    #[test]
    fn every_truncation_of_a_packet_is_an_error(packet in packet()) {
        let bytes = packet.encode(SRC, DST);
        for cut in 0..bytes.len() {
            prop_assert!(Packet::decode(SRC, DST, &bytes[..cut]).is_err(), "cut at {}", cut);
        }
    }

    /// The frame made right again, a packet cut short is an error, or a shorter one where the cut falls between elements.
    #[test]
    fn a_resealed_truncation_is_an_error_or_a_shorter_packet(packet in packet()) {
        let bytes = packet.encode(SRC, DST);
        for cut in 16..bytes.len() {
            let cut_bytes = reseal(bytes[..cut].to_vec());
            if let Ok(shorter) = Packet::decode(SRC, DST, &cut_bytes) {
                prop_assert_ne!(&shorter, &packet);
                prop_assert!(!matches!(shorter.body, PacketBody::LsUpd(_)), "the count does not match: {}", cut);
                prop_assert_eq!(shorter.encode(SRC, DST), cut_bytes);
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_a_packet_is_noticed(packet in packet(), bit in any::<prop::sample::Index>()) {
        let mut bytes = packet.encode(SRC, DST);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
        prop_assert!(Packet::decode(SRC, DST, &bytes).is_err());
    }

    /// What decodes, whatever it was, encodes and decodes to itself: no input leads to a value that we cannot send.
    #[test]
    fn a_damaged_packet_with_a_good_checksum_never_panics(
        packet in packet(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = packet.encode(SRC, DST);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(mut decoded) = Packet::decode(SRC, DST, &reseal(bytes)) {
            if let PacketBody::LsUpd(update) = &mut decoded.body {
                update.rejected.clear();
                for lsa in &mut update.lsas {
                    *lsa = Lsa::decode(&mut Reader::new(&lsa.wire_bytes(lsa.header.age))).unwrap();
                }
            }
            let again = Packet::decode(SRC, DST, &decoded.encode(SRC, DST));
            prop_assert_eq!(again, Ok(decoded));
        }
    }

    /// Random bodies below a good header and checksum reach every decoder.
    #[test]
    fn random_bytes_never_panic(packet_type in 1u8..=5, body in vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![3, packet_type, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(&body);
        let _ = Packet::decode(SRC, DST, &reseal(bytes));
        let _ = Packet::decode(SRC, DST, &body);
        let _ = FarmTlv::decode(&body);
    }

    /// Random bodies below a good LSA header reach every body decoder; a body that decodes is decoded alike again.
    #[test]
    fn random_lsa_bodies_never_panic(ls_type in 0usize..9, body in vec(any::<u8>(), 0..120)) {
        let ls_type = [0x2001, 0x2002, 0x2003, 0x2004, 0x4005, 0x2007, 0x0008, 0x2009, 0xa00c][ls_type];
        let header = LsaHeader { ls_type: ospf_proto::lsa::LsType(ls_type), ..LsaHeader::default() };
        if let Ok(lsa) = Lsa::from_body_bytes(header, &body) {
            let rebuilt = Lsa::build(header, lsa.body.clone());
            let decoded = Lsa::decode(&mut Reader::new(&rebuilt.raw)).unwrap();
            prop_assert_eq!(decoded.body, lsa.body);
        }
    }

    #[test]
    fn every_farm_tlv_decodes_to_what_was_encoded(farm in farm_tlv(), behind in vec(any::<u8>(), 0..40)) {
        let mut bytes = farm.encode();
        for cut in 0..bytes.len() {
            prop_assert!(FarmTlv::decode(&bytes[..cut]).is_err(), "cut at {}", cut);
        }
        bytes.extend(behind);
        prop_assert_eq!(FarmTlv::decode(&bytes), Ok(farm));
    }

    #[test]
    fn every_prefix_round_trips_and_contains_its_address(prefix in prefix(), options in any::<u8>(), metric in any::<u16>()) {
        let listed = LsaPrefix { prefix, options: PrefixOptions::from_bits_retain(options), metric };
        let mut w = Writer::new();
        listed.encode(&mut w);
        prop_assert_eq!(w.len(), listed.wire_len());
        prop_assert_eq!(LsaPrefix::decode(&mut Reader::new(w.as_slice())), Ok(listed));
        prop_assert!(prefix.contains(prefix.address()));
        prop_assert_eq!(prefix.to_string().parse::<Prefix>(), Ok(prefix));
    }
}
