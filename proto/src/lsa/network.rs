//! Network-LSA (RFC 5340 §A.4.4).

use crate::id::RouterId;
use crate::lsa::Options;
use crate::wire::{DecodeError, Reader, Writer};

/// A Network-LSA body; its Link State ID is the DR's Interface ID.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+-----------------------------------------------+
/// |       0       |                    Options                    |
/// +---------------+-----------------------------------------------+
/// |                        Attached Router                        |
/// +---------------------------------------------------------------+
/// |                              ...                              |
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkLsa {
    /// The OR of the options of the Link-LSAs of the attached routers.
    pub options: Options,
    /// The DR and every router fully adjacent to it.
    pub attached: Vec<RouterId>,
}

impl NetworkLsa {
    /// Decodes a body up to the end of the reader.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.u8("reserved")?;
        let options = Options::from_bits_retain(r.u24("Options")?);
        let mut attached = Vec::with_capacity(r.remaining() / 4);
        while !r.is_empty() {
            attached.push(RouterId(r.u32("Attached Router")?));
        }
        Ok(NetworkLsa { options, attached })
    }

    /// Appends the body.
    pub fn encode(&self, w: &mut Writer) {
        w.put_u8(0);
        w.put_u24(self.options.bits());
        for router in &self.attached {
            w.put_u32(router.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    /// RFC 5340 §A.4.4.
    #[test]
    fn golden_bytes() {
        let bytes = hex("00 000033 c0000201 c0000202");
        let body = NetworkLsa {
            options: Options::V6 | Options::E | Options::R | Options::DC,
            attached: vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()],
        };
        assert_eq!(NetworkLsa::decode(&mut Reader::new(&bytes)), Ok(body.clone()));
        let mut w = Writer::new();
        body.encode(&mut w);
        assert_eq!(w.into_vec(), bytes);
    }
}
