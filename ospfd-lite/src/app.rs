//! The router daemon: the driver's route changes go to the kernel, requests are answered, and it leaves in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ospf_proto::ctx::Event;
use ospf_proto::engine::{Command, Config, View};
use ospf_proto::id::RouterId;
use ospf_proto::lsa::Prefix;
use ospf_proto::state::{IfaceState, NeighborState};
use ospfd_lite::control::{Request, Response, explain, farm, show};
use ospfd_lite::metrics::{MetricsServer, RouterMetrics, Routing, Scrape};
use ospfd_lite::netio::fib::{Fib, FibOptions, Sysctls, prepare_sysctls};
use ospfd_lite::netio::probe::Prober;
use ospfd_lite::netio::{Driver, DriverEvent, Error, Options, Signal, Turn};
use ospfd_lite::share::{Sharer, Weights};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

/// How long to wait for the acknowledgments of our flushed LSAs when leaving.
const FLUSH: Duration = Duration::from_secs(3);
/// Beyond HelloInterval: a Hello's way, and the adjacency it begins.
const HELLO_MARGIN: Duration = Duration::from_millis(500);

/// What the daemon needs to know.
#[derive(Clone, Debug)]
pub(crate) struct AppOptions {
    pub(crate) config: Config,
    pub(crate) control: PathBuf,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) fib: FibOptions,
    pub(crate) weights: Weights,
    pub(crate) sysctls: Sysctls,
    /// How often the next hops are probed; none: never.
    pub(crate) probe: Option<Duration>,
}

/// Runs until a signal ends it.
pub(crate) async fn run(options: AppOptions) -> Result<(), Error> {
    let active = || options.config.interfaces.iter().filter(|iface| !iface.passive);
    let hello = active().map(|iface| iface.hello_interval).max().unwrap_or(0);
    let dead = active().map(|iface| iface.dead_interval).max().unwrap_or(0);
    let router_id = options.config.router_id;
    let mut driver = Driver::new(Options { config: options.config, control: Some(options.control) })?;
    let mut app = App {
        fib: Fib::open(options.fib)?,
        sharer: Sharer::new(options.weights),
        metrics: RouterMetrics::default(),
        first_spf: FirstSpf::default(),
        all_heard: false,
        leaving: None,
        prober: options.probe.map(prober).transpose()?,
    };
    let mut scrapes = options.metrics.map(listen).transpose()?;
    prepare_sysctls(options.sysctls);
    driver.command(Command::RouterInformation(vec![app.sharer.tlv(app.fib.width()).to_tlv()]));
    info!("router {router_id} runs");
    notify(sd_notify::NotifyState::Ready);
    // By then every living neighbor has said Hello.
    let all_heard = Instant::now() + Duration::from_secs(u64::from(hello)) + HELLO_MARGIN;
    let release = Instant::now() + 2 * Duration::from_secs(u64::from(dead));
    loop {
        tokio::select! {
            event = driver.next() => match event? {
                DriverEvent::Turn(turn) => app.turn(&driver, &turn),
                DriverEvent::Control(pending) => {
                    let response = app.answer(&driver, &pending.request);
                    pending.answer(response);
                }
                DriverEvent::Signal(Signal::Terminate) => {
                    if app.leaving.is_some() {
                        break;
                    }
                    info!("leaving: our LSAs are flushed");
                    notify(sd_notify::NotifyState::Stopping);
                    app.leaving = Some(Instant::now() + FLUSH);
                    driver.command(Command::Flush);
                }
                DriverEvent::Signal(Signal::Reload) => {
                    warn!("SIGHUP: the configuration is not read again while running; restart to apply it");
                }
            },
            () = app.fib.follow() => {}
            () = sleep_until(app.sharer.due().unwrap_or(release)), if app.sharer.due().is_some() => app.weigh(&driver),
            scrape = next_scrape(&mut scrapes) => app.scrape(&driver, scrape),
            () = next_round(&mut app.prober) => app.probe(&driver.view()),
            () = sleep_until(all_heard), if !app.all_heard => {
                app.all_heard = true;
                app.consider_release(&driver.view());
            }
            () = sleep_until(release), if app.fib.holds_former() => app.fib.release(),
            () = sleep_until(app.leaving.unwrap_or(release)), if app.leaving.is_some() => {
                let pending = driver.view().flushes_pending();
                warn!("{pending} flushed LSAs are not acknowledged by all neighbors; leaving nevertheless");
                break;
            }
        }
        if app.leaving.is_some() && driver.view().flushes_pending() == 0 {
            break;
        }
    }
    driver.command(Command::Goodbye);
    app.fib.clear();
    info!("gone");
    Ok(())
}

fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!("the service manager cannot be notified: {error}");
    }
}

fn listen(address: SocketAddr) -> Result<MetricsServer, Error> {
    MetricsServer::bind(address).map_err(Error::io(format!("listening for scrapes of the metrics at {address}"), ""))
}

async fn next_scrape(metrics: &mut Option<MetricsServer>) -> Scrape {
    match metrics {
        Some(metrics) => metrics.next().await,
        None => std::future::pending().await,
    }
}

fn prober(period: Duration) -> Result<Prober, Error> {
    Prober::open(period).map_err(Error::io("opening the sockets of the probes".to_owned(), "CAP_NET_RAW"))
}

async fn next_round(prober: &mut Option<Prober>) {
    match prober {
        Some(prober) => prober.due().await,
        None => std::future::pending().await,
    }
}

struct App {
    fib: Fib,
    sharer: Sharer,
    metrics: RouterMetrics,
    first_spf: FirstSpf,
    all_heard: bool,
    leaving: Option<Instant>,
    prober: Option<Prober>,
}

impl App {
    fn turn(&mut self, driver: &Driver, turn: &Turn) {
        if self.leaving.is_some() {
            // Without our own LSAs there are no routes; but the neighbors use us until they have the flush.
            return;
        }
        let view = driver.view();
        let changes = self.sharer.follow(&view, &turn.routes, Instant::now());
        let done = self.fib.counters().done;
        self.fib.apply(changes);
        let operations = self.fib.counters().done - done;
        if operations > 0 {
            self.metrics.reacted(driver.woken().elapsed(), operations);
        }
        if self.fib.holds_former() {
            self.first_spf.events(&turn.events);
            self.consider_release(&view);
        }
    }

    /// Weights change by themselves.
    fn weigh(&mut self, driver: &Driver) {
        if self.leaving.is_none() {
            let changes = self.sharer.follow(&driver.view(), &[], Instant::now());
            self.fib.apply(changes);
        }
    }

    /// Probes the hosts among the farms' prefixes, by each next hop that they have in the kernel.
    fn probe(&mut self, view: &View<'_>) {
        let Some(prober) = self.prober.as_mut() else { return };
        let mut ways = Vec::new();
        for prefix in farm::prefixes(view, &self.sharer).into_iter().filter(|prefix| prefix.length() == 128) {
            let installed = self.fib.installed(&prefix);
            ways.extend(installed.into_iter().flat_map(|i| i.parts.into_keys()).map(|member| (prefix, member)));
        }
        let link_locals = view.interfaces().into_iter().filter_map(|iface| Some((iface.iface.0, iface.link_local?)));
        prober.round(&ways, &link_locals.collect());
    }

    fn consider_release(&mut self, view: &View<'_>) {
        if self.all_heard && self.first_spf.is_past(view) {
            self.fib.release();
        }
    }

    fn answer(&mut self, driver: &Driver, request: &Request) -> Response {
        let view = driver.view();
        match request.words().as_slice() {
            ["show", "route"] => {
                let mut rows = show::routes(&view);
                for (row, (prefix, route)) in rows.iter_mut().zip(view.routes()) {
                    let own = if route.next_hops.is_empty() { "own" } else { "connected" };
                    row.fib = Some(self.fib.status(prefix).unwrap_or_else(|| own.to_owned()));
                }
                Response::of(&rows)
            }
            ["show", "route", prefix, "explain"] => match parse_prefix(prefix) {
                Ok(prefix) => Response::of(&explain::route(&view, &self.fib, &self.sharer, &prefix)),
                Err(error) => Response::Error(error),
            },
            ["show", "farm"] => {
                let probes = self.prober.as_ref().map(Prober::outcomes);
                Response::of(&farm::farms(&view, &mut self.fib, &self.sharer, probes))
            }
            ["show", "farm", prefix] => {
                let probes = self.prober.as_ref().map(Prober::outcomes);
                let farm = parse_prefix(prefix)
                    .and_then(|prefix| farm::of(&view, &mut self.fib, (&self.sharer, probes), &prefix));
                farm.map_or_else(Response::Error, |farm| Response::of(&[farm]))
            }
            ["show", "counters"] => {
                let mut counters = driver.counters();
                counters.fib = Some(self.fib.counters());
                Response::of(&counters)
            }
            _ => driver.show(request),
        }
    }

    fn scrape(&mut self, driver: &Driver, scrape: Scrape) {
        let probes = self.prober.as_ref().map(Prober::outcomes);
        let farms = farm::farms(&driver.view(), &mut self.fib, &self.sharer, probes);
        let routing = Routing { fib: &self.fib, farms: &farms, malformed: self.sharer.malformed(), probes };
        match self.metrics.text(&driver.view(), &driver.counters(), routing) {
            // Who asked may have gone meanwhile.
            Ok(text) => drop(scrape.send(text)),
            Err(error) => error!("writing the metrics: {error}"),
        }
    }
}

/// A prefix as people write it: without a length it is a host.
fn parse_prefix(text: &str) -> Result<Prefix, String> {
    let whole = if text.contains('/') { text.to_owned() } else { format!("{text}/128") };
    whole.parse().map_err(|_| format!("`{text}` is not a prefix; such as 2001:db8:53::53 or 2001:db8::/32"))
}

/// Whether the first calculation has been made on a whole database (and every neighbor has had the time to say Hello: see
/// `all_heard`; a route of a former life would otherwise shrink to those who came first).
///
/// The one in the very turn of the first Full does not count if its tree holds nobody but us: the Designated Router lists us
/// in its Network-LSA only when it, too, is Full. Nor while another adjacency is still forming or a DR not yet elected: a
/// route that needs it would be removed for a moment. Nor while a neighbor that is Full is out of the tree: BIRD and FRR state
/// their end of the adjacency again only 5 s (MinLSInterval) after they took it back.
#[derive(Debug, Default)]
struct FirstSpf {
    full: bool,
    reached: bool,
}

impl FirstSpf {
    fn events(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::NeighborState { to: NeighborState::Full, .. } => self.full = true,
                Event::Spf { vertices, .. } if self.full && *vertices > 1 => self.reached = true,
                _ => {}
            }
        }
    }

    fn is_past(&self, view: &View<'_>) -> bool {
        self.reached
            && !view.originations_pending()
            && view.interfaces().iter().all(|iface| iface.state != IfaceState::Waiting)
            && view.neighbors().iter().all(|neighbor| {
                !matches!(neighbor.state, NeighborState::ExStart | NeighborState::Exchange | NeighborState::Loading)
                    && (neighbor.state != NeighborState::Full || in_a_tree(view, neighbor.router))
            })
    }
}

fn in_a_tree(view: &View<'_>, router: RouterId) -> bool {
    view.areas().filter_map(|area| view.tree(area)).any(|tree| tree.router(router).is_some())
}

#[cfg(test)]
mod tests {
    use ospf_proto::id::{AreaId, IfaceId};

    use super::*;

    #[test]
    fn a_tree_of_ourselves_alone_is_not_the_first_calculation() {
        let spf = |vertices| Event::Spf { area: AreaId(0), vertices };
        let full = Event::NeighborState {
            iface: IfaceId(1),
            router: RouterId(2),
            from: NeighborState::Loading,
            to: NeighborState::Full,
            cause: "LoadingDone",
        };
        let mut first = FirstSpf::default();
        first.events(&[spf(3), full, spf(1)]);
        assert!(!first.reached);
        first.events(&[spf(3)]);
        assert!(first.reached);
    }
}
