//! Link State IDs of our Intra-Area-Prefix-LSAs (RFC 5340 §4.4.3.9: any number will do, as long as it is unique).

use std::collections::BTreeMap;

use crate::id::{IfaceId, LinkStateId};
use crate::lsa::Prefix;

/// What an Intra-Area-Prefix-LSA of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Prefixes of our own links, part so-and-so.
    Links(u32),
    /// Prefixes of the link of which we are DR, part so-and-so.
    Network(IfaceId, u32),
    /// One service prefix.
    Service(Prefix),
}

/// The allocation: a number once given stays with its use, so that a prefix keeps its LSA.
#[derive(Clone, Debug, Default)]
pub struct LinkStateIds {
    ids: BTreeMap<Use, LinkStateId>,
    uses: Vec<Use>,
}

impl LinkStateIds {
    /// The number of a use; the next free one if it has none yet.
    pub fn allocate(&mut self, used: Use) -> LinkStateId {
        *self.ids.entry(used).or_insert_with(|| {
            let id = LinkStateId(u32::try_from(self.uses.len()).unwrap_or(u32::MAX));
            self.uses.push(used);
            id
        })
    }

    /// What a number stands for.
    pub fn used_for(&self, id: LinkStateId) -> Option<Use> {
        usize::try_from(id.0).ok().and_then(|at| self.uses.get(at)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_keeps_its_number_and_no_two_uses_share_one() {
        let mut ids = LinkStateIds::default();
        let prefix = |text: &str| Use::Service(text.parse().unwrap());
        let first = ids.allocate(prefix("2001:db8::1/128"));
        let second = ids.allocate(Use::Links(0));
        assert_ne!(first, second);
        assert_eq!(ids.allocate(prefix("2001:db8::1/128")), first);
        assert_eq!(ids.used_for(second), Some(Use::Links(0)));
        assert_eq!(ids.used_for(LinkStateId(99)), None);
    }
}
