//! Router-LSA (RFC 5340 §A.4.3).

use crate::id::{IfaceId, RouterId};
use crate::lsa::{Options, RouterFlags};
use crate::wire::{DecodeError, Reader, Writer};

/// A Router-LSA body.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+-----------------------------------------------+
/// |0|0|0|Nt|x|V|E|B|                 Options                      |
/// +---------------+---------------+-------------------------------+
/// |     Type      |       0       |            Metric             |
/// +---------------+---------------+-------------------------------+
/// |                         Interface ID                          |
/// +---------------------------------------------------------------+
/// |                     Neighbor Interface ID                     |
/// +---------------------------------------------------------------+
/// |                      Neighbor Router ID                       |
/// +---------------------------------------------------------------+
/// |                              ...                              |
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterLsa {
    /// The V, E, B, Nt bits.
    pub flags: RouterFlags,
    /// Capabilities; the R-bit says whether the router forwards, the V6-bit whether it is part of IPv6 routing.
    pub options: Options,
    /// The described links.
    pub links: Vec<RouterLink>,
}

/// The type of a described link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouterLinkType {
    /// 1: to another router.
    PointToPoint,
    /// 2: to a transit network.
    Transit,
    /// 4: a virtual link.
    Virtual,
    /// A type this code does not know; SPF passes over it.
    Other(u8),
}

/// One described link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouterLink {
    /// The type of the link.
    pub link_type: RouterLinkType,
    /// The cost of sending over it, 1..=65535 (65535: MaxLinkMetric).
    pub metric: u16,
    /// The originator's Interface ID.
    pub iface_id: IfaceId,
    /// The neighbor's (or, on a transit link, the DR's) Interface ID.
    pub neighbor_iface_id: IfaceId,
    /// The neighbor's (or DR's) Router ID.
    pub neighbor_router_id: RouterId,
}

impl RouterLsa {
    /// Decodes a body up to the end of the reader.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = RouterFlags::from_bits_retain(r.u8("Router-LSA flags")?);
        let options = Options::from_bits_retain(r.u24("Options")?);
        let mut links = Vec::with_capacity(r.remaining() / RouterLink::LENGTH);
        while !r.is_empty() {
            links.push(RouterLink::decode(r)?);
        }
        Ok(RouterLsa { flags, options, links })
    }

    /// Appends the body.
    pub fn encode(&self, w: &mut Writer) {
        w.put_u8(self.flags.bits());
        w.put_u24(self.options.bits());
        for link in &self.links {
            link.encode(w);
        }
    }
}

impl RouterLink {
    /// Bytes on the wire.
    pub const LENGTH: usize = 16;

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let link_type = RouterLinkType::from(r.u8("Router-LSA link type")?);
        r.u8("reserved")?;
        Ok(RouterLink {
            link_type,
            metric: r.u16("Router-LSA link metric")?,
            iface_id: IfaceId(r.u32("Interface ID")?),
            neighbor_iface_id: IfaceId(r.u32("Neighbor Interface ID")?),
            neighbor_router_id: RouterId(r.u32("Neighbor Router ID")?),
        })
    }

    fn encode(&self, w: &mut Writer) {
        w.put_u8(self.link_type.into());
        w.put_u8(0);
        w.put_u16(self.metric);
        w.put_u32(self.iface_id.0);
        w.put_u32(self.neighbor_iface_id.0);
        w.put_u32(self.neighbor_router_id.0);
    }
}

impl From<u8> for RouterLinkType {
    fn from(value: u8) -> Self {
        match value {
            1 => RouterLinkType::PointToPoint,
            2 => RouterLinkType::Transit,
            4 => RouterLinkType::Virtual,
            other => RouterLinkType::Other(other),
        }
    }
}

impl From<RouterLinkType> for u8 {
    fn from(value: RouterLinkType) -> Self {
        match value {
            RouterLinkType::PointToPoint => 1,
            RouterLinkType::Transit => 2,
            RouterLinkType::Virtual => 4,
            RouterLinkType::Other(other) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    /// RFC 5340 §A.4.3: B and E set, V6|E|R, a transit and a point-to-point link, one of a type of the future.
    #[test]
    fn golden_bytes() {
        let bytes = hex("03 000013 \
             02 00 000a 00000005 00000002 c0000201 \
             01 00 ffff 00000006 00000009 c0000203 \
             09 00 0001 00000007 00000000 00000000");
        let link = |link_type, metric, iface_id, neighbor_iface_id, router: &str| RouterLink {
            link_type,
            metric,
            iface_id: IfaceId(iface_id),
            neighbor_iface_id: IfaceId(neighbor_iface_id),
            neighbor_router_id: router.parse().unwrap(),
        };
        let body = RouterLsa {
            flags: RouterFlags::B | RouterFlags::E,
            options: Options::V6 | Options::E | Options::R,
            links: vec![
                link(RouterLinkType::Transit, 10, 5, 2, "192.0.2.1"),
                link(RouterLinkType::PointToPoint, 0xffff, 6, 9, "192.0.2.3"),
                link(RouterLinkType::Other(9), 1, 7, 0, "0.0.0.0"),
            ],
        };
        assert_eq!(RouterLsa::decode(&mut Reader::new(&bytes)), Ok(body.clone()));
        let mut w = Writer::new();
        body.encode(&mut w);
        assert_eq!(w.into_vec(), bytes);
    }

    #[test]
    fn a_link_cut_short_is_an_error() {
        let bytes = hex("00 000013 02 00 000a 00000005 00000002 c00002");
        assert_eq!(
            RouterLsa::decode(&mut Reader::new(&bytes)).unwrap_err().to_string(),
            "Neighbor Router ID at byte 16: 4 bytes needed, 3 left"
        );
    }
}
