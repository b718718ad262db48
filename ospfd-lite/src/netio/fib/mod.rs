//! Kernel routes by next-hop objects and groups.
//!
//! Desired state (what the engine said) and the kernel's state (`tables`, as netlink tells it) are two things;
//! `plan` says how to get from one to the other, and [`Fib`] has it done: at once and in the same call when the
//! engine changes a route, so that no queue or task lies between a packet and its route; and again when the kernel's tables
//! change under us, when a refused operation is due to be tried again, and once a minute to be sure.
//!
//! Routes of a former life (our protocol and metric, found at start) are kept until [`Fib::release`] and then reconciled:
//! those that are wanted as they are are never touched, so that a restart does not interrupt forwarding.

mod model;
mod nexthop;
mod plan;
mod tables;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use model::{Foreign, Member, Members, RTPROT_KERNEL};
use ospf_proto::lsa::Prefix;
use ospf_proto::rib::{Route, RouteChange};
use plan::{Op, Plan, Wish};
use serde::{Deserialize, Serialize};
use tables::{Refused, Tables};
use tokio::time::{Instant, Sleep};
use tracing::{debug, info, warn};

use super::error::Error;

/// How often the kernel's tables are read whole and compared.
const AUDIT: Duration = Duration::from_secs(60);
/// When refused operations are tried again: after this, then twice as long each time, at most `RETRY_MAX`.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often a plan is remade at once because part of it was refused.
const ROUNDS: usize = 4;

/// How our routes are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibOptions {
    /// Route protocol number of our routes and next-hop objects.
    pub protocol: u8,
    /// Metric of our routes.
    pub metric: u32,
}

/// What was done and what went wrong, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibCounters {
    /// Operations that the kernel did.
    pub done: u64,
    /// Operations that it refused.
    pub refused: u64,
    /// How often its tables were read whole.
    pub reads: u64,
    /// How often they differed from what we had left.
    pub repairs: u64,
}

/// Our routes in the kernel.
#[derive(Debug)]
pub struct Fib {
    tables: Tables,
    desired: BTreeMap<Prefix, Members>,
    former: BTreeSet<Prefix>,
    refused_members: BTreeMap<Member, String>,
    refused_prefixes: BTreeMap<Prefix, String>,
    blocked: BTreeMap<Prefix, Foreign>,
    retry: Option<Instant>,
    attempts: u32,
    audit: Instant,
    timer: Pin<Box<Sleep>>,
    counters: FibCounters,
}

impl Fib {
    /// Reads what the kernel has. Routes of ours in it are kept until [`Fib::release`].
    pub fn open(options: FibOptions) -> Result<Self, Error> {
        let tables = Tables::open(options)?;
        let former: BTreeSet<Prefix> = tables.state.kernel.routes().keys().copied().collect();
        if !former.is_empty() {
            info!("{} routes of a former life are kept until the first calculation", former.len());
        }
        let audit = Instant::now() + AUDIT;
        let timer = Box::pin(tokio::time::sleep_until(audit));
        Ok(Fib {
            tables,
            desired: BTreeMap::new(),
            former,
            refused_members: BTreeMap::new(),
            refused_prefixes: BTreeMap::new(),
            blocked: BTreeMap::new(),
            retry: None,
            attempts: 0,
            audit,
            timer,
            counters: FibCounters::default(),
        })
    }

    /// Takes changes of the routing table and has the kernel follow before it returns.
    pub fn apply(&mut self, changes: &[RouteChange]) {
        if changes.is_empty() {
            return;
        }
        let mut touched = BTreeSet::new();
        for change in changes {
            let (prefix, members) = match change {
                RouteChange::Install(prefix, route) => (prefix, members(route)),
                RouteChange::Remove(prefix) => (prefix, None),
            };
            self.refused_prefixes.remove(prefix);
            match members {
                Some(members) => self.desired.insert(*prefix, members),
                None => self.desired.remove(prefix),
            };
            touched.insert(*prefix);
        }
        self.reconcile(Some(&touched));
    }

    /// Whether routes of a former life are still kept.
    pub fn holds_former(&self) -> bool {
        !self.former.is_empty()
    }

    /// Routes of a former life become what is wanted now, or are removed.
    pub fn release(&mut self) {
        if self.holds_former() {
            let former = std::mem::take(&mut self.former);
            let unwanted = former.iter().filter(|prefix| !self.desired.contains_key(prefix)).count();
            info!("{} routes of a former life are ours again, {unwanted} not wanted any more", former.len() - unwanted);
            self.reconcile(None);
        }
    }

    /// Removes all our routes, groups and objects.
    pub fn clear(&mut self) {
        self.former.clear();
        self.desired.clear();
        self.reconcile(None);
    }

    /// Waits until the kernel's tables change, or something is due, and reconciles; never returns. Cancel-safe.
    pub async fn follow(&mut self) {
        poll_fn(|cx| self.poll_follow(cx)).await
    }

    /// How it stands with a route of the engine.
    pub fn status(&self, prefix: &Prefix, route: &Route) -> String {
        let Some(wanted) = members(route) else {
            return if route.next_hops.is_empty() { "own".to_owned() } else { "connected".to_owned() };
        };
        let kernel = &self.tables.state.kernel;
        let used = kernel.routes().get(prefix).copied().flatten().and_then(|id| kernel.members(id));
        let why = || {
            let refused = wanted.iter().find_map(|member| self.refused_members.get(member));
            let down = wanted.iter().find(|member| !self.is_up(member));
            self.blocked
                .get(prefix)
                .map(|foreign| format!("blocked by {}", owner(*foreign)))
                .or_else(|| self.refused_prefixes.get(prefix).map(|error| format!("refused: {error}")))
                .or_else(|| refused.map(|error| format!("refused: {error}")))
                .or_else(|| down.map(|_| "link down".to_owned()))
                .unwrap_or_else(|| "pending".to_owned())
        };
        match used {
            Some(used) if used == wanted => "installed".to_owned(),
            Some(_) => format!("installed in part ({})", why()),
            None => why(),
        }
    }

    /// What was done and what went wrong.
    pub fn counters(&self) -> FibCounters {
        FibCounters { reads: self.tables.state.reads, ..self.counters }
    }

    fn poll_follow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.tables.poll_changed(cx) {
                Poll::Ready(Ok(())) => {
                    // Echoes of our own doing are no reason to plan.
                    if self.tables.state.disturbed || self.tables.state.stale {
                        self.reconcile(None);
                    }
                    continue;
                }
                Poll::Ready(Err(error)) => {
                    warn!("watching kernel routes: {error}");
                    self.tables.state.stale = true;
                    self.try_again();
                }
                Poll::Pending => {}
            }
            let due = self.retry.map_or(self.audit, |retry| retry.min(self.audit));
            if self.timer.deadline() != due {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.on_timer();
        }
    }

    fn on_timer(&mut self) {
        let now = Instant::now();
        if self.retry.is_some_and(|retry| retry <= now) {
            self.retry = None;
            self.refused_members.clear();
            self.refused_prefixes.clear();
        }
        if self.audit <= now {
            self.audit = now + AUDIT;
            self.tables.state.stale = true;
        }
        self.reconcile(None);
    }

    /// Plans and has the plan done, until there is nothing to do or the kernel refuses the same again. Only the touched
    /// prefixes are looked at if nothing else can have changed.
    fn reconcile(&mut self, mut touched: Option<&BTreeSet<Prefix>>) {
        let mut refused_before: Vec<Op> = Vec::new();
        for _ in 0..ROUNDS {
            let ops = match self.plan(touched.take()) {
                Ok(ops) => ops,
                Err(error) => {
                    warn!("reading kernel routes: {error}");
                    return self.try_again();
                }
            };
            if ops.is_empty() {
                break;
            }
            debug!(?ops, "routes");
            let refused = match self.tables.execute(&ops) {
                Ok(refused) => refused,
                Err(error) => {
                    warn!("changing kernel routes: {error}");
                    self.tables.state.stale = true;
                    return self.try_again();
                }
            };
            self.counters.done += (ops.len() - refused.len()) as u64;
            self.counters.refused += refused.len() as u64;
            if refused.is_empty() {
                break;
            }
            let again: Vec<Op> = refused.iter().map(|refused| refused.op.clone()).collect();
            self.refused(refused);
            if again == refused_before {
                return self.try_again();
            }
            refused_before = again;
        }
        if self.refused_members.is_empty() && self.refused_prefixes.is_empty() {
            self.retry = None;
            self.attempts = 0;
        } else {
            self.try_again();
        }
    }

    fn plan(&mut self, touched: Option<&BTreeSet<Prefix>>) -> std::io::Result<Vec<Op>> {
        let audited = self.tables.state.stale;
        self.tables.refresh()?;
        let disturbed = std::mem::take(&mut self.tables.state.disturbed);
        let touched = touched.filter(|_| !disturbed && self.retry.is_none());
        let wanted = self.wanted(touched);
        let wish = Wish { desired: &wanted, touched, keep: &self.former };
        let Plan { ops, mut blocked } = plan::plan(wish, &self.tables.state.kernel);
        drop(wanted);
        for (prefix, foreign) in &blocked {
            if !self.blocked.contains_key(prefix) {
                let owner = owner(*foreign);
                if foreign.protocol == RTPROT_KERNEL {
                    debug!("{prefix} is not installed: {owner}");
                } else {
                    warn!("{prefix} is not installed: {owner}; set another metric in [fib], or remove that route");
                }
            }
        }
        if let Some(touched) = touched {
            self.blocked.retain(|prefix, _| !touched.contains(prefix));
            self.blocked.append(&mut blocked);
        } else {
            self.blocked = blocked;
        }
        if audited && !ops.is_empty() {
            self.counters.repairs += 1;
            info!("kernel routes differ from what is wanted: {} operations", ops.len());
        }
        Ok(ops)
    }

    /// What the kernel can have now: without links that are down and gateways that it refused. A route of a former life that
    /// is still there is left whole while it is kept: what is known of its next hops grows neighbor by neighbor.
    fn wanted(&self, touched: Option<&BTreeSet<Prefix>>) -> Cow<'_, BTreeMap<Prefix, Members>> {
        let usable = |member: &Member| self.is_up(member) && !self.refused_members.contains_key(member);
        let kept =
            |prefix: &Prefix| self.former.contains(prefix) && self.tables.state.kernel.routes().contains_key(prefix);
        let can = |(prefix, members): (&Prefix, &Members)| {
            if kept(prefix) {
                return None;
            }
            let members: Members = members.iter().filter(|member| usable(member)).copied().collect();
            (!members.is_empty()).then_some((*prefix, members))
        };
        if let Some(touched) = touched {
            return Cow::Owned(touched.iter().filter_map(|prefix| can(self.desired.get_key_value(prefix)?)).collect());
        }
        if self.former.is_empty() && self.desired.values().flatten().all(usable) {
            return Cow::Borrowed(&self.desired);
        }
        Cow::Owned(self.desired.iter().filter_map(can).collect())
    }

    fn is_up(&self, member: &Member) -> bool {
        self.tables.state.links.get(&member.iface) == Some(&true)
    }

    fn refused(&mut self, refused: Vec<Refused>) {
        for Refused { op, error } in refused {
            match op {
                Op::CreateGateway(_, member) => {
                    warn!("the kernel refuses the gateway {} on interface {}: {error}", member.gateway, member.iface);
                    self.refused_members.insert(member, error);
                }
                Op::AddRoute(prefix, _) | Op::ReplaceRoute(prefix, _) | Op::DeleteRoute(prefix) => {
                    debug!("the kernel refuses {op:?}: {error}");
                    self.refused_prefixes.insert(prefix, error);
                }
                Op::CreateGroup(..) | Op::ReplaceGroup(..) | Op::DeleteObject(_) => {
                    debug!("the kernel refuses {op:?}: {error}");
                    self.tables.state.stale = true;
                }
            }
        }
    }

    fn try_again(&mut self) {
        let wait = RETRY.saturating_mul(1 << self.attempts.min(16)).min(RETRY_MAX);
        self.attempts = self.attempts.saturating_add(1);
        self.retry = Some(Instant::now() + wait);
    }
}

/// The gateways of a route that is to be installed: not our own, and not on the link (the kernel has its connected route).
fn members(route: &Route) -> Option<Members> {
    let members: Option<Members> =
        route.next_hops.iter().map(|hop| hop.gateway.map(|gateway| Member { iface: hop.iface.0, gateway })).collect();
    members.filter(|members| !members.is_empty())
}

fn owner(foreign: Foreign) -> String {
    match foreign.protocol {
        RTPROT_KERNEL => "a connected route".to_owned(),
        protocol => format!("a route of protocol {protocol} with the same metric {}", foreign.metric),
    }
}

/// What of the kernel's settings keeps a router from doing its work, with what to do about it.
pub fn sysctl_warnings() -> Vec<String> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv6/{name}"));
    let mut warnings = Vec::new();
    if let Ok(value) = read("conf/all/forwarding")
        && value.trim() == "0"
    {
        warnings.push(
            "the kernel does not forward IPv6; set it with `sysctl -w net.ipv6.conf.all.forwarding=1`".to_owned(),
        );
    }
    if let Ok(value) = read("fib_multipath_hash_policy")
        && value.trim() == "0"
    {
        warnings.push(
            "equal-cost next hops are shared by addresses, not by flows; set it with `sysctl -w \
             net.ipv6.fib_multipath_hash_policy=1`"
                .to_owned(),
        );
    }
    warnings
}
