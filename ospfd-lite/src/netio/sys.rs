//! The only unsafe code of the daemons: sockets are handed to the reactor, a link-layer address to the kernel, and a setting to
//! the allocator.
//!
//! tokio asks for a promise that it cannot check for arbitrary types: the descriptor is open and stays the same while
//! tokio watches it. For the types used here the promise holds, so these functions are safe to call.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::libc::{AF_PACKET, sockaddr_ll};
use socket2::{SockAddr, SockAddrStorage};
use tokio::io::unix::AsyncFd;

/// Registers a raw socket.
pub(crate) fn register(socket: Arc<socket2::Socket>) -> io::Result<AsyncFd<Arc<socket2::Socket>>> {
    // SAFETY: a `socket2::Socket` owns its descriptor: it is open from construction to drop, and no method exchanges it.
    // The `AsyncFd` shares the socket, which therefore outlives it, and is only reached through shared references here
    // (`get_ref`), which cannot replace it.
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

/// The address of a station on the link of an interface, for packets of this protocol; of a longer link-layer address than there is
/// room for, the beginning.
pub(crate) fn link_address(iface: u32, ethertype: u16, station: &[u8]) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is plain data, no larger than the storage, for which zeroes are valid.
    let link = unsafe { storage.view_as::<sockaddr_ll>() };
    link.sll_family = AF_PACKET as u16;
    link.sll_protocol = ethertype.to_be();
    link.sll_ifindex = iface as i32;
    let mut length = 0;
    for (room, byte) in link.sll_addr.iter_mut().zip(station) {
        *room = *byte;
        length += 1;
    }
    link.sll_halen = length;
    // SAFETY: the storage holds a whole `sockaddr_ll`, all of whose fields are initialised.
    unsafe { SockAddr::new(storage, size_of::<sockaddr_ll>() as u32) }
}

/// Has the C library's allocator join small blocks with their neighbors as they are freed. Else it does so with all of them at
/// once when the next large block is wanted, in the midst of a turn: of those that an answer to `show farm` leaves behind, 0.3 ms
/// between a packet's arrival and its being read. Costs nothing that could be measured, and helps memory. Called before there
/// are threads; of no effect with another C library.
pub fn free_at_once() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `mallopt` takes two numbers. What it must not race with, other threads' first allocations, does not exist yet.
        let done = unsafe { nix::libc::mallopt(nix::libc::M_MXFAST, 0) };
        debug_assert_eq!(done, 1, "every glibc knows the setting");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_station_is_the_kernels_structure() {
        let address = link_address(7, 0x86dd, &[2, 0, 0, 0, 0, 9]);
        assert_eq!((address.family() as i32, address.len() as usize), (AF_PACKET, size_of::<sockaddr_ll>()));
    }
}
