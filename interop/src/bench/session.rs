//! One router of the injector as the device under test sees it: database exchange (RFC 2328 §10.6 to §10.8, always as master),
//! requests answered and made, flooding with retransmission (§13.5, §13.6), delayed acknowledgments. Pure: packets in, packets
//! out, and no database but bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use ospf_proto::{
    consts::{ALL_D_ROUTERS, ALL_SPF_ROUTERS},
    id::RouterId,
    lsa::{LsaHeader, Options},
    packet::{DbDesc, DdFlags, Hello, LsAck, LsReq, LsRequest, PacketBody},
};

use super::book::{Book, Bytes, Key, header, key, pack, packet, update};

/// RxmtInterval of LSAs.
const RETRANSMIT: Duration = Duration::from_secs(5);
/// RxmtInterval of descriptions and requests.
const REPEAT: Duration = Duration::from_secs(2);
/// How long acknowledgments are gathered.
const ACK_DELAY: Duration = Duration::from_millis(100);
/// LSA headers in one packet within 1,500 bytes.
const HEADERS: usize = 70;
/// Requests in one packet.
const REQUESTS: usize = 100;

/// What the injector's routers are on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one router is DR, and says all LSAs.
    Dr,
    /// The device is DR; each router says its own LSAs and knows nothing of the others' until it hears it.
    Other,
}

/// How far the adjacency is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Down,
    ExStart,
    Exchange,
    /// Loading or Full.
    Exchanged,
}

/// What was counted, over all sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// LSAs flooded.
    pub flooded: u64,
    /// Of these, acknowledged.
    pub acknowledged: u64,
    /// LSAs sent again.
    pub retransmitted: u64,
    /// Database exchanges that had to begin again.
    pub restarts: u64,
    /// Requests for LSAs that nobody said.
    pub bad_requests: u64,
    /// LSAs sent in answer to requests.
    pub served: u64,
}

/// What the sessions share.
#[derive(Debug)]
pub struct Shared {
    /// What was said.
    pub book: Book,
    /// What the routers are.
    pub role: Role,
    /// The device's Router ID.
    pub device: RouterId,
    /// The device's link-local address.
    pub device_address: Ipv6Addr,
    /// The device's last Hello.
    pub heard: Option<Hello>,
    /// Counters.
    pub counted: Counted,
    /// When the last update left, in answer to a request or flooded.
    pub last_update: Option<Instant>,
}

/// A packet to be sent from a session's address.
pub type Outgoing = (Ipv6Addr, Vec<u8>);

#[derive(Debug)]
struct Waiting {
    sequence: i32,
    bytes: Bytes,
    sent: Instant,
}

/// One adjacency.
#[derive(Debug)]
pub struct Session {
    /// The router's ID.
    pub router: RouterId,
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// Nothing is sent any more.
    pub silent: bool,
    /// When the first description was sent or heard.
    pub exstart: Option<Instant>,
    /// When both sides had exchanged and the session had all it had asked for.
    pub full: Option<Instant>,
    describes: Vec<Key>,
    phase: Phase,
    sequence: u32,
    described: usize,
    description: (Vec<u8>, Option<Instant>),
    known: BTreeMap<Key, i32>,
    wanted: BTreeSet<Key>,
    asked: BTreeSet<Key>,
    asked_at: Option<Instant>,
    unacknowledged: BTreeMap<Key, Waiting>,
    acks: Vec<LsaHeader>,
    acks_since: Option<Instant>,
    out: Vec<Outgoing>,
}

impl Session {
    /// A router that describes these LSAs.
    pub fn new(router: RouterId, address: Ipv6Addr, describes: Vec<Key>) -> Self {
        Self {
            router,
            address,
            silent: false,
            exstart: None,
            full: None,
            describes,
            phase: Phase::Down,
            sequence: router.0,
            described: 0,
            description: (vec![], None),
            known: BTreeMap::new(),
            wanted: BTreeSet::new(),
            asked: BTreeSet::new(),
            asked_at: None,
            unacknowledged: BTreeMap::new(),
            acks: vec![],
            acks_since: None,
            out: vec![],
        }
    }

    /// What is to be sent.
    pub fn take_out(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.out)
    }

    /// How many LSAs wait for an acknowledgment.
    pub fn waiting(&self) -> usize {
        self.unacknowledged.len()
    }

    fn answer(&mut self, shared: &Shared, body: PacketBody) {
        let dst = shared.device_address;
        self.out.push((dst, packet(self.router, (self.address, dst), body)));
    }

    /// A Hello of the device: an adjacency begins where one has to be, and ends if we are no longer heard.
    pub fn on_hello(&mut self, shared: &Shared, now: Instant) {
        let Some(hello) = &shared.heard else { return };
        let heard = hello.neighbors.contains(&self.router);
        let adjacent = shared.role == Role::Dr || hello.dr == shared.device;
        match self.phase {
            Phase::Down if heard && adjacent => self.begin(shared, now),
            Phase::Down => {}
            _ if !heard => self.reset(Phase::Down),
            _ => {}
        }
    }

    fn reset(&mut self, phase: Phase) {
        self.phase = phase;
        self.described = 0;
        self.full = None;
        self.description.1 = None;
        self.asked_at = None;
        for list in [&mut self.wanted, &mut self.asked] {
            list.clear();
        }
        self.unacknowledged.clear();
    }

    /// ExStart: we say that we are master, and with the larger Router ID we are.
    fn begin(&mut self, shared: &Shared, now: Instant) {
        self.reset(Phase::ExStart);
        self.exstart.get_or_insert(now);
        self.sequence = self.sequence.wrapping_add(0x1_0000);
        self.describe(shared, (DdFlags::I | DdFlags::M | DdFlags::MS, vec![]), now);
    }

    fn describe(&mut self, shared: &Shared, (flags, headers): (DdFlags, Vec<LsaHeader>), now: Instant) {
        let options = Options::V6 | Options::E | Options::R;
        let body = PacketBody::DbDesc(DbDesc { options, mtu: 1500, flags, sequence: self.sequence, headers });
        let dst = shared.device_address;
        let bytes = packet(self.router, (self.address, dst), body);
        self.description = (bytes.clone(), Some(now));
        self.out.push((dst, bytes));
    }

    fn describe_next(&mut self, shared: &Shared, now: Instant) -> Result<()> {
        let until = (self.described + HEADERS).min(self.describes.len());
        let mut headers = vec![];
        for key in self.describes.get(self.described..until).unwrap_or_default() {
            if let Some(bytes) = shared.book.get(key) {
                headers.push(header(bytes)?);
            }
        }
        self.described = until;
        self.sequence = self.sequence.wrapping_add(1);
        let more = if until < self.describes.len() { DdFlags::M } else { DdFlags::empty() };
        self.describe(shared, (DdFlags::MS | more, headers), now);
        Ok(())
    }

    /// A Database Description of the device.
    pub fn on_description(&mut self, shared: &mut Shared, dd: &DbDesc, now: Instant) -> Result<()> {
        let initial = dd.flags.contains(DdFlags::I);
        let echo = !initial && !dd.flags.contains(DdFlags::MS) && dd.sequence == self.sequence;
        match self.phase {
            Phase::Down if initial => self.begin(shared, now),
            Phase::ExStart if initial => {
                // It begins only now, and has not taken ours.
                let again = self.description.0.clone();
                self.out.push((shared.device_address, again));
            }
            Phase::ExStart if echo => {
                self.phase = Phase::Exchange;
                self.take_headers(shared, dd);
                self.describe_next(shared, now)?;
            }
            Phase::Exchange if echo => {
                self.take_headers(shared, dd);
                if self.described < self.describes.len() || dd.flags.contains(DdFlags::M) {
                    self.describe_next(shared, now)?;
                } else {
                    self.phase = Phase::Exchanged;
                    self.description.1 = None;
                    self.request(shared, now);
                }
            }
            Phase::Exchange | Phase::Exchanged if initial => {
                shared.counted.restarts += 1;
                self.begin(shared, now);
            }
            _ => {}
        }
        Ok(())
    }

    fn take_headers(&mut self, shared: &Shared, dd: &DbDesc) {
        for described in &dd.headers {
            let key = key(described);
            let own =
                described.adv_router == self.router || (shared.role == Role::Dr && shared.book.get(&key).is_some());
            if !own && self.known.get(&key).is_none_or(|sequence| *sequence < described.sequence) {
                self.wanted.insert(key);
            }
        }
    }

    fn request(&mut self, shared: &Shared, now: Instant) {
        if self.wanted.is_empty() {
            self.asked_at = None;
            self.full.get_or_insert(now);
            return;
        }
        self.asked = self.wanted.iter().take(REQUESTS).copied().collect();
        self.asked_at = Some(now);
        let requests = self.asked.iter().map(|(ls_type, link_state_id, adv_router)| LsRequest {
            ls_type: *ls_type,
            link_state_id: *link_state_id,
            adv_router: *adv_router,
        });
        let body = PacketBody::LsReq(LsReq { requests: requests.collect() });
        self.answer(shared, body);
    }

    /// A Link State Request of the device.
    pub fn on_request(&mut self, shared: &mut Shared, requests: &LsReq, now: Instant) {
        let mut lsas = vec![];
        for one in &requests.requests {
            match shared.book.get(&(one.ls_type, one.link_state_id, one.adv_router)) {
                Some(bytes) => lsas.push(Arc::clone(bytes)),
                None => shared.counted.bad_requests += 1,
            }
        }
        shared.counted.served += lsas.len() as u64;
        shared.last_update = Some(now);
        self.update(shared.device_address, &lsas);
    }

    fn update(&mut self, dst: Ipv6Addr, lsas: &[Bytes]) {
        for some in pack(lsas) {
            self.out.push((dst, update(self.router, (self.address, dst), some)));
        }
    }

    /// LSAs of the device, or of others through it.
    pub fn on_update(&mut self, shared: &mut Shared, headers: &[LsaHeader], now: Instant) {
        if self.phase != Phase::Exchange && self.phase != Phase::Exchanged {
            return;
        }
        for heard in headers {
            let key = key(heard);
            self.wanted.remove(&key);
            self.asked.remove(&key);
            self.known.insert(key, heard.sequence);
            // Our own that comes back is an acknowledgment, and wants none.
            if self.unacknowledged.get(&key).is_some_and(|waiting| waiting.sequence <= heard.sequence) {
                self.unacknowledged.remove(&key);
                shared.counted.acknowledged += 1;
            }
            if heard.adv_router != self.router {
                self.acks.push(*heard);
                self.acks_since.get_or_insert(now);
            }
        }
        if self.phase == Phase::Exchanged && self.asked.is_empty() && self.full.is_none() {
            self.request(shared, now);
        }
    }

    /// Acknowledgments of the device.
    pub fn on_ack(&mut self, shared: &mut Shared, ack: &LsAck) {
        for header in &ack.headers {
            let key = key(header);
            let Some(waiting) = self.unacknowledged.get(&key) else { continue };
            // One of an instance that is already superseded counts, too.
            shared.counted.acknowledged += 1;
            if waiting.sequence <= header.sequence {
                self.unacknowledged.remove(&key);
            }
        }
    }

    /// Floods new instances; the packets are the next to be sent.
    pub fn flood(&mut self, shared: &mut Shared, lsas: Vec<(Key, i32, Bytes)>, now: Instant) {
        let dst = match shared.role {
            Role::Dr => ALL_SPF_ROUTERS,
            Role::Other => ALL_D_ROUTERS,
        };
        shared.counted.flooded += lsas.len() as u64;
        shared.last_update = Some(now);
        let bytes: Vec<Bytes> = lsas.iter().map(|(_, _, bytes)| Arc::clone(bytes)).collect();
        self.update(dst, &bytes);
        for (key, sequence, bytes) in lsas {
            self.unacknowledged.insert(key, Waiting { sequence, bytes, sent: now });
        }
    }

    /// What time brings: everything that is due is sent (again).
    pub fn on_tick(&mut self, shared: &mut Shared, now: Instant) {
        if self.description.1.is_some_and(|at| now - at > REPEAT) {
            self.description.1 = Some(now);
            self.out.push((shared.device_address, self.description.0.clone()));
        }
        if self.asked_at.is_some_and(|at| now - at > REPEAT) {
            self.request(shared, now);
        }
        let mut late = vec![];
        for waiting in self.unacknowledged.values_mut().filter(|waiting| now - waiting.sent > RETRANSMIT) {
            waiting.sent = now;
            late.push(Arc::clone(&waiting.bytes));
        }
        shared.counted.retransmitted += late.len() as u64;
        self.update(shared.device_address, &late);
        if self.acks_since.is_some_and(|at| now - at > ACK_DELAY) {
            self.acks_since = None;
            let dst = if shared.role == Role::Dr { ALL_SPF_ROUTERS } else { ALL_D_ROUTERS };
            for some in std::mem::take(&mut self.acks).chunks(HEADERS) {
                let body = PacketBody::LsAck(LsAck { headers: some.to_vec() });
                self.out.push((dst, packet(self.router, (self.address, dst), body)));
            }
        }
    }
}
