//! Target of the engine: a header that chooses a topology, then operations, each a byte and what it needs.
//!
//! Every input is a valid program; where it ends, zeros follow. Packets are bytes of the input, structures made from it,
//! what routers have sent, or LSAs of their databases; all with some of their bytes changed, and most with lengths and
//! checksums made right. `net` checks each turn.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is a finding")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use ospf_proto::consts::{ALL_D_ROUTERS, ALL_SPF_ROUTERS, INITIAL_SEQUENCE, MAX_SEQUENCE};
use ospf_proto::engine::{Command, Companion, Config, IfaceConfig, Input, LinkEvent, NetworkType};
use ospf_proto::id::{AreaId, IfaceId, LinkStateId, RouterId};
use ospf_proto::lsa::{
    IntraAreaPrefixLsa, LinkLsa, LsType, Lsa, LsaBody, LsaHeader, LsaPrefix, NetworkLsa, Options, Prefix,
    PrefixOptions, RouterFlags, RouterLink, RouterLinkType, RouterLsa, Tlv,
};
use ospf_proto::lsdb::Limits;
use ospf_proto::packet::{DbDesc, DdFlags, Hello, LsAck, LsReq, LsRequest, LsUpd, Packet, PacketBody, PacketHeader};

use super::net::{ATTACKER, Flight, Net, SHARED, SIDE, address};
use super::seal;

/// Operations of one input; what follows is not looked at.
const MAX_OPS: usize = 24;
/// HelloInterval of every link: a Hello is several turns, and most would be only that.
const HELLO: u16 = 2;
/// RouterDeadInterval of every link: one lost Hello is enough.
const DEAD: u16 = 4;
/// Rounds at the end of every input. A round is a timer or the packets on their way; who has nothing to tell sends a Hello
/// now and then.
const LAST_ROUNDS: usize = 4;

/// The input, from front to back.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    /// Below `n`.
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.u8()) % n.max(1)
    }

    fn bit(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// As many bytes as a length byte says.
    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.u8()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.to_vec()
    }

    /// A Router ID: mostly one that is there.
    fn router(&mut self) -> RouterId {
        match self.u8() {
            n @ 0..=3 => RouterId(u32::from(n)),
            4..=200 => ATTACKER,
            201..=240 => RouterId(10 + self.u32() % 64),
            _ => RouterId(self.u32()),
        }
    }

    fn link_state_id(&mut self) -> LinkStateId {
        match self.u8() {
            255 => LinkStateId(self.u32()),
            small => LinkStateId(u32::from(small) % 16),
        }
    }

    fn ls_type(&mut self) -> LsType {
        const TYPES: [u16; 16] = [
            0x2001, 0x2009, 0x2002, 0x0008, 0x2003, 0x2004, 0x4005, 0x2007, 0xa00c, 0x000b, 0x8123, 0xa123, 0xc123,
            0x0123, 0x6123, 0xe00c,
        ];
        match self.u8() {
            255 => LsType(self.u16()),
            n => LsType(TYPES[usize::from(n) % TYPES.len()]),
        }
    }

    fn prefix(&mut self) -> Prefix {
        let length = self.u8() % 129;
        let [a, b] = [self.u8() % 4, self.u8() % 4];
        Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, u16::from(a), 0, 0, 0, 0, u16::from(b)), length).unwrap()
    }

    fn prefixes(&mut self) -> Vec<LsaPrefix> {
        let listed = |this: &mut Self| LsaPrefix {
            prefix: this.prefix(),
            options: PrefixOptions::from_bits_retain(this.u8() & 0x3f),
            metric: this.u16(),
        };
        (0..self.below(4)).map(|_| listed(self)).collect()
    }

    fn options(&mut self) -> Options {
        match self.u8() {
            255 => Options::from_bits_retain(self.u32() & 0xff_ffff),
            n if n & 1 == 1 => Options::V6 | Options::E,
            _ => Options::V6 | Options::E | Options::R,
        }
    }

    fn sequence(&mut self, known: i32) -> i32 {
        match self.u8() % 8 {
            0 => known,
            1 => known.wrapping_add(1),
            2 => known.wrapping_sub(1),
            3 => MAX_SEQUENCE,
            4 => MAX_SEQUENCE - 1,
            5 => INITIAL_SEQUENCE,
            6 => self.u32() as i32,
            _ => known.wrapping_add(i32::from(self.u8())),
        }
    }

    fn age(&mut self) -> u16 {
        match self.u8() % 8 {
            0..=2 => 0,
            3 => 3600,
            4 => 3599,
            5 => 1800,
            6 => 901,
            _ => self.u16(),
        }
    }

    /// A body with some meaning, so that paths and routes come about.
    fn body(&mut self, ls_type: LsType) -> Option<LsaBody> {
        Some(match ls_type {
            LsType::ROUTER => {
                let link = |this: &mut Self| RouterLink {
                    link_type: RouterLinkType::from([1, 2, 2, 4, 0, 9][this.below(6)]),
                    metric: this.u16(),
                    iface_id: IfaceId(this.u8().into()),
                    neighbor_iface_id: IfaceId(this.u8().into()),
                    neighbor_router_id: this.router(),
                };
                LsaBody::Router(RouterLsa {
                    flags: RouterFlags::from_bits_retain(self.u8()),
                    options: self.options(),
                    links: (0..self.below(5)).map(|_| link(self)).collect(),
                })
            }
            LsType::NETWORK => LsaBody::Network(NetworkLsa {
                options: self.options(),
                attached: (0..self.below(5)).map(|_| self.router()).collect(),
            }),
            LsType::LINK => LsaBody::Link(LinkLsa {
                priority: self.u8(),
                options: self.options(),
                link_local: address(self.router()),
                prefixes: self.prefixes().into_iter().map(|listed| LsaPrefix { metric: 0, ..listed }).collect(),
            }),
            LsType::INTRA_AREA_PREFIX => LsaBody::IntraAreaPrefix(IntraAreaPrefixLsa {
                referenced_type: if self.bit() { LsType::NETWORK } else { LsType::ROUTER },
                referenced_id: self.link_state_id(),
                referenced_router: self.router(),
                prefixes: self.prefixes(),
            }),
            _ => return None,
        })
    }

    /// An LSA: one of a database with changes, a structure, or bytes.
    fn lsa(&mut self, net: &Net) -> Vec<u8> {
        let mut bytes = match self.u8() % 4 {
            0 | 1 => match self.known(net) {
                Some(known) => {
                    let mut bytes = known.wire_bytes(self.age());
                    bytes[12..16].copy_from_slice(&self.sequence(known.header.sequence).to_be_bytes());
                    bytes
                }
                None => return self.bytes(),
            },
            2 => {
                let header = self.header();
                let body = self.body(header.ls_type);
                match body {
                    Some(body) => Lsa::build(header, body).wire_bytes(header.age),
                    None => raw(header, &self.bytes()),
                }
            }
            _ => raw(self.header(), &self.bytes()),
        };
        let how = self.u8();
        if how & 1 == 1 {
            self.damage(&mut bytes);
        }
        if how & 0xf8 == 0xf8 {
            // Far above any MTU.
            bytes.resize(bytes.len() + usize::from(self.u16() % 0x3000) * 4, 0);
        }
        if how & 6 != 6 {
            seal::lsa(&mut bytes);
        }
        bytes
    }

    fn header(&mut self) -> LsaHeader {
        let ls_type = self.ls_type();
        LsaHeader {
            age: self.age(),
            ls_type,
            link_state_id: self.link_state_id(),
            adv_router: self.router(),
            sequence: self.sequence(INITIAL_SEQUENCE),
            ..LsaHeader::default()
        }
    }

    /// An LSA of some router's database.
    fn known(&mut self, net: &Net) -> Option<Lsa> {
        let view = net.nodes[self.below(net.nodes.len())].engine.view();
        let nth = self.below(view.lsdb().len());
        view.lsas().get(nth).map(|known| known.lsa.with_age(known.age))
    }

    /// Changes some bytes, cuts, extends.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        match self.u8() % 8 {
            0 => bytes.truncate(usize::from(self.u8())),
            1 => bytes.extend(self.bytes()),
            n => {
                for _ in 1..n {
                    let (at, value) = (usize::from(self.u16() & 0x7ff), self.u8());
                    let length = bytes.len().max(1);
                    if let Some(byte) = bytes.get_mut(at % length) {
                        *byte = value;
                    }
                }
            }
        }
    }

    /// Where a packet goes.
    fn way(&mut self, net: &Net, from: RouterId) -> Flight {
        let to = self.below(net.nodes.len());
        let choice = self.u8();
        let iface = match choice & 7 {
            7 => SIDE,
            6 => IfaceId(self.u8().into()),
            _ => SHARED,
        };
        let dst = match choice >> 3 & 7 {
            0..=4 => ALL_SPF_ROUTERS,
            5 => ALL_D_ROUTERS,
            6 => Ipv6Addr::LOCALHOST,
            _ => address(net.nodes[to].config.router_id),
        };
        let src = if choice >> 6 == 3 { address(self.router()) } else { address(from) };
        Flight { to, iface, src, dst, bytes: Vec::new() }
    }

    /// A whole packet from some router, well-formed, then perhaps damaged.
    fn packet(&mut self, net: &Net, op: u8) -> Flight {
        let from = self.router();
        let mut flight = self.way(net, from);
        let area_id = net.nodes[0].config.interfaces[0].area;
        let header = PacketHeader { router_id: from, area_id, instance_id: 0 };
        let body = match op {
            3 => PacketBody::Hello(Hello {
                iface_id: IfaceId(self.u8().into()),
                priority: self.u8(),
                options: self.options(),
                hello_interval: if self.u8() == 255 { self.u16() } else { HELLO },
                dead_interval: if self.u8() == 255 { self.u16() } else { DEAD },
                dr: self.router(),
                bdr: self.router(),
                neighbors: (0..self.below(6)).map(|_| self.router()).collect(),
            }),
            4 => PacketBody::DbDesc(DbDesc {
                options: self.options(),
                mtu: if self.u8() == 255 { self.u16() } else { 1500 },
                flags: DdFlags::from_bits_retain(self.u8() & 7),
                sequence: self.dd_sequence(net),
                headers: self.headers(net),
            }),
            5 => PacketBody::LsReq(LsReq {
                requests: self
                    .headers(net)
                    .into_iter()
                    .map(|h| LsRequest { ls_type: h.ls_type, link_state_id: h.link_state_id, adv_router: h.adv_router })
                    .collect(),
            }),
            6 => PacketBody::LsAck(LsAck { headers: self.headers(net) }),
            _ => PacketBody::LsUpd(LsUpd::default()),
        };
        flight.bytes = Packet { header, body }.encode(flight.src, flight.dst);
        if op == 7 {
            let lsas: Vec<Vec<u8>> = (0..=self.below(4)).map(|_| self.lsa(net)).collect();
            flight.bytes[16..20].copy_from_slice(&(lsas.len() as u32).to_be_bytes());
            flight.bytes.extend(lsas.concat());
        }
        let how = self.u8();
        if how & 7 == 7 {
            self.damage(&mut flight.bytes);
        }
        if op != 7 || how & 8 == 0 {
            seal::packet(&mut flight.bytes, flight.src, flight.dst);
        } else {
            // The LSAs keep the checksums they have.
            reseal_frame(&mut flight);
        }
        flight
    }

    /// The DD sequence number of the last Database Description on the link, or near it.
    fn dd_sequence(&mut self, net: &Net) -> u32 {
        let last = net.heard.iter().rev().find(|flight| flight.bytes.get(1) == Some(&2));
        let last = last.and_then(|f| f.bytes.get(24..28)).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        match self.u8() {
            255 => self.u32(),
            n => last.wrapping_add((u32::from(n) + 1) % 4).wrapping_sub(1),
        }
    }

    fn headers(&mut self, net: &Net) -> Vec<LsaHeader> {
        let mut headers = Vec::new();
        for _ in 0..self.below(8) {
            let known = if self.bit() { None } else { self.known(net).map(|lsa| lsa.header) };
            let mut header = known.unwrap_or_else(|| self.header());
            if self.u8() >= 128 {
                header.sequence = self.sequence(header.sequence);
                header.age = self.age().min(3600);
            }
            headers.push(header);
        }
        // The same again and again.
        if self.u8() >= 240 {
            headers = headers.repeat(self.below(64));
        }
        headers
    }

    fn command(&mut self) -> Command {
        match self.u8() % 8 {
            0..=3 => {
                let prefixes: BTreeMap<Prefix, u16> = (0..self.below(6)).map(|_| (self.prefix(), self.u16())).collect();
                Command::Advertise {
                    prefixes,
                    companion: [Companion::None, Companion::Link, Companion::Router][self.below(3)],
                }
            }
            4 => Command::RouterInformation(
                (0..self.below(9)).map(|_| Tlv { tlv_type: self.u16(), value: self.bytes() }).collect(),
            ),
            5 => Command::ClearNeighbor(if self.bit() { Some(self.router()) } else { None }),
            6 => Command::Flush,
            _ => Command::Goodbye,
        }
    }

    fn link(&mut self, net: &mut Net) {
        let node = self.below(net.nodes.len());
        let nth = self.below(net.nodes[node].links.len());
        let how = self.u8();
        let link = &mut net.nodes[node].links[nth];
        link.up = how & 1 == 0;
        match how >> 1 & 15 {
            0 => link.link_local = None,
            1 => link.link_local = Some(address(self.router())),
            2 => link.mtu = self.u16(),
            3 => link.prefixes = self.prefixes().into_iter().map(|listed| listed.prefix).collect(),
            5 => link.name = format!("eth{}", self.u8() % 4),
            6 => {
                let gone = link.iface;
                return net.turn(node, Input::Link(LinkEvent::Gone(gone)));
            }
            7 => link.iface = IfaceId(self.u8() as u32 % 4),
            _ => {}
        }
        let state = link.clone();
        net.turn(node, Input::Link(LinkEvent::State(state)));
    }
}

/// Length and checksum of the packet alone.
fn reseal_frame(flight: &mut Flight) {
    // To `seal`, it is no update.
    let Some(kind) = flight.bytes.get_mut(1).map(|kind| std::mem::replace(kind, 0)) else { return };
    seal::packet(&mut flight.bytes, flight.src, flight.dst);
    flight.bytes[1] = kind;
    // The type counts in the low byte of its word, in one's complement.
    let Some(&[high, low]) = flight.bytes.get(12..14) else { return };
    let sum = u32::from(!u16::from_be_bytes([high, low])) + u32::from(kind);
    let folded = !(((sum & 0xffff) + (sum >> 16)) as u16);
    flight.bytes[12..14].copy_from_slice(&folded.to_be_bytes());
}

/// An LSA of a header and the bytes of its body, whatever they are worth.
fn raw(header: LsaHeader, body: &[u8]) -> Vec<u8> {
    let mut w = ospf_proto::wire::Writer::new();
    header.encode(&mut w);
    w.put_bytes(body);
    w.into_vec()
}

/// The routers that two bytes describe.
fn build([shape, more]: [u8; 2], digest: bool) -> Net {
    let count = 1 + u32::from(shape & 3) % 3;
    let configs = (1..=count).map(|n| {
        let mut config = Config::new(RouterId(n));
        config.forwarding = n == 1 || more & 1 == 0;
        if more & 64 != 0 {
            config.limits = Limits { lsas: 24, lsas_per_router: 10 };
            config.max_neighbors = 3;
            config.max_originations = 1;
        }
        for (bit, name) in [(0, "eth1"), (more & 2, "eth2")] {
            let mut iface = IfaceConfig::new(name);
            iface.hello_interval = HELLO;
            iface.dead_interval = DEAD;
            iface.priority = if more & 4 == 0 { 1 } else { (count - n) as u8 };
            iface.passive = name == "eth2" && more & 8 != 0;
            iface.mtu_ignore = more & 16 != 0;
            iface.area = AreaId(u32::from(name == "eth2" && more & 32 != 0));
            if shape & 4 != 0 || bit != 0 {
                iface.network_type = NetworkType::PointToPoint;
            }
            config.interfaces.push(iface);
        }
        config
    });
    Net::new(configs.collect(), digest)
}

/// The attacker becomes a full neighbor of the first router, as far as the link's type and DR let it.
fn befriend(net: &mut Net) {
    let (src, dst) = (address(ATTACKER), ALL_SPF_ROUTERS);
    let me = net.nodes[0].config.router_id;
    let header = PacketHeader { router_id: ATTACKER, area_id: AreaId(0), instance_id: 0 };
    let options = Options::V6 | Options::E | Options::R;
    let send = |net: &mut Net, body: PacketBody| {
        let bytes = Packet { header, body }.encode(src, dst);
        net.deliver(&Flight { to: 0, iface: SHARED, src, dst, bytes });
    };
    let hello = Hello {
        iface_id: IfaceId(5),
        priority: 0,
        options,
        hello_interval: HELLO,
        dead_interval: DEAD,
        neighbors: vec![me],
        ..Hello::default()
    };
    send(net, PacketBody::Hello(hello));
    for (nth, flags) in [DdFlags::I | DdFlags::M | DdFlags::MS, DdFlags::MS, DdFlags::MS].into_iter().enumerate() {
        let sequence = 100 + nth as u32;
        send(net, PacketBody::DbDesc(DbDesc { options, mtu: 1500, flags, sequence, headers: Vec::new() }));
    }
}

/// Bits of the first two bytes that mean something.
const HEADER: [u8; 2] = [0x1f, 0x7f];

thread_local! {
    /// The networks at the beginning of a program, by its header: they cost more than most programs.
    static STARTED: RefCell<BTreeMap<([u8; 2], bool), Net>> = const { RefCell::new(BTreeMap::new()) };
}

/// The network that the first two bytes describe, as far as they let it get: down, at rest, or with the attacker Full.
fn start(header: [u8; 2], digest: bool) -> Net {
    let mut net = build(header, digest);
    for node in 0..net.nodes.len() {
        net.bring_up(node);
    }
    let how = header[0] >> 3 & 3;
    if how > 0 {
        // Waiting lasts as long as a dead interval, then the exchange takes a few packets.
        net.run(Duration::from_secs(5), 200);
    }
    if how > 1 {
        befriend(&mut net);
    }
    net
}

/// Runs the program.
fn run(data: &[u8], digest: bool) -> Net {
    let mut bytes = Bytes(data);
    let header = HEADER.map(|mask| bytes.u8() & mask);
    let mut net = STARTED
        .with_borrow_mut(|started| started.entry((header, digest)).or_insert_with(|| start(header, digest)).clone());
    for _ in 0..MAX_OPS {
        if bytes.0.is_empty() {
            break;
        }
        step(&mut net, &mut bytes);
    }
    // Whatever was done to them: a while later they still hold what must hold.
    net.run(Duration::from_secs(6), LAST_ROUNDS);
    net
}

/// Runs the program; two runs give the same number.
pub fn engine_ops_digest(data: &[u8]) -> Option<u64> {
    run(data, true).digest()
}

fn step(net: &mut Net, bytes: &mut Bytes<'_>) {
    match bytes.u8() % 18 {
        0 => {
            let millis = u64::from(bytes.u8()) * 40;
            net.pass(Duration::from_millis(millis));
        }
        1 => {
            let data = bytes.bytes();
            let mut flight = bytes.way(net, ATTACKER);
            flight.bytes = data;
            net.deliver(&flight);
        }
        2 => {
            let kind = 1 + bytes.u8() % 6;
            let from = bytes.router();
            let mut flight = bytes.way(net, from);
            flight.bytes = vec![3, kind, 0, 0];
            flight.bytes.extend(from.0.to_be_bytes());
            flight.bytes.extend([0; 8]);
            flight.bytes.extend(bytes.bytes());
            seal::packet(&mut flight.bytes, flight.src, flight.dst);
            net.deliver(&flight);
        }
        op @ (3..=7) => {
            let flight = bytes.packet(net, op);
            net.deliver(&flight);
        }
        8 => {
            let flight = bytes.packet(net, 7);
            net.deliver(&flight);
        }
        // A packet on its way: changed, lost, twice, or overtaking.
        op @ (9..=11) => {
            let nth = bytes.below(net.flights.len());
            let Some(mut flight) = net.flights.remove(nth) else { return };
            if op == 9 {
                bytes.damage(&mut flight.bytes);
                if flight.bytes.len() >= PacketHeader::LENGTH && bytes.u8() != 0 {
                    seal::packet(&mut flight.bytes, flight.src, flight.dst);
                }
            } else if op == 10 {
                return;
            } else if bytes.bit() {
                net.deliver(&flight);
            }
            net.deliver(&flight);
        }
        // An old packet once more, or come back to its sender.
        12 => {
            let nth = bytes.below(net.heard.len());
            let Some(mut flight) = net.heard.get(nth).cloned() else { return };
            flight.to = bytes.below(net.nodes.len());
            net.deliver(&flight);
        }
        13 => bytes.link(net),
        14 => {
            let node = bytes.below(net.nodes.len());
            let command = bytes.command();
            net.turn(node, Input::Command(command));
        }
        // The machine slept, or its clock goes back.
        15 => {
            net.now = net.now + Duration::from_secs(bytes.u16().into());
            net.tick();
        }
        16 => {
            let node = bytes.below(net.nodes.len());
            let back = Duration::from_millis(bytes.u16().into());
            let earlier = ospf_proto::time::Instant::from_epoch(net.now.since_epoch().saturating_sub(back));
            net.turn_at(node, earlier, Input::Tick);
        }
        _ => {
            let node = bytes.below(net.nodes.len());
            net.restart(node);
        }
    }
}

/// The target.
pub fn engine_ops(data: &[u8]) {
    run(data, false);
}
