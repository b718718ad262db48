//! Has the kernel follow what is wanted, whatever it refuses and whoever else changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::libc::EOPNOTSUPP;
use ospf_proto::lsa::Prefix;
use tokio::time::{Instant, Sleep};
use tracing::{debug, error, info, warn};

use super::groups::{Groups, Lacks};
use super::model::{Foreign, GroupKind, Member, RTPROT_KERNEL, Target, Use};
use super::plan::{self, Op, Plan, Touched, Wish};
use super::state::State;
use super::tables::{Refused, Statistics};
use super::traffic::Traffic;
use super::{FibChange, FibCounters, FibOptions, Installed, Sizes, Wanted};
use crate::share::Shares;

/// How often the kernel's tables are read whole and compared.
pub(super) const AUDIT: Duration = Duration::from_secs(60);
/// When refused operations are tried again: after this, then twice as long each time, at most `RETRY_MAX`.
const RETRY: Duration = Duration::from_millis(100);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often a plan is remade at once because part of it was refused.
const ROUNDS: usize = 4;
/// More repairs than this in a minute are a fight: somebody else changes what we install, again and again.
pub(super) const FIGHT: usize = 30;
/// In a fight repairs wait for this, so that a repair is not the other's cue a thousand times a second; within a second
/// all is right again.
pub(super) const FIGHT_PAUSE: Duration = Duration::from_millis(250);

/// What the reconciler needs of the kernel.
pub(super) trait Port {
    fn state(&self) -> &State;
    fn state_mut(&mut self) -> &mut State;
    /// Brings the model up to date.
    fn refresh(&mut self) -> io::Result<()>;
    /// Has the kernel do the operations in their order; those that it refused are returned.
    fn execute(&mut self, ops: &[Op]) -> io::Result<Vec<Refused>>;
    /// Waits for notifications and takes all there are.
    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Packets by group and member.
    fn statistics(&mut self) -> io::Result<Statistics>;
}

/// Has a kernel follow what is wanted.
#[derive(Debug)]
pub(super) struct Reconciler<P> {
    pub(super) port: P,
    desired: BTreeMap<Prefix, Wanted>,
    groups: Groups,
    former: BTreeSet<Prefix>,
    refused_members: BTreeMap<Member, String>,
    refused_prefixes: BTreeMap<Prefix, String>,
    blocked: BTreeMap<Prefix, Foreign>,
    retry: Option<Instant>,
    attempts: u32,
    audit: Instant,
    /// When our routes were repaired in the last minute.
    repaired: Vec<Instant>,
    /// Nothing is repaired before.
    truce: Option<Instant>,
    /// It was said that somebody fights us.
    fighting: bool,
    timer: Pin<Box<Sleep>>,
    traffic: Traffic,
    counters: FibCounters,
}

impl<P: Port> Reconciler<P> {
    pub(super) fn new(port: P, options: &FibOptions, lacks: Lacks) -> Self {
        let former: BTreeSet<Prefix> = port.state().kernel.routes().keys().copied().collect();
        if !former.is_empty() {
            info!("{} routes of a former life are kept until the first calculation", former.len());
        }
        let audit = Instant::now() + AUDIT;
        Reconciler {
            port,
            desired: BTreeMap::new(),
            groups: Groups::new(options.sharing, options.slots, lacks),
            former,
            refused_members: BTreeMap::new(),
            refused_prefixes: BTreeMap::new(),
            blocked: BTreeMap::new(),
            retry: None,
            attempts: 0,
            audit,
            repaired: Vec::new(),
            truce: None,
            fighting: false,
            timer: Box::pin(tokio::time::sleep_until(audit)),
            traffic: Traffic::default(),
            counters: FibCounters::default(),
        }
    }

    pub(super) fn apply(&mut self, changes: Vec<FibChange>) {
        let mut touched = BTreeSet::new();
        for FibChange { prefix, wanted } in changes {
            self.refused_prefixes.remove(&prefix);
            let before = match wanted {
                Some(wanted) => self.desired.insert(prefix, wanted.clone()).filter(|before| *before == wanted),
                None => {
                    self.desired.remove(&prefix);
                    None
                }
            };
            if before.is_none() {
                touched.insert(prefix);
            }
        }
        if !touched.is_empty() {
            self.reconcile(Some(&touched));
        }
    }

    pub(super) fn holds_former(&self) -> bool {
        !self.former.is_empty()
    }

    pub(super) fn release(&mut self) {
        if self.holds_former() {
            let former = std::mem::take(&mut self.former);
            let unwanted = former.iter().filter(|prefix| !self.desired.contains_key(prefix)).count();
            info!("{} routes of a former life are ours again, {unwanted} not wanted any more", former.len() - unwanted);
            self.reconcile(None);
        }
    }

    pub(super) fn clear(&mut self) {
        self.former.clear();
        self.desired.clear();
        self.reconcile(None);
    }

    pub(super) fn counters(&self) -> FibCounters {
        FibCounters { reads: self.port.state().reads, ..self.counters }
    }

    pub(super) fn width(&self) -> u16 {
        self.groups.width()
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes {
            wanted: self.desired.len(),
            installed: self.port.state().kernel.routes().len(),
            slot_groups: self.groups.tables().len(),
        }
    }

    pub(super) fn status(&self, prefix: &Prefix) -> Option<String> {
        let wanted = self.desired.get(prefix)?;
        let kernel = &self.port.state().kernel;
        let why = || {
            let refused = wanted.shares.keys().find_map(|member| self.refused_members.get(member));
            let down = wanted.shares.keys().find(|member| !self.is_up(member));
            self.blocked
                .get(prefix)
                .map(|foreign| format!("blocked by {}", owner(*foreign)))
                .or_else(|| self.refused_prefixes.get(prefix).map(|error| format!("refused: {error}")))
                .or_else(|| refused.map(|error| format!("refused: {error}")))
                .or_else(|| down.map(|_| "link down".to_owned()))
                .unwrap_or_else(|| "pending".to_owned())
        };
        let right = |target: &Target| match target {
            Target::Slots(number) => kernel.slots.get(number).is_some_and(|group| {
                let table = self.groups.tables().get(number);
                table.is_some_and(|table| group.is_whole(table.len() as u32) && table.iter().eq(group.slots.gateways()))
            }),
            _ => true,
        };
        Some(match (kernel.target(prefix), self.groups.targets().get(prefix)) {
            (Some(has), Some(target)) if has == *target && right(target) => {
                if self.usable(wanted).is_some_and(|usable| usable.len() == wanted.shares.len()) {
                    "installed".to_owned()
                } else {
                    format!("installed in part ({})", why())
                }
            }
            (Some(_), _) => format!("installed in part ({})", why()),
            (None, _) => why(),
        })
    }

    pub(super) fn installed(&self, prefix: &Prefix) -> Option<Installed> {
        let target = self.groups.targets().get(prefix)?;
        let kernel = &self.port.state().kernel;
        let sharing = match target {
            Target::Gateway(_) => "single",
            Target::Group(GroupKind::Threshold, _) => "hash-threshold",
            Target::Group(GroupKind::Resilient(_), _) => "resilient",
            Target::Slots(_) => "stable",
            Target::Paths(paths) if paths.len() == 1 => "single",
            Target::Paths(_) => "multipath",
        };
        let table = match target {
            Target::Slots(number) => self.groups.tables().get(number),
            _ => None,
        };
        Some(Installed {
            sharing,
            why: self.groups.why(prefix).map(str::to_owned),
            group: kernel.routes().get(prefix).and_then(Use::object),
            slots: table.map(|table| table.len() as u32),
            parts: kernel.spread(prefix).unwrap_or_default(),
        })
    }

    pub(super) fn count_packets(&mut self) {
        match self.port.statistics() {
            Ok(statistics) => self.traffic.take(&statistics, &self.port.state().kernel),
            Err(error) => {
                debug!("packets of groups: {error}");
                self.traffic = Traffic::default();
            }
        }
    }

    pub(super) fn packets(&self, prefix: &Prefix) -> Option<BTreeMap<Member, u64>> {
        self.traffic.of(self.port.state().kernel.routes().get(prefix)?.object()?)
    }

    pub(super) fn poll_follow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.port.poll_changed(cx) {
                Poll::Ready(Ok(())) => {
                    // Echoes of our own doing are no reason to plan.
                    if self.port.state().disturbed || self.port.state().stale {
                        self.mend();
                    }
                    continue;
                }
                Poll::Ready(Err(error)) => {
                    warn!("watching kernel routes: {error}");
                    self.port.state_mut().stale = true;
                    self.try_again();
                }
                Poll::Pending => {}
            }
            let others = [self.retry, self.truce].into_iter().flatten();
            let due = others.fold(self.audit, Instant::min);
            if self.timer.deadline() != due {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.on_timer();
        }
    }

    /// Somebody else changed something of ours: it is put right at once, unless that has happened again and again.
    fn mend(&mut self) {
        if self.truce.is_some() {
            return;
        }
        let now = Instant::now();
        self.repaired.retain(|at| now.duration_since(*at) < Duration::from_secs(60));
        if self.repaired.len() < FIGHT {
            self.fighting &= self.repaired.len() > FIGHT / 2;
            self.repair();
            return;
        }
        if !std::mem::replace(&mut self.fighting, true) {
            error!(
                "somebody else changes our routes or next-hop objects: {FIGHT} repairs in a minute; look for another program \
                 that uses route protocol {}; from now on each repair waits for {FIGHT_PAUSE:?}",
                self.port.state().options.protocol
            );
        }
        self.counters.fights += 1;
        self.truce = Some(now + FIGHT_PAUSE);
    }

    fn repair(&mut self) {
        let before = self.counters.done;
        self.reconcile(None);
        if self.counters.done > before {
            self.counters.repairs += 1;
            self.repaired.push(Instant::now());
        }
    }

    fn on_timer(&mut self) {
        let now = Instant::now();
        if self.retry.is_some_and(|retry| retry <= now) {
            self.retry = None;
            self.refused_members.clear();
            self.refused_prefixes.clear();
        }
        if self.truce.is_some_and(|truce| truce <= now) {
            self.truce = None;
            return self.repair();
        }
        if self.audit <= now {
            self.audit = now + AUDIT;
            self.port.state_mut().stale = true;
            return self.repair();
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
            let refused = match self.port.execute(&ops) {
                Ok(refused) => refused,
                Err(error) => {
                    warn!("changing kernel routes: {error}");
                    self.port.state_mut().stale = true;
                    return self.try_again();
                }
            };
            self.counters.done += (ops.len() - refused.len()) as u64;
            self.counters.refused += refused.len() as u64;
            for op in &ops {
                if let Op::AddRoute(prefix, _) | Op::ReplaceRoute(prefix, _) | Op::DeleteRoute(prefix) = op {
                    self.refused_prefixes.remove(prefix);
                }
            }
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
        // What was done is read back: what the kernel has is what it says.
        let read_back = self.port.refresh();
        if let Err(error) = &read_back {
            warn!("reading kernel routes: {error}");
        }
        if read_back.is_ok() && self.refused_members.is_empty() && self.refused_prefixes.is_empty() {
            // Somebody else may have changed something meanwhile.
            self.retry = self.port.state().disturbed.then(Instant::now);
            self.attempts = 0;
        } else {
            self.try_again();
        }
    }

    fn plan(&mut self, touched: Option<&BTreeSet<Prefix>>) -> io::Result<Vec<Op>> {
        let audited = self.port.state().stale;
        self.port.refresh()?;
        let disturbed = std::mem::take(&mut self.port.state_mut().disturbed);
        let touched = touched.filter(|_| !disturbed && self.retry.is_none());
        let wanted = self.wanted(touched);
        let kernel = &self.port.state().kernel;
        let all: BTreeSet<Prefix>;
        let prefixes = match touched {
            Some(touched) => touched,
            None => {
                all = self.groups.targets().keys().chain(wanted.keys()).copied().collect();
                &all
            }
        };
        let slots = self.groups.choose(prefixes, (&wanted, &self.former), kernel);
        let wish = Wish {
            desired: self.groups.targets(),
            slots: self.groups.tables(),
            touched: touched.map(|prefixes| Touched { prefixes, slots: &slots }),
            keep: &self.former,
        };
        let Plan { ops, blocked } = plan::plan(wish, kernel);
        self.note_blocked(touched, blocked);
        if audited && !ops.is_empty() {
            info!("kernel routes differ from what is wanted: {} operations", ops.len());
        }
        Ok(ops)
    }

    fn note_blocked(&mut self, touched: Option<&BTreeSet<Prefix>>, mut blocked: BTreeMap<Prefix, Foreign>) {
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
    }

    /// What the kernel can have now: without links that are down and gateways that it refused. A route of a former life that
    /// is still there is left whole while it is kept: what is known of its next hops grows neighbor by neighbor.
    fn wanted(&self, touched: Option<&BTreeSet<Prefix>>) -> BTreeMap<Prefix, Wanted> {
        let kernel = &self.port.state().kernel;
        let kept = |prefix: &Prefix| self.former.contains(prefix) && kernel.routes().contains_key(prefix);
        // Prefixes that are shared alike stay so: the same set is cut once.
        let mut cut: BTreeMap<Arc<Shares>, Option<Arc<Shares>>> = BTreeMap::new();
        let mut can = |(prefix, wanted): (&Prefix, &Wanted)| {
            if kept(prefix) {
                return None;
            }
            let shares = cut.entry(Arc::clone(&wanted.shares)).or_insert_with(|| self.usable(wanted)).clone()?;
            Some((*prefix, Wanted { shares, originators: wanted.originators }))
        };
        match touched {
            Some(touched) => touched.iter().filter_map(|prefix| can(self.desired.get_key_value(prefix)?)).collect(),
            None => self.desired.iter().filter_map(can).collect(),
        }
    }

    /// The gateways that can be used, none if there is not one.
    fn usable(&self, wanted: &Wanted) -> Option<Arc<Shares>> {
        let usable = |member: &Member| self.is_up(member) && !self.refused_members.contains_key(member);
        if wanted.shares.keys().all(usable) {
            return Some(Arc::clone(&wanted.shares)).filter(|shares| !shares.is_empty());
        }
        let shares: Shares = wanted.shares.iter().filter(|(member, _)| usable(member)).collect();
        (!shares.is_empty()).then(|| Arc::new(shares))
    }

    fn is_up(&self, member: &Member) -> bool {
        self.port.state().links.get(&member.iface) == Some(&true)
    }

    fn refused(&mut self, refused: Vec<Refused>) {
        for Refused { op, code, error } in refused {
            match op {
                Op::CreateGateway(_, member) | Op::ReplaceGateway(_, member) => {
                    if self.port.state().stale {
                        // Our picture was wrong; the plan is made again from what is there.
                        continue;
                    }
                    if self.refused_members.insert(member, error.clone()).is_none() {
                        let Member { iface, gateway } = member;
                        warn!("the kernel refuses the gateway {gateway} on interface {iface}: {error}");
                    }
                }
                Op::AddRoute(prefix, _) | Op::ReplaceRoute(prefix, _) | Op::DeleteRoute(prefix) => {
                    warn!("the kernel refuses a route to {prefix}: {error}");
                    self.refused_prefixes.insert(prefix, error);
                }
                Op::CreateGroup(_, GroupKind::Resilient(_), _) if code == EOPNOTSUPP => {
                    warn!("the kernel refuses resilient groups: {error}; sharing by hash-threshold groups");
                    self.groups.lacks.resilient = Some(error);
                }
                Op::CreateGroup(id, ..) | Op::ReplaceGroup(id, ..) | Op::DeleteObject(id) => {
                    warn!("the kernel refuses the next-hop object {id}: {error}");
                    self.port.state_mut().stale = true;
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

fn owner(foreign: Foreign) -> String {
    match foreign.protocol {
        RTPROT_KERNEL => "a connected route".to_owned(),
        protocol => format!("a route of protocol {protocol} with the same metric {}", foreign.metric),
    }
}
