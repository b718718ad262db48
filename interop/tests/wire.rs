//! What we put on the wire, judged by Wireshark's dissector: every packet and LSA type decodes, nothing is malformed, every
//! checksum is right; and the same judge does see a checksum that is wrong. Around it the IPv6 header is as OSPF wants it.

mod common;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    net::Ipv6Addr,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use common::ours::{Setup, SpeakerFarm};
use interop::{
    capture::{Capture, Keep},
    harness::{self, LabTest, Needs},
    lab::Lab,
    peer::{Peer, Version},
    topology::Farm,
};
use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};

const TSHARK: &str = "/usr/bin/tshark";
/// Each packet type is to be seen this often at least.
const ENOUGH: usize = 20;
const PACKET_TYPES: [(&str, &str); 5] = [
    ("1", "Hello"),
    ("2", "Database Description"),
    ("3", "Link State Request"),
    ("4", "Link State Update"),
    ("5", "Link State Acknowledgment"),
];
/// The LSA types that we originate.
const LSA_TYPES: [(&str, &str); 5] = [
    ("0x2001", "Router-LSA"),
    ("0x2002", "Network-LSA"),
    ("0x0008", "Link-LSA"),
    ("0x2009", "Intra-Area-Prefix-LSA"),
    ("0xa00c", "Router-Information LSA"),
];

fn main() -> ExitCode {
    let tests = [
        LabTest::new("wireshark_finds_nothing_wrong_with_what_we_send", wireshark_finds_nothing_wrong),
        LabTest::new("every_packet_has_hop_limit_1_class_cs6_and_a_link_local_source", ipv6_headers),
    ];
    harness::main(Needs::Daemons, &tests)
}

fn wireshark_finds_nothing_wrong(lab: &mut Lab) -> Result<()> {
    ensure!(
        Path::new(TSHARK).exists(),
        "no {TSHARK}: install the Debian package `tshark` (`cargo lab test` as root does it)"
    );
    let file = lab.directory().join("ours.pcap");
    let router = Version::Ours;
    let mut farm = SpeakerFarm::build(lab, Setup::new("", &router))?;
    let capture = Capture::start(&farm.farm.router, Farm::FARM_SIDE, &file, Keep::Ospf)?;
    for server in 0..3 {
        farm.start(lab, server)?;
    }
    let all = [0, 1, 2];
    farm.explain(lab, |farm, _| farm.wait_members(&all, Instant::now(), common::PATIENCE))?;
    // Databases to be exchanged again: a death and a return of each server, until there is enough to judge.
    for _ in 0..8 {
        for node in &mut farm.nodes {
            node.speaker.kill()?;
        }
        farm.wait_members(&[], Instant::now(), common::PATIENCE)?;
        let since = Instant::now();
        for node in &mut farm.nodes {
            node.speaker.start()?;
        }
        farm.explain(lab, |farm, _| farm.wait_members(&all, since, Duration::from_secs(60)))?;
    }
    let packets = capture.finish()?;
    let seen = count(&file, "ospf.msg")?;
    let lsas = count(&file, "ospf.v3.lsa")?;
    println!("{packets} packets, by type {seen:?}, LSAs by type {lsas:?}");
    for (number, name) in PACKET_TYPES {
        let count = seen.get(number).copied().unwrap_or(0);
        ensure!(count >= ENOUGH, "{count} packets of type {name}: {seen:?}");
    }
    for (number, name) in LSA_TYPES {
        ensure!(lsas.keys().any(|key| same_number(key, number)), "no {name}: {lsas:?}");
    }
    let complaints = complaints(&file)?;
    ensure!(complaints.is_empty(), "Wireshark complains:\n{}", complaints.join("\n"));
    // The judge is awake: one flipped bit in one checksum is found.
    let planted = lab.directory().join("planted.pcap");
    plant_bad_checksum(&file, &planted)?;
    let found = self::complaints(&planted)?;
    ensure!(!found.is_empty(), "a planted wrong checksum was not found");
    println!("planted and found: {}", found.join("; "));
    Ok(())
}

/// The IPv6 header of every packet of ours (RFC 5340 §A.1, RFC 2328 §A.1), multicast and unicast.
fn ipv6_headers(lab: &mut Lab) -> Result<()> {
    ensure!(Path::new(TSHARK).exists(), "no {TSHARK}: install the Debian package `tshark`");
    let file = lab.directory().join("headers.pcap");
    let router = Version::Ours;
    let mut farm = SpeakerFarm::build(lab, Setup::new("", &router))?;
    let capture = Capture::start(&farm.farm.router, Farm::FARM_SIDE, &file, Keep::Ospf)?;
    for server in 0..3 {
        farm.start(lab, server)?;
    }
    farm.explain(lab, |farm, _| farm.wait_members(&[0, 1, 2], Instant::now(), common::PATIENCE))?;
    capture.finish()?;
    let fields = ["ipv6.hlim", "ipv6.tclass", "ipv6.nxt", "ipv6.src", "ipv6.dst", "ospf.msg"];
    let arguments: Vec<&str> =
        ["-T", "fields"].into_iter().chain(fields.iter().flat_map(|field| ["-e", field])).collect();
    let shown = tshark(&arguments, &file)?;
    let (mut multicast, mut unicast) = (BTreeMap::<String, usize>::new(), BTreeMap::<String, usize>::new());
    for line in shown.lines() {
        let [hop_limit, class, next_header, source, destination, message] = line.split('\t').collect::<Vec<_>>()[..]
        else {
            bail!("{fields:?} of a packet: {line}");
        };
        ensure!(hop_limit == "1", "hop limit {hop_limit}: {line}");
        // CS6 without ECN: precedence Internetwork Control.
        ensure!(same_number(class, "0xc0"), "traffic class {class}: {line}");
        ensure!(next_header == "89", "next header {next_header}: {line}");
        let source: Ipv6Addr = source.parse().with_context(|| line.to_owned())?;
        ensure!(source.is_unicast_link_local(), "from {source}: {line}");
        let destination: Ipv6Addr = destination.parse().with_context(|| line.to_owned())?;
        ensure!(destination.is_multicast() || destination.is_unicast_link_local(), "to {destination}: {line}");
        let seen = if destination.is_multicast() { &mut multicast } else { &mut unicast };
        *seen.entry(message.to_owned()).or_default() += 1;
    }
    println!("by type, multicast {multicast:?}, unicast {unicast:?}");
    // Hellos and updates are multicast, the exchange is not: both ways of sending were looked at.
    for (seen, number, name) in
        [(&multicast, "1", "Hello"), (&multicast, "4", "Link State Update"), (&unicast, "2", "Database Description")]
    {
        ensure!(seen.contains_key(number), "no {name}: multicast {multicast:?}, unicast {unicast:?}");
    }
    Ok(())
}

fn same_number(shown: &str, wanted: &str) -> bool {
    let number = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let decimal = shown.parse::<u32>().ok().filter(|_| !shown.starts_with("0x"));
    decimal.or_else(|| number(shown)) == number(wanted)
}

fn tshark(arguments: &[&str], file: &Path) -> Result<String> {
    let mut command = Command::new(TSHARK);
    command.arg("-r").arg(file).args(["-n", "-o", "ip.check_checksum:TRUE"]).args(arguments);
    let done = command.stdin(Stdio::null()).output().context("running tshark")?;
    if !done.status.success() {
        bail!("tshark: {}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// How often each value of a field occurs.
fn count(file: &Path, field: &str) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for value in tshark(&["-T", "fields", "-e", field], file)?.split([',', '\n']).filter(|value| !value.is_empty()) {
        *counts.entry(value.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// The lines of the full dissection in which something is wrong.
fn complaints(file: &Path) -> Result<Vec<String>> {
    let text = tshark(&["-V"], file)?;
    let bad = |line: &&str| {
        let line = line.to_ascii_lowercase();
        ["malformed", "incorrect", "bad checksum", "[expert info (error", "[expert info (warning", "exception occurred"]
            .iter()
            .any(|word| line.contains(word))
    };
    Ok(text.lines().filter(bad).map(|line| line.trim().to_owned()).collect())
}

/// Copies the first packet of a capture with one bit of its OSPF checksum flipped.
fn plant_bad_checksum(from: &Path, to: &Path) -> Result<()> {
    /// Behind the Ethernet and IPv6 headers, at offset 12 of the OSPF header (RFC 5340 §A.3.1).
    const CHECKSUM_AT: usize = 14 + 40 + 12;
    let mut reader = PcapReader::new(File::open(from)?)?;
    let packet = reader.next_packet().context("an empty capture")??;
    let mut bytes = packet.data.to_vec();
    *bytes.get_mut(CHECKSUM_AT).context("a short packet")? ^= 1;
    let mut writer = PcapWriter::new(File::create(to)?)?;
    writer.write_packet(&PcapPacket::new(packet.timestamp, packet.orig_len, &bytes))?;
    writer.into_writer().flush()?;
    Ok(())
}
