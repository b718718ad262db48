//! Bytes: a fallible `Reader`, a `Writer`, checksums. Knows nothing of OSPF.

mod checksum;
mod reader;
mod writer;

pub use checksum::{fletcher, fletcher_valid, pseudo_header_checksum};
pub use reader::{DecodeError, Fault, Reader};
pub use writer::Writer;

/// Bytes written as hexadecimal digits, blanks ignored; for golden bytes.
#[cfg(test)]
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
