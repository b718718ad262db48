//! Architectural constants (RFC 2328 appendix B, RFC 5340 appendix B) and our defaults.

use std::net::Ipv6Addr;
use std::time::Duration;

/// IP protocol number of OSPF (RFC 5340 §A.1).
pub const IP_PROTOCOL: u8 = 89;
/// OSPF version of IPv6 (RFC 5340 §A.3.1).
pub const VERSION: u8 = 3;
/// AllSPFRouters (RFC 5340 §A.1).
pub const ALL_SPF_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 5);
/// AllDRouters (RFC 5340 §A.1).
pub const ALL_D_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 6);

/// MaxAge, in seconds (RFC 2328 appendix B).
pub const MAX_AGE: u16 = 3600;
/// MaxAgeDiff, in seconds (RFC 2328 appendix B).
pub const MAX_AGE_DIFF: u16 = 900;
/// LSRefreshTime (RFC 2328 appendix B).
pub const LS_REFRESH_TIME: Duration = Duration::from_secs(1800);
/// MinLSInterval (RFC 2328 appendix B): default for prefix and Router-Information LSAs.
pub const MIN_LS_INTERVAL: Duration = Duration::from_secs(5);
/// Our interval for Router-, Network- and Link-LSAs: a deviation, see docs/deviations.md. Also the least configurable.
pub const MIN_LS_INTERVAL_TOPOLOGY: Duration = Duration::from_millis(1200);
/// MinLSArrival (RFC 2328 appendix B).
pub const MIN_LS_ARRIVAL: Duration = Duration::from_secs(1);
/// InitialSequenceNumber (RFC 2328 §12.1.6).
pub const INITIAL_SEQUENCE: i32 = -0x7fff_ffff;
/// MaxSequenceNumber (RFC 2328 §12.1.6).
pub const MAX_SEQUENCE: i32 = 0x7fff_ffff;
/// LSInfinity (RFC 2328 appendix B).
pub const LS_INFINITY: u32 = 0x00ff_ffff;
/// MaxLinkMetric (RFC 6987 §2): a link that shall not be used for transit.
pub const MAX_LINK_METRIC: u16 = 0xffff;
/// InfTransDelay, in seconds (RFC 2328 §C.3).
pub const INF_TRANS_DELAY: u16 = 1;

/// No LSA above this many bytes is originated (a Network-LSA excepted): a larger one leaves FRR neighbors in Loading.
pub const MAX_OWN_LSA: usize = 1000;
/// Neighbors on one interface: who sends Hellos under ever new Router IDs shall not fill our memory and our Hellos.
pub const MAX_NEIGHBORS: usize = 1024;
/// The least MTU of IPv6 (RFC 8200 §5).
pub const MIN_MTU: u16 = 1280;
/// Originations per second in the long run: far above what a server or a link router needs, far below what hurts an area.
pub const MAX_ORIGINATIONS: u32 = 50;
/// So many seconds' worth of originations may come at once.
pub const ORIGINATION_BURST: u32 = 20;
/// How long an adjacency that a neighbor broke off by a 1-Way Hello is still advertised: who restarts is back by then,
/// and neither our LSAs nor the routes through it need change.
pub const ADJACENCY_GRACE: Duration = Duration::from_millis(200);
/// How long a Network-LSA waits at most for further adjacencies that are being formed: one LSA with all of them, instead of
/// one with the first and MinLSInterval for the rest.
pub const ADJACENCY_GATHER: Duration = Duration::from_millis(500);
/// How long an LSA at MaxAge stays at least: longer than a copy of it may still be on its way through the area, with
/// MinLSArrival and a retransmission or two in between.
pub const MAX_AGE_HOLD: Duration = Duration::from_secs(5);
/// How long acknowledgments may be held back (RFC 2328 §13.5); below our retransmit interval of 1 s.
pub const DELAYED_ACK: Duration = Duration::from_millis(200);
