//! The monitors that count and that tell the load, from the configuration to what the law gets: Knot DNS itself, and
//! programs and endpoints that answer, are silent, say nonsense or start anew.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ospf_proto::time::Instant as Moment;
use ospfd_lite::config::Source;
use server_speaker::config::ServerConfig;
use server_speaker::monitor::{self, Board};
use server_speaker::sample::{Health, Load};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Whatever takes longer does not come.
const LONG: Duration = Duration::from_secs(20);

/// A service with a socket that is there, and other monitors.
struct Watched {
    board: Board,
    began: Instant,
    load: Option<Load>,
    _service: UdpSocket,
}

impl Watched {
    fn new(monitors: &str) -> Self {
        let service = UdpSocket::bind("[::1]:0").unwrap();
        let port = service.local_addr().unwrap().port();
        let text = format!(
            "router-id = \"192.0.2.11\"\n[[interface]]\nname = \"eth0\"\n[[service]]\nname = \"dns\"\n\
             prefixes = [\"2001:db8:53::53/128\"]\n\
             monitor = [{{ socket = {{ protocol = \"udp\", port = {port}, address = \"::1\" }} }}, {monitors}]\n"
        );
        let config = ServerConfig::load(&Source::new("test.toml", &text)).unwrap();
        let opened = monitor::open(&config.services[0].monitors, (7, &Arc::new(Notify::new()))).unwrap();
        Watched { board: Board::new("dns", opened), began: Instant::now(), load: None, _service: service }
    }

    /// Samples, as the daemon does, until a condition holds. Whatever these monitors say, the service lives.
    async fn until(&mut self, what: &str, condition: impl Fn(&Board, Option<Load>) -> bool) {
        let end = Instant::now() + LONG;
        loop {
            let sample = self.board.sample(self.now());
            assert_eq!(sample.health, Health::Alive);
            self.load = sample.load.or(self.load);
            if condition(&self.board, self.load) {
                return;
            }
            assert!(Instant::now() < end, "never {what}: {:#?} {:?}", self.board.rows(self.now()), self.load);
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn now(&self) -> Moment {
        Moment::from_epoch(self.began.elapsed())
    }

    async fn served(&mut self, served: u64) -> Load {
        self.until(&format!("{served} served"), |_, load| load.is_some_and(|load| load.served == served)).await;
        self.load.unwrap()
    }

    /// Until the second monitor is in this trouble.
    async fn error(&mut self, part: &str) {
        let now = self.now();
        self.until(part, |board, _| board.rows(now)[1].error.as_deref().is_some_and(|error| error.contains(part)))
            .await;
    }

    async fn said(&mut self, part: &str) {
        let now = self.now();
        self.until(part, |board, _| {
            let row = &board.rows(now)[1];
            row.error.is_none() && row.said.contains(part)
        })
        .await;
    }
}

/// Knot DNS as this user, in a directory of its own.
struct Knot {
    daemon: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Knot {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = UdpSocket::bind("[::1]:0").unwrap().local_addr().unwrap().port();
        let at = dir.path().display();
        let config = format!(
            "server:\n  rundir: {at}\n  listen: ::1@{port}\n  udp-workers: 2\n  tcp-workers: 1\n  background-workers: 1\n\
             database:\n  storage: {at}\nmod-stats:\n  - id: all\ntemplate:\n  - id: default\n    storage: {at}\n    \
             global-module: mod-stats/all\nzone:\n  - domain: example.net\n    file: zone\n"
        );
        fs::write(dir.path().join("knot.conf"), config).unwrap();
        let zone = "@ 3600 SOA ns host 1 3600 900 604800 300\n@ 3600 NS ns\nns 3600 AAAA 2001:db8::1\n";
        fs::write(dir.path().join("zone"), format!("$ORIGIN example.net.\n{zone}")).unwrap();
        let daemon = Self::run(dir.path());
        Knot { daemon, dir, port }
    }

    fn run(dir: &Path) -> Child {
        Command::new("/usr/sbin/knotd")
            .arg("-c")
            .arg(dir.join("knot.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("knotd, of the package knot: {error}"))
    }

    fn again(&mut self) {
        self.daemon = Self::run(self.dir.path());
    }

    fn stop(&mut self) {
        let _gone = self.daemon.kill();
        self.daemon.wait().unwrap();
    }

    /// So many queries, each of them answered.
    fn ask(&self, queries: u16) {
        let client = UdpSocket::bind("[::1]:0").unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client.connect(("::1", self.port)).unwrap();
        for id in 0..queries {
            let mut query = id.to_be_bytes().to_vec();
            query.extend(b"\0\0\0\x01\0\0\0\0\0\0\x02ns\x07example\x03net\0\0\x1c\0\x01");
            client.send(&query).unwrap();
            let mut answer = [0; 512];
            let size = client.recv(&mut answer).unwrap();
            assert!(size > query.len() && answer[..2] == query[..2]);
        }
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        self.stop();
    }
}

#[tokio::test]
async fn the_queries_that_knot_dns_answers_are_counted_over_its_restart() {
    let mut knot = Knot::start();
    let socket = knot.dir.path().join("knot.sock");
    let entry = format!("{{ counts = {{ knot = {{ socket = \"{}\" }}, interval = 0.2 }} }}", socket.display());
    let mut watched = Watched::new(&entry);
    let before = watched.served(0).await;
    knot.ask(25);
    let after = watched.served(25).await;
    assert_eq!((after.generation, after.dropped), (before.generation, 0));
    knot.stop();
    watched.error("knotc").await;
    knot.again();
    let new = watched.served(0).await;
    assert_ne!(new.generation, after.generation);
    knot.ask(3);
    assert_eq!(watched.served(3).await.generation, new.generation);
}

/// A program that does what a script says, which may change.
struct Script(tempfile::TempDir);

impl Script {
    fn new(script: &str) -> Self {
        let own = Script(tempfile::tempdir().unwrap());
        own.set(script);
        own
    }

    fn path(&self) -> String {
        self.0.path().join("program").display().to_string()
    }

    fn set(&self, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let new = self.0.path().join("new");
        fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o700)).unwrap();
        fs::rename(new, self.path()).unwrap();
    }
}

#[tokio::test]
async fn a_control_program_may_fail_in_every_way_and_is_believed_again_afterwards() {
    let script = Script::new("echo num.queries=100; echo time.boot=5.5");
    let entry =
        format!("{{ counts = {{ nsd = {{ program = \"{}\" }}, interval = 0.2, timeout = 0.3 }} }}", script.path());
    let mut watched = Watched::new(&entry);
    let first = watched.served(100).await;
    for (wrong, error) in [
        ("echo cannot connect >&2; exit 1", "cannot connect"),
        ("exec sleep 600", "not read within 300 ms"),
        ("while :; do echo num.queries=7; done", "writes more than"),
        ("echo num.queries=NaN; echo time.boot=9", "NaN is no total"),
        ("echo num.queries=-3; echo time.boot=9", "-3 is no total"),
        ("echo num.queries=1e30; echo time.boot=9", "is no total"),
        ("echo hello", "no time.boot is told"),
        ("kill -9 $$", "signal: 9"),
    ] {
        script.set(wrong);
        watched.error(error).await;
    }
    let stale = |board: &Board| board.rows(Moment::EPOCH)[1].stale;
    script.set("exec sleep 600");
    watched.until("stale", |board, _| stale(board)).await;
    script.set("echo num.queries=130; echo time.boot=50");
    assert_eq!(watched.served(130).await.generation, first.generation);
    script.set("echo num.queries=131; echo time.boot=0.5");
    assert_ne!(watched.served(131).await.generation, first.generation);
}

/// An endpoint whose answer may change. None: it takes the connection and is silent.
struct Endpoint {
    answer: Arc<Mutex<Option<(u16, String)>>>,
    url: String,
}

impl Endpoint {
    async fn new(body: &str) -> Self {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(Some((200, body.to_owned()))));
        let current = answer.clone();
        tokio::spawn(async move {
            let mut silent = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let answer = current.lock().unwrap().clone();
                let Some((status, body)) = answer else {
                    silent.push(stream);
                    continue;
                };
                let head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n", body.len());
                // Whoever has read enough goes away.
                let _gone = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        Endpoint { answer, url }
    }

    fn set(&self, answer: Option<(u16, &str)>) {
        *self.answer.lock().unwrap() = answer.map(|(status, body)| (status, body.to_owned()));
    }
}

#[tokio::test]
async fn metrics_are_counted_with_drops_and_busy_time() {
    let text = "queries_total{p=\"a\"} 40\nqueries_total{p=\"b\"} 2\nlost 5\nbusy_seconds 3\n";
    let endpoint = Endpoint::new(text).await;
    let mut watched = Watched::new(&format!(
        "{{ counts = {{ prometheus = {{ url = \"{}/metrics\", served = \"queries_total\", dropped = \"lost\", \
         busy = \"busy_seconds\", workers = 2 }}, interval = 0.2, timeout = 0.3 }} }}",
        endpoint.url
    ));
    let load = watched.served(42).await;
    assert_eq!((load.dropped, load.busy), (5, Some(1_500_000)));
    let huge = "x".repeat(5 << 20);
    for (answer, error) in [
        (Some((503, text)), "status 503"),
        (Some((200, "<html>")), "no queries_total is told"),
        (Some((200, "queries_total +Inf\nlost 5\nbusy_seconds 3\n")), "queries_total: inf is no total"),
        (Some((200, "queries_total 43\nlost 5\n")), "no busy_seconds is told"),
        (Some((200, huge.as_str())), "more than 4194304 bytes"),
        (None, "not read within 300 ms"),
    ] {
        endpoint.set(answer);
        watched.error(error).await;
    }
    endpoint.set(Some((200, "queries_total 1\nlost 0\nbusy_seconds 0\n")));
    assert_ne!(watched.served(1).await.generation, load.generation);
}

#[tokio::test]
async fn the_statistics_channel_of_bind_is_read() {
    let endpoint = Endpoint::new(include_str!("fixtures/bind-server.json")).await;
    let mut watched =
        Watched::new(&format!("{{ counts = {{ bind = {{ url = \"{}\" }}, interval = 0.2 }} }}", endpoint.url));
    let load = watched.served(7).await;
    endpoint.set(Some((200, "{\"boot-time\":\"another\",\"nsstats\":{\"Requestv6\":9}}")));
    assert_ne!(watched.served(9).await.generation, load.generation);
}

#[tokio::test]
async fn the_load_is_told_by_a_program_a_metric_and_a_file_and_the_greatest_counts() {
    let script = Script::new("echo 20");
    let endpoint = Endpoint::new("load{core=\"0\"} 0.2\nload{core=\"1\"} 0.4\n").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("load");
    fs::write(&file, "0.25\n").unwrap();
    let mut watched = Watched::new(&format!(
        "{{ load = {{ exec = {{ command = [\"{}\"], scale = 0.01 }}, interval = 0.5, timeout = 0.3 }} }}, \
         {{ load = {{ prometheus = {{ url = \"{}\", metric = \"load{{core=\\\"1\\\"}}\" }}, interval = 0.5, timeout = 0.3 }} }}, \
         {{ load = {{ file = {{ path = \"{}\" }}, interval = 0.5, timeout = 0.3, stale = 3600 }} }}",
        script.path(),
        endpoint.url,
        file.display()
    ));
    let told = |k: usize, part: &'static str| {
        move |board: &Board, _: Option<Load>| board.rows(Moment::EPOCH)[k].said.starts_with(part)
    };
    watched.until("20 %", told(1, "20 % used")).await;
    watched.until("40 %", told(2, "40 % used")).await;
    watched.until("25 %", told(3, "25 % used")).await;
    // Busy time grows by the greatest of them.
    let start = (watched.now(), watched.load.unwrap().busy.unwrap());
    while (watched.now() - start.0) < Duration::from_millis(1500) {
        watched.until("sampled", |_, _| true).await;
        sleep(Duration::from_millis(20)).await;
    }
    let elapsed = (watched.now() - start.0).as_micros() as f64;
    let busy = (watched.load.unwrap().busy.unwrap() - start.1) as f64 / elapsed;
    assert!((0.35..0.45).contains(&busy), "{busy}");
    for (wrong, error) in
        [("echo NaN", "NaN is no utilisation"), ("exit 2", "exit status: 2"), ("sleep 600", "not read")]
    {
        script.set(wrong);
        watched.error(error).await;
    }
    script.set("echo 90");
    watched.said("90 % used").await;
}

#[tokio::test]
async fn a_cgroup_that_is_not_there_yet_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let group = dir.path().join("group");
    let entry = format!("{{ load = {{ cgroup = {{ path = \"{}\", cpus = 1 }}, interval = 0.5 }} }}", group.display());
    let mut watched = Watched::new(&entry);
    watched.error("No such file").await;
    fs::create_dir(&group).unwrap();
    fs::write(group.join("cpu.stat"), "usage_usec 5\nuser_usec 5\n").unwrap();
    watched.said("0 % used; 0 % of 1.00 CPUs").await;
    fs::remove_dir_all(&group).unwrap();
    watched.error("No such file").await;
}
