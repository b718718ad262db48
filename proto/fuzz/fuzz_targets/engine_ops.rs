//! One to three engines under packets, timers, link events and commands.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ospf_fuzz::engine_ops::engine_ops(data));
