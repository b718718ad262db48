//! What changed between two routing tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::lsa::Prefix;
use crate::rib::{Route, RouteChange};

/// The changes that turn `old` into `new`, in the order of prefixes.
pub fn diff(old: &BTreeMap<Prefix, Arc<Route>>, new: &BTreeMap<Prefix, Arc<Route>>) -> Vec<RouteChange> {
    let prefixes: BTreeSet<&Prefix> = old.keys().chain(new.keys()).collect();
    prefixes.into_iter().filter_map(|prefix| change(*prefix, old.get(prefix), new.get(prefix))).collect()
}

/// Puts `route` into the table (none: takes the prefix out), and says what changed by that.
pub(super) fn apply(
    routes: &mut BTreeMap<Prefix, Arc<Route>>,
    prefix: Prefix,
    route: Option<Arc<Route>>,
) -> Option<RouteChange> {
    let change = change(prefix, routes.get(&prefix), route.as_ref())?;
    match route {
        Some(route) => routes.insert(prefix, route),
        None => routes.remove(&prefix),
    };
    Some(change)
}

fn change(prefix: Prefix, old: Option<&Arc<Route>>, new: Option<&Arc<Route>>) -> Option<RouteChange> {
    match new {
        _ if old == new => None,
        Some(route) => Some(RouteChange::Install(prefix, Arc::clone(route))),
        None => Some(RouteChange::Remove(prefix)),
    }
}
