//! server-speaker: measures the load of a server's services and advertises their IPv6 anycast prefixes in OSPFv3 with a
//! cost that follows from it (docs/architecture.md).
//!
//! The data flow is one way: `monitor` reads the kernel and yields [`sample::Sample`]s, `law` turns them and the peers'
//! records into a cost, `advertise` turns the wanted advertisement into commands for the OSPFv3 engine.
#![forbid(unsafe_code)]

pub mod advertise;
pub mod app;
pub mod config;
pub mod law;
pub mod metrics;
pub mod monitor;
pub mod router;
pub mod sample;
pub mod service;
pub mod show;
pub mod state;
pub mod tester;
