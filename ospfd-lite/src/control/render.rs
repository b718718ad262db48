//! Tables for people, from the same values that `--json` prints.

use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

use super::farm::{Farm, Server};
use super::show::{DatabaseLsa, Interface, Neighbor, Route};
use crate::netio::Counters;

/// Prints the answer to `show SUBJECT`: as JSON, or as a table if this subject has one.
pub fn subject(subject: &str, answer: Value, json: bool) -> Result<String, serde_json::Error> {
    if json {
        return serde_json::to_string_pretty(&answer);
    }
    Ok(match subject {
        "neighbor" => neighbors(&serde_json::from_value::<Vec<Neighbor>>(answer)?),
        "interface" => interfaces(&serde_json::from_value::<Vec<Interface>>(answer)?),
        "database" => database(&serde_json::from_value::<Vec<DatabaseLsa>>(answer)?),
        "route" => routes(&serde_json::from_value::<Vec<Route>>(answer)?),
        "farm" => farms(&serde_json::from_value::<Vec<Farm>>(answer)?),
        "text" => serde_json::from_value::<String>(answer)?,
        "counters" => counters(&serde_json::from_value::<Counters>(answer)?),
        _ => serde_json::to_string_pretty(&answer)?,
    })
}

/// A plain table with these columns.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header.to_vec());
    table
}

/// Seconds as `hh:mm:ss`, as FRRouting prints them.
pub fn clock(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn neighbors(rows: &[Neighbor]) -> String {
    let mut table = table(&["Neighbor ID", "Pri", "DeadTime", "State/IfState", "Duration", "I/F[State]", "Address"]);
    for row in rows {
        table.add_row([
            row.neighbor_id.clone(),
            row.priority.to_string(),
            row.dead_time.map_or_else(|| "-".to_owned(), clock),
            format!("{}/{}", row.state, row.if_state),
            clock(row.duration),
            format!("{}[{}]", row.interface, row.interface_state),
            row.address.to_string(),
        ]);
    }
    table.trim_fmt()
}

fn interfaces(rows: &[Interface]) -> String {
    let mut table = table(&[
        "Interface",
        "ID",
        "Area",
        "Type",
        "State",
        "Cost",
        "Pri",
        "DR",
        "BDR",
        "Nbrs F/C",
        "Hello/Dead",
        "Address",
    ]);
    for row in rows {
        let passive = if row.passive { " (passive)" } else { "" };
        table.add_row([
            row.interface.clone(),
            row.interface_id.to_string(),
            row.area.clone(),
            row.network_type.clone(),
            format!("{}{passive}", row.state),
            row.cost.to_string(),
            row.priority.to_string(),
            row.dr.clone(),
            row.bdr.clone(),
            format!("{}/{}", row.full, row.neighbors),
            format!("{}/{}", row.hello_interval, row.dead_interval),
            row.link_local.map_or_else(|| "-".to_owned(), |address| address.to_string()),
        ]);
    }
    table.trim_fmt()
}

fn database(rows: &[DatabaseLsa]) -> String {
    let mut table = table(&["Scope", "Type", "LSId", "AdvRouter", "Age", "SeqNum", "Cksm", "Len", "Payload"]);
    for row in rows {
        let scope = match (&row.area, &row.interface) {
            (Some(area), _) => format!("area {area}"),
            (None, Some(interface)) => format!("link {interface}"),
            (None, None) => "AS".to_owned(),
        };
        let own = if row.ours { "*" } else { "" };
        table.add_row([
            scope,
            row.ls_type_name.clone(),
            row.link_state_id.clone(),
            format!("{}{own}", row.adv_router),
            row.age.to_string(),
            row.sequence.trim_start_matches("0x").to_owned(),
            row.checksum.trim_start_matches("0x").to_owned(),
            row.length.to_string(),
            payload(&row.body),
        ]);
    }
    table.trim_fmt()
}

/// What matters of a body, on one line.
fn payload(body: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let list = |key: &str| body.get(key).and_then(Value::as_array);
    if let Some(prefixes) = list("prefixes") {
        let link_local = body.get("link_local").map(&text).into_iter();
        let prefixes = prefixes.iter().map(|prefix| {
            let metric = prefix.get("metric").and_then(Value::as_u64).unwrap_or(0);
            format!("{} ({metric})", prefix.get("prefix").map(&text).unwrap_or_default())
        });
        link_local.chain(prefixes).collect::<Vec<_>>().join(", ")
    } else if let Some(links) = list("links") {
        let links = links.iter().map(|link| {
            let router = link.get("neighbor_router_id").map(&text).unwrap_or_default();
            let id = link.get("neighbor_interface_id").map(&text).unwrap_or_default();
            format!("{router}/{id} ({})", link.get("metric").map(&text).unwrap_or_default())
        });
        links.collect::<Vec<_>>().join(", ")
    } else if let Some(routers) = list("attached_routers") {
        routers.iter().map(text).collect::<Vec<_>>().join(", ")
    } else if let Some(tlvs) = list("tlvs") {
        let tlvs = tlvs.iter().filter_map(|tlv| tlv.get("name"));
        tlvs.map(text).collect::<Vec<_>>().join(", ")
    } else {
        let destination = body.get("prefix").or_else(|| body.get("destination_router_id"));
        destination.map(text).unwrap_or_default()
    }
}

fn routes(rows: &[Route]) -> String {
    let mut table = table(&["Destination", "Type", "Distance", "Next hops", "Originators", "FIB"]);
    for row in rows {
        let hops = row.next_hops.iter().map(|hop| match hop.gateway {
            Some(gateway) => format!("{gateway}%{}", hop.interface),
            None => format!("on {}", hop.interface),
        });
        let hops = hops.collect::<Vec<_>>().join("\n");
        table.add_row([
            row.prefix.clone(),
            row.path_type.clone(),
            row.distance.to_string(),
            if hops.is_empty() { "ours".to_owned() } else { hops },
            row.originators.join("\n"),
            row.fib.clone().unwrap_or_default(),
        ]);
    }
    table.trim_fmt()
}

fn farms(farms: &[Farm]) -> String {
    let texts: Vec<String> = farms.iter().map(farm).collect();
    texts.join("\n\n")
}

fn farm(farm: &Farm) -> String {
    let distance = farm.distance.map_or_else(|| "no route".to_owned(), |distance| format!("distance {distance}"));
    let slots = farm.slots.map_or_else(String::new, |slots| format!(" of {slots} slots"));
    let group = farm.group.map_or_else(String::new, |group| format!(", object {group}"));
    let why = farm.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let heading = format!(
        "{}: {distance}, shared {}{slots}{group}{why}, weights by {}, {}",
        farm.prefix, farm.sharing, farm.weights, farm.fib
    );
    let mut table = table(&[
        "Server",
        "Metric",
        "Class",
        "Capacity",
        "Stated",
        "Load",
        "Next hop",
        "Weight",
        "Installed",
        "Slots",
        "Packets",
        "Share",
    ]);
    for server in &farm.servers {
        table.add_row(server_row(server));
    }
    format!("{heading}\n{}", table.trim_fmt())
}

fn server_row(server: &Server) -> [String; 12] {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rate = |value: Option<f64>| or_dash(value.map(|rate| format!("{rate:.0}")));
    let percent = |part: f64| format!("{:.1} %", 100.0 * part);
    let hops = server.next_hops.iter().map(|hop| match hop.gateway {
        Some(gateway) => format!("{gateway}%{}", hop.interface),
        None => format!("on {}", hop.interface),
    });
    let class = if server.in_class { "lowest" } else { "-" };
    let draining = if server.draining { " draining" } else { "" };
    [
        server.router_id.clone(),
        server.metric.to_string(),
        format!("{class}{draining}"),
        rate(server.capacity),
        rate(server.stated),
        rate(server.load),
        hops.collect::<Vec<_>>().join("\n"),
        percent(server.weight),
        percent(server.installed),
        or_dash(server.slots.map(|slots| slots.to_string())),
        or_dash(server.packets.map(|packets| packets.to_string())),
        or_dash(server.packet_share.map(percent)),
    ]
}

fn counters(counters: &Counters) -> String {
    let mut table = table(&["Counter", "Interface", "Value"]);
    for (name, value) in [
        ("SPF runs", counters.spf_runs),
        ("LSAs originated", counters.originated),
        ("LSAs flushed", counters.flushed),
        ("neighbor changes", counters.neighbor_changes),
        ("route changes", counters.route_changes),
        ("originations held back", counters.originations_held_back),
        ("LSAs in the database", counters.lsas),
        ("link resyncs", counters.link_resyncs),
        ("control requests", counters.control_requests),
    ] {
        table.add_row([name.to_owned(), String::new(), value.to_string()]);
    }
    for key in &counters.limits_reached {
        table.add_row(["limit reached".to_owned(), String::new(), key.clone()]);
    }
    if let Some(fib) = &counters.fib {
        for (name, value) in [
            ("kernel operations done", fib.done),
            ("kernel operations refused", fib.refused),
            ("kernel tables read", fib.reads),
            ("kernel routes repaired", fib.repairs),
        ] {
            table.add_row([name.to_owned(), String::new(), value.to_string()]);
        }
    }
    for (iface, of) in &counters.interfaces {
        for (what, by_label) in [("received", &of.received), ("sent", &of.sent), ("dropped", &of.dropped)] {
            for (label, value) in by_label {
                table.add_row([format!("{what} {label}"), iface.clone(), value.to_string()]);
            }
        }
        for (name, value) in [
            ("receive overflows", of.receive_overflows),
            ("receive unusable", of.receive_unusable),
            ("send refused", of.send_refused),
            ("send given up", of.send_given_up),
            ("send delayed", of.send_delayed),
        ] {
            if value > 0 {
                table.add_row([name.to_owned(), iface.clone(), value.to_string()]);
            }
        }
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_neighbor_table_has_the_columns_of_frr() {
        let row = json!([{
            "neighbor_id": "192.0.2.2", "priority": 1, "dead_time": 33.4, "state": "Full", "if_state": "DR",
            "duration": 3725.0, "interface": "eth0", "interface_state": "Backup", "address": "fe80::2",
            "neighbor_interface_id": 3, "dr": "192.0.2.2", "bdr": "192.0.2.1", "options": "V6|E|R",
            "summaries": 0, "requests": 0, "retransmissions": 0
        }]);
        let text = subject("neighbor", row.clone(), false).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[0],
            ["Neighbor", "ID", "Pri", "DeadTime", "State/IfState", "Duration", "I/F[State]", "Address"]
        );
        assert_eq!(lines[1], ["192.0.2.2", "1", "00:00:33", "Full/DR", "01:02:05", "eth0[Backup]", "fe80::2"]);
        let back: Value = serde_json::from_str(&subject("neighbor", row.clone(), true).unwrap()).unwrap();
        assert_eq!(back, row);
    }

    #[test]
    fn a_body_is_summed_up_on_one_line() {
        let body = json!({ "link_local": "fe80::1", "prefixes": [{ "prefix": "2001:db8::/64", "metric": 0 }] });
        assert_eq!(payload(&body), "fe80::1, 2001:db8::/64 (0)");
        let body = json!({ "links": [{ "neighbor_router_id": "1.1.1.1", "neighbor_interface_id": 4, "metric": 10 }] });
        assert_eq!(payload(&body), "1.1.1.1/4 (10)");
        assert_eq!(payload(&json!({ "attached_routers": ["1.1.1.1", "2.2.2.2"] })), "1.1.1.1, 2.2.2.2");
        assert_eq!(payload(&json!({ "prefix": "::/0" })), "::/0");
    }
}
