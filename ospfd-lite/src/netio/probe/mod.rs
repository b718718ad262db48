//! The check of the data path: from time to time an echo request to each service address by each of its next hops, whatever the
//! kernel's sharing would choose. Only counted and said; nothing is ever changed because of it.
//!
//! A socket cannot choose among the next hops of a route, so that the packet is handed to the link, with the link-layer address
//! that the kernel knows for the next hop. The answer comes back by the ordinary way. What it shows is that the next hop takes
//! packets for the service address; whether the service is well is for the server to say.

mod outcome;
mod packet;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use netlink_packet_core::{NLM_F_DUMP, Parseable};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::libc::{BPF_ABS, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET};
use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tracing::{info, warn};

pub use outcome::{Outcome, Way};

use super::fib::Member;
use super::netlink::{self, Steps};
use super::sys;
use outcome::{Outcomes, Turn};

/// `RTM_NEWNEIGH`.
const RTM_NEWNEIGH: u16 = 28;
/// `ETH_P_IPV6`.
const ETHERTYPE: u16 = 0x86dd;
/// The most probes of one round; the others take their turn in the next.
const MOST: usize = 256;
/// The port of the datagram that has the kernel find a link-layer address (discard, RFC 863).
const DISCARD: u16 = 9;

/// Probes the next hops of the services.
#[derive(Debug)]
pub struct Prober {
    rounds: Interval,
    link: Socket,
    answers: AsyncFd<Arc<Socket>>,
    plain: UdpSocket,
    neighbors: netlink_sys::Socket,
    id: u16,
    /// Where in the ways the next round begins.
    cursor: usize,
    outcomes: Outcomes,
}

impl Prober {
    /// A prober that begins a round each `period`. Needs CAP_NET_RAW.
    pub fn open(period: Duration) -> io::Result<Self> {
        let link = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(0)))?;
        let answers = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        answers.attach_filter(&only_replies())?;
        answers.set_nonblocking(true)?;
        let mut rounds = interval(period);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let plain = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        plain.set_nonblocking(true)?;
        Ok(Prober {
            rounds,
            link,
            answers: sys::register(Arc::new(answers))?,
            plain,
            neighbors: netlink::requests()?,
            id: std::process::id() as u16,
            cursor: 0,
            outcomes: Outcomes::default(),
        })
    }

    /// What became of the probes of each way.
    pub fn outcomes(&self) -> &BTreeMap<Way, Outcome> {
        &self.outcomes.ways
    }

    /// Takes answers until the next round is due.
    pub async fn due(&mut self) {
        loop {
            tokio::select! {
                _ = self.rounds.tick() => return,
                ready = self.answers.readable() => {
                    let Ok(mut ready) = ready else { continue };
                    let mut buffer = [0; 64];
                    let receive = |socket: &AsyncFd<Arc<Socket>>| {
                        Ok(recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?)
                    };
                    let Ok(Ok(length)) = ready.try_io(receive) else { continue };
                    if let Some((id, number)) = packet::reply(buffer.get(..length).unwrap_or_default())
                        && id == self.id
                        && let Some(turn) = self.outcomes.answered(number, Instant::now())
                    {
                        say(turn);
                    }
                }
            }
        }
    }

    /// Sends a probe by each way; the link-local address of each interface stands in where there is no other to send from.
    pub fn round(&mut self, ways: &[Way], link_locals: &BTreeMap<u32, Ipv6Addr>) {
        for turn in self.outcomes.begin(ways) {
            say(turn);
        }
        if ways.is_empty() {
            return;
        }
        let known = match self.link_layer_addresses() {
            Ok(known) => known,
            Err(error) => {
                return warn!("probes wait: the link-layer addresses of the next hops cannot be read: {error}");
            }
        };
        let begin = self.cursor % ways.len();
        for way in ways.iter().cycle().skip(begin).take(ways.len().min(MOST)) {
            let (prefix, member) = way;
            let number = self.outcomes.number();
            let Some(address) = known.get(member) else {
                self.find(member);
                self.outcomes.sent(number, *way, None);
                continue;
            };
            let source = source_to(prefix.address()).or_else(|| link_locals.get(&member.iface).copied());
            let at = Instant::now();
            let sent = source.is_some_and(|source| {
                let packet = packet::request((source, prefix.address()), (self.id, number));
                self.link.send_to(&packet, &sys::link_address(member.iface, ETHERTYPE, address)).is_ok()
            });
            self.outcomes.sent(number, *way, sent.then_some(at));
        }
        self.cursor = (begin + ways.len().min(MOST)) % ways.len();
    }

    /// Has the kernel look for a next hop's link-layer address, for the next round.
    fn find(&self, member: &Member) {
        let to = SocketAddrV6::new(member.gateway, DISCARD, 0, member.iface);
        if let Err(error) = self.plain.send_to(&[], to)
            && error.kind() != ErrorKind::WouldBlock
        {
            warn!("the link-layer address of {}%{} cannot be asked for: {error}", member.gateway, member.iface);
        }
    }

    fn link_layer_addresses(&self) -> io::Result<BTreeMap<Member, Vec<u8>>> {
        let request = |sequence| {
            let mut message = NeighbourMessage::default();
            message.header.family = AddressFamily::Inet6;
            netlink::encode(RouteNetlinkMessage::GetNeighbour(message), NLM_F_DUMP, sequence)
        };
        let mut known = BTreeMap::new();
        let steps = Steps { restart: BTreeMap::clear, each: |known, raw| known.extend(neighbor(&raw)) };
        netlink::dump(&self.neighbors, &request, &mut known, steps)?;
        Ok(known)
    }
}

/// A neighbor with its link-layer address.
fn neighbor(raw: &netlink::Raw<'_>) -> Option<(Member, Vec<u8>)> {
    if raw.kind != RTM_NEWNEIGH {
        return None;
    }
    let message = NeighbourMessage::parse(raw.payload).ok()?;
    let (mut gateway, mut address) = (None, None);
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(destination)) => gateway = Some(destination),
            NeighbourAttribute::LinkLayerAddress(bytes) => address = Some(bytes),
            _ => {}
        }
    }
    Some((Member { iface: message.header.ifindex, gateway: gateway? }, address?))
}

/// The address that the kernel would send from, if it is not one of a single link.
fn source_to(target: Ipv6Addr) -> Option<Ipv6Addr> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((target, DISCARD)).ok()?;
    match socket.local_addr().ok()?.ip() {
        std::net::IpAddr::V6(source) if !source.is_unicast_link_local() => Some(source),
        _ => None,
    }
}

/// Lets echo replies pass.
fn only_replies() -> [SockFilter; 4] {
    let step = |code: u32, (jt, jf): (u8, u8), k: u32| SockFilter::new(code as u16, jt, jf, k);
    [
        step(BPF_LD | BPF_B | BPF_ABS, (0, 0), 0),
        step(BPF_JMP | BPF_JEQ | BPF_K, (0, 1), u32::from(packet::ECHO_REPLY)),
        step(BPF_RET | BPF_K, (0, 0), u32::MAX),
        step(BPF_RET | BPF_K, (0, 0), 0),
    ]
}

fn say(turn: Turn) {
    match turn {
        Turn::Silent((prefix, Member { iface, gateway })) => warn!(
            "{prefix} by {gateway} on interface {iface} does not answer probes, though OSPF leads there: see whether the server \
             has the address and answers echo requests; nothing is changed because of it"
        ),
        Turn::Answers((prefix, Member { iface, gateway })) => {
            info!("{prefix} by {gateway} on interface {iface} answers probes again");
        }
    }
}
