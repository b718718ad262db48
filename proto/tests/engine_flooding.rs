//! Flooding in a network: acknowledgments, retransmission, MaxAge, strangers' and hostile LSAs.

mod common;

use common::{Net, area_key, pair, raw_lsa, rid, secs};
use ospf_proto::consts::INITIAL_SEQUENCE;
use ospf_proto::engine::NetworkType;
use ospf_proto::lsa::LsType;

#[test]
fn an_lsa_of_reserved_scope_is_discarded_with_or_without_the_u_bit() {
    for ls_type in [0x6abc, 0xeabc] {
        let mut net = pair();
        net.forget();
        let key = area_key(LsType(ls_type), 1, 99);
        net.forge_lsas(0, (1, 0), vec![raw_lsa(&key, INITIAL_SEQUENCE, &[0; 4])]);
        net.run(secs(3));
        assert_eq!(net.drops(0), vec!["reserved_scope"], "{ls_type:#x}");
        assert!(net.engine(0).view().lsas().iter().all(|lsa| lsa.key.adv_router != rid(99)));
        assert!(net.full(0, 1));
    }
}
