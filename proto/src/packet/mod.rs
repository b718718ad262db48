//! OSPFv3 packets (RFC 5340 §A.3): header, the five bodies, decode and encode with the pseudo-header checksum.
//!
//! Bytes behind the packet length are allowed only where the L- or AT-bit of a Hello or Database Description announces
//! them (link-local signaling, RFC 5613 §2; authentication trailer, RFC 7166 §4.1); they are not looked at. Reserved
//! fields are ignored when received and 0 when sent.

use std::net::Ipv6Addr;

use crate::consts::{IP_PROTOCOL, VERSION};
use crate::id::{AreaId, RouterId};
use crate::lsa::{LsaHeader, Options};
use crate::wire::{DecodeError, Fault, Reader, Writer, pseudo_header_checksum};

mod db_desc;
mod header;
mod hello;
mod ls_ack;
mod ls_req;
mod ls_upd;

pub use db_desc::{DbDesc, DdFlags};
pub use header::{PacketHeader, PacketType};
pub use hello::Hello;
pub use ls_ack::LsAck;
pub use ls_req::{LsReq, LsRequest};
pub use ls_upd::{LsUpd, RejectedLsa};

/// A whole packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The header fields that are not derived from the body.
    pub header: PacketHeader,
    /// The body.
    pub body: PacketBody,
}

/// The body of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketBody {
    /// Hello (RFC 5340 §A.3.2).
    Hello(Hello),
    /// Database Description (RFC 5340 §A.3.3).
    DbDesc(DbDesc),
    /// Link State Request (RFC 5340 §A.3.4).
    LsReq(LsReq),
    /// Link State Update (RFC 5340 §A.3.5).
    LsUpd(LsUpd),
    /// Link State Acknowledgment (RFC 5340 §A.3.6).
    LsAck(LsAck),
}

/// Where the fields of the header stand.
const LENGTH_AT: usize = 2;
const CHECKSUM_AT: usize = 12;

impl Packet {
    /// Decodes the packet that came from `src` to `dst` (RFC 5340 §4.2.2: version, length and checksum are verified).
    ///
    /// A bad LSA within a Link State Update is no error, see [`LsUpd`].
    pub fn decode(src: Ipv6Addr, dst: Ipv6Addr, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let version = r.u8("version")?;
        if version != VERSION {
            return Err(DecodeError::new(0, "version", Fault::Value { value: version.into(), expected: "3" }));
        }
        let packet_type = PacketType::decode(r.u8("packet type")?, 1)?;
        let length = usize::from(r.u16("packet length")?);
        if length < PacketHeader::LENGTH || length > bytes.len() {
            let fault = Fault::Length { given: length, least: PacketHeader::LENGTH, most: bytes.len() };
            return Err(DecodeError::new(LENGTH_AT, "packet length", fault));
        }
        let router_id = RouterId(r.u32("Router ID")?);
        let area_id = AreaId(r.u32("Area ID")?);
        let checksum = r.u16("checksum")?;
        let instance_id = r.u8("Instance ID")?;
        r.u8("reserved")?;
        let mut body = r.sub(length - PacketHeader::LENGTH, "packet body")?;

        let covered = Reader::new(bytes).bytes(length, "packet")?;
        if pseudo_header_checksum(src, dst, IP_PROTOCOL, covered) != 0 {
            let mut unsummed = Writer::with_capacity(length);
            unsummed.put_bytes(covered);
            unsummed.patch_u16(CHECKSUM_AT, 0);
            let computed = pseudo_header_checksum(src, dst, IP_PROTOCOL, unsummed.as_slice());
            return Err(DecodeError::new(CHECKSUM_AT, "checksum", Fault::Checksum { found: checksum, computed }));
        }
        if router_id == RouterId(0) {
            return Err(DecodeError::new(4, "Router ID", Fault::Value { value: 0, expected: "a router" }));
        }
        let packet = Packet {
            header: PacketHeader { router_id, area_id, instance_id },
            body: PacketBody::decode(packet_type, &mut body)?,
        };
        body.finish("packet body")?;
        if !packet.body.announces_a_trailer() {
            r.finish("packet")?;
        }
        Ok(packet)
    }

    /// The bytes to send from `src` to `dst`, with length and checksum computed.
    ///
    /// The caller keeps a packet within the link's MTU; one above 65,535 bytes cannot be sent by anybody.
    pub fn encode(&self, src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
        let mut w = Writer::with_capacity(256);
        w.put_u8(VERSION);
        w.put_u8(self.body.packet_type() as u8);
        w.put_u16(0);
        w.put_u32(self.header.router_id.0);
        w.put_u32(self.header.area_id.0);
        w.put_u16(0);
        w.put_u8(self.header.instance_id);
        w.put_u8(0);
        self.body.encode(&mut w);
        debug_assert!(w.len() <= usize::from(u16::MAX), "a packet of {} bytes", w.len());
        w.patch_u16(LENGTH_AT, u16::try_from(w.len()).unwrap_or(u16::MAX));
        w.patch_u16(CHECKSUM_AT, pseudo_header_checksum(src, dst, IP_PROTOCOL, w.as_slice()));
        w.into_vec()
    }
}

impl PacketBody {
    /// The type that the header carries.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            PacketBody::Hello(_) => PacketType::Hello,
            PacketBody::DbDesc(_) => PacketType::DbDesc,
            PacketBody::LsReq(_) => PacketType::LsReq,
            PacketBody::LsUpd(_) => PacketType::LsUpd,
            PacketBody::LsAck(_) => PacketType::LsAck,
        }
    }

    fn decode(packet_type: PacketType, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match packet_type {
            PacketType::Hello => Hello::decode(r).map(PacketBody::Hello),
            PacketType::DbDesc => DbDesc::decode(r).map(PacketBody::DbDesc),
            PacketType::LsReq => LsReq::decode(r).map(PacketBody::LsReq),
            PacketType::LsUpd => LsUpd::decode(r).map(PacketBody::LsUpd),
            PacketType::LsAck => LsAck::decode(r).map(PacketBody::LsAck),
        }
    }

    fn encode(&self, w: &mut Writer) {
        match self {
            PacketBody::Hello(body) => body.encode(w),
            PacketBody::DbDesc(body) => body.encode(w),
            PacketBody::LsReq(body) => body.encode(w),
            PacketBody::LsUpd(body) => body.encode(w),
            PacketBody::LsAck(body) => body.encode(w),
        }
    }

    /// Whether the options say that something follows the packet.
    const fn announces_a_trailer(&self) -> bool {
        let options = match self {
            PacketBody::Hello(hello) => hello.options,
            PacketBody::DbDesc(db_desc) => db_desc.options,
            PacketBody::LsReq(_) | PacketBody::LsUpd(_) | PacketBody::LsAck(_) => return false,
        };
        options.intersects(Options::L.union(Options::AT))
    }
}

/// LSA headers up to the end of the reader.
fn decode_headers(r: &mut Reader<'_>) -> Result<Vec<LsaHeader>, DecodeError> {
    let mut headers = Vec::with_capacity(r.remaining() / LsaHeader::LENGTH);
    while !r.is_empty() {
        headers.push(LsaHeader::decode(r)?);
    }
    Ok(headers)
}

fn encode_headers(headers: &[LsaHeader], w: &mut Writer) {
    for header in headers {
        header.encode(w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    const SRC: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const DST: Ipv6Addr = crate::consts::ALL_SPF_ROUTERS;

    fn hello(options: Options) -> Packet {
        Packet {
            header: PacketHeader { router_id: RouterId(0xc000_0201), area_id: AreaId(1), instance_id: 7 },
            body: PacketBody::Hello(Hello { priority: 1, options, ..Hello::default() }),
        }
    }

    /// `bytes` with the checksum made right.
    fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        bytes[12..14].fill(0);
        let checksum = pseudo_header_checksum(SRC, DST, 89, &bytes[..length]);
        bytes[12..14].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn fault(bytes: Vec<u8>) -> String {
        Packet::decode(SRC, DST, &bytes).unwrap_err().to_string()
    }

    /// RFC 5340 §A.3.1. The checksum by hand: fe80+1 + ff02+5 + 24 + 59 and the packet's words are 2_cb3f,
    /// folded cb41.
    #[test]
    fn golden_bytes() {
        let bytes = hex("03 01 0024 c0000201 00000001 34be 07 00 \
             00000000 01 000013 0000 0000 00000000 00000000");
        let packet = hello(Options::V6 | Options::E | Options::R);
        let encoded = packet.encode(SRC, DST);
        assert_eq!(encoded, bytes);
        assert_eq!(Packet::decode(SRC, DST, &encoded), Ok(packet));
    }

    #[test]
    fn a_wrong_version_type_length_or_router_id_is_an_error() {
        let good = hello(Options::V6).encode(SRC, DST);
        let with = |at: usize, value: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + value.len()].copy_from_slice(value);
            bytes
        };
        assert_eq!(fault(with(0, &[2])), "version at byte 0: 2 where 3 is expected");
        assert_eq!(fault(with(1, &[6])), "packet type at byte 1: 6 where 1 to 5 is expected");
        assert_eq!(
            fault(with(2, &[0, 15])),
            "packet length at byte 2: a length of 15 where 16 to 36 bytes are possible"
        );
        assert_eq!(
            fault(with(2, &[0, 37])),
            "packet length at byte 2: a length of 37 where 16 to 36 bytes are possible"
        );
        assert_eq!(fault(summed(with(4, &[0; 4]))), "Router ID at byte 4: 0 where a router is expected");
        assert_eq!(fault(summed(with(2, &[0, 35]))), "Backup Designated Router ID at byte 32: 4 bytes needed, 3 left");
    }

    #[test]
    fn the_checksum_covers_packet_and_both_addresses() {
        let good = hello(Options::V6).encode(SRC, DST);
        for at in 4..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x20;
            assert!(fault(bytes).starts_with("checksum at byte 12: "), "byte {at}");
        }
        Packet::decode(DST, SRC, &good).unwrap();
        Packet::decode(SRC, crate::consts::ALL_D_ROUTERS, &good).unwrap_err();
    }

    /// RFC 5613 §2, RFC 7166 §4.1.
    #[test]
    fn bytes_behind_the_packet_need_the_l_or_at_bit() {
        for options in [Options::L, Options::AT] {
            let packet = hello(Options::V6 | options);
            let mut bytes = packet.encode(SRC, DST);
            bytes.extend([1, 2, 3, 4]);
            assert_eq!(Packet::decode(SRC, DST, &bytes), Ok(packet));
        }
        let mut bytes = hello(Options::V6).encode(SRC, DST);
        bytes.push(0);
        assert_eq!(fault(bytes), "packet at byte 36: 1 bytes left over");
    }
}
