//! A scenario: a seed, and the trouble that it plans. As a file it is a trace that replays exactly.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use ospf_proto::{
    engine::{Command, Companion},
    lsa::Prefix,
    time::Instant,
};
use serde::{Deserialize, Serialize};

use crate::sim::{
    net::{Net, Stats, Weather},
    oracle::Oracle,
    random::Random,
    topology::{Topology, anycast, unicast},
};

/// A scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Determines the topology, the engines' seeds and the fate of each packet.
    pub seed: u64,
    /// Routers, servers among them.
    pub routers: usize,
    /// Packets lost, of a thousand, while there is trouble.
    pub loss: u64,
    /// HelloInterval, seconds.
    pub hello: u16,
    /// Afterwards more than MaxAge passes, with every LSA refreshed or aged out.
    pub ages: bool,
    /// What happens.
    pub trouble: Vec<Trouble>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    /// When, in milliseconds.
    pub at: u64,
    /// For how long, in milliseconds; none: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<u64>,
    /// What.
    pub what: What,
}

/// Kinds of trouble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// These routers hear nobody else, and nobody else hears them.
    Partition(Vec<usize>),
    /// The router dies and, if it does not last for ever, starts again with nothing.
    Crash(usize),
    /// The router is cut off this link (link, router) without noticing.
    Cut(usize, usize),
    /// The router's interface on this link (link, router) goes down.
    Flap(usize, usize),
    /// The whole link goes down at every end.
    Unplug(usize),
    /// The router drops its adjacencies.
    Clear(usize),
    /// The server advertises the shared prefix at this metric (server, metric, companion 0..3).
    Advertise(usize, u16, u8),
    /// The server withdraws all it advertises.
    Withdraw(usize),
    /// The router takes leave (flush, goodbye), and starts again.
    Leave(usize),
}

/// Partitions in a scenario.
const PARTITIONS: usize = 2;
/// Crashes with a restart within a second.
const CRASHES: usize = 5;

impl Scenario {
    /// The scenario of a seed.
    pub fn of_seed(seed: u64, routers: usize) -> Self {
        let mut random = Random::new(seed, 2);
        let ages = seed % 16 == 5;
        let hello = if ages { 10 } else { [1, 1, 2, 10].get(random.index(4)).copied().unwrap_or(1) };
        let dead = u64::from(hello) * 4000;
        let topology = topology(seed, routers);
        let servers: Vec<usize> = topology.servers().collect();
        let mut trouble = Vec::new();
        let mut add = |random: &mut Random, lasts, what| {
            trouble.push(Trouble { at: random.between(dead / 2, dead * 10), lasts, what });
        };
        for _ in 0..PARTITIONS {
            let inside = (0..routers).filter(|_| random.chance(400)).collect();
            let lasts = random.between(dead / 5, dead * 3);
            let forever = random.chance(80);
            add(&mut random, (!forever).then_some(lasts), What::Partition(inside));
        }
        for _ in 0..CRASHES {
            let lasts = random.between(20, 1000);
            let router = random.index(routers);
            add(&mut random, Some(lasts), What::Crash(router));
        }
        for _ in 0..random.between(4, 12) {
            let link = random.index(topology.links.len());
            let ends = topology.links.get(link).map(|link| link.ends.as_slice()).unwrap_or_default();
            let end = ends.get(random.index(ends.len())).map_or(0, |end| end.router);
            let lasts = random.between(20, dead * 2);
            let forever = random.chance(120);
            let server = servers.get(random.index(servers.len())).copied().unwrap_or_default();
            let (what, may_stay) = match random.index(9) {
                0 => (What::Cut(link, end), true),
                1 => (What::Flap(link, end), true),
                2 => (What::Unplug(link), true),
                3 => (What::Clear(end), false),
                4 => (What::Withdraw(server), true),
                5 => (What::Leave(random.index(routers)), true),
                6 => (What::Crash(random.index(routers)), true),
                _ => (What::Advertise(server, random.between(10, 13) as u16, random.index(3) as u8), false),
            };
            add(&mut random, (!(forever && may_stay)).then_some(lasts), what);
        }
        trouble.sort_by_key(|trouble| trouble.at);
        Scenario { seed, routers, loss: 50, hello, ages, trouble }
    }

    /// Reads a trace.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("decoding {}", path.display()))
    }

    /// Writes a trace.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }

    /// Plays it; an error says what is broken. `trace` prints what the routers say and do.
    pub fn play(&self, trace: bool) -> Result<Stats> {
        let mut random = Random::new(self.seed, 3);
        let duplicates = random.between(0, 50);
        // Mostly SPF follows at once; in some networks it is held back.
        let spf_interval = Duration::from_millis(if self.seed % 8 == 6 { 1000 } else { 0 });
        let weather = Weather {
            loss: self.loss,
            duplicates,
            hello: self.hello,
            checked_every: 1,
            exact_every: 16,
            spf_interval,
            loops: true,
        };
        let mut net = Net::new(topology(self.seed, self.routers), weather, self.seed)?;
        net.trace = trace;
        let mut stage = Stage { steps: BTreeMap::new(), number: 0 };
        for router in 0..self.routers {
            stage.add(random.between(0, 2000), Step::Start(router));
        }
        for server in net.topology.servers().collect::<Vec<_>>() {
            let services = services(server, random.between(10, 13) as u16);
            net.advertise(server, services, Companion::None)?;
        }
        let mut last = 0;
        for (number, trouble) in (0..).zip(&self.trouble) {
            stage.add(trouble.at, Step::Begin(number, trouble.what.clone()));
            last = last.max(trouble.at + trouble.lasts.unwrap_or_default());
            if let Some(lasts) = trouble.lasts {
                stage.add(trouble.at + lasts, Step::End(number, trouble.what.clone()));
            }
        }
        while let Some(((at, _), step)) = stage.steps.pop_first() {
            net.run_until(Instant::from_epoch(Duration::from_millis(at)))?;
            if trace {
                println!("{} {step:?}", net.now);
            }
            step.take(&mut net, &mut stage)?;
        }
        let dead = net.dead_interval();
        net.run(dead)?;
        net.weather = Weather { loss: 0, duplicates: 0, ..net.weather };
        net.run(dead * 3 + Duration::from_secs(30))?;
        Oracle::new(&net).check()?;
        let quiet = Duration::from_secs(10);
        anyhow::ensure!(
            net.now.since(net.chatter) > quiet,
            "{:?} before the end somebody still sent something else than a Hello",
            net.now.since(net.chatter)
        );
        if self.ages {
            net.run(Duration::from_secs(3700))?;
            let oracle = Oracle::new(&net);
            oracle.check()?;
            oracle.check_aged()?;
        }
        Ok(net.stats)
    }
}

fn topology(seed: u64, routers: usize) -> Topology {
    Topology::random(&mut Random::new(seed, 1), routers)
}

fn services(server: usize, metric: u16) -> BTreeMap<Prefix, u16> {
    BTreeMap::from([(anycast(), metric), (unicast(server), 5)])
}

/// What is to be done when.
struct Stage {
    steps: BTreeMap<(u64, u64), Step>,
    number: u64,
}

impl Stage {
    fn add(&mut self, at: u64, step: Step) {
        self.number += 1;
        self.steps.insert((at, self.number), step);
    }
}

/// A step of a scenario.
#[derive(Debug)]
enum Step {
    Start(usize),
    Goodbye(usize),
    Begin(u32, What),
    End(u32, What),
}

impl Step {
    fn take(self, net: &mut Net, stage: &mut Stage) -> Result<()> {
        let now = net.now.since_epoch().as_millis() as u64;
        match self {
            Step::Start(router) | Step::End(_, What::Crash(router) | What::Leave(router)) => {
                // Two crashes may overlap.
                if net.alive(router) { Ok(()) } else { net.start(router) }
            }
            Step::Goodbye(router) => {
                net.command(router, Command::Goodbye)?;
                net.kill(router);
                Ok(())
            }
            Step::Begin(cut, What::Partition(inside)) => {
                net.cut(cut, |_, router| inside.contains(&router));
                Ok(())
            }
            Step::Begin(cut, What::Cut(link, router)) => {
                net.cut(cut, |l, r| (l, r) == (link, router));
                Ok(())
            }
            Step::End(cut, What::Partition(_) | What::Cut(..)) => {
                net.mend(cut);
                Ok(())
            }
            Step::Begin(_, What::Crash(router)) => {
                net.kill(router);
                Ok(())
            }
            Step::Begin(_, What::Flap(link, router)) => net.set_port(link, router, false),
            Step::End(_, What::Flap(link, router)) => net.set_port(link, router, true),
            Step::Begin(_, What::Unplug(link)) => set_link(net, link, false),
            Step::End(_, What::Unplug(link)) => set_link(net, link, true),
            Step::Begin(_, What::Clear(router)) => net.command(router, Command::ClearNeighbor(None)),
            Step::Begin(_, What::Advertise(server, metric, companion)) => {
                let companion = match companion {
                    1 => Companion::Link,
                    2 => Companion::Router,
                    _ => Companion::None,
                };
                net.advertise(server, services(server, metric), companion)
            }
            Step::Begin(_, What::Withdraw(server)) => net.advertise(server, BTreeMap::new(), Companion::None),
            Step::End(_, What::Withdraw(server)) => net.advertise(server, services(server, 11), Companion::None),
            Step::Begin(_, What::Leave(router)) => {
                stage.add(now + 15, Step::Goodbye(router));
                net.command(router, Command::Flush)
            }
            Step::End(_, What::Clear(_) | What::Advertise(..)) => Ok(()),
        }
    }
}

fn set_link(net: &mut Net, link: usize, up: bool) -> Result<()> {
    let routers: Vec<usize> = net.ports.get(link).into_iter().flatten().map(|port| port.router).collect();
    routers.into_iter().try_for_each(|router| net.set_port(link, router, up))
}
