//! What the kernel has, as far as it concerns us.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use ospf_proto::lsa::Prefix;

use super::ids::{Place, place, slot_id};
use super::slot_objects::SlotObjects;

/// A gateway: a router's link-local address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The link.
    pub iface: u32,
    /// The address.
    pub gateway: Ipv6Addr,
}

/// By link and address, as numbers ([`ospf_proto::rib::NextHop`] says why).
impl Ord for Member {
    fn cmp(&self, other: &Self) -> Ordering {
        let number = |member: &Member| (member.iface, member.gateway.to_bits());
        number(self).cmp(&number(other))
    }
}

impl PartialOrd for Member {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The kind of a next-hop group (`NHA_GROUP_TYPE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GroupKind {
    /// Hash-threshold (RFC 2992).
    Threshold,
    /// Resilient: a table of so many buckets, each with its next hop.
    Resilient(u16),
}

/// What a route's packets go to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// One gateway, by its object.
    Gateway(Member),
    /// A group of gateways' objects with their weights, 1..=256.
    Group(GroupKind, BTreeMap<Member, u16>),
    /// A slot group, by its number.
    Slots(u32),
    /// Gateways in the route itself, with their weights, for kernels without next-hop objects.
    Paths(BTreeMap<Member, u16>),
}

/// A next-hop object outside the slot groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// One gateway.
    Gateway(Member),
    /// A group of objects with their weights.
    Group(GroupKind, BTreeMap<u32, u16>),
    /// Anything else: not made by us as we are.
    Other,
}

/// What a route uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A next-hop object.
    Object(u32),
    /// Gateways of its own with their weights.
    Paths(BTreeMap<Member, u16>),
    /// Anything else.
    Other,
}

impl Use {
    /// The next-hop object.
    pub(crate) fn object(&self) -> Option<u32> {
        match self {
            Use::Object(id) => Some(*id),
            Use::Paths(_) | Use::Other => None,
        }
    }
}

/// A slot group: the object of each slot, and the group over them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotGroup {
    /// The objects of its slots.
    pub(crate) slots: SlotObjects,
    /// The group, where there is one.
    pub(crate) group: Option<SlotShape>,
}

/// What the group of a slot group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlotShape {
    /// Resilient, over slots of its own with weight 1.
    Slots {
        /// The indices of its members.
        members: BTreeSet<u32>,
        /// The size of its table.
        buckets: u16,
    },
    /// Anything else.
    Other,
}

impl SlotGroup {
    /// Whether the group holds just the slots `0..count`, each with one bucket.
    pub(crate) fn is_whole(&self, count: u32) -> bool {
        matches!(&self.group, Some(SlotShape::Slots { members, .. }) if members.len() == count as usize)
            && self.can_be_whole(count)
    }

    /// Whether it can be made so: neither the kind nor the size of the table of a group can be changed.
    pub(crate) fn can_be_whole(&self, count: u32) -> bool {
        match &self.group {
            None => true,
            Some(SlotShape::Other) => false,
            Some(SlotShape::Slots { members, buckets }) => {
                u32::from(*buckets) == count && members.last().is_none_or(|last| *last < count)
            }
        }
    }

    /// The gateways in the order of the slots, as far as they are known.
    pub(crate) fn table(&self, count: u32) -> Vec<Option<Member>> {
        (0..count).map(|index| self.slots.get(index).flatten()).collect()
    }
}

/// A route of somebody else that we must not push aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Foreign {
    /// Its route protocol number.
    pub(crate) protocol: u8,
    /// Its metric.
    pub(crate) metric: u32,
    /// Its interface, where it has one.
    pub(crate) iface: u32,
}

/// The route protocol number of the kernel's own routes.
pub(crate) const RTPROT_KERNEL: u8 = 2;

/// Our objects and routes in the kernel, and what stands in their way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Our next-hop objects outside the slot groups.
    pub(crate) objects: BTreeMap<u32, Object>,
    /// Our slot groups by their numbers.
    pub(crate) slots: BTreeMap<u32, SlotGroup>,
    /// Identifiers of our range that somebody else uses.
    pub(crate) taken: BTreeSet<u32>,
    /// Our routes and what each uses.
    routes: BTreeMap<Prefix, Use>,
    /// How many of our routes use an object.
    users: BTreeMap<u32, usize>,
    /// Connected routes, and routes of others with our metric.
    pub(crate) foreign: BTreeSet<(Prefix, Foreign)>,
}

impl Kernel {
    /// Our routes and what each uses.
    pub(crate) fn routes(&self) -> &BTreeMap<Prefix, Use> {
        &self.routes
    }

    /// How many of our routes use each object that is used.
    pub(crate) fn users(&self) -> &BTreeMap<u32, usize> {
        &self.users
    }

    /// Puts a route of ours in place of any before, which is returned.
    pub(crate) fn set_route(&mut self, prefix: Prefix, used: Use) -> Option<Use> {
        let before = self.remove_route(&prefix);
        if let Some(id) = used.object() {
            *self.users.entry(id).or_default() += 1;
        }
        self.routes.insert(prefix, used);
        before
    }

    /// Forgets a route of ours.
    pub(crate) fn remove_route(&mut self, prefix: &Prefix) -> Option<Use> {
        let before = self.routes.remove(prefix)?;
        if let Some(id) = before.object()
            && let Some(users) = self.users.get_mut(&id)
        {
            *users -= 1;
            if *users == 0 {
                self.users.remove(&id);
            }
        }
        Some(before)
    }

    /// Forgets all routes of ours.
    pub(crate) fn clear_routes(&mut self) {
        self.routes.clear();
        self.users.clear();
    }

    /// Forgets all objects.
    pub(crate) fn clear_objects(&mut self) {
        self.objects.clear();
        self.slots.clear();
        self.taken.clear();
    }

    /// What our route to a prefix goes to; none if there is none or it is not of our making.
    pub(crate) fn target(&self, prefix: &Prefix) -> Option<Target> {
        match self.routes.get(prefix)? {
            Use::Object(id) => self.resolve(*id),
            Use::Paths(paths) => Some(Target::Paths(paths.clone())),
            Use::Other => None,
        }
    }

    /// What an object stands for; none if it is gone or not of our making.
    pub(crate) fn resolve(&self, id: u32) -> Option<Target> {
        match place(id) {
            Place::SlotGroup(number) => {
                self.slots.get(&number).and_then(|group| group.group.as_ref()).map(|_| Target::Slots(number))
            }
            Place::Slot(..) | Place::Elsewhere => None,
            Place::Object => match self.objects.get(&id)? {
                Object::Gateway(member) => Some(Target::Gateway(*member)),
                Object::Group(kind, ids) => {
                    let member = |(id, weight): (&u32, &u16)| match self.objects.get(id)? {
                        Object::Gateway(member) => Some((*member, *weight)),
                        Object::Group(..) | Object::Other => None,
                    };
                    let members: Option<BTreeMap<Member, u16>> = ids.iter().map(member).collect();
                    let members = members.filter(|members| members.len() == ids.len())?;
                    // A group that shrank to one member.
                    let single = members.keys().next().filter(|_| members.len() == 1);
                    Some(single.map_or(Target::Group(*kind, members.clone()), |member| Target::Gateway(*member)))
                }
                Object::Other => None,
            },
        }
    }

    /// The gateways that a prefix's packets really go to, each with its part of all.
    pub(crate) fn spread(&self, prefix: &Prefix) -> Option<BTreeMap<Member, f64>> {
        let weights: BTreeMap<Member, f64> = match self.target(prefix)? {
            Target::Gateway(member) => BTreeMap::from([(member, 1.0)]),
            Target::Group(_, members) | Target::Paths(members) => {
                members.into_iter().map(|(member, weight)| (member, f64::from(weight))).collect()
            }
            Target::Slots(number) => {
                let mut counts = BTreeMap::new();
                for member in self.slots.get(&number)?.slots.gateways().flatten() {
                    *counts.entry(*member).or_insert(0.0) += 1.0;
                }
                counts
            }
        };
        let sum: f64 = weights.values().sum();
        Some(weights.into_iter().map(|(member, weight)| (member, weight / sum)).collect())
    }

    /// The route of somebody else that stands in the way of a prefix.
    pub(crate) fn blocker(&self, prefix: &Prefix) -> Option<Foreign> {
        let low = (*prefix, Foreign { protocol: 0, metric: 0, iface: 0 });
        self.foreign.range(low..).take_while(|(of, _)| of == prefix).map(|(_, foreign)| *foreign).next()
    }

    /// Notes an object of ours.
    pub(crate) fn set_object(&mut self, id: u32, object: Object) {
        match place(id) {
            Place::Object => drop(self.objects.insert(id, object)),
            Place::Slot(number, index) => {
                let member = if let Object::Gateway(member) = object { Some(member) } else { None };
                self.slots.entry(number).or_default().slots.insert(index, member);
            }
            Place::SlotGroup(number) => {
                let index = |(id, weight): (&u32, &u16)| match place(*id) {
                    Place::Slot(of, index) if of == number && *weight == 1 => Some(index),
                    _ => None,
                };
                let shape = match &object {
                    Object::Group(GroupKind::Resilient(buckets), ids) => {
                        let members: Option<BTreeSet<u32>> = ids.iter().map(index).collect();
                        members.map(|members| SlotShape::Slots { members, buckets: *buckets })
                    }
                    _ => None,
                };
                self.slots.entry(number).or_default().group = Some(shape.unwrap_or(SlotShape::Other));
            }
            Place::Elsewhere => {}
        }
    }

    /// Forgets an object, as the kernel does: groups lose it, and routes that use it are gone.
    pub(crate) fn remove_object(&mut self, id: u32) {
        self.taken.remove(&id);
        if self.users.remove(&id).is_some() {
            self.routes.retain(|_, used| used.object() != Some(id));
        }
        match place(id) {
            Place::Object => self.remove_from_groups(id),
            Place::Slot(number, index) => self.remove_slot(number, index),
            Place::SlotGroup(number) => {
                if let Some(group) = self.slots.get_mut(&number) {
                    group.group = None;
                    if group.slots.is_empty() {
                        self.slots.remove(&number);
                    }
                }
            }
            Place::Elsewhere => {}
        }
    }

    fn remove_slot(&mut self, number: u32, index: u32) {
        let Some(group) = self.slots.get_mut(&number) else { return };
        group.slots.remove(index);
        if let Some(SlotShape::Slots { members, .. }) = &mut group.group
            && members.remove(&index)
            && members.is_empty()
        {
            self.remove_object(slot_id(number, None));
        } else if group.slots.is_empty() && group.group.is_none() {
            self.slots.remove(&number);
        }
    }

    fn remove_from_groups(&mut self, id: u32) {
        if self.objects.remove(&id).is_none() {
            return;
        }
        let mut empty = Vec::new();
        for (group, object) in &mut self.objects {
            if let Object::Group(_, members) = object
                && members.remove(&id).is_some()
                && members.is_empty()
            {
                empty.push(*group);
            }
        }
        for group in empty {
            self.remove_object(group);
        }
    }
}
