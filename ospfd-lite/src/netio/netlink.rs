//! A netlink socket as link watch and FIB use it: open with groups, dump, and take messages apart.

use std::io;

use netlink_packet_core::{
    NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::libc::MSG_TRUNC;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

/// Group of link messages.
pub(crate) const RTNLGRP_LINK: u32 = 1;
/// Group of IPv6 address messages.
pub(crate) const RTNLGRP_IPV6_IFADDR: u32 = 9;
/// Group of IPv6 route messages.
pub(crate) const RTNLGRP_IPV6_ROUTE: u32 = 11;
/// Group of next-hop object messages.
pub(crate) const RTNLGRP_NEXTHOP: u32 = 32;

/// Room for the largest message of a dump or a notification (an attribute has at most 65,535 bytes).
const BUFFER: usize = 128 * 1024;
/// Receive buffer of a watching socket: a burst of some thousand messages.
const WATCH_BUFFER: usize = 4 * 1024 * 1024;
/// How long to wait for an answer.
const ANSWER_SECONDS: i64 = 2;
/// How often a dump is repeated that was interrupted by a change.
const DUMP_ATTEMPTS: usize = 10;

/// One message with its header's fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    /// `nlmsg_type`.
    pub(crate) kind: u16,
    /// `nlmsg_flags`.
    pub(crate) flags: u16,
    /// `nlmsg_seq`.
    pub(crate) sequence: u32,
    /// `nlmsg_pid`: the port of the socket that asked for what the message tells.
    pub(crate) port: u32,
    /// What follows the header.
    pub(crate) payload: &'a [u8],
}

/// Opens a non-blocking socket that is in `groups`.
pub(crate) fn watch(groups: &[u32]) -> io::Result<Socket> {
    watch_with(groups, WATCH_BUFFER)
}

/// The same, with a receive buffer of so many bytes.
pub(crate) fn watch_with(groups: &[u32], buffer: usize) -> io::Result<Socket> {
    let socket = open()?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    // The forced size needs CAP_NET_ADMIN in the first namespace; the plain one is cut to net.core.rmem_max.
    if setsockopt(&socket, sockopt::RcvBufForce, &buffer).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &buffer)?;
    }
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// Opens a blocking socket for requests. The kernel handles a request inside the call that sends it, so that waiting for
/// the answer does not wait for anybody else; the time-out is for an answer lost to a full buffer.
pub(crate) fn requests() -> io::Result<Socket> {
    let socket = open()?;
    setsockopt(&socket, sockopt::RcvBuf, &WATCH_BUFFER)?;
    setsockopt(&socket, sockopt::SndBuf, &WATCH_BUFFER)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
    Ok(socket)
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_netlink_get_strict_chk(true)?;
    socket.set_cap_ack(true)?;
    Ok(socket)
}

/// Receives one datagram, which may hold several messages.
pub(crate) fn receive(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    buffer.reserve(BUFFER);
    let length = socket.recv(buffer, MSG_TRUNC)?;
    if length > buffer.len() {
        return Err(io::Error::other(format!("a netlink message of {length} bytes is larger than the buffer")));
    }
    Ok(())
}

/// The messages in a datagram; what is malformed ends it.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Raw<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let buffer = NetlinkBuffer::new_checked(rest).ok()?;
        let length = (buffer.length() as usize).next_multiple_of(4).min(rest.len());
        let raw = Raw {
            kind: buffer.message_type(),
            flags: buffer.flags(),
            sequence: buffer.sequence_number(),
            port: buffer.port_number(),
            payload: buffer.payload(),
        };
        rest = rest.get(length..)?;
        Some(raw)
    })
}

/// Encodes a request.
pub(crate) fn encode<T: NetlinkSerializable>(message: T, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags | NLM_F_REQUEST;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Asks for everything of a kind and hands each message to `each`, which must be able to start over: a dump that a
/// change interrupted is repeated, announced by `restart`.
pub(crate) fn dump<C>(
    socket: &Socket,
    request: &dyn Fn(u32) -> Vec<u8>,
    context: &mut C,
    steps: Steps<C>,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    for sequence in 1..=DUMP_ATTEMPTS as u32 {
        (steps.restart)(context);
        socket.send(&request(sequence), 0)?;
        if dump_once(socket, sequence, &mut buffer, &mut |raw| (steps.each)(context, raw))? {
            return Ok(());
        }
    }
    Err(io::Error::other("the kernel's tables change too fast to be read"))
}

/// What to do in a dump.
pub(crate) struct Steps<C> {
    /// Forget what was read.
    pub(crate) restart: fn(&mut C),
    /// Take one message.
    pub(crate) each: fn(&mut C, Raw<'_>),
}

/// Reads one dump; false if it was interrupted by a change.
fn dump_once(socket: &Socket, sequence: u32, buffer: &mut Vec<u8>, each: &mut dyn FnMut(Raw<'_>)) -> io::Result<bool> {
    let mut whole = true;
    loop {
        receive(socket, buffer)?;
        for raw in messages(buffer).filter(|raw| raw.sequence == sequence) {
            whole &= raw.flags & NLM_F_DUMP_INTR == 0;
            match raw.kind {
                NLMSG_DONE | NLMSG_ERROR => match error_code(raw.payload) {
                    0 => return Ok(whole),
                    code => return Err(io::Error::from_raw_os_error(-code)),
                },
                NLMSG_NOOP => {}
                NLMSG_OVERRUN => return Ok(false),
                _ => each(raw),
            }
        }
    }
}

/// The code in an error or done message: 0 or a negative errno.
pub(crate) fn error_code(payload: &[u8]) -> i32 {
    payload.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes))
}
