//! Packets, as they come and with their checksums made right.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ospf_fuzz::codec::decode_packet(data));
