//! The kept inputs of the fuzz target of the configuration files, without cargo-fuzz; the other targets are replayed in
//! `proto`, which knows no daemon.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub, reason = "a panic is a failed test")]

#[path = "../../proto/fuzz/src/config.rs"]
mod config;
#[path = "../../proto/fuzz/src/replay.rs"]
mod replay;

use std::path::Path;

#[test]
fn config_holds_for_every_kept_input() {
    let inputs = replay::inputs(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/fuzz"), "config");
    assert!(!inputs.is_empty(), "no corpus of config");
    for (path, input) in inputs {
        // What fails is named by the test's output.
        println!("{}", path.display());
        config::config(&input);
    }
}
