//! Link State Update (RFC 5340 §A.3.5).

use crate::lsa::{Lsa, LsaError, LsaHeader};
use crate::wire::{DecodeError, Reader, Writer};

/// A Link State Update body.
///
/// One bad LSA does not spoil its neighbors (RFC 2328 §13 (1): "discard the LSA and get the next one") as long as its
/// length field frames it; a packet whose framing is broken is not decoded at all.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            # LSAs                             |
/// +---------------------------------------------------------------+
/// |                             LSAs                              |
/// |                              ...                              |
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LsUpd {
    /// The well-formed LSAs.
    pub lsas: Vec<Lsa>,
    /// The ones whose checksum or body is wrong, with the reason. Empty in a packet that we send.
    pub rejected: Vec<RejectedLsa>,
}

/// An LSA that was framed well but is not well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedLsa {
    /// Its header.
    pub header: LsaHeader,
    /// What is wrong with it.
    pub error: DecodeError,
}

impl LsUpd {
    /// Bytes in front of the LSAs.
    pub const HEAD: usize = 4;

    /// Decodes a body up to the end of the reader.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = (r.offset(), "# LSAs");
        let count = r.u32(at.1)?;
        let mut update = LsUpd { lsas: Vec::with_capacity(r.count(count, LsaHeader::LENGTH, at)?), rejected: vec![] };
        for _ in 0..count {
            match Lsa::decode(r) {
                Ok(lsa) => update.lsas.push(lsa),
                Err(LsaError::Malformed { header, error }) => update.rejected.push(RejectedLsa { header, error }),
                Err(LsaError::Framing(error)) => return Err(error),
            }
        }
        Ok(update)
    }

    /// Appends the body: each LSA with the age in its header; what was rejected is not sent on.
    pub fn encode(&self, w: &mut Writer) {
        w.put_u32(u32::try_from(self.lsas.len()).unwrap_or(u32::MAX));
        for lsa in &self.lsas {
            w.put_bytes(&lsa.wire_bytes(lsa.header.age));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LinkStateId;
    use crate::lsa::{LsType, LsaBody, NetworkLsa};

    fn lsa(id: u32) -> Lsa {
        let header =
            LsaHeader { ls_type: LsType::NETWORK, link_state_id: LinkStateId(id), sequence: 1, ..LsaHeader::default() };
        Lsa::build(header, LsaBody::Network(NetworkLsa::default()))
    }

    fn encode(update: &LsUpd) -> Vec<u8> {
        let mut w = Writer::new();
        update.encode(&mut w);
        w.into_vec()
    }

    /// RFC 5340 §A.3.5: a count of 32 bits, then the LSAs back to back with their present age.
    #[test]
    fn lsas_follow_the_count_with_the_age_of_their_header() {
        let update = LsUpd { lsas: vec![lsa(1), lsa(2).with_age(300)], rejected: vec![] };
        let bytes = encode(&update);
        assert_eq!(bytes.len(), 4 + 24 + 24);
        assert_eq!(bytes[..4], [0, 0, 0, 2]);
        assert_eq!(bytes[28..30], [0x01, 0x2c]);
        let decoded = LsUpd::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(decoded.lsas[1].header, update.lsas[1].header);
        assert_eq!(encode(&decoded), bytes);
    }

    /// RFC 2328 §13 (1).
    #[test]
    fn one_bad_lsa_does_not_spoil_its_neighbors() {
        let update = LsUpd { lsas: vec![lsa(1), lsa(2), lsa(3)], rejected: vec![] };
        let mut bytes = encode(&update);
        bytes[4 + 24 + 21] ^= 0x40;
        let decoded = LsUpd::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(decoded.lsas, [lsa(1), lsa(3)]);
        assert_eq!(decoded.rejected.len(), 1);
        assert_eq!(decoded.rejected[0].header, lsa(2).header);
        assert_eq!(decoded.rejected[0].error.field, "LS checksum");
        assert_eq!(decoded.rejected[0].error.offset, 4 + 24 + 16);
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_is_an_error() {
        let mut bytes = encode(&LsUpd { lsas: vec![lsa(1)], rejected: vec![] });
        bytes[3] = 2;
        let error = LsUpd::decode(&mut Reader::new(&bytes)).unwrap_err();
        assert_eq!(error.to_string(), "# LSAs at byte 0: 2 elements announced, room for 1");
    }
}
