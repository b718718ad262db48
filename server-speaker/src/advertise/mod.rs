//! From the wanted advertisement to the engine's commands and the kernel's addresses.
//!
//! [`Area`] reads what the area knows (who advertises a prefix at which cost, who says what in its Farm TLV, who is on our
//! links); [`companion`] chooses how a cost change goes out so that every router's FIB is right; [`standing()`] says
//! whether a service is advertised at all; [`Reconciler`] compares what is wanted with
//! what our LSAs state and the neighbors have acknowledged; [`Leave`] is the order of leaving, [`Drain`] that of draining; [`Loopback`]
//! keeps the addresses on `lo`, [`ShareAddresses`] those of the share routers. All but the last two are pure.

mod area;
mod confirm;
mod drain;
mod leave;
mod loopback;
mod netlink;
mod share_addresses;
mod standing;
mod strategy;

pub use area::{Area, Malformed, Place, Server};
pub use confirm::{Action, Confirmation, Reconciler, Seen};
pub use drain::{DRAIN_COST, Drain, DrainPhase, DrainProgress};
pub use leave::{Leave, Phase, Progress};
pub use loopback::{Loopback, LoopbackError};
pub use share_addresses::{AddressNote, ShareAddressError, ShareAddresses};
pub use standing::{LAST_RESORT_COST, Situation, Standing, standing};
pub use strategy::{Choice, Strategy, companion, strongest};

#[cfg(test)]
mod testing;
