//! Rules of RFC 2328 §10.3 to §10.9 on the database exchange: docs/conformance.md names these tests.

mod common;

use std::collections::BTreeMap;

use common::{Net, area_key, lan, ms, raw_lsa, rid, secs, strange, strangers_meet};
use ospf_proto::consts::{INITIAL_SEQUENCE, MAX_AGE};
use ospf_proto::engine::{Command, Companion};
use ospf_proto::id::LinkStateId;
use ospf_proto::lsa::{LsType, LsaHeader, Options};
use ospf_proto::packet::{DbDesc, DdFlags, LsReq, LsRequest, PacketBody, PacketType};
use ospf_proto::state::NeighborState;

const OPTIONS: Options = Options::V6.union(Options::E).union(Options::R);

/// Two routers that meet, but nothing of router 1's exchange arrives: router 0 is alone in ExStart with it.
fn in_ex_start() -> Net {
    let mut net = strangers_meet(60);
    net.lose(1, PacketType::DbDesc, (0, 1_000_000));
    net.lose(0, PacketType::DbDesc, (0, 1_000_000));
    net.run_until(secs(3), "ExStart", |net| net.state(0, 1) == Some(NeighborState::ExStart));
    net
}

fn dds(net: &Net, router: usize) -> Vec<DbDesc> {
    let sent = net.packets(router).into_iter();
    sent.filter_map(|(_, _, body)| if let PacketBody::DbDesc(dd) = body { Some(dd) } else { None }).collect()
}

fn dd(flags: DdFlags, sequence: u32) -> PacketBody {
    PacketBody::DbDesc(DbDesc { options: OPTIONS, mtu: 1500, flags, sequence, headers: Vec::new() })
}

const FIRST: DdFlags = DdFlags::I.union(DdFlags::M).union(DdFlags::MS);

#[test]
fn the_first_database_description_is_empty_claims_master_and_is_repeated_every_rxmt_interval() {
    let mut net = in_ex_start();
    net.forget();
    net.run(secs(10));
    let sent: Vec<_> = net.packets(0).into_iter().filter(|(_, _, b)| b.packet_type() == PacketType::DbDesc).collect();
    assert!((9..=11).contains(&sent.len()), "{}", sent.len());
    assert!(sent.windows(2).all(|w| w[1].0.since(w[0].0) == secs(1)), "RxmtInterval");
    let claims = dds(&net, 0);
    assert!(claims.iter().all(|dd| dd.flags == FIRST && dd.headers.is_empty() && dd.mtu == 1500));
    assert!(claims.windows(2).all(|w| w[0].sequence == w[1].sequence), "the same packet");
}

#[test]
fn the_first_dd_sequence_number_differs_from_life_to_life_and_counts_on_within_one() {
    let mut net = in_ex_start();
    let first = dds(&net, 0)[0].sequence;
    net.command(0, Command::ClearNeighbor(None));
    net.kill(0);
    net.start(0);
    net.forget();
    net.run_until(secs(5), "ExStart", |net| net.state(0, 1) == Some(NeighborState::ExStart));
    let second = dds(&net, 0)[0].sequence;
    assert_ne!(first, second);
    // Negotiated, then thrown back: one more than before.
    net.forge(0, (1, 0), dd(FIRST, 500));
    assert_eq!(net.state(0, 1), Some(NeighborState::Exchange));
    net.forget();
    net.forge(0, (1, 0), dd(FIRST, 777));
    assert_eq!(net.state(0, 1), Some(NeighborState::ExStart));
    assert_eq!(dds(&net, 0)[0].sequence, 501, "the slave had taken over the master's");
}

#[test]
fn the_router_with_the_higher_router_id_is_master_and_counts_and_the_slave_answers_each() {
    let mut net = strangers_meet(60);
    net.run_until(secs(5), "full", |net| net.full(0, 1));
    let after_claims = |router| dds(&net, router).into_iter().filter(|dd| !dd.flags.contains(DdFlags::I)).collect();
    let (slave, master): (Vec<DbDesc>, Vec<DbDesc>) = (after_claims(0), after_claims(1));
    assert!(master.iter().all(|dd| dd.flags.contains(DdFlags::MS)));
    assert!(slave.iter().all(|dd| !dd.flags.contains(DdFlags::MS)));
    assert!(master.windows(2).all(|w| w[1].sequence == w[0].sequence + 1));
    let answered: Vec<u32> = master.iter().map(|dd| dd.sequence).collect();
    let mut answers: Vec<u32> = slave.iter().map(|dd| dd.sequence).collect();
    // The claim may have come twice.
    answers.dedup();
    answers.remove(0);
    assert_eq!(answers, answered, "one for each, the first for the claim");
    assert!(!slave.last().unwrap().flags.contains(DdFlags::M) && !master.last().unwrap().flags.contains(DdFlags::M));
}

#[test]
fn in_ex_start_only_a_valid_claim_or_answer_ends_the_negotiation() {
    let net = in_ex_start();
    let ours = dds(&net, 0)[0].sequence;
    let header = raw_lsa(&strange(1), 1, &[]).header;
    let full_claim = DbDesc { options: OPTIONS, mtu: 1500, flags: FIRST, sequence: 9, headers: vec![header] };
    for body in [
        dd(DdFlags::M | DdFlags::MS, 9),
        dd(DdFlags::I | DdFlags::M, 9),
        // An answer of a slave: but the neighbor's Router ID is the higher one.
        dd(DdFlags::M, ours),
        dd(DdFlags::M, ours + 1),
        PacketBody::DbDesc(full_claim),
    ] {
        let mut net = in_ex_start();
        net.forge(0, (1, 0), body.clone());
        assert_eq!(net.state(0, 1), Some(NeighborState::ExStart), "{body:?}");
    }
    let mut net = in_ex_start();
    net.forge(0, (1, 0), dd(FIRST, 9));
    assert_eq!(net.state(0, 1), Some(NeighborState::Exchange));
    let answer = dds(&net, 0).pop().unwrap();
    assert_eq!((answer.sequence, answer.flags & (DdFlags::I | DdFlags::MS)), (9, DdFlags::empty()));
}

#[test]
fn in_exchange_what_is_out_of_sequence_or_breaks_the_roles_restarts_the_negotiation() {
    let exchange = || {
        let mut net = in_ex_start();
        net.forge(0, (1, 0), dd(FIRST, 100));
        net.forge(0, (1, 0), dd(DdFlags::M | DdFlags::MS, 101));
        assert_eq!(net.state(0, 1), Some(NeighborState::Exchange));
        net
    };
    let other_options =
        DbDesc { options: Options::V6, mtu: 1500, flags: DdFlags::M | DdFlags::MS, sequence: 102, headers: Vec::new() };
    for (body, what) in [
        (dd(DdFlags::M, 102), "the MS-bit"),
        (dd(FIRST, 102), "the I-bit"),
        (dd(DdFlags::M | DdFlags::MS, 103), "the sequence number"),
        (PacketBody::DbDesc(other_options), "the options"),
    ] {
        let mut net = exchange();
        net.forge(0, (1, 0), body);
        assert_eq!(net.state(0, 1), Some(NeighborState::ExStart), "{what}");
    }
    let mut net = exchange();
    net.forget();
    net.forge(0, (1, 0), dd(DdFlags::M | DdFlags::MS, 101));
    assert_eq!(net.state(0, 1), Some(NeighborState::Exchange), "a duplicate");
    assert_eq!(dds(&net, 0).iter().map(|dd| dd.sequence).collect::<Vec<_>>(), vec![101], "answered by the last packet");
    net.forge(0, (1, 0), dd(DdFlags::M | DdFlags::MS, 102));
    assert_eq!(net.state(0, 1), Some(NeighborState::Exchange), "the next in sequence");
}

#[test]
fn a_header_of_reserved_scope_in_a_database_description_is_a_sequence_mismatch() {
    let mut net = in_ex_start();
    net.forge(0, (1, 0), dd(FIRST, 100));
    let header = raw_lsa(&area_key(LsType(0x6abc), 1, 99), 1, &[]).header;
    let flags = DdFlags::M | DdFlags::MS;
    let body = DbDesc { options: OPTIONS, mtu: 1500, flags, sequence: 101, headers: vec![header] };
    net.forge(0, (1, 0), PacketBody::DbDesc(body));
    assert_eq!(net.state(0, 1), Some(NeighborState::ExStart));
}

#[test]
fn what_is_described_is_requested_if_it_is_missing_or_newer_and_one_request_at_a_time() {
    let mut net = in_ex_start();
    let have: Vec<LsaHeader> = net.engine(0).view().lsas().iter().map(|l| l.lsa.with_age(l.age).header).collect();
    let same = *have.iter().find(|h| h.ls_type == LsType::INTRA_AREA_PREFIX).unwrap();
    let newer = have.iter().find(|h| h.ls_type == LsType::ROUTER).map(|h| LsaHeader { sequence: h.sequence + 5, ..*h });
    let older = LsaHeader { sequence: same.sequence - 1, ..same };
    let missing = raw_lsa(&strange(1), 1, &[]).header;
    net.forge(0, (1, 0), dd(FIRST, 100));
    net.forget();
    let headers = vec![same, newer.unwrap(), older, missing];
    let flags = DdFlags::M | DdFlags::MS;
    net.forge(0, (1, 0), PacketBody::DbDesc(DbDesc { options: OPTIONS, mtu: 1500, flags, sequence: 101, headers }));
    let requests = |net: &Net| -> Vec<Vec<LsRequest>> {
        let sent = net.packets(0).into_iter();
        sent.filter_map(|(_, _, b)| if let PacketBody::LsReq(r) = b { Some(r.requests) } else { None }).collect()
    };
    let asked = requests(&net);
    assert_eq!(asked.len(), 1);
    let mut types: Vec<u16> = asked[0].iter().map(|r| r.ls_type.0).collect();
    types.sort_unstable();
    assert_eq!(types, vec![0x2001, 0xaabc]);
    // More is described: the request under way is not joined by a second one.
    let another = raw_lsa(&strange(2), 1, &[]).header;
    let body = DbDesc { options: OPTIONS, mtu: 1500, flags, sequence: 102, headers: vec![another] };
    net.forge(0, (1, 0), PacketBody::DbDesc(body));
    assert_eq!(requests(&net).len(), 1, "at most one outstanding");
    net.run(ms(1100));
    assert!(requests(&net).len() >= 2, "repeated after RxmtInterval");
}

#[test]
fn in_exchange_and_above_requests_are_answered_and_the_answer_waits_for_no_acknowledgment() {
    let mut net = in_ex_start();
    let request =
        |router| LsRequest { ls_type: LsType::ROUTER, link_state_id: LinkStateId(0), adv_router: rid(router) };
    let body = PacketBody::LsReq(LsReq { requests: vec![request(1)] });
    net.forget();
    net.forge(0, (1, 0), body.clone());
    assert_eq!(net.drops(0), vec!["neighbor_state"], "not in ExStart");
    net.forge(0, (1, 0), dd(FIRST, 100));
    net.forget();
    net.forge(0, (1, 0), body);
    let sent = net.packets(0);
    assert!(
        matches!(&sent[..], [(_, _, PacketBody::LsUpd(update))] if update.lsas.len() == 1
            && update.lsas[0].header.ls_type == LsType::ROUTER),
        "{sent:?}"
    );
    assert_eq!(net.engine(0).view().neighbors()[0].retransmissions, 0);
    net.forge(0, (1, 0), PacketBody::LsReq(LsReq { requests: vec![request(1), request(77)] }));
    assert_eq!(net.state(0, 1), Some(NeighborState::ExStart), "BadLSReq");
}

#[test]
fn a_database_description_in_init_counts_as_a_hello_that_names_us_and_in_two_way_it_is_ignored() {
    let mut net = strangers_meet(60);
    net.lose(1, PacketType::Hello, (1, 1_000_000));
    net.lose(0, PacketType::Hello, (0, 1_000_000));
    net.run_until(secs(3), "Init", |net| net.state(0, 1) == Some(NeighborState::Init));
    net.forge(0, (1, 0), dd(FIRST, 100));
    assert_eq!(net.state(0, 1), Some(NeighborState::Exchange), "2-WayReceived, then ExStart took it");
    let mut net = lan(4);
    assert_eq!(net.state(0, 1), Some(NeighborState::TwoWay));
    net.forget();
    net.forge(0, (1, 0), dd(FIRST, 100));
    assert_eq!(net.state(0, 1), Some(NeighborState::TwoWay));
    assert_eq!(net.drops(0), vec!["neighbor_state"]);
}

#[test]
fn an_lsa_at_max_age_is_flooded_to_a_new_neighbor_and_not_described() {
    let mut net = in_ex_start();
    // What is flushed while an exchange goes on has to stay until it is over.
    net.forge(0, (1, 0), dd(FIRST, 100));
    assert_eq!(net.state(0, 1), Some(NeighborState::Exchange));
    net.command(0, Command::Advertise { prefixes: BTreeMap::new(), companion: Companion::None });
    assert_eq!(net.engine(0).view().flushes_pending(), 60, "they stay while the exchange goes on");
    // Thrown back and negotiated anew: now they are at MaxAge when the summary is made.
    net.forge(0, (1, 0), dd(FIRST, 555));
    assert_eq!(net.state(0, 1), Some(NeighborState::ExStart));
    net.forget();
    net.forge(0, (1, 0), dd(FIRST, 600));
    for sequence in 601..610 {
        net.forge(0, (1, 0), dd(DdFlags::M | DdFlags::MS, sequence));
    }
    let described: Vec<LsaHeader> = dds(&net, 0).into_iter().flat_map(|dd| dd.headers).collect();
    assert!(!described.is_empty());
    assert!(described.iter().all(|h| h.age < MAX_AGE && h.sequence >= INITIAL_SEQUENCE));
}
