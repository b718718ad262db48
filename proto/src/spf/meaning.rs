//! Whether a changed LSA changes what SPF makes of it: meaning is compared, not bytes.

use std::collections::BTreeSet;

use crate::consts::MAX_AGE;
use crate::id::{LinkStateId, RouterId};
use crate::lsa::{Lsa, LsaBody, Options, RouterLink, RouterLinkType, RouterLsa};

/// Whether the tree of `root` stays the same if `new` takes the place of `old`: two instances of one LSA.
///
/// Of a Router-LSA the V6- and R-bits and its links count, in any order; of a router that does not forward, and is not
/// `root`, not even their metrics. Of a Network-LSA only the attached routers count. Other LSAs are not part of the
/// graph. An instance at MaxAge is as good as none, so it never is the same; whether the *old* one has reached MaxAge
/// since it was installed is for the caller to know.
pub fn same_graph(old: &Lsa, new: &Lsa, root: RouterId) -> bool {
    match (&old.body, &new.body) {
        (LsaBody::Router(_) | LsaBody::Network(_), _) | (_, LsaBody::Router(_) | LsaBody::Network(_))
            if old.header.age >= MAX_AGE || new.header.age >= MAX_AGE =>
        {
            false
        }
        (LsaBody::Router(before), LsaBody::Router(after)) => {
            // The options of the LSA with Link State ID 0 hold for the whole router (RFC 5340 §4.8.1); what those of
            // another one are worth cannot be seen from here.
            let own_options = new.header.link_state_id == LinkStateId(0);
            let leaf = own_options && new.header.adv_router != root;
            Meaning::of(before, leaf) == Meaning::of(after, leaf)
        }
        (LsaBody::Network(before), LsaBody::Network(after)) => {
            BTreeSet::from_iter(&before.attached) == BTreeSet::from_iter(&after.attached)
        }
        (LsaBody::Router(_) | LsaBody::Network(_), _) | (_, LsaBody::Router(_) | LsaBody::Network(_)) => false,
        _ => true,
    }
}

/// Whether next hops stay the same if the Link-LSA `new` takes the place of `old`: only the link-local address counts
/// (RFC 5340 §4.8.2). What [`same_graph`] says of MaxAge holds here too; other LSAs name no next hops.
pub fn same_next_hop(old: &Lsa, new: &Lsa) -> bool {
    match (&old.body, &new.body) {
        (LsaBody::Link(before), LsaBody::Link(after)) => {
            old.header.age < MAX_AGE && new.header.age < MAX_AGE && before.link_local == after.link_local
        }
        (LsaBody::Link(_), _) | (_, LsaBody::Link(_)) => false,
        _ => true,
    }
}

/// What SPF reads from a Router-LSA.
#[derive(PartialEq, Eq)]
struct Meaning {
    options: Options,
    links: Vec<RouterLink>,
}

impl Meaning {
    fn of(body: &RouterLsa, leaf: bool) -> Self {
        let metrics_count = !leaf || body.options.contains(Options::R);
        let counts =
            |link: &&RouterLink| matches!(link.link_type, RouterLinkType::PointToPoint | RouterLinkType::Transit);
        let mut links: Vec<RouterLink> = body
            .links
            .iter()
            .filter(counts)
            .map(|link| RouterLink { metric: if metrics_count { link.metric } else { 0 }, ..*link })
            .collect();
        links.sort_unstable();
        Meaning { options: body.options & (Options::V6 | Options::R), links }
    }
}
