//! The control socket: one line of JSON asks, one line of JSON answers (`docs/control.md`).
//!
//! [`Server`] listens and hands each request to the daemon as a [`Pending`]; [`client`] asks. The subjects that both daemons
//! show are built from the engine's view in [`show`] and printed by [`render`], from one and the same serialisable type.

mod body;
pub mod client;
pub mod explain;
pub mod farm;
mod message;
pub mod render;
mod server;
pub mod show;

pub use message::{Request, Response};
pub use server::{Pending, Server};
