//! What must be true at quiescence, computed from the intended topology alone: interfaces that are up, links that are
//! not cut, routers that run. No LSA, no tree of the engines is looked at to find out what the routes should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use anyhow::{Context, Result, bail, ensure};
use ospf_proto::{
    consts::MAX_LINK_METRIC,
    id::{Domain, RouterId},
    lsa::Prefix,
    rib::NextHop,
    state::NeighborState,
};

use crate::sim::{
    net::{Net, Port},
    topology::{iface_id, link_local, link_prefix},
};

/// No path.
const FAR: u32 = u32::MAX / 4;

/// A usable way from one router to another over one link.
#[derive(Clone, Copy, Debug)]
struct Hop {
    link: usize,
    nth: usize,
    to: usize,
    cost: u32,
}

/// The network as it should be seen.
#[derive(Debug)]
pub struct Oracle<'a> {
    net: &'a Net,
    hops: Vec<Vec<Hop>>,
    /// Distances from each router to each.
    distances: Vec<Vec<u32>>,
}

/// What should be reached: routers, and the distance from each on.
type Targets = BTreeMap<usize, u32>;

impl<'a> Oracle<'a> {
    /// Looks at the network as it is now.
    pub fn new(net: &'a Net) -> Self {
        let hops = (0..net.nodes.len()).map(|router| hops(net, router)).collect();
        let mut oracle = Oracle { net, hops, distances: Vec::new() };
        oracle.distances = (0..net.nodes.len()).map(|root| oracle.bellman_ford(root)).collect();
        oracle
    }

    fn bellman_ford(&self, root: usize) -> Vec<u32> {
        let mut distances = vec![FAR; self.net.nodes.len()];
        if let Some(own) = distances.get_mut(root) {
            *own = 0;
        }
        for _ in 0..self.net.nodes.len() {
            let before = distances.clone();
            for (from, hops) in self.hops.iter().enumerate() {
                let start = before.get(from).copied().unwrap_or(FAR);
                // Nothing passes through a server.
                if start >= FAR || !(from == root || self.net.topology.forwards(from)) {
                    continue;
                }
                for hop in hops {
                    if let Some(known) = distances.get_mut(hop.to) {
                        *known = (*known).min(start + hop.cost);
                    }
                }
            }
            if distances == before {
                break;
            }
        }
        distances
    }

    fn distance(&self, from: usize, targets: &Targets) -> u32 {
        let of = self.distances.get(from);
        let to = |router: &usize| of.and_then(|d| d.get(*router)).copied().unwrap_or(FAR);
        targets.iter().map(|(router, more)| to(router) + more).min().unwrap_or(FAR).min(FAR)
    }

    /// The least distance to a target, and the next hops of every shortest path.
    fn best(&self, root: usize, targets: &Targets) -> (u32, BTreeSet<NextHop>) {
        let least = self.distance(root, targets);
        let mut next_hops = BTreeSet::new();
        if least >= FAR || targets.get(&root) == Some(&least) {
            return (least, next_hops);
        }
        for hop in self.hops.get(root).into_iter().flatten() {
            let rest = if self.net.topology.forwards(hop.to) {
                self.distance(hop.to, targets)
            } else {
                targets.get(&hop.to).copied().unwrap_or(FAR)
            };
            if hop.cost + rest == least {
                let gateway = Some(link_local(hop.to, hop.link));
                next_hops.insert(NextHop { iface: iface_id(root, hop.nth), gateway });
            }
        }
        (least, next_hops)
    }

    /// Every assertion at quiescence.
    pub fn check(&self) -> Result<()> {
        for (router, node) in self.net.nodes.iter().enumerate() {
            let Some(engine) = &node.engine else { continue };
            if let Err(broken) = engine.check_invariants(usize::MAX) {
                bail!("router {router}: {broken}");
            }
        }
        self.adjacencies()?;
        for members in self.components() {
            self.databases(&members)?;
        }
        self.link_databases()?;
        (0..self.net.nodes.len()).filter(|router| self.net.alive(*router)).try_for_each(|router| self.routes(router))
    }

    /// After MaxAge without trouble nobody keeps an LSA of a router that it cannot hear.
    pub fn check_aged(&self) -> Result<()> {
        for members in self.components() {
            let known: BTreeSet<RouterId> = members.iter().map(|router| RouterId(*router as u32 + 1)).collect();
            for router in &members {
                let engine = self.net.nodes.get(*router).and_then(|node| node.engine.as_ref());
                let view = engine.context("a router that runs")?.view();
                let mut area = view.lsdb().iter().filter(|(key, _)| !matches!(key.domain, Domain::Link(_)));
                if let Some((key, _)) = area.find(|(key, _)| !known.contains(&key.adv_router)) {
                    bail!("router {router}: {key} is still there, MaxAge after its router has gone");
                }
            }
        }
        Ok(())
    }

    /// All on a link agree on DR and Backup; all are Full with these; no list has anything left.
    fn adjacencies(&self) -> Result<()> {
        for (link, plan) in self.net.topology.links.iter().enumerate() {
            for ports in segments(self.net, link) {
                let mut views = BTreeMap::new();
                for port in &ports {
                    let engine = self.net.nodes.get(port.router).and_then(|node| node.engine.as_ref());
                    let view = engine.context("a router that runs")?.view();
                    let iface = iface_id(port.router, port.nth);
                    let of_iface = view.interfaces().into_iter().find(|i| i.iface == iface);
                    let of_iface =
                        of_iface.with_context(|| format!("router {} has no interface {iface}", port.router))?;
                    let (dr, bdr) = (of_iface.dr, of_iface.bdr);
                    views.insert(port.router, (dr, bdr));
                    for n in view.neighbors().into_iter().filter(|n| n.iface == iface) {
                        let about = format!("router {} of {} on link {link}", port.router, n.router);
                        ensure!(n.requests + n.retransmissions == 0, "{about}: {n:?} has unfinished lists");
                        let me = RouterId(port.router as u32 + 1);
                        let adjacent = !plan.broadcast || [dr, bdr].iter().any(|id| *id == me || *id == n.router);
                        let wanted = if adjacent { NeighborState::Full } else { NeighborState::TwoWay };
                        ensure!(n.state == wanted, "{about}: {} instead of {wanted}", n.state);
                    }
                    ensure!(
                        of_iface.neighbors == ports.len() - 1,
                        "router {} on link {link}: {} neighbors instead of {}",
                        port.router,
                        of_iface.neighbors,
                        ports.len() - 1
                    );
                }
                let distinct: BTreeSet<_> = views.values().collect();
                ensure!(distinct.len() <= 1, "link {link}: no agreement on (DR, Backup DR): {views:?}");
            }
        }
        Ok(())
    }

    /// The same area LSAs at every member.
    fn databases(&self, members: &[usize]) -> Result<()> {
        let database = |router: &usize| -> Result<BTreeMap<String, (i32, u16)>> {
            let engine = self.net.nodes.get(*router).and_then(|node| node.engine.as_ref());
            let view = engine.context("a router that runs")?.view();
            let of_area = view.lsdb().iter().filter(|(key, _)| !matches!(key.domain, Domain::Link(_)));
            Ok(of_area
                .map(|(key, entry)| (key.to_string(), (entry.lsa().header.sequence, entry.lsa().header.checksum)))
                .collect())
        };
        same(members, "area", database)
    }

    /// The same Link-LSAs at every router of a link.
    fn link_databases(&self) -> Result<()> {
        for link in 0..self.net.topology.links.len() {
            for ports in segments(self.net, link).into_iter().filter(|ports| elects(self.net, link, ports)) {
                let nth: BTreeMap<usize, usize> = ports.iter().map(|port| (port.router, port.nth)).collect();
                let routers: Vec<usize> = nth.keys().copied().collect();
                let database = |router: &usize| -> Result<BTreeMap<String, (i32, u16)>> {
                    let engine = self.net.nodes.get(*router).and_then(|node| node.engine.as_ref());
                    let view = engine.context("a router that runs")?.view();
                    let iface = iface_id(*router, nth.get(router).copied().unwrap_or_default());
                    let name = |key: &ospf_proto::id::LsaKey| {
                        format!("{} {} of {}", key.ls_type, key.link_state_id, key.adv_router)
                    };
                    let of_link = view.lsdb().domain(Domain::Link(iface));
                    Ok(of_link
                        .map(|(key, entry)| (name(key), (entry.lsa().header.sequence, entry.lsa().header.checksum)))
                        .collect())
                };
                same(&routers, &format!("link {link}"), database)?;
            }
        }
        Ok(())
    }

    /// Routers that hear of each other: over every link with a DR, through servers too (they flood, if not forward).
    fn components(&self) -> Vec<Vec<usize>> {
        let mut left: BTreeSet<usize> = (0..self.net.nodes.len()).filter(|router| self.net.alive(*router)).collect();
        let mut found = Vec::new();
        while let Some(first) = left.pop_first() {
            let mut members = vec![first];
            let mut at = 0;
            while let Some(router) = members.get(at).copied() {
                at += 1;
                let near = self.hops.get(router).into_iter().flatten().map(|hop| hop.to);
                members.extend(near.filter(|to| left.remove(to)));
            }
            found.push(members);
        }
        found
    }

    /// The forwarding table of a router is the expected one, no route more; and it closes no loop.
    fn routes(&self, router: usize) -> Result<()> {
        let node = self.net.nodes.get(router).context("an unknown router")?;
        let engine = node.engine.as_ref().context("a router that runs")?;
        let table: BTreeMap<Prefix, Box<[NextHop]>> =
            engine.view().routes().iter().map(|(prefix, route)| (*prefix, route.next_hops.clone())).collect();
        ensure!(table == node.fib, "router {router}: the outputs so far do not add up to the routing table");
        // Restarted without a link a router has nobody to tell anything and says nothing, its own prefixes included.
        if !self.net.ports.iter().flatten().any(|port| port.router == router && port.up) {
            return Ok(());
        }
        let mut expected = BTreeSet::new();
        for (prefix, targets, attached) in self.destinations(router)? {
            let (least, next_hops) = self.best(router, &targets);
            let route = engine.view().routes().get(&prefix);
            let server = !self.net.topology.forwards(router);
            expected.insert(prefix);
            // A server's own link costs it MaxLinkMetric, and is not worth a route to compare.
            if attached && server {
                continue;
            }
            let got = route.map_or(FAR, |route| route.distance);
            // A server's link metric alternates by one with its load (Companion::Router).
            let toggled = server && got != FAR && got + 1 == least;
            ensure!(got == least || toggled, "router {router}: {prefix} is {got} away instead of {least}");
            let Some(route) = route else { continue };
            // On an attached link the routers there are as good as the link itself.
            ensure!(
                attached || route.next_hops.iter().eq(&next_hops),
                "router {router}: next hops to {prefix} are {:?} instead of {next_hops:?}",
                route.next_hops
            );
            ensure!(!self.net.closes_loop(router, &prefix), "router {router}: a forwarding loop to {prefix}");
        }
        let more = table.keys().find(|prefix| !expected.contains(prefix));
        ensure!(more.is_none(), "router {router}: a route to {more:?}, which nobody has");
        Ok(())
    }

    /// Every prefix that somebody has, who has it at what distance, and whether `router` is attached to it.
    fn destinations(&self, router: usize) -> Result<Vec<(Prefix, Targets, bool)>> {
        let mut found = Vec::new();
        for (link, plan) in self.net.topology.links.iter().enumerate() {
            let running = |port: &&Port| port.up && self.net.alive(port.router);
            let ports = || self.net.ports.get(link).into_iter().flatten().filter(running);
            let cost = |router| plan.ends.iter().find(|end| end.router == router).map_or(FAR, |end| end.cost.into());
            let routers = ports().filter(|port| self.net.topology.forwards(port.router));
            let targets: Targets = routers.map(|port| (port.router, cost(port.router))).collect();
            found.push((link_prefix(link)?, targets, ports().any(|port| port.router == router)));
        }
        let mut services: BTreeMap<Prefix, Targets> = BTreeMap::new();
        for (owner, node) in self.net.nodes.iter().enumerate().filter(|(owner, _)| self.net.alive(*owner)) {
            for (prefix, metric) in &node.services {
                services.entry(*prefix).or_default().insert(owner, (*metric).into());
            }
        }
        found.extend(services.into_iter().map(|(prefix, targets)| (prefix, targets, false)));
        Ok(found)
    }
}

/// Running routers that hear each other on a link.
fn segments(net: &Net, link: usize) -> Vec<Vec<Port>> {
    let mut found: BTreeMap<u64, Vec<Port>> = BTreeMap::new();
    for port in net.ports.get(link).into_iter().flatten().filter(|port| port.up && net.alive(port.router)) {
        found.entry(port.side).or_default().push(port.clone());
    }
    found.into_values().collect()
}

/// Whether adjacencies form: without an eligible router a broadcast link has no DR.
fn elects(net: &Net, link: usize, ports: &[Port]) -> bool {
    let Some(plan) = net.topology.links.get(link) else { return false };
    let eligible = |router| plan.ends.iter().any(|end| end.router == router && end.priority > 0);
    !plan.broadcast || ports.iter().any(|port| eligible(port.router))
}

fn hops(net: &Net, router: usize) -> Vec<Hop> {
    let mut found = Vec::new();
    for (nth, link) in net.nodes.get(router).map(|node| node.links.as_slice()).unwrap_or_default().iter().enumerate() {
        let cost = net.topology.links.get(*link).and_then(|plan| plan.ends.iter().find(|end| end.router == router));
        let cost = cost.map_or(FAR, |end| end.cost.into());
        let cost = if net.topology.forwards(router) { cost } else { MAX_LINK_METRIC.into() };
        let segments = segments(net, *link);
        let Some(ports) = segments.iter().find(|ports| ports.iter().any(|port| port.router == router)) else {
            continue;
        };
        if elects(net, *link, ports) {
            let others = ports.iter().filter(|port| port.router != router);
            found.extend(others.map(|port| Hop { link: *link, nth, to: port.router, cost }));
        }
    }
    found
}

/// All members hold the same; if not, says where two of them differ.
fn same<T: PartialEq + Debug>(
    members: &[usize],
    what: &str,
    database: impl Fn(&usize) -> Result<BTreeMap<String, T>>,
) -> Result<()> {
    let Some(first) = members.first() else { return Ok(()) };
    let reference = database(first)?;
    for router in members {
        let other = database(router)?;
        if let Some(key) = reference.keys().chain(other.keys()).find(|key| reference.get(*key) != other.get(*key)) {
            bail!(
                "{what}: {key} is {:?} at router {first} and {:?} at router {router}",
                reference.get(key),
                other.get(key)
            );
        }
    }
    Ok(())
}
