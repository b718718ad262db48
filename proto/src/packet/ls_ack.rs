//! Link State Acknowledgment (RFC 5340 §A.3.6).

use crate::lsa::LsaHeader;
use crate::packet::{decode_headers, encode_headers};
use crate::wire::{DecodeError, Reader, Writer};

/// A Link State Acknowledgment body: nothing but LSA headers of 20 bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LsAck {
    /// Headers of the acknowledged LSAs.
    pub headers: Vec<LsaHeader>,
}

impl LsAck {
    /// Decodes a body up to the end of the reader.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        decode_headers(r).map(|headers| LsAck { headers })
    }

    /// Appends the body.
    pub fn encode(&self, w: &mut Writer) {
        encode_headers(&self.headers, w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    /// RFC 5340 §A.3.6.
    #[test]
    fn golden_bytes() {
        let one = "0e10 2009 00000001 c0000201 80000007 0f0f 0034";
        let bytes = hex(&format!("{one} {one}"));
        let body = LsAck::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(body.headers.len(), 2);
        assert!(body.headers[0].is_max_age() && body.headers[0] == body.headers[1]);
        let mut w = Writer::new();
        body.encode(&mut w);
        assert_eq!(w.into_vec(), bytes);
    }

    #[test]
    fn a_header_cut_short_is_an_error() {
        let error = LsAck::decode(&mut Reader::new(&[0; 39])).unwrap_err();
        assert_eq!(error.to_string(), "LSA header at byte 20: 20 bytes needed, 19 left");
    }
}
