//! Requests as a weapon: what one packet makes us send is bounded by what it names, not by how often (RFC 2328 §10.7).

mod common;

use common::{area_key, pair, raw_lsa};
use ospf_proto::id::RouterId;
use ospf_proto::lsa::LsType;
use ospf_proto::packet::{LsReq, LsRequest, PacketBody};

#[test]
fn an_lsa_requested_again_and_again_in_one_packet_is_sent_once() {
    let mut net = pair();
    let keys = [1, 2].map(|id| area_key(LsType(0xa123), id, 77));
    let lsas = keys.iter().map(|key| raw_lsa(key, 1, &[0; 1200])).collect();
    net.forge_lsas(0, (1, 0), lsas);
    net.run(common::secs(3));
    assert!(keys.iter().all(|key| net.lsa(0, key).is_some()), "both are in the database");
    net.forget();
    let request = |id: usize| LsRequest {
        ls_type: keys[id % 2].ls_type,
        link_state_id: keys[id % 2].link_state_id,
        adv_router: RouterId(77),
    };
    net.forge(0, (1, 0), PacketBody::LsReq(LsReq { requests: (0..100).map(request).collect() }));
    let updates: Vec<usize> = net
        .packets(0)
        .into_iter()
        .filter_map(|(_, _, body)| if let PacketBody::LsUpd(update) = body { Some(update.lsas.len()) } else { None })
        .collect();
    assert_eq!(updates, [1, 1], "LSAs in each update");
}
