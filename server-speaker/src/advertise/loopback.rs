//! The service addresses on `lo`: /128, no duplicate address detection (nobody can be asked on `lo`), preferred lifetime 0
//! so that the host never uses an anycast address as the source of its own connections (RFC 4291 §2.6, RFC 6724 rule 3).

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// The loopback interface has this index in every network namespace (LOOPBACK_IFINDEX of Linux).
const LO: u32 = 1;
const FOREVER: u32 = u32::MAX;
/// The addresses of this thread's namespace.
const ADDRESSES: &str = "/proc/thread-self/net/if_inet6";
const EADDRNOTAVAIL: i32 = 99;

/// An address could not be put on `lo` or taken away.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {address}/128 on lo: {source}")]
pub struct LoopbackError {
    /// What was tried.
    pub operation: &'static str,
    /// With which address.
    pub address: Ipv6Addr,
    /// Why it failed.
    pub source: io::Error,
}

impl LoopbackError {
    /// Whether CAP_NET_ADMIN is missing.
    pub fn is_privilege(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }
}

/// Puts addresses on `lo` of the namespace it was opened in. The kernel answers at once: nothing to await.
pub struct Loopback {
    socket: Socket,
    sequence: u32,
}

impl std::fmt::Debug for Loopback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loopback").finish_non_exhaustive()
    }
}

impl Loopback {
    /// Opens a netlink socket in this thread's namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        Ok(Loopback { socket, sequence: 0 })
    }

    /// Puts an address on `lo`; one that is there already is given our lifetimes.
    pub fn add(&mut self, address: Ipv6Addr) -> Result<(), LoopbackError> {
        let message = RouteNetlinkMessage::NewAddress(message(address));
        self.request(message, NLM_F_CREATE | NLM_F_REPLACE).map_err(|source| LoopbackError {
            operation: "adding",
            address,
            source,
        })
    }

    /// Takes an address from `lo`; one that is not there is no error.
    pub fn remove(&mut self, address: Ipv6Addr) -> Result<(), LoopbackError> {
        match self.request(RouteNetlinkMessage::DelAddress(message(address)), 0) {
            Err(error) if error.raw_os_error() == Some(EADDRNOTAVAIL) => Ok(()),
            other => other.map_err(|source| LoopbackError { operation: "removing", address, source }),
        }
    }

    /// Whether the address is on `lo`.
    pub fn has(&self, address: Ipv6Addr) -> Result<bool, LoopbackError> {
        let text = std::fs::read_to_string(ADDRESSES).map_err(|source| LoopbackError {
            operation: "looking for",
            address,
            source,
        })?;
        let wanted = format!("{:032x}", u128::from(address));
        Ok(text.lines().any(|line| line.starts_with(&wanted) && line.ends_with(" lo")))
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut buffer = Vec::with_capacity(8 * 1024);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0)?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&buffer).map_err(io::Error::other)?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::Error(error) if error.raw_code() == 0 => Ok(()),
                NetlinkPayload::Error(error) => Err(io::Error::from_raw_os_error(-error.raw_code())),
                other => Err(io::Error::other(format!("unexpected answer {other:?}"))),
            };
        }
    }
}

fn message(address: Ipv6Addr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.prefix_len = 128;
    message.header.index = LO;
    let mut lifetimes = CacheInfo::default();
    lifetimes.ifa_preferred = 0;
    lifetimes.ifa_valid = FOREVER;
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V6(address)),
        AddressAttribute::Address(IpAddr::V6(address)),
        AddressAttribute::Flags(AddressFlags::Nodad),
        AddressAttribute::CacheInfo(lifetimes),
    ];
    message
}
