use ospf_proto::id::RouterId;

use super::*;
use crate::advertise::Strategy;
use crate::law::{PARAMETERS, Policy, Shares, Tuning};
use crate::monitor::{MonitorConfig, ProcessTarget, Protocol};

const HEAD: &str = "router-id = \"192.0.2.11\"\n[[interface]]\nname = \"eth0\"\n";
const SERVICE: &str = "[[service]]\nname = \"dns\"\nprefixes = [\"2001:db8:53::53/128\"]\nmonitor = [{ socket = { protocol = \"udp\", port = 53 } }]\n";

fn load(text: &str) -> Result<ServerConfig, String> {
    ServerConfig::load(&Source::new("s.toml", text)).map_err(|error| error.to_string())
}

/// The monitors of a service with a socket and these.
pub(super) fn monitors(entries: &str) -> Result<Vec<MonitorConfig>, String> {
    let text = format!("{HEAD}{}", SERVICE.replace(" }]", &format!(" }}, {entries}]")));
    load(&text).map(|config| config.services[0].monitors.clone())
}

#[test]
fn a_small_file_gets_the_defaults_of_a_server() {
    let config = load(&format!("{HEAD}{SERVICE}")).unwrap();
    assert!(!config.engine.forwarding);
    assert_eq!(config.engine.interfaces[0].priority, 0);
    assert_eq!((config.ecmp_width, config.linger), (None, Duration::from_secs(5)));
    let service = &config.services[0];
    assert_eq!((service.policy, service.strategy), (Policy::Goodput, Strategy::Auto));
    assert_eq!((service.min_serving, service.last_resort, service.manage_address), (1, false, false));
    let MonitorConfig::Socket(target) = &service.monitors[0] else { panic!("{:?}", service.monitors) };
    assert_eq!(target.addresses, [service.prefixes[0].address()]);
}

#[test]
fn every_key_arrives() {
    let config = load(
        r#"
router-id = "192.0.2.11"
control = "/run/x.sock"
state-dir = "/var/lib/x"
min-ls-interval = 1.2
min-ls-interval-topology = 1.5
ecmp-width = 4
linger = 3
peers-in-place = ["192.0.2.1"]
allow-prefixes = ["2001:db8:99::/48"]
[[interface]]
name = "eth0"
priority = 1
[[service]]
name = "web"
prefixes = ["2001:db8:99::/48"]
monitor = [{ socket = { protocol = "tcp", port = 443, address = "2001:db8:99::1" } }]
capacity = 1500
policy = "static"
strategy = "with-spf"
min-serving = 2
last-resort = true
drain-file = "/etc/drain"
drain-limit = 7.5
"#,
    )
    .unwrap();
    assert_eq!(config.control.to_str(), Some("/run/x.sock"));
    assert_eq!(config.state_dir.to_str(), Some("/var/lib/x"));
    assert_eq!(config.engine.min_ls_interval, Duration::from_millis(1200));
    assert_eq!((config.ecmp_width, config.linger), (Some(4), Duration::from_secs(3)));
    assert!(config.peers_in_place.contains(&RouterId(0xc000_0201)));
    assert_eq!(config.engine.interfaces[0].priority, 1);
    let service = &config.services[0];
    assert_eq!((service.policy, service.strategy), (Policy::Static, Strategy::WithSpf));
    assert_eq!((service.capacity, service.min_serving, service.last_resort), (Some(1500.0), 2, true));
    assert_eq!(service.drain_file, Some("/etc/drain".into()));
    assert_eq!(service.drain_limit, Duration::from_millis(7500));
    let MonitorConfig::Socket(target) = &service.monitors[0] else { panic!("{:?}", service.monitors) };
    assert_eq!((target.protocol, target.port), (Protocol::Tcp, 443));
}

#[test]
fn an_error_names_file_line_key_and_what_is_allowed() {
    let service = |extra: &str| format!("{HEAD}{SERVICE}{extra}");
    let prefix = |prefix: &str| format!("{HEAD}{}", SERVICE.replace("2001:db8:53::53/128", prefix));
    for (text, expected) in [
        (HEAD.to_owned(), "s.toml: no [[service]]; at least one is needed"),
        (
            prefix("::/0"),
            "s.toml:6: service[0].prefixes: ::/0 is not allowed: a server never originates a default route; a /128",
        ),
        (
            prefix("2001:db8::/64"),
            "s.toml:6: service[0].prefixes: 2001:db8::/64 is not allowed; a /128, or a prefix that allow-prefixes lists",
        ),
        (
            prefix("fe80::1/128"),
            "s.toml:6: service[0].prefixes: fe80::1/128 is not allowed: a link-local address is not routed; a global one",
        ),
        (
            format!("allow-prefixes = [\"::/0\"]\n{HEAD}{SERVICE}"),
            "s.toml:1: allow-prefixes: ::/0 is not allowed: a server never originates a default route; a longer prefix",
        ),
        (
            service("capacity = 0.0\n"),
            "s.toml:8: service[0].capacity: 0 is not allowed; 0.001..=4294967 queries per second",
        ),
        (service("policy = \"naive\"\n"), "s.toml:8: service[0].policy: \"naive\" needs `capacity` beside it"),
        (
            service("strategy = \"external\"\n"),
            "s.toml:8: service[0].strategy: \"external\" is not yet supported; \"auto\", \"in-place\", \"with-link\" or \"with-spf\"",
        ),
        (service("min-serving = 300\n"), "s.toml:8: service[0].min-serving: 300 is not allowed; 0..=255"),
        (
            service(
                "[[service]]\nname = \"dns\"\nprefixes = [\"2001:db8::9/128\"]\nmonitor = [{ socket = { protocol = \"tcp\", port = 53 } }]\n",
            ),
            "s.toml:9: service[1].name: a second service dns; one is allowed",
        ),
        (
            service(
                "[[service]]\nname = \"d2\"\nprefixes = [\"2001:db8:53::53/128\"]\nmonitor = [{ socket = { protocol = \"tcp\", port = 53 } }]\n",
            ),
            "s.toml:10: service[1].prefixes: 2001:db8:53::53/128 already belongs to service dns",
        ),
        (format!("linger = 1\n{HEAD}{SERVICE}"), "s.toml:1: linger: 1 is not allowed; 2..=600 seconds"),
    ] {
        assert_eq!(load(&text).unwrap_err(), expected);
    }
}

#[test]
fn unknown_keys_and_values_are_refused_by_name() {
    for (extra, part) in [
        ("capasity = 3\n", "s.toml:8: service[0].capasity: unknown field `capasity`, expected one of"),
        ("policy = \"fast\"\n", "unknown variant `fast`, expected one of `goodput`, `static`, `naive`, `shares`"),
    ] {
        let error = load(&format!("{HEAD}{SERVICE}{extra}")).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    let error = load(&format!("{HEAD}{}", SERVICE.replace("udp", "sctp"))).unwrap_err();
    assert!(error.contains("unknown variant `sctp`, expected `udp` or `tcp`"), "{error}");
}

#[test]
fn two_services_that_would_count_each_others_datagrams_are_refused() {
    let second = SERVICE.replace("dns", "d2").replace("::53/", "::54/");
    let error = load(&format!("{HEAD}{SERVICE}{second}")).unwrap_err();
    assert!(error.contains("a second service with a UDP monitor beside dns is not allowed"), "{error}");
}

#[test]
fn a_managed_address_is_a_host_address() {
    let text = format!(
        "allow-prefixes = [\"2001:db8::/64\"]\n{HEAD}{}manage-address = true\n",
        SERVICE.replace("2001:db8:53::53/128", "2001:db8::/64")
    );
    let error = load(&text).unwrap_err();
    assert!(error.contains("2001:db8::/64 cannot be put on lo by manage-address; a /128"), "{error}");
}

#[test]
fn more_prefixes_than_one_record_lsa_holds_are_refused() {
    let many: Vec<String> = (0..25).map(|i| format!("\"2001:db8::{:x}/128\"", i + 1)).collect();
    let text = format!("{HEAD}{}", SERVICE.replace("\"2001:db8:53::53/128\"", &many.join(", ")));
    assert!(load(&text).unwrap_err().contains("25 service prefixes; at most 24"));
}

#[test]
fn a_process_is_named_by_its_unit_or_its_pid_file() {
    let service =
        |entry: &str| format!("{HEAD}{}", SERVICE.replace("{ socket = { protocol = \"udp\", port = 53 } }", entry));
    for (entry, expected) in [
        ("{ process = { unit = \"knot.service\" } }", ProcessTarget::Unit("knot.service".into())),
        ("{ process = { pid-file = \"/run/knot.pid\" } }", ProcessTarget::PidFile("/run/knot.pid".into())),
    ] {
        let config = load(&service(entry)).unwrap();
        assert_eq!(config.services[0].monitors, [MonitorConfig::Process(expected)]);
    }
    for entry in
        ["{ process = {} }", "{ process = { unit = \"a\", pid-file = \"/b\" } }", "{ process = { pid-file = \"b\" } }"]
    {
        let error = load(&service(entry)).unwrap_err();
        assert!(error.contains("s.toml:7") && error.contains("one of `unit`"), "{error}");
    }
}

#[test]
fn the_law_s_parameters_are_set_by_their_keys_within_their_bounds() {
    let service = |law: &str| load(&format!("{HEAD}{SERVICE}[service.law]\n{law}\n"));
    let tuning = service("gain = 0.5\nhold-min = 60").unwrap().services[0].tuning;
    assert_eq!(tuning, Tuning { gain: 0.5, hold_min: 60.0, ..Tuning::default() });
    for (law, expected) in [
        ("gain = -1.0", "s.toml:9: service.law.gain: -1 is not allowed; 0..=10 of g1"),
        ("gains = 1.0", "law.gains is not known; one of offered-time, "),
        ("gain = nan", "NaN is not allowed"),
        ("hold-min = 900", "hold-min, hold-max: 900 is greater than 480"),
    ] {
        let error = service(law).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn every_parameter_of_the_law_stands_in_the_reference_as_it_is() {
    let reference = include_str!("../../../docs/configuration.md");
    for parameter in PARAMETERS {
        let row = format!(
            "| `{}` | {} | {} to {} | {} | {} |",
            parameter.key, parameter.default, parameter.min, parameter.max, parameter.unit, parameter.text
        );
        assert!(reference.contains(&row), "docs/configuration.md lacks: {row}");
    }
}

#[test]
fn a_self_test_asks_what_the_dns_probe_asks() {
    let with = |monitor: &str| {
        load(&format!(
            "{HEAD}{}self-test = {{ duration = 0.5 }}\n",
            SERVICE.replace("monitor = [", &format!("monitor = [{monitor}"))
        ))
    };
    let probe = "{ probe = { dns = { name = \"example.\", type = \"SOA\" } } }, ";
    let test = with(probe).unwrap().services[0].self_test.clone().unwrap();
    assert_eq!((test.options.duration, test.options.concurrency), (Duration::from_millis(500), 16));
    let error = with("").unwrap_err();
    assert!(error.contains("s.toml:8") && error.contains("none is among the monitors"), "{error}");
    let error =
        with("{ probe = { dns = { name = \"example.\", type = \"SOA\", transport = \"tcp\" } } }, ").unwrap_err();
    assert!(error.contains("by UDP"), "{error}");
}

const BLOCK: &str = "share-router-ids = \"192.0.2.64/29\"\n";

#[test]
fn a_server_appears_as_its_own_router_and_those_of_its_block() {
    let file = |keys: &str| load(&format!("{BLOCK}{HEAD}{SERVICE}policy = \"shares\"\n{keys}")).unwrap();
    let config = file("");
    assert_eq!(config.services[0].policy, Policy::Goodput);
    assert_eq!(config.services[0].shares, Some(Shares::Auto(9)), "eight of the block and the own");
    let first = config.share_routers.first().unwrap();
    assert_eq!((first.id, first.link_local), (RouterId(0xc000_020b), "fe80::5a:c000:20b:0".parse().unwrap()));
    let last = config.share_routers.last().unwrap();
    assert_eq!((last.id, last.link_local), (RouterId(0xc000_0247), "fe80::5a:c000:20b:8".parse().unwrap()));
    let config = file("shares = 3\n");
    assert_eq!((config.services[0].shares, config.share_routers.len()), (Some(Shares::Fixed(3)), 3));
    let config = load(&format!("{BLOCK}{HEAD}{SERVICE}")).unwrap();
    assert_eq!((config.services[0].shares, config.share_routers.len()), (None, 0), "a block alone does nothing");
    let large = "share-router-ids = \"10.0.0.0/24\"\nshare-link-local = \"fe80::77:10\"\n";
    let config = load(&format!("{large}{HEAD}{SERVICE}policy = \"shares\"\n")).unwrap();
    assert_eq!((config.services[0].shares, config.share_routers.len()), (Some(Shares::Auto(16)), 16));
    assert_eq!(config.share_routers[15].link_local, "fe80::77:1f".parse::<std::net::Ipv6Addr>().unwrap());
}

#[test]
fn what_is_wrong_with_shares_is_said() {
    let shared = |top: &str, keys: &str| format!("{top}{HEAD}{SERVICE}policy = \"shares\"\n{keys}");
    let block = |text: &str| shared(&format!("share-router-ids = \"{text}\"\n"), "");
    let point_to_point = HEAD.replace("\"eth0\"", "\"eth0\"\ntype = \"point-to-point\"");
    let elected = HEAD.replace("\"eth0\"", "\"eth0\"\npriority = 1");
    for (text, expected) in [
        (shared("", ""), "s.toml:8: service[0].policy: \"shares\" needs share-router-ids at the top"),
        (shared(BLOCK, "shares = 10\n"), "service[0].shares: 10 is not allowed: share-router-ids has 8 Router IDs"),
        (shared(BLOCK, "shares = 17\n"), "service[0].shares: 17 is not allowed; \"auto\" or 1..=16"),
        (shared(BLOCK, "shares = 0\n"), "service[0].shares: 0 is not allowed; \"auto\" or 1..=16"),
        (shared(BLOCK, "shares = \"many\"\n"), "service[0].shares: \"many\" is not allowed; \"auto\" or 1..=16"),
        (
            format!("{BLOCK}{HEAD}{SERVICE}shares = 2\n"),
            "service[0].shares: shares needs policy = \"shares\" beside it",
        ),
        (block("192.0.2.8/29"), "s.toml:1: share-router-ids: \"192.0.2.8/29\" is not allowed: it holds the router-id"),
        (block("192.0.2.0/24"), "it holds the router-id 192.0.2.11; a block beside it"),
        (block("0.0.0.0/28"), "it begins with 0.0.0.0, which no router may have"),
        (block("192.0.2.65/29"), "is not allowed; a block of 1 to 256 Router IDs such as \"192.0.2.16/28\""),
        (block("10.0.0.0/8"), "is not allowed; a block of 1 to 256 Router IDs such as \"192.0.2.16/28\""),
        (
            shared(&format!("{BLOCK}share-link-local = \"2001:db8::1\"\n"), ""),
            "s.toml:2: share-link-local: 2001:db8::1 is not allowed; the first of 16 addresses in fe80::/64",
        ),
        (
            format!("share-link-local = \"fe80::1\"\n{HEAD}{SERVICE}"),
            "s.toml:1: share-link-local: share-link-local needs share-router-ids beside it",
        ),
        (shared(BLOCK, "").replace(HEAD, &point_to_point), "eth0 is a point-to-point link"),
        (shared(BLOCK, "").replace(HEAD, &elected), "priority 1 is not allowed on eth0 with policy \"shares\""),
    ] {
        let error = load(&text).unwrap_err();
        assert!(error.contains(expected), "{error}\n{text}");
    }
}
