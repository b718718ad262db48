//! What each prefix is shared by: a slot group, a group of the kernel's own kinds, or gateways in the route.
//!
//! Prefixes that are shared alike share a slot group. When all prefixes of one change to the same other shares, as when a server
//! dies, the group is kept and only its slots change hands: the cost does not depend on the number of prefixes. Which number a
//! prefix uses at the kernel counts too, so that the groups of a former life are taken over with their tables.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ospf_proto::lsa::Prefix;
use serde::{Deserialize, Serialize};

use super::ids::{Place, SLOT_GROUPS, place, slot_id};
use super::model::{GroupKind, Kernel, Member, Target};
use super::plan::SlotTables;
use crate::share::{Shares, Table, assign};

/// How next hops are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Slot groups: a change moves only the flows that must move.
    #[default]
    Stable,
    /// The kernel's resilient groups: flows in use stay, and a changed share is reached as they end.
    Resilient,
    /// The kernel's hash-threshold groups (RFC 2992).
    HashThreshold,
    /// Next hops in the routes themselves, without next-hop objects.
    Multipath,
}

/// What the kernel can do; none: it can, else why not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lacks {
    pub(crate) objects: Option<String>,
    pub(crate) resilient: Option<String>,
}

/// What is wanted for a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The gateways and their weights.
    pub shares: Arc<Shares>,
    /// How many routers originate the prefix at this distance.
    pub originators: usize,
}

/// The most members of a group. The kernel takes 8,191, but tells only of groups that fit into 32 KiB.
const MOST_MEMBERS: usize = 4_000;
/// The most gateways in a route without next-hop objects.
const MOST_PATHS: usize = 256;
/// Weights of groups and routes are scaled to this: older kernels have 8 bits for them.
const MOST_WEIGHT: u32 = 255;

/// How a prefix is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) target: Target,
    /// Why it is not shared as configured.
    pub(crate) why: Option<String>,
}

/// How all prefixes are shared.
#[derive(Debug)]
pub(crate) struct Groups {
    sharing: Sharing,
    slots: u32,
    pub(crate) lacks: Lacks,
    /// Where each prefix is to go.
    targets: BTreeMap<Prefix, Target>,
    why: BTreeMap<Prefix, String>,
    /// The prefixes of each slot group, and what it shares.
    groups: BTreeMap<u32, Group>,
    number_of: BTreeMap<Arc<Shares>, u32>,
    tables: SlotTables,
    /// Slot groups that routes of a former life still use as they are.
    kept: BTreeSet<u32>,
}

#[derive(Debug)]
struct Group {
    shares: Arc<Shares>,
    users: BTreeSet<Prefix>,
}

impl Groups {
    pub(crate) fn new(sharing: Sharing, slots: u32, lacks: Lacks) -> Self {
        Groups {
            sharing,
            slots,
            lacks,
            targets: BTreeMap::new(),
            why: BTreeMap::new(),
            groups: BTreeMap::new(),
            number_of: BTreeMap::new(),
            tables: SlotTables::new(),
            kept: BTreeSet::new(),
        }
    }

    /// Where each prefix is to go.
    pub(crate) fn targets(&self) -> &BTreeMap<Prefix, Target> {
        &self.targets
    }

    /// The slots of all slot groups.
    pub(crate) fn tables(&self) -> &SlotTables {
        &self.tables
    }

    /// Why a prefix is not shared as configured.
    pub(crate) fn why(&self, prefix: &Prefix) -> Option<&str> {
        self.why.get(prefix).map(String::as_str)
    }

    /// How many next hops a route can have without being cut.
    pub(crate) fn width(&self) -> u16 {
        let plain = self.sharing == Sharing::Multipath || self.lacks.objects.is_some();
        u16::try_from(if plain { MOST_PATHS } else { MOST_MEMBERS }).unwrap_or(u16::MAX)
    }

    /// Chooses anew for `prefixes`; those without a wish in `wanted` go nowhere, but stay as they are in the kernel if they are in
    /// `keep`. Returns the slot groups whose tables changed.
    pub(crate) fn choose(
        &mut self,
        prefixes: &BTreeSet<Prefix>,
        (wanted, keep): (&BTreeMap<Prefix, Wanted>, &BTreeSet<Prefix>),
        kernel: &Kernel,
    ) -> BTreeSet<u32> {
        let kept = keep.iter().filter(|prefix| !wanted.contains_key(prefix));
        self.kept = kept.filter_map(|prefix| number_in(kernel, prefix)).collect();
        let mut prefixes = prefixes.clone();
        let left = self.leave_unusable(&mut prefixes, kernel);
        let mut joining: BTreeMap<Arc<Shares>, Joining> = BTreeMap::new();
        for prefix in &prefixes {
            let from = self.detach(prefix).or_else(|| number_in(kernel, prefix));
            self.why.remove(prefix);
            let Some(wish) = wanted.get(prefix) else { continue };
            match self.plain(wish) {
                Err(()) => joining.entry(Arc::clone(&wish.shares)).or_default().push(*prefix, from),
                Ok(choice) => self.set(*prefix, choice),
            }
        }
        let changed = self.join(joining, (&left, kernel));
        let empty: Vec<u32> = self.groups.iter().filter(|(_, g)| g.users.is_empty()).map(|(n, _)| *n).collect();
        for number in empty {
            self.forget(number);
        }
        changed
    }

    /// Gives up slot groups whose identifiers somebody else has taken or whose group is of another kind now. Their prefixes
    /// need another one, which continues their tables.
    fn leave_unusable(&mut self, prefixes: &mut BTreeSet<Prefix>, kernel: &Kernel) -> SlotTables {
        let mut left = BTreeMap::new();
        let unusable: Vec<u32> =
            self.groups.keys().filter(|number| !is_usable(kernel, **number, self.slots)).copied().collect();
        for number in unusable {
            if let Some(table) = self.tables.get(&number) {
                left.insert(number, table.clone());
            }
            if let Some(group) = self.groups.get(&number) {
                prefixes.extend(group.users.iter().copied());
            }
        }
        left
    }

    fn detach(&mut self, prefix: &Prefix) -> Option<u32> {
        match self.targets.remove(prefix)? {
            Target::Slots(number) => {
                if let Some(group) = self.groups.get_mut(&number) {
                    group.users.remove(prefix);
                }
                Some(number)
            }
            _ => None,
        }
    }

    fn set(&mut self, prefix: Prefix, choice: Choice) {
        self.targets.insert(prefix, choice.target);
        if let Some(why) = choice.why {
            self.why.insert(prefix, why);
        }
    }

    fn forget(&mut self, number: u32) {
        if let Some(group) = self.groups.remove(&number) {
            self.number_of.remove(&group.shares);
        }
        self.tables.remove(&number);
    }

    /// Gives each distinct set of shares its slot group; returns the groups whose tables changed.
    fn join(
        &mut self,
        joining: BTreeMap<Arc<Shares>, Joining>,
        (left, kernel): (&SlotTables, &Kernel),
    ) -> BTreeSet<u32> {
        let mut changed = BTreeSet::new();
        let mut others: Vec<(Arc<Shares>, Joining)> = Vec::new();
        for (shares, joining) in joining {
            match self.number_of.get(&shares).copied().filter(|number| !left.contains_key(number)) {
                Some(number) => self.add(number, joining.prefixes),
                None => others.push((shares, joining)),
            }
        }
        // The greatest first: it is the one to keep the group that its prefixes had.
        others.sort_by_key(|(_, joining)| std::cmp::Reverse(joining.prefixes.len()));
        for (shares, joining) in others {
            let heir = joining.from.iter().max_by_key(|(_, count)| **count).map(|(number, _)| *number);
            let inherited = heir.filter(|number| !left.contains_key(number) && self.is_free(*number, true, kernel));
            let free = || (0..SLOT_GROUPS).find(|n| !left.contains_key(n) && self.is_free(*n, false, kernel));
            let Some(number) = inherited.or_else(free) else {
                for prefix in joining.prefixes {
                    let why = format!("all {SLOT_GROUPS} slot groups are in use by other sets of next hops");
                    self.set(prefix, self.group(&shares, GroupKind::Threshold, Some(why)));
                }
                continue;
            };
            let before = self.before(heir, (left, kernel));
            let Some(table) = assign(&shares, self.slots as usize, before.as_deref()) else { continue };
            self.forget(number);
            self.tables.insert(number, table);
            self.number_of.insert(Arc::clone(&shares), number);
            self.groups.insert(number, Group { shares, users: BTreeSet::new() });
            self.add(number, joining.prefixes);
            changed.insert(number);
        }
        changed
    }

    fn add(&mut self, number: u32, prefixes: Vec<Prefix>) {
        for prefix in prefixes {
            self.targets.insert(prefix, Target::Slots(number));
            if let Some(group) = self.groups.get_mut(&number) {
                group.users.insert(prefix);
            }
        }
    }

    /// Whether a number can be used: by nobody now, except that its own prefixes may still be on it if they are `heirs`.
    fn is_free(&self, number: u32, heirs: bool, kernel: &Kernel) -> bool {
        let used = match self.groups.get(&number) {
            Some(group) => !heirs || !group.users.is_empty(),
            None => !heirs && kernel.users().contains_key(&slot_id(number, None)),
        };
        !used && !self.kept.contains(&number) && is_usable(kernel, number, self.slots)
    }

    /// The table that a group continues.
    fn before<'a>(
        &'a self,
        heir: Option<u32>,
        (left, kernel): (&'a SlotTables, &Kernel),
    ) -> Option<Cow<'a, Table<Member>>> {
        let number = heir?;
        let known = left.get(&number).or_else(|| self.tables.get(&number));
        let read = || kernel.slots.get(&number).map(|group| group.table(self.slots).into_iter().collect());
        known.map(Cow::Borrowed).or_else(|| read().map(Cow::Owned))
    }

    /// How a prefix is shared without slot groups; an error if one is to share it.
    fn plain(&self, wish: &Wanted) -> Result<Choice, ()> {
        let shares = &wish.shares;
        let single = shares.keys().next().copied().filter(|_| shares.len() == 1);
        if self.sharing == Sharing::Multipath || self.lacks.objects.is_some() {
            let why = self.lacks.objects.as_ref().filter(|_| self.sharing != Sharing::Multipath);
            let why = why.map(|error| format!("this kernel has no next-hop objects: {error}"));
            return Ok(self.paths(shares, why));
        }
        if let Some(member) = single {
            return Ok(Choice { target: Target::Gateway(member), why: None });
        }
        let lacks = self.lacks.resilient.as_ref().map(|error| format!("this kernel has no resilient groups: {error}"));
        Ok(match self.sharing {
            Sharing::Stable if lacks.is_none() && shares.len() > self.slots as usize => {
                let why = format!("{} next hops are more than the {} slots of a group", shares.len(), self.slots);
                self.group(shares, GroupKind::Threshold, Some(why))
            }
            Sharing::Stable if lacks.is_none() && wish.originators > 1 => return Err(()),
            Sharing::Stable if lacks.is_none() => {
                let why = "slots are for prefixes of two or more originators".to_owned();
                self.group(shares, GroupKind::Threshold, Some(why))
            }
            Sharing::Resilient if lacks.is_none() && shares.len() > self.slots as usize => {
                let why = format!("{} next hops are more than the {} buckets of a group", shares.len(), self.slots);
                self.group(shares, GroupKind::Threshold, Some(why))
            }
            Sharing::Resilient if lacks.is_none() => self.group(shares, GroupKind::Resilient(self.slots as u16), None),
            Sharing::Stable | Sharing::Resilient => self.group(shares, GroupKind::Threshold, lacks),
            Sharing::HashThreshold | Sharing::Multipath => self.group(shares, GroupKind::Threshold, None),
        })
    }

    fn group(&self, shares: &Shares, kind: GroupKind, why: Option<String>) -> Choice {
        let cut = (shares.len() > MOST_MEMBERS)
            .then(|| format!("the kernel takes {MOST_MEMBERS} of the {} next hops", shares.len()));
        Choice { target: Target::Group(kind, scaled(shares, MOST_MEMBERS)), why: cut.or(why) }
    }

    fn paths(&self, shares: &Shares, why: Option<String>) -> Choice {
        let cut = (shares.len() > MOST_PATHS)
            .then(|| format!("a route takes {MOST_PATHS} of the {} next hops", shares.len()));
        Choice { target: Target::Paths(scaled(shares, MOST_PATHS)), why: cut.or(why) }
    }
}

/// Prefixes that are to share a slot group, and how many of them come from each.
#[derive(Debug, Default)]
struct Joining {
    prefixes: Vec<Prefix>,
    from: BTreeMap<u32, usize>,
}

impl Joining {
    fn push(&mut self, prefix: Prefix, from: Option<u32>) {
        self.prefixes.push(prefix);
        if let Some(number) = from {
            *self.from.entry(number).or_default() += 1;
        }
    }
}

/// The slot group that a prefix uses at the kernel.
fn number_in(kernel: &Kernel, prefix: &Prefix) -> Option<u32> {
    match place(kernel.routes().get(prefix)?.object()?) {
        Place::SlotGroup(number) => Some(number),
        _ => None,
    }
}

/// Whether the kernel can have a slot group of so many slots under a number.
fn is_usable(kernel: &Kernel, number: u32, slots: u32) -> bool {
    let foreign = kernel.taken.range(slot_id(number, Some(0))..=slot_id(number, None)).next().is_some();
    !foreign && kernel.slots.get(&number).is_none_or(|group| group.can_be_whole(slots))
}

/// The weights as groups and routes have them.
fn scaled(shares: &Shares, most: usize) -> BTreeMap<Member, u16> {
    let greatest = shares.weights().max().unwrap_or(1).max(1);
    let least = shares.weights().min().unwrap_or(1);
    let scale = |weight: u32| {
        if least == greatest {
            return 1;
        }
        let scaled = (u64::from(weight) * u64::from(MOST_WEIGHT) + u64::from(greatest) / 2) / u64::from(greatest);
        u16::try_from(scaled).unwrap_or(u16::MAX).max(1)
    };
    shares.iter().take(most).map(|(member, weight)| (member, scale(weight))).collect()
}
