//! One raw socket of protocol 89 per interface (RFC 5340 §A.1).
//!
//! The socket is bound to its interface, sends with hop limit 1 and traffic class 0xc0 (internetwork control, RFC 2328
//! §A.1), from the link-local address and out of the interface that each packet names (IPV6_PKTINFO), and does not hear
//! its own multicasts. The kernel's IPV6_CHECKSUM option stays off: the engine computes and verifies checksums.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::libc::{EADDRINUSE, EADDRNOTAVAIL, ENOBUFS, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn6, recvmmsg, sendmsg, setsockopt, sockopt,
};
use ospf_proto::consts::IP_PROTOCOL;
use ospf_proto::ctx::{Membership, Transmit};
use ospf_proto::id::IfaceId;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep};
use tracing::{debug, info};

use super::error::Error;
use super::sys;

/// How many packets are taken at once; small enough that no interface keeps the others waiting.
const BATCH: usize = 32;
/// The largest packet: what an IPv6 payload length can say.
const PACKET: usize = 65_536;
/// Receive buffer in bytes: holds the burst of a whole database or of a crowded link.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;
/// Packets that wait for room in the kernel; beyond, the oldest is given up, as on a lossy link.
const SEND_QUEUE: usize = 1024;
/// When to try again after the kernel had no buffer and will not tell when it has.
const SEND_RETRY: Duration = Duration::from_millis(2);
/// Traffic class: precedence Internetwork Control (RFC 2328 §A.1).
const TRAFFIC_CLASS: u32 = 0xc0;

/// Room for one batch, shared by all sockets.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    packets: Vec<Received>,
}

/// Where a packet lies in the batch and what came with it.
#[derive(Clone, Copy, Debug)]
struct Received {
    slot: usize,
    length: usize,
    src: Ipv6Addr,
    dst: Ipv6Addr,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Batch { bytes: vec![0; BATCH * PACKET], packets: Vec::with_capacity(BATCH) }
    }

    /// A batch without room, to stand in for another meanwhile.
    pub(crate) fn empty() -> Self {
        Batch { bytes: Vec::new(), packets: Vec::new() }
    }

    /// The packets: source, destination, bytes.
    pub(crate) fn packets(&self) -> impl Iterator<Item = (Ipv6Addr, Ipv6Addr, &[u8])> {
        self.packets.iter().filter_map(|received| {
            let start = received.slot * PACKET;
            Some((received.src, received.dst, self.bytes.get(start..start + received.length)?))
        })
    }
}

/// What the kernel did to packets of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SocketCounters {
    /// Packets that did not fit into the receive buffer.
    pub(crate) overflows: u64,
    /// Packets without usable ancillary data, or truncated.
    pub(crate) unusable: u64,
    /// Packets that the kernel refused to send.
    pub(crate) refused: u64,
    /// Packets given up because the queue was full.
    pub(crate) given_up: u64,
    /// Packets that had to wait.
    pub(crate) delayed: u64,
}

/// The socket of one interface.
#[derive(Debug)]
pub(crate) struct RawSocket {
    iface: IfaceId,
    name: String,
    io: AsyncFd<Socket>,
    queue: VecDeque<Transmit>,
    retry: Option<std::pin::Pin<Box<Sleep>>>,
    last_overflow: u32,
    counters: SocketCounters,
}

impl RawSocket {
    /// Finds out whether raw sockets may be opened at all.
    pub(crate) fn probe() -> Result<(), Error> {
        let what = "opening a raw socket for OSPF (protocol 89)";
        raw().map(drop).map_err(Error::io(what, "CAP_NET_RAW"))
    }

    /// Opens the socket of an interface.
    pub(crate) fn open(iface: IfaceId, name: &str) -> Result<Self, Error> {
        let what = || Error::io(format!("opening the raw socket of {name}"), "CAP_NET_RAW");
        let socket = raw().map_err(what())?;
        let prepare = || -> io::Result<()> {
            socket.bind_device(Some(name.as_bytes()))?;
            socket.set_multicast_if_v6(iface.0)?;
            socket.set_multicast_hops_v6(1)?;
            socket.set_unicast_hops_v6(1)?;
            socket.set_multicast_loop_v6(false)?;
            // A group that another socket of the interface has joined is not ours.
            socket.set_multicast_all_v6(false)?;
            socket.set_tclass_v6(TRAFFIC_CLASS)?;
            socket.set_nonblocking(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            setsockopt(&socket, sockopt::RxqOvfl, &1)?;
            Ok(())
        };
        prepare().map_err(what())?;
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BUFFER).map_err(what())?;
            let bytes = socket.recv_buffer_size().map_err(what())?;
            info!(
                "{name}: receive buffer of {bytes} bytes, as net.core.rmem_max allows without CAP_NET_ADMIN in the first \
                 network namespace"
            );
        }
        let io = sys::register(socket).map_err(what())?;
        Ok(RawSocket {
            iface,
            name: name.to_owned(),
            io,
            queue: VecDeque::new(),
            retry: None,
            last_overflow: 0,
            counters: SocketCounters::default(),
        })
    }

    /// The name of the interface.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What the kernel did to our packets.
    pub(crate) fn counters(&self) -> SocketCounters {
        self.counters
    }

    /// Joins or leaves a group; doing it twice is no error.
    pub(crate) fn set_membership(&self, membership: Membership) -> io::Result<()> {
        let socket = self.io.get_ref();
        let result = if membership.joined {
            socket.join_multicast_v6(&membership.group, self.iface.0)
        } else {
            socket.leave_multicast_v6(&membership.group, self.iface.0)
        };
        match result {
            Err(error) if matches!(error.raw_os_error(), Some(EADDRINUSE | EADDRNOTAVAIL)) => Ok(()),
            result => result,
        }
    }

    /// Waits for packets and takes a batch of them. Cancel-safe: what was taken is in the batch.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.io.poll_read_ready(cx))?;
            let (overflow, counters) = (&mut self.last_overflow, &mut self.counters);
            match guard.try_io(|io| receive(io.get_ref(), batch, overflow, counters)) {
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    /// Sends a packet, or queues it if the kernel has no room.
    pub(crate) fn send(&mut self, transmit: Transmit) {
        if self.queue.is_empty() {
            match send(self.io.get_ref(), &transmit) {
                Err(error) if full(&error) => {}
                result => return self.sent(result),
            }
        }
        self.counters.delayed += 1;
        if self.queue.len() >= SEND_QUEUE {
            self.queue.pop_front();
            self.counters.given_up += 1;
        }
        self.queue.push_back(transmit);
    }

    /// Sends what is queued as far as the kernel has room; never ready, so that it only has to be polled along.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) {
        if let Some(retry) = &mut self.retry {
            if retry.as_mut().poll(cx).is_pending() {
                return;
            }
            self.retry = None;
        }
        while let Some(transmit) = self.queue.front() {
            let Poll::Ready(Ok(mut guard)) = self.io.poll_write_ready(cx) else {
                return;
            };
            match guard.try_io(|io| send(io.get_ref(), transmit)) {
                Err(_would_block) => {}
                Ok(Err(error)) if full(&error) => {
                    // A full queue of the device: the socket stays writable, so ask again later.
                    let mut retry = Box::pin(tokio::time::sleep_until(Instant::now() + SEND_RETRY));
                    if retry.as_mut().poll(cx).is_pending() {
                        self.retry = Some(retry);
                        return;
                    }
                }
                Ok(result) => {
                    self.queue.pop_front();
                    self.sent(result);
                }
            }
        }
    }

    fn sent(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            // The address or the link has gone; retransmission or the next link event puts it right.
            self.counters.refused += 1;
            debug!("{}: a packet was not sent: {error}", self.name);
        }
    }
}

fn raw() -> io::Result<Socket> {
    Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(i32::from(IP_PROTOCOL))))
}

fn full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(ENOBUFS)
}

fn send(socket: &Socket, transmit: &Transmit) -> io::Result<()> {
    let info = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: transmit.src.octets() }, ipi6_ifindex: transmit.iface.0 };
    let to = SockaddrIn6::from(SocketAddrV6::new(transmit.dst, 0, 0, transmit.iface.0));
    let bytes = [IoSlice::new(&transmit.bytes)];
    let control = [ControlMessage::Ipv6PacketInfo(&info)];
    sendmsg(socket.as_raw_fd(), &bytes, &control, MsgFlags::empty(), Some(&to))?;
    Ok(())
}

fn receive(socket: &Socket, batch: &mut Batch, overflow: &mut u32, counters: &mut SocketCounters) -> io::Result<()> {
    let Batch { bytes, packets } = batch;
    packets.clear();
    // The headers are made anew each time: the kernel leaves the lengths of the last call in them.
    let mut headers = MultiHeaders::<SockaddrIn6>::preallocate(BATCH, Some(nix::cmsg_space!(in6_pktinfo, u32)));
    let mut slices: Vec<[IoSliceMut<'_>; 1]> =
        bytes.chunks_exact_mut(PACKET).map(|slot| [IoSliceMut::new(slot)]).collect();
    let results = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    for (slot, result) in results.enumerate() {
        let (mut dst, mut lost) = (None, None);
        if let Ok(messages) = result.cmsgs() {
            for message in messages {
                match message {
                    ControlMessageOwned::Ipv6PacketInfo(info) => dst = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr)),
                    ControlMessageOwned::RxqOvfl(total) => lost = Some(total),
                    _ => {}
                }
            }
        }
        if let Some(total) = lost {
            // A running total of the socket, modulo 2^32.
            counters.overflows += u64::from(total.wrapping_sub(*overflow));
            *overflow = total;
        }
        let truncated = result.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
        match (result.address, dst) {
            (Some(src), Some(dst)) if !truncated => {
                packets.push(Received { slot, length: result.bytes, src: src.ip(), dst });
            }
            _ => counters.unusable += 1,
        }
    }
    Ok(())
}
