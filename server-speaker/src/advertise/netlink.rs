//! Orders to the kernel about links and addresses, each with its answer, and the addresses that there are.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo};
use netlink_packet_route::link::{InfoPortKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// The addresses of this thread's namespace.
const ADDRESSES: &str = "/proc/thread-self/net/if_inet6";
const ENODEV: i32 = 19;
const EADDRNOTAVAIL: i32 = 99;

/// A netlink socket in the namespace it was opened in. The kernel answers at once: nothing to await.
pub(super) struct Requests {
    socket: Socket,
    sequence: u32,
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

/// What is known of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its index.
    pub(super) index: u32,
    /// It is a port of a bridge: what comes in is the bridge's.
    pub(super) bridge_port: bool,
}

/// Where an address stands, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The interface.
    pub(super) index: u32,
    /// The prefix length.
    pub(super) length: u8,
    /// Whether its uniqueness is looked for on the link first.
    pub(super) detect_duplicates: bool,
}

impl Place {
    /// With preferred lifetime 0, so that the host never uses it as the source of anything else (RFC 6724 rule 3).
    fn message(self, address: Ipv6Addr) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet6;
        message.header.prefix_len = self.length;
        message.header.index = self.index;
        let mut lifetimes = CacheInfo::default();
        lifetimes.ifa_preferred = 0;
        lifetimes.ifa_valid = u32::MAX;
        message.attributes = vec![
            AddressAttribute::Local(IpAddr::V6(address)),
            AddressAttribute::Address(IpAddr::V6(address)),
            AddressAttribute::CacheInfo(lifetimes),
        ];
        if !self.detect_duplicates {
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        message
    }
}

impl Requests {
    /// Opens a netlink socket in this thread's namespace.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        Ok(Requests { socket, sequence: 0 })
    }

    /// Orders something.
    fn order(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        match self.ask(message, NLM_F_ACK | flags)? {
            None => Ok(()),
            Some(other) => Err(io::Error::other(format!("unexpected answer {other:?}"))),
        }
    }

    /// Puts an address on an interface; one that is there already is given our lifetimes.
    pub(super) fn add_address(&mut self, place: Place, address: Ipv6Addr) -> io::Result<()> {
        self.order(RouteNetlinkMessage::NewAddress(place.message(address)), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Takes an address from an interface; one that is not there is no error.
    pub(super) fn remove_address(&mut self, place: Place, address: Ipv6Addr) -> io::Result<()> {
        match self.order(RouteNetlinkMessage::DelAddress(place.message(address)), 0) {
            Err(error) if error.raw_os_error() == Some(EADDRNOTAVAIL) => Ok(()),
            other => other,
        }
    }

    /// A link; none of that name is no error.
    pub(super) fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.ask(RouteNetlinkMessage::GetLink(message), 0) {
            Ok(Some(RouteNetlinkMessage::NewLink(link))) => {
                let is_port = |info: &LinkInfo| *info == LinkInfo::PortKind(InfoPortKind::Bridge);
                let bridge_port = link.attributes.iter().any(|attribute| match attribute {
                    LinkAttribute::LinkInfo(infos) => infos.iter().any(is_port),
                    _ => false,
                });
                Ok(Some(Link { index: link.header.index, bridge_port }))
            }
            Ok(other) => Err(io::Error::other(format!("unexpected answer {other:?}"))),
            Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The answer to a message; none is an acknowledgment.
    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut buffer = Vec::with_capacity(32 * 1024);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0)?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&buffer).map_err(io::Error::other)?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::InnerMessage(message) => Ok(Some(message)),
                NetlinkPayload::Error(error) if error.raw_code() == 0 => Ok(None),
                NetlinkPayload::Error(error) => Err(io::Error::from_raw_os_error(-error.raw_code())),
                other => Err(io::Error::other(format!("unexpected answer {other:?}"))),
            };
        }
    }
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) address: Ipv6Addr,
    pub(super) interface: String,
    pub(super) flags: AddressFlags,
}

/// All IPv6 addresses.
pub(super) fn addresses() -> io::Result<Vec<Address>> {
    Ok(std::fs::read_to_string(ADDRESSES)?.lines().filter_map(address).collect())
}

/// A line: address, interface index, prefix length, scope and flags in hexadecimal, interface name.
fn address(line: &str) -> Option<Address> {
    let mut fields = line.split_whitespace();
    let address = u128::from_str_radix(fields.next()?, 16).ok()?.into();
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let interface = fields.next()?.to_owned();
    Some(Address { address, interface, flags: AddressFlags::from_bits_retain(flags) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_list_is_read() {
        let row = address("fe800000000000000000005ac000020b 0007 40 20 e8     eth0").unwrap();
        assert_eq!((row.address, row.interface.as_str()), ("fe80::5a:c000:20b".parse().unwrap(), "eth0"));
        assert_eq!(
            row.flags,
            AddressFlags::Dadfailed | AddressFlags::Deprecated | AddressFlags::Tentative | AddressFlags::Permanent
        );
        assert_eq!(address("nonsense"), None);
    }
}
