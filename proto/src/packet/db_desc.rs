//! Database Description (RFC 5340 §A.3.3).

use crate::lsa::{LsaHeader, Options};
use crate::packet::{decode_headers, encode_headers};
use crate::wire::{DecodeError, Reader, Writer};

bitflags::bitflags! {
    /// The I, M and MS bits.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct DdFlags: u8 {
        /// MS: the sender is master.
        const MS = 0x01;
        /// M: more packets follow.
        const M = 0x02;
        /// I: the first packet.
        const I = 0x04;
        const _ = !0;
    }
}

/// A Database Description body.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+-----------------------------------------------+
/// |       0       |                    Options                    |
/// +---------------+---------------+---------------+---------------+
/// |         Interface MTU         |       0       |0|0|0|0|0|I|M|MS|
/// +-------------------------------+---------------+---------------+
/// |                      DD sequence number                       |
/// +---------------------------------------------------------------+
/// |                       LSA Headers (20)                        |
/// |                              ...                              |
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DbDesc {
    /// Options.
    pub options: Options,
    /// Interface MTU of the sender, bytes.
    pub mtu: u16,
    /// I, M, MS.
    pub flags: DdFlags,
    /// DD sequence number.
    pub sequence: u32,
    /// Headers of LSAs in the sender's LSDB.
    pub headers: Vec<LsaHeader>,
}

impl DbDesc {
    /// Bytes in front of the LSA headers.
    pub const HEAD: usize = 12;

    /// Decodes a body up to the end of the reader.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.u8("reserved")?;
        let options = Options::from_bits_retain(r.u24("Options")?);
        let mtu = r.u16("Interface MTU")?;
        r.u8("reserved")?;
        Ok(DbDesc {
            options,
            mtu,
            flags: DdFlags::from_bits_retain(r.u8("DD flags")?),
            sequence: r.u32("DD sequence number")?,
            headers: decode_headers(r)?,
        })
    }

    /// Appends the body.
    pub fn encode(&self, w: &mut Writer) {
        w.put_u8(0);
        w.put_u24(self.options.bits());
        w.put_u16(self.mtu);
        w.put_u8(0);
        w.put_u8(self.flags.bits());
        w.put_u32(self.sequence);
        encode_headers(&self.headers, w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LinkStateId;
    use crate::lsa::LsType;
    use crate::wire::hex;

    /// RFC 5340 §A.3.3.
    #[test]
    fn golden_bytes() {
        let bytes = hex("00 000013 05dc 00 03 00001a2b  0001 0008 00000005 c0000201 80000001 abcd 002c");
        let body = DbDesc {
            options: Options::V6 | Options::E | Options::R,
            mtu: 1500,
            flags: DdFlags::M | DdFlags::MS,
            sequence: 0x1a2b,
            headers: vec![LsaHeader {
                age: 1,
                ls_type: LsType::LINK,
                link_state_id: LinkStateId(5),
                adv_router: "192.0.2.1".parse().unwrap(),
                sequence: crate::consts::INITIAL_SEQUENCE,
                checksum: 0xabcd,
                length: 44,
            }],
        };
        assert_eq!(DbDesc::decode(&mut Reader::new(&bytes)), Ok(body.clone()));
        let mut w = Writer::new();
        body.encode(&mut w);
        assert_eq!(w.into_vec(), bytes);
    }
}
