//! The shortest-path tree (RFC 2328 §16.1) with all equal-cost paths (§16.8).

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use crate::consts::LS_INFINITY;
use crate::id::{AreaId, IfaceId, RouterId};
use crate::spf::first_hop::{HopSetId, HopSets};
use crate::spf::graph::Link;
use crate::spf::{FirstHop, Graph, LinkEnd, VertexId};

/// The shortest-path tree of one area, as seen from one router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    area: AreaId,
    root: RouterId,
    vertices: Vec<Vertex>,
}

/// A vertex that can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vertex {
    /// Which.
    pub id: VertexId,
    /// The sum of costs from the root, below LSInfinity.
    pub distance: u32,
    /// The first hops of its shortest paths, shared between vertices; empty for the root.
    pub first_hops: Arc<BTreeSet<FirstHop>>,
}

impl Tree {
    /// The area.
    pub fn area(&self) -> AreaId {
        self.area
    }

    /// The router that it was calculated for.
    pub fn root(&self) -> RouterId {
        self.root
    }

    /// How many vertices can be reached, the root included; 0 if the root has no Router-LSA.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether the root has no Router-LSA.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// The vertices that can be reached, in the order of their ids.
    pub fn vertices(&self) -> &[Vertex] {
        &self.vertices
    }

    /// A vertex, if it can be reached.
    pub fn vertex(&self, id: VertexId) -> Option<&Vertex> {
        self.vertices.get(self.place(id)?)
    }

    /// Where a vertex is in [`Tree::vertices`], if it can be reached.
    pub fn place(&self, id: VertexId) -> Option<usize> {
        self.vertices.binary_search_by_key(&id, |vertex| vertex.id).ok()
    }

    /// A router, if it can be reached.
    pub fn router(&self, router: RouterId) -> Option<&Vertex> {
        self.vertex(VertexId::Router(router))
    }

    /// A transit network, named by its Designated Router and that router's Interface ID, if it can be reached.
    pub fn network(&self, dr: RouterId, iface: IfaceId) -> Option<&Vertex> {
        self.vertex(VertexId::Network { dr, iface })
    }
}

impl Graph {
    /// The shortest-path tree with `root` as its root.
    ///
    /// A path of LSInfinity or more does not count: no border router could tell another area of it.
    pub fn tree(&self, root: RouterId) -> Tree {
        let vertices = match self.number(VertexId::Router(root)) {
            Some(number) => Search::new(self, number).run(),
            None => Vec::new(),
        };
        Tree { area: self.area(), root, vertices }
    }

    /// The vertices before `id` on its shortest paths in `tree`, a tree of this graph, in the order of their ids; none for the
    /// root.
    pub fn parents(&self, tree: &Tree, id: VertexId) -> Vec<VertexId> {
        let (Some(number), Some(vertex)) = (self.number(id), tree.vertex(id)) else {
            return Vec::new();
        };
        let root = VertexId::Router(tree.root());
        // What leads here is at the far ends of what leaves from here: every link is confirmed.
        let mut near: Vec<u32> = self.links(number).iter().map(|link| link.to).filter(|_| id != root).collect();
        near.sort_unstable();
        near.dedup();
        let leads_here = |from: &u32| {
            let node = self.node(*from).filter(|node| node.forwards || node.id == root)?;
            let before = tree.vertex(node.id)?;
            let here = |link: &&Link| link.to == number && before.distance + u32::from(link.metric) == vertex.distance;
            self.links(*from).iter().find(here).map(|_| node.id)
        };
        near.iter().filter_map(leads_here).collect()
    }
}

/// The vertices that are not the same in both trees (none: there was no tree): reached in one alone, at another distance or by
/// other first hops.
pub fn changed_vertices(old: Option<&Tree>, new: &Tree) -> Vec<VertexId> {
    let mut before = old.map(Tree::vertices).unwrap_or_default().iter().peekable();
    let mut after = new.vertices().iter().peekable();
    let mut changed = Vec::new();
    loop {
        let order = match (before.peek(), after.peek()) {
            (Some(before), Some(after)) => before.id.cmp(&after.id),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return changed,
        };
        let old = before.next_if(|_| order.is_le());
        let new = after.next_if(|_| order.is_ge());
        if old != new {
            changed.extend(old.or(new).map(|vertex| vertex.id));
        }
    }
}

/// A vertex that no path is known to yet.
const UNKNOWN: u32 = u32::MAX;

/// What is known of a vertex during the search.
#[derive(Clone, Copy, Debug)]
struct Label {
    /// Below LSInfinity, or [`UNKNOWN`].
    distance: u32,
    hops: HopSetId,
    /// It has hops that its links have not passed on yet.
    pending: bool,
}

/// A place in the order in which vertices are taken: (distance, is a router, number) as one number, which is quick to compare.
///
/// At equal distance networks come first, so that all equal-cost paths are found (RFC 2328 §16.1 (3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u64);

impl Place {
    fn new(distance: u32, is_router: bool, number: u32) -> Self {
        Place(u64::from(distance) << 33 | u64::from(is_router) << 32 | u64::from(number))
    }

    fn distance(self) -> u32 {
        (self.0 >> 33) as u32
    }

    fn number(self) -> u32 {
        self.0 as u32
    }
}

/// One run of Dijkstra's algorithm.
struct Search<'a> {
    graph: &'a Graph,
    root: u32,
    labels: Vec<Label>,
    candidates: BinaryHeap<Reverse<Place>>,
    sets: HopSets,
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph, root: u32) -> Self {
        let unknown = Label { distance: UNKNOWN, hops: HopSetId::EMPTY, pending: false };
        let mut labels = vec![unknown; graph.len()];
        if let Some(label) = labels.get_mut(root as usize) {
            *label = Label { distance: 0, hops: HopSetId::EMPTY, pending: true };
        }
        let candidates = BinaryHeap::from([Reverse(Place::new(0, true, root))]);
        Search { graph, root, labels, candidates, sets: HopSets::new() }
    }

    fn run(mut self) -> Vec<Vertex> {
        // (3) The candidate closest to the root is next.
        while let Some(Reverse(place)) = self.candidates.pop() {
            let (number, distance) = (place.number(), place.distance());
            let Some(label) = self.labels.get_mut(number as usize) else {
                continue;
            };
            if label.distance != distance || !label.pending {
                continue;
            }
            label.pending = false;
            let hops = label.hops;
            let graph = self.graph;
            // No path leads through a router that does not forward; the root's own packets leave it all the same.
            if number == self.root || graph.node(number).is_some_and(|node| node.forwards) {
                for link in graph.links(number) {
                    self.examine(number, (distance, hops), link);
                }
            }
        }
        self.finish()
    }

    /// (2) Examines the link from `from`, with its distance and hops, to the vertex at the link's end.
    fn examine(&mut self, from: u32, (distance, hops): (u32, HopSetId), link: &Link) {
        let (Some(end), Some(known)) = (self.graph.node(link.to), self.labels.get(link.to as usize)) else {
            return;
        };
        // (b) (c)
        if !end.candidate || link.to == self.root {
            return;
        }
        // (d)
        let distance = distance + u32::from(link.metric);
        if distance >= LS_INFINITY || known.distance < distance {
            return;
        }
        let far = match end.id {
            VertexId::Router(router) => Some(LinkEnd { router, iface: link.far }),
            VertexId::Network { .. } => None,
        };
        // The next-hop calculation (RFC 2328 §16.1.1).
        let hops = match far {
            _ if from == self.root => self.sets.single(FirstHop { iface: link.near, neighbor: far }),
            Some(far) => self.sets.across(hops, far),
            _ => hops,
        };
        self.improve((distance, hops), link.to, far.is_some());
    }

    /// Notes a path to `number` that is as short as any known, or shorter.
    fn improve(&mut self, (distance, hops): (u32, HopSetId), number: u32, is_router: bool) {
        let Some(label) = self.labels.get_mut(number as usize) else {
            return;
        };
        if label.distance == distance {
            let merged = self.sets.union(label.hops, hops);
            if merged == label.hops {
                return;
            }
            label.hops = merged;
            if std::mem::replace(&mut label.pending, true) {
                return;
            }
            // Only over a link of metric 0 can a hop come after the vertex: its links pass it on once more.
        } else {
            *label = Label { distance, hops, pending: true };
        }
        self.candidates.push(Reverse(Place::new(distance, is_router, number)));
    }

    fn finish(self) -> Vec<Vertex> {
        let reached = self.graph.nodes().iter().zip(&self.labels).filter(|(_, label)| label.distance != UNKNOWN);
        reached
            .map(|(node, label)| Vertex {
                id: node.id,
                distance: label.distance,
                first_hops: self.sets.get(label.hops),
            })
            .collect()
    }
}
