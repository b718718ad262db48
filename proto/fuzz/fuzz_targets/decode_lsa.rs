//! LSAs, as they come and with their checksum made right.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ospf_fuzz::codec::decode_lsa(data));
