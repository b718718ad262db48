//! How a cost change goes out so that every router's FIB is right.
//!
//! FRR loses a raised metric in some 4 % of changes unless an SPF follows the prefix LSA in the same LS Update: it needs
//! a companion LSA with a change that means nothing. A companion costs the others work, so the least that suffices is
//! chosen.

use std::collections::BTreeSet;

use ospf_proto::engine::Companion;
use ospf_proto::id::RouterId;
use ospf_proto::lsa::Prefix;
use serde::Serialize;

use super::Area;

/// How a cost change is announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The least that suffices, as the area is now.
    #[default]
    Auto,
    /// The prefix LSA alone.
    InPlace,
    /// With our Link-LSA behind it.
    WithLink,
    /// With our Router-LSA behind it.
    WithSpf,
}

/// What goes out behind a changed metric, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The companion.
    pub companion: Companion,
    /// Why.
    pub reason: &'static str,
}

/// Chooses for a service with these prefixes; `in_place` are the routers known to follow a metric that changes in place.
pub fn companion(strategy: Strategy, area: &Area, prefixes: &[Prefix], in_place: &BTreeSet<RouterId>) -> Choice {
    let choice = |companion, reason| Choice { companion, reason };
    match strategy {
        Strategy::InPlace => choice(Companion::None, "configured"),
        Strategy::WithLink => choice(Companion::Link, "configured"),
        Strategy::WithSpf => choice(Companion::Router, "configured"),
        Strategy::Auto => {
            let follows = |router| area.farm.contains_key(router) || in_place.contains(router);
            let originators: BTreeSet<RouterId> =
                prefixes.iter().flat_map(|prefix| area.originators(prefix)).map(|(router, _)| router).collect();
            if area.routers.iter().all(follows) {
                choice(Companion::None, "every router of the area is of our kind or in peers-in-place")
            } else if area.links.iter().any(|link| originators.is_subset(link)) {
                choice(Companion::Link, "other routers in the area, all servers on one link with us")
            } else {
                choice(Companion::Router, "other routers in the area, servers on several links")
            }
        }
    }
}

/// One command states all prefixes: the companion that suffices for each of them.
pub fn strongest(companions: impl Iterator<Item = Companion>) -> Companion {
    companions.fold(Companion::None, |one, other| match (one, other) {
        (Companion::Router, _) | (_, Companion::Router) => Companion::Router,
        (Companion::Link, _) | (_, Companion::Link) => Companion::Link,
        (Companion::None, Companion::None) => Companion::None,
    })
}

#[cfg(test)]
mod tests {
    use ospf_proto::lsa::SharingMode;

    use super::super::testing::{Lab, farm_tlv, prefix};
    use super::*;

    const DNS: &str = "2001:db8::53/128";

    fn auto(lab: &Lab, in_place: &[u32]) -> Companion {
        let in_place = in_place.iter().map(|id| RouterId(*id)).collect();
        companion(Strategy::Auto, &lab.area(), &[prefix(DNS)], &in_place).companion
    }

    /// A link router that is not ours, and another server of ours.
    fn lab() -> Lab {
        let mut lab = Lab::new();
        lab.router(2, true);
        lab.server(3, &[(DNS, 10)]);
        lab.information(3, &[farm_tlv(3, DNS, None, 0)]);
        lab
    }

    #[test]
    fn beside_a_foreign_router_on_the_link_the_link_lsa_follows() {
        assert_eq!(auto(&lab(), &[]), Companion::Link);
    }

    #[test]
    fn where_every_router_carries_our_tlv_the_metric_changes_in_place() {
        let mut lab = lab();
        lab.shares(2, SharingMode::Equal, 64);
        assert_eq!(auto(&lab, &[]), Companion::None);
    }

    #[test]
    fn a_router_in_peers_in_place_is_as_good_as_ours() {
        assert_eq!(auto(&lab(), &[2]), Companion::None);
    }

    #[test]
    fn a_foreign_router_anywhere_in_the_area_forbids_in_place() {
        let mut lab = lab();
        lab.shares(2, SharingMode::Equal, 64);
        lab.distant(7, true);
        assert_eq!(auto(&lab, &[]), Companion::Link);
    }

    #[test]
    fn a_server_on_another_link_needs_the_router_lsa() {
        let mut lab = lab();
        lab.distant(8, false);
        assert_eq!(auto(&lab, &[]), Companion::Link);
        lab.prefixes(8, RouterId(8), &[(DNS, 10)], ospf_proto::lsa::PrefixOptions::empty());
        assert_eq!(auto(&lab, &[]), Companion::Router);
    }

    #[test]
    fn without_any_neighbor_nothing_follows() {
        assert_eq!(auto(&Lab::new(), &[]), Companion::None);
    }

    #[test]
    fn a_configured_strategy_is_obeyed() {
        let area = lab().area();
        for (strategy, expected) in [
            (Strategy::InPlace, Companion::None),
            (Strategy::WithLink, Companion::Link),
            (Strategy::WithSpf, Companion::Router),
        ] {
            assert_eq!(companion(strategy, &area, &[prefix(DNS)], &BTreeSet::new()).companion, expected);
        }
    }

    #[test]
    fn the_strongest_companion_serves_all() {
        use Companion::{Link, None, Router};
        assert_eq!(strongest([None, Link, None].into_iter()), Link);
        assert_eq!(strongest([Link, Router, None].into_iter()), Router);
        assert_eq!(strongest(std::iter::empty()), None);
    }
}
