//! The Farm TLV: what the servers and routers of a farm tell each other (docs/farm-tlv.md).

use std::net::Ipv6Addr;

use crate::id::RouterId;
use crate::lsa::{Prefix, Tlv};
use crate::wire::{DecodeError, Fault, Reader, Writer};

/// The TLV type, in the experimental range of RFC 7770 §2.3.
pub const FARM_TLV_TYPE: u16 = 32768;

/// What the value starts with, "FARM": the type is experimental, and somebody else may experiment with it too.
const MAGIC: u32 = 0x4641_524d;
/// The layout described here.
const VERSION: u8 = 1;
/// A rate that is not known.
const UNKNOWN: u32 = u32::MAX;

/// How the originating router shares traffic over equal-cost next hops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharingMode {
    /// 0: not a router of the farm, or not stated.
    #[default]
    None,
    /// 1: equally.
    Equal,
    /// 2: by the capacity in the records.
    Capacity,
    /// 3: by the number of originators behind a next hop.
    Originators,
    /// A mode this code does not know.
    Other(u8),
}

bitflags::bitflags! {
    /// State of a service at its server.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ServiceFlags: u8 {
        /// The server is being drained.
        const DRAINING = 0x01;
        /// The server stays even if its service is dead.
        const LAST_RESORT = 0x02;
        const _ = !0;
    }
}

/// The Farm TLV.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                       Magic 0x4641524d                        |
/// +---------------+---------------+-------------------------------+
/// |  Version (1)  | Sharing mode  |          ECMP width           |
/// +---------------+---------------+-------------------------------+
/// |           # records           |     Record length (>= 36)     |
/// +-------------------------------+-------------------------------+
/// |                    Records, each as below                     |
/// |                              ...                              |
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FarmTlv {
    /// Sharing mode of this router.
    pub sharing: SharingMode,
    /// How many equal-cost next hops this router installs; 0: not a router of the farm.
    pub ecmp_width: u16,
    /// One record per service prefix.
    pub services: Vec<ServiceRecord>,
}

/// One service at one server. Rates are in 0.001 queries per second; `None` (all-ones on the wire) is unknown.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+---------------+---------------+
/// | Prefix length |     Class     |       m       |     Flags     |
/// +---------------+---------------+---------------+---------------+
/// |                          Prefix (16)                          |
/// |                              ...                              |
/// +---------------------------------------------------------------+
/// |                        Owner Router ID                        |
/// +---------------------------------------------------------------+
/// |                              mu                               |
/// +---------------------------------------------------------------+
/// |                               x                               |
/// +---------------------------------------------------------------+
/// |                       Nominal capacity                        |
/// +---------------------------------------------------------------+
/// |               what a later version adds, skipped              |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRecord {
    /// Prefix length, 0..=128.
    pub prefix_len: u8,
    /// Class: 0 the lowest-cost class, else 1 + the standby rank.
    pub class: u8,
    /// Number of next hops (shares) the server advertises.
    pub m: u8,
    /// Flags.
    pub flags: ServiceFlags,
    /// The service prefix; bits behind the length are masked off at decoding.
    pub prefix: Ipv6Addr,
    /// The router that owns the service (the server, also where a share router advertises).
    pub owner: RouterId,
    /// Estimated capacity mu.
    pub mu: Option<u32>,
    /// Offered rate x.
    pub x: Option<u32>,
    /// Nominal capacity.
    pub nominal: Option<u32>,
}

impl FarmTlv {
    /// Bytes in front of the records.
    pub const HEAD: usize = 12;

    /// Decodes the value of a TLV; one that is malformed anywhere is an error as a whole.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(value);
        constant(&mut r, "Farm TLV magic", |r, field| r.u32(field), (MAGIC, "0x4641524d"))?;
        constant(&mut r, "Farm TLV version", |r, field| r.u8(field).map(u32::from), (VERSION.into(), "1"))?;
        let sharing = SharingMode::from(r.u8("Farm TLV sharing mode")?);
        let ecmp_width = r.u16("Farm TLV ECMP width")?;
        let at = (r.offset(), "Farm TLV # records");
        let count = u32::from(r.u16(at.1)?);
        let length_at = r.offset();
        let length = usize::from(r.u16("Farm TLV record length")?);
        if length < ServiceRecord::LENGTH {
            let fault = Fault::Length { given: length, least: ServiceRecord::LENGTH, most: r.remaining() };
            return Err(DecodeError::new(length_at, "Farm TLV record length", fault));
        }
        let mut services = Vec::with_capacity(r.count(count, length, at)?);
        for _ in 0..count {
            services.push(ServiceRecord::decode(&mut r.sub(length, "Farm TLV record")?)?);
        }
        Ok(FarmTlv { sharing, ecmp_width, services })
    }

    /// The value of a TLV.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(Self::HEAD + ServiceRecord::LENGTH * self.services.len());
        w.put_u32(MAGIC);
        w.put_u8(VERSION);
        w.put_u8(self.sharing.into());
        w.put_u16(self.ecmp_width);
        w.put_u16(u16::try_from(self.services.len()).unwrap_or(u16::MAX));
        w.put_u16(ServiceRecord::LENGTH as u16);
        for service in &self.services {
            service.encode(&mut w);
        }
        w.into_vec()
    }

    /// As a TLV of a Router-Information LSA.
    pub fn to_tlv(&self) -> Tlv {
        Tlv { tlv_type: FARM_TLV_TYPE, value: self.encode() }
    }

    /// From a TLV of a Router-Information LSA; none if it is of another type.
    pub fn from_tlv(tlv: &Tlv) -> Option<Result<Self, DecodeError>> {
        (tlv.tlv_type == FARM_TLV_TYPE).then(|| Self::decode(&tlv.value))
    }
}

/// Reads a number that must be one certain number.
fn constant(
    r: &mut Reader<'_>,
    field: &'static str,
    read: impl FnOnce(&mut Reader<'_>, &'static str) -> Result<u32, DecodeError>,
    (wanted, expected): (u32, &'static str),
) -> Result<(), DecodeError> {
    let at = r.offset();
    match read(r, field)? {
        value if value == wanted => Ok(()),
        value => Err(DecodeError::new(at, field, Fault::Value { value, expected })),
    }
}

impl ServiceRecord {
    /// Bytes on the wire of what this code knows; a record may be longer.
    pub const LENGTH: usize = 36;

    /// Of a server of the lowest-cost class with one next hop, of which nothing else is known.
    pub fn new(prefix: &Prefix, owner: RouterId) -> Self {
        ServiceRecord {
            prefix_len: prefix.length(),
            class: 0,
            m: 1,
            flags: ServiceFlags::empty(),
            prefix: prefix.address(),
            owner,
            mu: None,
            x: None,
            nominal: None,
        }
    }

    /// Whether it is of this prefix.
    pub fn is_for(&self, prefix: &Prefix) -> bool {
        self.prefix == prefix.address() && self.prefix_len == prefix.length()
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.offset();
        let prefix_len = r.u8("service prefix length")?;
        let class = r.u8("class")?;
        let m = r.u8("m")?;
        let flags = ServiceFlags::from_bits_retain(r.u8("service flags")?);
        let prefix = Prefix::new(r.ipv6("service prefix")?, prefix_len).ok_or(DecodeError::new(
            at,
            "service prefix length",
            Fault::PrefixLength(prefix_len),
        ))?;
        Ok(ServiceRecord {
            prefix_len,
            class,
            m,
            flags,
            prefix: prefix.address(),
            owner: RouterId(r.u32("owner")?),
            mu: rate(r.u32("mu")?),
            x: rate(r.u32("x")?),
            nominal: rate(r.u32("nominal capacity")?),
        })
    }

    fn encode(&self, w: &mut Writer) {
        w.put_u8(self.prefix_len);
        w.put_u8(self.class);
        w.put_u8(self.m);
        w.put_u8(self.flags.bits());
        w.put_ipv6(self.prefix);
        w.put_u32(self.owner.0);
        for value in [self.mu, self.x, self.nominal] {
            // A known rate must not turn into the unknown one.
            w.put_u32(value.map_or(UNKNOWN, |known| known.min(UNKNOWN - 1)));
        }
    }
}

/// A rate from the wire, none if it is all-ones.
fn rate(value: u32) -> Option<u32> {
    (value != UNKNOWN).then_some(value)
}

impl From<u8> for SharingMode {
    fn from(value: u8) -> Self {
        match value {
            0 => SharingMode::None,
            1 => SharingMode::Equal,
            2 => SharingMode::Capacity,
            3 => SharingMode::Originators,
            other => SharingMode::Other(other),
        }
    }
}

impl From<SharingMode> for u8 {
    fn from(value: SharingMode) -> Self {
        match value {
            SharingMode::None => 0,
            SharingMode::Equal => 1,
            SharingMode::Capacity => 2,
            SharingMode::Originators => 3,
            SharingMode::Other(other) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    const HEAD: &str = "4641524d 01 02 0010 0001 0024";
    const RECORD: &str = "80 00 01 01 20010db8005300000000000000000053 c000020b 000f4240 0007a120 ffffffff";

    fn tlv() -> FarmTlv {
        FarmTlv {
            sharing: SharingMode::Capacity,
            ecmp_width: 16,
            services: vec![ServiceRecord {
                prefix_len: 128,
                class: 0,
                m: 1,
                flags: ServiceFlags::DRAINING,
                prefix: "2001:db8:53::53".parse().unwrap(),
                owner: "192.0.2.11".parse().unwrap(),
                mu: Some(1_000_000),
                x: Some(500_000),
                nominal: None,
            }],
        }
    }

    /// docs/farm-tlv.md, the example.
    #[test]
    fn golden_bytes() {
        let bytes = hex(&format!("{HEAD} {RECORD}"));
        assert_eq!(tlv().encode(), bytes);
        assert_eq!(FarmTlv::decode(&bytes), Ok(tlv()));
        assert_eq!(FarmTlv::from_tlv(&tlv().to_tlv()), Some(Ok(tlv())));
        assert_eq!(FarmTlv::from_tlv(&Tlv { tlv_type: 1, value: bytes }), None);
    }

    #[test]
    fn longer_records_and_bytes_behind_them_are_skipped() {
        let longer = hex(&format!("4641524d 01 02 0010 0001 0028 {RECORD} 01020304 99"));
        assert_eq!(FarmTlv::decode(&longer), Ok(tlv()));
    }

    #[test]
    fn a_malformed_one_is_an_error_as_a_whole() {
        let bytes = hex(&format!("{HEAD} {RECORD}"));
        for cut in 0..bytes.len() {
            FarmTlv::decode(&bytes[..cut]).unwrap_err();
        }
        for (at, value, text) in [
            (0, 0, "Farm TLV magic at byte 0: 4280909 where 0x4641524d is expected"),
            (4, 2, "Farm TLV version at byte 4: 2 where 1 is expected"),
            (9, 2, "Farm TLV # records at byte 8: 2 elements announced, room for 1"),
            (11, 35, "Farm TLV record length at byte 10: a length of 35 where 36 to 36 bytes are possible"),
            (12, 129, "service prefix length at byte 12: a prefix length of 129, above 128"),
        ] {
            let mut bad = bytes.clone();
            bad[at] = value;
            assert_eq!(FarmTlv::decode(&bad).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn a_mode_of_the_future_is_kept_and_the_greatest_known_rate_stays_known() {
        let mut future = tlv();
        future.sharing = SharingMode::Other(200);
        future.services[0].x = Some(u32::MAX);
        let decoded = FarmTlv::decode(&future.encode()).unwrap();
        assert_eq!(decoded.sharing, SharingMode::Other(200));
        assert_eq!(decoded.services[0].x, Some(u32::MAX - 1));
    }
}
