//! Inter-Area-Prefix-LSA and Inter-Area-Router-LSA (RFC 5340 §A.4.5, §A.4.6).

use crate::id::RouterId;
use crate::lsa::prefix;
use crate::lsa::{Options, Prefix, PrefixOptions};
use crate::wire::{DecodeError, Reader, Writer};

/// An Inter-Area-Prefix-LSA body.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+-----------------------------------------------+
/// |       0       |                    Metric                     |
/// +---------------+---------------+-------------------------------+
/// | PrefixLength  | PrefixOptions |               0               |
/// +---------------+---------------+-------------------------------+
/// |                        Address Prefix                         |
/// |                              ...                              |
/// +---------------------------------------------------------------+
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterAreaPrefixLsa {
    /// Cost, 24 bits.
    pub metric: u32,
    /// The prefix's options.
    pub options: PrefixOptions,
    /// The prefix.
    pub prefix: Prefix,
}

impl InterAreaPrefixLsa {
    /// Decodes a body.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.u8("reserved")?;
        let metric = r.u24("Inter-Area-Prefix-LSA metric")?;
        let (length, options) = prefix::decode_head(r)?;
        r.u16("reserved")?;
        Ok(InterAreaPrefixLsa { metric, options, prefix: length.decode_address(r)? })
    }

    /// Appends the body; a metric above LSInfinity is written as LSInfinity.
    pub fn encode(&self, w: &mut Writer) {
        w.put_u8(0);
        w.put_u24(self.metric);
        w.put_u8(self.prefix.length());
        w.put_u8(self.options.bits());
        w.put_u16(0);
        self.prefix.encode_address(w);
    }
}

/// An Inter-Area-Router-LSA body.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+-----------------------------------------------+
/// |       0       |                    Options                    |
/// +---------------+-----------------------------------------------+
/// |       0       |                    Metric                     |
/// +---------------+-----------------------------------------------+
/// |                     Destination Router ID                     |
/// +---------------------------------------------------------------+
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterAreaRouterLsa {
    /// The options of the described router.
    pub options: Options,
    /// Cost, 24 bits.
    pub metric: u32,
    /// The described router.
    pub destination: RouterId,
}

impl InterAreaRouterLsa {
    /// Decodes a body.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.u8("reserved")?;
        let options = Options::from_bits_retain(r.u24("Options")?);
        r.u8("reserved")?;
        Ok(InterAreaRouterLsa {
            options,
            metric: r.u24("Inter-Area-Router-LSA metric")?,
            destination: RouterId(r.u32("Destination Router ID")?),
        })
    }

    /// Appends the body; a metric above LSInfinity is written as LSInfinity.
    pub fn encode(&self, w: &mut Writer) {
        w.put_u8(0);
        w.put_u24(self.options.bits());
        w.put_u8(0);
        w.put_u24(self.metric);
        w.put_u32(self.destination.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    /// RFC 5340 §A.4.5: LSInfinity to 2001:db8:40::/42 with the DN-bit; six bits of the second word count.
    #[test]
    fn golden_bytes_of_a_prefix() {
        let bytes = hex("00 ffffff 2a 10 0000 20010db8 00400000");
        let body = InterAreaPrefixLsa {
            metric: crate::consts::LS_INFINITY,
            options: PrefixOptions::DN,
            prefix: "2001:db8:40::/42".parse().unwrap(),
        };
        assert_eq!(InterAreaPrefixLsa::decode(&mut Reader::new(&bytes)), Ok(body.clone()));
        let mut w = Writer::new();
        body.encode(&mut w);
        assert_eq!(w.into_vec(), bytes);
    }

    /// RFC 5340 §A.4.6.
    #[test]
    fn golden_bytes_of_a_router() {
        let bytes = hex("00 000013 00 010203 c0000204");
        let body = InterAreaRouterLsa {
            options: Options::V6 | Options::E | Options::R,
            metric: 0x01_0203,
            destination: "192.0.2.4".parse().unwrap(),
        };
        assert_eq!(InterAreaRouterLsa::decode(&mut Reader::new(&bytes)), Ok(body.clone()));
        let mut w = Writer::new();
        body.encode(&mut w);
        assert_eq!(w.into_vec(), bytes);
    }
}
