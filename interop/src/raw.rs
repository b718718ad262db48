//! A raw OSPF socket on one interface, for engines that tests drive without a daemon.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{Ipv6Addr, SocketAddrV6},
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    libc::{in6_addr, in6_pktinfo},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt, sockopt},
};
use socket2::{Domain, Protocol, Socket, Type};

/// A socket of one interface, in the namespace in which it was opened.
#[derive(Debug)]
pub struct RawSocket {
    socket: Socket,
    index: u32,
}

impl RawSocket {
    /// Opens one for a protocol number; `index` is the interface's.
    pub fn open(protocol: i32, interface: &str, index: u32) -> Result<Self> {
        let prepare = || -> Result<Socket> {
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(protocol)))?;
            socket.bind_device(Some(interface.as_bytes()))?;
            socket.set_multicast_hops_v6(1)?;
            socket.set_unicast_hops_v6(1)?;
            socket.set_multicast_loop_v6(false)?;
            socket.set_recv_buffer_size(8 << 20)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            Ok(socket)
        };
        let socket = prepare().with_context(|| format!("opening a raw socket of protocol {protocol}"))?;
        Ok(Self { socket, index })
    }

    /// Joins or leaves a multicast group.
    pub fn set_membership(&self, group: Ipv6Addr, joined: bool) -> Result<()> {
        let change = if joined { Socket::join_multicast_v6 } else { Socket::leave_multicast_v6 };
        change(&self.socket, &group, self.index).with_context(|| format!("group {group}"))
    }

    /// Sends bytes from one address to another.
    pub fn send(&self, (src, dst): (Ipv6Addr, Ipv6Addr), bytes: &[u8]) -> Result<()> {
        let info = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: src.octets() }, ipi6_ifindex: self.index };
        let to = SockaddrIn6::from(SocketAddrV6::new(dst, 0, 0, self.index));
        let control = [ControlMessage::Ipv6PacketInfo(&info)];
        loop {
            let parts = [IoSlice::new(bytes)];
            match sendmsg(self.socket.as_raw_fd(), &parts, &control, MsgFlags::empty(), Some(&to)) {
                Ok(_) => return Ok(()),
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                    let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
                    poll(&mut ready, PollTimeout::from(10u8))?;
                }
                Err(error) => return Err(error).with_context(|| format!("sending {} bytes to {dst}", bytes.len())),
            }
        }
    }

    /// Whether a packet is there, or comes within this time.
    pub fn wait(&self, time: Duration) -> bool {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
        poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout).is_ok_and(|ready| ready > 0)
    }

    /// A packet, if one is there: source, destination, length.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<(Ipv6Addr, Ipv6Addr, usize)> {
        let mut slices = [IoSliceMut::new(buffer)];
        let mut space = nix::cmsg_space!(in6_pktinfo);
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<SockaddrIn6>(self.socket.as_raw_fd(), &mut slices, Some(&mut space), flags).ok()?;
        let dst = message.cmsgs().ok()?.find_map(|part| match part {
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(Ipv6Addr::from(info.ipi6_addr.s6_addr)),
            _ => None,
        });
        Some((message.address?.ip(), dst?, message.bytes))
    }
}
