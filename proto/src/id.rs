//! Identifiers of OSPFv3: routers, areas, interfaces, neighbors, LSAs (RFC 5340 §2.1, §2.11, §4.4).

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::ls_type::LsType;

macro_rules! dotted {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Ipv4Addr::from(self.0).fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), Ipv4Addr::from(self.0))
            }
        }

        impl FromStr for $name {
            type Err = std::net::AddrParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse::<Ipv4Addr>().map(|a| $name(a.into()))
            }
        }
    };
}

dotted!(
    /// A Router ID (RFC 2328 §1.2); 0.0.0.0 is never one (RFC 5340 §A.3.1).
    RouterId
);
dotted!(
    /// An Area ID (RFC 5340 §2.1); 0.0.0.0 is the backbone.
    AreaId
);
dotted!(
    /// A Link State ID (RFC 5340 §4.4): in OSPFv3 a number without address meaning.
    LinkStateId
);

/// An Interface ID (RFC 5340 §2.1.2): unique within the router; the daemons use the kernel's interface index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfaceId(pub u32);

impl fmt::Display for IfaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A neighbor is one router on one of our links (RFC 5340 §4.1.3: identified by Router ID on every link type).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighborId {
    /// Our interface on the shared link.
    pub iface: IfaceId,
    /// The neighbor's Router ID.
    pub router: RouterId,
}

/// The flooding domain that an LSA lives in: the *instance* of its scope (RFC 5340 §4.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// AS scope.
    As,
    /// Area scope: this area.
    Area(AreaId),
    /// Link-local scope: the link of this interface.
    Link(IfaceId),
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::As => write!(f, "AS"),
            Domain::Area(area) => write!(f, "area {area}"),
            Domain::Link(iface) => write!(f, "link {iface}"),
        }
    }
}

/// What identifies an LSA in the LSDB (RFC 5340 §4.4: LS type, Link State ID, Advertising Router, within its domain).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LsaKey {
    /// The flooding domain; first, so that one domain is one contiguous range.
    pub domain: Domain,
    /// The LS type with its U-bit and scope bits.
    pub ls_type: LsType,
    /// The Link State ID.
    pub link_state_id: LinkStateId,
    /// The router that originated the LSA.
    pub adv_router: RouterId,
}

impl LsaKey {
    /// The first of all in their order.
    pub(crate) const FIRST: Self =
        LsaKey { domain: Domain::As, ls_type: LsType(0), link_state_id: LinkStateId(0), adv_router: RouterId(0) };
    /// The last of all.
    pub(crate) const LAST: Self = LsaKey {
        domain: Domain::Link(IfaceId(u32::MAX)),
        ls_type: LsType(u16::MAX),
        link_state_id: LinkStateId(u32::MAX),
        adv_router: RouterId(u32::MAX),
    };
}

impl fmt::Display for LsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {} in {}", self.ls_type, self.link_state_id, self.adv_router, self.domain)
    }
}
