//! What decodes encodes to what decodes to the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ospf_fuzz::codec::roundtrip(data));
