//! The bodies of the fuzz targets, as plain functions of bytes: they return if all is well and panic if it is not.
//!
//! cargo-fuzz runs them by the binaries in `fuzz_targets`. Tests on the stable toolchain, which have neither cargo-fuzz nor
//! libFuzzer, include the same modules by path and replay `corpus/` and `regressions/`.

pub mod codec;
#[cfg(feature = "daemons")]
pub mod config;
pub mod engine_ops;
pub mod net;
pub mod replay;
pub mod seal;
