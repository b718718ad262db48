//! The kernel's links and addresses, as [`LinkEvent`]s for the engine.
//!
//! A netlink socket is in the groups of links and IPv6 addresses first; then both tables are read; then every message
//! changes the picture. Messages that were queued while the tables were read are older than the picture at worst, and
//! the last message on each object is right in the end. If the socket overflows, its queue is dropped and the tables are
//! read anew. An event is emitted where the state of a configured interface differs from the one emitted last.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::task::{Context, Poll, ready};

use netlink_packet_core::{NLM_F_DUMP, Parseable};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::Socket;
use nix::libc::{ENOBUFS, RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK};
use ospf_proto::engine::{LinkEvent, LinkState};
use ospf_proto::id::IfaceId;
use ospf_proto::lsa::Prefix;
use tokio::io::unix::AsyncFd;
use tracing::{debug, warn};

use super::error::Error;
use super::netlink::{self, RTNLGRP_IPV6_IFADDR, RTNLGRP_LINK, Raw, Steps};
use super::sys;

/// The link-local address to speak from, by the name of the interface; where none is named, the first that is usable.
///
/// Several drivers can so be several routers on one interface: each hears what is sent to all and to its own address.
pub type LinkLocals = BTreeMap<String, Ipv6Addr>;

/// Watches the links and addresses of the configured interfaces.
#[derive(Debug)]
pub(crate) struct LinkWatch {
    io: AsyncFd<Socket>,
    names: BTreeSet<String>,
    link_locals: LinkLocals,
    picture: Picture,
    emitted: BTreeMap<IfaceId, LinkState>,
    buffer: Vec<u8>,
    resyncs: u64,
}

/// What the kernel has.
#[derive(Clone, Debug, Default)]
struct Picture {
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<(u32, Ipv6Addr), Address>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    name: String,
    up: bool,
    mtu: u16,
}

/// Which link-local address is spoken from.
#[derive(Clone, Copy, Debug)]
enum SpeakFrom {
    /// This or none.
    Only(Ipv6Addr),
    /// Any; the one that was spoken from while it can be.
    Any(Option<Ipv6Addr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    prefix: Option<Prefix>,
    flags: AddressFlags,
}

impl LinkWatch {
    /// Subscribes; nothing is read yet.
    pub(crate) fn open(names: BTreeSet<String>, link_locals: LinkLocals) -> Result<Self, Error> {
        let what = || Error::io("watching links by netlink", "");
        let socket = netlink::watch(&[RTNLGRP_LINK, RTNLGRP_IPV6_IFADDR]).map_err(what())?;
        let io = sys::register_netlink(socket).map_err(what())?;
        let (picture, emitted) = (Picture::default(), BTreeMap::new());
        Ok(LinkWatch { io, names, link_locals, picture, emitted, buffer: Vec::new(), resyncs: 0 })
    }

    /// How often both tables were read anew because messages were lost.
    pub(crate) fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Reads both tables.
    pub(crate) fn read(&mut self) -> Result<Vec<LinkEvent>, Error> {
        self.picture = Picture::read().map_err(Error::io("reading links and addresses by netlink", ""))?;
        Ok(self.changes())
    }

    /// Waits for a change. Cancel-safe: what was taken from the socket is in the picture.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<LinkEvent>, Error>> {
        loop {
            let mut guard = ready!(self.io.poll_read_ready(cx)).map_err(Error::io("watching links", ""))?;
            let buffer = &mut self.buffer;
            match guard.try_io(|io| netlink::receive(io.get_ref(), buffer)) {
                Err(_would_block) => continue,
                Ok(Ok(())) => {
                    let mut events = Vec::new();
                    let datagram = std::mem::take(&mut self.buffer);
                    // A link that goes down and up within one datagram is two events: the kernel dropped routes meanwhile.
                    for raw in netlink::messages(&datagram) {
                        self.picture.apply(raw);
                        events.append(&mut self.changes());
                    }
                    self.buffer = datagram;
                    return Poll::Ready(Ok(events));
                }
                Ok(Err(error)) if error.raw_os_error() == Some(ENOBUFS) => {
                    warn!("link messages were lost; reading all links and addresses anew");
                    self.resyncs += 1;
                    self.drain();
                    return Poll::Ready(self.read());
                }
                Ok(Err(error)) => return Poll::Ready(Err(Error::io("watching links", "")(error))),
            }
        }
    }

    fn drain(&mut self) {
        loop {
            match netlink::receive(self.io.get_ref(), &mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// The events since the last call.
    fn changes(&mut self) -> Vec<LinkEvent> {
        let mut events = Vec::new();
        let gone = |id: &IfaceId| self.picture.links.get(&id.0).is_none_or(|link| !self.names.contains(&link.name));
        let vanished: Vec<IfaceId> = self.emitted.keys().copied().filter(gone).collect();
        for id in vanished {
            self.emitted.remove(&id);
            events.push(LinkEvent::Gone(id));
        }
        for (index, link) in &self.picture.links {
            if !self.names.contains(&link.name) {
                continue;
            }
            let iface = IfaceId(*index);
            let before = self.emitted.get(&iface);
            let speak = match self.link_locals.get(&link.name) {
                Some(address) => SpeakFrom::Only(*address),
                None => SpeakFrom::Any(before.and_then(|state| state.link_local)),
            };
            let state = self.picture.state(iface, link, speak);
            if before != Some(&state) {
                debug!(?state, "link");
                self.emitted.insert(iface, state.clone());
                events.push(LinkEvent::State(state));
            }
        }
        events
    }
}

impl Picture {
    fn read() -> io::Result<Self> {
        let socket = netlink::requests()?;
        let mut picture = Picture::default();
        let links =
            |sequence| netlink::encode(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP, sequence);
        let steps = Steps { restart: |picture: &mut Picture| picture.links.clear(), each: Picture::apply };
        netlink::dump(&socket, &links, &mut picture, steps)?;
        let addresses = |sequence| {
            let mut message = AddressMessage::default();
            message.header.family = AddressFamily::Inet6;
            netlink::encode(RouteNetlinkMessage::GetAddress(message), NLM_F_DUMP, sequence)
        };
        let steps = Steps { restart: |picture: &mut Picture| picture.addresses.clear(), each: Picture::apply };
        netlink::dump(&socket, &addresses, &mut picture, steps)?;
        Ok(picture)
    }

    fn apply(&mut self, raw: Raw<'_>) {
        match raw.kind {
            RTM_NEWLINK | RTM_DELLINK => match LinkMessage::parse(raw.payload) {
                Ok(message) => self.link(raw.kind == RTM_NEWLINK, message),
                Err(error) => warn!(%error, "a link message of the kernel does not decode"),
            },
            RTM_NEWADDR | RTM_DELADDR => match AddressMessage::parse(raw.payload) {
                Ok(message) => self.address(raw.kind == RTM_NEWADDR, message),
                Err(error) => warn!(%error, "an address message of the kernel does not decode"),
            },
            _ => {}
        }
    }

    fn link(&mut self, exists: bool, message: LinkMessage) {
        // A bridge tells of its ports by messages of its own family; a port that leaves is no link that is gone.
        if message.header.interface_family != AddressFamily::Unspec {
            return;
        }
        let index = message.header.index;
        if !exists {
            self.links.remove(&index);
            self.addresses.retain(|(of, _), _| *of != index);
            return;
        }
        let (mut name, mut mtu) = (None, None);
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(value) => name = Some(value),
                LinkAttribute::Mtu(value) => mtu = Some(value),
                _ => {}
            }
        }
        let (Some(name), Some(mtu)) = (name, mtu) else {
            return;
        };
        let needed = LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp;
        let up = message.header.flags.contains(needed);
        self.links.insert(index, Link { name, up, mtu: u16::try_from(mtu).unwrap_or(u16::MAX) });
    }

    fn address(&mut self, exists: bool, message: AddressMessage) {
        if message.header.family != AddressFamily::Inet6 {
            return;
        }
        let (mut address, mut local) = (None, None);
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Address(IpAddr::V6(value)) => address = Some(value),
                AddressAttribute::Local(IpAddr::V6(value)) => local = Some(value),
                AddressAttribute::Flags(value) => flags = value,
                _ => {}
            }
        }
        // With a peer, IFA_LOCAL is ours and IFA_ADDRESS is the peer's, whose prefix is on the link.
        let Some(ours) = local.or(address) else {
            return;
        };
        let key = (message.header.index, ours);
        if exists {
            let prefix = address.and_then(|address| Prefix::new(address, message.header.prefix_len));
            self.addresses.insert(key, Address { prefix, flags });
        } else {
            self.addresses.remove(&key);
        }
    }

    /// The state of a link.
    fn state(&self, iface: IfaceId, link: &Link, speak: SpeakFrom) -> LinkState {
        let low = (iface.0, Ipv6Addr::UNSPECIFIED);
        let usable = |address: &Address| !address.flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed);
        let addresses = self.addresses.range(low..).take_while(|((of, _), _)| *of == iface.0);
        let addresses: Vec<_> = addresses.filter(|(_, address)| usable(address)).map(|((_, ip), a)| (*ip, a)).collect();
        // A deprecated one is somebody's for a purpose of his own, or about to go.
        let (old, good): (Vec<_>, Vec<_>) =
            addresses.iter().partition(|(_, a)| a.flags.contains(AddressFlags::Deprecated));
        let link_locals = || good.iter().chain(&old).map(|(ip, _)| *ip).filter(Ipv6Addr::is_unicast_link_local);
        let link_local = match speak {
            SpeakFrom::Only(address) => link_locals().find(|ip| *ip == address),
            SpeakFrom::Any(before) => link_locals().find(|ip| Some(*ip) == before).or_else(|| link_locals().next()),
        };
        // A temporary address (RFC 8981) lies in the prefix of a stable one and comes and goes.
        let temporary = |address: &Address| address.flags.contains(AddressFlags::Secondary);
        let others = addresses.iter().filter(|(ip, _)| !ip.is_unicast_link_local() && !ip.is_loopback());
        let stable = others.filter(|(_, address)| !temporary(address));
        let prefixes: BTreeSet<Prefix> = stable.filter_map(|(_, address)| address.prefix).collect();
        LinkState {
            iface,
            name: link.name.clone(),
            up: link.up,
            mtu: link.mtu,
            link_local,
            prefixes: prefixes.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        let mut picture = Picture::default();
        picture.links.insert(7, Link { name: "eth0".into(), up: true, mtu: 1500 });
        picture
    }

    fn add(picture: &mut Picture, address: &str, length: u8, flags: AddressFlags) {
        let address: Ipv6Addr = address.parse().unwrap();
        picture.addresses.insert((7, address), Address { prefix: Prefix::new(address, length), flags });
    }

    fn state(picture: &Picture, before: Option<&str>) -> LinkState {
        let before = before.map(|text| text.parse().unwrap());
        picture.state(IfaceId(7), &picture.links[&7], SpeakFrom::Any(before))
    }

    #[test]
    fn a_tentative_or_duplicate_link_local_is_not_spoken_from() {
        let mut picture = picture();
        add(&mut picture, "fe80::1", 64, AddressFlags::Tentative | AddressFlags::Permanent);
        add(&mut picture, "fe80::2", 64, AddressFlags::Dadfailed);
        assert_eq!(state(&picture, None).link_local, None);
        add(&mut picture, "fe80::3", 64, AddressFlags::Permanent);
        assert_eq!(state(&picture, None).link_local, Some("fe80::3".parse().unwrap()));
    }

    #[test]
    fn the_link_local_in_use_is_kept_while_it_exists() {
        let mut picture = picture();
        add(&mut picture, "fe80::5", 64, AddressFlags::Permanent);
        add(&mut picture, "fe80::1", 64, AddressFlags::Permanent);
        assert_eq!(state(&picture, None).link_local, Some("fe80::1".parse().unwrap()));
        assert_eq!(state(&picture, Some("fe80::5")).link_local, Some("fe80::5".parse().unwrap()));
        assert_eq!(state(&picture, Some("fe80::9")).link_local, Some("fe80::1".parse().unwrap()));
        add(&mut picture, "fe80::1", 64, AddressFlags::Deprecated);
        assert_eq!(state(&picture, None).link_local, Some("fe80::5".parse().unwrap()), "that of a share router, say");
        assert_eq!(state(&picture, Some("fe80::1")).link_local, Some("fe80::1".parse().unwrap()));
    }

    #[test]
    fn one_of_several_routers_of_an_interface_speaks_from_its_own_address_or_not_at_all() {
        let mut picture = picture();
        add(&mut picture, "fe80::1", 64, AddressFlags::Permanent);
        let own = "fe80::5".parse().unwrap();
        let link_local =
            |picture: &Picture| picture.state(IfaceId(7), &picture.links[&7], SpeakFrom::Only(own)).link_local;
        assert_eq!(link_local(&picture), None);
        add(&mut picture, "fe80::5", 64, AddressFlags::Permanent | AddressFlags::Tentative);
        assert_eq!(link_local(&picture), None, "duplicate address detection is under way");
        add(&mut picture, "fe80::5", 64, AddressFlags::Permanent | AddressFlags::Deprecated);
        assert_eq!(link_local(&picture), Some(own));
    }

    #[test]
    fn other_addresses_give_prefixes_without_temporary_ones() {
        let mut picture = picture();
        add(&mut picture, "fe80::1", 64, AddressFlags::Permanent);
        add(&mut picture, "2001:db8::1", 64, AddressFlags::Permanent);
        add(&mut picture, "2001:db8::2", 64, AddressFlags::Permanent);
        add(&mut picture, "2001:db8::aaaa", 64, AddressFlags::Secondary);
        add(&mut picture, "2001:db8:1::1", 128, AddressFlags::Deprecated);
        let state = state(&picture, None);
        assert_eq!(state.prefixes, ["2001:db8::/64".parse().unwrap(), "2001:db8:1::1/128".parse().unwrap()]);
    }
}
