//! A kernel for tests.

use super::ids::{IDS, Place, place};
use super::model::{GroupKind, Kernel, Object, SlotShape};
use super::plan::Op;

fn gateway(kernel: &Kernel, id: &u32) -> bool {
    match place(*id) {
        Place::Slot(number, index) => kernel.slots.get(&number).is_some_and(|group| group.slots.get(index).is_some()),
        _ => matches!(kernel.objects.get(id), Some(Object::Gateway(_))),
    }
}

fn group(kernel: &Kernel, id: u32) -> Option<GroupKind> {
    match place(id) {
        Place::SlotGroup(number) => match kernel.slots.get(&number)?.group.as_ref()? {
            SlotShape::Slots { buckets, .. } => Some(GroupKind::Resilient(*buckets)),
            SlotShape::Other => Some(GroupKind::Threshold),
        },
        _ => match kernel.objects.get(&id)? {
            Object::Group(kind, _) => Some(*kind),
            _ => None,
        },
    }
}

/// Whether there is such an object.
fn exists(kernel: &Kernel, id: u32) -> bool {
    match place(id) {
        Place::Slot(..) => gateway(kernel, &id),
        Place::SlotGroup(_) => group(kernel, id).is_some(),
        _ => kernel.objects.contains_key(&id),
    }
}

/// Whether all that an operation needs is there.
pub(super) fn possible(kernel: &Kernel, op: &Op) -> bool {
    match op {
        Op::CreateGateway(..) | Op::DeleteRoute(_) => true,
        Op::ReplaceGateway(id, _) | Op::DeleteObject(id) => exists(kernel, *id),
        Op::CreateGroup(_, _, ids) | Op::ReplaceGroup(_, _, ids) => ids.keys().all(|id| gateway(kernel, id)),
        Op::AddRoute(_, used) | Op::ReplaceRoute(_, used) => used.object().is_none_or(|id| exists(kernel, id)),
    }
}

/// Does what the kernel does, and panics where the kernel would refuse.
pub(super) fn apply(kernel: &mut Kernel, op: &Op) {
    match op {
        Op::CreateGateway(id, member) => {
            assert!(IDS.contains(id) && !kernel.taken.contains(id), "foreign identifier");
            assert!(!exists(kernel, *id), "exists: {op:?}");
            kernel.set_object(*id, Object::Gateway(*member));
        }
        Op::ReplaceGateway(id, member) => {
            assert!(exists(kernel, *id), "does not exist: {op:?}");
            kernel.set_object(*id, Object::Gateway(*member));
        }
        Op::CreateGroup(id, kind, ids) => {
            assert!(IDS.contains(id) && !kernel.taken.contains(id), "foreign identifier");
            assert!(ids.keys().all(|id| gateway(kernel, id)), "{op:?}");
            assert_eq!(group(kernel, *id), None, "exists: {op:?}");
            kernel.set_object(*id, Object::Group(*kind, ids.clone()));
        }
        Op::ReplaceGroup(id, kind, ids) => {
            assert!(ids.keys().all(|id| gateway(kernel, id)), "{op:?}");
            assert_eq!(group(kernel, *id), Some(*kind), "no group of this kind: {op:?}");
            kernel.set_object(*id, Object::Group(*kind, ids.clone()));
        }
        Op::AddRoute(prefix, used) => {
            assert!(kernel.blocker(prefix).is_none(), "beside a foreign route: {op:?}");
            assert!(used.object().is_none_or(|id| exists(kernel, id)), "no object: {op:?}");
            assert!(kernel.set_route(*prefix, used.clone()).is_none(), "exists: {op:?}");
        }
        Op::ReplaceRoute(prefix, used) => {
            assert!(kernel.blocker(prefix).is_none(), "would replace a foreign route: {op:?}");
            assert!(used.object().is_none_or(|id| exists(kernel, id)), "no object: {op:?}");
            assert!(kernel.set_route(*prefix, used.clone()).is_some(), "no route: {op:?}");
        }
        Op::DeleteRoute(prefix) => assert!(kernel.remove_route(prefix).is_some(), "no route: {op:?}"),
        Op::DeleteObject(id) => {
            assert!(exists(kernel, *id), "no object: {op:?}");
            assert!(!kernel.users().contains_key(id), "in use: {op:?}");
            let in_group = |object: &Object| matches!(object, Object::Group(_, ids) if ids.contains_key(id));
            assert!(!kernel.objects.values().any(in_group), "in a group: {op:?}");
            if let Place::Slot(number, index) = place(*id) {
                let group = &kernel.slots[&number].group;
                let held = matches!(group, Some(SlotShape::Slots { members, .. }) if members.contains(&index));
                let ours = kernel.slots[&number].slots.get(index).flatten().is_some();
                assert!(!held || !ours, "in a group: {op:?}");
            }
            kernel.remove_object(*id);
        }
    }
}
