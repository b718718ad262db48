//! From routes and what servers say to what the kernel is to have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ospf_proto::engine::View;
use ospf_proto::lsa::{FarmTlv, Prefix, SharingMode};
use ospf_proto::rib::{Route, RouteChange};
use tokio::time::Instant;

use super::{Capacities, Shares, Weights, claims, shares};
use crate::netio::fib::{FibChange, Wanted};

/// Weighs the next hops of all routes. Routes that are shared alike hold the same [`Shares`].
#[derive(Debug, Default)]
pub struct Sharer {
    weights: Weights,
    capacities: Capacities,
    /// Up to which change of the database the servers' words were taken.
    heard: Option<u64>,
    interned: BTreeSet<Arc<Shares>>,
    malformed: u64,
}

impl Sharer {
    /// Weighs by `weights`.
    pub fn new(weights: Weights) -> Self {
        Sharer { weights, ..Sharer::default() }
    }

    /// What next hops are weighed by.
    pub fn weights(&self) -> Weights {
        self.weights
    }

    /// What this router says of itself in its Farm TLV.
    pub fn tlv(&self, width: u16) -> FarmTlv {
        let sharing = match self.weights {
            Weights::Capacity => SharingMode::Capacity,
            Weights::Equal => SharingMode::Equal,
            Weights::Originators => SharingMode::Originators,
        };
        FarmTlv { sharing, ecmp_width: width, services: Vec::new() }
    }

    /// The capacities that are counted with.
    pub fn capacities(&self) -> &Capacities {
        &self.capacities
    }

    /// How many Farm TLVs could not be decoded.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// When weights are due to change by themselves.
    pub fn due(&self) -> Option<Instant> {
        self.capacities.due().filter(|_| self.weights == Weights::Capacity)
    }

    /// What is to change in the kernel after a turn of the engine, or when it is due.
    pub fn follow(&mut self, view: &View<'_>, routes: &[RouteChange], now: Instant) -> Vec<FibChange> {
        let mut changed = self.hear(view, now);
        if self.capacities.due().is_some_and(|due| due <= now) {
            changed.extend(self.capacities.step(now));
        }
        let mut last: BTreeMap<Prefix, Option<&Route>> = BTreeMap::new();
        for change in routes {
            match change {
                RouteChange::Install(prefix, route) => last.insert(*prefix, Some(route)),
                RouteChange::Remove(prefix) => last.insert(*prefix, None),
            };
        }
        let weighed =
            changed.into_iter().filter_map(|prefix| Some((prefix, Some(view.routes().get(&prefix)?.as_ref()))));
        for (prefix, route) in weighed.filter(|_| self.weights == Weights::Capacity) {
            last.entry(prefix).or_insert(route);
        }
        last.into_iter().map(|(prefix, route)| self.change(prefix, route)).collect()
    }

    /// Takes what the servers say, if that changed.
    fn hear(&mut self, view: &View<'_>, now: Instant) -> BTreeSet<Prefix> {
        let heard = view.information_changes();
        if self.heard == Some(heard) {
            return BTreeSet::new();
        }
        self.heard = Some(heard);
        let mut malformed = 0;
        let areas: Vec<_> = view.areas().collect();
        let tlvs = areas.into_iter().flat_map(|area| view.router_information(area));
        let tlvs = tlvs.flat_map(|(router, body)| body.tlvs.iter().map(move |tlv| (router, FarmTlv::from_tlv(tlv))));
        let decoded = tlvs.filter_map(|(router, tlv)| match tlv? {
            Ok(tlv) => Some((router, tlv)),
            Err(_) => {
                malformed += 1;
                None
            }
        });
        let claims = claims(decoded);
        self.malformed = malformed;
        self.capacities.hear(claims, now)
    }

    fn change(&mut self, prefix: Prefix, route: Option<&Route>) -> FibChange {
        let wanted = route.and_then(|route| {
            let shares = shares(route, self.weights, &self.capacities.of_prefix(&prefix))?;
            Some(Wanted { shares: self.intern(shares), originators: route.originators().len() })
        });
        FibChange { prefix, wanted }
    }

    fn intern(&mut self, shares: Shares) -> Arc<Shares> {
        if let Some(known) = self.interned.get(&shares) {
            return Arc::clone(known);
        }
        // Those that nobody holds any more go when there is a new one.
        self.interned.retain(|known| Arc::strong_count(known) > 1);
        let shares = Arc::new(shares);
        self.interned.insert(Arc::clone(&shares));
        shares
    }
}
