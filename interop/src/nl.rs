//! A small blocking rtnetlink client: one request, one answer. A socket belongs to the network namespace of the thread
//! that opened it and may then be used from anywhere.
//!
//! Messages are built with netlink-packet-route, except next-hop objects, which that crate does not know.

use std::{net::Ipv6Addr, os::fd::AsFd};

use anyhow::{Context, Result, anyhow, bail};
use ipnetwork::Ipv6Network;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteProtocol, RouteScope, RouteType,
    },
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt};

use crate::netns::Netns;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
const DUMP_BUFFER: usize = 128 * 1024;
const F_MULTI: u16 = 2;

const RTNLGRP_IPV6_ROUTE: u32 = 11;
const RTNLGRP_NEXTHOP: u32 = 32;

/// A socket that hears of every change of a namespace's IPv6 routes and next-hop objects, with room for so many bytes of them.
pub fn route_notifications(netns: &Netns, buffer: usize) -> Result<Socket> {
    let mut socket = netns.run(|| Socket::new(NETLINK_ROUTE))?.context("opening a netlink socket")?;
    socket.bind(&SocketAddr::new(0, 0)).context("binding a netlink socket")?;
    // Beyond net.core.rmem_max as root of the machine only.
    if setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &buffer).is_err() {
        setsockopt(&socket.as_fd(), sockopt::RcvBuf, &buffer).context("sizing a netlink socket's buffer")?;
    }
    for group in [RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP] {
        socket.add_membership(group).context("joining a notification group")?;
    }
    Ok(socket)
}

/// One received netlink message, undecoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// `RTM_*`.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// What follows the netlink header.
    pub body: Vec<u8>,
}

/// Splits a datagram into its netlink messages.
pub fn split(mut datagram: &[u8]) -> Vec<Raw> {
    let mut messages = vec![];
    while let Some(header) = datagram.first_chunk::<HEADER>() {
        let [l0, l1, l2, l3, k0, k1, f0, f1, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let Some(body) = datagram.get(HEADER..length) else { break };
        messages.push(Raw {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            body: body.to_vec(),
        });
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

/// Walks `rtattr`s: (type without flag bits, value).
pub fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = vec![];
    while let Some([l0, l1, t0, t1]) = bytes.first_chunk::<4>().copied() {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(value) = bytes.get(4..length) else { break };
        found.push((u16::from_ne_bytes([t0, t1]) & 0x3fff, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// Appends an `rtattr` to a body, which must have a length of a multiple of four.
pub fn put_attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The first four bytes of an attribute as a number.
pub fn u32_of(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// An attribute as an IPv6 address.
pub fn ipv6_of(value: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from)
}

/// One side of a veth pair to be.
#[derive(Debug, Clone)]
pub struct VethEnd<'a> {
    /// Interface name.
    pub name: &'a str,
    /// Hardware address.
    pub mac: [u8; 6],
    /// The namespace it is born in.
    pub netns: std::os::fd::RawFd,
}

/// A blocking rtnetlink socket.
pub struct Rtnl {
    socket: Socket,
    sequence: u32,
}

impl Rtnl {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE).context("opening a netlink socket")?;
        socket.bind_auto().context("binding a netlink socket")?;
        socket.connect(&SocketAddr::new(0, 0)).context("connecting a netlink socket")?;
        socket.set_netlink_get_strict_chk(true).context("asking netlink for strict checks")?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends one message and returns the kernel's verdict.
    fn execute(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, message.into());
        packet.finalize();
        let mut buffer = vec![0; packet.buffer_len()];
        packet.serialize(&mut buffer);
        self.socket.send(&buffer, 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        for raw in split(&answer) {
            if raw.kind == NLMSG_ERROR {
                return verdict(&raw);
            }
        }
        Err(anyhow!("netlink gave no verdict"))
    }

    /// Sends one message of this kind and body and returns the kernel's verdict; for what the crates do not know.
    pub fn request(&mut self, (kind, flags): (u16, u16), body: &[u8]) -> Result<()> {
        self.sequence += 1;
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(body);
        self.socket.send(&message, 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        let verdicts = split(&answer);
        verdict(verdicts.iter().find(|raw| raw.kind == NLMSG_ERROR).context("netlink gave no verdict")?)
    }

    /// Dumps every object of one kind; `body` is the family's request header.
    pub fn dump(&mut self, kind: u16, body: &[u8]) -> Result<Vec<Raw>> {
        match self.dump_once(kind, body) {
            // The first datagram is made before the kernel has seen a buffer.
            Err(error) if os_error(&error) == Some(nix::libc::EMSGSIZE) => self.dump_once(kind, body),
            result => result,
        }
    }

    fn dump_once(&mut self, kind: u16, body: &[u8]) -> Result<Vec<Raw>> {
        self.sequence += 1;
        let mut request = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        request.extend(kind.to_ne_bytes());
        request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend(0u32.to_ne_bytes());
        request.extend(body);
        self.socket.send(&request, 0)?;
        let mut all = vec![];
        // The kernel makes the datagrams of a dump as large as the largest buffer it has seen: what does not fit into one, such
        // as a group of a thousand members, it leaves out.
        let mut answer = Vec::with_capacity(DUMP_BUFFER);
        loop {
            answer.clear();
            self.socket.recv(&mut answer, 0)?;
            for raw in split(&answer) {
                match raw.kind {
                    NLMSG_DONE => {
                        verdict(&raw)?;
                        return Ok(all);
                    }
                    NLMSG_ERROR => verdict(&raw)?,
                    _ if raw.flags & F_MULTI == 0 => {
                        all.push(raw);
                        return Ok(all);
                    }
                    _ => all.push(raw),
                }
            }
        }
    }

    /// Index of an interface in this socket's namespace.
    pub fn index(&mut self, name: &str) -> Result<u32> {
        const RTM_GETLINK: u16 = 18;
        const IFLA_IFNAME: u16 = 3;
        for raw in self.dump(RTM_GETLINK, &[0; 16])? {
            let index = raw.body.get(4..8).and_then(u32_of);
            let named = attributes(raw.body.get(16..).unwrap_or_default())
                .iter()
                .any(|(kind, value)| *kind == IFLA_IFNAME && value.strip_suffix(&[0]) == Some(name.as_bytes()));
            if let (true, Some(index)) = (named, index) {
                return Ok(index);
            }
        }
        bail!("no interface {name} here")
    }

    /// Creates a veth pair, each end in its namespace.
    pub fn add_veth(&mut self, a: &VethEnd<'_>, b: &VethEnd<'_>) -> Result<()> {
        let end = |end: &VethEnd<'_>| {
            let mut message = LinkMessage::default();
            message.attributes.push(LinkAttribute::IfName(end.name.into()));
            message.attributes.push(LinkAttribute::Address(end.mac.to_vec()));
            message.attributes.push(LinkAttribute::NetNsFd(end.netns));
            message
        };
        let mut message = end(a);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end(b)))),
        ]));
        self.execute(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .with_context(|| format!("creating the veth pair {} - {}", a.name, b.name))
    }

    /// Creates a bridge without multicast snooping: every multicast packet reaches every port.
    pub fn add_bridge(&mut self, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])),
        ]));
        self.execute(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .with_context(|| format!("creating the bridge {name}"))
    }

    /// Sets an interface administratively up.
    pub fn up(&mut self, name: &str) -> Result<()> {
        self.set_flags(name, true).with_context(|| format!("setting {name} up"))
    }

    /// Sets an interface administratively down; a veth peer loses its carrier by it.
    pub fn down(&mut self, name: &str) -> Result<()> {
        self.set_flags(name, false).with_context(|| format!("setting {name} down"))
    }

    fn set_flags(&mut self, name: &str, up: bool) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.index(name)?;
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        self.execute(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Plugs an interface into a bridge, or with `None` unplugs it: nobody sees a carrier change.
    pub fn set_bridge(&mut self, port: &str, bridge: Option<&str>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.index(port)?;
        let controller = bridge.map(|name| self.index(name)).transpose()?.unwrap_or(0);
        message.attributes.push(LinkAttribute::Controller(controller));
        self.execute(RouteNetlinkMessage::SetLink(message), 0).with_context(|| format!("plugging {port}"))
    }

    /// Deletes an interface.
    pub fn delete_link(&mut self, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.index(name)?;
        self.execute(RouteNetlinkMessage::DelLink(message), 0).with_context(|| format!("deleting {name}"))
    }

    /// Sets the MTU of an interface.
    pub fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.index(name)?;
        message.attributes.push(LinkAttribute::Mtu(mtu));
        self.execute(RouteNetlinkMessage::SetLink(message), 0).with_context(|| format!("setting the MTU of {name}"))
    }

    /// Adds an address without duplicate address detection.
    pub fn add_address(&mut self, name: &str, network: Ipv6Network) -> Result<()> {
        let mut message = address_message(self.index(name)?, network);
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        message.header.flags = AddressHeaderFlags::Nodad;
        self.execute(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
            .with_context(|| format!("adding {network} to {name}"))
    }

    /// Removes an address.
    pub fn delete_address(&mut self, name: &str, network: Ipv6Network) -> Result<()> {
        let message = address_message(self.index(name)?, network);
        self.execute(RouteNetlinkMessage::DelAddress(message), 0)
            .with_context(|| format!("removing {network} from {name}"))
    }

    /// Adds (or replaces) a static route through link-local gateways on one interface.
    pub fn add_route(&mut self, prefix: Ipv6Network, device: &str, gateways: &[Ipv6Addr]) -> Result<()> {
        let index = self.index(device)?;
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        message.header.destination_prefix_length = prefix.prefix();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet6(prefix.network())));
        match gateways {
            [] => message.attributes.push(RouteAttribute::Oif(index)),
            [one] => {
                message.attributes.push(RouteAttribute::Oif(index));
                message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet6(*one)));
            }
            several => {
                let hops = several.iter().map(|gateway| {
                    let mut hop = RouteNextHop::default();
                    hop.interface_index = index;
                    hop.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet6(*gateway)));
                    hop
                });
                message.attributes.push(RouteAttribute::MultiPath(hops.collect()));
            }
        }
        self.execute(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
            .with_context(|| format!("adding a route to {prefix}"))
    }
}

fn address_message(index: u32, network: Ipv6Network) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.prefix_len = network.prefix();
    message.header.index = index;
    message.header.scope =
        if network.ip().is_unicast_link_local() { AddressScope::Link } else { AddressScope::Universe };
    message.attributes.push(AddressAttribute::Address(network.ip().into()));
    message.attributes.push(AddressAttribute::Local(network.ip().into()));
    message
}

fn verdict(raw: &Raw) -> Result<()> {
    match raw.body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) {
        Some(0) => Ok(()),
        Some(code) => Err(std::io::Error::from_raw_os_error(-code).into()),
        None => bail!("a netlink verdict without a code"),
    }
}

/// The number of the system's error, if it is one.
pub fn os_error(error: &anyhow::Error) -> Option<i32> {
    error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_read_as_it_was_put() {
        let mut body = vec![];
        put_attribute(&mut body, 1, &[9, 0, 0, 0]);
        put_attribute(&mut body, 2, &[7, 8]);
        put_attribute(&mut body, 3, &[]);
        assert_eq!(attributes(&body), vec![(1, &[9, 0, 0, 0][..]), (2, &[7, 8][..]), (3, &[][..])]);
    }

    #[test]
    fn attributes_of_any_truncation_are_walked_without_a_panic() {
        let bytes = [8, 0, 1, 0, 9, 0, 0, 0, 5, 0, 2, 0, 7, 0, 0, 0];
        assert_eq!(attributes(&bytes), vec![(1, &[9, 0, 0, 0][..]), (2, &[7][..])]);
        for cut in 0..bytes.len() {
            attributes(&bytes[..cut]);
            split(&bytes[..cut]);
        }
    }
}
