//! LS types (RFC 5340 §A.4.2.1): U-bit, flooding scope, function code.

use std::fmt;

/// A 16-bit LS type; unknown ones survive as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LsType(pub u16);

/// The flooding scope named by the S2 and S1 bits of an LS type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// 00: only on the link it was originated on.
    Link,
    /// 01: in the area.
    Area,
    /// 10: in the AS.
    As,
    /// 11: reserved; such an LSA is discarded.
    Reserved,
}

impl LsType {
    /// Router-LSA.
    pub const ROUTER: LsType = LsType(0x2001);
    /// Network-LSA.
    pub const NETWORK: LsType = LsType(0x2002);
    /// Inter-Area-Prefix-LSA.
    pub const INTER_AREA_PREFIX: LsType = LsType(0x2003);
    /// Inter-Area-Router-LSA.
    pub const INTER_AREA_ROUTER: LsType = LsType(0x2004);
    /// AS-External-LSA.
    pub const AS_EXTERNAL: LsType = LsType(0x4005);
    /// NSSA-LSA.
    pub const NSSA: LsType = LsType(0x2007);
    /// Link-LSA.
    pub const LINK: LsType = LsType(0x0008);
    /// Intra-Area-Prefix-LSA.
    pub const INTRA_AREA_PREFIX: LsType = LsType(0x2009);
    /// Router-Information LSA of area scope with the U-bit (RFC 7770 §2.2).
    pub const ROUTER_INFORMATION: LsType = LsType(0xa00c);
    /// Function code of Router-Information LSAs of any scope (RFC 7770 §2.2).
    pub const ROUTER_INFORMATION_CODE: u16 = 12;
    /// Function code of Grace-LSAs (RFC 5187 §2).
    pub const GRACE: LsType = LsType(0x000b);

    /// The U-bit: a router that does not know the type stores and floods it as if it knew it.
    pub const fn u_bit(self) -> bool {
        self.0 & 0x8000 != 0
    }

    /// The flooding scope.
    pub const fn scope(self) -> Scope {
        match (self.0 >> 13) & 3 {
            0 => Scope::Link,
            1 => Scope::Area,
            2 => Scope::As,
            _ => Scope::Reserved,
        }
    }

    /// The 13-bit function code.
    pub const fn function_code(self) -> u16 {
        self.0 & 0x1fff
    }

    /// Whether this code understands the type.
    pub const fn is_known(self) -> bool {
        matches!(
            self,
            LsType::ROUTER
                | LsType::NETWORK
                | LsType::INTER_AREA_PREFIX
                | LsType::INTER_AREA_ROUTER
                | LsType::AS_EXTERNAL
                | LsType::NSSA
                | LsType::LINK
                | LsType::INTRA_AREA_PREFIX
        ) || self.function_code() == LsType::ROUTER_INFORMATION_CODE
    }

    /// Whether SPF itself depends on it (Router- and Network-LSAs), or next hops do (Link-LSAs).
    pub const fn is_topology(self) -> bool {
        matches!(self, LsType::ROUTER | LsType::NETWORK | LsType::LINK)
    }

    /// The scope to flood by: unknown types without the U-bit are treated as link-local (RFC 5340 §4.5.2), but what
    /// names the reserved scope is discarded before that is asked (§4.5.1 (3)).
    pub const fn flooding_scope(self) -> Scope {
        if self.is_known() || self.u_bit() || matches!(self.scope(), Scope::Reserved) {
            self.scope()
        } else {
            Scope::Link
        }
    }
}

impl fmt::Display for LsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            LsType::ROUTER => f.pad("Router-LSA"),
            LsType::NETWORK => f.pad("Network-LSA"),
            LsType::INTER_AREA_PREFIX => f.pad("Inter-Area-Prefix-LSA"),
            LsType::INTER_AREA_ROUTER => f.pad("Inter-Area-Router-LSA"),
            LsType::AS_EXTERNAL => f.pad("AS-External-LSA"),
            LsType::NSSA => f.pad("NSSA-LSA"),
            LsType::LINK => f.pad("Link-LSA"),
            LsType::INTRA_AREA_PREFIX => f.pad("Intra-Area-Prefix-LSA"),
            LsType::GRACE => f.pad("Grace-LSA"),
            other if other.function_code() == LsType::ROUTER_INFORMATION_CODE => f.pad("Router-Information-LSA"),
            LsType(other) => f.pad(&format!("LS type {other:#06x}")),
        }
    }
}
