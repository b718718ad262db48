//! A flushed LSA stays at MaxAge for a while (RFC 2328 §14), so that no copy of it on its way comes to life again.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{ms, pair, prefix, secs};
use ospf_proto::engine::{Command, Companion};
use ospf_proto::lsa::{LsType, LsaBody};

#[test]
fn a_copy_of_a_flushed_instance_that_comes_late_is_answered_with_the_flush() {
    let mut net = pair();
    let service = prefix("2001:db8:53::53/128");
    let advertise = |prefixes: BTreeMap<_, _>| Command::Advertise { prefixes, companion: Companion::None };
    net.command(0, advertise(BTreeMap::from([(service, 10)])));
    net.run(secs(6));
    let of_service = |body: &LsaBody| match body {
        LsaBody::IntraAreaPrefix(body) => body.prefixes.iter().any(|p| p.prefix == service),
        _ => false,
    };
    let lsas = net.engine(1).view().lsas();
    let copy = lsas.iter().find(|l| l.key.ls_type == LsType::INTRA_AREA_PREFIX && of_service(&l.lsa.body)).unwrap();
    let (key, copy) = (copy.key, copy.lsa.with_age(copy.age));

    net.command(0, advertise(BTreeMap::new()));
    net.run(ms(1500));
    assert_eq!(net.engine(0).view().flushes_pending(), 0, "acknowledged");
    net.forge_lsas(0, (0, 1), vec![copy]);
    assert!(net.lsa(1, &key).unwrap().is_max_age(), "the flush is the newer instance");
    assert!(!net.nodes[1].routes.contains_key(&service));

    net.run(secs(6));
    assert!(net.lsa(0, &key).is_none() && net.lsa(1, &key).is_none(), "and goes in the end");
}
