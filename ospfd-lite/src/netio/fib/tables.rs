//! The kernel's tables by netlink: read whole, watched, and changed.
//!
//! The watching socket is opened before the tables are read. The kernel does a request inside the call that sends it and
//! queues its notifications meanwhile, so that after the queue is drained the model is what the kernel has now, our own
//! changes included: there is no second, hoped-for copy of it. What notifications do not tell (a link that loses its carrier
//! takes next-hop objects along in silence) or lost (a full socket) makes the model stale, and it is read anew.

use std::collections::BTreeMap;
use std::io;
use std::task::{Context, Poll, ready};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLMSG_ERROR, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_sys::{Socket, SocketAddr};
use nix::libc::{EACCES, EEXIST, ENOBUFS, ENOENT, EPERM, ESRCH, MSG_DONTWAIT};
use tokio::io::unix::AsyncFd;
use tracing::warn;

use super::FibOptions;
use super::groups::Lacks;
use super::ids::{PROBE, PROBE_GROUP};
use super::plan::Op;
use super::reconciler::Port;
use super::state::State;
use super::{nexthop, request};
use crate::netio::error::Error;
use crate::netio::netlink::{self, RTNLGRP_IPV6_ROUTE, RTNLGRP_LINK, RTNLGRP_NEXTHOP, Raw, Steps};
use crate::netio::sys;

/// How many requests, and about how many bytes of them, go to the kernel in one call. Were all of them refused their answers
/// have to fit into the socket, some 400 KiB where nobody may enlarge it: the kernel drops what does not fit, and whatever comes
/// until the socket is empty.
const REQUESTS: usize = 256;
const CHUNK: usize = 256 * 1024;
/// The attribute of an error message that explains it.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// An operation that the kernel refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) op: Op,
    /// errno.
    pub(super) code: i32,
    /// The kernel's words.
    pub(super) error: String,
}

/// The sockets and the model.
#[derive(Debug)]
pub(super) struct Tables {
    requests: Socket,
    watch: AsyncFd<Socket>,
    buffer: Vec<u8>,
    sequence: u32,
    /// What the kernel cannot do.
    pub(super) lacks: Lacks,
    state: State,
}

/// By the identifiers of group and member.
pub(super) type Statistics = BTreeMap<u32, BTreeMap<u32, u64>>;

impl Tables {
    /// Opens both sockets, checks the privilege to change routes, and reads the tables.
    pub(super) fn open(options: FibOptions) -> Result<Self, Error> {
        let what = || Error::io("watching kernel routes by netlink", "");
        let watch = netlink::watch_with(&[RTNLGRP_LINK, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP], options.watch_buffer)
            .map_err(what())?;
        let watch = sys::register_netlink(watch).map_err(what())?;
        let requests = netlink::requests().map_err(what())?;
        requests.set_ext_ack(true).map_err(what())?;
        let mut address = SocketAddr::new(0, 0);
        requests.get_address(&mut address).map_err(what())?;
        let state = State::new(options, address.port_number());
        let mut tables = Tables { requests, watch, buffer: Vec::new(), sequence: 0, lacks: Lacks::default(), state };
        tables.lacks = tables.probe().map_err(Error::io("changing kernel routes", "CAP_NET_ADMIN"))?;
        tables.refresh().map_err(Error::io("reading kernel routes and next-hop objects", ""))?;
        Ok(tables)
    }

    /// Reads answers up to that to the last request: the errors, by sequence number.
    fn answers(&mut self) -> io::Result<Vec<(u32, i32, String)>> {
        let mut errors = Vec::new();
        loop {
            netlink::receive(&self.requests, &mut self.buffer)?;
            for raw in netlink::messages(&self.buffer).filter(|raw| raw.kind == NLMSG_ERROR) {
                let code = -netlink::error_code(raw.payload);
                if code != 0 {
                    // Our picture of the kernel was wrong.
                    self.state.stale |= matches!(code, EEXIST | ENOENT | ESRCH);
                    errors.push((raw.sequence, code, explain(code, raw.payload)));
                }
                if raw.sequence == self.sequence {
                    return Ok(errors);
                }
            }
        }
    }

    /// Empties the socket of answers that nobody waits for any more, so that the next ones arrive.
    fn forget_answers(&mut self) {
        self.buffer.clear();
        while self.requests.recv(&mut self.buffer, MSG_DONTWAIT).is_ok() {
            self.buffer.clear();
        }
    }

    /// Finds out what the kernel can do, by objects that no route uses. Without the privilege it does not even look at them.
    fn probe(&mut self) -> io::Result<Lacks> {
        let protocol = self.state.options.protocol;
        let mut lacks = Lacks::default();
        if let Some((code, error)) = self.ask(|sequence| nexthop::create_probe(protocol, sequence))? {
            if matches!(code, EPERM | EACCES) {
                return Err(io::Error::from_raw_os_error(code));
            }
            lacks.objects = Some(error.clone());
            lacks.resilient = Some(error);
            return Ok(lacks);
        }
        let members = BTreeMap::from([(PROBE, 1)]);
        let group = nexthop::Group {
            id: PROBE_GROUP,
            members: &members,
            buckets: Some(nexthop::Buckets { count: 1, idle: 0, unbalanced: 0 }),
        };
        let refused = self.ask(|sequence| nexthop::set_group(protocol, (group, nexthop::Mode::Create), sequence))?;
        // Of a former life that was killed at this very point.
        lacks.resilient = refused.filter(|(code, _)| *code != EEXIST).map(|(_, error)| error);
        for id in [PROBE_GROUP, PROBE] {
            match self.ask(|sequence| nexthop::delete(id, sequence))? {
                None | Some((ENOENT, _)) => {}
                Some((_, error)) => warn!("the next-hop object {id} cannot be removed: {error}"),
            }
        }
        Ok(lacks)
    }

    /// One request; what the kernel says against it.
    fn ask(&mut self, request: impl Fn(u32) -> Vec<u8>) -> io::Result<Option<(i32, String)>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = request(self.sequence);
        acknowledge(&mut message);
        self.requests.send(&message, 0)?;
        netlink::receive(&self.requests, &mut self.buffer)?;
        let Some(raw) = netlink::messages(&self.buffer).next() else { return Ok(None) };
        let code = -netlink::error_code(raw.payload);
        Ok((code != 0).then(|| (code, explain(code, raw.payload))))
    }

    fn read(&mut self) -> io::Result<()> {
        self.state.reads += 1;
        let restart_links = |state: &mut State| state.links.clear();
        let links =
            |sequence| netlink::encode(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP, sequence);
        netlink::dump(&self.requests, &links, &mut self.state, Steps { restart: restart_links, each: State::apply })?;
        let restart = |state: &mut State| state.kernel.clear_objects();
        netlink::dump(&self.requests, &nexthop::dump, &mut self.state, Steps { restart, each: State::apply })?;
        let restart = |state: &mut State| {
            state.kernel.clear_routes();
            state.kernel.foreign.clear();
        };
        let table = self.state.options.table;
        let routes = move |sequence| request::routes(table, sequence);
        match netlink::dump(&self.requests, &routes, &mut self.state, Steps { restart, each: State::apply }) {
            // A table exists from its first route on.
            Err(error) if error.raw_os_error() == Some(ENOENT) => {}
            read => read?,
        }
        self.state.stale = false;
        Ok(())
    }
}

impl Port for Tables {
    fn state(&self) -> &State {
        &self.state
    }

    fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    fn refresh(&mut self) -> io::Result<()> {
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

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut guard = ready!(self.watch.poll_read_ready(cx))?;
        let changed = drain(self.watch.get_ref(), &mut self.buffer, &mut self.state);
        guard.clear_ready();
        Poll::Ready(changed)
    }

    fn execute(&mut self, ops: &[Op]) -> io::Result<Vec<Refused>> {
        let mut refused = Vec::new();
        let mut rest = ops;
        while !rest.is_empty() {
            let first = self.sequence.wrapping_add(1);
            let mut bytes = Vec::new();
            let mut count = 0;
            for op in rest {
                self.sequence = self.sequence.wrapping_add(1);
                let mut message = request::operation(&self.state.options, op, self.sequence);
                count += 1;
                // Errors are told of every message; only the last one is asked for its success too.
                let last = count == rest.len().min(REQUESTS) || bytes.len() + message.len() > CHUNK;
                if last {
                    acknowledge(&mut message);
                }
                bytes.append(&mut message);
                if last {
                    break;
                }
            }
            let (now, later) = rest.split_at(count);
            self.requests.send(&bytes, 0)?;
            let answers = self.answers().inspect_err(|_| self.forget_answers())?;
            for (sequence, code, error) in answers {
                let index = sequence.wrapping_sub(first) as usize;
                if let Some(op) = now.get(index) {
                    refused.push(Refused { op: op.clone(), code, error });
                }
            }
            rest = later;
        }
        Ok(refused)
    }

    fn statistics(&mut self) -> io::Result<Statistics> {
        let mut statistics = Statistics::new();
        let steps = Steps {
            restart: Statistics::clear,
            each: |statistics: &mut Statistics, raw: Raw<'_>| statistics.extend(nexthop::parse_statistics(raw.payload)),
        };
        netlink::dump(&self.requests, &nexthop::dump_statistics, &mut statistics, steps)?;
        Ok(statistics)
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
