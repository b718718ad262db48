//! Link-LSA (RFC 5340 §A.4.9).

use std::net::Ipv6Addr;

use crate::lsa::{LsaPrefix, Options};
use crate::wire::{DecodeError, Reader, Writer};

/// A Link-LSA body; its Link State ID is the originator's Interface ID.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+-----------------------------------------------+
/// | Rtr Priority  |                    Options                    |
/// +---------------+-----------------------------------------------+
/// |               Link-local Interface Address (16)               |
/// |                              ...                              |
/// +---------------------------------------------------------------+
/// |                          # prefixes                           |
/// +---------------+---------------+-------------------------------+
/// | PrefixLength  | PrefixOptions |               0               |
/// +---------------+---------------+-------------------------------+
/// |                        Address Prefix                         |
/// |                              ...                              |
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkLsa {
    /// Router priority of the originator on the link.
    pub priority: u8,
    /// The options the originator would like in the Network-LSA.
    pub options: Options,
    /// The originator's link-local address on the link: the next hop of its neighbors.
    pub link_local: Ipv6Addr,
    /// Prefixes to be associated with the link; the metric of each is 0.
    pub prefixes: Vec<LsaPrefix>,
}

impl LinkLsa {
    /// Decodes a body.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let priority = r.u8("Rtr Priority")?;
        let options = Options::from_bits_retain(r.u24("Options")?);
        let link_local = r.ipv6("Link-local Interface Address")?;
        let at = (r.offset(), "Link-LSA # prefixes");
        let count = r.u32(at.1)?;
        let mut prefixes = Vec::with_capacity(r.count(count, LsaPrefix::LEAST, at)?);
        for _ in 0..count {
            prefixes.push(LsaPrefix { metric: 0, ..LsaPrefix::decode(r)? });
        }
        Ok(LinkLsa { priority, options, link_local, prefixes })
    }

    /// Appends the body; the reserved field in the place of the metric is 0.
    pub fn encode(&self, w: &mut Writer) {
        w.put_u8(self.priority);
        w.put_u24(self.options.bits());
        w.put_ipv6(self.link_local);
        w.put_u32(u32::try_from(self.prefixes.len()).unwrap_or(u32::MAX));
        for prefix in &self.prefixes {
            LsaPrefix { metric: 0, ..*prefix }.encode(w);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsa::PrefixOptions;
    use crate::wire::hex;

    /// RFC 5340 §A.4.9.
    #[test]
    fn golden_bytes() {
        let bytes = hex("01 000013 fe800000000000000000000000000001 00000002 \
             40 00 0000 20010db8 00010000 \
             80 02 0000 20010db8 00010000 00000000 00000001");
        let prefix = |text: &str, options| LsaPrefix { prefix: text.parse().unwrap(), options, metric: 0 };
        let body = LinkLsa {
            priority: 1,
            options: Options::V6 | Options::E | Options::R,
            link_local: "fe80::1".parse().unwrap(),
            prefixes: vec![
                prefix("2001:db8:1::/64", PrefixOptions::empty()),
                prefix("2001:db8:1::1/128", PrefixOptions::LA),
            ],
        };
        assert_eq!(LinkLsa::decode(&mut Reader::new(&bytes)), Ok(body.clone()));
        let mut w = Writer::new();
        body.encode(&mut w);
        assert_eq!(w.into_vec(), bytes);
    }

    #[test]
    fn the_reserved_field_is_ignored_and_an_absurd_count_is_an_error() {
        let head = "01 000013 fe800000000000000000000000000001";
        let reserved = hex(&format!("{head} 00000001 00 00 ffff"));
        assert_eq!(LinkLsa::decode(&mut Reader::new(&reserved)).unwrap().prefixes[0].metric, 0);
        let absurd = hex(&format!("{head} ffffffff 00 00 0000"));
        assert_eq!(
            LinkLsa::decode(&mut Reader::new(&absurd)).unwrap_err().to_string(),
            "Link-LSA # prefixes at byte 20: 4294967295 elements announced, room for 1"
        );
    }
}
