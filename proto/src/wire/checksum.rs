//! The two checksums: Fletcher over an LSA (RFC 2328 §12.1.7, ISO 8473) and the Internet checksum over a packet with
//! its IPv6 pseudo-header (RFC 8200 §8.1).

use std::net::Ipv6Addr;

/// Sums of so many bytes fit into 32 bits before they must be reduced modulo 255.
const FLETCHER_BLOCK: usize = 4096;

/// The two Fletcher sums, modulo 255.
fn fletcher_sums(bytes: &[u8]) -> (u32, u32) {
    bytes.chunks(FLETCHER_BLOCK).fold((0, 0), |sums, block| {
        let (c0, c1) = block.iter().fold(sums, |(c0, c1), &byte| (c0 + u32::from(byte), c1 + c0 + u32::from(byte)));
        (c0 % 255, c1 % 255)
    })
}

/// The Fletcher checksum to be stored at `checksum_at`, whatever stands there now.
///
/// `bytes_without_age` is an LSA without its LS age field. The result is never 0 (RFC 2328 §12.1.7): a check byte of
/// 0 is written as 255, which is the same modulo 255.
pub fn fletcher(bytes_without_age: &[u8], checksum_at: usize) -> u16 {
    let (head, tail) = bytes_without_age.split_at(checksum_at.min(bytes_without_age.len()));
    let behind = tail.get(2..).unwrap_or_default();
    let (h0, h1) = fletcher_sums(head);
    let (t0, t1) = fletcher_sums(behind);
    // The head counts once more in c1 for each byte behind it; the check bytes themselves count as 0.
    let weight = |n: usize| u32::try_from(n % 255).unwrap_or(0);
    let c0 = (h0 + t0) % 255;
    let c1 = (h1 + h0 * weight(tail.len()) + t1) % 255;
    // Solve x + y = -c0 and (n + 2) x + (n + 1) y = -c1 (modulo 255), n bytes standing behind the checksum.
    let x = (weight(behind.len() + 1) * c0 + 255 - c1) % 255;
    let y = (2 * 255 - c0 - x) % 255;
    let byte = |sum: u32| u8::try_from(sum).ok().filter(|&b| b != 0).unwrap_or(255);
    u16::from_be_bytes([byte(x), byte(y)])
}

/// Whether the checksum within `bytes_without_age` (an LSA without its LS age field) is right.
///
/// All zeros pass, for the sums do not see it: a checksum field of 0 is for the caller to refuse (RFC 2328 §12.1.7).
pub fn fletcher_valid(bytes_without_age: &[u8]) -> bool {
    fletcher_sums(bytes_without_age) == (0, 0)
}

/// The Internet checksum of `payload` behind the pseudo-header of RFC 8200 §8.1.
///
/// With the checksum field zero this is the value to store there; with the checksum in place it is 0 if it is right.
/// A payload of odd length is padded with a zero byte.
pub fn pseudo_header_checksum(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, payload: &[u8]) -> u16 {
    let address = |a: Ipv6Addr| a.segments().into_iter().map(u64::from).sum::<u64>();
    let (words, odd) = payload.as_chunks::<2>();
    let sum = address(src)
        + address(dst)
        + payload.len() as u64
        + u64::from(next_header)
        + words.iter().map(|&word| u64::from(u16::from_be_bytes(word))).sum::<u64>()
        + odd.iter().map(|&byte| u64::from(byte) << 8).sum::<u64>();
    !fold(sum)
}

/// One's complement addition of the 16-bit words of `sum`.
fn fold(mut sum: u64) -> u16 {
    loop {
        match u16::try_from(sum) {
            Ok(folded) => return folded,
            Err(_) => sum = (sum & 0xffff) + (sum >> 16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    /// The definition, with no shortcut: RFC 905 annex B, one byte at a time.
    fn slow_sums(bytes: &[u8]) -> (u32, u32) {
        bytes.iter().fold((0, 0), |(c0, c1), &byte| {
            let c0 = (c0 + u32::from(byte)) % 255;
            (c0, (c1 + c0) % 255)
        })
    }

    #[test]
    fn a_computed_fletcher_checksum_verifies_at_every_place_and_length() {
        let mut seed = 1u32;
        for length in (2..64).chain([255, 256, 1000, 4095, 4096, 4097, 9000, 65535]) {
            let mut bytes: Vec<u8> = (0..length)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (seed >> 24) as u8
                })
                .collect();
            for at in [0, length / 2, length - 2].into_iter().filter(|at| at + 2 <= length) {
                let checksum = fletcher(&bytes, at);
                bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
                assert_ne!(checksum, 0);
                assert_eq!(slow_sums(&bytes), (0, 0), "length {length}, checksum at {at}");
                assert!(fletcher_valid(&bytes));
                bytes[0] ^= 0x10;
                assert!(!fletcher_valid(&bytes));
            }
        }
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        assert_eq!(fletcher_sums(&[255; 65535]), (0, 0));
        assert_eq!(fletcher_sums(&[254; 65535]), slow_sums(&[254; 65535]));
    }

    #[test]
    fn the_pseudo_header_counts_as_rfc_8200_8_1_says() {
        // fe80::1 -> ff02::5, length 4, next header 89; payload 0001 f203.
        let payload = hex("0001 f203");
        let sum: u32 = 0xfe80 + 1 + 0xff02 + 5 + 4 + 0x59 + 1 + 0xf203;
        let folded = (sum & 0xffff) + (sum >> 16);
        let checksum = pseudo_header_checksum("fe80::1".parse().unwrap(), "ff02::5".parse().unwrap(), 89, &payload);
        assert_eq!(u32::from(checksum), !folded & 0xffff);
    }

    #[test]
    fn an_odd_payload_is_padded_with_a_zero_byte_that_the_length_does_not_count() {
        let (src, dst) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        let odd = pseudo_header_checksum(src, dst, 89, &[0xab, 0xcd, 0xef]);
        let even = pseudo_header_checksum(src, dst, 89, &[0xab, 0xcd, 0xef, 0]);
        assert_eq!(!odd, !even - 1);
    }
}
