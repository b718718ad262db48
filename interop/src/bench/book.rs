//! What the injector's routers have said: each LSA's newest instance as bytes, ready to be sent.

use std::{collections::BTreeMap, net::Ipv6Addr, sync::Arc};

use anyhow::{Context, Result};
use ospf_proto::{
    consts::{INITIAL_SEQUENCE, MAX_AGE},
    id::{AreaId, LinkStateId, RouterId},
    lsa::{LsType, Lsa, LsaHeader},
    packet::{LsUpd, Packet, PacketBody, PacketHeader},
};

use super::graph::Said;
use crate::attack::forge;

/// What names an LSA: type, Link State ID, Advertising Router. There is one link and one area.
pub type Key = (LsType, LinkStateId, RouterId);
/// An LSA as it is sent.
pub type Bytes = Arc<[u8]>;

/// Bytes of LSAs in one LS Update that is to fit into an Ethernet frame.
const ROOM: usize = 1500 - 40 - 16 - LsUpd::HEAD;

/// The name of an LSA.
pub const fn key(header: &LsaHeader) -> Key {
    (header.ls_type, header.link_state_id, header.adv_router)
}

/// The header of an LSA in bytes.
pub fn header(bytes: &[u8]) -> Result<LsaHeader> {
    forge::header_of(bytes).context("an LSA without a header")
}

/// The newest instances.
#[derive(Debug, Default)]
pub struct Book {
    lsas: BTreeMap<Key, (i32, Bytes)>,
}

impl Book {
    /// Makes the next instance of an LSA; `flush`: as one of MaxAge.
    pub fn say(&mut self, said: Said, flush: bool) -> (Key, i32, Bytes) {
        let key = (said.ls_type, LinkStateId(said.id), said.router);
        let sequence = self.lsas.get(&key).map_or(INITIAL_SEQUENCE, |(sequence, _)| sequence.saturating_add(1));
        let header = LsaHeader {
            age: if flush { MAX_AGE } else { 1 },
            ls_type: said.ls_type,
            link_state_id: LinkStateId(said.id),
            adv_router: said.router,
            sequence,
            ..LsaHeader::default()
        };
        let bytes = Lsa::build(header, said.body).raw;
        self.lsas.insert(key, (sequence, Arc::clone(&bytes)));
        (key, sequence, bytes)
    }

    /// The newest instance of an LSA.
    pub fn get(&self, key: &Key) -> Option<&Bytes> {
        self.lsas.get(key).map(|(_, bytes)| bytes)
    }
}

/// As many LSAs as fit, update by update.
pub fn pack(lsas: &[Bytes]) -> Vec<&[Bytes]> {
    let (mut packed, mut from, mut size) = (vec![], 0, 0);
    for (place, lsa) in lsas.iter().enumerate() {
        if size + lsa.len() > ROOM && place > from {
            packed.extend(lsas.get(from..place));
            (from, size) = (place, 0);
        }
        size += lsa.len();
    }
    packed.extend(lsas.get(from..).filter(|rest| !rest.is_empty()));
    packed
}

/// A packet of the backbone area.
pub fn packet(router: RouterId, (src, dst): (Ipv6Addr, Ipv6Addr), body: PacketBody) -> Vec<u8> {
    let header = PacketHeader { router_id: router, area_id: AreaId(0), instance_id: 0 };
    Packet { header, body }.encode(src, dst)
}

/// A Link State Update of these LSAs.
pub fn update(router: RouterId, (src, dst): (Ipv6Addr, Ipv6Addr), lsas: &[Bytes]) -> Vec<u8> {
    let mut bytes = packet(router, (src, dst), PacketBody::LsUpd(LsUpd::default()));
    forge::patch(&mut bytes, 16, &(lsas.len() as u32).to_be_bytes());
    lsas.iter().for_each(|lsa| bytes.extend_from_slice(lsa));
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    forge::patch(&mut bytes, 2, &length.to_be_bytes());
    forge::sum_packet(src, dst, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::graph::{Network, SERVICE_METRIC};

    #[test]
    fn an_update_of_the_book_is_a_valid_packet_of_newer_instances() {
        let mut book = Book::default();
        let [prefix, link] = Network::server_change(0, SERVICE_METRIC, 1).unwrap();
        book.say(prefix.clone(), false);
        let (key, sequence, again) = book.say(prefix, false);
        assert_eq!(sequence, INITIAL_SEQUENCE + 1);
        assert_eq!(book.get(&key), Some(&again));
        let (_, _, link) = book.say(link, true);
        let ends = (Network::server(0), Ipv6Addr::LOCALHOST);
        let bytes = update(RouterId(7), ends, &[again, link]);
        let PacketBody::LsUpd(update) = Packet::decode(ends.0, ends.1, &bytes).unwrap().body else { panic!() };
        assert!(update.rejected.is_empty());
        let ages: Vec<_> = update.lsas.iter().map(|lsa| lsa.header.age).collect();
        assert_eq!(ages, [1, MAX_AGE]);
    }

    #[test]
    fn packets_are_filled_and_nothing_is_left_out() {
        let lsas: Vec<Bytes> = [1000, 464, 1, 1400].map(|size| Bytes::from(vec![0; size])).into();
        let sizes: Vec<_> = pack(&lsas).iter().map(|some| some.len()).collect();
        assert_eq!(sizes, [1, 2, 1]);
        assert!(pack(&[]).is_empty());
    }
}
