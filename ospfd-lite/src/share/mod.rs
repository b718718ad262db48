//! How the packets of a route are shared over its next hops. Pure.
//!
//! [`shares`] weighs the next hops of a route; [`Capacities`] holds what the servers say of their capacity against noise and
//! leaps; [`assign`] makes a table of slots of it; [`Sharer`] puts them together. Weights decide among paths of equal cost only: they never bring in a
//! longer one (RFC 2328 §16.8).

mod capacity;
mod sharer;
mod slots;
mod weighted;

use ospf_proto::id::RouterId;
use ospf_proto::lsa::Prefix;
use ospf_proto::rib::{NextHop, Route};
use serde::{Deserialize, Serialize};

pub use capacity::{Capacities, Claim, Claims, Held};
pub use sharer::Sharer;
pub use slots::{Table, assign, quotas};
pub use weighted::Weighted;

use crate::netio::fib::Member;

/// What next hops are weighed by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weights {
    /// The capacity that the originators behind it state (docs/farm-tlv.md); the median for one that states none.
    #[default]
    Capacity,
    /// Not at all.
    Equal,
    /// How many originators lie behind it.
    Originators,
}

impl Weights {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Weights::Capacity => "capacity",
            Weights::Equal => "equal",
            Weights::Originators => "originators",
        }
    }
}

/// The next hops of a route with their weights, in parts of [`WHOLE`]; all 1 if they are equal.
pub type Shares = Weighted<Member>;

/// What unequal weights of one route add up to, rounding aside.
pub const WHOLE: u32 = 1 << 24;

/// The weight of each originator of a route, in their order in it, before its next hops are looked at.
pub fn originator_weights(route: &Route, weights: Weights, capacity: &dyn Fn(RouterId) -> Option<f64>) -> Vec<f64> {
    let known = |router: RouterId| match weights {
        Weights::Capacity => capacity(router),
        Weights::Equal | Weights::Originators => Some(1.0),
    };
    let told: Vec<Option<f64>> = route.originators().map(known).collect();
    let typical = lower_median(told.iter().flatten().copied().collect()).unwrap_or(1.0);
    told.into_iter().map(|weight| weight.unwrap_or(typical)).collect()
}

/// The next hops of a route with their weights; none if it is not to be installed: our own, or on the link.
pub fn shares(route: &Route, weights: Weights, capacity: &dyn Fn(RouterId) -> Option<f64>) -> Option<Shares> {
    let member = |hop: &NextHop| Some(Member { iface: hop.iface.0, gateway: hop.gateway? });
    // Both lists are ordered by interface and address.
    let mut members: Vec<Member> = Vec::with_capacity(route.next_hops.len());
    for hop in &route.next_hops {
        members.push(member(hop)?);
    }
    let even = || (!members.is_empty()).then(|| members.iter().map(|member| (*member, 1)).collect());
    if weights == Weights::Equal {
        return even();
    }
    let mut parts = vec![0.0; members.len()];
    for (weight, (_, places)) in originator_weights(route, weights, capacity).into_iter().zip(route.paths()) {
        for place in places {
            if let Some(part) = parts.get_mut(*place as usize) {
                *part += weight / places.len() as f64;
            }
        }
    }
    let (least, most) = parts.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), w| (low.min(*w), high.max(*w)));
    // Of capacities that are all unknown or all 0, and up to rounding, equal.
    if most - least <= 1e-6 * most {
        return even();
    }
    let sum: f64 = parts.iter().sum();
    let scaled = |weight: f64| ((weight / sum * f64::from(WHOLE)).round() as u32).max(1);
    Some(members.into_iter().zip(parts.into_iter().map(scaled)).collect())
}

/// The lower one of the two in the middle.
fn lower_median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// What the Farm TLVs of an area say of each service, by prefix and originator.
pub fn claims(information: impl Iterator<Item = (RouterId, ospf_proto::lsa::FarmTlv)>) -> Claims {
    let mut claims = Claims::new();
    for (router, tlv) in information {
        for record in tlv.services {
            let Some(prefix) = Prefix::new(record.prefix, record.prefix_len) else { continue };
            claims.entry(prefix).or_default().insert(router, Claim::of(&record));
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use ospf_proto::id::IfaceId;
    use ospf_proto::rib::{NextHop, PathType};

    use super::*;

    /// Next hops are taken for members in their order.
    #[test]
    fn members_are_ordered_as_next_hops_are() {
        let hop = |iface, address: &str| NextHop { iface: IfaceId(iface), gateway: Some(address.parse().unwrap()) };
        let mut hops = [hop(2, "fe80::1"), hop(1, "fe80::ff:0:0:1"), hop(1, "fe80::2"), hop(1, "fe80:0:0:1::1")];
        hops.sort();
        let members = hops.iter().map(|hop| Member { iface: hop.iface.0, gateway: hop.gateway.unwrap() });
        assert!(members.is_sorted());
    }

    fn hop(n: u16) -> NextHop {
        NextHop { iface: IfaceId(1), gateway: Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n)) }
    }

    /// Each originator with its next hops.
    fn route(paths: &[(u32, &[u16])]) -> Route {
        let mut list = Vec::new();
        for (router, hops) in paths {
            list.push((RouterId(*router), None));
            list.extend(hops.iter().map(|n| (RouterId(*router), Some(hop(*n)))));
        }
        Route::new(PathType::IntraArea, 10, list)
    }

    fn parts(route: &Route, weights: Weights, capacity: &dyn Fn(RouterId) -> Option<f64>) -> Vec<f64> {
        let shares = shares(route, weights, capacity).unwrap();
        let sum: f64 = shares.weights().map(f64::from).sum();
        shares.weights().map(|weight| (f64::from(weight) / sum * 1000.0).round() / 1000.0).collect()
    }

    #[test]
    fn two_leaves_with_three_servers_share_by_servers_or_by_leaves() {
        let leaves = route(&[(1, &[1]), (2, &[2]), (3, &[2])]);
        assert_eq!(parts(&leaves, Weights::Originators, &|_| None), [0.333, 0.667]);
        assert_eq!(parts(&leaves, Weights::Equal, &|_| None), [0.5, 0.5]);
        assert_eq!(parts(&leaves, Weights::Capacity, &|_| None), [0.333, 0.667]);
        let capacity = |router: RouterId| (router.0 == 1).then_some(400.0).or((router.0 == 2).then_some(100.0));
        // The third counts as the lower one of the two that are known.
        assert_eq!(parts(&leaves, Weights::Capacity, &capacity), [0.667, 0.333]);
    }

    #[test]
    fn an_originator_with_several_next_hops_splits_its_weight() {
        let both = route(&[(1, &[1, 2]), (2, &[2])]);
        assert_eq!(parts(&both, Weights::Originators, &|_| None), [0.25, 0.75]);
    }

    #[test]
    fn equal_weights_are_all_one() {
        let farm = route(&[(1, &[1]), (2, &[2]), (3, &[3])]);
        for weights in [Weights::Capacity, Weights::Equal, Weights::Originators] {
            let shares = shares(&farm, weights, &|_| Some(700.1)).unwrap();
            assert_eq!(shares.weights().collect::<Vec<_>>(), [1, 1, 1]);
        }
    }

    #[test]
    fn an_originator_of_unknown_address_takes_no_part_and_our_own_prefix_is_not_shared() {
        let farm = route(&[(1, &[1]), (2, &[])]);
        assert_eq!(shares(&farm, Weights::Capacity, &|_| None).unwrap().len(), 1);
        assert_eq!(shares(&route(&[(1, &[])]), Weights::Capacity, &|_| None), None);
        let on_link = NextHop { iface: IfaceId(1), gateway: None };
        let connected = [hop(1), on_link].map(|hop| (RouterId(1), Some(hop)));
        let connected = Route::new(PathType::IntraArea, 10, connected.to_vec());
        assert_eq!(shares(&connected, Weights::Capacity, &|_| None), None);
    }
}
