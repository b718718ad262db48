//! The only unsafe code of the project: sockets are handed to the reactor.
//!
//! tokio asks for a promise that it cannot check for arbitrary types: the descriptor is open and stays the same while
//! tokio watches it. For the types used here the promise holds, so these functions are safe to call.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a raw socket.
pub(crate) fn register(socket: socket2::Socket) -> io::Result<AsyncFd<socket2::Socket>> {
    // SAFETY: a `socket2::Socket` owns its descriptor: it is open from construction to drop, and no method exchanges it.
    // The `AsyncFd` owns the socket, and is only reached through shared references here (`get_ref`), which cannot replace it.
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
}

/// Registers a descriptor that nobody else uses, such as a pidfd.
pub fn register_fd(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` owns its descriptor: it is open from construction to drop, and cannot be exchanged. The
    // `AsyncFd` owns it.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

/// Registers a netlink socket.
pub fn register_netlink(socket: netlink_sys::Socket) -> io::Result<AsyncFd<netlink_sys::Socket>> {
    // SAFETY: a `netlink_sys::Socket` owns its descriptor: it is open from construction to drop, and no method exchanges
    // it. The `AsyncFd` owns the socket, and is only reached through shared references here (`get_ref`).
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
}
