//! Links by netlink, for tests: a veth pair into another namespace, and up.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs::File;
use std::os::fd::AsRawFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Creates `name` here and its peer in the namespace `there`.
pub(crate) fn veth(name: &str, peer: &str, there: &File) {
    let mut other = LinkMessage::default();
    other.attributes = vec![LinkAttribute::IfName(peer.into()), LinkAttribute::NetNsFd(there.as_raw_fd())];
    let mut message = LinkMessage::default();
    let data = InfoData::Veth(InfoVeth::Peer(other));
    message.attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(data)]),
    ];
    request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL);
}

/// Sets a link up.
pub(crate) fn up(name: &str) {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.into())];
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    request(RouteNetlinkMessage::NewLink(message), 0);
}

/// Creates a bridge.
pub(crate) fn bridge(name: &str) {
    let mut message = LinkMessage::default();
    message.attributes =
        vec![LinkAttribute::IfName(name.into()), LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)])];
    request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL);
}

/// Makes an interface a port of a bridge.
pub(crate) fn join(port: &str, bridge: &str) {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(port.into()),
        LinkAttribute::Controller(nix::net::if_::if_nametoindex(bridge).unwrap()),
    ];
    request(RouteNetlinkMessage::NewLink(message), 0);
}

fn request(message: RouteNetlinkMessage, flags: u16) {
    let mut socket = Socket::new(NETLINK_ROUTE).unwrap();
    socket.bind_auto().unwrap();
    socket.connect(&SocketAddr::new(0, 0)).unwrap();
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).unwrap();
    let (answer, _) = socket.recv_from_full().unwrap();
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).unwrap();
    match answer.payload {
        NetlinkPayload::Error(error) => assert_eq!(error.raw_code(), 0, "{error}"),
        other => panic!("{other:?}"),
    }
}
