//! The OSPFv3 routers that this server appears as: its own, and a share router for each further next hop.
//!
//! Each is an engine with its own Router ID, its own link-local address and its own sockets on the same interfaces; all run in
//! this one task. All are adjacent all the time, with priority 0, so that a step of the number of next hops changes prefix
//! LSAs and nothing that SPF rests on. Only the first so many advertise. A share router of a former life that is not wanted
//! any more comes back once, to flush what it left in the area.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::task::{Context, Poll};

use ospf_proto::engine::{Command, Companion, View};
use ospf_proto::id::RouterId;
use ospf_proto::lsa::{FarmTlv, Prefix};
use ospfd_lite::netio::{Driver, DriverEvent, Error, LinkLocals, Options};
use tracing::{Span, info, info_span, warn};

use crate::advertise::{Action, Reconciler, Seen};
use crate::config::{ServerConfig, ShareRouter};
use crate::law::HOPS_MAX;

/// One router.
#[derive(Debug)]
pub struct Router {
    driver: Driver,
    /// What it says in the log says of whom.
    span: Span,
    /// What the engine was told last.
    advertised: Option<(BTreeMap<Prefix, u16>, Companion)>,
    told: Option<FarmTlv>,
    reconciler: Reconciler,
}

/// How far a share router of a former life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Meeting,
    Flushing,
    Gone,
}

/// All of them.
#[derive(Debug)]
pub struct Routers {
    own: Router,
    shares: Vec<Router>,
    retiring: Vec<(Router, Phase)>,
    ids: BTreeSet<RouterId>,
    interfaces: Vec<String>,
    /// Of the routers that there are, or will be no more, the addresses.
    wanted: BTreeSet<Ipv6Addr>,
    known: BTreeSet<Ipv6Addr>,
}

impl Router {
    fn open(config: &ServerConfig, id: RouterId, link_local: Option<Ipv6Addr>) -> Result<Self, Error> {
        let own = id == config.engine.router_id;
        let mut engine = config.engine.clone();
        engine.router_id = id;
        // The prefixes of a passive interface are advertised once.
        engine.interfaces.retain(|iface| own || !iface.passive);
        let speakers = engine.interfaces.iter().filter(|iface| !iface.passive);
        let link_locals: LinkLocals =
            speakers.filter_map(|iface| link_local.map(|address| (iface.name.clone(), address))).collect();
        let control = own.then(|| config.control.clone());
        let span = if own { Span::none() } else { info_span!("share router", %id) };
        let driver = span.in_scope(|| Driver::speaking_from(Options { config: engine, control }, link_locals))?;
        let reconciler = Reconciler::new(driver.now(), config.engine.min_ls_interval);
        Ok(Router { driver, span, advertised: None, told: None, reconciler })
    }

    /// The driver.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// The engine's state.
    pub fn view(&self) -> View<'_> {
        self.driver.view()
    }

    /// Wanted and confirmed.
    pub fn reconciler(&self) -> &Reconciler {
        &self.reconciler
    }

    /// Whether it was told to advertise anything.
    pub fn advertises(&self) -> bool {
        self.advertised.as_ref().is_some_and(|(prefixes, _)| !prefixes.is_empty())
    }

    /// Whether some neighbor is Full.
    pub fn is_heard(&self) -> bool {
        self.view().interfaces().iter().any(|iface| iface.full > 0)
    }

    fn command(&mut self, command: Command) {
        self.span.in_scope(|| self.driver.command(command));
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<DriverEvent, Error>> {
        self.span.in_scope(|| self.driver.poll_next(cx))
    }

    /// Tells the engine what has changed.
    pub fn announce(&mut self, wanted: (BTreeMap<Prefix, u16>, Companion), tlv: FarmTlv) {
        if self.advertised.as_ref() != Some(&wanted) {
            let (prefixes, companion) = wanted.clone();
            self.command(Command::Advertise { prefixes, companion });
            self.advertised = Some(wanted);
        }
        if self.told.as_ref() != Some(&tlv) {
            self.command(Command::RouterInformation(vec![tlv.to_tlv()]));
            self.told = Some(tlv);
        }
    }

    /// Looks whether what was told has become LSAs that everybody has.
    fn reconcile(&mut self) {
        let Some((wanted, companion)) = self.advertised.clone() else { return };
        let view = self.driver.view();
        let unacknowledged = view.unacknowledged().into_iter().map(|missing| missing.neighbor).collect();
        let stated = view.advertised().into_iter().collect();
        let seen = Seen { wanted: &wanted, stated, unacknowledged, ready: view.ready() && self.is_heard() };
        let action = self.reconciler.step(self.driver.now(), seen);
        let _says = self.span.clone().entered();
        match action {
            Action::None => {}
            Action::Say(text) => warn!("{text}"),
            Action::Note(text) => info!("{text}"),
            Action::TellAgain(text) => {
                warn!("{text}");
                self.driver.command(Command::Advertise { prefixes: wanted, companion });
            }
        }
    }
}

impl Routers {
    /// Opens all that are configured, and those of a former life that are not any more.
    pub fn open(config: &ServerConfig, former: &BTreeSet<RouterId>) -> Result<Self, Error> {
        let own = config.engine.router_id;
        let of_own = config.share_routers.first().map(|router| router.link_local);
        let ids: BTreeSet<RouterId> = config.share_routers.iter().map(|router| router.id).collect();
        let shares = config.share_routers.iter().filter(|router| router.id != own);
        let retiring =
            retired(config, former).map(|id| Ok((Router::open(config, id, Some(last_address(id)))?, Phase::Meeting)));
        Ok(Routers {
            own: Router::open(config, own, of_own)?,
            shares: shares.map(|r| Router::open(config, r.id, Some(r.link_local))).collect::<Result<_, _>>()?,
            retiring: retiring.collect::<Result<_, Error>>()?,
            ids: ids.into_iter().filter(|id| *id != own).collect(),
            interfaces: interfaces(config),
            wanted: wanted_addresses(config, former),
            known: known_addresses(config, former),
        })
    }

    /// The router of the server's own Router ID.
    pub fn own(&self) -> &Router {
        &self.own
    }

    /// All that are wanted, by their place: the first is the own.
    pub fn all(&self) -> impl Iterator<Item = &Router> {
        std::iter::once(&self.own).chain(&self.shares)
    }

    /// The same to tell them something.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Router> {
        std::iter::once(&mut self.own).chain(&mut self.shares)
    }

    /// The Router IDs of the share routers, those that are about to go among them.
    pub fn ids(&self) -> BTreeSet<RouterId> {
        let retiring = self.retiring.iter().map(|(router, _)| router.view().router_id());
        self.ids.iter().copied().chain(retiring).collect()
    }

    /// Whether there are any others than the own.
    pub fn are_several(&self) -> bool {
        !self.known.is_empty()
    }

    /// The next thing that concerns the daemon, of the own router; the others need nobody. Cancel-safe.
    pub async fn next(&mut self) -> Result<DriverEvent, Error> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<DriverEvent, Error>> {
        let mut busy = false;
        for router in self.shares.iter_mut().chain(self.retiring.iter_mut().map(|(router, _)| router)) {
            // One thing of each, then the next: none waits for a flood at another. The signals are the own router's.
            if let Poll::Ready(event) = router.poll_next(cx) {
                event?;
                busy = true;
            }
        }
        if busy {
            cx.waker().wake_by_ref();
        }
        self.own.poll_next(cx)
    }

    /// Gives the same command to all.
    pub fn command(&mut self, command: &Command) {
        self.all_mut().for_each(|router| router.command(command.clone()));
        self.retiring.iter_mut().for_each(|(router, _)| router.command(command.clone()));
    }

    /// Flushed LSAs of any of them that some neighbor has not acknowledged.
    pub fn flushes_pending(&self) -> usize {
        let retiring = self.retiring.iter().map(|(router, _)| router);
        self.all().chain(retiring).map(|router| router.view().flushes_pending()).sum()
    }

    /// Looks after what was told to each.
    pub fn reconcile(&mut self) {
        self.all_mut().for_each(Router::reconcile);
    }

    /// Those of a former life: met, flushed, gone. True when one has gone.
    pub fn retire(&mut self) -> bool {
        let before = self.retiring.len();
        self.retiring.retain(|(_, phase)| *phase != Phase::Gone);
        for (router, phase) in &mut self.retiring {
            let view = router.driver.view();
            match phase {
                Phase::Meeting if view.ready() && router.is_heard() => {
                    router.command(Command::Flush);
                    *phase = Phase::Flushing;
                }
                Phase::Flushing if view.flushes_pending() == 0 && router.is_heard() => {
                    router.span.in_scope(|| info!("no longer wanted; flushed what it had left"));
                    self.wanted.remove(&last_address(view.router_id()));
                    router.command(Command::Goodbye);
                    *phase = Phase::Gone;
                }
                _ => {}
            }
        }
        before != self.retiring.len()
    }

    /// The addresses that belong on each interface now.
    pub fn addresses(&self) -> BTreeMap<String, BTreeSet<Ipv6Addr>> {
        self.interfaces.iter().map(|name| (name.clone(), self.wanted.clone())).collect()
    }

    /// The addresses that no one else has put there.
    pub fn known(&self) -> &BTreeSet<Ipv6Addr> {
        &self.known
    }
}

/// The interfaces that are spoken on.
pub fn interfaces(config: &ServerConfig) -> Vec<String> {
    config.engine.interfaces.iter().filter(|iface| !iface.passive).map(|iface| iface.name.clone()).collect()
}

/// The addresses of the routers that are to run, with those of a former life.
pub fn wanted_addresses(config: &ServerConfig, former: &BTreeSet<RouterId>) -> BTreeSet<Ipv6Addr> {
    let retired = retired(config, former).map(last_address);
    config.share_routers.iter().map(|router| router.link_local).chain(retired).collect()
}

/// The share routers of a former life that are not wanted any more.
fn retired(config: &ServerConfig, former: &BTreeSet<RouterId>) -> impl Iterator<Item = RouterId> {
    let is_wanted = |id: &RouterId| *id == config.engine.router_id || config.share_routers.iter().any(|r| r.id == *id);
    former.iter().copied().filter(move |id| !is_wanted(id))
}

/// With them, those that a former life with more of them may have left.
pub fn known_addresses(config: &ServerConfig, former: &BTreeSet<RouterId>) -> BTreeSet<Ipv6Addr> {
    let block = config.share_routers.first().into_iter().flat_map(|ShareRouter { link_local, .. }| {
        (0..u128::from(HOPS_MAX)).map(|place| Ipv6Addr::from(u128::from(*link_local).saturating_add(place)))
    });
    wanted_addresses(config, former).into_iter().chain(block).collect()
}

/// The address that a share router of a former life speaks from: not that which another may have inherited.
fn last_address(id: RouterId) -> Ipv6Addr {
    (0xfe80_u128 << 112 | 0x5b << 48 | u128::from(id.0) << 16).into()
}
