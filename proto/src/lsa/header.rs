//! LSA header (RFC 5340 §A.4.2) and recency (RFC 2328 §13.1).

use crate::consts::{MAX_AGE, MAX_AGE_DIFF};
use crate::id::{Domain, LinkStateId, LsaKey, RouterId};
use crate::lsa::LsType;
use crate::wire::{DecodeError, Fault, Reader, Writer};

/// The DoNotAge bit of the LS age field (RFC 1793 §2.2).
const DO_NOT_AGE: u16 = 0x8000;

/// The 20-byte LSA header.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
/// |            LS Age             |U|S2|S1|   LSA Function Code   |
/// +-------------------------------+-------------------------------+
/// |                         Link State ID                         |
/// +---------------------------------------------------------------+
/// |                      Advertising Router                       |
/// +---------------------------------------------------------------+
/// |                      LS Sequence Number                       |
/// +-------------------------------+-------------------------------+
/// |          LS Checksum          |            Length             |
/// +-------------------------------+-------------------------------+
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LsaHeader {
    /// LS age, seconds, 0..=3600 (DoNotAge is not supported: masked off at decoding, see docs/deviations.md).
    pub age: u16,
    /// LS type.
    pub ls_type: LsType,
    /// Link State ID.
    pub link_state_id: LinkStateId,
    /// Advertising Router.
    pub adv_router: RouterId,
    /// LS sequence number.
    pub sequence: i32,
    /// Fletcher checksum over everything but the age.
    pub checksum: u16,
    /// Length in bytes, this header included.
    pub length: u16,
}

/// Which of two instances of one LSA is the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recency {
    /// The first is older.
    Older,
    /// They are the same instance.
    Same,
    /// The first is newer.
    Newer,
}

impl LsaHeader {
    /// Bytes on the wire.
    pub const LENGTH: usize = 20;

    /// Decodes a header; an age above MaxAge (DoNotAge masked off) is an error.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.offset();
        let header = Self::decode_any_age(r)?;
        header.check_age(at).map(|()| header)
    }

    /// Decodes a header, whatever its age: what is left to say of an LSA that is refused for its age.
    pub(crate) fn decode_any_age(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut r20 = r.sub(Self::LENGTH, "LSA header")?;
        Ok(LsaHeader {
            age: r20.u16("LS age")? & !DO_NOT_AGE,
            ls_type: LsType(r20.u16("LS type")?),
            link_state_id: LinkStateId(r20.u32("Link State ID")?),
            adv_router: RouterId(r20.u32("Advertising Router")?),
            sequence: r20.i32("LS sequence number")?,
            checksum: r20.u16("LS checksum")?,
            length: r20.u16("LSA length")?,
        })
    }

    /// Refuses an age above MaxAge; `at` is where the header started.
    pub(crate) fn check_age(&self, at: usize) -> Result<(), DecodeError> {
        if self.age <= MAX_AGE {
            return Ok(());
        }
        let fault = Fault::Value { value: self.age.into(), expected: "at most MaxAge (3600)" };
        Err(DecodeError::new(at, "LS age", fault))
    }

    /// Appends the header as it is.
    pub fn encode(&self, w: &mut Writer) {
        w.put_u16(self.age);
        w.put_u16(self.ls_type.0);
        w.put_u32(self.link_state_id.0);
        w.put_u32(self.adv_router.0);
        w.put_i32(self.sequence);
        w.put_u16(self.checksum);
        w.put_u16(self.length);
    }

    /// What identifies the LSA within the LSDB.
    pub const fn key(&self, domain: Domain) -> LsaKey {
        LsaKey { domain, ls_type: self.ls_type, link_state_id: self.link_state_id, adv_router: self.adv_router }
    }

    /// Whether the age is MaxAge.
    pub const fn is_max_age(&self) -> bool {
        self.age >= MAX_AGE
    }
}

/// Whether `a` is the newer, the same or the older instance than `b` (RFC 2328 §13.1); ages are those in the headers.
///
/// The two describe one LSA: type, Link State ID and Advertising Router are not looked at.
pub fn compare(a: &LsaHeader, b: &LsaHeader) -> Recency {
    let newer_if = |condition: bool| {
        if condition { Recency::Newer } else { Recency::Older }
    };
    if a.sequence != b.sequence {
        newer_if(a.sequence > b.sequence)
    } else if a.checksum != b.checksum {
        newer_if(a.checksum > b.checksum)
    } else if a.is_max_age() != b.is_max_age() {
        newer_if(a.is_max_age())
    } else if a.age.abs_diff(b.age) > MAX_AGE_DIFF {
        newer_if(a.age < b.age)
    } else {
        Recency::Same
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    /// RFC 5340 §A.4.2.
    #[test]
    fn golden_bytes() {
        let bytes = hex("0e10 2001 00000007 c0000201 80000002 1234 0018");
        let mut r = Reader::new(&bytes);
        let header = LsaHeader::decode(&mut r).unwrap();
        assert_eq!(
            header,
            LsaHeader {
                age: 3600,
                ls_type: LsType::ROUTER,
                link_state_id: LinkStateId(7),
                adv_router: "192.0.2.1".parse().unwrap(),
                sequence: crate::consts::INITIAL_SEQUENCE + 1,
                checksum: 0x1234,
                length: 24,
            }
        );
        assert!(header.is_max_age());
        let mut w = Writer::new();
        header.encode(&mut w);
        assert_eq!(w.into_vec(), bytes);
    }

    #[test]
    fn do_not_age_is_masked_off_and_an_age_above_max_age_is_an_error() {
        let rest = "2001 00000007 c0000201 80000002 1234 0018";
        let decode = |age: &str| LsaHeader::decode(&mut Reader::new(&hex(&format!("{age}{rest}"))));
        assert_eq!(decode("8005").unwrap().age, 5);
        assert_eq!(
            decode("0e11").unwrap_err().to_string(),
            "LS age at byte 0: 3601 where at most MaxAge (3600) is expected"
        );
        assert_eq!(decode("ffff").unwrap_err().fault.label(), "value");
    }

    /// RFC 2328 §13.1, every clause and both directions.
    #[test]
    fn recency_goes_by_sequence_then_checksum_then_max_age_then_a_large_difference_of_age() {
        let header = |sequence, checksum, age| LsaHeader { sequence, checksum, age, ..LsaHeader::default() };
        let first = crate::consts::INITIAL_SEQUENCE;
        let cases = [
            (header(first + 1, 0, 0), header(first, 9, 3600), Recency::Newer),
            (header(1, 0, 0), header(-1, 0, 0), Recency::Newer),
            (header(1, 0x8000, 9), header(1, 0x7fff, 3600), Recency::Newer),
            (header(1, 1, 3600), header(1, 1, 3599), Recency::Newer),
            (header(1, 1, 99), header(1, 1, 1000), Recency::Newer),
            (header(1, 1, 100), header(1, 1, 1000), Recency::Same),
            (header(1, 1, 3600), header(1, 1, 3600), Recency::Same),
        ];
        for (a, b, expected) in cases {
            assert_eq!(compare(&a, &b), expected, "{a:?} {b:?}");
            let mirrored = match expected {
                Recency::Newer => Recency::Older,
                other => other,
            };
            assert_eq!(compare(&b, &a), mirrored, "{b:?} {a:?}");
        }
    }
}
