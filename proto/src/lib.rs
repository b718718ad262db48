//! OSPFv3 (RFC 5340 over RFC 2328) as a pure, deterministic engine.
//!
//! Bytes, link events, commands and the time go in ([`engine::Engine::handle`]); packets to send, route changes and
//! events come out as values ([`engine::Engine::poll_output`]). There is no clock, socket, task, log line or unsafe
//! code in this crate. Modules are stages, in the order below; a module uses only those above it (`tests/layering.rs`).

#![forbid(unsafe_code)]

// Row 0
pub mod consts;
pub mod ls_type;
pub mod state;
pub mod time;
// Row 0, behind them: an LSA's key holds its type
pub mod id;
// Row 1
pub mod wire;
// Row 2
pub mod lsa;
// Row 3
pub mod packet;
// Row 4
pub mod lsdb;
// Row 5
pub mod ctx;
// Row 6
pub mod neighbor;
// Row 7
pub mod iface;
// Row 8
pub mod flood;
// Row 9
pub mod spf;
// Row 10
pub mod rib;
// Row 11
pub mod origin;
// Row 12
pub mod engine;
