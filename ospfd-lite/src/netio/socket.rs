//! The raw sockets of protocol 89 of an interface (RFC 5340 §A.1): one takes Hellos, one the rest and sends.
//!
//! Both are bound to their interface; what is sent goes with hop limit 1 and traffic class 0xc0 (internetwork control, RFC 2328
//! §A.1), from the link-local address and out of the interface that each packet names (IPV6_PKTINFO), and does not hear
//! its own multicasts. The kernel's IPV6_CHECKSUM option stays off: the engine computes and verifies checksums.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddrV6;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::libc::{EADDRINUSE, EADDRNOTAVAIL, ENOBUFS, in6_addr, in6_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn6, sendmsg};
use ospf_proto::consts::IP_PROTOCOL;
use ospf_proto::ctx::{Membership, Transmit};
use ospf_proto::id::{IfaceId, RouterId};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::{Instant, Sleep};
use tracing::debug;

use super::error::Error;
use super::inlet::{Batch, Inlet, Takes};

/// Packets that wait for room in the kernel; beyond, the oldest is given up, as on a lossy link.
const SEND_QUEUE: usize = 1024;
/// When to try again after the kernel had no buffer and will not tell when it has.
const SEND_RETRY: Duration = Duration::from_millis(2);
/// Traffic class: precedence Internetwork Control (RFC 2328 §A.1).
const TRAFFIC_CLASS: u32 = 0xc0;

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

/// The sockets of one interface.
#[derive(Debug)]
pub(crate) struct RawSocket {
    iface: IfaceId,
    name: String,
    hellos: Inlet,
    rest: Inlet,
    queue: VecDeque<Transmit>,
    retry: Option<std::pin::Pin<Box<Sleep>>>,
    counters: SocketCounters,
}

impl RawSocket {
    /// Finds out whether raw sockets may be opened at all.
    pub(crate) fn probe() -> Result<(), Error> {
        let what = "opening a raw socket for OSPF (protocol 89)";
        raw().map(drop).map_err(Error::io(what, "CAP_NET_RAW"))
    }

    /// Opens the sockets of an interface; one of several routers of this host says which.
    pub(crate) fn open(iface: IfaceId, name: &str, one_of_several: Option<RouterId>) -> Result<Self, Error> {
        let what = || Error::io(format!("opening the raw sockets of {name}"), "CAP_NET_RAW");
        let inlet = |takes| -> io::Result<Inlet> {
            let socket = raw()?;
            socket.bind_device(Some(name.as_bytes()))?;
            Inlet::open(socket, name, takes)
        };
        let prepare = || -> io::Result<(Inlet, Inlet)> {
            let hellos = one_of_several.map_or(Takes::Hellos, Takes::EligibleHellos);
            let (hellos, rest) = (inlet(hellos)?, inlet(Takes::Rest)?);
            let socket = rest.socket();
            socket.set_multicast_if_v6(iface.0)?;
            socket.set_multicast_hops_v6(1)?;
            socket.set_unicast_hops_v6(1)?;
            socket.set_multicast_loop_v6(false)?;
            socket.set_tclass_v6(TRAFFIC_CLASS)?;
            Ok((hellos, rest))
        };
        let (hellos, rest) = prepare().map_err(what())?;
        Ok(RawSocket {
            iface,
            name: name.to_owned(),
            hellos,
            rest,
            queue: VecDeque::new(),
            retry: None,
            counters: SocketCounters::default(),
        })
    }

    /// The name of the interface.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What the kernel did to our packets.
    pub(crate) fn counters(&self) -> SocketCounters {
        let sum = |count: fn(&Inlet) -> u64| count(&self.hellos) + count(&self.rest);
        let (overflows, unusable) = (sum(|inlet| inlet.overflows), sum(|inlet| inlet.unusable));
        SocketCounters { overflows, unusable, ..self.counters }
    }

    /// Joins or leaves a group; doing it twice is no error.
    pub(crate) fn set_membership(&self, membership: Membership) -> io::Result<()> {
        for inlet in [&self.hellos, &self.rest] {
            let socket = inlet.socket();
            let result = if membership.joined {
                socket.join_multicast_v6(&membership.group, self.iface.0)
            } else {
                socket.leave_multicast_v6(&membership.group, self.iface.0)
            };
            match result {
                Err(error) if matches!(error.raw_os_error(), Some(EADDRINUSE | EADDRNOTAVAIL)) => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Waits for packets, other than Hellos, and takes a batch of them. Cancel-safe: what was taken is in the batch.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        self.rest.poll_receive(cx, batch)
    }

    /// Waits for Hellos and takes a batch of them. Cancel-safe as well.
    pub(crate) fn poll_hellos(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        self.hellos.poll_receive(cx, batch)
    }

    /// Takes a batch of the Hellos that are there by now; says whether there were any.
    pub(crate) fn hellos_now(&mut self, batch: &mut Batch) -> bool {
        self.hellos.receive_now(batch)
    }

    /// Whether Hellos may wait of which nobody is told.
    pub(crate) fn hellos_rest(&self) -> bool {
        self.hellos.rests()
    }

    /// Sends a packet, or queues it if the kernel has no room.
    pub(crate) fn send(&mut self, transmit: Transmit) {
        if self.queue.is_empty() {
            match send(self.rest.socket(), &transmit) {
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
            let Some(Poll::Ready(Ok(mut guard))) = self.rest.watch().map(|watch| watch.poll_write_ready(cx)) else {
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
