//! The monitors against this machine's kernel, as an ordinary user.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ospf_proto::time::Instant as Moment;
use server_speaker::monitor::diag::SockDiag;
use server_speaker::monitor::snmp6::Snmp6;
use server_speaker::monitor::{Board, Monitor, Protocol, SocketMonitor, Target};
use server_speaker::sample::{Health, Load, Sample};

/// The counters are of the whole namespace: one test of this file at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// A service with its sockets as the only source, read every 100 ms of its own time.
struct Watched {
    board: Board,
    now: Moment,
}

impl Watched {
    fn sample(&mut self) -> Sample {
        self.now = self.now + Duration::from_millis(100);
        self.board.sample(self.now)
    }

    fn health(&mut self) -> Health {
        self.sample().health
    }
}

fn socket(protocol: Protocol, address: Ipv6Addr, port: u16) -> SocketMonitor {
    SocketMonitor::open(Target { protocol, port, addresses: vec![address] }, true).unwrap()
}

fn monitor(protocol: Protocol, address: Ipv6Addr, port: u16) -> Watched {
    Watched { board: Board::new("test", vec![Box::new(socket(protocol, address, port))]), now: Moment::EPOCH }
}

fn load(watched: &mut Watched) -> Load {
    watched.sample().load.unwrap()
}

/// The moment that `what` holds; fails after two seconds.
fn wait_for(mut what: impl FnMut() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(2), "does not come true");
        std::thread::yield_now();
    }
}

#[test]
fn queue_and_drops_of_a_udp_socket_are_seen_and_served_counts_when_it_reads() {
    let _alone = alone();
    let server = UdpSocket::bind("[::1]:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let mut monitor = monitor(Protocol::Udp, Ipv6Addr::LOCALHOST, port);
    let client = UdpSocket::bind("[::1]:0").unwrap();
    let before = load(&mut monitor);
    assert_eq!((before.queue, before.dropped), (0, 0));
    assert!(before.buffer > 10_000);

    for _ in 0..200 {
        client.send_to(&[0; 100], ("::1", port)).unwrap();
    }
    let waiting = load(&mut monitor);
    assert!(waiting.queue > 200 * 100, "{waiting:?}");
    // Somebody else of this namespace may be served meanwhile, but not 100 datagrams.
    assert!(waiting.served - before.served < 100, "a datagram in the queue is not served yet");

    let mut buffer = [0; 200];
    for _ in 0..200 {
        server.recv(&mut buffer).unwrap();
    }
    let read = load(&mut monitor);
    assert!((200..300).contains(&(read.served - before.served)));
    assert_eq!((read.queue, read.generation), (0, before.generation));

    for _ in 0..3000 {
        client.send_to(&[0; 100], ("::1", port)).unwrap();
    }
    let full = load(&mut monitor);
    assert!(full.dropped > 1000, "{full:?}");
    assert!(full.fill() > 0.9, "{full:?}");
}

#[test]
fn rcvbuf_errors_of_the_namespace_count_the_same_drops() {
    let _alone = alone();
    let server = UdpSocket::bind("[::1]:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let mut monitor = monitor(Protocol::Udp, Ipv6Addr::LOCALHOST, port);
    let mut snmp6 = Snmp6::open().unwrap();
    let before = snmp6.read().unwrap();
    let client = UdpSocket::bind("[::1]:0").unwrap();
    for _ in 0..2000 {
        client.send_to(&[0; 100], ("::1", port)).unwrap();
    }
    let errors = snmp6.read().unwrap().rcvbuf_errors - before.rcvbuf_errors;
    let drops = load(&mut monitor).dropped;
    assert!(drops > 1000 && errors >= drops, "{drops} drops, {errors} errors");
}

#[test]
fn a_service_on_the_wildcard_serves_every_address_and_one_on_an_address_only_that() {
    let _alone = alone();
    let wildcard = UdpSocket::bind("[::]:0").unwrap();
    let port = wildcard.local_addr().unwrap().port();
    let anycast = "2001:db8:53::53".parse().unwrap();
    assert_eq!(monitor(Protocol::Udp, anycast, port).health(), Health::Alive);
    drop(wildcard);
    let bound = UdpSocket::bind(("::1", port)).unwrap();
    assert_eq!(monitor(Protocol::Udp, Ipv6Addr::LOCALHOST, port).health(), Health::Alive);
    assert!(matches!(monitor(Protocol::Udp, anycast, port).health(), Health::Dead(_)));
    drop(bound);
}

#[test]
fn a_closed_udp_socket_is_dead_at_the_next_look_and_a_new_one_is_another_generation() {
    let _alone = alone();
    let server = UdpSocket::bind("[::1]:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let mut monitor = monitor(Protocol::Udp, Ipv6Addr::LOCALHOST, port);
    let first = load(&mut monitor);
    drop(server);
    let sample = monitor.sample();
    assert_eq!(sample.health, Health::Dead(format!("no UDP socket for [::1]:{port}")));
    assert_eq!(sample.load, None);
    let _server = UdpSocket::bind(("::1", port)).unwrap();
    assert_ne!(load(&mut monitor).generation, first.generation);
}

#[test]
fn sockets_that_share_a_port_are_summed() {
    let _alone = alone();
    let reuseport = |port: u16| {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&std::net::SocketAddr::from((Ipv6Addr::LOCALHOST, port)).into()).unwrap();
        UdpSocket::from(socket)
    };
    let first = reuseport(0);
    let port = first.local_addr().unwrap().port();
    let mut monitor = monitor(Protocol::Udp, Ipv6Addr::LOCALHOST, port);
    let one = load(&mut monitor);
    let _second = reuseport(port);
    let two = load(&mut monitor);
    assert_eq!(two.buffer, 2 * one.buffer);
    assert_ne!(two.generation, one.generation);
    for _ in 0..40 {
        UdpSocket::bind("[::1]:0").unwrap().send_to(&[0; 50], ("::1", port)).unwrap();
    }
    let queued = load(&mut monitor).queue;
    let own: u32 = SockDiag::open().unwrap().udp_dump(port).unwrap().iter().map(|s| s.queue).sum();
    assert_eq!(queued, u64::from(own));
    assert!(queued > 40 * 50);
}

#[test]
fn a_tcp_listener_is_alive_and_dead_without_any_load() {
    let _alone = alone();
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut monitor = monitor(Protocol::Tcp, Ipv6Addr::LOCALHOST, port);
    let sample = monitor.sample();
    assert_eq!((sample.health, sample.load), (Health::Alive, None));
    assert_eq!(monitor.board.fill(), Some(0.0));
    let mut diag = SockDiag::open().unwrap();
    let _waiting: Vec<_> = (0..3).map(|_| TcpStream::connect(("::1", port)).unwrap()).collect();
    wait_for(|| diag.listener(Ipv6Addr::LOCALHOST, port).unwrap().unwrap().backlog == 3);
    monitor.sample();
    assert!(monitor.board.fill() > Some(0.0));
    drop(listener);
    assert_eq!(monitor.health(), Health::Dead(format!("no listening TCP socket for [::1]:{port}")));
}

#[test]
fn other_udp_sockets_of_the_namespace_are_named() {
    let _alone = alone();
    let server = UdpSocket::bind("[::1]:0").unwrap();
    let other = UdpSocket::bind("[::1]:0").unwrap();
    let mut monitor = socket(Protocol::Udp, Ipv6Addr::LOCALHOST, server.local_addr().unwrap().port());
    let others = monitor.warnings().concat();
    assert!(others.contains(&other.local_addr().unwrap().to_string()), "{others}");
    assert!(!others.contains(&server.local_addr().unwrap().to_string()), "{others}");
}

#[test]
fn a_look_at_the_health_takes_microseconds() {
    let _alone = alone();
    let server = UdpSocket::bind("[::1]:0").unwrap();
    let mut monitor = socket(Protocol::Udp, Ipv6Addr::LOCALHOST, server.local_addr().unwrap().port());
    let start = Instant::now();
    for _ in 0..1000 {
        assert_eq!(monitor.pulse(), Some(Health::Alive));
    }
    let each = start.elapsed() / 1000;
    // Measured 2 to 10 us; the bound leaves room for a busy machine and an unoptimised build.
    assert!(each < Duration::from_millis(1), "{each:?}");
}
