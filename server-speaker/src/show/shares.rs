//! The routers that a server appears as, for `show service` and `explain`.

use std::fmt;

use ospf_proto::engine::View;
use ospf_proto::state::NeighborState;
use serde::{Deserialize, Serialize};

use crate::router::{Router, Routers};
use crate::service::Service;

/// One of the routers that a service may appear as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareRow {
    /// Its Router ID.
    pub router: String,
    /// The link-local address it speaks from; none while the interface lacks it.
    pub link_local: Option<String>,
    /// It is to advertise the service.
    pub wanted: bool,
    /// Its LSAs state the prefixes of the service.
    pub stated: bool,
    /// Its neighbors, "Full with 192.0.2.1".
    pub neighbors: Vec<String>,
    /// Wanted and confirmed.
    pub confirmed: String,
}

/// The routers of a service; none where it is one router.
pub(super) fn rows(service: &Service, routers: &Routers) -> Vec<ShareRow> {
    if service.config.shares.is_none() {
        return Vec::new();
    }
    routers.all().enumerate().map(|(place, router)| row(service, (place, router))).collect()
}

fn row(service: &Service, (place, router): (usize, &Router)) -> ShareRow {
    let view = router.view();
    let stated = view.advertised();
    let has = |prefix| stated.iter().any(|(of, _)| of == prefix);
    ShareRow {
        router: view.router_id().to_string(),
        link_local: view.interfaces().iter().find_map(|iface| iface.link_local).map(|address| address.to_string()),
        wanted: service.wanted(place).next().is_some(),
        stated: service.config.prefixes.iter().all(has),
        neighbors: neighbors(&view),
        confirmed: match view.duplicate_router_id() {
            true => "another router uses its Router ID: it is silent until that is gone".into(),
            false => router.reconciler().state().0.to_string(),
        },
    }
}

/// Those above two-way; of the others of the link it wants nothing.
fn neighbors(view: &View<'_>) -> Vec<String> {
    let close = |state| !matches!(state, NeighborState::Down | NeighborState::Init | NeighborState::TwoWay);
    let all = view.neighbors();
    all.iter().filter(|n| close(n.state)).map(|n| format!("{:?} with {}", n.state, n.router)).collect()
}

impl fmt::Display for ShareRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let says = match (self.wanted, self.stated) {
            (true, true) => "advertises",
            (true, false) => "is to advertise",
            (false, true) => "still advertises",
            (false, false) => "ready",
        };
        let neighbors = if self.neighbors.is_empty() { "no adjacency".into() } else { self.neighbors.join(", ") };
        let from = self.link_local.as_deref().unwrap_or("no link-local address yet");
        write!(f, "{} ({from}): {says}; {neighbors}; {}", self.router, self.confirmed)
    }
}
