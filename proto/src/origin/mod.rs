//! Our own LSAs: what we want to say (`build`: pure), and saying it (`say`: originate, refresh, flush).
//!
//! Declarative: after anything relevant has changed, [`Origin::wanted`] states every LSA that should be there, and
//! [`Origin::reconcile`] brings the database to it, as MinLSInterval and the sequence space allow (RFC 2328 §12.4,
//! RFC 5340 §4.4.3). LSAs of a former life are answered only once we are ready, then outrun or flushed (§13.4).
//!
//! Differs: nothing is originated before an adjacency is Full or the link has proved empty; MinLSInterval of Router-,
//! Network- and Link-LSAs is 1.2 s by default; a flushed LSA's sequence number is continued. See docs/deviations.md.

mod bucket;
mod build;
mod fight;
mod link_state_ids;
mod say;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use build::Wanted;
pub use link_state_ids::{LinkStateIds, Use};

use crate::ctx::Timer;
use crate::flood::Core;
use crate::id::{AreaId, LsaKey};
use crate::lsa::{Prefix, Tlv};
use crate::state::NeighborState;
use crate::time::Instant;

/// What goes out behind a changed service metric, in the same LS Update, so that FRR recomputes (docs/deviations.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Companion {
    /// None: the prefix LSA alone.
    #[default]
    None,
    /// Our Link-LSA with its (informational) priority alternating by 1: triggers SPF at FRR routers on the link. Not with
    /// an option bit: the DR merges those into its Network-LSA (RFC 5340 §4.4.3.3), whose next change then has to wait.
    Link,
    /// Our Router-LSA with its (unused) link metric alternating by 1: triggers SPF at every router of the area.
    Router,
}

/// What a person decided about origination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginParams {
    /// The area of service prefixes and of the Router-Information LSA.
    pub area: AreaId,
    /// Whether we forward.
    pub forwarding: bool,
    /// MinLSInterval of prefix and Router-Information LSAs.
    pub min_ls_interval: Duration,
    /// MinLSInterval of Router-, Network- and Link-LSAs.
    pub min_ls_interval_topology: Duration,
    /// Originations per second in the long run.
    pub max_originations: u32,
}

/// What we remember of an LSA of ours, also after it has been flushed.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// The last sequence number.
    sequence: i32,
    /// The earliest time of the next origination.
    not_before: Instant,
}

/// The originator.
#[derive(Clone, Debug)]
pub struct Origin {
    params: OriginParams,
    /// Service prefixes and their metrics.
    advertised: BTreeMap<Prefix, u16>,
    companion: Companion,
    information: Vec<Tlv>,
    link_state_ids: LinkStateIds,
    memory: BTreeMap<LsaKey, Memory>,
    refresh_due: BTreeSet<LsaKey>,
    /// Network-LSAs that wait for adjacencies being formed, and since when.
    gathering: BTreeMap<LsaKey, Instant>,
    bucket: bucket::Bucket,
    /// The state of the companion's alternation.
    toggled_link: bool,
    toggled_router: bool,
    /// A companion is still owed for a flush.
    companion_owed: bool,
    /// Originations have begun, and when.
    ready_since: Option<Instant>,
    /// Everything is to be flushed and nothing more to be said.
    leaving: bool,
    fights: fight::Fights,
}

impl Origin {
    /// Nothing said yet.
    pub fn new(params: OriginParams) -> Self {
        Origin {
            params,
            advertised: BTreeMap::new(),
            companion: Companion::None,
            information: Vec::new(),
            link_state_ids: LinkStateIds::default(),
            memory: BTreeMap::new(),
            refresh_due: BTreeSet::new(),
            gathering: BTreeMap::new(),
            bucket: bucket::Bucket::new(params.max_originations),
            toggled_link: false,
            toggled_router: false,
            companion_owed: false,
            ready_since: None,
            leaving: false,
            fights: fight::Fights::default(),
        }
    }

    /// Sets the service prefixes to advertise.
    pub fn advertise(&mut self, prefixes: BTreeMap<Prefix, u16>, companion: Companion) {
        self.advertised = prefixes;
        self.companion = companion;
    }

    /// Sets the TLVs of our Router-Information LSA.
    pub fn inform(&mut self, tlvs: Vec<Tlv>) {
        self.information = tlvs;
    }

    /// Flush everything, originate nothing more.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// Whether originations have begun.
    pub fn is_ready(&self) -> bool {
        self.ready_since.is_some()
    }

    /// When originations began.
    pub fn ready_since(&self) -> Option<Instant> {
        self.ready_since
    }

    /// Ceases to originate until an adjacency is Full again; what has been said stays said.
    pub fn stop(&mut self) {
        self.ready_since = None;
    }

    /// Whether somebody has originated an LSA of ours so often that it rests for a while.
    pub fn is_contested(&self, now: Instant) -> bool {
        self.fights.resting(now)
    }

    /// How often an origination had to wait for the rate limit.
    pub fn rate_limited(&self) -> u64 {
        self.bucket.refused()
    }

    /// Which Link State ID stands for what.
    pub fn link_state_ids(&self) -> &LinkStateIds {
        &self.link_state_ids
    }

    /// Begins to originate if an adjacency is Full.
    pub fn consider_ready(&mut self, core: &mut Core) {
        if !self.is_ready() && core.neighbors().any(|n| n.state == NeighborState::Full) {
            self.begin(core);
        }
    }

    /// The wait for a neighbor is over (Timer::OriginationHold): begin, unless an adjacency is being formed.
    pub fn hold_is_over(&mut self, core: &mut Core, dead_interval: Duration) {
        let forming = core.neighbors().any(|n| (NeighborState::ExStart..NeighborState::Full).contains(&n.state));
        if self.is_ready() {
            return;
        }
        if forming {
            let again = core.ctx.now + dead_interval;
            core.ctx.timers.set(Timer::OriginationHold, again);
        } else {
            self.begin(core);
        }
    }

    fn begin(&mut self, core: &mut Core) {
        self.ready_since = Some(core.ctx.now);
        core.ctx.timers.clear(Timer::OriginationHold);
        core.ctx.origination_due = true;
    }

    /// An LSA is due for refresh (Timer::Refresh).
    pub fn refresh(&mut self, core: &mut Core, key: LsaKey) {
        self.refresh_due.insert(key);
        core.ctx.origination_due = true;
    }

    /// What this LSA's MinLSInterval is.
    fn interval(&self, key: &LsaKey) -> Duration {
        if key.ls_type.is_topology() { self.params.min_ls_interval_topology } else { self.params.min_ls_interval }
    }
}
