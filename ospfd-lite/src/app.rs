//! The router daemon: the driver's route changes go to the kernel, requests are answered, and it leaves in order.

use std::path::PathBuf;
use std::time::Duration;

use ospf_proto::ctx::Event;
use ospf_proto::engine::{Command, Config, View};
use ospf_proto::state::{IfaceState, NeighborState};
use ospfd_lite::control::{Request, Response, show};
use ospfd_lite::netio::fib::{Fib, FibOptions, sysctl_warnings};
use ospfd_lite::netio::{Driver, DriverEvent, Error, Options, Signal, Turn};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

/// How long to wait for the acknowledgments of our flushed LSAs when leaving.
const FLUSH: Duration = Duration::from_secs(3);
/// Beyond HelloInterval: a Hello's way, and the adjacency it begins.
const HELLO_MARGIN: Duration = Duration::from_millis(500);

/// What the daemon needs to know.
#[derive(Clone, Debug)]
pub(crate) struct AppOptions {
    pub(crate) config: Config,
    pub(crate) control: PathBuf,
    pub(crate) fib: FibOptions,
}

/// Runs until a signal ends it.
pub(crate) async fn run(options: AppOptions) -> Result<(), Error> {
    let active = || options.config.interfaces.iter().filter(|iface| !iface.passive);
    let hello = active().map(|iface| iface.hello_interval).max().unwrap_or(0);
    let dead = active().map(|iface| iface.dead_interval).max().unwrap_or(0);
    let router_id = options.config.router_id;
    let mut driver = Driver::new(Options { config: options.config, control: Some(options.control) })?;
    let mut app = App { fib: Fib::open(options.fib)?, first_spf: FirstSpf::default(), all_heard: false, leaving: None };
    for warning in sysctl_warnings() {
        warn!("{warning}");
    }
    info!("router {router_id} runs");
    notify(sd_notify::NotifyState::Ready);
    // By then every living neighbor has said Hello.
    let all_heard = Instant::now() + Duration::from_secs(u64::from(hello)) + HELLO_MARGIN;
    let release = Instant::now() + 2 * Duration::from_secs(u64::from(dead));
    loop {
        tokio::select! {
            event = driver.next() => match event? {
                DriverEvent::Turn(turn) => app.turn(&driver.view(), &turn),
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

struct App {
    fib: Fib,
    first_spf: FirstSpf,
    all_heard: bool,
    leaving: Option<Instant>,
}

impl App {
    fn turn(&mut self, view: &View<'_>, turn: &Turn) {
        if self.leaving.is_some() {
            // Without our own LSAs there are no routes; but the neighbors use us until they have the flush.
            return;
        }
        self.fib.apply(&turn.routes);
        if self.fib.holds_former() {
            self.first_spf.events(&turn.events);
            self.consider_release(view);
        }
    }

    fn consider_release(&mut self, view: &View<'_>) {
        if self.all_heard && self.first_spf.is_past(view) {
            self.fib.release();
        }
    }

    fn answer(&self, driver: &Driver, request: &Request) -> Response {
        match request.words().as_slice() {
            ["show", "route"] => {
                let view = driver.view();
                let mut rows = show::routes(&view);
                for (row, (prefix, route)) in rows.iter_mut().zip(view.routes()) {
                    row.fib = Some(self.fib.status(prefix, route));
                }
                Response::of(&rows)
            }
            ["show", "counters"] => {
                let mut counters = driver.counters();
                counters.fib = Some(self.fib.counters());
                Response::of(&counters)
            }
            _ => driver.show(request),
        }
    }
}

/// Whether the first calculation has been made on a whole database (and every neighbor has had the time to say Hello: see
/// `all_heard`; a route of a former life would otherwise shrink to those who came first).
///
/// The one in the very turn of the first Full does not count if its tree holds nobody but us: the Designated Router lists us
/// in its Network-LSA only when it, too, is Full. Nor while another adjacency is still forming or a DR not yet elected: a
/// route that needs it would be removed for a moment.
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
            })
    }
}

#[cfg(test)]
mod tests {
    use ospf_proto::id::{AreaId, IfaceId, RouterId};

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
