//! Which LSAs were originated when, as the link router hears them: every instance once, however often it is sent.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use anyhow::{Context, Result, anyhow, bail};
use ipnetwork::Ipv6Network;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt::RcvBuf,
    },
};
use ospf_proto::{
    consts::MAX_AGE,
    lsa::{LsType, Lsa, LsaBody},
    packet::{Packet, PacketBody},
};

use crate::netns::Netns;

/// What is in front of an OSPF packet on an Ethernet: its header, and a plain IPv6 header.
const IPV6_AT: usize = 14;
const OSPF_AT: usize = IPV6_AT + 40;

/// One instance of an LSA, heard for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origination {
    /// When it was heard.
    pub at: Instant,
    /// Its LS type.
    pub ls_type: LsType,
    /// Its Link State ID.
    pub id: u32,
    /// Its originator.
    pub router: Ipv4Addr,
    /// It is being flushed.
    pub flush: bool,
    /// The prefixes and metrics of an Intra-Area-Prefix-LSA.
    pub prefixes: Vec<(Ipv6Network, u16)>,
}

#[derive(Debug, Default)]
struct Book {
    known: BTreeSet<(u16, u32, Ipv4Addr, i32, bool)>,
    heard: Vec<Origination>,
    failed: Option<String>,
}

/// The observer; its thread ends with it.
#[derive(Debug)]
pub struct Originations {
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Originations {
    /// Listens at an interface of a router.
    pub fn start(netns: &Netns, interface: &str) -> Result<Self> {
        let index = usize::try_from(netns.rtnl()?.index(interface)?)?;
        let socket = netns
            .run(|| socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll))?
            .context("opening a packet socket")?;
        setsockopt(&socket, RcvBuf, &(8 << 20)).context("sizing the socket's buffer")?;
        let (book, stop) = (Arc::new(Mutex::new(Book::default())), Arc::new(AtomicBool::new(false)));
        let (inner, stopped) = (Arc::clone(&book), Arc::clone(&stop));
        let thread = thread::Builder::new().name("originations".into()).spawn(move || {
            let mut frame = vec![0; 65536];
            while !stopped.load(Ordering::Relaxed) {
                match receive(&socket, &mut frame) {
                    Ok(Some((length, from))) if from == index => {
                        lock(&inner).hear(Instant::now(), frame.get(..length).unwrap_or_default());
                    }
                    Ok(_) => {}
                    Err(error) => {
                        lock(&inner).failed = Some(format!("{error:#}"));
                        return;
                    }
                }
            }
        })?;
        Ok(Self { book, stop, thread: Some(thread) })
    }

    /// What was heard in a period.
    pub fn heard(&self, from: Instant, to: Instant) -> Result<Vec<Origination>> {
        let book = lock(&self.book);
        if let Some(reason) = &book.failed {
            bail!("listening for LSAs ended: {reason}");
        }
        Ok(book.heard.iter().filter(|one| (from..to).contains(&one.at)).cloned().collect())
    }

    /// How often a router changed the metric of a prefix, or withdrew it, or advertised it again, in a period.
    pub fn cost_changes(&self, router: Ipv4Addr, prefix: Ipv6Network, period: (Instant, Instant)) -> Result<usize> {
        let (from, to) = period;
        let book = lock(&self.book);
        if let Some(reason) = &book.failed {
            bail!("listening for LSAs ended: {reason}");
        }
        let (mut cost, mut changes, mut lsa) = (None, 0, None);
        for one in book.heard.iter().filter(|one| one.router == router && one.at < to) {
            let stated = one.prefixes.iter().find(|(stated, _)| *stated == prefix).map(|(_, metric)| *metric);
            let new = match stated {
                // A flush says nothing of another LSA that has taken over.
                Some(_) if one.flush && lsa != Some(one.id) => continue,
                Some(_) if one.flush => None,
                Some(metric) => Some(metric),
                None => continue,
            };
            lsa = Some(one.id);
            if new != cost && one.at >= from {
                changes += 1;
            }
            cost = new;
        }
        Ok(changes)
    }
}

impl Drop for Originations {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One frame and the index of its interface; `None` after a short while without one.
fn receive(socket: &OwnedFd, frame: &mut [u8]) -> Result<Option<(usize, usize)>> {
    if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(50u8))? == 0 {
        return Ok(None);
    }
    let (length, from) =
        recvfrom::<LinkAddr>(socket.as_raw_fd(), frame).map_err(|errno| anyhow!("receiving a frame: {errno}"))?;
    Ok(from.map(|from| (length, from.ifindex())))
}

impl Book {
    fn hear(&mut self, at: Instant, frame: &[u8]) {
        for lsa in lsas(frame) {
            let header = lsa.header;
            let (router, flush) = (Ipv4Addr::from(header.adv_router.0), header.age >= MAX_AGE);
            let name = (header.ls_type.0, header.link_state_id.0, router, header.sequence, flush);
            if !self.known.insert(name) {
                continue;
            }
            let prefixes = match &lsa.body {
                LsaBody::IntraAreaPrefix(body) => body
                    .prefixes
                    .iter()
                    .filter_map(|one| {
                        let network = Ipv6Network::new(one.prefix.address(), one.prefix.length()).ok()?;
                        Some((network, one.metric))
                    })
                    .collect(),
                _ => vec![],
            };
            let (ls_type, id) = (header.ls_type, header.link_state_id.0);
            self.heard.push(Origination { at, ls_type, id, router, flush, prefixes });
        }
    }
}

/// The LSAs in a frame, if it is a Link State Update.
fn lsas(frame: &[u8]) -> Vec<Lsa> {
    let address = |at: usize| frame.get(at..at + 16).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    let ospf = frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(IPV6_AT + 6) == Some(&89);
    let (Some(src), Some(dst), true) = (address(IPV6_AT + 8), address(IPV6_AT + 24), ospf) else { return vec![] };
    let bytes = frame.get(OSPF_AT..).unwrap_or_default();
    match Packet::decode(Ipv6Addr::from(src), Ipv6Addr::from(dst), bytes) {
        Ok(Packet { body: PacketBody::LsUpd(update), .. }) => update.lsas,
        _ => vec![],
    }
}

/// How many instances of a router's LSAs were heard: prefix LSAs, their companions (Router- and Link-LSAs), records
/// (Router-Information LSAs).
pub fn by_type(heard: &[Origination], router: Ipv4Addr) -> (usize, usize, usize) {
    let count = |ls_type: LsType| heard.iter().filter(|one| one.router == router && one.ls_type == ls_type).count();
    let companions = count(LsType::ROUTER) + count(LsType::LINK);
    (count(LsType::INTRA_AREA_PREFIX), companions, count(LsType::ROUTER_INFORMATION))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn heard(at: Instant, id: u32, metric: u16, flush: bool) -> Origination {
        Origination {
            at,
            ls_type: LsType::INTRA_AREA_PREFIX,
            id,
            router: Ipv4Addr::new(192, 0, 2, 11),
            flush,
            prefixes: vec![("2001:db8:53::53/128".parse().unwrap(), metric)],
        }
    }

    #[test]
    fn a_refresh_is_no_cost_change_and_a_withdrawal_is_one() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let all = vec![
            heard(at(0), 1, 10, false),
            heard(at(1), 1, 10, false),
            heard(at(2), 1, 20, false),
            heard(at(3), 1, 20, true),
            heard(at(4), 1, 10, false),
        ];
        let book = Book { heard: all, ..Book::default() };
        let watch = Originations { book: Arc::new(Mutex::new(book)), stop: Arc::default(), thread: None };
        let (router, prefix) = (Ipv4Addr::new(192, 0, 2, 11), "2001:db8:53::53/128".parse().unwrap());
        assert_eq!(watch.cost_changes(router, prefix, (at(1), at(9))).unwrap(), 3);
        assert_eq!(watch.cost_changes(router, prefix, (at(0), at(2))).unwrap(), 1);
        assert_eq!(watch.cost_changes(Ipv4Addr::LOCALHOST, prefix, (at(0), at(9))).unwrap(), 0);
    }
}
