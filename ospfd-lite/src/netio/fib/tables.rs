//! The kernel's tables by netlink: read whole, watched, and changed.
//!
//! The watching socket is opened before the tables are read. The kernel does a request inside the call that sends it and
//! queues its notifications meanwhile, so that after the queue is drained the model is what the kernel has now, our own
//! changes included: there is no second, hoped-for copy of it. What notifications do not tell (a link that loses its carrier
//! takes next-hop objects along in silence) or lost (a full socket) makes the model stale, and it is read anew.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;
use std::task::{Context, Poll, ready};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLMSG_ERROR, NlasIterator, Parseable,
};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr};
use nix::libc::{EEXIST, ENOBUFS, ENOENT, ESRCH, RTM_DELLINK, RTM_DELROUTE, RTM_NEWLINK, RTM_NEWROUTE};
use ospf_proto::lsa::Prefix;
use tokio::io::unix::AsyncFd;
use tracing::{debug, warn};

use super::FibOptions;
use super::model::{Foreign, Kernel, RTPROT_KERNEL};
use super::nexthop::{self, RTM_DELNEXTHOP, RTM_NEWNEXTHOP};
use super::plan::{IDS, Op};
use crate::netio::error::Error;
use crate::netio::netlink::{self, RTNLGRP_IPV6_ROUTE, RTNLGRP_LINK, RTNLGRP_NEXTHOP, Raw, Steps};
use crate::netio::sys;

/// How many bytes of requests go to the kernel in one call.
const CHUNK: usize = 256 * 1024;
/// The attribute of an error message that explains it.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// An operation that the kernel refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) op: Op,
    pub(super) error: String,
}

/// The sockets and the model.
#[derive(Debug)]
pub(super) struct Tables {
    requests: Socket,
    watch: AsyncFd<Socket>,
    buffer: Vec<u8>,
    sequence: u32,
    pub(super) state: State,
}

/// The model, and whether it can be trusted.
#[derive(Debug)]
pub(super) struct State {
    options: FibOptions,
    pub(super) kernel: Kernel,
    /// Whether each link is up and has its carrier.
    pub(super) links: BTreeMap<u32, bool>,
    pub(super) stale: bool,
    /// Whether somebody else changed what concerns us since this was last cleared.
    pub(super) disturbed: bool,
    pub(super) reads: u64,
    /// The port of the socket for requests, by which the kernel says whose doing a change is.
    port: u32,
}

impl Tables {
    /// Opens both sockets, checks the privilege to change routes, and reads the tables.
    pub(super) fn open(options: FibOptions) -> Result<Self, Error> {
        let what = || Error::io("watching kernel routes by netlink", "");
        let watch = netlink::watch(&[RTNLGRP_LINK, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP]).map_err(what())?;
        let watch = sys::register_netlink(watch).map_err(what())?;
        let requests = netlink::requests().map_err(what())?;
        requests.set_ext_ack(true).map_err(what())?;
        let mut address = SocketAddr::new(0, 0);
        requests.get_address(&mut address).map_err(what())?;
        let state = State {
            options,
            kernel: Kernel::default(),
            links: BTreeMap::new(),
            stale: true,
            disturbed: true,
            reads: 0,
            port: address.port_number(),
        };
        let mut tables = Tables { requests, watch, buffer: Vec::new(), sequence: 0, state };
        tables.probe().map_err(Error::io("changing kernel routes", "CAP_NET_ADMIN"))?;
        tables.refresh().map_err(Error::io("reading kernel routes and next-hop objects", ""))?;
        Ok(tables)
    }

    /// Brings the model up to date.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        let Tables { watch, buffer, state, .. } = self;
        drain(watch.get_ref(), buffer, state)?;
        while self.state.stale {
            self.state.disturbed = true;
            self.state.stale = false;
            self.read()?;
            let Tables { watch, buffer, state, .. } = self;
            drain(watch.get_ref(), buffer, state)?;
        }
        Ok(())
    }

    /// Waits for notifications and takes all there are. Cancel-safe.
    pub(super) fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut guard = ready!(self.watch.poll_read_ready(cx))?;
        let changed = drain(self.watch.get_ref(), &mut self.buffer, &mut self.state);
        guard.clear_ready();
        Poll::Ready(changed)
    }

    /// Has the kernel do the operations in their order; those that it refused are returned.
    pub(super) fn execute(&mut self, ops: &[Op]) -> io::Result<Vec<Refused>> {
        let mut refused = Vec::new();
        let mut rest = ops;
        while !rest.is_empty() {
            let first = self.sequence.wrapping_add(1);
            let mut bytes = Vec::new();
            let mut count = 0;
            for op in rest {
                if bytes.len() > CHUNK {
                    break;
                }
                self.sequence = self.sequence.wrapping_add(1);
                // Errors are told of every message; only the last one is asked for its success too.
                let last = count + 1 == rest.len() || bytes.len() + 4096 > CHUNK;
                let mut message = self.message(op, self.sequence);
                if last {
                    acknowledge(&mut message);
                }
                bytes.append(&mut message);
                count += 1;
                if last {
                    break;
                }
            }
            let (now, later) = rest.split_at(count);
            self.requests.send(&bytes, 0)?;
            for (sequence, error) in self.answers()? {
                let index = sequence.wrapping_sub(first) as usize;
                if let Some(op) = now.get(index) {
                    refused.push(Refused { op: op.clone(), error });
                }
            }
            rest = later;
        }
        Ok(refused)
    }

    /// Reads answers up to that to the last request: the errors, by sequence number.
    fn answers(&mut self) -> io::Result<Vec<(u32, String)>> {
        let mut errors = Vec::new();
        loop {
            netlink::receive(&self.requests, &mut self.buffer)?;
            for raw in netlink::messages(&self.buffer).filter(|raw| raw.kind == NLMSG_ERROR) {
                let code = -netlink::error_code(raw.payload);
                if code != 0 {
                    // Our picture of the kernel was wrong.
                    self.state.stale |= matches!(code, EEXIST | ENOENT | ESRCH);
                    errors.push((raw.sequence, explain(code, raw.payload)));
                }
                if raw.sequence == self.sequence {
                    return Ok(errors);
                }
            }
        }
    }

    /// Tries to delete an object that does not exist: without the privilege this is not even looked at.
    fn probe(&mut self) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = nexthop::delete(IDS.end() + 1, self.sequence);
        acknowledge(&mut message);
        self.requests.send(&message, 0)?;
        netlink::receive(&self.requests, &mut self.buffer)?;
        let code = netlink::messages(&self.buffer).next().map_or(0, |raw| -netlink::error_code(raw.payload));
        match code {
            0 | ENOENT => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    fn read(&mut self) -> io::Result<()> {
        self.state.reads += 1;
        let restart_links = |state: &mut State| state.links.clear();
        let links =
            |sequence| netlink::encode(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP, sequence);
        netlink::dump(&self.requests, &links, &mut self.state, Steps { restart: restart_links, each: State::apply })?;
        let restart = |state: &mut State| {
            state.kernel.objects.clear();
            state.kernel.taken.clear();
        };
        netlink::dump(&self.requests, &nexthop::dump, &mut self.state, Steps { restart, each: State::apply })?;
        let restart = |state: &mut State| {
            state.kernel.clear_routes();
            state.kernel.foreign.clear();
        };
        let routes = |sequence| {
            let mut message = RouteMessage::default();
            message.header.address_family = AddressFamily::Inet6;
            message.header.table = RouteHeader::RT_TABLE_MAIN;
            netlink::encode(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP, sequence)
        };
        netlink::dump(&self.requests, &routes, &mut self.state, Steps { restart, each: State::apply })?;
        self.state.stale = false;
        Ok(())
    }

    fn message(&self, op: &Op, sequence: u32) -> Vec<u8> {
        let protocol = self.state.options.protocol;
        match op {
            Op::CreateGateway(id, member) => nexthop::create_gateway(protocol, (*id, *member), sequence),
            Op::CreateGroup(id, members) => nexthop::set_group(protocol, (*id, members, false), sequence),
            Op::ReplaceGroup(id, members) => nexthop::set_group(protocol, (*id, members, true), sequence),
            Op::DeleteObject(id) => nexthop::delete(*id, sequence),
            Op::AddRoute(prefix, id) => {
                let route = RouteNetlinkMessage::NewRoute(self.route(prefix, Some(*id)));
                netlink::encode(route, NLM_F_CREATE | NLM_F_EXCL, sequence)
            }
            Op::ReplaceRoute(prefix, id) => {
                let route = RouteNetlinkMessage::NewRoute(self.route(prefix, Some(*id)));
                netlink::encode(route, NLM_F_REPLACE, sequence)
            }
            Op::DeleteRoute(prefix) => {
                netlink::encode(RouteNetlinkMessage::DelRoute(self.route(prefix, None)), 0, sequence)
            }
        }
    }

    fn route(&self, prefix: &Prefix, id: Option<u32>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        message.header.destination_prefix_length = prefix.length();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = self.state.options.protocol.into();
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet6(prefix.address())));
        message.attributes.push(RouteAttribute::Priority(self.state.options.metric));
        message.attributes.extend(id.map(RouteAttribute::NhId));
        message
    }
}

impl State {
    /// Takes one message of the kernel.
    fn apply(&mut self, raw: Raw<'_>) {
        let ours_doing = raw.port == self.port;
        match raw.kind {
            RTM_NEWNEXTHOP | RTM_DELNEXTHOP => match nexthop::parse(raw.payload) {
                Some(told) => self.nexthop(raw.kind == RTM_NEWNEXTHOP, ours_doing, told),
                None => warn!("a next-hop message of the kernel does not decode"),
            },
            RTM_NEWROUTE | RTM_DELROUTE => match RouteMessage::parse(raw.payload) {
                Ok(message) => self.route(raw.kind == RTM_NEWROUTE, ours_doing, &message),
                Err(error) => debug!(%error, "a route message of the kernel does not decode"),
            },
            RTM_NEWLINK | RTM_DELLINK => match LinkMessage::parse(raw.payload) {
                Ok(message) => self.link(raw.kind == RTM_NEWLINK, &message),
                Err(error) => warn!(%error, "a link message of the kernel does not decode"),
            },
            _ => {}
        }
    }

    fn nexthop(&mut self, exists: bool, ours_doing: bool, told: nexthop::Told) {
        if !IDS.contains(&told.id) {
            return;
        }
        self.disturbed |= !ours_doing;
        if !exists {
            self.kernel.remove_object(told.id);
        } else if told.protocol == self.options.protocol {
            self.kernel.taken.remove(&told.id);
            self.kernel.objects.insert(told.id, told.object);
        } else {
            self.kernel.objects.remove(&told.id);
            self.kernel.taken.insert(told.id);
        }
    }

    fn route(&mut self, exists: bool, ours_doing: bool, message: &RouteMessage) {
        let header = &message.header;
        let (mut table, mut metric, mut iface, mut object) = (u32::from(header.table), 0, 0, None);
        let (mut destination, mut gateway) = (Ipv6Addr::UNSPECIFIED, false);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(value) => table = *value,
                RouteAttribute::Priority(value) => metric = *value,
                RouteAttribute::Oif(value) => iface = *value,
                RouteAttribute::NhId(value) => object = Some(*value),
                RouteAttribute::Destination(RouteAddress::Inet6(value)) => destination = *value,
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_) => gateway = true,
                _ => {}
            }
        }
        let elsewhere = table != u32::from(RouteHeader::RT_TABLE_MAIN)
            || header.address_family != AddressFamily::Inet6
            || header.source_prefix_length != 0
            || header.flags.contains(RouteFlags::Cloned);
        let Some(prefix) = Prefix::new(destination, header.destination_prefix_length).filter(|_| !elsewhere) else {
            return;
        };
        let protocol = u8::from(header.protocol);
        let FibOptions { protocol: ours, metric: our_metric } = self.options;
        if protocol == ours && metric == our_metric {
            let before = self.kernel.routes().get(&prefix).copied();
            if exists {
                self.kernel.set_route(prefix, object);
                self.disturbed |= !ours_doing && before != Some(object);
            } else if before == Some(object) {
                self.kernel.remove_route(&prefix);
                self.disturbed |= !ours_doing;
            }
            return;
        }
        let connected = protocol == RTPROT_KERNEL && !gateway && header.kind == RouteType::Unicast;
        let dead = header.flags.intersects(RouteFlags::Dead | RouteFlags::Linkdown);
        if (connected && !dead) || metric == our_metric {
            let foreign = (prefix, Foreign { protocol, metric, iface });
            self.disturbed |=
                if exists { self.kernel.foreign.insert(foreign) } else { self.kernel.foreign.remove(&foreign) };
        }
    }

    fn link(&mut self, exists: bool, message: &LinkMessage) {
        if message.header.interface_family != AddressFamily::Unspec {
            return;
        }
        let needed = LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp;
        let up = exists && message.header.flags.contains(needed);
        let before = self.links.insert(message.header.index, up);
        if !exists {
            self.links.remove(&message.header.index);
        }
        // The kernel drops next-hop objects of a link without telling.
        self.stale |= before.unwrap_or(false) != up;
    }
}

/// Takes all queued messages.
fn drain(socket: &Socket, buffer: &mut Vec<u8>, state: &mut State) -> io::Result<()> {
    loop {
        match netlink::receive(socket, buffer) {
            Ok(()) => {
                for raw in netlink::messages(buffer) {
                    state.apply(raw);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.raw_os_error() == Some(ENOBUFS) => {
                warn!("route messages were lost; reading all routes anew");
                state.stale = true;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Sets the flag that asks for an acknowledgment, in the header of an encoded message.
fn acknowledge(message: &mut [u8]) {
    if let Some(flags) = message.get_mut(6..8)
        && let Ok(old) = <[u8; 2]>::try_from(&*flags)
    {
        flags.copy_from_slice(&(u16::from_ne_bytes(old) | NLM_F_ACK).to_ne_bytes());
    }
}

/// The kernel's words for an error: errno, and its explanation if it gave one.
fn explain(code: i32, payload: &[u8]) -> String {
    let error = io::Error::from_raw_os_error(code);
    // errno, then the header of the request (capped to it), then attributes.
    let attributes = payload.get(4 + 16..).unwrap_or_default();
    let texts = NlasIterator::new(attributes).filter_map(|attribute| {
        let attribute = attribute.ok().filter(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG)?;
        let text = attribute.value().strip_suffix(&[0]).unwrap_or(attribute.value());
        Some(String::from_utf8_lossy(text).into_owned())
    });
    match texts.last() {
        Some(text) => format!("{text} ({error})"),
        None => error.to_string(),
    }
}
