//! Limits that protect us from a router that says too much: what is beyond them is not taken in.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::RouterId;

/// How many LSAs the database takes. Our own originations do not count against them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// LSAs in all.
    pub lsas: usize,
    /// LSAs of one originator.
    pub lsas_per_router: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { lsas: 100_000, lsas_per_router: 20_000 }
    }
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// [`Limits::lsas`].
    Lsas,
    /// [`Limits::lsas_per_router`], by this router.
    LsasOfRouter(RouterId),
}

impl Breach {
    /// The configuration key that sets the limit.
    pub fn key(self) -> &'static str {
        match self {
            Breach::Lsas => "max-lsas",
            Breach::LsasOfRouter(_) => "max-lsas-per-router",
        }
    }
}

/// LSAs by originator, and the breaches that were told already.
#[derive(Clone, Debug, Default)]
pub(super) struct Census {
    by_router: BTreeMap<RouterId, usize>,
    told: BTreeSet<Breach>,
}

impl Census {
    pub(super) fn added(&mut self, router: RouterId) {
        *self.by_router.entry(router).or_default() += 1;
    }

    /// One LSA of `router` went, and `total` are left.
    pub(super) fn removed(&mut self, router: RouterId, (limits, total): (&Limits, usize)) {
        if let Some(count) = self.by_router.get_mut(&router) {
            *count -= 1;
            if *count == 0 {
                self.by_router.remove(&router);
            }
        }
        if total < limits.lsas / 10 * 9 {
            self.told.remove(&Breach::Lsas);
        }
        if self.of(router) < limits.lsas_per_router / 10 * 9 {
            self.told.remove(&Breach::LsasOfRouter(router));
        }
    }

    /// How many LSAs a router has in the database.
    pub(super) fn of(&self, router: RouterId) -> usize {
        self.by_router.get(&router).copied().unwrap_or(0)
    }

    /// Notes a breach; says whether it is news: it is told once until a tenth of the room is free again.
    pub(super) fn note(&mut self, breach: Breach) -> bool {
        self.told.insert(breach)
    }

    pub(super) fn told(&self) -> impl Iterator<Item = Breach> {
        self.told.iter().copied()
    }
}
