//! AS-External-LSA and NSSA-LSA (RFC 5340 §A.4.7, §A.4.8): one body.

use std::net::Ipv6Addr;

use crate::id::LinkStateId;
use crate::lsa::prefix;
use crate::lsa::{LsType, Prefix, PrefixOptions};
use crate::wire::{DecodeError, Reader, Writer};

bitflags::bitflags! {
    /// The E, F and T bits.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ExternalFlags: u8 {
        /// E: the metric is of type 2.
        const E = 0x04;
        /// F: a forwarding address follows.
        const F = 0x02;
        /// T: an external route tag follows.
        const T = 0x01;
    }
}

/// An AS-External-LSA or NSSA-LSA body. The F and T bits on the wire follow from `forwarding` and `tag`.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+-----------------------------------------------+
/// |0|0|0|0|0|E|F|T|                    Metric                     |
/// +---------------+---------------+-------------------------------+
/// | PrefixLength  | PrefixOptions |      Referenced LS Type       |
/// +---------------+---------------+-------------------------------+
/// |                        Address Prefix                         |
/// |                              ...                              |
/// +---------------------------------------------------------------+
/// |                Forwarding Address (16, if F)                  |
/// |                              ...                              |
/// +---------------------------------------------------------------+
/// |                  External Route Tag (if T)                    |
/// +---------------------------------------------------------------+
/// |      Referenced Link State ID (if Referenced LS Type)         |
/// +---------------------------------------------------------------+
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsExternalLsa {
    /// The E-bit: the metric is of type 2.
    pub type_2: bool,
    /// Cost, 24 bits.
    pub metric: u32,
    /// The prefix's options.
    pub options: PrefixOptions,
    /// The prefix.
    pub prefix: Prefix,
    /// Forwarding address.
    pub forwarding: Option<Ipv6Addr>,
    /// External route tag.
    pub tag: Option<u32>,
    /// The LSA that holds more of this route: (Referenced LS Type, Referenced Link State ID); none if the type is 0.
    pub referenced: Option<(LsType, LinkStateId)>,
}

impl AsExternalLsa {
    /// Decodes a body. Whether a forwarding address is usable is for the route calculation to judge.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = ExternalFlags::from_bits_truncate(r.u8("AS-External-LSA flags")?);
        let metric = r.u24("AS-External-LSA metric")?;
        let (length, options) = prefix::decode_head(r)?;
        let referenced_type = LsType(r.u16("Referenced LS Type")?);
        let prefix = length.decode_address(r)?;
        let forwarding = optional(flags.contains(ExternalFlags::F), || r.ipv6("Forwarding Address"))?;
        let tag = optional(flags.contains(ExternalFlags::T), || r.u32("External Route Tag"))?;
        let referenced = optional(referenced_type.0 != 0, || r.u32("Referenced Link State ID"))?;
        Ok(AsExternalLsa {
            type_2: flags.contains(ExternalFlags::E),
            metric,
            options,
            prefix,
            forwarding,
            tag,
            referenced: referenced.map(|id| (referenced_type, LinkStateId(id))),
        })
    }

    /// Appends the body; a metric above LSInfinity is written as LSInfinity, a reference to LS type 0 not at all.
    pub fn encode(&self, w: &mut Writer) {
        let mut flags = ExternalFlags::empty();
        flags.set(ExternalFlags::E, self.type_2);
        flags.set(ExternalFlags::F, self.forwarding.is_some());
        flags.set(ExternalFlags::T, self.tag.is_some());
        let referenced = self.referenced.filter(|(ls_type, _)| ls_type.0 != 0);
        w.put_u8(flags.bits());
        w.put_u24(self.metric);
        w.put_u8(self.prefix.length());
        w.put_u8(self.options.bits());
        w.put_u16(referenced.map_or(0, |(ls_type, _)| ls_type.0));
        self.prefix.encode_address(w);
        if let Some(address) = self.forwarding {
            w.put_ipv6(address);
        }
        if let Some(tag) = self.tag {
            w.put_u32(tag);
        }
        if let Some((_, id)) = referenced {
            w.put_u32(id.0);
        }
    }
}

/// A field that is there only under a condition.
fn optional<T>(present: bool, field: impl FnOnce() -> Result<T, DecodeError>) -> Result<Option<T>, DecodeError> {
    if present { field().map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    fn round_trip(bytes: &[u8], body: &AsExternalLsa) {
        assert_eq!(AsExternalLsa::decode(&mut Reader::new(bytes)).as_ref(), Ok(body));
        let mut w = Writer::new();
        body.encode(&mut w);
        assert_eq!(w.into_vec(), bytes);
    }

    /// RFC 5340 §A.4.7: a type 1 default route without options, the smallest one.
    #[test]
    fn golden_bytes_of_a_default_route() {
        let body = AsExternalLsa {
            type_2: false,
            metric: 20,
            options: PrefixOptions::empty(),
            prefix: "::/0".parse().unwrap(),
            forwarding: None,
            tag: None,
            referenced: None,
        };
        round_trip(&hex("00 000014 00 00 0000"), &body);
    }

    /// RFC 5340 §A.4.7, §A.4.8: type 2 with everything: forwarding address, then tag, then Referenced Link State ID.
    #[test]
    fn golden_bytes_with_all_optional_fields() {
        let bytes = hex("07 00ffff 30 08 2001 20010db8 00530000 \
             20010db8000000000000000000000007 0000002a 00000063");
        let body = AsExternalLsa {
            type_2: true,
            metric: 0xffff,
            options: PrefixOptions::P,
            prefix: "2001:db8:53::/48".parse().unwrap(),
            forwarding: Some("2001:db8::7".parse().unwrap()),
            tag: Some(42),
            referenced: Some((LsType::ROUTER, LinkStateId(99))),
        };
        round_trip(&bytes, &body);
    }
}
