//! Intra-Area-Prefix-LSA (RFC 5340 §A.4.10).

use crate::id::{LinkStateId, RouterId};
use crate::lsa::{LsType, LsaPrefix};
use crate::wire::{DecodeError, Reader, Writer};

/// An Intra-Area-Prefix-LSA body.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
/// |          # prefixes           |      Referenced LS Type       |
/// +-------------------------------+-------------------------------+
/// |                   Referenced Link State ID                    |
/// +---------------------------------------------------------------+
/// |                 Referenced Advertising Router                 |
/// +---------------+---------------+-------------------------------+
/// | PrefixLength  | PrefixOptions |            Metric             |
/// +---------------+---------------+-------------------------------+
/// |                        Address Prefix                         |
/// |                              ...                              |
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntraAreaPrefixLsa {
    /// Referenced LS Type: Router-LSA or Network-LSA; anything else is kept and of no use.
    pub referenced_type: LsType,
    /// Referenced Link State ID: 0 for a Router-LSA, the DR's Interface ID for a Network-LSA.
    pub referenced_id: LinkStateId,
    /// Referenced Advertising Router.
    pub referenced_router: RouterId,
    /// The prefixes, each with its metric.
    pub prefixes: Vec<LsaPrefix>,
}

impl IntraAreaPrefixLsa {
    /// Decodes a body.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = (r.offset(), "Intra-Area-Prefix-LSA # prefixes");
        let count = u32::from(r.u16(at.1)?);
        let referenced_type = LsType(r.u16("Referenced LS Type")?);
        let referenced_id = LinkStateId(r.u32("Referenced Link State ID")?);
        let referenced_router = RouterId(r.u32("Referenced Advertising Router")?);
        let mut prefixes = Vec::with_capacity(r.count(count, LsaPrefix::LEAST, at)?);
        for _ in 0..count {
            prefixes.push(LsaPrefix::decode(r)?);
        }
        Ok(IntraAreaPrefixLsa { referenced_type, referenced_id, referenced_router, prefixes })
    }

    /// Appends the body.
    pub fn encode(&self, w: &mut Writer) {
        w.put_u16(u16::try_from(self.prefixes.len()).unwrap_or(u16::MAX));
        w.put_u16(self.referenced_type.0);
        w.put_u32(self.referenced_id.0);
        w.put_u32(self.referenced_router.0);
        for prefix in &self.prefixes {
            prefix.encode(w);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsa::PrefixOptions;
    use crate::wire::hex;

    /// RFC 5340 §A.4.10: a /128 service prefix and a /60, whose last four bits of the second word are zero.
    #[test]
    fn golden_bytes() {
        let bytes = hex("0002 2001 00000000 c000020b \
             80 02 000a 20010db8 00530000 00000000 00000053 \
             3c 00 ffff 20010db8 0000fff0");
        let body = IntraAreaPrefixLsa {
            referenced_type: LsType::ROUTER,
            referenced_id: LinkStateId(0),
            referenced_router: "192.0.2.11".parse().unwrap(),
            prefixes: vec![
                LsaPrefix { prefix: "2001:db8:53::53/128".parse().unwrap(), options: PrefixOptions::LA, metric: 10 },
                LsaPrefix {
                    prefix: "2001:db8:0:fff0::/60".parse().unwrap(),
                    options: PrefixOptions::empty(),
                    metric: 0xffff,
                },
            ],
        };
        assert_eq!(IntraAreaPrefixLsa::decode(&mut Reader::new(&bytes)), Ok(body.clone()));
        let mut w = Writer::new();
        body.encode(&mut w);
        assert_eq!(w.into_vec(), bytes);
    }

    #[test]
    fn a_reference_to_something_else_is_kept() {
        let bytes = hex("0000 2005 00000001 c000020b");
        assert_eq!(IntraAreaPrefixLsa::decode(&mut Reader::new(&bytes)).unwrap().referenced_type, LsType(0x2005));
    }
}
