//! The Farm TLV, alone and in a Router-Information LSA.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ospf_fuzz::codec::farm_tlv(data));
