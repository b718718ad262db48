//! Link state advertisements (RFC 5340 §A.4): header, one file per body, prefixes, options, recency.

mod as_external;
mod farm_tlv;
mod header;
mod inter_area;
mod intra_area_prefix;
mod link;
mod network;
mod options;
mod prefix;
mod router;
mod router_information;

use std::sync::Arc;

use crate::consts::MAX_AGE;
use crate::id::{Domain, LsaKey};
use crate::wire::{DecodeError, Fault, Reader, Writer, fletcher, fletcher_valid};

pub use crate::ls_type::{LsType, Scope};
pub use as_external::{AsExternalLsa, ExternalFlags};
pub use farm_tlv::{FARM_TLV_TYPE, FarmTlv, ServiceFlags, ServiceRecord, SharingMode};
pub use header::{LsaHeader, Recency, compare};
pub use inter_area::{InterAreaPrefixLsa, InterAreaRouterLsa};
pub use intra_area_prefix::IntraAreaPrefixLsa;
pub use link::LinkLsa;
pub use network::NetworkLsa;
pub use options::{Options, PrefixOptions, RouterFlags};
pub use prefix::{LsaPrefix, Prefix, PrefixError};
pub use router::{RouterLink, RouterLinkType, RouterLsa};
pub use router_information::{RouterInformationLsa, Tlv};

/// The body of an LSA, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LsaBody {
    /// Router-LSA (RFC 5340 §A.4.3).
    Router(RouterLsa),
    /// Network-LSA (RFC 5340 §A.4.4).
    Network(NetworkLsa),
    /// Inter-Area-Prefix-LSA (RFC 5340 §A.4.5).
    InterAreaPrefix(InterAreaPrefixLsa),
    /// Inter-Area-Router-LSA (RFC 5340 §A.4.6).
    InterAreaRouter(InterAreaRouterLsa),
    /// AS-External-LSA (RFC 5340 §A.4.7).
    AsExternal(AsExternalLsa),
    /// NSSA-LSA (RFC 5340 §A.4.8): the same body as an AS-External-LSA.
    Nssa(AsExternalLsa),
    /// Link-LSA (RFC 5340 §A.4.9).
    Link(LinkLsa),
    /// Intra-Area-Prefix-LSA (RFC 5340 §A.4.10).
    IntraAreaPrefix(IntraAreaPrefixLsa),
    /// Router-Information LSA (RFC 7770 §2.2).
    RouterInformation(RouterInformationLsa),
    /// An LS type we do not know: kept whole in `Lsa::raw` and flooded by its U-bit and scope (RFC 5340 §4.5.1).
    Unknown,
}

/// A whole LSA: the header as received, the body decoded, and the very bytes it came in (age as received).
///
/// Cheap to clone. `raw` starts with the 20-byte header and is `header.length` bytes long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lsa {
    /// The decoded header.
    pub header: LsaHeader,
    /// The decoded body.
    pub body: LsaBody,
    /// Header and body as on the wire.
    pub raw: Arc<[u8]>,
}

/// Why there is no LSA at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LsaError {
    /// The length field does not frame the LSA: nothing behind it can be found either.
    #[error(transparent)]
    Framing(DecodeError),
    /// The LSA is framed well but its age, checksum or body is wrong; the reader stands behind it.
    #[error("{} {} of {}: {error}", header.ls_type, header.link_state_id, header.adv_router)]
    Malformed {
        /// The header as received, DoNotAge masked off.
        header: LsaHeader,
        /// What is wrong.
        error: DecodeError,
    },
}

impl LsaError {
    /// Where, which field, what.
    pub const fn error(&self) -> &DecodeError {
        match self {
            LsaError::Framing(error) | LsaError::Malformed { error, .. } => error,
        }
    }
}

impl LsaBody {
    /// Decodes the body of an LSA of this type; the reader must hold it exactly.
    pub fn decode(ls_type: LsType, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let body = match ls_type {
            LsType::ROUTER => LsaBody::Router(RouterLsa::decode(r)?),
            LsType::NETWORK => LsaBody::Network(NetworkLsa::decode(r)?),
            LsType::INTER_AREA_PREFIX => LsaBody::InterAreaPrefix(InterAreaPrefixLsa::decode(r)?),
            LsType::INTER_AREA_ROUTER => LsaBody::InterAreaRouter(InterAreaRouterLsa::decode(r)?),
            LsType::AS_EXTERNAL => LsaBody::AsExternal(AsExternalLsa::decode(r)?),
            LsType::NSSA => LsaBody::Nssa(AsExternalLsa::decode(r)?),
            LsType::LINK => LsaBody::Link(LinkLsa::decode(r)?),
            LsType::INTRA_AREA_PREFIX => LsaBody::IntraAreaPrefix(IntraAreaPrefixLsa::decode(r)?),
            other if other.function_code() == LsType::ROUTER_INFORMATION_CODE => {
                LsaBody::RouterInformation(RouterInformationLsa::decode(r)?)
            }
            _ => return Ok(LsaBody::Unknown),
        };
        r.finish("LSA body").map(|()| body)
    }

    /// Appends the body; of an unknown type there is nothing to append.
    pub fn encode(&self, w: &mut Writer) {
        match self {
            LsaBody::Router(body) => body.encode(w),
            LsaBody::Network(body) => body.encode(w),
            LsaBody::InterAreaPrefix(body) => body.encode(w),
            LsaBody::InterAreaRouter(body) => body.encode(w),
            LsaBody::AsExternal(body) | LsaBody::Nssa(body) => body.encode(w),
            LsaBody::Link(body) => body.encode(w),
            LsaBody::IntraAreaPrefix(body) => body.encode(w),
            LsaBody::RouterInformation(body) => body.encode(w),
            LsaBody::Unknown => {}
        }
    }
}

impl Lsa {
    /// The longest LSA that is built: the greatest multiple of 4 that the length field holds.
    pub const MAX_LENGTH: usize = 0xfffc;

    /// Bytes of the LS age field, which the checksum leaves out.
    const AGE_BYTES: usize = 2;
    /// Where the checksum stands in an LSA without its age.
    const CHECKSUM_AT: usize = 14;
    /// Where the length stands in an LSA.
    const LENGTH_AT: usize = 18;

    /// Decodes the LSA that the reader stands at (RFC 2328 §13 (1): the checksum is verified).
    ///
    /// After `LsaError::Malformed` the reader stands behind the LSA, so that the next one can be read.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, LsaError> {
        let at = r.offset();
        let left = r.remaining();
        let header = LsaHeader::decode_any_age(&mut r.clone()).map_err(LsaError::Framing)?;
        let length = usize::from(header.length);
        if length < LsaHeader::LENGTH || length > left {
            let fault = Fault::Length { given: length, least: LsaHeader::LENGTH, most: left };
            return Err(LsaError::Framing(DecodeError::new(at + Self::LENGTH_AT, "LSA length", fault)));
        }
        let whole = r.sub(length, "LSA").map_err(LsaError::Framing)?;
        let raw = whole.peek();
        match Self::decode_body(&header, whole) {
            Ok(body) => Ok(Lsa { header, body, raw: raw.into() }),
            Err(error) => Err(LsaError::Malformed { header, error }),
        }
    }

    /// Checks age and checksum and decodes the body; `r` holds exactly the LSA.
    fn decode_body(header: &LsaHeader, mut r: Reader<'_>) -> Result<LsaBody, DecodeError> {
        let at = r.offset();
        header.check_age(at)?;
        let summed = r.peek().get(Self::AGE_BYTES..).unwrap_or_default();
        // 0 is never a checksum (RFC 2328 §12.1.7), though the sums of an all-zero LSA come out right.
        if header.checksum == 0 || !fletcher_valid(summed) {
            let fault = Fault::Checksum { found: header.checksum, computed: fletcher(summed, Self::CHECKSUM_AT) };
            return Err(DecodeError::new(at + Self::AGE_BYTES + Self::CHECKSUM_AT, "LS checksum", fault));
        }
        r.bytes(LsaHeader::LENGTH, "LSA header")?;
        LsaBody::decode(header.ls_type, &mut r)
    }

    /// Builds an LSA from a header, whose checksum and length are computed here, and the body that its type calls for.
    ///
    /// An LSA cannot be longer than `MAX_LENGTH`; what is behind is cut off. Nobody gets there: everything we
    /// originate is kept below `consts::MAX_OWN_LSA` but a Network-LSA, which would need 16,377 attached routers.
    pub fn build(header: LsaHeader, body: LsaBody) -> Self {
        let mut w = Writer::with_capacity(128);
        header.encode(&mut w);
        body.encode(&mut w);
        Self::seal(header, body, w)
    }

    /// Builds an LSA from a header, whose checksum and length are computed here, and the bytes of its body: for types
    /// that have no body of their own in `LsaBody`.
    pub fn from_body_bytes(header: LsaHeader, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let most = Self::MAX_LENGTH - LsaHeader::LENGTH;
        if bytes.len() > most {
            return Err(r.error("LSA body", Fault::Length { given: bytes.len(), least: 0, most }));
        }
        let body = LsaBody::decode(header.ls_type, &mut r)?;
        let mut w = Writer::with_capacity(LsaHeader::LENGTH + bytes.len());
        header.encode(&mut w);
        w.put_bytes(bytes);
        Ok(Self::seal(header, body, w))
    }

    /// Fills in length and checksum.
    fn seal(mut header: LsaHeader, body: LsaBody, mut w: Writer) -> Self {
        debug_assert!(w.len() <= Self::MAX_LENGTH, "an LSA of {} bytes", w.len());
        w.truncate(Self::MAX_LENGTH);
        header.length = u16::try_from(w.len()).unwrap_or(u16::MAX);
        w.patch_u16(Self::LENGTH_AT, header.length);
        header.checksum = fletcher(w.as_slice().get(Self::AGE_BYTES..).unwrap_or_default(), Self::CHECKSUM_AT);
        w.patch_u16(Self::AGE_BYTES + Self::CHECKSUM_AT, header.checksum);
        Lsa { header, body, raw: w.into_vec().into() }
    }

    /// The LSA with another age; the bytes are shared.
    #[must_use]
    pub fn with_age(&self, age: u16) -> Self {
        let mut aged = self.clone();
        aged.header.age = age.min(MAX_AGE);
        aged
    }

    /// The bytes to send, with this age (MaxAge at most).
    pub fn wire_bytes(&self, age: u16) -> Vec<u8> {
        let mut w = Writer::with_capacity(self.raw.len());
        w.put_bytes(&self.raw);
        w.patch_u16(0, age.min(MAX_AGE));
        w.into_vec()
    }

    /// What identifies the LSA within the LSDB.
    pub const fn key(&self, domain: Domain) -> LsaKey {
        self.header.key(domain)
    }

    /// Whether the age is MaxAge.
    pub const fn is_max_age(&self) -> bool {
        self.header.is_max_age()
    }

    /// The bytes behind the header.
    pub fn body_bytes(&self) -> &[u8] {
        self.raw.get(LsaHeader::LENGTH..).unwrap_or_default()
    }

    /// Whether the contents are the same, so that no route can change (RFC 2328 §13.2): the bodies are (in OSPFv3 the
    /// options are part of them), and both or neither are of age MaxAge.
    pub fn same_content(&self, other: &Self) -> bool {
        self.is_max_age() == other.is_max_age() && self.body_bytes() == other.body_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consts::INITIAL_SEQUENCE;
    use crate::id::{AreaId, LinkStateId, RouterId};

    fn header(ls_type: LsType) -> LsaHeader {
        LsaHeader {
            age: 5,
            ls_type,
            link_state_id: LinkStateId(1),
            adv_router: RouterId(0xc000_0201),
            sequence: INITIAL_SEQUENCE,
            ..LsaHeader::default()
        }
    }

    fn network() -> Lsa {
        let attached = vec![RouterId(0xc000_0201), RouterId(0xc000_0202)];
        Lsa::build(header(LsType::NETWORK), LsaBody::Network(NetworkLsa { options: Options::V6, attached }))
    }

    fn decode(bytes: &[u8]) -> Result<Lsa, LsaError> {
        Lsa::decode(&mut Reader::new(bytes))
    }

    #[test]
    fn a_built_lsa_decodes_to_itself_and_knows_length_and_checksum() {
        let lsa = network();
        assert_eq!(lsa.header.length, 32);
        assert_eq!(lsa.raw.len(), 32);
        assert!(fletcher_valid(&lsa.raw[2..]));
        assert_eq!(decode(&lsa.raw), Ok(lsa.clone()));
        assert_eq!(lsa.key(Domain::Area(AreaId(0))).link_state_id, LinkStateId(1));
    }

    #[test]
    fn the_age_is_outside_the_checksum_and_never_above_max_age() {
        let lsa = network();
        let aged = decode(&lsa.wire_bytes(3599)).unwrap();
        assert_eq!((aged.header.age, aged.header.checksum), (3599, lsa.header.checksum));
        assert!(!aged.is_max_age());
        assert!(decode(&lsa.wire_bytes(u16::MAX)).unwrap().is_max_age());
        let flushed = lsa.with_age(3600);
        assert!(flushed.is_max_age() && Arc::ptr_eq(&flushed.raw, &lsa.raw));
    }

    /// RFC 2328 §13.2.
    #[test]
    fn content_is_the_body_and_whether_the_age_is_max_age() {
        let lsa = network();
        let refreshed = Lsa::build(LsaHeader { sequence: INITIAL_SEQUENCE + 1, ..lsa.header }, lsa.body.clone());
        assert!(lsa.same_content(&refreshed));
        assert!(!lsa.same_content(&refreshed.with_age(3600)));
        assert!(lsa.with_age(3600).same_content(&refreshed.with_age(3600)));
        let other = LsaBody::Network(NetworkLsa { options: Options::V6 | Options::R, ..NetworkLsa::default() });
        assert!(!lsa.same_content(&Lsa::build(lsa.header, other)));
    }

    #[test]
    fn an_unknown_type_is_kept_whole() {
        let lsa = Lsa::from_body_bytes(header(LsType(0xbfff)), &[1, 2, 3]).unwrap();
        assert_eq!((&lsa.body, lsa.header.length), (&LsaBody::Unknown, 23));
        assert_eq!(decode(&lsa.raw).unwrap().body_bytes(), [1, 2, 3]);
    }

    #[test]
    fn a_malformed_lsa_is_stepped_over_and_says_whose_it_is() {
        let good = network();
        let mut bytes = good.raw.to_vec();
        bytes[31] ^= 1;
        let mut both = bytes.clone();
        both.extend_from_slice(&good.raw);
        let mut r = Reader::new(&both);
        let error = Lsa::decode(&mut r).unwrap_err();
        assert!(matches!(error, LsaError::Malformed { header, .. } if header == good.header), "{error:?}");
        assert!(error.to_string().starts_with("Network-LSA 0.0.0.1 of 192.0.2.1: LS checksum at byte 16: "), "{error}");
        assert_eq!(Lsa::decode(&mut r), Ok(good));
    }

    #[test]
    fn an_age_above_max_age_a_zero_checksum_and_trailing_bytes_are_malformed() {
        let lsa = network();
        let mut old = lsa.raw.to_vec();
        old[0] = 0x0f;
        let zero = vec![0; 16].into_iter().chain([0, 0, 0, 20]).collect::<Vec<u8>>();
        let body = InterAreaRouterLsa { options: Options::V6, metric: 1, destination: RouterId(1) };
        let mut long = Writer::new();
        LsaBody::InterAreaRouter(body).encode(&mut long);
        long.put_u8(0);
        let unknown = Lsa::from_body_bytes(header(LsType(0x3fff)), long.as_slice()).unwrap();
        let mut trailing = unknown.raw.to_vec();
        trailing[2..4].copy_from_slice(&LsType::INTER_AREA_ROUTER.0.to_be_bytes());
        let checksum = fletcher(&trailing[2..], 14);
        trailing[16..18].copy_from_slice(&checksum.to_be_bytes());
        for (bytes, text) in [
            (old, "LS age at byte 0: 3845 where at most MaxAge (3600) is expected"),
            (zero, "LS checksum at byte 16: 0x0000 found"),
            (trailing, "LSA body at byte 32: 1 bytes left over"),
        ] {
            match decode(&bytes) {
                Err(LsaError::Malformed { error, .. }) => {
                    assert!(error.to_string().starts_with(text), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_length_that_does_not_frame_is_a_framing_error() {
        let lsa = network();
        for length in [0u16, 19, 33, 0xffff] {
            let mut bytes = lsa.raw.to_vec();
            bytes[18..20].copy_from_slice(&length.to_be_bytes());
            let error = decode(&bytes).unwrap_err();
            assert!(matches!(error, LsaError::Framing(e) if e.field == "LSA length" && e.offset == 18), "{error:?}");
        }
        for cut in 0..20 {
            assert!(matches!(decode(&lsa.raw[..cut]), Err(LsaError::Framing(e)) if e.fault.label() == "short"));
        }
    }
}
