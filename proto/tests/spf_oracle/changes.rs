//! Single LSAs change; trees, next hops and routes are computed again only as far as needed, as the engine does it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ospf_proto::consts::MAX_AGE;
use ospf_proto::id::{AreaId, Domain, LsaKey};
use ospf_proto::lsa::{LsType, Lsa, LsaBody, Options, Prefix, PrefixOptions};
use ospf_proto::lsdb::{Lsdb, Source};
use ospf_proto::rib::{self, Basis, Rib, Route, RouteChange};
use ospf_proto::spf::{Graph, Tree, changed_vertices, same_graph, same_next_hop};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::NOW;
use crate::topology::{self, AREA, Topology, next, router_id};

/// What the engine keeps: a database, and what it derived from it.
struct Router {
    number: usize,
    topology: Topology,
    lsdb: Lsdb,
    trees: BTreeMap<AreaId, Tree>,
    rib: Rib,
    /// Full computations so far.
    trees_built: usize,
}

impl Router {
    fn new(topology: &Topology, number: usize) -> Self {
        let mut router = Router {
            number,
            topology: topology.clone(),
            lsdb: Lsdb::default(),
            trees: BTreeMap::new(),
            rib: Rib::default(),
            trees_built: 0,
        };
        for (domain, lsa) in topology.lsas(number) {
            router.change(lsa.key(domain), Some(lsa));
        }
        router
    }

    /// Installs an LSA (none: removes it), and computes again what has to be; the changes of routes.
    fn change(&mut self, key: LsaKey, new: Option<Lsa>) -> Vec<RouteChange> {
        let old = self.lsdb.get(&key).map(|entry| entry.lsa().clone());
        match &new {
            Some(lsa) => {
                self.lsdb.install(key.domain, lsa.clone(), Source::Flooded, NOW);
            }
            None => {
                self.lsdb.remove(&key);
            }
        }
        let mut dirty = self.rib.lsa_changed(&key, old.as_ref().map(|lsa| &lsa.body), (&self.lsdb, NOW));
        let root = router_id(self.number);
        let (graph_stays, next_hops_stay) = match (&old, &new) {
            (Some(old), Some(new)) => (same_graph(old, new, root), same_next_hop(old, new)),
            (Some(lsa), None) | (None, Some(lsa)) => {
                (!matches!(lsa.body, LsaBody::Router(_) | LsaBody::Network(_)), !matches!(lsa.body, LsaBody::Link(_)))
            }
            (None, None) => (true, true),
        };
        if !graph_stays {
            let tree = Graph::build(&self.lsdb, AREA, NOW).tree(root);
            let changed = changed_vertices(self.trees.get(&AREA), &tree);
            dirty.extend(self.rib.index().hanging_on(&self.lsdb, AREA, &changed));
            self.trees.insert(AREA, tree);
            self.rib.tree_changed();
            self.trees_built += 1;
        }
        let heard = self.topology.heard(self.number);
        let basis = Basis { trees: &self.trees, lsdb: &self.lsdb, heard: &heard, now: NOW };
        if next_hops_stay { self.rib.recompute(&dirty, &basis) } else { self.rib.recompute_all(&basis) }
    }

    /// Whether everything is as if computed from nothing.
    fn check(&self) -> Result<(), TestCaseError> {
        let fresh = Graph::build(&self.lsdb, AREA, NOW).tree(router_id(self.number));
        prop_assert_eq!(self.trees.get(&AREA), Some(&fresh));
        let heard = self.topology.heard(self.number);
        let trees = BTreeMap::from([(AREA, fresh)]);
        let basis = Basis { trees: &trees, lsdb: &self.lsdb, heard: &heard, now: NOW };
        prop_assert_eq!(self.rib.routes(), &rib::all(&basis));
        prop_assert!(self.rib.is_exact(&basis));
        Ok(())
    }
}

/// What may happen to an LSA.
#[derive(Clone, Copy, Debug)]
enum Mutation {
    Remove,
    Flush,
    Refresh,
    /// Change its body somehow; the number chooses.
    Edit(u64),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        1 => Just(Mutation::Remove),
        1 => Just(Mutation::Flush),
        1 => Just(Mutation::Refresh),
        8 => any::<u64>().prop_map(Mutation::Edit),
    ]
}

/// The LSA with its body changed: sometimes in meaning, sometimes only in its bytes.
fn edited(lsa: &Lsa, choice: u64) -> Lsa {
    let mut state = choice | 1;
    let mut draw = |below: usize| (next(&mut state) % below.max(1) as u64) as usize;
    let mut body = lsa.body.clone();
    match &mut body {
        LsaBody::Router(router) => match (draw(6), router.links.len()) {
            (0, _) => router.options ^= [Options::R, Options::V6, Options::DC][draw(3)],
            (1, 1..) => router.links.reverse(),
            (2, count @ 1..) => {
                router.links.remove(draw(count));
            }
            (_, count @ 1..) => router.links[draw(count)].metric = draw(4) as u16,
            _ => router.options ^= Options::DC,
        },
        LsaBody::Network(network) => match (draw(3), network.attached.len()) {
            (0, 1..) => network.attached.rotate_left(1),
            (1, count @ 1..) => {
                network.attached.remove(draw(count));
            }
            _ => network.options ^= Options::N,
        },
        LsaBody::Link(link) => match draw(2) {
            0 => link.options ^= Options::N,
            _ => link.link_local = topology::advertised_address(9, draw(4) as u32),
        },
        LsaBody::IntraAreaPrefix(prefixes) => match (draw(5), prefixes.prefixes.len()) {
            (0, count @ 1..) => {
                prefixes.prefixes.remove(draw(count));
            }
            (1, count @ 1..) => prefixes.prefixes[draw(count)].options ^= PrefixOptions::NU,
            (2, count @ 1..) => prefixes.prefixes[draw(count)].prefix = topology::prefix(draw(5) as u8),
            (3, _) => prefixes.referenced_router.0 = 1 + draw(9) as u32,
            (_, count @ 1..) => prefixes.prefixes[draw(count)].metric = draw(5) as u16,
            _ => prefixes.referenced_type = LsType::ROUTER,
        },
        other => panic!("no such LSA here: {other:?}"),
    }
    Lsa::build(lsa.header, body)
}

/// Applies what changed to a copy of the table, as the kernel's would be.
fn apply(table: &mut BTreeMap<Prefix, Arc<Route>>, changes: Vec<RouteChange>) {
    for change in changes {
        match change {
            RouteChange::Install(prefix, route) => {
                assert_ne!(table.insert(prefix, route.clone()), Some(route), "{prefix} did not change");
            }
            RouteChange::Remove(prefix) => assert!(table.remove(&prefix).is_some(), "{prefix} was not there"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn computing_what_changed_gives_what_computing_everything_gives(
        topology in topology::topology(),
        mutations in vec((any::<prop::sample::Index>(), mutation()), 1..40),
    ) {
        let mut router = Router::new(&topology, 0);
        router.check()?;
        let mut table = router.rib.routes().clone();
        let lsas = topology.lsas(0);
        for (index, mutation) in mutations {
            let (domain, original) = index.get(&lsas);
            let key = original.key(*domain);
            let now = router.lsdb.get(&key).map_or_else(|| original.clone(), |entry| entry.lsa().clone());
            let new = match mutation {
                Mutation::Remove => None,
                Mutation::Flush => Some(now.with_age(MAX_AGE)),
                Mutation::Refresh => Some(original.clone()),
                Mutation::Edit(choice) => Some(edited(&now.with_age(0), choice)),
            };
            let before = router.rib.routes().clone();
            let changes = router.change(key, new);
            prop_assert_eq!(&changes, &rib::diff(&before, router.rib.routes()));
            apply(&mut table, changes);
            router.check()?;
        }
        prop_assert_eq!(&table, router.rib.routes());
    }

    #[test]
    fn a_changed_prefix_lsa_builds_no_tree(topology in topology::topology(), choices in vec(any::<u64>(), 1..10)) {
        let mut router = Router::new(&topology, 0);
        let built = router.trees_built;
        for (number, choice) in choices.into_iter().enumerate() {
            if topology.prefix_lsas.is_empty() {
                break;
            }
            let lsa = topology.prefix_lsa(number % topology.prefix_lsas.len());
            let changes = router.change(lsa.key(Domain::Area(AREA)), Some(edited(&lsa, choice)));
            prop_assert!(changes.len() <= 10, "only the prefixes of the LSA");
        }
        prop_assert_eq!(router.trees_built, built);
    }
}
