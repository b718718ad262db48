//! Prefixes (RFC 5340 §A.4.1).

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use ipnetwork::Ipv6Network;

use crate::lsa::PrefixOptions;
use crate::wire::{DecodeError, Fault, Reader, Writer};

/// An IPv6 prefix whose host bits are zero: one with host bits set does not exist.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Ipv6Network);

/// A prefix as an LSA lists it.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+-------------------------------+
/// | PrefixLength  | PrefixOptions |            Metric             |
/// +---------------+---------------+-------------------------------+
/// |        Address Prefix: (PrefixLength + 31) / 32 words         |
/// |                              ...                              |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LsaPrefix {
    /// The prefix.
    pub prefix: Prefix,
    /// Its options.
    pub options: PrefixOptions,
    /// Its metric; 0 (reserved) in a Link-LSA.
    pub metric: u16,
}

impl Prefix {
    /// The prefix of `length` bits that `address` lies in; none if `length` is above 128.
    pub fn new(address: Ipv6Addr, length: u8) -> Option<Self> {
        let network = Ipv6Network::new(address, length).ok()?;
        Ipv6Network::new(network.network(), length).ok().map(Prefix)
    }

    /// The prefix of this one address.
    pub fn host(address: Ipv6Addr) -> Self {
        Prefix(Ipv6Network::from(address))
    }

    /// The first address.
    pub fn address(&self) -> Ipv6Addr {
        self.0.ip()
    }

    /// The length in bits.
    pub fn length(&self) -> u8 {
        self.0.prefix()
    }

    /// Bytes that the address takes on the wire: as many 32-bit words as the length needs.
    pub fn wire_len(&self) -> usize {
        words_of(self.length())
    }

    /// Appends the address in as many words as the length needs.
    pub(crate) fn encode_address(&self, w: &mut Writer) {
        let octets = self.address().octets();
        w.put_bytes(octets.get(..self.wire_len()).unwrap_or(&octets));
    }

    /// Whether `address` lies in the prefix.
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        self.0.contains(address)
    }
}

/// Bytes of the 32-bit words that hold `length` bits.
fn words_of(length: u8) -> usize {
    usize::from(length).div_ceil(32) * 4
}

/// A PrefixLength that is at most 128.
#[derive(Clone, Copy)]
pub(super) struct PrefixLength(u8);

impl PrefixLength {
    /// Decodes the Address Prefix; bits behind the length are masked off.
    pub(super) fn decode_address(self, r: &mut Reader<'_>) -> Result<Prefix, DecodeError> {
        let too_long = r.error("PrefixLength", Fault::PrefixLength(self.0));
        let words = r.bytes(words_of(self.0), "Address Prefix")?;
        let mut octets = [0; 16];
        for (octet, &byte) in octets.iter_mut().zip(words) {
            *octet = byte;
        }
        Prefix::new(octets.into(), self.0).ok_or(too_long)
    }
}

/// Decodes PrefixLength and PrefixOptions, which stand in front of every prefix.
pub(super) fn decode_head(r: &mut Reader<'_>) -> Result<(PrefixLength, PrefixOptions), DecodeError> {
    let at = r.offset();
    let length = r.u8("PrefixLength")?;
    if length > 128 {
        return Err(DecodeError::new(at, "PrefixLength", Fault::PrefixLength(length)));
    }
    Ok((PrefixLength(length), PrefixOptions::from_bits_retain(r.u8("PrefixOptions")?)))
}

impl LsaPrefix {
    /// Bytes on the wire of the shortest, ::/0.
    pub const LEAST: usize = 4;

    /// Decodes a prefix with its metric.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (length, options) = decode_head(r)?;
        let metric = r.u16("prefix metric")?;
        Ok(LsaPrefix { prefix: length.decode_address(r)?, options, metric })
    }

    /// Appends the prefix with its metric.
    pub fn encode(&self, w: &mut Writer) {
        w.put_u8(self.prefix.length());
        w.put_u8(self.options.bits());
        w.put_u16(self.metric);
        self.prefix.encode_address(w);
    }

    /// Bytes on the wire.
    pub fn wire_len(&self) -> usize {
        Self::LEAST + self.prefix.wire_len()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({})", self.0)
    }
}

/// A text that is not a prefix.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PrefixError {
    /// Not an IPv6 address with a length.
    #[error("`{0}` is not an IPv6 prefix (such as 2001:db8::/64)")]
    Syntax(String),
    /// Bits behind the length are set.
    #[error("`{given}` has bits set behind its length; did you mean {meant}?")]
    HostBits {
        /// What was given.
        given: String,
        /// The prefix it lies in.
        meant: Prefix,
    },
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network: Ipv6Network = text.parse().map_err(|_| PrefixError::Syntax(text.to_owned()))?;
        let meant = Prefix::new(network.ip(), network.prefix()).ok_or_else(|| PrefixError::Syntax(text.to_owned()))?;
        if meant.address() != network.ip() {
            return Err(PrefixError::HostBits { given: text.to_owned(), meant });
        }
        Ok(meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    fn decode(bytes: &[u8]) -> Result<LsaPrefix, DecodeError> {
        let mut r = Reader::new(bytes);
        let prefix = LsaPrefix::decode(&mut r)?;
        r.finish("prefix").map(|()| prefix)
    }

    /// RFC 5340 §A.4.1: ((PrefixLength + 31) / 32) words, padded with zero bits.
    #[test]
    fn every_length_from_0_to_128_round_trips() {
        let all_ones = Ipv6Addr::from([0xff; 16]);
        for length in 0..=128 {
            let prefix = Prefix::new(all_ones, length).unwrap();
            let listed = LsaPrefix { prefix, options: PrefixOptions::LA, metric: 7 };
            let mut w = Writer::new();
            listed.encode(&mut w);
            assert_eq!(w.len(), listed.wire_len());
            let expected = match length {
                0 => 0,
                1..=32 => 4,
                33..=64 => 8,
                65..=96 => 12,
                _ => 16,
            };
            assert_eq!(prefix.wire_len(), expected);
            assert_eq!(w.as_slice()[4..].iter().map(|b| b.count_ones()).sum::<u32>(), u32::from(length));
            assert_eq!(decode(w.as_slice()), Ok(listed), "/{length}");
        }
    }

    #[test]
    fn host_bits_are_masked_off() {
        assert_eq!(decode(&hex("21 00 0001 20010db8 ffffffff")).unwrap().prefix, "2001:db8:8000::/33".parse().unwrap());
    }

    #[test]
    fn a_length_above_128_is_an_error() {
        let error = decode(&hex("81 00 0001 20010db8 00000000 00000000 00000000 00000000")).unwrap_err();
        assert_eq!(error.to_string(), "PrefixLength at byte 0: a prefix length of 129, above 128");
        assert_eq!(decode(&hex("ff 00 0001")).unwrap_err().fault, Fault::PrefixLength(255));
    }

    #[test]
    fn an_address_shorter_than_its_words_is_an_error() {
        let error = decode(&hex("21 00 0001 20010db8")).unwrap_err();
        assert_eq!(error.to_string(), "Address Prefix at byte 4: 8 bytes needed, 4 left");
    }

    #[test]
    fn text_with_host_bits_is_refused_with_what_was_meant() {
        assert_eq!(
            "2001:db8::1/64".parse::<Prefix>().unwrap_err().to_string(),
            "`2001:db8::1/64` has bits set behind its length; did you mean 2001:db8::/64?"
        );
        assert!(matches!("2001:db8::/129".parse::<Prefix>(), Err(PrefixError::Syntax(_))));
    }
}
