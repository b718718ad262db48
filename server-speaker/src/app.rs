//! The daemon: one loop over the routers, the samples and the signals.
//!
//! Every 20 ms it looks whether the services live (a dead one is flushed at once), every 100 ms it samples, lets the law
//! decide and tells the engine what has changed.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ospf_proto::engine::Command;
use ospf_proto::id::RouterId;
use ospf_proto::lsa::FarmTlv;
use ospf_proto::time::Instant;
use ospfd_lite::control::{Request, Response};
use ospfd_lite::metrics::{MetricsServer, Scrape};
use ospfd_lite::netio::{DriverEvent, EXIT_PRIVILEGE, EXIT_RUNTIME, Error, Signal};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, info, warn};

use crate::advertise::{
    AddressNote, Area, Leave, Loopback, LoopbackError, Phase, Place, Progress, ShareAddressError, ShareAddresses,
    strongest,
};
use crate::config::ServerConfig;
use crate::law::random::Random;
use crate::metrics;
use crate::monitor::snmp6::Snmp6;
use crate::monitor::{DestroyWatch, MonitorError};
use crate::router::{Routers, interfaces, known_addresses, wanted_addresses};
use crate::service::Service;
use crate::show::{self, Extra};
use crate::state::{Drains, ShareIds};

/// How often it is looked whether the services live.
const LOOK: Duration = Duration::from_millis(20);
/// How often load is sampled and the law decides.
const SAMPLE: Duration = Duration::from_millis(100);
/// How often it is looked whether the addresses are still on `lo`.
const ADDRESSES: Duration = Duration::from_secs(1);
/// So many different complaints about Farm TLVs are logged.
const COMPLAINTS: usize = 100;
/// Time for the last packets to leave.
const FAREWELL: Duration = Duration::from_millis(50);

/// Why the daemon cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The driver.
    #[error(transparent)]
    Driver(#[from] Error),
    /// An address on `lo`.
    #[error(transparent)]
    Loopback(#[from] LoopbackError),
    /// An address of a share router.
    #[error(transparent)]
    ShareAddress(#[from] ShareAddressError),
    /// A source of load or health.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// The metrics.
    #[error("listening for scrapes of the metrics at {address}: {source}")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The state directory.
    #[error("{path}: {source}")]
    State {
        /// The directory.
        path: String,
        /// What is wrong.
        source: std::io::Error,
    },
}

impl AppError {
    /// The exit code that tells this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            AppError::Driver(error) => error.exit_code(),
            AppError::Loopback(error) if error.is_privilege() => EXIT_PRIVILEGE,
            AppError::ShareAddress(error) if error.is_privilege() => EXIT_PRIVILEGE,
            AppError::Loopback(_)
            | AppError::ShareAddress(_)
            | AppError::Monitor(_)
            | AppError::Metrics { .. }
            | AppError::State { .. } => EXIT_RUNTIME,
        }
    }
}

/// The running daemon.
#[derive(Debug)]
pub struct App {
    config: ServerConfig,
    routers: Routers,
    share_ids: ShareIds,
    share_addresses: ShareAddresses,
    services: Vec<Service>,
    drains: Drains,
    loopback: Loopback,
    snmp6: Snmp6,
    area: Area,
    /// Malformed Farm TLVs that were logged already.
    complained: BTreeSet<String>,
    metrics: Option<MetricsServer>,
    leave: Option<Leave>,
    /// Leaving, every neighbor has acknowledged that our LSAs are gone.
    flushed: bool,
    /// A monitor has seen the health of a service change.
    wake: Arc<Notify>,
    /// Wakes us when a socket of a service goes.
    _destroyed: DestroyWatch,
}

impl App {
    /// Opens everything, puts the addresses on `lo` and starts the engine. Needs a tokio runtime.
    pub fn start(config: ServerConfig) -> Result<Self, AppError> {
        let state = |source| AppError::State { path: config.state_dir.display().to_string(), source };
        let drains = Drains::load(&config.state_dir).map_err(state)?;
        let loopback = Loopback::open().map_err(Error::io("opening a netlink socket", ""))?;
        let mut share_ids = ShareIds::load(&config.state_dir).map_err(state)?;
        let mut share_addresses = ShareAddresses::open().map_err(Error::io("opening a netlink socket", ""))?;
        prepare_addresses(&config, (&share_ids.get(), &mut share_addresses))?;
        let routers = Routers::open(&config, &share_ids.get())?;
        share_ids.set(&routers.ids()).map_err(state)?;
        let (now, router) = (routers.own().driver().now(), config.engine.router_id);
        let mut random = Random::new(u64::from(router.0) ^ u64::from(std::process::id()) << 32);
        let wake = Arc::new(Notify::new());
        let mut services = Vec::new();
        for service in &config.services {
            let mut service = Service::open(service, (router, config.linger), (now, random.bits(), &wake))?;
            if let Some(done) = drains.get(&service.config.name) {
                service.remember_drain(done);
            }
            if service.is_drained() {
                warn!("{}: drained before the restart, and still", service.config.name);
            }
            services.push(service);
        }
        let ports = config.services.iter().flat_map(|service| service.ports()).collect();
        let destroyed = DestroyWatch::open(ports, wake.clone())?;
        let metrics = config
            .metrics
            .map(|address| MetricsServer::bind(address).map_err(|source| AppError::Metrics { address, source }));
        let mut app = App {
            routers,
            share_ids,
            share_addresses,
            _destroyed: destroyed,
            services,
            drains,
            loopback,
            snmp6: Snmp6::open()?,
            area: Area { me: router, ..Area::default() },
            complained: BTreeSet::new(),
            metrics: metrics.transpose()?,
            leave: None,
            flushed: false,
            wake,
            config,
        };
        app.keep_addresses()?;
        Ok(app)
    }

    /// Runs until a signal ends it; everything is withdrawn and taken back then.
    pub async fn run(mut self) -> Result<(), AppError> {
        let result = self.turns().await;
        if let Err(error) = &result {
            error!("{error}; withdrawing everything before the end");
            self.routers.command(&Command::Flush);
            self.farewell().await;
        }
        self.forget_shares();
        for address in self.services.iter().flat_map(Service::managed) {
            if let Err(error) = self.loopback.remove(address) {
                error!("{error}");
            }
        }
        result
    }

    async fn turns(&mut self) -> Result<(), AppError> {
        let (mut look, mut sample, mut addresses) = (interval(LOOK), interval(SAMPLE), interval(ADDRESSES));
        for timer in [&mut look, &mut sample, &mut addresses] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        }
        let wake = self.wake.clone();
        loop {
            tokio::select! {
                event = self.routers.next() => match event? {
                    DriverEvent::Turn(_) => {}
                    DriverEvent::Control(pending) => {
                        let response = self.answer(&pending.request);
                        pending.answer(response);
                    }
                    DriverEvent::Signal(Signal::Reload) => warn!("reloading is not supported; restart instead"),
                    DriverEvent::Signal(Signal::Terminate) if self.leave.is_some() => {
                        warn!("second signal: leaving at once");
                        break;
                    }
                    DriverEvent::Signal(Signal::Terminate) => self.begin_to_leave(),
                },
                _ = sample.tick() => if self.sample()? {
                    break;
                },
                _ = look.tick() => self.look(),
                _ = wake.notified() => self.look(),
                scrape = next_scrape(&mut self.metrics) => self.scrape(scrape),
                _ = addresses.tick() => {
                    self.services.iter_mut().for_each(Service::look_for_drain_file);
                    self.keep_drains();
                    // It is tried again in a second; what is advertised stays so.
                    if let Err(error) = self.keep_addresses() {
                        error!("{error}");
                    }
                    if let Err(error) = self.keep_share_addresses() {
                        error!("{error}");
                    }
                }
            }
        }
        self.farewell().await;
        Ok(())
    }

    /// The last Hellos, without neighbors.
    async fn farewell(&mut self) {
        self.routers.command(&Command::Goodbye);
        // The driver has handed them to the sockets; what waits there for room gets a moment.
        let rest = async {
            loop {
                if let Err(error) = self.routers.next().await {
                    break error;
                }
            }
        };
        if let Ok(error) = timeout(FAREWELL, rest).await {
            error!("{error}");
        }
    }

    fn look(&mut self) {
        if self.leave.is_some() {
            return;
        }
        let now = self.routers.own().driver().now();
        for service in &mut self.services {
            service.look(now);
            service.judge(now, &self.area);
        }
        self.announce();
    }

    /// One sample; true when leaving is done.
    fn sample(&mut self) -> Result<bool, AppError> {
        let now = self.routers.own().driver().now();
        if let Some(leave) = &mut self.leave {
            let counted = self.config.services.iter().any(|service| service.counts_udp());
            // Where they cannot be read nobody counts them: the address stays for the whole time.
            let received = self.snmp6.read().ok().filter(|_| counted).map(|counters| counters.in_datagrams);
            let progress = Progress { flushes_pending: self.routers.flushes_pending(), received };
            self.flushed = progress.flushes_pending == 0;
            return Ok(leave.step(now, progress) == Phase::Done);
        }
        self.read_area(now);
        let flushes_pending = self.routers.flushes_pending();
        for service in &mut self.services {
            service.measure(now);
            service.follow_drain(now, flushes_pending);
            service.judge(now, &self.area);
            service.step(now, &self.area, &self.config);
        }
        self.announce();
        self.routers.reconcile();
        if self.routers.retire() {
            self.remember_shares(&self.routers.ids());
        }
        Ok(false)
    }

    fn read_area(&mut self, now: Instant) {
        let (view, mine) = (self.routers.own().view(), self.routers.ids());
        let Some(area) = self.config.engine.interfaces.first().map(|iface| iface.area) else { return };
        let place = Place { me: self.area.me, mine: &mine, area, tree: view.tree(area), now };
        self.area = Area::read(view.lsdb(), place);
        for bad in &self.area.malformed {
            let text = format!("Farm TLV of {} dropped whole: {}", bad.router, bad.error);
            // Whoever varies the text does not fill our memory, or the log.
            if self.complained.len() < COMPLAINTS && self.complained.insert(text.clone()) {
                warn!("{text}");
            }
        }
    }

    /// Tells the engines what has changed.
    fn announce(&mut self) {
        let companion = strongest(self.services.iter().map(|service| service.choice.companion));
        for (place, router) in self.routers.all_mut().enumerate() {
            let prefixes = self.services.iter().flat_map(|service| service.wanted(place)).collect();
            let records = self.services.iter().flat_map(|service| service.records(place)).collect();
            router.announce((prefixes, companion), FarmTlv { services: records, ..FarmTlv::default() });
        }
    }

    fn scrape(&self, scrape: Scrape) {
        match metrics::text(&self.services, &self.routers) {
            // Whoever asked may have gone meanwhile.
            Ok(text) => drop(scrape.send(text)),
            Err(error) => error!("writing the metrics: {error}"),
        }
    }

    fn begin_to_leave(&mut self) {
        info!("leaving: withdrawing everything, then waiting for what is on its way");
        self.leave = Some(Leave::new(self.routers.own().driver().now(), self.config.linger));
        self.routers.command(&Command::Flush);
    }

    /// Puts the managed addresses on `lo` where they are missing, and takes those of drained services off.
    fn keep_addresses(&mut self) -> Result<(), AppError> {
        let wanted: BTreeSet<Ipv6Addr> = self.services.iter().flat_map(Service::wanted_addresses).collect();
        for address in self.services.iter().flat_map(Service::managed) {
            match (wanted.contains(&address), self.loopback.has(address)?) {
                (true, false) => {
                    self.loopback.add(address)?;
                    info!("{address}/128 put on lo");
                }
                (false, true) => {
                    self.loopback.remove(address)?;
                    info!("{address}/128 taken off lo: drained");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts the addresses of the share routers where they are missing.
    fn keep_share_addresses(&mut self) -> Result<(), AppError> {
        if self.routers.are_several() {
            let known = self.routers.known();
            let notes = self.share_addresses.keep(&self.routers.addresses(), |address| known.contains(&address))?;
            tell(&notes);
        }
        Ok(())
    }

    /// The end: the addresses of the share routers are taken away, and those of which nothing is left in the area forgotten.
    fn forget_shares(&mut self) {
        if !self.routers.are_several() {
            return;
        }
        let known = self.routers.known();
        let none = interfaces(&self.config).into_iter().map(|name| (name, BTreeSet::new())).collect();
        if let Err(error) = self.share_addresses.keep(&none, |address| known.contains(&address)) {
            error!("{error}");
        }
        if self.flushed {
            self.remember_shares(&BTreeSet::new());
        }
    }

    fn remember_shares(&mut self, ids: &BTreeSet<RouterId>) {
        if let Err(error) = self.share_ids.set(ids) {
            let path = self.config.state_dir.display();
            error!(
                "the share routers are not on disk, so that a later life cannot clear up after them: {path}: {error}"
            );
        }
    }

    /// A drain that is done shall not be begun anew by a restart.
    fn keep_drains(&mut self) {
        for service in &self.services {
            let name = &service.config.name;
            if service.is_emptied_by_command()
                && self.drains.get(name) == Some(false)
                && let Err(error) = self.drains.set(name, Some(true))
            {
                error!("{name}: drained, but this is not on disk: {}: {error}", self.config.state_dir.display());
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Response {
        let now = self.routers.own().driver().now();
        match request.words().as_slice() {
            ["show", "service"] => Response::of(&show::services(&self.services, &self.routers)),
            ["show", "farm"] => Response::of(&show::farm(&self.area, &self.services)),
            ["drain", name] => self.drain(name, true),
            ["undrain", name] => self.drain(name, false),
            ["cost", name, cost] => self.pin(name, cost),
            ["explain", name] => {
                let (area, view) = (&self.area, self.routers.own().view());
                let extra = Extra { routers: &self.routers, width: self.config.ecmp_width };
                match self.services.iter_mut().find(|service| service.config.name == *name) {
                    Some(service) => Response::of(&show::explain(service, area, (now, &view), extra)),
                    None => Response::Error(self.no_service(name)),
                }
            }
            _ => self.routers.own().driver().show(request),
        }
    }

    fn drain(&mut self, name: &str, drained: bool) -> Response {
        let now = self.routers.own().driver().now();
        let Some(service) = self.services.iter_mut().find(|service| service.config.name == name) else {
            return Response::Error(self.no_service(name));
        };
        service.drained = drained;
        if let Err(error) = self.keep_addresses() {
            return Response::Error(format!("{name}: {error}"));
        }
        let Some(service) = self.services.iter_mut().find(|service| service.config.name == name) else {
            return Response::Error(self.no_service(name));
        };
        service.judge(now, &self.area);
        let standing = service.standing.to_string();
        let saved = self.drains.set(name, drained.then_some(false));
        self.announce();
        match saved {
            Ok(()) => Response::of(&standing),
            Err(error) => Response::Error(format!(
                "{name}: {standing}, but this will not survive a restart: {}: {error}",
                self.config.state_dir.display()
            )),
        }
    }

    /// `cost NAME 1..=65535|auto`: kept until `auto` or a restart.
    fn pin(&mut self, name: &str, cost: &str) -> Response {
        let now = self.routers.own().driver().now();
        let pinned = match (cost, cost.parse::<u16>()) {
            ("auto", _) => None,
            (_, Ok(cost)) if cost > 0 => Some(cost),
            _ => return Response::Error(format!("`{cost}` is no cost; 1..=65535 or auto")),
        };
        let Some(service) = self.services.iter_mut().find(|service| service.config.name == name) else {
            return Response::Error(self.no_service(name));
        };
        service.pin(now, pinned);
        let reason = service.reason();
        self.announce();
        Response::of(&reason)
    }

    fn no_service(&self, name: &str) -> String {
        let names: Vec<&str> = self.services.iter().map(|service| service.config.name.as_str()).collect();
        format!("no service {name}; there is {}", names.join(", "))
    }
}

/// Puts the addresses of the share routers on their interfaces, before anybody speaks from them.
fn prepare_addresses(
    config: &ServerConfig,
    (former, addresses): (&BTreeSet<RouterId>, &mut ShareAddresses),
) -> Result<(), AppError> {
    let wanted = wanted_addresses(config, former);
    if wanted.is_empty() {
        return Ok(());
    }
    let known = known_addresses(config, former);
    let wanted = interfaces(config).into_iter().map(|name| (name, wanted.clone())).collect();
    tell(&addresses.keep(&wanted, |address| known.contains(&address))?);
    Ok(())
}

fn tell(notes: &[AddressNote]) {
    for note in notes {
        match note {
            AddressNote::Added(address, interface) => info!("{address} put on {interface} for a share router"),
            AddressNote::Removed(address, interface) => {
                info!("{address} taken off {interface}: no share router has it")
            }
            AddressNote::Duplicate(address, interface) => error!(
                "{address}: another host on the link of {interface} has this address of a share router, which says nothing \
                 until it is gone; are router-id and share-link-local unique?"
            ),
        }
    }
}

/// The next scrape; never, where nobody listens for one.
async fn next_scrape(metrics: &mut Option<MetricsServer>) -> Scrape {
    match metrics {
        Some(server) => server.next().await,
        None => std::future::pending().await,
    }
}
