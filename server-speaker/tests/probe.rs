//! Probes against real sockets, certificates and programs on this machine, as an ordinary user.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used)]

#[path = "probe/servers.rs"]
mod servers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ospf_proto::time::Instant as Moment;
use ospfd_lite::config::Source;
use server_speaker::config::ServerConfig;
use server_speaker::monitor::probe::{DnsProbe, ProbeKind, SelfTest, SelfTestOptions};
use server_speaker::monitor::{self, Monitor, MonitorConfig, Reading, Said, Unreadable};
use server_speaker::sample::Health;
use tokio::sync::Notify;
use tokio::time::sleep;

use servers::{Authority, Days, dns_tcp, dns_udp, reply, tls_server};

/// Quick enough for a test, and every answer counts.
const QUICK: &str = "interval = 0.05, timeout = 1.0, fast-interval = 0.05, rise = 1, fall = 1";

/// The configuration of a probe as a file has it.
fn configured(probe: &str) -> MonitorConfig {
    let text = format!(
        "router-id = \"192.0.2.11\"\n[[interface]]\nname = \"eth0\"\n[[service]]\nname = \"dns\"\n\
         prefixes = [\"2001:db8:53::53/128\"]\nmonitor = [{{ probe = {{ {probe} }} }}]\n"
    );
    ServerConfig::load(&Source::new("t.toml", text)).unwrap().services.remove(0).monitors.remove(0)
}

fn open(probe: &str) -> Box<dyn Monitor> {
    monitor::open(&[configured(probe)], (1, &Arc::new(Notify::new()))).unwrap().remove(0)
}

type Word = Result<Said, Unreadable>;

fn word(monitor: &mut Box<dyn Monitor>) -> Word {
    monitor.read(Moment::from_epoch(Duration::from_secs(1000))).map(|Reading { said, .. }| said)
}

/// The word of the probe when it is as wanted; fails with the last word after some seconds.
async fn until(monitor: &mut Box<dyn Monitor>, wanted: impl Fn(&Word) -> bool) -> Word {
    let begun = Instant::now();
    loop {
        let word = word(monitor);
        if wanted(&word) {
            return word;
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "{}: still {word:?}", monitor.name());
        sleep(Duration::from_millis(5)).await;
    }
}

/// The first word after the first exchange.
async fn first(probe: &str) -> Word {
    let not_yet = Err(Unreadable("not yet read".into()));
    until(&mut open(&format!("{probe}, {QUICK}")), |word| *word != not_yet).await
}

/// Which health, and its words.
async fn health(probe: &str) -> (&'static str, String) {
    match first(probe).await {
        Ok(said) => match said.health.expect("a verdict after the first answer") {
            Health::Alive => ("alive", said.detail),
            Health::Unknown(why) => ("unknown", why),
            Health::Slow(why) => ("slow", why),
            Health::Silent(why) => ("silent", why),
            Health::Dead(why) => ("dead", why),
        },
        Err(error) => ("unreadable", error.0),
    }
}

/// Checks health and a part of its words.
async fn expect(probe: &str, (wanted, words): (&str, &str)) {
    let (got, why) = health(probe).await;
    assert!(got == wanted && why.contains(words), "{probe}: {got}: {why}; wanted {wanted}: {words}");
}

fn dns(port: u16, more: &str) -> String {
    format!("dns = {{ name = \"Example.ORG\", type = \"TXT\", address = \"::1\", port = {port}{more} }}")
}

#[tokio::test]
async fn a_dns_answer_is_life_and_a_wrong_one_is_death() {
    let good = dns_udp(Duration::ZERO, |query| vec![reply(query, ResponseCode::NoError, Some("s1"))]).await;
    expect(&dns(good, ""), ("alive", "NOERROR in ")).await;
    expect(&dns(good, ", answer = \"S1\", edns = false"), ("alive", "NOERROR in ")).await;
    expect(&dns(good, ", answer = \"s2\""), ("dead", "NOERROR without \"s2\"")).await;
    expect(&dns(good, ", rcode = \"nxdomain\""), ("dead", "NOERROR")).await;
    let refuses = dns_udp(Duration::ZERO, |query| vec![reply(query, ResponseCode::Refused, None)]).await;
    expect(&dns(refuses, ""), ("dead", "REFUSED")).await;
    expect(&dns(refuses, ", rcode = [\"noerror\", \"refused\"]"), ("alive", "REFUSED in ")).await;
}

#[tokio::test]
async fn the_query_is_as_configured() {
    let port = dns_udp(Duration::ZERO, |query| {
        let told = format!(
            "{} {} rd {} edns {:?}",
            query.queries[0].name(),
            query.queries[0].query_type(),
            query.metadata.recursion_desired,
            query.edns.as_ref().map(|edns| edns.max_payload())
        );
        vec![reply(query, ResponseCode::NoError, Some(&told))]
    })
    .await;
    let told = |rd, edns| format!(", answer = \"Example.ORG. TXT rd {rd} edns {edns}\"");
    expect(&dns(port, &told(false, "Some(1232)")), ("alive", "")).await;
    expect(&dns(port, &(told(true, "None") + ", edns = false, recursion = true")), ("alive", "")).await;
    expect(&dns(port, &(told(false, "Some(4096)") + ", edns = 4096")), ("alive", "")).await;
}

#[tokio::test]
async fn ids_and_ports_are_of_one_query_alone() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = seen.clone();
    let port = servers::dns_udp_from(move |query, from| {
        heard.lock().unwrap().push((query.metadata.id, from.port()));
        vec![reply(query, ResponseCode::NoError, None)]
    })
    .await;
    let _probe = open(&format!("{}, {QUICK}", dns(port, "")));
    while seen.lock().unwrap().len() < 6 {
        sleep(Duration::from_millis(10)).await;
    }
    let seen = seen.lock().unwrap();
    // One repetition may be chance (1 in 4,000 for ids); five are not.
    let ids: std::collections::BTreeSet<u16> = seen.iter().map(|(id, _)| *id).collect();
    let ports: std::collections::BTreeSet<u16> = seen.iter().map(|(_, port)| *port).collect();
    assert!(ids.len() >= 5 && ports.len() >= 5, "{seen:?}");
}

#[tokio::test]
async fn what_answers_another_query_is_passed_over() {
    let strange = |query: &hickory_proto::op::Message| {
        let mut other_id = query.clone();
        other_id.metadata.id ^= 1;
        let mut other_name = query.clone();
        other_name.queries[0].set_name("example.net.".parse().unwrap());
        vec![
            b"garbage".to_vec(),
            Vec::new(),
            query.to_vec().unwrap(),
            reply(&other_id, ResponseCode::Refused, None),
            reply(&other_name, ResponseCode::Refused, None),
        ]
    };
    let only = dns_udp(Duration::ZERO, strange).await;
    expect(&dns(only, ""), ("silent", "no answer within 1000 ms")).await;
    let first = dns_udp(Duration::ZERO, move |query| {
        let mut all = strange(query);
        all.push(reply(query, ResponseCode::NoError, None));
        all
    })
    .await;
    expect(&dns(first, ""), ("alive", "NOERROR in ")).await;
    // Who does not understand the question need not repeat it.
    let terse = dns_udp(Duration::ZERO, |query| {
        let mut bytes = reply(query, ResponseCode::FormErr, None);
        bytes.truncate(12);
        bytes[4..12].fill(0);
        vec![bytes]
    })
    .await;
    expect(&dns(terse, ""), ("dead", "FORMERR")).await;
}

#[tokio::test]
async fn an_answer_that_is_cut_is_asked_for_again_by_tcp() {
    let whole = |query: &hickory_proto::op::Message| vec![reply(query, ResponseCode::NoError, Some("s1"))];
    let port = dns_tcp(whole).await;
    let cut = |query: &hickory_proto::op::Message| {
        let mut bytes = reply(query, ResponseCode::NoError, None);
        bytes[2] |= 0x02;
        vec![bytes]
    };
    servers::dns_udp_at(port, cut).await;
    expect(&dns(port, ", answer = \"s1\""), ("alive", "NOERROR in ")).await;
    expect(&dns(port, ""), ("alive", "NOERROR in ")).await;
    expect(&dns(port, ", answer = \"s1\", transport = \"tcp\""), ("alive", "NOERROR in ")).await;
    let noisy = dns_tcp(|query| vec![b"garbage".to_vec(), reply(query, ResponseCode::NoError, None)]).await;
    expect(&dns(noisy, ", transport = \"tcp\""), ("alive", "NOERROR in ")).await;
    let hangs_up = dns_tcp(|_| Vec::new()).await;
    expect(&dns(hangs_up, ", transport = \"tcp\""), ("dead", "receive")).await;
}

#[tokio::test]
async fn silence_slowness_and_refusal_are_told_apart() {
    let slow = dns_udp(Duration::from_millis(120), |query| vec![reply(query, ResponseCode::NoError, None)]).await;
    expect(&dns(slow, ""), ("alive", "NOERROR in ")).await;
    expect(&format!("{}, slow = 0.06", dns(slow, "")), ("slow", "answers after more than 60 ms")).await;
    let hangs = dns_udp(Duration::ZERO, |_| Vec::new()).await;
    expect(&dns(hangs, ""), ("silent", "no answer within 1000 ms")).await;
    let closed = servers::closed_port().await;
    expect(&dns(closed, ""), ("dead", "refused")).await;
    expect(&dns(closed, ", transport = \"tcp\""), ("dead", "refused")).await;
}

#[tokio::test]
async fn nothing_is_said_of_the_health_before_a_row_of_answers() {
    let port = dns_udp(Duration::ZERO, |query| vec![reply(query, ResponseCode::NoError, None)]).await;
    let timing = "interval = 3600, fast-interval = 3600, timeout = 0.3, rise = 2, fall = 2";
    let said = until(&mut open(&format!("{}, {timing}", dns(port, ""))), Result::is_ok).await.unwrap();
    assert_eq!(said.health, None);
    assert!(said.detail.ends_with("(good answer 1 of 2)"), "{}", said.detail);
}

#[tokio::test]
async fn faults_come_at_the_fast_interval() {
    let up = Arc::new(AtomicUsize::new(1));
    let state = up.clone();
    let port = dns_udp(Duration::ZERO, move |query| {
        let code = if state.load(Ordering::SeqCst) == 1 { ResponseCode::NoError } else { ResponseCode::ServFail };
        vec![reply(query, code, None)]
    })
    .await;
    let timing = "interval = 1.0, fast-interval = 0.05, timeout = 0.3, rise = 3, fall = 4";
    let mut probe = open(&format!("{}, {timing}", dns(port, "")));
    let is = |health: Health| move |word: &Word| word.as_ref().is_ok_and(|said| said.health.as_ref() == Some(&health));
    until(&mut probe, is(Health::Alive)).await.unwrap();
    up.store(0, Ordering::SeqCst);
    let begun = Instant::now();
    until(&mut probe, is(Health::Dead("SERVFAIL".into()))).await.unwrap();
    // Four faults at the slow interval would take three seconds from the first to the last.
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    up.store(1, Ordering::SeqCst);
    let begun = Instant::now();
    until(&mut probe, is(Health::Alive)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_probe_that_hangs_holds_up_no_other() {
    let hangs = servers::silent_tcp().await;
    let quick = dns_udp(Duration::ZERO, |query| vec![reply(query, ResponseCode::NoError, None)]).await;
    let timing = "interval = 0.05, fast-interval = 0.05, timeout = 60, rise = 1, fall = 1";
    let configs = [
        configured(&format!("http = {{ url = \"http://[::1]:{hangs}/\" }}, {timing}")),
        configured(&format!("exec = {{ command = [\"/bin/sh\", \"-c\", \"sleep 60\"] }}, {timing}")),
        configured(&format!("{}, {QUICK}", dns(quick, ""))),
    ];
    let mut monitors = monitor::open(&configs, (1, &Arc::new(Notify::new()))).unwrap();
    let mut quick = monitors.remove(2);
    let mut told = 0;
    while told < 5 {
        let word = until(&mut quick, Result::is_ok).await.unwrap();
        assert_eq!(word.health, Some(Health::Alive));
        told += 1;
        sleep(Duration::from_millis(60)).await;
    }
    for hanging in &mut monitors {
        assert_eq!(word(hanging), Err(Unreadable("not yet read".into())), "{}", hanging.name());
    }
}

#[tokio::test]
async fn tcp_is_a_connection() {
    let port = servers::silent_tcp().await;
    expect(&format!("tcp = {{ port = {port}, address = \"::1\" }}"), ("alive", "connected in ")).await;
    let closed = servers::closed_port().await;
    expect(&format!("tcp = {{ port = {closed}, address = \"::1\" }}"), ("dead", "refused")).await;
}

#[tokio::test]
async fn the_service_address_must_be_here() {
    // Without `address` it is the service's own, which this host has not: nothing, or somebody else, would answer.
    let (health, why) = health("tcp = { port = 53 }").await;
    assert!(
        health == "unreadable" || why == "2001:db8:53::53 is no address of this host",
        "neither no route nor not here: {health}: {why}"
    );
}

#[tokio::test]
async fn http_is_judged_by_status_and_body() {
    let http = |port: u16, more: &str| format!("http = {{ url = \"http://[::1]:{port}/x\"{more} }}");
    let fine = servers::http(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nall is ok\n").await;
    expect(&http(fine, ""), ("alive", "status 200 in ")).await;
    expect(&http(fine, ", body = \"is ok\""), ("alive", "status 200 in ")).await;
    expect(&http(fine, ", body = \"is well\""), ("dead", "status 200 without \"is well\"")).await;
    expect(&http(fine, ", status = [204, \"300-399\"]"), ("dead", "status 200")).await;
    let moved = servers::http(b"HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n").await;
    expect(&http(moved, ""), ("dead", "status 302")).await;
    expect(&http(moved, ", status = [204, \"300-399\"]"), ("alive", "status 302 in ")).await;
    let garbage = servers::http(b"220 mail.example.org ESMTP\r\n").await;
    expect(&http(garbage, ""), ("dead", "HTTP")).await;
    let hangs = servers::silent_tcp().await;
    expect(&http(hangs, ""), ("silent", "no answer within 1000 ms")).await;
    let named = format!("http = {{ url = \"http://www.example.org:{fine}/\", address = \"::1\" }}");
    expect(&named, ("alive", "status 200 in ")).await;
}

#[tokio::test]
async fn https_is_verified_unless_told_otherwise() {
    let authority = Authority::new();
    let port = tls_server(&authority, ("www.example.org", Days(-1), Days(90))).await;
    let https =
        |name: &str, more: &str| format!("http = {{ url = \"https://{name}:{port}/\", address = \"::1\"{more} }}");
    let ca = format!(", ca = \"{}\"", authority.path());
    expect(&https("www.example.org", &ca), ("alive", "status 200 in ")).await;
    expect(&https("www.example.net", &ca), ("dead", "TLS handshake")).await;
    expect(&https("www.example.net", ", verify = false"), ("alive", "status 200 in ")).await;
    let other = Authority::new();
    let ca = format!(", ca = \"{}\"", other.path());
    expect(&https("www.example.org", &ca), ("dead", "authority that is not trusted")).await;
}

#[tokio::test]
async fn certificates_are_watched_before_and_after_they_expire() {
    let authority = Authority::new();
    let trusted = format!(", server-name = \"a.example\", ca = \"{}\"", authority.path());
    let tls = |port: u16, more: &str| format!("tls = {{ port = {port}, address = \"::1\"{more} }}");
    let good = tls_server(&authority, ("a.example", Days(-1), Days(20))).await;
    expect(&tls(good, &trusted), ("alive", "TLS 1.3, certificate good for 20 days in ")).await;
    expect(&tls(good, ", verify = false"), ("alive", "TLS 1.3, certificate good for 20 days in ")).await;
    let min_days = format!("{trusted}, min-days = 21");
    expect(&tls(good, &min_days), ("alive", "WARNING: the certificate expires in 20 days, less than 21; renew it"))
        .await;
    let expired = tls_server(&authority, ("a.example", Days(-9), Days(-2))).await;
    expect(&tls(expired, &trusted), ("dead", "the certificate has expired; renew it")).await;
    expect(&tls(expired, ", verify = false"), ("dead", "the certificate has expired 1 days ago; renew it")).await;
    // Ours may be the clock that is wrong.
    let early = tls_server(&authority, ("a.example", Days(2), Days(9))).await;
    expect(&tls(early, &trusted), ("unreadable", "the clock of this host is wrong")).await;
}

#[tokio::test]
async fn a_broken_handshake_is_death_and_a_missing_file_is_our_own_trouble() {
    let tls = |port: u16, more: &str| format!("tls = {{ port = {port}, address = \"::1\"{more} }}");
    let plain = servers::banner(b"220 mail.example.org ESMTP ready\r\n").await;
    expect(&tls(plain, ", verify = false"), ("dead", "TLS handshake")).await;
    expect(&tls(servers::banner(b"").await, ", verify = false"), ("dead", "")).await;
    expect(&tls(servers::silent_tcp().await, ", verify = false"), ("silent", "no answer within 1000 ms")).await;
    expect(&tls(servers::closed_port().await, ", verify = false"), ("dead", "refused")).await;
    let authority = Authority::new();
    let port = tls_server(&authority, ("a.example", Days(-1), Days(9))).await;
    expect(&tls(port, ", ca = \"/nonexistent/ca.pem\""), ("unreadable", "/nonexistent/ca.pem")).await;
}

/// In a process of its own, as all tests of this one share the descriptors.
#[tokio::test]
async fn without_descriptors_a_probe_says_nothing_of_the_service() {
    const CHILD: &str = "PROBE_TEST_WITHOUT_DESCRIPTORS";
    if std::env::var_os(CHILD).is_none() {
        let name = "without_descriptors_a_probe_says_nothing_of_the_service";
        let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let port = dns_udp(Duration::ZERO, |query| vec![reply(query, ResponseCode::NoError, None)]).await;
    let mut probes = [open(&format!("{}, {QUICK}", dns(port, ""))), open(&format!("{}, {QUICK}", sh("exit 0")))];
    for probe in &mut probes {
        until(probe, |word| word.as_ref().is_ok_and(|said| said.health == Some(Health::Alive))).await.unwrap();
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    for probe in &mut probes {
        let error = until(probe, Result::is_err).await.unwrap_err();
        assert!(error.0.contains("Too many open files"), "{error}");
    }
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    for probe in &mut probes {
        until(probe, |word| word.as_ref().is_ok_and(|said| said.health == Some(Health::Alive))).await.unwrap();
    }
}

fn sh(script: &str) -> String {
    format!("exec = {{ command = [\"/bin/sh\", \"-c\", {script:?}] }}")
}

#[tokio::test]
async fn the_exit_code_of_a_program_is_the_verdict() {
    expect(&sh("exit 0"), ("alive", "exit code 0 in ")).await;
    expect(&sh("exit 1"), ("dead", "exit code 1")).await;
    expect(&sh("exit 2"), ("dead", "exit code 2")).await;
    // What went wrong with the check itself is no death.
    expect(&sh("exit 3"), ("unreadable", "exit status: 3")).await;
    expect(&sh("exit 127"), ("unreadable", "exit status: 127")).await;
    expect(&sh("kill -9 $$"), ("unreadable", "signal: 9")).await;
    expect("exec = { command = [\"/nonexistent/check\"] }", ("unreadable", "starting /nonexistent/check")).await;
    expect(&sh("sleep 20"), ("unreadable", "does not end within 1000 ms; it was killed")).await;
    expect(&format!("{}, slow = 0.05", sh("sleep 0.1")), ("slow", "answers after more than 50 ms")).await;
}

#[tokio::test]
async fn the_first_line_of_a_program_is_its_load() {
    let load = async |script: &str| {
        let said = first(&sh(script)).await.unwrap();
        assert_eq!(said.health, Some(Health::Alive), "{script}");
        (said.utilisation, said.detail)
    };
    assert_eq!(load("echo 0.25; echo more").await.0, Some(0.25));
    assert_eq!(load("echo 1.5").await.0, Some(1.0));
    assert_eq!(load("echo OK - 3 users").await.0, None);
    assert_eq!(load("echo; echo 0.5").await.0, None);
    for broken in ["-1", "nan", "1e9"] {
        let (utilisation, detail) = load(&format!("echo {broken}")).await;
        assert!(utilisation.is_none() && detail.contains("is no utilisation"), "{detail}");
    }
    // More than is kept, and a pipe that stays open behind the program.
    assert_eq!(load("echo 0.5; head -c 300000 /dev/zero").await.0, Some(0.5));
    assert_eq!(load("echo 0.5; sleep 1 &").await.0, Some(0.5));
}

#[tokio::test]
async fn a_program_is_killed_with_all_that_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!("echo $$ >> {0}; sleep 50 & echo $! >> {0}; wait", pids.display());
    let mut probe = open(&format!("{}, interval = 3600, fast-interval = 3600, timeout = 0.3", sh(&script)));
    until(&mut probe, |word| matches!(word, Err(Unreadable(why)) if why.contains("it was killed"))).await.unwrap_err();
    let written = std::fs::read_to_string(&pids).unwrap();
    let pids: Vec<&str> = written.split_whitespace().collect();
    assert_eq!(pids.len(), 2, "{written}");
    let begun = Instant::now();
    for pid in pids {
        // Gone, or waiting to be reaped by whoever inherited it.
        let lives = || {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
        };
        while lives() {
            assert!(begun.elapsed() < Duration::from_secs(5), "{pid} lives");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn dns_probe(port: u16, more: &str) -> DnsProbe {
    let MonitorConfig::Probe(config) = configured(&dns(port, more)) else { panic!("a probe") };
    let ProbeKind::Dns(dns) = config.kind else { panic!("a DNS probe") };
    dns
}

async fn tested(dns: DnsProbe, options: SelfTestOptions) -> Result<f64, Unreadable> {
    let mut test = SelfTest::start(dns, options);
    let begun = Instant::now();
    loop {
        if let Some(result) = test.poll() {
            return result;
        }
        assert!(begun.elapsed() < options.duration + Duration::from_secs(3), "does not end");
        sleep(Duration::from_millis(5)).await;
    }
}

const SHORT: SelfTestOptions = SelfTestOptions { duration: Duration::from_millis(500), concurrency: 4 };

#[tokio::test]
async fn a_self_test_counts_the_answers() {
    let served = Arc::new(AtomicU64::new(0));
    let count = served.clone();
    // One by one and 10 ms each: 100 queries per second at most.
    let port = dns_udp(Duration::from_millis(10), move |query| {
        count.fetch_add(1, Ordering::SeqCst);
        vec![reply(query, ResponseCode::NoError, None)]
    })
    .await;
    let rate = tested(dns_probe(port, ""), SHORT).await.unwrap();
    let served = served.load(Ordering::SeqCst) as f64 / 0.5;
    // The last ones may be on their way when it ends, and it may end late.
    assert!(rate > 20.0 && rate <= served && rate >= served / 2.0, "{rate} of {served} a second");
}

#[tokio::test]
async fn a_self_test_of_what_does_not_answer_well_finds_no_capacity_and_sends_little() {
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    let hangs = dns_udp(Duration::ZERO, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Vec::new()
    })
    .await;
    assert_eq!(tested(dns_probe(hangs, ""), SHORT).await, Ok(0.0));
    // Four, and four more each quarter of a second.
    assert!((4..=12).contains(&asked.load(Ordering::SeqCst)), "{asked:?}");
    let fails = dns_udp(Duration::ZERO, |query| vec![reply(query, ResponseCode::ServFail, None)]).await;
    assert_eq!(tested(dns_probe(fails, ""), SHORT).await, Ok(0.0));
    assert_eq!(tested(dns_probe(servers::closed_port().await, ""), SHORT).await, Ok(0.0));
}

#[tokio::test]
async fn a_self_test_asks_nobody_elses_address_and_no_tcp() {
    let tcp = tested(dns_probe(53, ", transport = \"tcp\""), SHORT).await;
    assert!(tcp.is_err_and(|error| error.0.contains("asks by UDP")));
    let mut elsewhere = dns_probe(53, "");
    elsewhere.address = SocketAddr::new("2001:db8:ffff::53".parse().unwrap(), 53);
    assert!(tested(elsewhere, SHORT).await.is_err());
}
