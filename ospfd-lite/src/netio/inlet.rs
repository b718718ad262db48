//! Receiving: a raw socket that takes packets in batches, Hellos apart from the rest.
//!
//! Each interface has two inlets, and a filter in the kernel sorts what comes in. Hellos have a buffer of their own, so that
//! no storm of LSAs can push one out, and can be heard before all that waits with them (RFC 4222 §2 (1)). With each packet the
//! kernel tells when it arrived, so that a Hello that came in time counts as such however late it is read. And so those of a
//! crowded link need not wake anybody one by one: they are heard together, a tenth of a second's at a time, or as soon as
//! a Database Description comes from that link or a timer is due.

use std::io::{self, IoSliceMut};
use std::net::Ipv6Addr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use nix::libc::{
    BPF_ABS, BPF_B, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_LEN, BPF_RET, BPF_W, in6_pktinfo, timespec,
};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn6, recvmmsg, setsockopt, sockopt};
use ospf_proto::id::RouterId;
use ospf_proto::packet::PacketType;
use socket2::{SockFilter, Socket};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep, sleep};
use tracing::info;

use super::sys;

/// How many packets are taken at once; small enough that no interface keeps the others waiting.
const BATCH: usize = 32;
/// The largest packet: what an IPv6 payload length can say.
const PACKET: usize = 65_536;

/// A crowded link is listened to so often. How long a neighbor was silent its time of arrival tells; what else a Hello may
/// say (1-Way, a DR, a priority) is late by this at most, and never later than the Database Description that its
/// sender sends after it.
const REST: Duration = Duration::from_millis(100);
/// More Hellos than this in a second are a crowd: as many as there are rests.
const CROWD: u32 = 10;

/// What an inlet takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Hellos alone.
    Hellos,
    /// Hellos of routers that may become DR, or that claim to be this one. Two routers of priority 0 have nothing to say to each
    /// other on a broadcast link, and where one host is many routers each would hear all those of all other hosts.
    EligibleHellos(RouterId),
    /// Everything else, also what is no OSPF.
    Rest,
}

impl Takes {
    /// Receive buffer in bytes. Hellos: those of a crowded link, and few enough that all of them are heard in time. The rest:
    /// the burst of a whole database.
    const fn buffer(self) -> usize {
        match self {
            Self::Hellos | Self::EligibleHellos(_) => 1024 * 1024,
            Self::Rest => 8 * 1024 * 1024,
        }
    }

    /// The filter: by the type in the second byte of the OSPF header (RFC 5340 §A.3.1), then by the Router ID in bytes 4 to 7
    /// and the priority in byte 20 (§A.3.2).
    fn filter(self) -> Vec<SockFilter> {
        let step = |code: u32, (jt, jf): (u8, u8), k: u32| SockFilter::new(code as u16, jt, jf, k);
        let (hello, rest) = match self {
            Self::Hellos => (u32::MAX, 0),
            Self::Rest => (0, u32::MAX),
            Self::EligibleHellos(own) => {
                return vec![
                    step(BPF_LD | BPF_W | BPF_LEN, (0, 0), 0),
                    step(BPF_JMP | BPF_JGE | BPF_K, (0, 7), 21),
                    step(BPF_LD | BPF_B | BPF_ABS, (0, 0), 1),
                    step(BPF_JMP | BPF_JEQ | BPF_K, (0, 5), PacketType::Hello as u32),
                    step(BPF_LD | BPF_B | BPF_ABS, (0, 0), 20),
                    step(BPF_JMP | BPF_JGT | BPF_K, (2, 0), 0),
                    step(BPF_LD | BPF_W | BPF_ABS, (0, 0), 4),
                    step(BPF_JMP | BPF_JEQ | BPF_K, (0, 1), own.0),
                    step(BPF_RET | BPF_K, (0, 0), u32::MAX),
                    step(BPF_RET | BPF_K, (0, 0), 0),
                ];
            }
        };
        vec![
            step(BPF_LD | BPF_W | BPF_LEN, (0, 0), 0),
            step(BPF_JMP | BPF_JGE | BPF_K, (0, 3), 2),
            step(BPF_LD | BPF_B | BPF_ABS, (0, 0), 1),
            step(BPF_JMP | BPF_JEQ | BPF_K, (0, 1), PacketType::Hello as u32),
            step(BPF_RET | BPF_K, (0, 0), hello),
            step(BPF_RET | BPF_K, (0, 0), rest),
        ]
    }
}

/// Room for one batch, shared by all sockets.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    packets: Vec<Received>,
    /// How many the kernel gave, those of no use among them.
    taken: usize,
}

/// Where a packet lies in the batch and what came with it.
#[derive(Clone, Copy, Debug)]
struct Received {
    slot: usize,
    length: usize,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    waited: Duration,
}

/// A packet of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived<'a> {
    pub(crate) src: Ipv6Addr,
    pub(crate) dst: Ipv6Addr,
    pub(crate) bytes: &'a [u8],
    /// How long it had waited in the kernel when the batch was taken.
    pub(crate) waited: Duration,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Batch { bytes: vec![0; BATCH * PACKET], packets: Vec::with_capacity(BATCH), taken: 0 }
    }

    /// A batch without room, to stand in for another meanwhile.
    pub(crate) fn empty() -> Self {
        Batch { bytes: Vec::new(), packets: Vec::new(), taken: 0 }
    }

    /// Whether there may be more than fit into it.
    fn is_full(&self) -> bool {
        self.taken >= BATCH
    }

    /// The packets, in the order of their arrival.
    pub(crate) fn packets(&self) -> impl Iterator<Item = Arrived<'_>> {
        self.packets.iter().filter_map(|received| {
            let Received { slot, length, src, dst, waited } = *received;
            let start = slot * PACKET;
            Some(Arrived { src, dst, bytes: self.bytes.get(start..start + length)?, waited })
        })
    }
}

/// One receiving socket.
#[derive(Debug)]
pub(crate) struct Inlet {
    socket: Arc<Socket>,
    /// What comes wakes us; none: it rests, and what comes waits.
    watch: Option<AsyncFd<Arc<Socket>>>,
    rest: Pin<Box<Sleep>>,
    /// None: each packet is taken when it comes.
    crowd: Option<Crowd>,
    last_overflow: u32,
    /// Packets that did not fit into the receive buffer.
    pub(crate) overflows: u64,
    /// Packets without usable ancillary data, or truncated.
    pub(crate) unusable: u64,
}

/// How many packets have come lately.
#[derive(Clone, Copy, Debug)]
struct Crowd {
    since: Instant,
    count: u32,
    /// There were many in the last whole second.
    dense: bool,
}

impl Crowd {
    fn new(now: Instant) -> Self {
        Crowd { since: now, count: 0, dense: false }
    }

    /// So many more have come.
    fn more(&mut self, packets: usize, now: Instant) {
        self.count = self.count.saturating_add(u32::try_from(packets).unwrap_or(u32::MAX));
        let period = now.duration_since(self.since);
        if period >= Duration::from_secs(1) {
            let dense = f64::from(self.count) > f64::from(CROWD) * period.as_secs_f64();
            *self = Crowd { since: now, count: 0, dense };
        }
    }
}

impl Inlet {
    /// Makes a raw socket that is bound to the interface `name` an inlet.
    pub(crate) fn open(socket: Socket, name: &str, takes: Takes) -> io::Result<Self> {
        socket.attach_filter(&takes.filter())?;
        socket.set_nonblocking(true)?;
        // A group that another socket of the interface has joined is not ours.
        socket.set_multicast_all_v6(false)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &takes.buffer()).is_err() {
            socket.set_recv_buffer_size(takes.buffer())?;
            let bytes = socket.recv_buffer_size()?;
            info!(
                "{name}: receive buffer of {bytes} bytes, as net.core.rmem_max allows without CAP_NET_ADMIN in the first \
                 network namespace"
            );
        }
        let socket = Arc::new(socket);
        let watch = Some(sys::register(Arc::clone(&socket))?);
        let crowd = (takes != Takes::Rest).then(|| Crowd::new(Instant::now()));
        let rest = Box::pin(sleep(Duration::ZERO));
        Ok(Inlet { socket, watch, rest, crowd, last_overflow: 0, overflows: 0, unusable: 0 })
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether it can be written to, for an inlet that never rests.
    pub(crate) fn watch(&self) -> Option<&AsyncFd<Arc<Socket>>> {
        self.watch.as_ref()
    }

    /// Waits for packets and takes a batch of them. Cancel-safe: what was taken is in the batch.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        loop {
            let Some(watch) = &self.watch else {
                // Also when it is over: this is what makes the task yield in a flood (tokio's budget).
                ready!(self.rest.as_mut().poll(cx));
                if self.receive_now(batch) {
                    self.consider_rest(batch);
                    return Poll::Ready(Ok(()));
                }
                // Nobody came: the next one is to wake us.
                self.rest.as_mut().reset(Instant::now() + REST);
                self.watch = Some(sys::register(Arc::clone(&self.socket))?);
                continue;
            };
            let mut guard = ready!(watch.poll_read_ready(cx))?;
            let mut seen = Seen::default();
            if let Ok(result) = guard.try_io(|io| receive(io.get_ref(), batch, &mut seen)) {
                if result.is_ok() && !batch.is_full() {
                    // There was nothing behind these, and what comes later tells of itself: nobody has to ask in vain.
                    guard.clear_ready();
                }
                self.count(seen, batch);
                self.consider_rest(batch);
                return Poll::Ready(result);
            }
        }
    }

    /// After a batch: in a crowd the next packets wait for us, unless there are more already.
    fn consider_rest(&mut self, batch: &Batch) {
        if self.crowd.is_some_and(|crowd| crowd.dense) && !batch.is_full() {
            self.watch = None;
            self.rest.as_mut().reset(Instant::now() + REST);
        }
    }

    /// Whether packets may wait here of which nobody is told.
    pub(crate) fn rests(&self) -> bool {
        self.watch.is_none()
    }

    /// Takes a batch of what is there by now, whether or not the reactor has seen it yet; says whether there was any.
    pub(crate) fn receive_now(&mut self, batch: &mut Batch) -> bool {
        let mut seen = Seen::default();
        let received = receive(&self.socket, batch, &mut seen);
        self.count(seen, batch);
        // An error of the socket, such as the link going down, is cleared by this; the reactor sees what is left.
        received.is_ok()
    }

    fn count(&mut self, seen: Seen, batch: &Batch) {
        self.unusable += seen.unusable;
        if let Some(total) = seen.lost {
            // A running total of the socket, modulo 2^32.
            self.overflows += u64::from(total.wrapping_sub(self.last_overflow));
            self.last_overflow = total;
        }
        if let Some(crowd) = &mut self.crowd {
            crowd.more(batch.taken, Instant::now());
        }
    }
}

/// What a batch brought beside packets.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    lost: Option<u32>,
    unusable: u64,
}

fn receive(socket: &Socket, batch: &mut Batch, seen: &mut Seen) -> io::Result<()> {
    let Batch { bytes, packets, taken } = batch;
    packets.clear();
    *taken = 0;
    // The headers are made anew each time: the kernel leaves the lengths of the last call in them.
    let mut headers =
        MultiHeaders::<SockaddrIn6>::preallocate(BATCH, Some(nix::cmsg_space!(in6_pktinfo, u32, timespec)));
    let mut slices: Vec<[IoSliceMut<'_>; 1]> =
        bytes.chunks_exact_mut(PACKET).map(|slot| [IoSliceMut::new(slot)]).collect();
    let results = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    for (slot, result) in results.enumerate() {
        *taken += 1;
        let (mut dst, mut waited) = (None, Duration::ZERO);
        if let Ok(messages) = result.cmsgs() {
            for message in messages {
                match message {
                    ControlMessageOwned::Ipv6PacketInfo(info) => dst = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr)),
                    ControlMessageOwned::RxqOvfl(total) => seen.lost = Some(total),
                    ControlMessageOwned::ScmTimestampns(at) => waited = since(now, at.into()),
                    _ => {}
                }
            }
        }
        let truncated = result.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
        match (result.address, dst) {
            (Some(src), Some(dst)) if !truncated => {
                packets.push(Received { slot, length: result.bytes, src: src.ip(), dst, waited });
            }
            _ => seen.unusable += 1,
        }
    }
    Ok(())
}

/// How long ago a packet arrived, by the wall clock, which may have been set meanwhile: backward, and it has just come, so that
/// nothing comes from the future; forward, and it seems to be old, which the engine takes for its last turn.
fn since(now: Duration, arrival: Duration) -> Duration {
    now.saturating_sub(arrival)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// Whether the kernel lets a packet through to an inlet that takes this.
    fn passes(takes: Takes, packet: &[u8]) -> bool {
        let (from, to) = UnixDatagram::pair().unwrap();
        let to = Socket::from(to);
        to.attach_filter(&takes.filter()).unwrap();
        to.set_nonblocking(true).unwrap();
        from.send(packet).unwrap();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 64];
        to.recv(&mut buffer).is_ok()
    }

    /// The head of a packet of this router, with a Hello's priority.
    fn packet(kind: u8, router: u32, priority: u8) -> Vec<u8> {
        let mut bytes = vec![3, kind, 0, 36];
        bytes.extend(router.to_be_bytes());
        bytes.resize(20, 0);
        bytes.push(priority);
        bytes.resize(36, 0);
        bytes
    }

    #[test]
    fn hellos_and_the_rest_come_in_by_two_doors() {
        for (kind, hello) in [(1, true), (2, false), (4, false), (9, false)] {
            assert_eq!(passes(Takes::Hellos, &packet(kind, 1, 0)), hello);
            assert_eq!(passes(Takes::Rest, &packet(kind, 1, 0)), !hello);
        }
        assert!(passes(Takes::Rest, &[3]) && !passes(Takes::Hellos, &[3]), "too short to have a type");
    }

    #[test]
    fn one_of_many_routers_of_a_host_hears_who_may_become_dr_and_who_claims_to_be_it() {
        let takes = Takes::EligibleHellos(RouterId(0xc000_020b));
        assert!(passes(takes, &packet(1, 0xc000_0201, 1)) && passes(takes, &packet(1, 0xc000_0201, 255)));
        assert!(!passes(takes, &packet(1, 0xc000_020c, 0)));
        assert!(passes(takes, &packet(1, 0xc000_020b, 0)), "somebody uses its Router ID");
        assert!(!passes(takes, &packet(4, 0xc000_0201, 1)), "no Hello");
        assert!(!passes(takes, &packet(1, 0xc000_0201, 1)[..20]), "no priority in it");
    }

    /// An inlet of few Hellos, and where they come from.
    fn inlet() -> (UnixDatagram, Inlet) {
        let (from, to) = UnixDatagram::pair().unwrap();
        to.set_nonblocking(true).unwrap();
        let socket = Arc::new(Socket::from(to));
        let (watch, rest) = (Some(sys::register(Arc::clone(&socket)).unwrap()), Box::pin(sleep(Duration::ZERO)));
        let crowd = Some(Crowd::new(Instant::now()));
        (from, Inlet { socket, watch, rest, crowd, last_overflow: 0, overflows: 0, unusable: 0 })
    }

    #[tokio::test]
    async fn a_few_are_taken_when_they_come_and_a_crowd_together() {
        let (from, mut inlet) = inlet();
        let mut batch = Batch::new();
        let send = |count| (0..count).for_each(|_| assert_eq!(from.send(&[1]).unwrap(), 1));
        // How many come at once or within this time.
        let mut next = async |inlet: &mut Inlet, within: Duration| {
            let taken = std::future::poll_fn(|cx| inlet.poll_receive(cx, &mut batch));
            tokio::time::timeout(within, taken).await.map(|result| result.map(|()| batch.taken).unwrap())
        };
        const LONG: Duration = Duration::from_secs(10);
        for _ in 0..3 {
            send(1);
            assert_eq!(next(&mut inlet, LONG).await, Ok(1));
            assert!(inlet.watch.is_some());
        }
        inlet.crowd = Some(Crowd { dense: true, ..Crowd::new(Instant::now()) });
        send(1);
        let rests = Instant::now();
        assert_eq!(next(&mut inlet, LONG).await, Ok(1));
        send(BATCH + 5);
        assert_eq!(
            next(&mut inlet, LONG).await,
            Ok(BATCH),
            "more than fit into one batch are taken one after the other"
        );
        assert!(rests.elapsed() >= REST - Duration::from_millis(1));
        assert_eq!(next(&mut inlet, Duration::ZERO).await, Ok(5), "without a rest between them");
        // Nobody comes for a rest: the next one is heard at once.
        assert!(next(&mut inlet, 2 * REST).await.is_err());
        assert!(inlet.watch.is_some());
        send(1);
        assert_eq!(next(&mut inlet, LONG).await, Ok(1));
    }

    #[tokio::test]
    async fn a_flood_that_finds_the_inlet_at_rest_lets_others_have_their_turn() {
        let (from, mut inlet) = inlet();
        inlet.crowd = Some(Crowd { dense: true, ..Crowd::new(Instant::now()) });
        let mut batch = Batch::new();
        let mut receive = async || std::future::poll_fn(|cx| inlet.poll_receive(cx, &mut batch)).await.unwrap();
        from.send(&[1]).unwrap();
        receive().await;
        let mut flood = async || {
            (0..BATCH).for_each(|_| assert_eq!(from.send(&[1]).unwrap(), 1));
            receive().await;
        };
        // After the rest.
        flood().await;
        let other = tokio::spawn(std::future::ready(()));
        for _ in 0..1000 {
            flood().await;
        }
        assert!(other.is_finished() && inlet.rests());
    }

    #[tokio::test]
    async fn a_crowd_is_more_than_ten_in_a_second() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut crowd = Crowd::new(start);
        crowd.more(1000, at(500));
        assert!(!crowd.dense, "a burst is none yet");
        crowd.more(0, at(1000));
        assert!(crowd.dense);
        crowd.more(10, at(2000));
        assert!(!crowd.dense);
        crowd.more(11, at(3000));
        assert!(crowd.dense);
        crowd.more(60, at(9000));
        assert!(!crowd.dense, "as many a second, over six of them");
    }

    #[test]
    fn a_wall_clock_that_jumps_lets_no_packet_come_from_the_future() {
        let (at, hour) = (Duration::from_secs(1_700_000_000), Duration::from_secs(3600));
        assert_eq!(since(at + Duration::from_millis(3), at), Duration::from_millis(3));
        assert_eq!(since(at - hour, at), Duration::ZERO);
        assert_eq!(since(at + hour, at), hour);
    }
}
