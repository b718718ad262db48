//! The farm of `interop/containers/compose.yaml`, as a user starts it: images built from a Debian root that is imported
//! (no registry), started by a real engine through the compose file itself, and judged from inside its containers.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use interop::{
    containers::{Engine, Kind, Project},
    daemons::{self, DAEMONS},
    root,
    wait::{Probe, wait_for},
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const SERVICE: &str = "2001:db8:53::53";
const SERVERS: [&str; 3] = ["server1", "server2", "server3"];
const ROUTERS: [&str; 2] = ["router", "router-lite"];
/// The dead interval that all of them are configured with.
const DEAD: Duration = Duration::from_secs(4);
/// CAP_NET_ADMIN and CAP_NET_RAW.
const TWO_CAPABILITIES: &str = "0000000000003000";
const SYS_ADMIN: u64 = 1 << 21;
const QUESTIONS: usize = 60;

/// One farm at a time: what is timed is not to wait for the other's work.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_farm_of_containers_shares_drains_and_outlives_deaths() -> Result<()> {
    run_with(Kind::Docker)
}

#[test]
fn the_same_farm_with_podman() -> Result<()> {
    run_with(Kind::Podman)
}

fn run_with(kind: Kind) -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    daemons::build()?;
    let work = tempfile::Builder::new().prefix("farm").tempdir()?;
    let engine = Engine::get(kind, &work.path().join("engine"))?;
    let run = Run { start };
    run.say(&engine.version()?);
    let base = format!("localhost/farm-test-{}-base", std::process::id());
    engine.import(&root::trixie()?, &["./opt/bird3"], &base)?;
    run.say("a Debian root imported");
    let result = farm(&run, &engine, work.path(), &base);
    if !engine.is_own() {
        let removed = engine.docker().args(["rmi", &base]).output()?;
        ensure!(removed.status.success(), "removing {base}: {removed:?}");
    }
    result
}

/// Builds, starts and judges the farm; its containers are gone behind it.
fn farm(run: &Run, engine: &Engine, work: &Path, base: &str) -> Result<()> {
    let name = format!("farm-test-{}", std::process::id());
    let images = format!("localhost/{name}");
    let project = Project::new(engine, &name, &context(work)?, &[("BASE", base), ("FARM", &images)]);
    project.build()?;
    run.say("images built");
    project.up()?;
    let judge = || -> Result<()> {
        let farm = Farm::open(&project, run)?;
        farm.check_privileges()?;
        farm.sharing()?;
        farm.drain()?;
        farm.deaths()
    };
    judge().with_context(|| format!("the logs of the containers:\n{}", project.logs()))?;
    project.down()?;
    let left = engine.docker().args(["ps", "-aq", "--filter", &format!("name={name}")]).output()?;
    ensure!(left.stdout.is_empty(), "containers are left: {left:?}");
    run.say("all removed");
    Ok(())
}

/// A copy of `interop/containers` with our daemons in `bin`, as the README has it; stripped, which spares most of the room.
fn context(work: &Path) -> Result<PathBuf> {
    let (from, to) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("containers"), work.join("containers"));
    fs::create_dir_all(to.join("bin"))?;
    for file in fs::read_dir(&from)? {
        let file = file?;
        if file.file_type()?.is_file() {
            fs::copy(file.path(), to.join(file.file_name()))?;
        }
    }
    for daemon in DAEMONS {
        let status =
            Command::new("strip").arg("-o").arg(to.join("bin").join(daemon)).arg(daemons::find(daemon)?).status();
        ensure!(status.context("starting strip (Debian package binutils)")?.success(), "strip {daemon}");
    }
    Ok(to)
}

/// Tells what was seen, and when.
struct Run {
    start: Instant,
}

impl Run {
    fn say(&self, text: &str) {
        println!("[{:6.1} s] {text}", self.start.elapsed().as_secs_f64());
    }
}

/// The farm, asked from inside.
struct Farm<'a> {
    project: &'a Project<'a>,
    run: &'a Run,
    /// The link-local address of each server.
    gateways: RefCell<BTreeMap<&'static str, String>>,
}

impl<'a> Farm<'a> {
    /// As soon as every container runs, and those that can tell are healthy.
    fn open(project: &'a Project<'a>, run: &'a Run) -> Result<Self> {
        let services = project.services()?;
        let template = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}";
        wait_for("all containers to be healthy", PATIENCE, || {
            let mut not_yet = String::new();
            for service in &services {
                let state = project.inspect(service, template)?;
                if state != "running healthy" && state != "running" {
                    project.check_health(service)?;
                    not_yet.push_str(&format!("{service} {state}; "));
                }
            }
            Ok(Probe::when(not_yet.is_empty(), (), not_yet))
        })?;
        run.say(&format!("{} containers run, and are healthy where they can tell", services.len()));
        let farm = Self { project, run, gateways: RefCell::default() };
        SERVERS.into_iter().try_for_each(|server| farm.learn(server))?;
        Ok(farm)
    }

    /// Learns the link-local address of a server, which some engines choose anew at each start.
    fn learn(&self, server: &'static str) -> Result<()> {
        let show = ["ip", "-6", "-j", "addr", "show", "dev", "eth0", "scope", "link"];
        let address = wait_for(&format!("{server}: a link-local address"), PATIENCE, || {
            let shown = self.project.exec(server, &show)?;
            Ok(find(&parse(&shown)?, "local").map_or_else(|| Probe::NotYet(shown), |local| Probe::Ready(text(local))))
        })?;
        self.gateways.borrow_mut().insert(server, address);
        Ok(())
    }

    /// The servers that are next hops of the service in a router's kernel.
    fn next_hops(&self, router: &str) -> Result<BTreeSet<String>> {
        let routes = parse(&self.project.exec(router, &["ip", "-6", "-j", "route", "show", SERVICE])?)?;
        let mut hops = every(&routes, "gateway");
        if hops.is_empty()
            && let Some(group) = find(&routes, "nhid")
        {
            // Objects of their own: one per slot.
            let objects = parse(&self.project.exec(router, &["ip", "-j", "nexthop", "show"])?)?;
            let objects = objects.as_array().context("a list of next hops")?;
            let group = objects.iter().find(|object| object.get("id") == Some(group)).context("the route's group")?;
            let members = every(group.get("group").context("a group")?, "id");
            hops = objects
                .iter()
                .filter(|object| object.get("id").is_some_and(|id| members.contains(&text(id))))
                .filter_map(|object| object.get("gateway").map(text))
                .collect();
        }
        let gateways = self.gateways.borrow();
        let known = |hop: &String| gateways.iter().find(|(_, address)| *address == hop);
        Ok(hops.iter().map(|hop| known(hop).map_or_else(|| hop.clone(), |(server, _)| (*server).into())).collect())
    }

    /// Waits until both routers share over just these servers, and tells when FRR did, counted from `since`.
    fn wait_shared(&self, what: &str, since: Instant, servers: &[&str]) -> Result<Duration> {
        let wanted: BTreeSet<String> = servers.iter().map(|server| (*server).to_owned()).collect();
        let mut first = None;
        for router in ROUTERS {
            wait_for(&format!("{router}: {what}"), PATIENCE, || {
                let got = self.next_hops(router)?;
                Ok(Probe::when(got == wanted, (), format!("{got:?}")))
            })?;
            first.get_or_insert(since.elapsed());
        }
        let after = first.unwrap_or_default();
        self.run
            .say(&format!("{what}: next hops {servers:?} in both kernels (FRR's after {:.2} s)", after.as_secs_f64()));
        Ok(after)
    }

    /// Packets that a router has forwarded.
    fn forwarded(&self, router: &str) -> Result<u64> {
        let counters = self.project.exec(router, &["cat", "/proc/net/snmp6"])?;
        let line = counters.lines().find_map(|line| line.strip_prefix("Ip6OutForwDatagrams"));
        Ok(line.context("Ip6OutForwDatagrams")?.trim().parse()?)
    }

    /// Asks from the client who answers, each time from another port.
    fn answers(&self) -> Result<BTreeMap<String, usize>> {
        let script = format!(
            "for i in $(seq {QUESTIONS}); do kdig +short +timeout=2 +retry=0 @{SERVICE} CH TXT id.server || echo lost; done"
        );
        let mut answers = BTreeMap::new();
        for line in self.project.exec("client", &["sh", "-c", &script])?.lines() {
            *answers.entry(line.trim_matches('"').to_owned()).or_default() += 1;
        }
        Ok(answers)
    }

    /// That the client's questions are answered by just these servers, through this router.
    fn expect_answers(&self, what: &str, through: &str, servers: &[&str]) -> Result<()> {
        let before = self.forwarded(through)?;
        let answers = self.answers()?;
        let forwarded = self.forwarded(through)? - before;
        self.run.say(&format!("{what}: {QUESTIONS} questions through {through}, answered by {answers:?}"));
        let who: Vec<&str> = answers.keys().map(String::as_str).collect();
        ensure!(who == servers, "{what}: answered by {answers:?}, expected {servers:?}");
        ensure!(forwarded >= QUESTIONS as u64, "{what}: {through} forwarded {forwarded} packets only");
        Ok(())
    }

    /// What the daemons may do, as their kernel sees it.
    fn check_privileges(&self) -> Result<()> {
        for service in ["server1-speaker", "router-lite"] {
            let got = self.capabilities(service)?;
            ensure!(got == TWO_CAPABILITIES, "{service} has the capabilities {got}");
        }
        let router = u64::from_str_radix(&self.capabilities("router")?, 16)?;
        ensure!(router & SYS_ADMIN != 0, "zebra's container has the capabilities {router:x}");
        for service in self.project.services()? {
            let written = self.project.exec(&service, &["touch", "/usr/written"]);
            ensure!(
                written.is_err_and(|error| format!("{error:#}").contains("Read-only")),
                "{service} can write to /usr"
            );
        }
        self.run.say("our daemons have NET_ADMIN and NET_RAW and no more; every root file system is read-only");
        Ok(())
    }

    fn capabilities(&self, service: &str) -> Result<String> {
        let status = self.project.exec(service, &["cat", "/proc/1/status"])?;
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Ok(line.context("CapEff")?.trim().to_owned())
    }

    fn sharing(&self) -> Result<()> {
        self.wait_shared("start", Instant::now(), &SERVERS)?;
        self.expect_answers("sharing", "router", &SERVERS)?;
        // The client's default route is FRR's advertisement; a more specific one leads through ospfd-lite.
        let route = |verb: &str| {
            self.project.administer("client", &["ip", "-6", "route", verb, SERVICE, "via", "2001:db8:2::3"]).map(drop)
        };
        route("add")?;
        self.expect_answers("sharing", "router-lite", &SERVERS)?;
        route("del")
    }

    /// A server is drained under load, and comes back.
    fn drain(&self) -> Result<()> {
        self.project.exec("client", &["sh", "-c", "echo ns.farm.example AAAA > /tmp/queries"])?;
        let load = ["dnsperf", "-s", SERVICE, "-d", "/tmp/queries", "-Q", "400", "-c", "100", "-T", "1", "-l", "15"];
        let before = self.forwarded("router")?;
        let load = self.project.spawn("client", &load)?;
        wait_for("the load to be on", PATIENCE, || {
            let sent = self.forwarded("router")? - before;
            Ok(Probe::when(sent > 800, (), format!("{sent} packets forwarded")))
        })?;
        let since = Instant::now();
        self.project.exec("server2-speaker", &["server-speaker", "drain", "dns"])?;
        self.wait_shared("drain of server2 under load", since, &["server1", "server3"])?;
        self.expect_answers("drained", "router", &["server1", "server3"])?;
        let done = load.wait_with_output()?;
        let report = String::from_utf8_lossy(&done.stdout).into_owned();
        ensure!(done.status.success(), "dnsperf: {report}{}", String::from_utf8_lossy(&done.stderr));
        let count = |what: &str| -> Result<u64> {
            let line =
                report.lines().find_map(|line| line.trim().strip_prefix(what)).with_context(|| report.clone())?;
            Ok(line.split_whitespace().next().context("a number")?.parse()?)
        };
        let (sent, lost) = (count("Queries sent:")?, count("Queries lost:")?);
        self.run.say(&format!("drain: {sent} queries sent by dnsperf, {lost} lost"));
        ensure!(sent > 5_000 && lost == 0, "{report}");
        let since = Instant::now();
        self.project.exec("server2-speaker", &["server-speaker", "undrain", "dns"])?;
        self.wait_shared("server2 undrained", since, &SERVERS)?;
        Ok(())
    }

    /// A service dies; a server dies with all that runs on it; both come back.
    fn deaths(&self) -> Result<()> {
        let act = |verb: &str, containers: &[&str]| containers.iter().try_for_each(|one| self.project.act(verb, one));
        let since = Instant::now();
        act("kill", &["server1-dns"])?;
        let after = self.wait_shared("death of server1's service", since, &["server2", "server3"])?;
        ensure!(after < DEAD, "a dead service was gone after {after:?} only, as if its speaker had said nothing");
        self.expect_answers("without it", "router", &["server2", "server3"])?;
        let since = Instant::now();
        act("start", &["server1-dns"])?;
        self.wait_shared("server1's service started", since, &SERVERS)?;
        let since = Instant::now();
        // The speaker first: it must not have seen the service die.
        act("kill", &["server3-speaker", "server3-dns", "server3"])?;
        let after = self.wait_shared("death of the whole of server3", since, &["server1", "server2"])?;
        ensure!(after < 2 * DEAD, "a dead server was gone after {after:?} only");
        self.expect_answers("without it", "router", &["server1", "server2"])?;
        let since = Instant::now();
        act("start", &["server3"])?;
        self.learn("server3")?;
        act("start", &["server3-dns", "server3-speaker"])?;
        self.wait_shared("server3 started", since, &SERVERS)?;
        self.expect_answers("at the end", "router", &SERVERS)
    }
}

fn parse(json: &str) -> Result<Value> {
    serde_json::from_str(json).with_context(|| format!("reading {json:.200}"))
}

/// A value as text, without quotes.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// The first value of a key, at any depth.
fn find<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    match value {
        Value::Array(list) => list.iter().find_map(|one| find(one, key)),
        Value::Object(map) => map.get(key).or_else(|| map.values().find_map(|one| find(one, key))),
        _ => None,
    }
}

/// All values of a key among objects of a list and of their lists.
fn every(value: &Value, key: &str) -> BTreeSet<String> {
    match value {
        Value::Array(list) => list.iter().flat_map(|one| every(one, key)).collect(),
        Value::Object(map) => {
            map.get(key).map(text).into_iter().chain(map.values().flat_map(|one| every(one, key))).collect()
        }
        _ => BTreeSet::new(),
    }
}
