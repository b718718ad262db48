//! Writes the first corpora from the recorded packets and from the examples of the documentation.
//!
//! `cargo run --example seeds`, then `cargo fuzz cmin TARGET` for each target: what adds no coverage goes again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a tool for developers")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ospf_proto::lsa::{FarmTlv, LsaHeader, ServiceFlags, ServiceRecord, SharingMode};

/// Files of ospfd-lite and server-speaker with every key.
const CONFIGS: [&str; 3] = [
    r#"router-id = "192.0.2.1"
control = "/run/x.sock"
state-dir = "/var/lib/x"
min-ls-interval = 1.2
min-ls-interval-topology = 2
[[interface]]
name = "eth0"
area = "0.0.0.7"
type = "point-to-point"
cost = 65535
priority = 255
hello-interval = 1
dead-interval = 4
retransmit-interval = 0.5
instance-id = 3
passive = true
mtu-ignore = true
[limits]
max-lsas = 1000
max-lsas-per-router = 100
max-neighbors = 5
max-originations = 7
[fib]
protocol = 90
metric = 30
"#,
    r#"router-id = "192.0.2.11"
linger = 5
ecmp-width = 16
peers-in-place = ["192.0.2.1"]
allow-prefixes = ["2001:db8:99::/64"]
[[interface]]
name = "eth0"
[[service]]
name = "dns"
prefixes = ["2001:db8:53::53/128"]
manage-address = true
monitor = [{ socket = { protocol = "udp", port = 53 } }]
capacity = 1000.5
policy = "goodput"
strategy = "with-link"
min-serving = 1
last-resort = true
[[service]]
name = "web"
prefixes = ["2001:db8:99::/64"]
monitor = [{ socket = { protocol = "tcp", port = 443, address = "2001:db8::1" } }]
policy = "static"
strategy = "in-place"
"#,
    r#"router-id = "192.0.2.11"
[[interface]]
name = "eth0"
[[service]]
name = "dns"
prefixes = ["2001:db8:53::53/128"]
monitor = [
  { probe = { dns = { name = "example.", type = "AAAA", rcode = ["noerror"], answer = "2001:db8::1", edns = false } } },
  { probe = { http = { url = "https://a.example/x", status = [200, "300-399"], body = "ok" }, slow = 0.2 } },
  { probe = { tls = { port = 853, server-name = "a.example", verify = false, min-days = 14 }, rise = 1, fall = 9 } },
  { probe = { tcp = { port = 53, address = "::1" }, interval = 0.5, timeout = 0.3, fast-interval = 0.1 } },
  { probe = { exec = { command = ["/bin/true", "-v"] } } },
]
"#,
    "router-id = \"1.1.1.1\"\n[[interface]]\nname = \"a\"\n[[interface]]\nname = \"b\"\ntype = \"broadcast\"\n",
];

fn hex(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits: Vec<u8> = lines.flat_map(str::chars).filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The LSAs of an update.
fn lsas(packet: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut at = 20;
    while packet[1] == 4 && at + LsaHeader::LENGTH <= packet.len() {
        let length = usize::from(u16::from_be_bytes([packet[at + 18], packet[at + 19]]));
        found.push(packet[at..at + length].to_vec());
        at += length;
    }
    found
}

fn farm(services: usize) -> Vec<u8> {
    let record = |n: usize| ServiceRecord {
        prefix_len: 128,
        class: n as u8,
        m: 1,
        flags: ServiceFlags::DRAINING,
        prefix: "2001:db8:53::53".parse().unwrap(),
        owner: "192.0.2.11".parse().unwrap(),
        mu: Some(1_000_000),
        x: None,
        nominal: Some(5),
    };
    FarmTlv { sharing: SharingMode::Equal, ecmp_width: 16, services: (0..services).map(record).collect() }.encode()
}

/// Programs of `engine_ops`: each topology and start, with the packet itself, the LSAs in it, and some of each operation.
fn programs(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut programs = Vec::new();
    for shape in 0..32u8 {
        for more in [0, 1, 2, 6, 8, 42, 64] {
            let mut program = vec![shape, more];
            for op in 0..18u8 {
                program.extend([op, 9, shape, more, op, 3, 1, 0, 2, 5, 80, 17, 64, 1]);
            }
            programs.push(program);
        }
    }
    for (nth, packet) in packets.iter().filter(|packet| packet.len() < 256).enumerate() {
        // Friends first; then it as sealed bytes, and once more with its LSAs; then time.
        let shape = 16 | (nth as u8 & 7);
        let mut program = vec![shape, 0, 2, packet[1].wrapping_sub(1), 9, 0, 0];
        program.push((packet.len() - 16) as u8);
        program.extend(&packet[16..]);
        for lsa in lsas(packet).iter().filter(|lsa| lsa.len() < 256) {
            program.extend([7, 9, 0, 0, 0, 3, lsa[3] & 0x0f, 0, 1, 9, 5]);
            program.push((lsa.len() - LsaHeader::LENGTH) as u8);
            program.extend(&lsa[LsaHeader::LENGTH..]);
            program.extend([0, 0]);
        }
        program.extend([0, 250]);
        programs.push(program);
    }
    programs
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> =
        fs::read_dir(root.join("../tests/golden")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let packets: Vec<Vec<u8>> = paths.iter().map(|path| hex(&fs::read_to_string(path).unwrap())).collect();
    let mut seeds: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
    seeds.insert("decode_packet", packets.clone());
    seeds.insert("roundtrip", packets.clone());
    seeds.insert("decode_lsa", packets.iter().flat_map(|packet| lsas(packet)).collect());
    let information =
        |farm: Vec<u8>| [&[0x80, 0, 0, farm.len() as u8], &farm[..], &[0; 3][..farm.len().wrapping_neg() % 4]].concat();
    seeds.insert("farm_tlv", (0..4).map(farm).chain((0..3).map(|n| information(farm(n)))).collect());
    seeds.insert("config", CONFIGS.iter().map(|text| text.as_bytes().to_vec()).collect());
    seeds.insert("engine_ops", programs(&packets));
    for (target, inputs) in seeds {
        let folder = root.join("corpus").join(target);
        fs::create_dir_all(&folder).unwrap();
        println!("{target}: {} seeds", inputs.len());
        for (nth, input) in inputs.iter().enumerate() {
            fs::write(folder.join(format!("seed-{nth:03}")), input).unwrap();
        }
    }
}
