//! The plan against a model of the kernel.

use proptest::prelude::*;

use super::*;

fn member(n: u8) -> Member {
    Member { iface: u32::from(n % 3), gateway: std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(n)) }
}

fn members(ns: &[u8]) -> Members {
    ns.iter().map(|n| member(*n)).collect()
}

fn prefix(n: u16) -> Prefix {
    Prefix::host(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n))
}

fn desired(routes: &[(u16, &[u8])]) -> BTreeMap<Prefix, Members> {
    routes.iter().map(|(n, ns)| (prefix(*n), members(ns))).collect()
}

/// Does what the kernel does, and panics where the kernel would refuse.
fn apply(kernel: &mut Kernel, op: &Op) {
    match op {
        Op::CreateGateway(id, member) => {
            assert!(IDS.contains(id) && !kernel.taken.contains(id), "foreign identifier");
            assert!(kernel.objects.insert(*id, Object::Gateway(*member)).is_none(), "exists: {op:?}");
        }
        Op::CreateGroup(id, ids) => {
            assert!(IDS.contains(id) && !kernel.taken.contains(id), "foreign identifier");
            assert!(ids.iter().all(|id| matches!(kernel.objects.get(id), Some(Object::Gateway(_)))), "{op:?}");
            assert!(
                kernel.objects.insert(*id, Object::Group(ids.iter().copied().collect())).is_none(),
                "exists: {op:?}"
            );
        }
        Op::ReplaceGroup(id, ids) => {
            assert!(ids.iter().all(|id| matches!(kernel.objects.get(id), Some(Object::Gateway(_)))), "{op:?}");
            let before = kernel.objects.insert(*id, Object::Group(ids.iter().copied().collect()));
            assert!(matches!(before, Some(Object::Group(_))), "no group: {op:?}");
        }
        Op::AddRoute(prefix, id) => {
            assert!(kernel.blocker(prefix).is_none(), "beside a foreign route: {op:?}");
            assert!(kernel.objects.contains_key(id), "no object: {op:?}");
            assert!(kernel.set_route(*prefix, Some(*id)).is_none(), "exists: {op:?}");
        }
        Op::ReplaceRoute(prefix, id) => {
            assert!(kernel.blocker(prefix).is_none(), "would replace a foreign route: {op:?}");
            assert!(kernel.objects.contains_key(id), "no object: {op:?}");
            assert!(kernel.set_route(*prefix, Some(*id)).is_some(), "no route: {op:?}");
        }
        Op::DeleteRoute(prefix) => assert!(kernel.remove_route(prefix).is_some(), "no route: {op:?}"),
        Op::DeleteObject(id) => {
            assert!(kernel.objects.contains_key(id), "no object: {op:?}");
            assert!(!kernel.routes().values().any(|used| *used == Some(*id)), "in use: {op:?}");
            let in_group = |object: &Object| matches!(object, Object::Group(ids) if ids.contains(id));
            assert!(!kernel.objects.values().any(in_group), "in a group: {op:?}");
            kernel.remove_object(*id);
        }
    }
}

fn resolve(kernel: &Kernel) -> BTreeMap<Prefix, Option<Members>> {
    kernel.routes().iter().map(|(prefix, id)| (*prefix, id.and_then(|id| kernel.members(id)))).collect()
}

/// Plans, applies step by step and checks every step.
fn run(kernel: &mut Kernel, desired: &BTreeMap<Prefix, Members>, keep: &BTreeSet<Prefix>) -> Vec<Op> {
    let all = plan(Wish { desired, touched: None, keep }, kernel);
    follow(kernel, (desired, keep), all)
}

/// The same, but only what is touched is looked at.
fn run_touched(kernel: &mut Kernel, desired: &BTreeMap<Prefix, Members>, touched: &BTreeSet<Prefix>) -> Vec<Op> {
    let part = desired.iter().filter(|(prefix, _)| touched.contains(prefix));
    let part = part.map(|(prefix, members)| (*prefix, members.clone())).collect();
    let keep = BTreeSet::new();
    let mut some = plan(Wish { desired: &part, touched: Some(touched), keep: &keep }, kernel);
    for prefix in desired.keys() {
        // What is not touched was blocked before.
        some.blocked.extend(kernel.blocker(prefix).map(|foreign| (*prefix, foreign)));
    }
    follow(kernel, (desired, &keep), some)
}

fn follow(
    kernel: &mut Kernel,
    (desired, keep): (&BTreeMap<Prefix, Members>, &BTreeSet<Prefix>),
    Plan { ops, blocked }: Plan,
) -> Vec<Op> {
    let before = resolve(kernel);
    for op in &ops {
        apply(kernel, op);
        let now = resolve(kernel);
        for (prefix, old) in &before {
            match desired.get(prefix) {
                Some(new) if !blocked.contains_key(prefix) => {
                    let current =
                        now.get(prefix).unwrap_or_else(|| panic!("{prefix} has no route after {op:?} in {ops:?}"));
                    assert!(current == old || current.as_ref() == Some(new), "{prefix} strays at {op:?} in {ops:?}");
                }
                None if keep.contains(prefix) => assert_eq!(now.get(prefix), Some(old), "{prefix} is kept"),
                _ => {}
            }
        }
    }
    let after = resolve(kernel);
    for (prefix, new) in desired {
        if !blocked.contains_key(prefix) {
            assert_eq!(after.get(prefix), Some(&Some(new.clone())), "{prefix} after {ops:?}");
        }
    }
    for prefix in after.keys() {
        assert!(desired.contains_key(prefix) || keep.contains(prefix), "{prefix} is left over after {ops:?}");
    }
    let again = plan(Wish { desired, touched: None, keep }, kernel);
    assert_eq!(again.ops, [], "a second plan has nothing to do");
    ops
}

fn installed(routes: &[(u16, &[u8])]) -> Kernel {
    let mut kernel = Kernel::default();
    run(&mut kernel, &desired(routes), &BTreeSet::new());
    kernel
}

#[test]
fn one_gateway_is_used_directly_and_a_set_by_one_shared_group() {
    let mut kernel = Kernel::default();
    let ops = run(&mut kernel, &desired(&[(1, &[1]), (2, &[1, 2]), (3, &[1, 2])]), &BTreeSet::new());
    let creates = |wanted: fn(&Op) -> bool| ops.iter().filter(|op| wanted(op)).count();
    assert_eq!(creates(|op| matches!(op, Op::CreateGateway(..))), 2);
    assert_eq!(creates(|op| matches!(op, Op::CreateGroup(..))), 1);
    assert_eq!(kernel.routes()[&prefix(2)], kernel.routes()[&prefix(3)]);
    assert!(matches!(kernel.objects[&kernel.routes()[&prefix(1)].unwrap()], Object::Gateway(_)));
}

#[test]
fn a_member_that_leaves_a_group_costs_one_message_whatever_the_number_of_prefixes() {
    let many: Vec<(u16, &[u8])> = (0..500).map(|n| (n, &[1u8, 2, 3][..])).collect();
    let mut kernel = installed(&many);
    let fewer: Vec<(u16, &[u8])> = (0..500).map(|n| (n, &[1u8, 3][..])).collect();
    let ops = run(&mut kernel, &desired(&fewer), &BTreeSet::new());
    assert!(matches!(ops.as_slice(), [Op::ReplaceGroup(..), Op::DeleteObject(_)]), "{ops:?}");
    let ops = run(&mut kernel, &desired(&many), &BTreeSet::new());
    assert!(matches!(ops.as_slice(), [Op::CreateGateway(..), Op::ReplaceGroup(..)]), "{ops:?}");
}

#[test]
fn a_prefix_that_parts_from_its_group_gets_its_own() {
    let mut kernel = installed(&[(1, &[1, 2, 3]), (2, &[1, 2, 3])]);
    let ops = run(&mut kernel, &desired(&[(1, &[1, 2, 3]), (2, &[1, 2])]), &BTreeSet::new());
    assert!(matches!(ops.as_slice(), [Op::CreateGroup(..), Op::ReplaceRoute(..)]), "{ops:?}");
    let ops = run(&mut kernel, &desired(&[(1, &[1, 2, 3]), (2, &[1, 2, 3])]), &BTreeSet::new());
    assert!(matches!(ops.as_slice(), [Op::ReplaceRoute(..), Op::DeleteObject(_)]), "{ops:?}");
}

#[test]
fn routes_of_a_former_life_are_adopted_without_touching_them() {
    let mut kernel = installed(&[(1, &[1, 2]), (2, &[3]), (3, &[4])]);
    let keep = kernel.routes().keys().copied().collect();
    assert_eq!(run(&mut kernel, &BTreeMap::new(), &keep), []);
    let ops = run(&mut kernel, &desired(&[(1, &[1, 2]), (2, &[3])]), &BTreeSet::new());
    assert_eq!(ops.len(), 2, "only what is not wanted any more is deleted: {ops:?}");
}

#[test]
fn a_foreign_route_of_the_same_metric_is_neither_replaced_nor_joined() {
    let mut kernel = Kernel::default();
    kernel.foreign.insert((prefix(1), Foreign { protocol: 4, metric: 20, iface: 2 }));
    assert_eq!(run(&mut kernel, &desired(&[(1, &[1])]), &BTreeSet::new()), []);
    assert!(
        plan(Wish { desired: &desired(&[(1, &[1])]), touched: None, keep: &BTreeSet::new() }, &kernel)
            .blocked
            .contains_key(&prefix(1))
    );
    kernel.foreign.clear();
    assert_eq!(run(&mut kernel, &desired(&[(1, &[1])]), &BTreeSet::new()).len(), 2);
}

#[test]
fn a_route_gives_way_to_a_connected_one() {
    let mut kernel = installed(&[(1, &[1])]);
    kernel.foreign.insert((prefix(1), Foreign { protocol: RTPROT_KERNEL, metric: 256, iface: 2 }));
    let ops = run(&mut kernel, &desired(&[(1, &[1])]), &BTreeSet::new());
    assert_eq!(ops.first(), Some(&Op::DeleteRoute(prefix(1))));
    assert!(kernel.routes().is_empty());
}

#[test]
fn what_the_kernel_lost_with_the_carrier_is_made_anew() {
    let wanted = desired(&[(1, &[1, 2]), (2, &[1])]);
    let mut kernel = Kernel::default();
    run(&mut kernel, &wanted, &BTreeSet::new());
    let ids: Vec<u32> = kernel.objects.keys().copied().collect();
    for id in ids {
        kernel.remove_object(id);
    }
    assert!(kernel.routes().is_empty() && kernel.objects.is_empty());
    assert_eq!(run(&mut kernel, &wanted, &BTreeSet::new()).len(), 5);
}

fn any_desired() -> impl Strategy<Value = BTreeMap<Prefix, Members>> {
    let set = prop::collection::btree_set(1u8..6, 1..4);
    prop::collection::btree_map(0u16..12, set, 0..10).prop_map(|routes| {
        routes.into_iter().map(|(n, ns)| (prefix(n), ns.into_iter().map(member).collect())).collect()
    })
}

proptest! {
    /// However the wishes follow one another, and whatever the kernel loses and others add in between: the plan leads to
    /// what is desired, harms nothing foreign, and leaves no prefix without a route on the way.
    #[test]
    fn the_plan_leads_from_anything_to_anything(
        steps in prop::collection::vec((any_desired(), 0u8..12, 0u16..12), 1..12)
    ) {
        let mut kernel = Kernel::default();
        let mut before = BTreeMap::new();
        for (wanted, event, n) in steps {
            let mut keep = BTreeSet::new();
            match event {
                0 => { kernel.remove_route(&prefix(n)); }
                1 => { if let Some(id) = kernel.objects.keys().nth(usize::from(n)).copied() { kernel.remove_object(id); } }
                2 => { kernel.taken.insert(IDS.start() + 100 + u32::from(n)); }
                3 => {
                    let protocol = if n % 2 == 0 { RTPROT_KERNEL } else { 4 };
                    kernel.foreign.insert((prefix(n), Foreign { protocol, metric: 20, iface: 1 }));
                }
                4 => kernel.foreign.clear(),
                5 if kernel.routes().contains_key(&prefix(n)) => { kernel.set_route(prefix(n), None); }
                6 => keep = kernel.routes().keys().copied().collect(),
                _ => {}
            }
            let (taken, foreign) = (kernel.taken.clone(), kernel.foreign.clone());
            if event >= 7 {
                let mut differs: BTreeSet<Prefix> = before.iter().filter(|(p, m)| wanted.get(p) != Some(m)).map(|(p, _)| *p).collect();
                differs.extend(wanted.iter().filter(|(p, m)| before.get(p) != Some(m)).map(|(p, _)| *p));
                run_touched(&mut kernel, &wanted, &differs);
            } else {
                run(&mut kernel, &wanted, &keep);
            }
            if event == 6 {
                // What was kept is not wanted by anybody.
                run(&mut kernel, &wanted, &BTreeSet::new());
            }
            before = wanted;
            prop_assert_eq!((taken, foreign), (kernel.taken.clone(), kernel.foreign.clone()));
        }
    }
}

#[test]
fn a_change_of_one_prefix_does_not_depend_on_the_number_of_prefixes() {
    let many: Vec<(u16, &[u8])> = (0..2000).map(|n| (n, &[1u8, 2, 3][..])).collect();
    let mut kernel = Kernel::default();
    let wish = desired(&many);
    for op in plan(Wish { desired: &wish, touched: None, keep: &BTreeSet::new() }, &kernel).ops {
        apply(&mut kernel, &op);
    }
    let one = desired(&[(7, &[1, 2])]);
    let touched = BTreeSet::from([prefix(7)]);
    let Plan { ops, .. } = plan(Wish { desired: &one, touched: Some(&touched), keep: &BTreeSet::new() }, &kernel);
    assert!(matches!(ops.as_slice(), [Op::CreateGroup(..), Op::ReplaceRoute(..)]), "{ops:?}");
}
