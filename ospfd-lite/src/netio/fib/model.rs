//! What the kernel has, as far as it concerns us.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use ospf_proto::lsa::Prefix;

/// A gateway: a router's link-local address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// The link.
    pub(crate) iface: u32,
    /// The address.
    pub(crate) gateway: Ipv6Addr,
}

/// The gateways of a route.
pub(crate) type Members = BTreeSet<Member>;

/// A next-hop object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// One gateway.
    Gateway(Member),
    /// A group of objects, all with weight 1.
    Group(BTreeSet<u32>),
    /// Anything else: not made by us as we are.
    Other,
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
    /// Our next-hop objects.
    pub(crate) objects: BTreeMap<u32, Object>,
    /// Identifiers of our range that somebody else uses.
    pub(crate) taken: BTreeSet<u32>,
    /// Our routes and the object each uses; none for a route without one.
    routes: BTreeMap<Prefix, Option<u32>>,
    /// How many of our routes use an object.
    users: BTreeMap<u32, usize>,
    /// Connected routes, and routes of others with our metric.
    pub(crate) foreign: BTreeSet<(Prefix, Foreign)>,
}

impl Kernel {
    /// Our routes and the object each uses; none for a route without one.
    pub(crate) fn routes(&self) -> &BTreeMap<Prefix, Option<u32>> {
        &self.routes
    }

    /// How many of our routes use each object that is used.
    pub(crate) fn users(&self) -> &BTreeMap<u32, usize> {
        &self.users
    }

    /// Puts a route of ours in place of any before, which is returned.
    pub(crate) fn set_route(&mut self, prefix: Prefix, object: Option<u32>) -> Option<Option<u32>> {
        let before = self.remove_route(&prefix);
        if let Some(id) = object {
            *self.users.entry(id).or_default() += 1;
        }
        self.routes.insert(prefix, object);
        before
    }

    /// Forgets a route of ours.
    pub(crate) fn remove_route(&mut self, prefix: &Prefix) -> Option<Option<u32>> {
        let before = self.routes.remove(prefix)?;
        if let Some(id) = before
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

    /// The gateways that an object stands for; none if it is gone or not of our making.
    pub(crate) fn members(&self, id: u32) -> Option<Members> {
        match self.objects.get(&id)? {
            Object::Gateway(member) => Some(Members::from([*member])),
            Object::Group(ids) => {
                let members = ids.iter().map(|id| match self.objects.get(id)? {
                    Object::Gateway(member) => Some(*member),
                    Object::Group(_) | Object::Other => None,
                });
                members.collect()
            }
            Object::Other => None,
        }
    }

    /// The route of somebody else that stands in the way of a prefix.
    pub(crate) fn blocker(&self, prefix: &Prefix) -> Option<Foreign> {
        let low = (*prefix, Foreign { protocol: 0, metric: 0, iface: 0 });
        self.foreign.range(low..).take_while(|(of, _)| of == prefix).map(|(_, foreign)| *foreign).next()
    }

    /// Forgets an object, as the kernel does: groups lose it, and routes that use it are gone.
    pub(crate) fn remove_object(&mut self, id: u32) {
        self.taken.remove(&id);
        if self.objects.remove(&id).is_none() {
            return;
        }
        if self.users.remove(&id).is_some() {
            self.routes.retain(|_, used| *used != Some(id));
        }
        let mut empty = Vec::new();
        for (group, object) in &mut self.objects {
            if let Object::Group(members) = object
                && members.remove(&id)
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
