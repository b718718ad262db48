//! Exact questions to the kernel about sockets: NETLINK_SOCK_DIAG, without privilege.
//!
//! A UDP lookup takes the *local* address and port in the destination fields (the kernel looks the socket up as for a
//! packet that arrives); it finds a socket bound to that address or to the wildcard. A lookup finds one socket; where
//! several share the port (SO_REUSEPORT) only a dump sees them all.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

use super::MonitorError;

const ENOENT: i32 = 2;

/// A UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpSocketState {
    /// Local address, `::` for the wildcard.
    pub address: Ipv6Addr,
    /// Local port.
    pub port: u16,
    /// Bytes of the receive buffer in use, as the kernel accounts them (truesize).
    pub queue: u32,
    /// Size of the receive buffer.
    pub buffer: u32,
    /// Datagrams dropped by this socket.
    pub drops: u32,
    /// The kernel's name for this socket; never reused while the system is up.
    pub cookie: [u8; 8],
}

/// A listening TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Connections that wait for accept.
    pub backlog: u32,
    /// How many may wait.
    pub backlog_max: u32,
}

/// The netlink socket.
pub struct SockDiag {
    socket: Socket,
    sequence: u32,
}

impl std::fmt::Debug for SockDiag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SockDiag").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl SockDiag {
    /// Opens a socket in this thread's network namespace; it stays there.
    pub fn open() -> Result<Self, MonitorError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // The kernel answers inside send: a read that would wait is an answer that never comes.
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| MonitorError::Netlink { operation: "open", source })?;
        Ok(SockDiag { socket, sequence: 0 })
    }

    /// The UDP socket that would get a datagram to this address and port.
    pub fn udp(&mut self, address: Ipv6Addr, port: u16) -> Result<Option<UdpSocketState>, MonitorError> {
        let mut id = SocketId::new_v6();
        id.destination_address = IpAddr::V6(address);
        id.destination_port = port;
        id.cookie = [0xff; 8];
        let found = self.ask(&request(IPPROTO_UDP, StateFlags::all(), id), false)?;
        found.first().map(udp_state).transpose()
    }

    /// All IPv6 UDP sockets with this local port; port 0: with any.
    pub fn udp_dump(&mut self, port: u16) -> Result<Vec<UdpSocketState>, MonitorError> {
        let mut id = SocketId::new_v6();
        id.source_port = port;
        self.ask(&request(IPPROTO_UDP, StateFlags::all(), id), true)?.iter().map(udp_state).collect()
    }

    /// The TCP socket that would get a connection to this address and port.
    pub fn listener(&mut self, address: Ipv6Addr, port: u16) -> Result<Option<Listener>, MonitorError> {
        let mut id = SocketId::new_v6();
        id.source_address = IpAddr::V6(address);
        id.source_port = port;
        id.cookie = [0xff; 8];
        let found = self.ask(&request(IPPROTO_TCP, StateFlags::LISTEN, id), false)?;
        Ok(found.first().map(listener))
    }

    /// All TCP sockets that listen on this port.
    pub fn listeners(&mut self, port: u16) -> Result<Vec<Listener>, MonitorError> {
        let mut id = SocketId::new_v6();
        id.source_port = port;
        let found = self.ask(&request(IPPROTO_TCP, StateFlags::LISTEN, id), true)?;
        Ok(found.iter().map(listener).collect())
    }

    /// One question and all of its answers.
    fn ask(&mut self, request: &InetRequest, dump: bool) -> Result<Vec<InetResponse>, MonitorError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = if dump { NLM_F_REQUEST | NLM_F_DUMP } else { NLM_F_REQUEST };
        header.sequence_number = self.sequence;
        let payload = NetlinkPayload::from(SockDiagMessage::InetRequest(request.clone()));
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let failed = |operation| move |source| MonitorError::Netlink { operation, source };
        self.socket.send(&bytes, 0).map_err(failed("send"))?;
        let mut found = Vec::new();
        let mut buffer: Vec<u8> = Vec::with_capacity(32 * 1024);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0).map_err(failed("receive"))?;
            if self.take(&buffer, dump, &mut found)? {
                return Ok(found);
            }
        }
    }

    /// Reads one datagram of answers; true when the last has come.
    fn take(&self, mut bytes: &[u8], dump: bool, found: &mut Vec<InetResponse>) -> Result<bool, MonitorError> {
        while !bytes.is_empty() {
            let bad = |e: netlink_packet_core::DecodeError| MonitorError::Answer(format!("malformed answer: {e}"));
            let length = NetlinkBuffer::new_checked(&bytes).map_err(bad)?.length() as usize;
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(bytes).map_err(bad)?;
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
            if message.header.sequence_number != self.sequence {
                continue;
            }
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) if error.raw_code() == -ENOENT => return Ok(true),
                NetlinkPayload::Error(error) => {
                    return Err(MonitorError::Netlink {
                        operation: "lookup",
                        source: io::Error::from_raw_os_error(-error.raw_code()),
                    });
                }
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    found.push(*response);
                    if !dump {
                        return Ok(true);
                    }
                }
                other => return Err(MonitorError::Answer(format!("unexpected answer {other:?}"))),
            }
        }
        Ok(false)
    }
}

fn request(protocol: u8, states: StateFlags, socket_id: SocketId) -> InetRequest {
    InetRequest { family: AF_INET6, protocol, extensions: ExtensionFlags::SKMEMINFO, states, socket_id }
}

fn listener(response: &InetResponse) -> Listener {
    Listener { backlog: response.header.recv_queue, backlog_max: response.header.send_queue }
}

fn udp_state(response: &InetResponse) -> Result<UdpSocketState, MonitorError> {
    let id = &response.header.socket_id;
    let memory = response.nlas.iter().find_map(|nla| if let Nla::MemInfo(memory) = nla { Some(memory) } else { None });
    let memory = memory.ok_or_else(|| MonitorError::Answer("no INET_DIAG_SKMEMINFO in the answer".into()))?;
    let IpAddr::V6(address) = id.source_address else {
        return Err(MonitorError::Answer(format!("IPv4 address {} of an IPv6 socket", id.source_address)));
    };
    Ok(UdpSocketState {
        address,
        port: id.source_port,
        // Not memory.receive_queue: that lags behind by what the reader has taken but not yet given back.
        queue: response.header.recv_queue,
        buffer: memory.receive_queue_max,
        drops: memory.drops,
        cookie: id.cookie,
    })
}
