//! The host of the OSPFv3 engine: what the two daemons share.
//!
//! The engine (`ospf_proto`) is pure. Here is the world around it: sockets, the kernel's links, addresses and routes, the
//! clock, the log ([`netio`]), the control socket and its client ([`control`]), the metrics ([`metrics`]), and the configuration file
//! ([`config`]), and how packets are shared over next hops ([`share`]). The binary `ospfd-lite` of this crate is a small router; server-speaker uses the library.

pub mod config;
pub mod control;
pub mod metrics;
pub mod netio;
pub mod share;
