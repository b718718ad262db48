//! Configuration files of both daemons.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ospf_fuzz::config::config(data));
