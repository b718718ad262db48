//! The daemon as a whole beside an OSPFv3 router, without privilege: two network namespaces joined by a veth pair; in one
//! the server-speaker binary and a UDP service, in the other the engine as a router, in a thread of this process.
//!
//! Its own harness: a user namespace can only be entered by a process with one thread.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod link;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ospf_proto::engine::{Config, IfaceConfig};
use ospf_proto::id::RouterId;
use ospfd_lite::control::{Request, client};
use ospfd_lite::netio::{Driver, DriverEvent, Options};
use serde_json::Value;

const SPEAKER: &str = env!("CARGO_BIN_EXE_server-speaker");
const SERVICE: &str = "2001:db8:53::53";

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    unshare(CloneFlags::CLONE_NEWUSER)
        .expect("user namespaces are refused here: sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces");
    fs::write("/proc/self/setgroups", "deny").unwrap();
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();

    let farm = Farm::new(directory.path());
    a_wrong_configuration_is_told_with_exit_code_2(&farm);
    // The network namespace is still that of the machine, on which a user namespace gives no rights.
    a_missing_privilege_is_told_with_exit_code_3(&farm);

    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    link::up("lo");
    farm.start_router();
    let mut service = Some(UdpSocket::bind("[::]:5353").unwrap());
    let mut speaker = farm.start_speaker();
    a_living_service_is_routed_at_the_class_cost(&farm);
    a_dead_service_is_withdrawn_at_once_and_comes_back(&farm, &mut service);
    a_drained_service_is_withdrawn_and_an_undrained_one_returns(&farm);
    explain_says_why(&farm);
    the_metrics_say_the_same();
    leaving_withdraws_first_and_takes_the_address_away(&farm, &mut speaker);
    println!("daemon: 8 tests ok");
}

struct Farm {
    directory: PathBuf,
}

/// The running daemon; it does not outlive a failed test.
struct Speaker(Child);

impl Drop for Speaker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Farm {
    fn new(directory: &Path) -> Self {
        let text = format!(
            "router-id = \"192.0.2.11\"\nmin-ls-interval = 1.2\nmetrics = \"[::1]:9342\"\n[[interface]]\nname = \"eth0\"\nhello-interval = 1\n\
             dead-interval = 4\n[[service]]\nname = \"dns\"\nprefixes = [\"{SERVICE}/128\"]\nmanage-address = true\n\
             monitor = [{{ socket = {{ protocol = \"udp\", port = 5353 }} }}]\ncapacity = 1000\nmin-serving = 0\n"
        );
        fs::write(directory.join("speaker.toml"), text).unwrap();
        Farm { directory: directory.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn speaker(&self, words: &[&str]) -> Command {
        let mut command = Command::new(SPEAKER);
        command.args(words).arg("--control").arg(self.path("speaker.sock"));
        command
    }

    fn run(&self) -> Command {
        let mut command = self.speaker(&["run"]);
        command.arg("--config").arg(self.path("speaker.toml")).arg("--state-dir").arg(self.path("state"));
        command
    }

    fn start_speaker(&self) -> Speaker {
        Speaker(self.run().spawn().unwrap())
    }

    /// What a command of the speaker prints.
    fn ask(&self, words: &[&str]) -> String {
        let output = self.speaker(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The router: the engine behind a control socket, in a network namespace of its own.
    fn start_router(&self) {
        let control = self.path("router.sock");
        let here = fs::File::open("/proc/self/ns/net").unwrap();
        let (ready, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            link::veth("eth1", "eth0", &here);
            link::up("eth1");
            ready.send(()).unwrap();
            let mut config = Config::new(RouterId(0xc000_0201));
            let mut iface = IfaceConfig::new("eth1");
            (iface.hello_interval, iface.dead_interval) = (1, 4);
            config.interfaces = vec![iface];
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut driver = Driver::new(Options { config, control: Some(control) }).unwrap();
                loop {
                    if let DriverEvent::Control(pending) = driver.next().await.unwrap() {
                        let response = driver.show(&pending.request);
                        pending.answer(response);
                    }
                }
            });
        });
        wait.recv().unwrap();
        link::up("eth0");
    }

    /// The router's route to the service.
    fn route(&self) -> Option<Value> {
        let routes = client::ask(&self.path("router.sock"), &Request::new("show", ["route"])).ok()?;
        let prefix = format!("{SERVICE}/128");
        routes.as_array()?.iter().find(|route| route["prefix"] == prefix).cloned()
    }

    /// How long it takes until the router has the route, or has it no more.
    fn wait_route(&self, present: bool, patience: f64) -> f64 {
        wait_for(&format!("the route to be {present}"), patience, || self.route().is_some() == present)
    }
}

/// A change within MinLSArrival (1 s) of the one before is taken only when it is sent again: waits for that to pass.
fn wait_until_settled(farm: &Farm) {
    wait_for("our prefix LSA to be two seconds old", 10.0, || {
        let answer = client::ask(&farm.path("router.sock"), &Request::new("show", ["database"])).unwrap();
        let mut lsas = answer.as_array().unwrap().iter().filter(|lsa| lsa["ls_type"] == 0x2009);
        lsas.all(|lsa| lsa["adv_router"] != "192.0.2.11" || lsa["age"].as_u64() >= Some(2))
    });
}

fn wait_for(what: &str, patience: f64, mut holds: impl FnMut() -> bool) -> f64 {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed().as_secs_f64() < patience, "waiting for {what} for more than {patience} s");
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed().as_secs_f64()
}

fn failed(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

fn on_lo(address: &str) -> bool {
    let hex = format!("{:032x}", u128::from(address.parse::<std::net::Ipv6Addr>().unwrap()));
    fs::read_to_string("/proc/self/net/if_inet6").unwrap().lines().any(|line| line.starts_with(&hex))
}

fn a_wrong_configuration_is_told_with_exit_code_2(farm: &Farm) {
    let file = farm.path("wrong.toml");
    fs::write(&file, "router-id = \"192.0.2.11\"\n[[interface]]\nname = \"eth0\"\ncost = 0\n").unwrap();
    for command in ["check", "run"] {
        let output = Command::new(SPEAKER).arg(command).arg("--config").arg(&file).output().unwrap();
        let text = failed(&output, 2);
        assert!(text.contains("wrong.toml:4: interface[0].cost: 0 is not allowed; 1..=65535"), "{text}");
    }
    let good = Command::new(SPEAKER).arg("check").arg("--config").arg(farm.path("speaker.toml")).output().unwrap();
    failed(&good, 0);
}

fn a_missing_privilege_is_told_with_exit_code_3(farm: &Farm) {
    let text = failed(&farm.run().output().unwrap(), 3);
    assert!(text.contains("CAP_NET_RAW") && text.contains("setcap"), "{text}");
}

fn a_living_service_is_routed_at_the_class_cost(farm: &Farm) {
    farm.wait_route(true, 30.0);
    // The router's cost of its link and the metric of the class.
    assert_eq!(farm.route().unwrap()["distance"], 20);
    assert!(on_lo(SERVICE));
    let shown: Value = serde_json::from_str(&farm.ask(&["show", "service", "--json"])).unwrap();
    assert_eq!((&shown[0]["name"], &shown[0]["cost"], &shown[0]["mu"]), (&"dns".into(), &10.into(), &1000.0.into()));
    let neighbors: Value = serde_json::from_str(&farm.ask(&["show", "neighbor", "--json"])).unwrap();
    assert_eq!(neighbors[0]["state"], "Full");
}

fn a_dead_service_is_withdrawn_at_once_and_comes_back(farm: &Farm, service: &mut Option<UdpSocket>) {
    wait_until_settled(farm);
    *service = None;
    let gone = farm.wait_route(false, 5.0);
    assert!(gone < 0.5, "gone after {gone:.3} s");
    let shown: Value = serde_json::from_str(&farm.ask(&["show", "service", "--json"])).unwrap();
    assert_eq!(shown[0]["cost"], Value::Null);
    assert!(on_lo(SERVICE), "the address stays for a service that binds to it");
    *service = Some(UdpSocket::bind((SERVICE, 5353)).unwrap());
    farm.wait_route(true, 10.0);
}

fn a_drained_service_is_withdrawn_and_an_undrained_one_returns(farm: &Farm) {
    wait_until_settled(farm);
    let draining = "draining: at the maximum cost until the last queries are answered";
    assert_eq!(farm.ask(&["drain", "dns"]).trim(), draining);
    let emptied = farm.wait_route(false, 10.0);
    assert!(emptied > 1.5, "flushed after {emptied} s: before any router can have changed its ways");
    assert!(fs::read_to_string(farm.path("state/drains.json")).unwrap().contains("dns"));
    assert_eq!(farm.ask(&["undrain", "dns"]).trim(), "serving");
    farm.wait_route(true, 10.0);
    let unknown = farm.speaker(&["drain", "web"]).output().unwrap();
    assert!(failed(&unknown, 1).contains("no service web; there is dns"));
}

fn explain_says_why(farm: &Farm) {
    let text = farm.ask(&["explain", "dns"]);
    for part in
        ["cost                  10: ", "capacity mu           1000.0 q/s", "goodput with me", "withdrawn: drained"]
    {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    // The router of this test carries no Farm TLV: as foreign as FRR.
    assert!(text.contains("companion LSA         link: other routers in the area"), "{text}");
    let json: Value = serde_json::from_str(&farm.ask(&["explain", "dns", "--json"])).unwrap();
    assert_eq!(json["in_database"][0][1], 10);
}

fn the_metrics_say_the_same() {
    let mut stream = TcpStream::connect("[::1]:9342").unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    for line in [
        "server_speaker_cost{service=\"dns\"} 10.0",
        "server_speaker_advertised{service=\"dns\"} 1.0",
        "server_speaker_capacity{service=\"dns\"} 1000.0",
        "server_speaker_monitor_stale{service=\"dns\",monitor=\"socket udp/5353\"} 0.0",
        "server_speaker_adjacencies{interface=\"eth0\"} 1",
        "# EOF",
    ] {
        assert!(text.contains(line), "no `{line}` in:\n{text}");
    }
}

fn leaving_withdraws_first_and_takes_the_address_away(farm: &Farm, Speaker(speaker): &mut Speaker) {
    wait_until_settled(farm);
    let start = Instant::now();
    kill(Pid::from_raw(i32::try_from(speaker.id()).unwrap()), Signal::SIGTERM).unwrap();
    let gone = farm.wait_route(false, 5.0);
    assert!(gone < 0.5, "gone after {gone:.3} s");
    assert!(on_lo(SERVICE), "the address stays for what is on its way");
    let status = speaker.wait().unwrap();
    assert!(status.success(), "{status}");
    let left = start.elapsed().as_secs_f64();
    assert!((2.0..6.0).contains(&left), "left after {left:.1} s");
    assert!(!on_lo(SERVICE));
}
