//! When packets passed an interface, by the kernel's own time stamps: an AF_PACKET socket that keeps no bytes.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{
            AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
            setsockopt, socket,
            sockopt::{RcvBuf, ReceiveTimestampns},
        },
        time::TimeSpec,
    },
};
use std::io::IoSliceMut;

use crate::netns::Netns;

/// OSPF over IPv6 behind an Ethernet and a plain IPv6 header: where its type byte is.
const TYPE_AT: usize = 14 + 40 + 1;
/// Link State Update (RFC 5340 §A.3.1).
const LS_UPDATE: u8 = 4;
/// Where the LS age of its first LSA is: behind the OSPF header and the number of LSAs.
const FIRST_LS_AGE_AT: usize = 14 + 40 + 16 + 4;
/// The LS type follows.
const FIRST_LS_TYPE_AT: usize = FIRST_LS_AGE_AT + 2;
/// MaxAge, 3600 s: the LSA is being flushed (RFC 2328 §14.1).
const MAX_AGE: [u8; 2] = [0x0e, 0x10];
/// Intra-Area-Prefix-LSA: a change of cost has it in front.
const INTRA_AREA_PREFIX: [u8; 2] = [0x20, 0x09];
/// `PACKET_OUTGOING`: sent by this host, not heard.
const OUTGOING: u8 = 4;

/// An update, as it was sent.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    at: Instant,
    /// Its first LSA is being flushed.
    flush: bool,
}

/// Notes when Link State Updates that begin with an Intra-Area-Prefix-LSA leave an interface.
#[derive(Debug)]
pub struct UpdateStamps {
    times: Arc<Mutex<Vec<Stamp>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl UpdateStamps {
    /// Starts to watch.
    pub fn start(netns: &Netns, interface: &str) -> Result<Self> {
        let index = usize::try_from(netns.rtnl()?.index(interface)?)?;
        let socket = netns
            .run(|| socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll))?
            .context("opening a packet socket")?;
        setsockopt(&socket, RcvBuf, &(4 << 20)).context("sizing the socket's buffer")?;
        setsockopt(&socket, ReceiveTimestampns, &true).context("asking for time stamps")?;
        let (times, stop) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicBool::new(false)));
        let (noted, stopped) = (Arc::clone(&times), Arc::clone(&stop));
        let thread = thread::Builder::new().name("stamps".into()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Some(stamp) = receive(&socket, index)? {
                    lock(&noted).push(stamp);
                }
            }
            Ok(())
        })?;
        Ok(Self { times, stop, thread: Some(thread) })
    }

    /// The first such update sent at or after `since`.
    pub fn first_since(&self, since: Instant) -> Option<Instant> {
        lock(&self.times).iter().find(|stamp| stamp.at >= since).map(|stamp| stamp.at)
    }

    /// The first one sent at or after `since` that flushes its first LSA.
    pub fn flush_since(&self, since: Instant) -> Option<Instant> {
        lock(&self.times).iter().find(|stamp| stamp.flush && stamp.at >= since).map(|stamp| stamp.at)
    }

    /// How many of them were sent in a period.
    pub fn count(&self, from: Instant, to: Instant) -> usize {
        lock(&self.times).iter().filter(|stamp| (from..to).contains(&stamp.at)).count()
    }
}

impl Drop for UpdateStamps {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(|thread| thread.join().map_err(|_| anyhow!("the thread panicked")));
        if let Some(Ok(Err(error)) | Err(error)) = ended {
            eprintln!("time stamps: {error:#}");
        }
    }
}

fn lock(times: &Mutex<Vec<Stamp>>) -> MutexGuard<'_, Vec<Stamp>> {
    times.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time stamp of one such update; `None` if something else came, or nothing for a while.
fn receive(socket: &OwnedFd, index: usize) -> Result<Option<Stamp>> {
    if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(50u8))? == 0 {
        return Ok(None);
    }
    let mut frame = [0u8; 128];
    let mut space = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(&mut frame)];
    let message = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())
        .context("receiving")?;
    let ours = message.address.is_some_and(|a| a.ifindex() == index && a.pkttype() == OUTGOING);
    let stamp = message.cmsgs()?.find_map(|c| match c {
        ControlMessageOwned::ScmTimestampns(at) => Some(at),
        _ => None,
    });
    let update = frame.get(12..14) == Some(&[0x86, 0xdd])
        && frame.get(20) == Some(&89)
        && frame.get(TYPE_AT) == Some(&LS_UPDATE)
        && frame.get(FIRST_LS_TYPE_AT..FIRST_LS_TYPE_AT + 2) == Some(&INTRA_AREA_PREFIX);
    let flush = frame.get(FIRST_LS_AGE_AT..FIRST_LS_AGE_AT + 2) == Some(&MAX_AGE);
    match stamp {
        Some(stamp) if ours && update => Ok(Some(Stamp { at: monotonic(stamp)?, flush })),
        _ => Ok(None),
    }
}

/// The same moment on the monotonic clock.
fn monotonic(stamp: TimeSpec) -> Result<Instant> {
    let (wall, now) = (SystemTime::now().duration_since(UNIX_EPOCH)?, Instant::now());
    let age = wall.saturating_sub(Duration::from(stamp));
    now.checked_sub(age).context("a time stamp before the clock's beginning")
}
