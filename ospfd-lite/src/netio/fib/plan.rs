//! From what is desired and what the kernel has to an ordered list of operations. Pure.
//!
//! One object per gateway; one group per distinct set of two or more gateways, shared by all its prefixes; a single gateway
//! is used by its object directly. Where all prefixes of a group move to the same other set, the group's members are
//! replaced, which is atomic and one message whatever the number of prefixes (so that a group may shrink to one member). The order keeps every prefix that had a route
//! and shall have one reachable at each step, by its old gateways or its new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use ospf_proto::lsa::Prefix;

use super::model::{Foreign, Kernel, Member, Members, Object, RTPROT_KERNEL};

/// The identifiers that we give to next-hop objects.
pub(crate) const IDS: RangeInclusive<u32> = 89_000_000..=89_999_999;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Create the object of a gateway.
    CreateGateway(u32, Member),
    /// Create a group.
    CreateGroup(u32, Vec<u32>),
    /// Replace the members of a group.
    ReplaceGroup(u32, Vec<u32>),
    /// Add a route through an object.
    AddRoute(Prefix, u32),
    /// Move a route of ours to another object.
    ReplaceRoute(Prefix, u32),
    /// Delete a route of ours.
    DeleteRoute(Prefix),
    /// Delete an object that no route uses.
    DeleteObject(u32),
}

/// What is to be done, and what cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The operations in their order.
    pub(crate) ops: Vec<Op>,
    /// Prefixes that a route of somebody else keeps from being installed.
    pub(crate) blocked: BTreeMap<Prefix, Foreign>,
}

/// What is wished for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// The routes.
    pub(crate) desired: &'a BTreeMap<Prefix, Members>,
    /// The prefixes whose wish or kernel route changed since the last plan was done, where that is known: only these are
    /// looked at, and only their wishes need to be in `desired`. None: all.
    pub(crate) touched: Option<&'a BTreeSet<Prefix>>,
    /// Routes of ours to these prefixes stay as they are, unless they are desired otherwise.
    pub(crate) keep: &'a BTreeSet<Prefix>,
}

/// Plans.
pub(crate) fn plan(wish: Wish<'_>, kernel: &Kernel) -> Plan {
    let mut planner = Planner::new(kernel);
    match wish.touched {
        Some(touched) => {
            for prefix in touched {
                planner.sort_route(&wish, prefix);
            }
        }
        None => {
            for prefix in wish.desired.keys() {
                planner.sort_route(&wish, prefix);
            }
            for prefix in kernel.routes().keys().filter(|prefix| !wish.desired.contains_key(prefix)) {
                planner.sort_route(&wish, prefix);
            }
        }
    }
    planner.find_staying();
    planner.choose_groups();
    planner.move_routes();
    planner.finish()
}

/// Where a route is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    id: u32,
    /// Whether the object stands for the right gateways only after its members are replaced.
    replaced: bool,
}

struct Planner<'a> {
    kernel: &'a Kernel,
    blocked: BTreeMap<Prefix, Foreign>,
    /// Routes to be deleted.
    deletes: Vec<Prefix>,
    /// Routes to be added or moved.
    moves: BTreeMap<Prefix, &'a Members>,
    /// How many routes leave an object.
    leaving: BTreeMap<u32, usize>,
    /// What objects stand for, once looked up.
    resolved: BTreeMap<u32, Option<Members>>,
    /// Objects that a route uses that stays as it is.
    staying: BTreeSet<u32>,
    /// What our objects stand for in the end: those that routes stay on or move to.
    targets: BTreeMap<Members, Target>,
    gateways: BTreeMap<Member, u32>,
    next_id: u32,
    create: Vec<Op>,
    early: Vec<Op>,
    replace: Vec<Op>,
    late: Vec<Op>,
    /// The members of groups after the plan, where they differ from the kernel's or are new.
    groups: BTreeMap<u32, Vec<u32>>,
}

impl<'a> Planner<'a> {
    fn new(kernel: &'a Kernel) -> Self {
        let gateways = kernel.objects.iter().filter_map(|(id, object)| match object {
            Object::Gateway(member) => Some((*member, *id)),
            Object::Group(_) | Object::Other => None,
        });
        Planner {
            kernel,
            blocked: BTreeMap::new(),
            deletes: Vec::new(),
            moves: BTreeMap::new(),
            leaving: BTreeMap::new(),
            resolved: BTreeMap::new(),
            staying: BTreeSet::new(),
            targets: BTreeMap::new(),
            gateways: gateways.collect(),
            next_id: *IDS.start(),
            create: Vec::new(),
            early: Vec::new(),
            replace: Vec::new(),
            late: Vec::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Whether the route to a prefix is right, or to be added, moved or deleted.
    fn sort_route(&mut self, wish: &Wish<'a>, prefix: &Prefix) {
        let kernel = self.kernel;
        let used = kernel.routes().get(prefix);
        let Some(wanted) = wish.desired.get(prefix) else {
            if used.is_some() && !wish.keep.contains(prefix) {
                self.deletes.push(*prefix);
                self.leave(used);
            }
            return;
        };
        let right = used
            .copied()
            .flatten()
            .is_some_and(|id| self.resolved.entry(id).or_insert_with(|| kernel.members(id)).as_ref() == Some(wanted));
        if let Some(foreign) = kernel.blocker(prefix) {
            self.blocked.insert(*prefix, foreign);
            // A route beside a foreign one of the same metric cannot be moved; a right one may stay.
            if used.is_some() && !(right && foreign.protocol != RTPROT_KERNEL) {
                self.deletes.push(*prefix);
                self.leave(used);
            }
        } else if !right {
            self.moves.insert(*prefix, wanted);
            self.leave(used);
        }
    }

    /// A route does not stay on its object.
    fn leave(&mut self, used: Option<&Option<u32>>) {
        if let Some(Some(id)) = used {
            *self.leaving.entry(*id).or_default() += 1;
        }
    }

    /// Objects that not all routes leave stay as they are.
    fn find_staying(&mut self) {
        for (id, users) in self.kernel.users() {
            if self.leaving.get(id).is_none_or(|leaving| leaving < users) {
                self.staying.insert(*id);
                if let Some(members) = self.kernel.members(*id) {
                    self.targets.entry(members).or_insert(Target { id: *id, replaced: false });
                }
            }
        }
    }

    /// Groups whose routes all move to the same other set are replaced in place. (Were a minority to move elsewhere, it
    /// would stray to the majority's set in between.)
    fn choose_groups(&mut self) {
        let mut wishes: BTreeMap<u32, BTreeSet<&Members>> = BTreeMap::new();
        for (prefix, wanted) in &self.moves {
            if let Some(Some(id)) = self.kernel.routes().get(prefix)
                && matches!(self.kernel.objects.get(id), Some(Object::Group(_)))
                && !self.staying.contains(id)
            {
                wishes.entry(*id).or_default().insert(wanted);
            }
        }
        for (id, wishes) in wishes {
            if let (1, Some(wanted)) = (wishes.len(), wishes.first())
                && !self.targets.contains_key(*wanted)
            {
                let members: Vec<u32> = wanted.iter().map(|member| self.gateway(*member)).collect();
                self.replace.push(Op::ReplaceGroup(id, members.clone()));
                self.groups.insert(id, members);
                self.targets.insert((*wanted).clone(), Target { id, replaced: true });
            }
        }
    }

    fn move_routes(&mut self) {
        for (prefix, wanted) in std::mem::take(&mut self.moves) {
            let target = self.target(wanted);
            let op = match self.kernel.routes().get(&prefix) {
                Some(Some(used)) if *used == target.id => continue,
                Some(_) => Op::ReplaceRoute(prefix, target.id),
                None => Op::AddRoute(prefix, target.id),
            };
            if target.replaced {
                self.late.push(op);
            } else {
                self.early.push(op);
            }
        }
    }

    /// The object that stands for a set in the end, created if need be.
    fn target(&mut self, wanted: &Members) -> Target {
        if let Some(target) = self.targets.get(wanted) {
            return *target;
        }
        let mut members: Vec<u32> = wanted.iter().map(|member| self.gateway(*member)).collect();
        let id = match (members.len(), members.pop()) {
            (1, Some(single)) => single,
            _ if let Some(spare) = self.spare(wanted) => spare,
            (_, last) => {
                members.extend(last);
                let id = self.new_id();
                self.create.push(Op::CreateGroup(id, members.clone()));
                self.groups.insert(id, members);
                id
            }
        };
        let target = Target { id, replaced: false };
        self.targets.insert(wanted.clone(), target);
        target
    }

    /// A group for this set that no route uses yet, such as one whose route was deleted by somebody else.
    fn spare(&self, wanted: &Members) -> Option<u32> {
        let groups = self.kernel.objects.iter().filter(|(_, object)| matches!(object, Object::Group(_)));
        let mut unchanged = groups.map(|(id, _)| *id).filter(|id| !self.groups.contains_key(id));
        unchanged.find(|id| self.kernel.members(*id).as_ref() == Some(wanted))
    }

    /// The object of a gateway, created if need be.
    fn gateway(&mut self, member: Member) -> u32 {
        if let Some(id) = self.gateways.get(&member) {
            return *id;
        }
        let id = self.new_id();
        self.create.push(Op::CreateGateway(id, member));
        self.gateways.insert(member, id);
        id
    }

    fn new_id(&mut self) -> u32 {
        while self.kernel.objects.contains_key(&self.next_id) || self.kernel.taken.contains(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn finish(self) -> Plan {
        let used: BTreeSet<u32> = self.targets.values().map(|target| target.id).chain(self.staying).collect();
        let mut members: BTreeSet<u32> = BTreeSet::new();
        for (id, object) in &self.kernel.objects {
            if let (true, Object::Group(ids), None) = (used.contains(id), object, self.groups.get(id)) {
                members.extend(ids);
            }
        }
        members.extend(self.groups.values().flatten());
        let unused = |group: bool| {
            let objects = self.kernel.objects.iter();
            let objects = objects.filter(move |(_, object)| matches!(object, Object::Gateway(_)) != group);
            let ids = objects.map(|(id, _)| *id).filter(|id| !used.contains(id) && !members.contains(id));
            ids.map(Op::DeleteObject).collect::<Vec<_>>()
        };
        let deletes = self.deletes.into_iter().map(Op::DeleteRoute).collect();
        let ops = [self.create, self.early, deletes, self.replace, self.late, unused(true), unused(false)].concat();
        Plan { ops, blocked: self.blocked }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
