//! Option and flag fields (RFC 5340 §A.2, §A.4.1.1, §A.4.3).

bitflags::bitflags! {
    /// The 24-bit Options field of Hello, Database Description and several LSAs (RFC 5340 §A.2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Options: u32 {
        /// V6: the router is to be part of IPv6 routing.
        const V6 = 0x0000_0001;
        /// E: AS-External-LSAs are flooded here (not a stub area).
        const E = 0x0000_0002;
        /// The MC-bit of RFC 2740, now without meaning.
        const MC = 0x0000_0004;
        /// N: an NSSA.
        const N = 0x0000_0008;
        /// R: the router forwards; clear: a host that only takes part.
        const R = 0x0000_0010;
        /// DC: demand circuits; implies DoNotAge support, which we lack.
        const DC = 0x0000_0020;
        /// AF: address families (RFC 5838).
        const AF = 0x0000_0100;
        /// L: link-local signaling follows the packet (RFC 5613).
        const L = 0x0000_0200;
        /// AT: an authentication trailer follows (RFC 7166).
        const AT = 0x0000_0400;
        const _ = 0x00ff_ffff;
    }

    /// The 8-bit PrefixOptions (RFC 5340 §A.4.1.1).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    pub struct PrefixOptions: u8 {
        /// NU: not to be used for unicast routing.
        const NU = 0x01;
        /// LA: an address of the originator (a host prefix).
        const LA = 0x02;
        /// The MC-bit of RFC 2740, now without meaning.
        const MC = 0x04;
        /// P: an NSSA prefix to be translated.
        const P = 0x08;
        /// DN: learned through a VPN.
        const DN = 0x10;
        const _ = !0;
    }

    /// The flags of a Router-LSA (RFC 5340 §A.4.3).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    pub struct RouterFlags: u8 {
        /// B: area border router.
        const B = 0x01;
        /// E: AS boundary router.
        const E = 0x02;
        /// V: endpoint of a virtual link.
        const V = 0x04;
        /// Nt: unconditional NSSA translator (RFC 3101).
        const NT = 0x10;
        const _ = !0;
    }
}
