//! From what is desired and what the kernel has to an ordered list of operations. Pure.
//!
//! One object per gateway; one group per distinct set of weighted gateways, shared by all its prefixes; a single gateway
//! is used by its object directly; a slot group has an object per slot, of its own. Where all prefixes of a group move to the
//! same other set, the group's members are replaced, which is atomic and one message whatever the number of prefixes (so that
//! a group may shrink to one member); a slot group is pointed elsewhere slot by slot. The order keeps every prefix that had a
//! route and shall have one reachable at each step, by its old gateways or its new ones.

use std::collections::{BTreeMap, BTreeSet};

use ospf_proto::lsa::Prefix;

use super::ids::{OBJECT_IDS, slot_id};
use super::model::{Foreign, GroupKind, Kernel, Member, Object, RTPROT_KERNEL, Target, Use};
use crate::share::Table;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Create the object of a gateway.
    CreateGateway(u32, Member),
    /// Point the object of a slot to another gateway.
    ReplaceGateway(u32, Member),
    /// Create a group of objects with their weights.
    CreateGroup(u32, GroupKind, BTreeMap<u32, u16>),
    /// Replace the members of a group.
    ReplaceGroup(u32, GroupKind, BTreeMap<u32, u16>),
    /// Add a route.
    AddRoute(Prefix, Use),
    /// Have a route of ours use something else.
    ReplaceRoute(Prefix, Use),
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

/// The tables of the slot groups, by their numbers.
pub(crate) type SlotTables = BTreeMap<u32, Table<Member>>;

/// What is wished for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// Where each route is to go.
    pub(crate) desired: &'a BTreeMap<Prefix, Target>,
    /// All slot groups that are to be there. Their numbers are usable (see `groups`).
    pub(crate) slots: &'a SlotTables,
    /// What changed since the last plan was done, where that is known: only this is looked at, and only the wishes of these
    /// prefixes need to be in `desired`. None: all.
    pub(crate) touched: Option<Touched<'a>>,
    /// Routes of ours to these prefixes stay as they are, unless they are desired otherwise.
    pub(crate) keep: &'a BTreeSet<Prefix>,
}

/// What changed, in the wish or in the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touched<'a> {
    /// Prefixes.
    pub(crate) prefixes: &'a BTreeSet<Prefix>,
    /// Numbers of slot groups.
    pub(crate) slots: &'a BTreeSet<u32>,
}

/// Plans.
pub(crate) fn plan(wish: Wish<'_>, kernel: &Kernel) -> Plan {
    let mut planner = Planner::new(kernel);
    match wish.touched {
        Some(touched) => {
            for prefix in touched.prefixes {
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
    for (number, table) in wish.slots {
        if wish.touched.is_none_or(|touched| touched.slots.contains(number)) {
            planner.set_slots(*number, table);
        }
    }
    planner.choose_groups();
    planner.move_routes();
    planner.finish(&wish)
}

/// What a route is to use.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Goal {
    used: Use,
    /// Whether it stands for the right gateways only after its members are replaced.
    replaced: bool,
}

impl Goal {
    fn object(id: u32) -> Self {
        Goal { used: Use::Object(id), replaced: false }
    }
}

struct Planner<'a> {
    kernel: &'a Kernel,
    blocked: BTreeMap<Prefix, Foreign>,
    /// Routes to be deleted.
    deletes: Vec<Prefix>,
    /// Routes to be added or moved.
    moves: BTreeMap<Prefix, &'a Target>,
    /// How many routes leave an object.
    leaving: BTreeMap<u32, usize>,
    /// What objects stand for, once looked up.
    resolved: BTreeMap<u32, Option<Target>>,
    /// Objects that a route uses that stays as it is.
    staying: BTreeSet<u32>,
    /// What our objects stand for in the end: those that routes stay on or move to.
    targets: BTreeMap<Target, Goal>,
    gateways: BTreeMap<Member, u32>,
    next_id: u32,
    create: Vec<Op>,
    early: Vec<Op>,
    replace: Vec<Op>,
    late: Vec<Op>,
    /// The members of groups after the plan, where they differ from the kernel's or are new.
    groups: BTreeMap<u32, Vec<u32>>,
    /// Slot groups of which a slot is pointed elsewhere.
    repointed: BTreeSet<u32>,
}

impl<'a> Planner<'a> {
    fn new(kernel: &'a Kernel) -> Self {
        let gateways = kernel.objects.iter().filter_map(|(id, object)| match object {
            Object::Gateway(member) => Some((*member, *id)),
            Object::Group(..) | Object::Other => None,
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
            next_id: *OBJECT_IDS.start(),
            create: Vec::new(),
            early: Vec::new(),
            replace: Vec::new(),
            late: Vec::new(),
            groups: BTreeMap::new(),
            repointed: BTreeSet::new(),
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
        let right = match used {
            Some(Use::Object(id)) => {
                self.resolved.entry(*id).or_insert_with(|| kernel.resolve(*id)).as_ref() == Some(wanted)
            }
            Some(Use::Paths(paths)) => matches!(wanted, Target::Paths(wanted) if wanted == paths),
            Some(Use::Other) | None => false,
        };
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
    fn leave(&mut self, used: Option<&Use>) {
        if let Some(id) = used.and_then(Use::object) {
            *self.leaving.entry(id).or_default() += 1;
        }
    }

    /// Objects that not all routes leave stay as they are.
    fn find_staying(&mut self) {
        for (id, users) in self.kernel.users() {
            if self.leaving.get(id).is_none_or(|leaving| leaving < users) {
                self.staying.insert(*id);
                if let Some(target) = self.kernel.resolve(*id) {
                    self.targets.entry(target).or_insert(Goal::object(*id));
                }
            }
        }
    }

    /// Makes a slot group what it is to be. Of a new one all slots are there before its group is; slots of one that is there are
    /// pointed elsewhere when those routes have gone that are to leave it.
    fn set_slots(&mut self, number: u32, table: &Table<Member>) {
        let empty = Default::default();
        let group = self.kernel.slots.get(&number).unwrap_or(&empty);
        let count = table.len() as u32;
        let mut whole = group.is_whole(count);
        for (index, member) in (0..).zip(table.iter()) {
            let Some(member) = member else { continue };
            let id = slot_id(number, Some(index));
            match group.slots.get(index) {
                Some(Some(known)) if known == *member => {}
                Some(Some(_)) => {
                    self.replace.push(Op::ReplaceGateway(id, *member));
                    self.repointed.insert(number);
                }
                // Somebody made something else of it, a group perhaps, which cannot be pointed to a gateway.
                Some(None) => {
                    self.create.extend([Op::DeleteObject(id), Op::CreateGateway(id, *member)]);
                    whole = false;
                }
                None => self.create.push(Op::CreateGateway(id, *member)),
            }
        }
        if !whole {
            let id = slot_id(number, None);
            let members = (0..count).map(|index| (slot_id(number, Some(index)), 1)).collect();
            let kind = GroupKind::Resilient(count as u16);
            self.create.push(match group.group {
                None => Op::CreateGroup(id, kind, members),
                Some(_) => Op::ReplaceGroup(id, kind, members),
            });
        }
    }

    /// Groups whose routes all move to the same other set are replaced in place. (Were a minority to move elsewhere, it
    /// would stray to the majority's set in between.)
    fn choose_groups(&mut self) {
        let mut wishes: BTreeMap<u32, BTreeSet<&'a Target>> = BTreeMap::new();
        for (prefix, wanted) in &self.moves {
            if let Some(Use::Object(id)) = self.kernel.routes().get(prefix)
                && matches!(self.kernel.objects.get(id), Some(Object::Group(..)))
                && !self.staying.contains(id)
            {
                wishes.entry(*id).or_default().insert(wanted);
            }
        }
        for (id, wishes) in wishes {
            let (1, Some(wanted)) = (wishes.len(), wishes.first()) else { continue };
            let Some(Object::Group(kind, _)) = self.kernel.objects.get(&id) else { continue };
            // The kind of a group cannot be changed.
            let weights = match wanted {
                Target::Group(wanted, weights) if wanted == kind => weights.clone(),
                Target::Gateway(member) => BTreeMap::from([(*member, 1)]),
                _ => continue,
            };
            if !self.targets.contains_key(*wanted) {
                let members = self.members(&weights);
                self.groups.insert(id, members.keys().copied().collect());
                self.replace.push(Op::ReplaceGroup(id, *kind, members));
                self.targets.insert((*wanted).clone(), Goal { used: Use::Object(id), replaced: true });
            }
        }
    }

    fn move_routes(&mut self) {
        for (prefix, wanted) in std::mem::take(&mut self.moves) {
            let goal = self.goal(wanted);
            let op = match self.kernel.routes().get(&prefix) {
                Some(used) if *used == goal.used => continue,
                Some(_) => Op::ReplaceRoute(prefix, goal.used),
                None => Op::AddRoute(prefix, goal.used),
            };
            if goal.replaced {
                self.late.push(op);
            } else {
                self.early.push(op);
            }
        }
    }

    /// What stands for a target in the end, created if need be.
    fn goal(&mut self, wanted: &Target) -> Goal {
        if let (Some(goal), false) = (self.targets.get(wanted), matches!(wanted, Target::Slots(_))) {
            return goal.clone();
        }
        let goal = match wanted {
            Target::Slots(number) => {
                Goal { used: Use::Object(slot_id(*number, None)), replaced: self.repointed.contains(number) }
            }
            Target::Paths(paths) => Goal { used: Use::Paths(paths.clone()), replaced: false },
            Target::Gateway(member) => Goal::object(self.gateway(*member)),
            Target::Group(kind, weights) => Goal::object(self.group(wanted, (*kind, weights))),
        };
        if !matches!(wanted, Target::Paths(_)) {
            self.targets.insert(wanted.clone(), goal.clone());
        }
        goal
    }

    /// A group for a set, created if there is none to spare.
    fn group(&mut self, wanted: &Target, (kind, weights): (GroupKind, &BTreeMap<Member, u16>)) -> u32 {
        if let Some(spare) = self.spare(wanted) {
            return spare;
        }
        let members = self.members(weights);
        let id = self.new_id();
        self.groups.insert(id, members.keys().copied().collect());
        self.create.push(Op::CreateGroup(id, kind, members));
        id
    }

    /// The objects of gateways with their weights.
    fn members(&mut self, weights: &BTreeMap<Member, u16>) -> BTreeMap<u32, u16> {
        weights.iter().map(|(member, weight)| (self.gateway(*member), *weight)).collect()
    }

    /// A group for this set that no route uses yet, such as one whose route was deleted by somebody else.
    fn spare(&self, wanted: &Target) -> Option<u32> {
        let groups = self.kernel.objects.iter().filter(|(_, object)| matches!(object, Object::Group(..)));
        let mut unchanged = groups.map(|(id, _)| *id).filter(|id| !self.groups.contains_key(id));
        unchanged.find(|id| self.kernel.resolve(*id).as_ref() == Some(wanted))
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

    fn finish(self, wish: &Wish<'_>) -> Plan {
        let targets = self.targets.values().filter_map(|goal| goal.used.object());
        let used: BTreeSet<u32> = targets.chain(self.staying.iter().copied()).collect();
        let mut members: BTreeSet<u32> = BTreeSet::new();
        for (id, object) in &self.kernel.objects {
            if let (true, Object::Group(_, ids), None) = (used.contains(id), object, self.groups.get(id)) {
                members.extend(ids.keys());
            }
        }
        members.extend(self.groups.values().flatten());
        let unused = |group: bool| {
            let objects = self.kernel.objects.iter();
            let objects = objects.filter(move |(_, object)| matches!(object, Object::Gateway(_)) != group);
            let ids = objects.map(|(id, _)| *id).filter(|id| !used.contains(id) && !members.contains(id));
            ids.map(Op::DeleteObject).collect::<Vec<_>>()
        };
        let slots = self.unused_slots(wish);
        let deletes = self.deletes.into_iter().map(Op::DeleteRoute).collect();
        let ops =
            [self.create, self.early, deletes, self.replace, self.late, unused(true), unused(false), slots].concat();
        Plan { ops, blocked: self.blocked }
    }

    /// Slot groups that are not wished for and that no route stays on.
    fn unused_slots(&self, wish: &Wish<'_>) -> Vec<Op> {
        let mut ops = Vec::new();
        for (number, group) in &self.kernel.slots {
            let id = slot_id(*number, None);
            if let Some(table) = wish.slots.get(number) {
                let beyond = group.slots.indices_from(table.len() as u32);
                ops.extend(beyond.map(|index| Op::DeleteObject(slot_id(*number, Some(index)))));
                continue;
            }
            if self.staying.contains(&id) {
                continue;
            }
            ops.extend(group.group.iter().map(|_| Op::DeleteObject(id)));
            ops.extend(group.slots.indices_from(0).map(|index| Op::DeleteObject(slot_id(*number, Some(index)))));
        }
        ops
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
