//! Packets of real routers, recorded in `tests/golden/*.hex`, decode and encode to the very same bytes.
//!
//! A file holds one OSPF packet: lines `# key: value`, of which `src` and `dst` (the IPv6 addresses) are needed, then
//! hexadecimal digits. Every file of the directory is a case; a new capture needs no change here.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests, outside the functions that clippy takes for tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;

use ospf_proto::lsa::{Lsa, LsaBody};
use ospf_proto::packet::{Packet, PacketBody};

struct Golden {
    name: String,
    keys: BTreeMap<String, String>,
    bytes: Vec<u8>,
}

impl Golden {
    fn parse(name: String, text: &str) -> Self {
        let mut keys = BTreeMap::new();
        let mut digits = Vec::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix('#') {
                if let Some((key, value)) = comment.split_once(':') {
                    keys.insert(key.trim().to_owned(), value.trim().to_owned());
                }
                continue;
            }
            for c in line.chars().filter(|c| !c.is_whitespace()) {
                digits.push(c.to_digit(16).unwrap_or_else(|| panic!("{name}: `{c}` is no hexadecimal digit")) as u8);
            }
        }
        assert!(digits.len() % 2 == 0, "{name}: an odd number of digits");
        let bytes = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        Golden { name, keys, bytes }
    }

    fn address(&self, key: &str) -> Ipv6Addr {
        let text = self.keys.get(key).unwrap_or_else(|| panic!("{}: no line `# {key}: ...`", self.name));
        text.parse().unwrap_or_else(|_| panic!("{}: {key} `{text}` is no IPv6 address", self.name))
    }

    fn packet(&self) -> Packet {
        Packet::decode(self.address("src"), self.address("dst"), &self.bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

fn goldens() -> Vec<Golden> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut goldens: Vec<Golden> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            Golden::parse(name, &fs::read_to_string(&path).unwrap())
        })
        .collect();
    goldens.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(goldens.len() >= 20, "only {} recorded packets in {}", goldens.len(), directory.display());
    goldens
}

#[test]
fn recorded_packets_encode_to_the_very_same_bytes() {
    for golden in goldens() {
        let packet = golden.packet();
        assert_eq!(packet.encode(golden.address("src"), golden.address("dst")), golden.bytes, "{}", golden.name);
    }
}

#[test]
fn recorded_lsas_are_all_well_formed_and_their_bodies_encode_to_the_very_same_bytes() {
    for golden in goldens() {
        let PacketBody::LsUpd(update) = golden.packet().body else {
            continue;
        };
        assert_eq!(update.rejected, [], "{}", golden.name);
        for lsa in update.lsas {
            if lsa.body == LsaBody::Unknown {
                continue;
            }
            let rebuilt = Lsa::build(lsa.header, lsa.body.clone());
            assert_eq!(rebuilt.body_bytes(), lsa.body_bytes(), "{}: {:?}", golden.name, lsa.header);
            assert_eq!(rebuilt.header, lsa.header, "{}", golden.name);
        }
    }
}

#[test]
fn recorded_packets_are_refused_with_any_bit_flipped_and_at_any_truncation() {
    for golden in goldens() {
        let (src, dst) = (golden.address("src"), golden.address("dst"));
        for bit in 0..golden.bytes.len() * 8 {
            let mut bytes = golden.bytes.clone();
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
            assert!(Packet::decode(src, dst, &bytes).is_err(), "{}: bit {bit}", golden.name);
        }
        for cut in 0..golden.bytes.len() {
            assert!(Packet::decode(src, dst, &golden.bytes[..cut]).is_err(), "{}: cut at {cut}", golden.name);
        }
    }
}

/// The recordings are worth something only as long as they cover what routers say.
#[test]
fn recorded_packets_cover_every_packet_type_and_the_common_lsa_types() {
    let packets: Vec<Packet> = goldens().iter().map(Golden::packet).collect();
    for packet_type in 1..=5 {
        assert!(packets.iter().any(|p| p.body.packet_type() as u8 == packet_type), "no packet of type {packet_type}");
    }
    let lsas = packets.iter().filter_map(|p| if let PacketBody::LsUpd(u) = &p.body { Some(&u.lsas) } else { None });
    let types: Vec<u16> = lsas.flatten().map(|lsa| lsa.header.ls_type.0).collect();
    for ls_type in [0x2001, 0x2002, 0x2003, 0x2004, 0x4005, 0x2007, 0x0008, 0x2009] {
        assert!(types.contains(&ls_type), "no LSA of type {ls_type:#06x}");
    }
}
