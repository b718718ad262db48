//! The choice of groups and the plan against a model of the kernel, step by step.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::groups::{Groups, Lacks, Sharing, Wanted};
use super::super::ids::SLOT_GROUPS;
use super::super::testing::apply;
use super::*;

const SLOTS: u32 = 16;

type Desired = BTreeMap<Prefix, Wanted>;

fn member(n: u8) -> Member {
    Member { iface: u32::from(n % 3), gateway: std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(n)) }
}

fn prefix(n: u16) -> Prefix {
    Prefix::host(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n))
}

fn wanted(ns: &[(u8, u32)]) -> Wanted {
    let shares = ns.iter().map(|(n, weight)| (member(*n), *weight)).collect();
    Wanted { shares: Arc::new(shares), originators: ns.len() }
}

fn equal(ns: &[u8]) -> Wanted {
    wanted(&ns.iter().map(|n| (*n, 1)).collect::<Vec<_>>())
}

fn desired(routes: &[(u16, &[u8])]) -> Desired {
    routes.iter().map(|(n, ns)| (prefix(*n), equal(ns))).collect()
}

/// What a route's packets go to, down to the slots.
#[derive(Clone, Debug, PartialEq)]
enum Resolved {
    Target(Target),
    Table(Vec<Option<Member>>),
}

impl Resolved {
    fn members(&self) -> BTreeSet<Member> {
        match self {
            Resolved::Target(Target::Gateway(member)) => BTreeSet::from([*member]),
            Resolved::Target(Target::Group(_, weights) | Target::Paths(weights)) => weights.keys().copied().collect(),
            Resolved::Target(Target::Slots(_)) => panic!("a slot group has a table"),
            Resolved::Table(table) => table.iter().map(|slot| slot.expect("a slot without gateway")).collect(),
        }
    }
}

/// A kernel, and what we chose for it.
struct Bed {
    kernel: Kernel,
    groups: Groups,
}

impl Bed {
    fn new(sharing: Sharing) -> Self {
        Bed { kernel: Kernel::default(), groups: Groups::new(sharing, SLOTS, Lacks::default()) }
    }

    fn installed(sharing: Sharing, routes: &[(u16, &[u8])]) -> Self {
        let mut bed = Bed::new(sharing);
        bed.run(&desired(routes));
        bed
    }

    fn resolve(&self) -> BTreeMap<Prefix, Option<Resolved>> {
        let table = |number| self.kernel.slots[&number].table(SLOTS);
        let of = |prefix: &Prefix| match self.kernel.target(prefix)? {
            Target::Slots(number) => Some(Resolved::Table(table(number))),
            target => Some(Resolved::Target(target)),
        };
        self.kernel.routes().keys().map(|prefix| (*prefix, of(prefix))).collect()
    }

    /// Chooses and plans, applies step by step and checks every step.
    fn run(&mut self, desired: &Desired) -> Vec<Op> {
        self.run_keeping(desired, &BTreeSet::new())
    }

    fn run_keeping(&mut self, desired: &Desired, keep: &BTreeSet<Prefix>) -> Vec<Op> {
        let prefixes = self.groups.targets().keys().chain(desired.keys()).copied().collect();
        self.groups.choose(&prefixes, (desired, keep), &self.kernel);
        let plan = self.plan(None, keep);
        self.follow((desired, keep), plan)
    }

    /// The same, but only what is touched is looked at.
    fn run_touched(&mut self, desired: &Desired, touched: &BTreeSet<Prefix>) -> Vec<Op> {
        let slots = self.groups.choose(touched, (desired, &BTreeSet::new()), &self.kernel);
        let keep = BTreeSet::new();
        let mut plan = self.plan(Some(Touched { prefixes: touched, slots: &slots }), &keep);
        for prefix in desired.keys() {
            // What is not touched was blocked before.
            plan.blocked.extend(self.kernel.blocker(prefix).map(|foreign| (*prefix, foreign)));
        }
        self.follow((desired, &keep), plan)
    }

    fn plan(&self, touched: Option<Touched<'_>>, keep: &BTreeSet<Prefix>) -> Plan {
        let wish = Wish { desired: self.groups.targets(), slots: self.groups.tables(), touched, keep };
        plan(wish, &self.kernel)
    }

    /// What a prefix is to go to.
    fn goal(&self, prefix: &Prefix) -> Option<Resolved> {
        Some(match self.groups.targets().get(prefix)? {
            Target::Slots(number) => {
                Resolved::Table(self.groups.tables()[number].iter().map(Option::<&Member>::copied).collect())
            }
            target => Resolved::Target(target.clone()),
        })
    }

    fn follow(&mut self, (desired, keep): (&Desired, &BTreeSet<Prefix>), Plan { ops, blocked }: Plan) -> Vec<Op> {
        let before = self.resolve();
        for op in &ops {
            apply(&mut self.kernel, op);
            let now = self.resolve();
            for (prefix, old) in &before {
                match self.goal(prefix) {
                    Some(new) if !blocked.contains_key(prefix) => {
                        let current =
                            now.get(prefix).unwrap_or_else(|| panic!("{prefix} has no route after {op:?} in {ops:?}"));
                        assert!(
                            current == old || strays_nowhere(current.as_ref(), old.as_ref(), &new),
                            "{prefix} strays at {op:?} in {ops:?}"
                        );
                    }
                    None if keep.contains(prefix) => assert_eq!(now.get(prefix), Some(old), "{prefix} is kept"),
                    _ => {}
                }
            }
        }
        let after = self.resolve();
        for prefix in desired.keys().filter(|prefix| !blocked.contains_key(prefix)) {
            assert_eq!(after.get(prefix), Some(&self.goal(prefix)), "{prefix} after {ops:?}");
        }
        for prefix in after.keys() {
            assert!(desired.contains_key(prefix) || keep.contains(prefix), "{prefix} is left over after {ops:?}");
        }
        for group in self.kernel.slots.values() {
            assert!(group.is_whole(SLOTS) && group.slots.indices_from(0).eq(0..SLOTS), "{group:?} after {ops:?}");
        }
        assert_eq!(self.plan(None, keep).ops, [], "a second plan has nothing to do");
        ops
    }
}

/// Between two tables each slot may be at either owner; all else is at once at what it is to be.
fn strays_nowhere(current: Option<&Resolved>, old: Option<&Resolved>, new: &Resolved) -> bool {
    match (current, old, new) {
        (Some(Resolved::Table(current)), Some(Resolved::Table(old)), Resolved::Table(new)) => {
            current.iter().zip(old.iter().zip(new)).all(|(now, (old, new))| now == old || now == new)
        }
        (Some(current), Some(Resolved::Table(_)) | None, Resolved::Table(_)) => {
            // A group with a hole is filled.
            current.members().is_subset(&new.members())
        }
        (current, _, new) => current == Some(new),
    }
}

#[test]
fn one_gateway_is_used_directly_and_a_set_by_one_shared_group() {
    let mut bed = Bed::new(Sharing::HashThreshold);
    let ops = bed.run(&desired(&[(1, &[1]), (2, &[1, 2]), (3, &[1, 2])]));
    let creates = |wanted: fn(&Op) -> bool| ops.iter().filter(|op| wanted(op)).count();
    assert_eq!(creates(|op| matches!(op, Op::CreateGateway(..))), 2);
    assert_eq!(creates(|op| matches!(op, Op::CreateGroup(..))), 1);
    assert_eq!(bed.kernel.routes()[&prefix(2)], bed.kernel.routes()[&prefix(3)]);
    let id = bed.kernel.routes()[&prefix(1)].object().unwrap();
    assert!(matches!(bed.kernel.objects[&id], Object::Gateway(_)));
}

#[test]
fn a_member_that_leaves_a_group_costs_one_message_whatever_the_number_of_prefixes() {
    let many: Vec<(u16, &[u8])> = (0..500).map(|n| (n, &[1u8, 2, 3][..])).collect();
    let mut bed = Bed::installed(Sharing::HashThreshold, &many);
    let fewer: Vec<(u16, &[u8])> = (0..500).map(|n| (n, &[1u8, 3][..])).collect();
    let ops = bed.run(&desired(&fewer));
    assert!(matches!(ops.as_slice(), [Op::ReplaceGroup(..), Op::DeleteObject(_)]), "{ops:?}");
    let ops = bed.run(&desired(&many));
    assert!(matches!(ops.as_slice(), [Op::CreateGateway(..), Op::ReplaceGroup(..)]), "{ops:?}");
}

#[test]
fn a_slot_group_is_kept_by_the_prefixes_that_change_together() {
    let many: Vec<(u16, &[u8])> = (0..500).map(|n| (n, &[1u8, 2, 3, 4][..])).collect();
    let mut bed = Bed::installed(Sharing::Stable, &many);
    let fewer: Vec<(u16, &[u8])> = (0..500).map(|n| (n, &[1u8, 3, 4][..])).collect();
    let ops = bed.run(&desired(&fewer));
    assert_eq!(ops.len(), 4, "{ops:?}");
    assert!(ops.iter().all(|op| matches!(op, Op::ReplaceGateway(..))), "{ops:?}");
    // A minority that parts from it has a group of its own and is not pointed elsewhere on the way.
    let mut some = desired(&fewer);
    some.insert(prefix(7), equal(&[1, 2]));
    let ops = bed.run_touched(&some, &BTreeSet::from([prefix(7)]));
    assert_eq!(ops.len(), SLOTS as usize + 2, "its slots, its group, its route: {ops:?}");
    // And back: its group goes.
    some.insert(prefix(7), equal(&[1, 3, 4]));
    let ops = bed.run_touched(&some, &BTreeSet::from([prefix(7)]));
    assert!(matches!(ops.first(), Some(Op::ReplaceRoute(..))), "{ops:?}");
    assert_eq!(ops.len(), 1 + 1 + SLOTS as usize);
}

#[test]
fn a_weight_moves_just_its_slots() {
    let mut bed = Bed::new(Sharing::Stable);
    bed.run(&BTreeMap::from([(prefix(1), wanted(&[(1, 8), (2, 4), (3, 4)]))]));
    let ops = bed.run(&BTreeMap::from([(prefix(1), wanted(&[(1, 4), (2, 4), (3, 4)]))]));
    // 8, 4, 4 of 16 become 6, 5, 5 or so.
    assert!(ops.len() <= 3 && ops.iter().all(|op| matches!(op, Op::ReplaceGateway(..))), "{ops:?}");
}

#[test]
fn beyond_the_last_slot_group_prefixes_share_by_hash_threshold_until_one_is_free() {
    let mut bed = Bed::new(Sharing::Stable);
    let sets: Desired = (0..20).map(|n| (prefix(n), equal(&[100, n as u8]))).collect();
    bed.run(&sets);
    assert_eq!(bed.groups.tables().len(), SLOT_GROUPS as usize);
    let without: Vec<Prefix> = sets.keys().filter(|prefix| bed.groups.why(prefix).is_some()).copied().collect();
    assert_eq!(without.len(), 20 - SLOT_GROUPS as usize);
    assert!(matches!(bed.groups.targets()[&without[0]], Target::Group(GroupKind::Threshold, _)));
    let fewer: Desired = sets.into_iter().filter(|(prefix, _)| *prefix >= self::prefix(10)).collect();
    bed.run(&fewer);
    bed.run(&fewer);
    assert!(fewer.keys().all(|prefix| bed.groups.why(prefix).is_none()));
}

#[test]
fn a_kernel_that_lacks_something_has_the_next_best_and_the_reason() {
    let lacks = |objects: Option<&str>, resilient: Option<&str>| Lacks {
        objects: objects.map(str::to_owned),
        resilient: resilient.map(str::to_owned),
    };
    for (sharing, lacks, kind, why) in [
        (Sharing::Stable, lacks(None, Some("no")), "group", Some("this kernel has no resilient groups: no")),
        (Sharing::Resilient, lacks(None, Some("no")), "group", Some("this kernel has no resilient groups: no")),
        (Sharing::Stable, lacks(Some("no"), Some("no")), "paths", Some("this kernel has no next-hop objects: no")),
        (Sharing::HashThreshold, lacks(Some("no"), None), "paths", Some("this kernel has no next-hop objects: no")),
        (Sharing::Multipath, Lacks::default(), "paths", None),
        (Sharing::HashThreshold, Lacks::default(), "group", None),
    ] {
        let mut bed = Bed { kernel: Kernel::default(), groups: Groups::new(sharing, SLOTS, lacks) };
        bed.run(&BTreeMap::from([(prefix(1), wanted(&[(1, 300), (2, 100)]))]));
        let weights = BTreeMap::from([(member(1), 255), (member(2), 85)]);
        let target = match kind {
            "group" => Target::Group(GroupKind::Threshold, weights),
            _ => Target::Paths(weights),
        };
        assert_eq!(bed.groups.targets()[&prefix(1)], target);
        assert_eq!(bed.groups.why(&prefix(1)), why);
    }
}

#[test]
fn a_prefix_that_parts_from_its_group_gets_its_own() {
    let mut bed = Bed::installed(Sharing::HashThreshold, &[(1, &[1, 2, 3]), (2, &[1, 2, 3])]);
    let ops = bed.run(&desired(&[(1, &[1, 2, 3]), (2, &[1, 2])]));
    assert!(matches!(ops.as_slice(), [Op::CreateGroup(..), Op::ReplaceRoute(..)]), "{ops:?}");
    let ops = bed.run(&desired(&[(1, &[1, 2, 3]), (2, &[1, 2, 3])]));
    assert!(matches!(ops.as_slice(), [Op::ReplaceRoute(..), Op::DeleteObject(_)]), "{ops:?}");
}

#[test]
fn routes_of_a_former_life_are_adopted_without_touching_them() {
    for sharing in [Sharing::HashThreshold, Sharing::Stable] {
        let Bed { kernel, .. } = Bed::installed(sharing, &[(1, &[1, 2]), (2, &[3]), (3, &[4])]);
        let keep = kernel.routes().keys().copied().collect();
        let mut bed = Bed { kernel, groups: Groups::new(sharing, SLOTS, Lacks::default()) };
        assert_eq!(bed.run_keeping(&BTreeMap::new(), &keep), []);
        let ops = bed.run(&desired(&[(1, &[1, 2]), (2, &[3])]));
        assert_eq!(ops.len(), 2, "only what is not wanted any more is deleted: {ops:?}");
    }
}

#[test]
fn a_foreign_route_of_the_same_metric_is_neither_replaced_nor_joined() {
    let mut bed = Bed::new(Sharing::Stable);
    bed.kernel.foreign.insert((prefix(1), Foreign { protocol: 4, metric: 20, iface: 2 }));
    assert_eq!(bed.run(&desired(&[(1, &[1])])), []);
    assert!(bed.plan(None, &BTreeSet::new()).blocked.contains_key(&prefix(1)));
    bed.kernel.foreign.clear();
    assert_eq!(bed.run(&desired(&[(1, &[1])])).len(), 2);
}

#[test]
fn a_route_gives_way_to_a_connected_one() {
    let mut bed = Bed::installed(Sharing::Stable, &[(1, &[1])]);
    bed.kernel.foreign.insert((prefix(1), Foreign { protocol: RTPROT_KERNEL, metric: 256, iface: 2 }));
    let ops = bed.run(&desired(&[(1, &[1])]));
    assert_eq!(ops.first(), Some(&Op::DeleteRoute(prefix(1))));
    assert!(bed.kernel.routes().is_empty());
}

#[test]
fn what_the_kernel_lost_with_the_carrier_is_made_anew() {
    for (sharing, messages) in [(Sharing::HashThreshold, 5), (Sharing::Stable, 1 + SLOTS as usize + 1 + 2)] {
        let wanted = desired(&[(1, &[1, 2]), (2, &[1])]);
        let mut bed = Bed::new(sharing);
        bed.run(&wanted);
        let ids: Vec<u32> = bed.kernel.users().keys().copied().collect();
        for id in ids {
            bed.kernel.remove_object(id);
        }
        bed.kernel.clear_objects();
        assert!(bed.kernel.routes().is_empty());
        assert_eq!(bed.run(&wanted).len(), messages);
    }
}

fn any_desired() -> impl Strategy<Value = Desired> {
    let set = prop::collection::btree_map(1u8..6, 1u32..4, 1..4);
    prop::collection::btree_map(0u16..12, set, 0..10).prop_map(|routes| {
        let one = |(n, ns): (u16, BTreeMap<u8, u32>)| (prefix(n), wanted(&ns.into_iter().collect::<Vec<_>>()));
        routes.into_iter().map(one).collect()
    })
}

/// Something happens to the kernel behind our back.
fn disturb(kernel: &mut Kernel, event: u8, n: u16) {
    match event {
        0 => drop(kernel.remove_route(&prefix(n))),
        1 => {
            if let Some(id) = kernel.objects.keys().nth(usize::from(n)).copied() {
                kernel.remove_object(id);
            }
        }
        2 => drop(kernel.taken.insert(*OBJECT_IDS.start() + 100 + u32::from(n))),
        3 => {
            let protocol = if n.is_multiple_of(2) { RTPROT_KERNEL } else { 4 };
            kernel.foreign.insert((prefix(n), Foreign { protocol, metric: 20, iface: 1 }));
        }
        4 => kernel.foreign.clear(),
        5 if kernel.routes().contains_key(&prefix(n)) => drop(kernel.set_route(prefix(n), Use::Other)),
        6 => kernel.remove_object(slot_id(u32::from(n % 3), Some(u32::from(n)))),
        7 => kernel.remove_object(slot_id(u32::from(n % 3), None)),
        8 if kernel.slots.contains_key(&u32::from(n % 3)) => {
            kernel.set_object(slot_id(u32::from(n % 3), Some(u32::from(n))), Object::Other);
        }
        9 => {
            let id = slot_id(u32::from(n % 3), Some(u32::from(n)));
            kernel.remove_object(id);
            kernel.taken.insert(id);
        }
        10 if kernel.slots.contains_key(&u32::from(n % 3)) => {
            let kind = GroupKind::Resilient(4);
            kernel.set_object(slot_id(u32::from(n % 3), None), Object::Group(kind, BTreeMap::new()));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// However the wishes follow one another, and whatever the kernel loses and others add in between: the plan leads to
    /// what is desired, harms nothing foreign, and leaves no prefix without a route on the way.
    #[test]
    fn the_plan_leads_from_anything_to_anything(
        stable in any::<bool>(),
        steps in prop::collection::vec((any_desired(), 0u8..16, 0u16..12), 1..12)
    ) {
        let mut bed = Bed::new(if stable { Sharing::Stable } else { Sharing::HashThreshold });
        let mut before = BTreeMap::new();
        for (wanted, event, n) in steps {
            disturb(&mut bed.kernel, event, n);
            let (taken, foreign) = (bed.kernel.taken.clone(), bed.kernel.foreign.clone());
            match event {
                11 => {
                    let keep = bed.kernel.routes().keys().copied().collect();
                    bed.run_keeping(&wanted, &keep);
                    // What was kept is not wanted by anybody.
                    bed.run(&wanted);
                }
                12.. => {
                    let mut differs: BTreeSet<Prefix> =
                        before.iter().filter(|(p, m)| wanted.get(p) != Some(m)).map(|(p, _)| *p).collect();
                    differs.extend(wanted.iter().filter(|(p, m)| before.get(p) != Some(m)).map(|(p, _)| *p));
                    bed.run_touched(&wanted, &differs);
                }
                _ => drop(bed.run(&wanted)),
            }
            before = wanted;
            prop_assert_eq!((taken, foreign), (bed.kernel.taken.clone(), bed.kernel.foreign.clone()));
        }
    }
}

#[test]
fn a_change_of_one_prefix_does_not_depend_on_the_number_of_prefixes() {
    let many: Vec<(u16, &[u8])> = (0..2000).map(|n| (n, &[1u8, 2, 3][..])).collect();
    for (sharing, messages) in [(Sharing::HashThreshold, 2), (Sharing::Stable, SLOTS as usize + 2)] {
        let mut bed = Bed::installed(sharing, &many);
        let mut wish = desired(&many);
        wish.insert(prefix(7), equal(&[1, 2]));
        let touched = BTreeSet::from([prefix(7)]);
        let slots = bed.groups.choose(&touched, (&wish, &BTreeSet::new()), &bed.kernel);
        let ops = bed.plan(Some(Touched { prefixes: &touched, slots: &slots }), &BTreeSet::new()).ops;
        assert_eq!(ops.len(), messages, "{ops:?}");
    }
}
