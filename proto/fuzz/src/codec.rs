//! Targets of the codecs: nothing panics, errors point into the input, what decodes encodes to the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is a finding")]

use std::net::Ipv6Addr;

use ospf_proto::consts::{ALL_SPF_ROUTERS, MAX_AGE};
use ospf_proto::id::{AreaId, Domain};
use ospf_proto::lsa::{
    FARM_TLV_TYPE, FarmTlv, LsType, Lsa, LsaBody, LsaError, LsaHeader, Recency, RouterInformationLsa, Tlv, compare,
};
use ospf_proto::packet::{Packet, PacketBody};
use ospf_proto::wire::{DecodeError, Reader, Writer};

use super::seal;

/// The sender of every packet.
pub const SRC: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Where it sends to.
pub const DST: Ipv6Addr = ALL_SPF_ROUTERS;

/// An error names a place within the input, and can be told.
fn check_error(error: &DecodeError, length: usize) {
    assert!(error.offset <= length, "{error} points behind {length} bytes");
    assert!(!error.to_string().is_empty());
}

/// Packets: as they come, and with length and checksums made right.
pub fn decode_packet(data: &[u8]) {
    let mut sealed = data.to_vec();
    seal::packet(&mut sealed, SRC, DST);
    for bytes in [data, &sealed] {
        match Packet::decode(SRC, DST, bytes) {
            Ok(packet) => check_packet(&packet, bytes.len()),
            Err(error) => check_error(&error, bytes.len()),
        }
    }
}

fn check_packet(packet: &Packet, length: usize) {
    assert_ne!(packet.header.router_id.0, 0);
    let PacketBody::LsUpd(update) = &packet.body else { return };
    for lsa in &update.lsas {
        check_lsa(lsa);
    }
    for rejected in &update.rejected {
        check_error(&rejected.error, length);
    }
}

fn check_lsa(lsa: &Lsa) {
    assert_eq!(usize::from(lsa.header.length), lsa.raw.len());
    assert!(lsa.header.age <= MAX_AGE);
    assert_eq!(compare(&lsa.header, &lsa.header), Recency::Same);
    assert_eq!(lsa.key(Domain::Area(AreaId(0))).ls_type, lsa.header.ls_type);
    assert_eq!(lsa.header.ls_type.is_known(), lsa.body != LsaBody::Unknown);
}

/// LSAs: as they come, and with length and checksum made right.
pub fn decode_lsa(data: &[u8]) {
    let mut sealed = data.to_vec();
    seal::lsa(&mut sealed);
    for bytes in [data, &sealed] {
        let mut r = Reader::new(bytes);
        match Lsa::decode(&mut r) {
            Ok(lsa) => {
                check_lsa(&lsa);
                assert_eq!(r.offset(), lsa.raw.len(), "the reader stands behind the LSA");
                check_lsa_roundtrip(&lsa);
            }
            Err(error) => {
                check_error(error.error(), bytes.len());
                if let LsaError::Malformed { header, .. } = error {
                    assert_eq!(r.offset(), usize::from(header.length), "the reader stands behind the LSA");
                }
            }
        }
    }
    // What frames well may still be a list of LSA headers.
    let mut r = Reader::new(data);
    while !r.is_empty() {
        let left = r.remaining();
        if LsaHeader::decode(&mut r).is_err() {
            break;
        }
        assert!(r.remaining() < left);
    }
}

/// The LSA as sent decodes to itself; a body built anew decodes to the same body and bytes that stay.
fn check_lsa_roundtrip(lsa: &Lsa) {
    let bytes = lsa.wire_bytes(lsa.header.age);
    let again = Lsa::decode(&mut Reader::new(&bytes));
    assert!(
        again.is_ok_and(|again| again.header == lsa.header && again.body == lsa.body && again.raw[2..] == lsa.raw[2..])
    );
    if lsa.body == LsaBody::Unknown {
        return;
    }
    let built = Lsa::build(lsa.header, lsa.body.clone());
    assert_eq!(Lsa::decode(&mut Reader::new(&built.raw)).as_ref().map(|l| &l.body), Ok(&lsa.body));
    assert_eq!(Lsa::from_body_bytes(built.header, built.body_bytes()).as_ref(), Ok(&built));
}

/// A packet that decodes encodes to bytes that decode to the same; so does each LSA in it.
pub fn roundtrip(data: &[u8]) {
    let mut sealed = data.to_vec();
    seal::packet(&mut sealed, SRC, DST);
    let Ok(mut packet) = Packet::decode(SRC, DST, &sealed) else { return };
    if let PacketBody::LsUpd(update) = &mut packet.body {
        update.rejected.clear();
        for lsa in &mut update.lsas {
            check_lsa_roundtrip(lsa);
            // DoNotAge is masked off in the header only.
            lsa.raw = lsa.wire_bytes(lsa.header.age).into();
        }
    }
    let encoded = packet.encode(SRC, DST);
    let again = Packet::decode(SRC, DST, &encoded);
    assert_eq!(again.as_ref(), Ok(&packet));
    assert_eq!(packet.encode(SRC, DST), encoded);
}

/// The Farm TLV, alone and among the TLVs of a Router-Information LSA (docs/farm-tlv.md).
pub fn farm_tlv(data: &[u8]) {
    match FarmTlv::decode(data) {
        Ok(farm) => {
            let encoded = farm.encode();
            assert_eq!(FarmTlv::decode(&encoded).as_ref(), Ok(&farm));
            assert_eq!(FarmTlv::from_tlv(&farm.to_tlv()), Some(Ok(farm)));
            for cut in 0..encoded.len() {
                assert!(FarmTlv::decode(&encoded[..cut]).is_err(), "cut at {cut} of {}", encoded.len());
            }
        }
        Err(error) => check_error(&error, data.len()),
    }
    let tlv = Tlv { tlv_type: FARM_TLV_TYPE, value: data.to_vec() };
    assert_eq!(FarmTlv::from_tlv(&tlv), Some(FarmTlv::decode(data)));
    let mut r = Reader::new(data);
    match RouterInformationLsa::decode(&mut r) {
        Ok(body) => {
            let mut w = Writer::new();
            body.encode(&mut w);
            assert_eq!(w.len(), data.len());
            assert_eq!(RouterInformationLsa::decode(&mut Reader::new(w.as_slice())).as_ref(), Ok(&body));
            assert_eq!(LsType(0xa00c).function_code(), LsType::ROUTER_INFORMATION_CODE);
            for tlv in &body.tlvs {
                if let Some(Err(error)) = FarmTlv::from_tlv(tlv) {
                    check_error(&error, tlv.value.len());
                }
            }
        }
        Err(error) => check_error(&error, data.len()),
    }
}
