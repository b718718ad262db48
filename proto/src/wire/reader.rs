//! A cursor over received bytes that cannot run off the end.
//!
//! Every read names the field it wants, so that a failure says where, which field, and what: a decoder built on
//! this never logs, panics, indexes or skips in silence.

use std::net::Ipv6Addr;

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes end inside the field.
    #[error("{needed} bytes needed, {left} left")]
    Short {
        /// Bytes that the field takes.
        needed: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// The field holds a value that it must not hold.
    #[error("{value} where {expected} is expected")]
    Value {
        /// What was found.
        value: u32,
        /// What the RFC allows.
        expected: &'static str,
    },
    /// A length field that does not fit the bytes it is to frame.
    #[error("a length of {given} where {least} to {most} bytes are possible")]
    Length {
        /// What was found.
        given: usize,
        /// The least possible length.
        least: usize,
        /// The bytes available.
        most: usize,
    },
    /// A count of more elements than the bytes behind it can hold.
    #[error("{given} elements announced, room for {fit}")]
    Count {
        /// What was found.
        given: u32,
        /// How many of the smallest elements fit.
        fit: usize,
    },
    /// A checksum does not verify.
    #[error("{found:#06x} found, {computed:#06x} computed")]
    Checksum {
        /// What was found.
        found: u16,
        /// What the bytes give.
        computed: u16,
    },
    /// A prefix length above 128.
    #[error("a prefix length of {0}, above 128")]
    PrefixLength(u8),
    /// Bytes behind the end.
    #[error("{0} bytes left over")]
    Trailing(usize),
}

impl Fault {
    /// A short name of the kind, for counters.
    pub const fn label(&self) -> &'static str {
        match self {
            Fault::Short { .. } => "short",
            Fault::Value { .. } => "value",
            Fault::Length { .. } => "length",
            Fault::Count { .. } => "count",
            Fault::Checksum { .. } => "checksum",
            Fault::PrefixLength(_) => "prefix_length",
            Fault::Trailing(_) => "trailing",
        }
    }
}

/// Why bytes could not be decoded: where, which field, what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} at byte {offset}: {fault}")]
pub struct DecodeError {
    /// Offset of the field from the start of the outermost reader.
    pub offset: usize,
    /// The field, spelt as in the RFC.
    pub field: &'static str,
    /// What is wrong with it.
    pub fault: Fault,
}

impl DecodeError {
    /// An error about the field that starts at `offset`.
    pub const fn new(offset: usize, field: &'static str, fault: Fault) -> Self {
        DecodeError { offset, field, fault }
    }
}

/// A cursor over bytes. A read that fails leaves it where it was.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Reader { left: bytes, offset: 0 }
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.left.len()
    }

    /// Whether no byte is left.
    pub const fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The position, counted from the start of the outermost reader.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The bytes that are left, without moving.
    pub const fn peek(&self) -> &'a [u8] {
        self.left
    }

    /// An error about the field that starts here.
    pub const fn error(&self, field: &'static str, fault: Fault) -> DecodeError {
        DecodeError::new(self.offset, field, fault)
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let Some((head, tail)) = self.left.split_at_checked(n) else {
            return Err(self.error(field, Fault::Short { needed: n, left: self.left.len() }));
        };
        self.left = tail;
        self.offset += n;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let Some((head, tail)) = self.left.split_first_chunk::<N>() else {
            return Err(self.error(field, Fault::Short { needed: N, left: self.left.len() }));
        };
        self.left = tail;
        self.offset += N;
        Ok(*head)
    }

    /// A reader over the next `n` bytes only; this one moves behind them. Offsets go on counting.
    pub fn sub(&mut self, n: usize, field: &'static str) -> Result<Reader<'a>, DecodeError> {
        let offset = self.offset;
        self.bytes(n, field).map(|left| Reader { left, offset })
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(u8::from_be_bytes)
    }

    /// Two bytes in network order.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// Three bytes in network order.
    pub fn u24(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Four bytes in network order.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// Four bytes in network order, two's complement.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array(field).map(i32::from_be_bytes)
    }

    /// An IPv6 address.
    pub fn ipv6(&mut self, field: &'static str) -> Result<Ipv6Addr, DecodeError> {
        self.array::<16>(field).map(Ipv6Addr::from)
    }

    /// Checks a count against the bytes that are left, each element taking at least `size` (above 0) of them.
    ///
    /// `at` is where the count stands and its name. The result is safe to allocate by.
    pub fn count(&self, given: u32, size: usize, at: (usize, &'static str)) -> Result<usize, DecodeError> {
        let fit = self.left.len().checked_div(size).unwrap_or(0);
        match usize::try_from(given) {
            Ok(count) if count <= fit => Ok(count),
            _ => Err(DecodeError::new(at.0, at.1, Fault::Count { given, fit })),
        }
    }

    /// Succeeds if nothing is left; `field` names the whole.
    pub fn finish(&self, field: &'static str) -> Result<(), DecodeError> {
        if self.left.is_empty() { Ok(()) } else { Err(self.error(field, Fault::Trailing(self.left.len()))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_network_order_and_offsets_count_on_in_a_sub_reader() {
        let bytes = [1, 2, 3, 4, 5, 6, 0x80, 0, 0, 1, 9, 0, 0, 0, 7];
        let mut r = Reader::new(&bytes);
        assert_eq!(r.u8("a"), Ok(1));
        assert_eq!(r.u16("b"), Ok(0x0203));
        assert_eq!(r.u24("c"), Ok(0x0004_0506));
        assert_eq!(r.i32("d"), Ok(-0x7fff_ffff));
        let mut sub = r.sub(1, "e").unwrap();
        assert_eq!(sub.offset(), 10);
        assert_eq!(sub.u8("f"), Ok(9));
        assert!(sub.is_empty());
        assert_eq!((r.offset(), r.remaining(), r.peek()), (11, 4, &bytes[11..]));
        assert_eq!(r.u32("g"), Ok(7));
        assert_eq!(r.finish("all"), Ok(()));
    }

    #[test]
    fn an_error_says_where_which_field_and_what() {
        let bytes = [0; 27];
        let mut r = Reader::new(&bytes);
        r.bytes(26, "head").unwrap();
        let error = r.u16("RouterDeadInterval").unwrap_err();
        assert_eq!(error.to_string(), "RouterDeadInterval at byte 26: 2 bytes needed, 1 left");
        assert_eq!(error.fault.label(), "short");
        assert_eq!(r.remaining(), 1, "a failed read does not move");
        assert_eq!(r.finish("packet").unwrap_err().to_string(), "packet at byte 26: 1 bytes left over");
    }

    #[test]
    fn a_count_is_checked_against_the_bytes_before_anything_is_allocated() {
        let r = Reader::new(&[0; 39]);
        assert_eq!(r.count(1, 20, (0, "# LSAs")), Ok(1));
        assert_eq!(
            r.count(u32::MAX, 20, (0, "# LSAs")).unwrap_err().to_string(),
            "# LSAs at byte 0: 4294967295 elements announced, room for 1"
        );
    }
}
