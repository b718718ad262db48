//! The link state database: one ordered map, keyed by domain first.
//!
//! An entry remembers when it was installed and how old it was then; its age is a function of `now`. Installing says
//! what changed (RFC 2328 §13.2), so that nobody has to compare again.

mod entry;
mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

pub use entry::{Entry, Source};
pub use limits::{Breach, Limits};

use crate::consts::MAX_AGE;
use crate::id::{AreaId, Domain, IfaceId, LinkStateId, LsaKey, RouterId};
use crate::lsa::{LsType, Lsa, Scope};
use crate::time::Instant;

/// What an installation did to the meaning of the database (RFC 2328 §13.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There was no instance before.
    New,
    /// The content differs from that of the instance before, or exactly one of them is at MaxAge.
    Changed,
    /// The same content under another sequence number.
    Refreshed,
}

/// The domain that an LSA of this type belongs to when it is seen on this link of this area; none if its scope is
/// reserved (RFC 5340 §4.5.1: unknown types without the U-bit stay on the link).
pub fn domain_of(ls_type: LsType, area: AreaId, iface: IfaceId) -> Option<Domain> {
    match ls_type.flooding_scope() {
        Scope::Link => Some(Domain::Link(iface)),
        Scope::Area => Some(Domain::Area(area)),
        Scope::As => Some(Domain::As),
        Scope::Reserved => None,
    }
}

/// The database.
#[derive(Clone, Debug, Default)]
pub struct Lsdb {
    entries: BTreeMap<LsaKey, Entry>,
    by_expiry: BTreeSet<(Instant, LsaKey)>,
    by_router: BTreeSet<(RouterId, LsaKey)>,
    limits: Limits,
    census: limits::Census,
}

impl Lsdb {
    /// An empty database with these limits.
    pub fn new(limits: Limits) -> Self {
        Lsdb { limits, ..Lsdb::default() }
    }

    /// Its limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether one more LSA of `router` may come in, beside `expected` others that were asked for.
    pub fn has_room(&self, router: RouterId, expected: usize) -> Result<(), Breach> {
        if self.entries.len().saturating_add(expected) >= self.limits.lsas {
            return Err(Breach::Lsas);
        }
        if self.census.of(router) >= self.limits.lsas_per_router {
            return Err(Breach::LsasOfRouter(router));
        }
        Ok(())
    }

    /// Notes a breach; says whether it is news.
    pub fn note_breach(&mut self, breach: Breach) -> bool {
        self.census.note(breach)
    }

    /// The limits that are reached.
    pub fn breaches(&self) -> impl Iterator<Item = Breach> {
        self.census.told()
    }

    /// Installs an instance in place of the one before, if any.
    pub fn install(&mut self, domain: Domain, lsa: Lsa, source: Source, now: Instant) -> Change {
        self.replace(domain, lsa, source, now).0
    }

    /// Installs an instance and hands out the one before, if any.
    pub fn replace(&mut self, domain: Domain, lsa: Lsa, source: Source, now: Instant) -> (Change, Option<Entry>) {
        let key = lsa.key(domain);
        let entry = Entry::new(lsa, source, now);
        let expires = entry.expires();
        let before = self.entries.insert(key, entry);
        let change = match &before {
            None => {
                self.by_router.insert((key.adv_router, key));
                self.census.added(key.adv_router);
                Change::New
            }
            Some(before) => {
                self.by_expiry.remove(&(before.expires(), key));
                match self.entries.get(&key) {
                    Some(after) if after.same_meaning(before, now) => Change::Refreshed,
                    _ => Change::Changed,
                }
            }
        };
        self.by_expiry.insert((expires, key));
        (change, before)
    }

    /// Removes an instance.
    pub fn remove(&mut self, key: &LsaKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.by_expiry.remove(&(entry.expires(), *key));
        self.by_router.remove(&(key.adv_router, *key));
        self.census.removed(key.adv_router, (&self.limits, self.entries.len()));
        Some(entry)
    }

    /// The instance under `key`.
    pub fn get(&self, key: &LsaKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Every instance, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&LsaKey, &Entry)> {
        self.entries.iter()
    }

    /// How many instances there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The instances of one domain.
    pub fn domain(&self, domain: Domain) -> impl Iterator<Item = (&LsaKey, &Entry)> {
        self.domain_behind(domain, Bound::Unbounded)
    }

    /// The instances of one domain that come behind a key.
    pub fn domain_behind(&self, domain: Domain, behind: Bound<LsaKey>) -> impl Iterator<Item = (&LsaKey, &Entry)> {
        let (low, high) = (lowest(domain, LsType(0), LinkStateId(0)), highest(domain, LsType(u16::MAX)));
        let from = match behind {
            Bound::Excluded(key) if key >= low => Bound::Excluded(key),
            _ => Bound::Included(low),
        };
        // A range that would begin behind its end panics.
        let any = !matches!(from, Bound::Excluded(key) if key >= high);
        any.then(|| self.entries.range((from, Bound::Included(high)))).into_iter().flatten()
    }

    /// The instances of one LS type in one domain.
    pub fn of_type(&self, domain: Domain, ls_type: LsType) -> impl Iterator<Item = (&LsaKey, &Entry)> {
        self.range(lowest(domain, ls_type, LinkStateId(0)), highest(domain, ls_type))
    }

    /// The instances that `router` originated, in every domain; their number is what this costs, not the database's.
    pub fn originated_by(&self, router: RouterId) -> impl Iterator<Item = (&LsaKey, &Entry)> {
        let keys = self.by_router.range((router, LsaKey::FIRST)..=(router, LsaKey::LAST)).map(|(_, key)| key);
        keys.filter_map(|key| self.entries.get_key_value(key))
    }

    /// When the next instance reaches MaxAge.
    pub fn next_expiry(&self, now: Instant) -> Option<Instant> {
        self.by_expiry.range((Bound::Excluded((now, LsaKey::LAST)), Bound::Unbounded)).next().map(|(at, _)| *at)
    }

    /// When the first of those instances reached MaxAge that did so after `since` and by `now`.
    pub fn next_expiry_after(&self, since: Option<Instant>, now: Instant) -> Option<Instant> {
        let low = since.map_or(Bound::Unbounded, |since| Bound::Excluded((since, LsaKey::LAST)));
        self.by_expiry.range((low, Bound::Included((now, LsaKey::LAST)))).next().map(|(at, _)| *at)
    }

    /// The instances that reached MaxAge after `since` and by `now`.
    pub fn expired(&self, since: Instant, now: Instant) -> impl Iterator<Item = &LsaKey> {
        self.by_expiry
            .range((Bound::Excluded((since, LsaKey::LAST)), Bound::Included((now, LsaKey::LAST))))
            .map(|(_, key)| key)
    }

    /// The instances that reached MaxAge by `then`, waiting to be removed (RFC 2328 §14), in the order in which they did.
    pub fn max_aged(&self, then: Instant) -> impl Iterator<Item = &LsaKey> {
        self.by_expiry.range(..=(then, LsaKey::LAST)).map(|(_, key)| key)
    }

    fn range(&self, low: LsaKey, high: LsaKey) -> impl Iterator<Item = (&LsaKey, &Entry)> {
        self.entries.range(low..=high)
    }
}

fn lowest(domain: Domain, ls_type: LsType, link_state_id: LinkStateId) -> LsaKey {
    LsaKey { domain, ls_type, link_state_id, adv_router: RouterId(0) }
}

fn highest(domain: Domain, ls_type: LsType) -> LsaKey {
    LsaKey { domain, ls_type, link_state_id: LinkStateId(u32::MAX), adv_router: RouterId(u32::MAX) }
}

/// The age, in seconds, of an LSA that was `age` old `elapsed` whole seconds ago.
fn aged(age: u16, elapsed: u64) -> u16 {
    u64::from(age).saturating_add(elapsed).min(u64::from(MAX_AGE)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsa::{LsaBody, LsaHeader};

    /// Every domain behind every key, those at the ends of a domain and those that are not there among them.
    #[test]
    fn what_comes_behind_a_key_is_what_is_greater() {
        let domains = [Domain::As, Domain::Area(AreaId(0)), Domain::Area(AreaId(u32::MAX)), Domain::Link(IfaceId(7))];
        let numbers = [0, 1, 5, u32::MAX];
        let now = Instant::from_epoch(std::time::Duration::ZERO);
        let keys = domains.into_iter().flat_map(|domain| {
            let types = [LsType(0), LsType::ROUTER, LsType(u16::MAX)];
            types.into_iter().flat_map(move |ls_type| {
                numbers.into_iter().map(move |n| LsaKey {
                    domain,
                    ls_type,
                    link_state_id: LinkStateId(n),
                    adv_router: RouterId(n),
                })
            })
        });
        let keys: Vec<LsaKey> = keys.collect();
        let mut lsdb = Lsdb::default();
        for LsaKey { domain, ls_type, link_state_id, adv_router } in keys.iter().copied().step_by(2) {
            let header = LsaHeader { ls_type, link_state_id, adv_router, ..LsaHeader::default() };
            lsdb.install(domain, Lsa::build(header, LsaBody::Unknown), Source::Flooded, now);
        }
        for domain in domains {
            for behind in keys.iter().map(|key| Bound::Excluded(*key)).chain([Bound::Unbounded]) {
                let found: Vec<LsaKey> = lsdb.domain_behind(domain, behind).map(|(key, _)| *key).collect();
                let due =
                    lsdb.entries.keys().copied().filter(|key| {
                        key.domain == domain && !matches!(behind, Bound::Excluded(behind) if *key <= behind)
                    });
                assert_eq!(found, due.collect::<Vec<_>>(), "{domain} behind {behind:?}");
            }
        }
    }
}
