//! The cases as data: what is sent, what a sound router counts, and what may change at most.

use std::{net::Ipv4Addr, thread, time::Duration};

use anyhow::{Context, Result};
use ospf_proto::{
    consts::{INITIAL_SEQUENCE, MAX_AGE, MAX_SEQUENCE},
    id::{IfaceId, LinkStateId, RouterId},
    lsa::{LsType, LsaHeader, Options},
    packet::{DbDesc, DdFlags, Hello, LsAck, LsReq, LsRequest, LsUpd, PacketBody},
};

use super::{
    forge::{self, Fragment, external, header, lsa, patch, sum_lsa},
    neighbor::{Attacker, PHANTOM},
    stage::INNOCENT,
};

/// One attack.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is sent.
    pub what: &'static str,
    /// Sends it.
    pub run: fn(&Attacker) -> Result<()>,
    /// Reasons of which the victim must count each (`show counters`).
    pub counted: &'static [&'static str],
    /// What may happen to the innocent router's route.
    pub route: Route,
    /// How much the victim may grow.
    pub growth: u64,
    /// Originations (and flushes) of the victim meanwhile, at most: its answers are bounded.
    pub originations: u64,
}

/// What may happen to the innocent router's route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Nothing.
    Stays,
    /// It may go, as OSPF without authentication cannot help it, and must come back.
    Returns,
}

/// Growth that parsing, logging and a page here and there may cost.
const SMALL: u64 = 6 << 20;
/// For thousands of LSAs that are taken in.
const THOUSANDS: u64 = 32 << 20;
/// For the 20,000 LSAs that one originator may have.
const LIMITED: u64 = 96 << 20;
/// LSAs in the storms.
const STORM: u32 = 5000;

const fn case(name: &'static str, what: &'static str, run: fn(&Attacker) -> Result<()>) -> Case {
    Case { name, what, run, counted: &[], route: Route::Stays, growth: SMALL, originations: 10 }
}

/// Packets and LSAs that are malformed.
pub const MALFORMED: &[Case] = &[
    Case {
        counted: &["malformed"],
        ..case("packet-length", "an LS Update cut at every byte, length fields 0, 15 and beyond the end", packet_length)
    },
    Case { counted: &["malformed"], ..case("packet-checksum", "every byte of an LS Update flipped", packet_checksum) },
    Case {
        counted: &["malformed", "area", "instance"],
        ..case("packet-header", "version 2, types 0 and 6, Router ID 0, another area and instance", packet_header)
    },
    Case {
        counted: &["malformed", "malformed_lsa"],
        ..case(
            "lsa-length",
            "LSA lengths 0, 19, beyond the packet; 2^32-1 LSAs; bodies cut at every byte under a right checksum",
            lsa_length,
        )
    },
    Case {
        counted: &["malformed_lsa"],
        ..case("lsa-checksum", "LSAs with a wrong and with a zero checksum, LS age 3601 and 0x7fff", lsa_checksum)
    },
    Case {
        counted: &["malformed_lsa"],
        ..case("prefix-129", "prefix lengths 129 and 255 in every LSA that has prefixes", prefix_129)
    },
    Case {
        counted: &["reserved_scope"],
        ..case("reserved-scope", "LSAs of the reserved flooding scope, with and without the U-bit", reserved_scope)
    },
    Case { growth: SMALL, ..case("fragments", "1,000 lone, overlapping and out-of-order fragments", fragments) },
    Case {
        growth: THOUSANDS,
        ..case(
            "oversize",
            "LS Updates of 60,000 bytes in fragments; one of 64 KiB whose LSA has 65,000 bytes",
            oversize,
        )
    },
];

/// What a neighbor may not do to a neighbor.
pub const NEIGHBOR: &[Case] = &[
    Case {
        counted: &["own_router_id"],
        ..case("duplicate-router-id", "200 Hellos and LS Updates under the victim's Router ID", duplicate_router_id)
    },
    Case {
        counted: &["hello_interval", "dead_interval", "options"],
        ..case("hello-changes", "Hellos with other intervals, options, priorities, DR and Backup claims", hello_changes)
    },
    Case {
        growth: THOUSANDS,
        ..case("hello-flood", "2,000 Hellos under ever new Router IDs that list the victim", hello_flood)
    },
    Case {
        originations: 30,
        ..case(
            "dd-abuse",
            "Database Descriptions with wrong sequence numbers, bits, MTU and a request for what nobody has",
            dd_abuse,
        )
    },
    Case {
        counted: &["unknown_neighbor"],
        ..case("stranger", "LS Updates, Requests and Acks under an unknown Router ID", stranger)
    },
];

/// What a neighbor may not do to the database.
pub const DATABASE: &[Case] = &[
    Case {
        originations: 40,
        ..case(
            "own-lsas",
            "200 forged instances of the victim's Router-LSA, ever higher sequence numbers, no links",
            own_lsas,
        )
    },
    Case { originations: 40, ..case("max-sequence", "the victim's Router-LSA at MaxSequenceNumber", max_sequence) },
    Case {
        growth: THOUSANDS,
        ..case(
            "max-age-storm",
            "5,000 LSAs at MaxAge that nobody has; 5,000 others flooded, then flushed",
            max_age_storm,
        )
    },
    Case {
        route: Route::Returns,
        originations: 30,
        ..case("max-age-of-innocent", "the innocent router's LSAs at MaxAge", max_age_of_innocent)
    },
    Case {
        growth: THOUSANDS,
        ..case("unknown-types", "5,000 LSAs of unknown types of every scope, with and without the U-bit", unknown_types)
    },
    Case {
        counted: &["limit"],
        growth: LIMITED,
        ..case("100k-lsas", "100,000 AS-External-LSAs of one originator", hundred_thousand)
    },
];

/// Every case in the order of a run.
pub fn all() -> impl Iterator<Item = &'static Case> {
    MALFORMED.iter().chain(NEIGHBOR).chain(DATABASE)
}

/// A Router ID of a router that does not exist.
fn phantom(number: u16) -> u32 {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(PHANTOM, high, low, 1).into()
}

/// Lets time go by while packets go out at a pace: an attack in time, not in bulk.
fn pace(interval: Duration) {
    thread::sleep(interval);
}

fn packet_length(attacker: &Attacker) -> Result<()> {
    let whole = attacker.update(2, &[external(phantom(1), 1), external(phantom(1), 2)]);
    for cut in 1..whole.len() {
        let mut short = whole.clone();
        short.truncate(cut);
        attacker.send(&short)?;
        if cut >= 16 {
            attacker.send(&attacker.seal(short))?;
        }
    }
    for length in [0u16, 1, 15, 16, 17, 2000, u16::MAX] {
        let mut lying = whole.clone();
        patch(&mut lying, 2, &length.to_be_bytes());
        attacker.send(&attacker.sum(lying))?;
    }
    Ok(())
}

fn packet_checksum(attacker: &Attacker) -> Result<()> {
    let whole = attacker.update(1, &[external(phantom(1), 1)]);
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        if let Some(byte) = bent.get_mut(at) {
            *byte ^= 0x55;
        }
        attacker.send(&bent)?;
    }
    Ok(())
}

fn packet_header(attacker: &Attacker) -> Result<()> {
    let whole = attacker.update(1, &[external(phantom(1), 1)]);
    let wrong: [(usize, &[u8]); 8] =
        [(0, &[2]), (0, &[0]), (1, &[0]), (1, &[6]), (1, &[255]), (4, &[0; 4]), (8, &[0, 0, 0, 1]), (14, &[9])];
    for (at, value) in wrong {
        let mut bent = whole.clone();
        patch(&mut bent, at, value);
        attacker.send(&attacker.sum(bent))?;
    }
    Ok(())
}

/// A well-formed body of every type that is known.
fn bodies() -> Vec<(LsType, Vec<u8>)> {
    let options = [0, 0, 0, 0x13];
    let prefix = [64, 0, 0, 0, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 7];
    let words = |parts: &[&[u8]]| parts.concat();
    vec![
        (LsType::ROUTER, words(&[&options, &[1, 0, 0, 1], &[0, 0, 0, 1], &[0, 0, 0, 2], &[10, 0, 1, 1]])),
        (LsType::NETWORK, words(&[&options, &[10, 0, 1, 1], &[10, 0, 2, 1]])),
        (LsType::INTER_AREA_PREFIX, words(&[&[0, 0, 0, 1], &prefix])),
        (LsType::INTER_AREA_ROUTER, words(&[&options, &[0, 0, 0, 1], &[10, 0, 1, 1]])),
        (LsType::AS_EXTERNAL, words(&[&[0, 0, 0, 1], &prefix])),
        (LsType::LINK, words(&[&options, &[0; 16], &[0, 0, 0, 1], &prefix])),
        (LsType::INTRA_AREA_PREFIX, words(&[&[0, 1, 0x20, 0x01], &[0; 4], &[10, 0, 1, 1], &prefix])),
    ]
}

fn lsa_length(attacker: &Attacker) -> Result<()> {
    for length in [0u16, 1, 19, 37, 2000, u16::MAX] {
        let mut lying = external(phantom(1), 1);
        patch(&mut lying, 18, &length.to_be_bytes());
        attacker.send(&attacker.update(1, &[sum_lsa(lying)]))?;
    }
    for count in [0, 2, 1000, u32::MAX] {
        attacker.send(&attacker.update(count, &[external(phantom(1), 1)]))?;
    }
    for (ls_type, body) in bodies() {
        for cut in 0..body.len() {
            let short = lsa(header(ls_type, 1, phantom(2)), body.get(..cut).unwrap_or_default());
            attacker.send(&attacker.update(1, &[short]))?;
        }
    }
    Ok(())
}

fn lsa_checksum(attacker: &Attacker) -> Result<()> {
    for (ls_type, body) in bodies() {
        let good = lsa(header(ls_type, 1, phantom(3)), &body);
        for sum in [[0, 0], [0x12, 0x34]] {
            let mut bent = good.clone();
            patch(&mut bent, 16, &sum);
            attacker.send(&attacker.update(1, &[bent]))?;
        }
        for age in [3601u16, 0x7fff] {
            let mut bent = good.clone();
            patch(&mut bent, 0, &age.to_be_bytes());
            attacker.send(&attacker.update(1, &[bent]))?;
        }
    }
    Ok(())
}

fn prefix_129(attacker: &Attacker) -> Result<()> {
    let places =
        [(LsType::INTER_AREA_PREFIX, 4), (LsType::AS_EXTERNAL, 4), (LsType::LINK, 24), (LsType::INTRA_AREA_PREFIX, 12)];
    for (ls_type, body) in bodies() {
        for (_, at) in places.iter().filter(|(of, _)| *of == ls_type) {
            for length in [129u8, 160, 255] {
                let mut long = body.clone();
                patch(&mut long, *at, &[length]);
                // As many bytes as such a length would ask for, and too few.
                attacker.send(&attacker.update(1, &[lsa(header(ls_type, 1, phantom(4)), &long)]))?;
                long.extend([0xff; 24]);
                attacker.send(&attacker.update(1, &[lsa(header(ls_type, 1, phantom(4)), &long)]))?;
            }
        }
    }
    Ok(())
}

fn reserved_scope(attacker: &Attacker) -> Result<()> {
    for code in [1u16, 5, 9, 12, 0x1ff] {
        for bits in [0x6000, 0xe000] {
            let bytes = lsa(header(LsType(bits | code), 1, phantom(5)), &[0; 12]);
            attacker.send(&attacker.update(1, &[bytes]))?;
        }
    }
    Ok(())
}

fn fragments(attacker: &Attacker) -> Result<()> {
    let lsas: Vec<_> = (0..40).map(|number| external(phantom(6), number)).collect();
    let whole = attacker.update(u32::try_from(lsas.len())?, &lsas);
    let (first, second) = whole.split_at_checked(800).context("a packet of more than 800 bytes")?;
    for id in 0..250 {
        let base = id * 4;
        // The first alone, the last alone, two that overlap, two in the wrong order with a hole.
        attacker.send_fragment(Fragment { id: base, offset: 0, more: true, payload: first })?;
        attacker.send_fragment(Fragment { id: base + 1, offset: 100, more: false, payload: second })?;
        attacker.send_fragment(Fragment { id: base + 2, offset: 0, more: true, payload: first })?;
        attacker.send_fragment(Fragment { id: base + 2, offset: 50, more: false, payload: second })?;
        attacker.send_fragment(Fragment { id: base + 3, offset: 8000, more: false, payload: second })?;
        attacker.send_fragment(Fragment { id: base + 3, offset: 0, more: true, payload: first })?;
    }
    Ok(())
}

fn oversize(attacker: &Attacker) -> Result<()> {
    for round in 0..3u16 {
        let lsas: Vec<_> = (0..1600).map(|number| external(phantom(10 + round), number)).collect();
        attacker.send(&attacker.update(u32::try_from(lsas.len())?, &lsas))?;
    }
    let large = lsa(header(LsType(0xbff0), 1, phantom(13)), &vec![7; 65_000]);
    attacker.send(&attacker.update(1, &[large]))
}

fn hello(attacker: &Attacker) -> Hello {
    Hello {
        iface_id: IfaceId(7),
        priority: 0,
        options: Options::V6 | Options::E | Options::R,
        hello_interval: 1,
        dead_interval: 4,
        dr: RouterId(attacker.parties().victim.into()),
        bdr: RouterId(0),
        neighbors: vec![RouterId(attacker.parties().victim.into())],
    }
}

fn duplicate_router_id(attacker: &Attacker) -> Result<()> {
    let victim = attacker.parties().victim;
    for number in 0..100 {
        attacker.send(&attacker.packet_of(victim, PacketBody::Hello(hello(attacker))))?;
        let mut update = attacker.update(1, &[external(phantom(20), number)]);
        patch(&mut update, 4, &victim.octets());
        attacker.send(&attacker.sum(update))?;
        pace(Duration::from_millis(5));
    }
    Ok(())
}

fn hello_changes(attacker: &Attacker) -> Result<()> {
    let good = hello(attacker);
    let me = RouterId(attacker.parties().router.into());
    let everyone = vec![RouterId(attacker.parties().victim.into()), RouterId(INNOCENT.into())];
    let changed = [
        Hello { hello_interval: 0, ..good.clone() },
        Hello { hello_interval: 10, ..good.clone() },
        Hello { dead_interval: 0, ..good.clone() },
        Hello { dead_interval: 40, ..good.clone() },
        Hello { options: Options::V6 | Options::R, ..good.clone() },
        Hello { options: Options::from_bits_retain(0x00ff_ffff), ..good.clone() },
        Hello { dr: me, ..good.clone() },
        Hello { bdr: me, ..good.clone() },
        Hello { dr: me, bdr: me, neighbors: everyone, ..good.clone() },
        Hello { dr: RouterId(u32::MAX), bdr: RouterId(u32::MAX), ..good.clone() },
        // Eligible now, below the victim: a claim that others must not believe.
        Hello { priority: 1, dr: me, ..good.clone() },
        Hello { priority: 1, dr: RouterId(0), bdr: RouterId(0), ..good.clone() },
        Hello { iface_id: IfaceId(u32::MAX), ..good.clone() },
        Hello { neighbors: (0..300).map(RouterId).collect(), ..good.clone() },
        good,
    ];
    for _ in 0..20 {
        for hello in &changed {
            attacker.send(&attacker.packet(PacketBody::Hello(hello.clone())))?;
        }
        pace(Duration::from_millis(50));
    }
    Ok(())
}

fn hello_flood(attacker: &Attacker) -> Result<()> {
    for number in 0..2000u16 {
        let router = Ipv4Addr::from(phantom(1000 + number));
        attacker.send(&attacker.packet_of(router, PacketBody::Hello(hello(attacker))))?;
        if number % 20 == 0 {
            pace(Duration::from_millis(5));
        }
    }
    Ok(())
}

fn dd_abuse(attacker: &Attacker) -> Result<()> {
    let good = DbDesc { options: Options::V6 | Options::E | Options::R, mtu: 1500, ..DbDesc::default() };
    let headers: Vec<_> =
        (0..50).map(|id| LsaHeader { length: 36, ..header(LsType::AS_EXTERNAL, id, phantom(30)) }).collect();
    let rounds: [DbDesc; 7] = [
        DbDesc { sequence: 1, ..good.clone() },
        DbDesc { flags: DdFlags::I | DdFlags::M | DdFlags::MS, sequence: u32::MAX, ..good.clone() },
        DbDesc { flags: DdFlags::I, sequence: 5, ..good.clone() },
        DbDesc { flags: DdFlags::M | DdFlags::MS, sequence: 77, headers: headers.clone(), ..good.clone() },
        DbDesc { flags: DdFlags::from_bits_retain(0xff), sequence: 0, headers, ..good.clone() },
        DbDesc { mtu: u16::MAX, flags: DdFlags::I | DdFlags::M | DdFlags::MS, sequence: 9, ..good.clone() },
        DbDesc { mtu: 0, options: Options::from_bits_retain(0), ..good },
    ];
    for _ in 0..30 {
        for db_desc in &rounds {
            attacker.send(&attacker.packet(PacketBody::DbDesc(db_desc.clone())))?;
        }
        pace(Duration::from_millis(20));
    }
    let unknown = |id| LsRequest {
        ls_type: LsType::AS_EXTERNAL,
        link_state_id: LinkStateId(id),
        adv_router: RouterId(phantom(31)),
    };
    attacker.wait_full(Duration::from_secs(30))?;
    attacker.send(&attacker.packet(PacketBody::LsReq(LsReq { requests: (0..100).map(unknown).collect() })))
}

fn stranger(attacker: &Attacker) -> Result<()> {
    let router = Ipv4Addr::from(phantom(40));
    let requests = vec![LsRequest { ls_type: LsType::ROUTER, link_state_id: LinkStateId(0), adv_router: RouterId(1) }];
    for _ in 0..50 {
        attacker.send(&attacker.packet_of(router, PacketBody::LsUpd(LsUpd::default())))?;
        attacker.send(&attacker.packet_of(router, PacketBody::LsReq(LsReq { requests: requests.clone() })))?;
        attacker.send(&attacker.packet_of(router, PacketBody::LsAck(LsAck::default())))?;
        attacker.send(&attacker.packet_of(router, PacketBody::DbDesc(DbDesc::default())))?;
    }
    Ok(())
}

/// The victim's Router-LSA as the attacker has it.
fn router_lsa(attacker: &Attacker) -> Result<LsaHeader> {
    let found = attacker.lsas_of(attacker.parties().victim, LsType::ROUTER);
    found.first().map(|lsa| lsa.header).context("the victim's Router-LSA is not in the attacker's database")
}

/// A Router-LSA body without a link: believed, it would cut the victim off.
const NO_LINKS: [u8; 4] = [0, 0, 0, 0x13];

fn own_lsas(attacker: &Attacker) -> Result<()> {
    let real = router_lsa(attacker)?;
    for step in 1..=200 {
        let sequence = real.sequence.saturating_add(step * 1000);
        let forged = lsa(LsaHeader { sequence, age: 1, ..real }, &NO_LINKS);
        attacker.send(&attacker.update(1, &[forged]))?;
        pace(Duration::from_millis(10));
    }
    Ok(())
}

fn max_sequence(attacker: &Attacker) -> Result<()> {
    let real = router_lsa(attacker)?;
    for sequence in [MAX_SEQUENCE - 1, MAX_SEQUENCE] {
        let forged = lsa(LsaHeader { sequence, age: 1, ..real }, &NO_LINKS);
        attacker.send(&attacker.update(1, &[forged]))?;
        pace(Duration::from_millis(1100));
    }
    Ok(())
}

/// The same LSA one instance later, at MaxAge.
fn flushed(bytes: Vec<u8>) -> Vec<u8> {
    let mut old = bytes;
    let sequence = forge::header_of(&old).map_or(INITIAL_SEQUENCE, |header| header.sequence.saturating_add(1));
    patch(&mut old, 0, &MAX_AGE.to_be_bytes());
    patch(&mut old, 12, &sequence.to_be_bytes());
    sum_lsa(old)
}

fn max_age_storm(attacker: &Attacker) -> Result<()> {
    attacker.flood((0..STORM).map(|number| flushed(external(phantom(50), number))))?;
    attacker.flood((0..STORM).map(|number| external(phantom(51), number)))?;
    // MinLSArrival.
    pace(Duration::from_millis(1100));
    attacker.flood((0..STORM).map(|number| flushed(external(phantom(51), number))))
}

fn max_age_of_innocent(attacker: &Attacker) -> Result<()> {
    for ls_type in [LsType::ROUTER, LsType::INTRA_AREA_PREFIX] {
        for real in attacker.lsas_of(INNOCENT, ls_type) {
            attacker.send(&attacker.update(1, &[flushed(real.raw.to_vec())]))?;
        }
    }
    Ok(())
}

fn unknown_types(attacker: &Attacker) -> Result<()> {
    let forge = |number: u32| {
        let scope = u16::try_from(number % 6).unwrap_or(0);
        let bits = (scope % 3) << 13 | (scope / 3) << 15;
        let code = 0x100 + u16::try_from(number % 1000).unwrap_or(0);
        lsa(header(LsType(bits | code), number, phantom(60)), &[7; 16])
    };
    attacker.flood((0..STORM).map(forge))
}

fn hundred_thousand(attacker: &Attacker) -> Result<()> {
    attacker.flood((0..100_000).map(|number| external(phantom(70), number)))
}
