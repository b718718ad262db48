//! Bytes to be sent, appended field by field in network order.

use std::net::Ipv6Addr;

/// A growing buffer.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty buffer.
    pub const fn new() -> Self {
        Writer { bytes: Vec::new() }
    }

    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Writer { bytes: Vec::with_capacity(capacity) }
    }

    /// How many bytes have been written.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has been written.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What has been written.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// What has been written, as a vector.
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends one byte.
    pub fn put_u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Appends two bytes.
    pub fn put_u16(&mut self, value: u16) {
        self.put_bytes(&value.to_be_bytes());
    }

    /// Appends three bytes; a value above 24 bits is written as the greatest one of 24 bits.
    pub fn put_u24(&mut self, value: u32) {
        let [_, a, b, c] = value.min(0x00ff_ffff).to_be_bytes();
        self.put_bytes(&[a, b, c]);
    }

    /// Appends four bytes.
    pub fn put_u32(&mut self, value: u32) {
        self.put_bytes(&value.to_be_bytes());
    }

    /// Appends four bytes, two's complement.
    pub fn put_i32(&mut self, value: i32) {
        self.put_bytes(&value.to_be_bytes());
    }

    /// Appends an IPv6 address.
    pub fn put_ipv6(&mut self, value: Ipv6Addr) {
        self.put_bytes(&value.octets());
    }

    /// Appends bytes as they are.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends zeros up to a length that is a multiple of 4.
    pub fn pad4(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Drops what is behind the first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    /// Overwrites the two bytes at `at`, which have been written before.
    pub fn patch_u16(&mut self, at: usize, value: u16) {
        match self.bytes.get_mut(at..).and_then(|tail| tail.first_chunk_mut::<2>()) {
            Some(slot) => *slot = value.to_be_bytes(),
            None => debug_assert!(false, "patch of byte {at} in {} bytes", self.bytes.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_in_network_order() {
        let mut w = Writer::with_capacity(32);
        w.put_u8(1);
        w.put_u16(0x0203);
        w.put_u24(0x0004_0506);
        w.put_u24(0x0100_0000);
        w.pad4();
        w.put_u32(7);
        w.put_i32(-0x7fff_ffff);
        w.put_ipv6(Ipv6Addr::LOCALHOST);
        w.patch_u16(1, 0x0a0b);
        assert_eq!(w.len(), 36);
        assert_eq!(w.as_slice()[..12], [1, 0x0a, 0x0b, 4, 5, 6, 0xff, 0xff, 0xff, 0, 0, 0]);
        assert_eq!(w.into_vec()[12..], [0, 0, 0, 7, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
