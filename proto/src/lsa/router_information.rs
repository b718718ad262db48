//! Router-Information LSA (RFC 7770 §2.2): a list of TLVs.

use crate::wire::{DecodeError, Reader, Writer};

/// A Router-Information LSA body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterInformationLsa {
    /// The TLVs in the order of the wire, unknown ones kept.
    pub tlvs: Vec<Tlv>,
}

/// One TLV (RFC 7770 §2.3), padded to 4 bytes on the wire.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
/// |             Type              |            Length             |
/// +-------------------------------+-------------------------------+
/// |               Value, padded to a multiple of 4                |
/// |                              ...                              |
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlv {
    /// Type.
    pub tlv_type: u16,
    /// Value without padding.
    pub value: Vec<u8>,
}

impl Tlv {
    /// Router Informational Capabilities (RFC 7770 §2.4).
    pub const INFORMATIONAL_CAPABILITIES: u16 = 1;
}

impl RouterInformationLsa {
    /// Decodes a body up to the end of the reader. Padding is of undefined bits and is not looked at.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut tlvs = Vec::new();
        while !r.is_empty() {
            let tlv_type = r.u16("TLV type")?;
            let length = usize::from(r.u16("TLV length")?);
            let value = r.bytes(length, "TLV value")?.to_vec();
            r.bytes(length.next_multiple_of(4) - length, "TLV padding")?;
            tlvs.push(Tlv { tlv_type, value });
        }
        Ok(RouterInformationLsa { tlvs })
    }

    /// Appends the body, padded with zeros.
    pub fn encode(&self, w: &mut Writer) {
        for tlv in &self.tlvs {
            debug_assert!(tlv.value.len() <= usize::from(u16::MAX), "a TLV of {} bytes", tlv.value.len());
            w.put_u16(tlv.tlv_type);
            w.put_u16(u16::try_from(tlv.value.len()).unwrap_or(u16::MAX));
            w.put_bytes(&tlv.value);
            w.pad4();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    /// RFC 7770 §2.3, §2.4: capabilities (stub router support, bit 2), then "a 3-octet value would have a length of 3,
    /// but the total size of the TLV would be 8 octets", then one without a value.
    #[test]
    fn golden_bytes() {
        let bytes = hex("0001 0004 20000000  8000 0003 aabbcc 00  8001 0000");
        let body = RouterInformationLsa {
            tlvs: vec![
                Tlv { tlv_type: Tlv::INFORMATIONAL_CAPABILITIES, value: hex("20000000") },
                Tlv { tlv_type: 32768, value: hex("aabbcc") },
                Tlv { tlv_type: 32769, value: vec![] },
            ],
        };
        assert_eq!(RouterInformationLsa::decode(&mut Reader::new(&bytes)), Ok(body.clone()));
        let mut w = Writer::new();
        body.encode(&mut w);
        assert_eq!(w.into_vec(), bytes);
    }

    #[test]
    fn a_value_or_its_padding_cut_short_is_an_error() {
        for (bytes, field) in [("8000 0005 aabbccdd", "TLV value"), ("8000 0003 aabbcc", "TLV padding")] {
            assert_eq!(RouterInformationLsa::decode(&mut Reader::new(&hex(bytes))).unwrap_err().field, field);
        }
    }
}
