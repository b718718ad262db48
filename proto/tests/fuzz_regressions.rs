//! The fuzz targets' kept inputs, on every toolchain: what once broke something, and the corpora.
//!
//! The bodies are those that cargo-fuzz runs (proto/fuzz); the configuration files are replayed in `interop`, which knows
//! the daemons.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    dead_code,
    reason = "a panic is a failed test"
)]

#[path = "../fuzz/src/codec.rs"]
mod codec;
#[path = "../fuzz/src/engine_ops.rs"]
mod engine_ops;
#[path = "../fuzz/src/net.rs"]
mod net;
#[path = "../fuzz/src/replay.rs"]
mod replay;
#[path = "../fuzz/src/seal.rs"]
mod seal;

use std::path::Path;

/// Every kept input of a target; there must be some.
fn replay(target: &str, run: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let inputs = replay::inputs(&directory, target);
    assert!(!inputs.is_empty(), "no corpus of {target}");
    for (path, input) in inputs {
        // What fails is named by the test's output.
        println!("{}", path.display());
        run(&input);
    }
}

#[test]
fn decode_packet_holds_for_every_kept_input() {
    replay("decode_packet", codec::decode_packet);
}

#[test]
fn decode_lsa_holds_for_every_kept_input() {
    replay("decode_lsa", codec::decode_lsa);
}

#[test]
fn roundtrip_holds_for_every_kept_input() {
    replay("roundtrip", codec::roundtrip);
}

#[test]
fn farm_tlv_holds_for_every_kept_input() {
    replay("farm_tlv", codec::farm_tlv);
}

/// The engine is deterministic: a second run sends the same bytes and reports the same events.
#[test]
fn engine_ops_holds_for_every_kept_input_and_twice_alike() {
    replay("engine_ops", |input| {
        assert_eq!(engine_ops::engine_ops_digest(input), engine_ops::engine_ops_digest(input));
    });
}
