//! `show route PREFIX explain`: which LSAs, which path, why this distance, why these weights, what the kernel has.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use ospf_proto::engine::View;
use ospf_proto::id::{AreaId, IfaceId, RouterId};
use ospf_proto::lsa::Prefix;
use ospf_proto::rib::Route;
use ospf_proto::spf::{Graph, Tree, VertexId};

use super::farm::Flows;
use super::show::{interface_name, interface_names, path_type};
use crate::netio::fib::{Fib, Member};
use crate::share::{Sharer, Weights};

/// The steps of a path that are shown; a longer one is cut.
const STEPS: usize = 12;

/// The whole story of one prefix, as text.
pub fn route(view: &View<'_>, fib: &Fib, sharer: &Sharer, prefix: &Prefix) -> String {
    let mut text = String::new();
    let found = view.routes().get(prefix).map(Arc::as_ref);
    let heading = match found {
        Some(route) => format!("{}, distance {}", path_type(route.path_type), route.distance),
        None => "no route".to_owned(),
    };
    line(&mut text, format_args!("{prefix}: {heading}"));
    lsas(&mut text, view, prefix, found);
    if let Some(route) = found {
        weights(&mut text, view, sharer, (prefix, route));
    }
    kernel(&mut text, view, fib, prefix);
    text.truncate(text.trim_end().len());
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{arguments}");
}

/// The LSAs that list the prefix, each with what it comes to.
fn lsas(text: &mut String, view: &View<'_>, prefix: &Prefix, route: Option<&Route>) {
    line(text, format_args!("LSAs that list it:"));
    let mut any = false;
    // A prefix may have hundreds of originators in an area of thousands of routers.
    let mut graphs: BTreeMap<AreaId, Graph> = BTreeMap::new();
    for (key, listed) in view.listing(prefix) {
        any = true;
        let Some(entry) = view.lsdb().get(key) else { continue };
        let ospf_proto::id::Domain::Area(area) = key.domain else { continue };
        let tree = view.tree(area);
        let vertex = tree.and_then(|tree| tree.vertex(listed.vertex));
        let outcome = match (tree.zip(vertex), route) {
            _ if !listed.counts => "flushed, counts no more".to_owned(),
            (None, _) => "no path leads to its router".to_owned(),
            (Some((tree, vertex)), route) => {
                let distance = vertex.distance + u32::from(listed.metric);
                let used = match route {
                    Some(route) if distance == route.distance => "in the lowest-cost class",
                    Some(_) => "farther than the lowest-cost class",
                    None => "no address of a next hop is known",
                };
                format!(
                    "{} + metric {} = {distance}: {used}; path {}",
                    vertex.distance,
                    listed.metric,
                    path((graphs.entry(area).or_insert_with(|| view.graph(area)), tree), vertex.id)
                )
            }
        };
        let age = entry.age(view.now());
        line(
            text,
            format_args!(
                "  {} of {} (LSId {}, seq {:#010x}, age {age} s): {outcome}",
                key.ls_type,
                key.adv_router,
                key.link_state_id,
                entry.lsa().header.sequence
            ),
        );
    }
    if !any {
        line(text, format_args!("  none"));
    }
}

/// A shortest path from the root; where there are several, one of them.
fn path((graph, tree): (&Graph, &Tree), to: VertexId) -> String {
    let mut steps = vec![name(to)];
    let mut at = to;
    loop {
        let parents = graph.parents(tree, at);
        let Some(parent) = parents.first() else { break };
        if steps.len() == STEPS {
            steps.push("...".to_owned());
            break;
        }
        let others = parents.len() - 1;
        let or = if others > 0 { format!(" (or {others} more)") } else { String::new() };
        steps.push(format!("{}{or}", name(*parent)));
        at = *parent;
    }
    steps.reverse();
    steps.join(" > ")
}

fn name(vertex: VertexId) -> String {
    match vertex {
        VertexId::Router(router) => router.to_string(),
        VertexId::Network { dr, iface } => format!("network of {dr}/{iface}"),
    }
}

fn weights(text: &mut String, view: &View<'_>, sharer: &Sharer, (prefix, route): (&Prefix, &Route)) {
    if route.next_hops.is_empty() {
        line(text, format_args!("it is our own: no next hop"));
        return;
    }
    let names = interface_names(view);
    let flows = Flows::of(route, sharer, prefix);
    line(text, format_args!("weights by {}:", sharer.weights().name()));
    for (router, hops) in route.paths() {
        let why = reason(sharer, prefix, router);
        let hops = route.hops_at(hops).map(|hop| match hop.gateway {
            Some(gateway) => format!("{gateway}%{}", interface_name(&names, hop.iface)),
            None => format!("on {}", interface_name(&names, hop.iface)),
        });
        let hops = hops.collect::<Vec<_>>().join(", ");
        let hops = if hops.is_empty() {
            "no link-local address of its next hop is known (no Link-LSA, no Hello)".to_owned()
        } else {
            hops
        };
        line(text, format_args!("  {router}: {:.1} % ({why}) by {hops}", 100.0 * flows.weight(router)));
    }
}

/// Why an originator has the weight that it has.
fn reason(sharer: &Sharer, prefix: &Prefix, router: RouterId) -> String {
    if sharer.weights() != Weights::Capacity {
        return "not weighed by what it says".to_owned();
    }
    let capacities = sharer.capacities();
    let stated = capacities.claim(prefix, router).and_then(|claim| claim.capacity);
    match (capacities.of(prefix, router), stated) {
        (Some(held), Some(stated)) if (held - stated).abs() < 0.5 => format!("capacity {held:.0} q/s"),
        (Some(held), Some(stated)) => format!("capacity {held:.0} q/s counted, {stated:.0} stated"),
        _ => "capacity not known: as the median".to_owned(),
    }
}

fn kernel(text: &mut String, view: &View<'_>, fib: &Fib, prefix: &Prefix) {
    let status = fib.status(prefix).unwrap_or_else(|| "not to be installed".to_owned());
    line(text, format_args!("kernel: {status}"));
    let Some(installed) = fib.installed(prefix) else { return };
    let group = installed.group.map_or_else(String::new, |group| format!(", next-hop object {group}"));
    let slots = installed.slots.map_or_else(String::new, |slots| format!(" of {slots} slots"));
    let why = installed.why.map_or_else(String::new, |why| format!(": {why}"));
    line(text, format_args!("  shared {}{slots}{group}{why}", installed.sharing));
    let names = interface_names(view);
    for (Member { iface, gateway }, part) in installed.parts {
        let of_slots =
            installed.slots.map_or_else(String::new, |slots| format!(" ({:.0} slots)", part * f64::from(slots)));
        let interface = interface_name(&names, IfaceId(iface));
        line(text, format_args!("  {gateway}%{interface}: {:.1} %{of_slots}", 100.0 * part));
    }
}
