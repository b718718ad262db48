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
    /// The vertices before it on its shortest paths, in the order of their ids; empty for the root.
    pub parents: Vec<VertexId>,
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
        let at = self.vertices.binary_search_by_key(&id, |vertex| vertex.id).ok()?;
        self.vertices.get(at)
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
}

/// What is known of a vertex during the search.
#[derive(Clone, Debug)]
struct Label {
    distance: u32,
    hops: HopSetId,
    parents: Vec<u32>,
    /// It has hops that its links have not passed on yet.
    pending: bool,
}

/// One run of Dijkstra's algorithm.
struct Search<'a> {
    graph: &'a Graph,
    root: u32,
    labels: Vec<Option<Label>>,
    /// (distance, is a router, number): at equal distance networks come first, so that all equal-cost paths are
    /// found (RFC 2328 §16.1 (3)).
    candidates: BinaryHeap<Reverse<(u32, bool, u32)>>,
    sets: HopSets,
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph, root: u32) -> Self {
        let mut labels = vec![None; graph.len()];
        if let Some(slot) = labels.get_mut(root as usize) {
            *slot = Some(Label { distance: 0, hops: HopSetId::EMPTY, parents: Vec::new(), pending: true });
        }
        let candidates = BinaryHeap::from([Reverse((0, true, root))]);
        Search { graph, root, labels, candidates, sets: HopSets::new() }
    }

    fn run(mut self) -> Vec<Vertex> {
        // (3) The candidate closest to the root is next.
        while let Some(Reverse((distance, _, number))) = self.candidates.pop() {
            let Some(label) = self.labels.get_mut(number as usize).and_then(Option::as_mut) else {
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
        let (Some(start), Some(end)) = (self.graph.node(from), self.graph.node(link.to)) else {
            return;
        };
        // (b) (c)
        if !end.candidate || link.to == self.root {
            return;
        }
        // (d)
        let distance = distance + u32::from(link.metric);
        if distance >= LS_INFINITY {
            return;
        }
        let known = self.labels.get(link.to as usize).and_then(Option::as_ref).map(|label| label.distance);
        if known.is_some_and(|known| known < distance) {
            return;
        }
        let far = match end.id {
            VertexId::Router(router) => Some(LinkEnd { router, iface: link.far }),
            VertexId::Network { .. } => None,
        };
        // The next-hop calculation (RFC 2328 §16.1.1).
        let hops = match (start.id, far) {
            _ if from == self.root => self.sets.single(FirstHop { iface: link.near, neighbor: far }),
            (VertexId::Network { .. }, Some(far)) => self.sets.across(hops, far),
            _ => hops,
        };
        self.improve(from, (distance, hops), link.to);
    }

    /// Notes a path to `number` by way of `from` that is as short as any known, or shorter.
    fn improve(&mut self, from: u32, (distance, hops): (u32, HopSetId), number: u32) {
        let Some(slot) = self.labels.get_mut(number as usize) else {
            return;
        };
        match slot {
            Some(label) if label.distance.cmp(&distance) == Ordering::Equal => {
                if let Err(at) = label.parents.binary_search(&from) {
                    label.parents.insert(at, from);
                }
                let merged = self.sets.union(label.hops, hops);
                if merged == label.hops {
                    return;
                }
                label.hops = merged;
                if std::mem::replace(&mut label.pending, true) {
                    return;
                }
                // Only over a link of metric 0 can a hop come after the vertex: its links pass it on once more.
            }
            _ => *slot = Some(Label { distance, hops, parents: vec![from], pending: true }),
        }
        let is_router = matches!(self.graph.node(number).map(|node| node.id), Some(VertexId::Router(_)));
        self.candidates.push(Reverse((distance, is_router, number)));
    }

    fn finish(self) -> Vec<Vertex> {
        let graph = self.graph;
        let ids = |numbers: Vec<u32>| numbers.into_iter().filter_map(|n| graph.node(n).map(|node| node.id)).collect();
        let reached = graph.nodes().iter().zip(self.labels).filter_map(|(node, label)| Some((node.id, label?)));
        reached
            .map(|(id, label)| Vertex {
                id,
                distance: label.distance,
                parents: ids(label.parents),
                first_hops: self.sets.get(label.hops),
            })
            .collect()
    }
}
