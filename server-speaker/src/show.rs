//! What `show service`, `show farm` and `explain` show: serialisable values, and the text made from the same.

mod shares;

use std::fmt::Write;

use ospf_proto::engine::View;
use ospf_proto::lsa::{Prefix, ServiceFlags};
use ospf_proto::time::Instant;
use ospfd_lite::control::render::{subject as shared_subject, table};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Of the decisions that are remembered, so many are shown as text; `--json` gives all.
const DECISIONS_SHOWN: usize = 20;

use crate::advertise::{Area, Confirmation, Server};
use crate::law;
use crate::monitor::SourceRow;
use crate::router::Routers;
use crate::service::Service;
pub use shares::ShareRow;

/// A row of `show service`. Rates are in queries per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// Its prefixes.
    pub prefixes: Vec<String>,
    /// Whether it is advertised, and why.
    pub standing: String,
    /// The cost; none if it is not advertised.
    pub cost: Option<u16>,
    /// Why the cost is what it is.
    pub reason: String,
    /// Estimated capacity.
    pub mu: Option<f64>,
    /// Nominal capacity.
    pub nominal: Option<f64>,
    /// Offered rate.
    pub x: f64,
    /// Utilisation; above 1 is overload.
    pub rho: Option<f64>,
    /// Part of the receive buffer in use.
    pub queue: Option<f64>,
    /// The queue is backlogged.
    pub backlogged: bool,
    /// The operator wants it drained.
    pub drained: bool,
    /// As how many next hops it appears.
    pub next_hops: u32,
    /// The capacity that one of them stands for; none where it is not known or there is one only.
    pub capacity_per_hop: Option<f64>,
    /// The routers that it may appear as, the own first; none where it is one router.
    pub share_routers: Vec<ShareRow>,
}

/// A row of `show farm`: one server of one prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FarmRow {
    /// The prefix.
    pub prefix: String,
    /// The server.
    pub router: String,
    /// It is we.
    pub own: bool,
    /// Its cost; none if it is not advertised.
    pub cost: Option<u16>,
    /// It carries a Farm TLV with a record of the prefix.
    pub record: bool,
    /// Its capacity as it says.
    pub mu: Option<f64>,
    /// Its offered rate as it says.
    pub x: Option<f64>,
    /// Its nominal capacity as it says.
    pub nominal: Option<f64>,
    /// It is being drained.
    pub draining: bool,
    /// As how many next hops it appears.
    pub next_hops: u32,
}

/// The answer to `explain NAME`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The row of `show service`.
    pub service: ServiceRow,
    /// The policy.
    pub policy: law::Policy,
    /// What follows a changed metric, and why.
    pub announced: String,
    /// The metrics in the database now: behind the wanted cost while MinLSInterval runs.
    pub in_database: Vec<(String, u16)>,
    /// The law's memory: estimator, class rule and its timers, the farm as weighed last, the record of the peers.
    pub law: Value,
    /// What is wanted, and whether our LSAs state it and the neighbors have it.
    pub confirmed: String,
    /// The newest sample.
    pub sample: Value,
    /// The monitors: their last words.
    pub monitors: Vec<SourceRow>,
    /// What is wrong with its health; none: alive.
    pub unhealthy: Option<String>,
    /// What the last self-test said.
    pub self_test: Option<String>,
    /// What would change the cost.
    pub outlook: Option<law::Outlook>,
    /// The most cost changes in an hour that the law's parameters allow.
    pub changes_per_hour: u32,
    /// The farm as the law sees it.
    pub farm: Vec<FarmRow>,
    /// The time that the law's times are on, seconds.
    pub now: f64,
    /// The capacity that the rule counts with: out of the class assumed or tested, of a slow service none.
    pub counted_mu: Option<f64>,
    /// The latest 200 decisions: seconds ago, cost, reason.
    pub history: Vec<(f64, Option<u16>, String)>,
    /// What makes all this doubtful.
    pub warnings: Vec<String>,
}

/// What `explain` needs beside the service.
#[derive(Clone, Copy, Debug)]
pub struct Extra<'a> {
    /// Its routers.
    pub routers: &'a Routers,
    /// The configured number of equal-cost next hops.
    pub width: Option<u16>,
}

/// The rows of `show service`.
pub fn services(services: &[Service], routers: &Routers) -> Vec<ServiceRow> {
    services.iter().map(|service| row(service, routers)).collect()
}

fn row(service: &Service, routers: &Routers) -> ServiceRow {
    let estimator = &service.law.estimator;
    ServiceRow {
        name: service.config.name.clone(),
        prefixes: service.config.prefixes.iter().map(Prefix::to_string).collect(),
        standing: service.standing.to_string(),
        cost: service.cost(),
        reason: service.reason(),
        mu: estimator.mu(),
        nominal: estimator.nominal(),
        x: estimator.x(),
        rho: estimator.rho(),
        queue: service.board().fill(),
        backlogged: estimator.backlogged(),
        drained: service.is_drained(),
        next_hops: service.next_hops(),
        capacity_per_hop: service.config.shares.and_then(|_| service.law.unit()),
        share_routers: shares::rows(service, routers),
    }
}

/// The rows of `show farm`.
pub fn farm(area: &Area, services: &[Service]) -> Vec<FarmRow> {
    services.iter().flat_map(|service| service_farm(area, service)).collect()
}

fn service_farm(area: &Area, service: &Service) -> Vec<FarmRow> {
    let mut rows = Vec::new();
    for prefix in &service.config.prefixes {
        let estimator = &service.law.estimator;
        rows.push(FarmRow {
            prefix: prefix.to_string(),
            router: area.me.to_string(),
            own: true,
            cost: service.cost(),
            record: service.law.record.is_some(),
            mu: estimator.mu(),
            x: estimator.is_measuring().then(|| estimator.x()),
            nominal: estimator.nominal(),
            draining: service.is_drained(),
            next_hops: service.next_hops(),
        });
        rows.extend(area.servers(prefix).into_iter().map(|server| peer(area, prefix, server)));
    }
    rows
}

fn peer(area: &Area, prefix: &Prefix, server: Server) -> FarmRow {
    let record = area.record(server.router, prefix);
    let rate = |milli: Option<u32>| milli.map(|milli| f64::from(milli) / 1000.0);
    FarmRow {
        prefix: prefix.to_string(),
        router: server.router.to_string(),
        own: false,
        cost: Some(server.cost),
        record: record.is_some(),
        mu: rate(record.and_then(|r| r.mu)),
        x: rate(record.and_then(|r| r.x)),
        nominal: rate(record.and_then(|r| r.nominal)),
        draining: record.is_some_and(|r| r.flags.contains(ServiceFlags::DRAINING)),
        next_hops: server.hops,
    }
}

/// The answer to `explain`.
pub fn explain(service: &mut Service, area: &Area, (now, view): (Instant, &View<'_>), extra: Extra<'_>) -> Explanation {
    let mut warnings = service.warnings();
    if view.duplicate_router_id() {
        let text = format!("another router uses our Router ID {}: nothing is originated until it is gone", area.me);
        warnings.push(text);
    }
    if !view.ready() {
        warnings.push("no adjacency is Full yet: nothing is originated".into());
    }
    let json = |value: Result<Value, serde_json::Error>| value.unwrap_or_else(|error| Value::String(error.to_string()));
    let ago = |at: Instant| now.since(at).as_secs_f64();
    Explanation {
        service: row(service, extra.routers),
        policy: service.config.policy,
        announced: format!("{:?}: {}", service.choice.companion, service.choice.reason).to_lowercase(),
        in_database: view
            .advertised()
            .into_iter()
            .filter(|(prefix, _)| service.config.prefixes.contains(prefix))
            .map(|(prefix, metric)| (prefix.to_string(), metric))
            .collect(),
        law: json(serde_json::to_value(&service.law)),
        confirmed: match extra.routers.own().reconciler().state() {
            (Confirmation::Confirmed, _) => Confirmation::Confirmed.to_string(),
            (state, since) => format!("{state}, for {:.1} s", ago(since)),
        },
        sample: json(serde_json::to_value(&service.sample)),
        monitors: service.board().rows(now),
        unhealthy: service.sample.health.why().map(str::to_owned),
        self_test: service.self_test().map(str::to_owned),
        outlook: service.outlook(now, area, extra.width),
        changes_per_hour: service.config.tuning.changes_per_hour(),
        farm: service_farm(area, service),
        counted_mu: service.law.assumed_mu(now),
        now: now.since_epoch().as_secs_f64(),
        history: service.history.iter().map(|c| (ago(c.at), c.cost, c.reason.clone())).collect(),
        warnings,
    }
}

/// The text of an answer: ours, or one that both daemons give.
pub fn render(subject: &str, answer: Value, json: bool) -> Result<String, serde_json::Error> {
    if json {
        return serde_json::to_string_pretty(&answer);
    }
    match subject {
        "service" => Ok(service_table(&serde_json::from_value::<Vec<ServiceRow>>(answer)?)),
        "farm" => Ok(farm_table(&serde_json::from_value::<Vec<FarmRow>>(answer)?)),
        "explain" => Ok(explanation(&serde_json::from_value::<Explanation>(answer)?)),
        _ => shared_subject(subject, answer, json),
    }
}

fn service_table(rows: &[ServiceRow]) -> String {
    let mut table =
        table(&["Service", "Prefixes", "Cost", "Hops", "Capacity", "Offered", "Load", "Queue", "Standing", "Reason"]);
    for row in rows {
        table.add_row([
            row.name.clone(),
            row.prefixes.join(" "),
            shown(row.cost),
            hops(row),
            rate(row.mu),
            rate(Some(row.x)),
            percent(row.rho),
            percent(row.queue),
            row.standing.clone(),
            row.reason.clone(),
        ]);
    }
    table.trim_fmt()
}

fn farm_table(rows: &[FarmRow]) -> String {
    let mut table = table(&["Prefix", "Server", "Cost", "Hops", "Capacity", "Offered", "Nominal", "Notes"]);
    for row in rows {
        let mut notes = Vec::new();
        notes.extend(row.own.then_some("this server"));
        notes.extend((!row.record && !row.own).then_some("no record"));
        notes.extend(row.draining.then_some("draining"));
        table.add_row([
            row.prefix.clone(),
            row.router.clone(),
            shown(row.cost),
            row.next_hops.to_string(),
            rate(row.mu),
            rate(row.x),
            rate(row.nominal),
            notes.join(", "),
        ]);
    }
    table.trim_fmt()
}

fn explanation(e: &Explanation) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "{what:<22}{value}");
    };
    let law = |path: &str| e.law.pointer(path).cloned().unwrap_or(Value::Null);
    let number = |path: &str| rate(law(path).as_f64());
    let until = |path: &str| law(path).as_f64().map(|at| at - e.now);
    line("service", format!("{} ({})", e.service.name, e.service.prefixes.join(" ")));
    line("standing", e.service.standing.clone());
    line("health", e.unhealthy.clone().unwrap_or_else(|| "alive".into()));
    line("cost", format!("{}: {}", shown(e.service.cost), e.service.reason));
    let stated: Vec<String> = e.in_database.iter().map(|(prefix, metric)| format!("{prefix} {metric}")).collect();
    line("in our LSAs", if stated.is_empty() { "nothing".into() } else { stated.join(", ") });
    line("confirmed", e.confirmed.clone());
    if !e.service.share_routers.is_empty() {
        let per_hop = rate(e.service.capacity_per_hop);
        line("next hops", format!("{}, one per {per_hop} q/s of capacity", hops(&e.service)));
    }
    for router in &e.service.share_routers {
        line("share router", router.to_string());
    }
    line("policy", format!("{:?}, at most {} cost changes an hour", e.policy, e.changes_per_hour).to_lowercase());
    if let Some(outlook) = e.outlook {
        line("would change it", would_change(outlook));
    }
    if let Some(outcome) = &e.self_test {
        line("last self-test", outcome.clone());
    }
    for monitor in &e.monitors {
        line("monitor", monitor_line(monitor));
    }
    line("companion LSA", e.announced.clone());
    line("capacity mu", format!("{} q/s (nominal {})", rate(e.service.mu), rate(e.service.nominal)));
    line("capacity counted", format!("{} q/s", rate(e.counted_mu)));
    line("offered x", format!("{} q/s", rate(Some(e.service.x))));
    line("utilisation rho", percent(e.service.rho));
    let backlogged = if e.service.backlogged { ", backlogged" } else { "" };
    line("queue", format!("{} of the buffer{backlogged}", percent(e.service.queue)));
    if !law("/assessment").is_null() {
        let members = law("/assessment/class").as_array().map_or(0, Vec::len);
        let all = law("/assessment/order").as_array().map_or(0, Vec::len);
        line("farm", format!("load {} q/s, {members} of {all} in the class", number("/assessment/load")));
        line("goodput with me", format!("{} q/s", number("/assessment/goodput_with_me")));
        line("goodput without me", format!("{} q/s", number("/assessment/goodput_without_me")));
        let best: Vec<String> = law("/assessment/best")
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        line("best class", format!("{} q/s: {}", number("/assessment/goodput_best"), best.join(" ")));
    }
    for (what, path) in [
        ("hold-down ends in", "/rule/standing/out/until"),
        ("leaving banned for", "/rule/banned_until"),
        ("next evaluation in", "/rule/next"),
    ] {
        if let Some(left) = until(path).filter(|left| *left > 0.0) {
            line(what, format!("{left:.1} s"));
        }
    }
    for (what, path) in [
        ("wants to leave for", "/rule/leave_since"),
        ("better without it for", "/rule/behind_since"),
        ("wants to return for", "/rule/join_since"),
        ("class changed", "/rule/seen"),
    ] {
        if let Some(left) = until(path) {
            let ago = if what == "class changed" { " ago" } else { "" };
            line(what, format!("{:.1} s{ago}", -left));
        }
    }
    for (ago, cost, reason) in e.history.iter().rev().take(DECISIONS_SHOWN) {
        line(&format!("{ago:.1} s ago"), format!("{}: {reason}", shown(*cost)));
    }
    for warning in &e.warnings {
        line("WARNING", warning.clone());
    }
    let _ = write!(text, "\n{}", farm_table(&e.farm));
    text
}

/// Next hops, of how many.
fn hops(row: &ServiceRow) -> String {
    match row.share_routers.len() {
        0 => row.next_hops.to_string(),
        most => format!("{} of {most}", row.next_hops),
    }
}

fn would_change(outlook: law::Outlook) -> String {
    match (outlook.leaves_below, outlook.returns_above) {
        (Some(below), _) => format!("a capacity below {below:.0} q/s at this load: it would leave the class"),
        (None, Some(above)) => format!("a capacity of {above:.0} q/s or more at this load: it would come back"),
        (None, None) => "no capacity of this server at this load; other load, other servers".into(),
    }
}

fn monitor_line(monitor: &SourceRow) -> String {
    let age = monitor.age.map_or_else(|| "never read".to_owned(), |age| format!("{age:.1} s ago"));
    let stale = if monitor.stale { ", STALE" } else { "" };
    let said = if monitor.said.is_empty() { String::new() } else { format!(": {}", monitor.said) };
    let error = monitor.error.as_ref().map(|error| format!("; cannot be read: {error}")).unwrap_or_default();
    format!("{} ({age}{stale}){said}{error}", monitor.name)
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn rate(value: Option<f64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.1}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.0} %", 100.0 * value))
}
