use super::*;
use crate::monitor::tls::Trust;

const NSD: &str = include_str!("../../../tests/fixtures/nsd-stats.txt");
const KNOT: &str = include_str!("../../../tests/fixtures/knot-stats.txt");
const UNBOUND: &str = include_str!("../../../tests/fixtures/unbound-stats.txt");
const BIND: &str = include_str!("../../../tests/fixtures/bind-server.json");
const NFT: &str = include_str!("../../../tests/fixtures/nft-counter.json");

/// What no source may be believed to count.
const NO_TOTALS: [&str; 8] = ["-1", "NaN", "inf", "1e30", "18446744073709551615", "", "many", "7 8"];

fn control(kind: Kind) -> Control {
    Control { kind, program: None, config: None, socket: None }
}

fn nftables() -> Nftables {
    Nftables { family: "ip6", table: "speaker".into(), counter: "dns".into() }
}

#[test]
fn the_output_of_each_name_server_is_understood() {
    let nsd = control(Kind::Nsd).read(NSD).unwrap();
    assert_eq!(nsd, Tally { served: 7, uptime: Some(25.204573), ..Tally::default() });
    assert_eq!(control(Kind::Knot).read(KNOT).unwrap(), Tally { served: 7, ..Tally::default() });
    let unbound = control(Kind::Unbound).read(UNBOUND).unwrap();
    assert_eq!(unbound, Tally { served: 7, dropped: Some(0), uptime: Some(25.185616), ..Tally::default() });
    let bind = bind::read(BIND).unwrap();
    let born = Some("2026-11-21T14:15:03.852Z".to_owned());
    assert_eq!(bind, Tally { served: 7, dropped: Some(0), born, ..Tally::default() });
    let nft = nftables().read(NFT).unwrap();
    assert_eq!(nft, Tally { served: 3, arrived: true, ..Tally::default() });
}

#[test]
fn what_the_service_took_and_lost_is_not_served() {
    let text = UNBOUND
        .replace("total.num.queries=7", "total.num.queries=107")
        .replace("total.requestlist.exceeded=0", "total.requestlist.exceeded=40");
    let tally = control(Kind::Unbound).read(&text).unwrap();
    assert_eq!((tally.served, tally.dropped), (67, Some(40)));
    let text = BIND.replace("\"Requestv6\":7,", "\"Requestv6\":7,\"Requestv4\":100,\"QryDropped\":40,");
    let tally = bind::read(&text).unwrap();
    assert_eq!((tally.served, tally.dropped), (67, Some(40)));
}

#[test]
fn a_bind_that_got_no_query_yet_counts_nothing() {
    let tally = bind::read("{\"boot-time\":\"x\"}").unwrap();
    assert_eq!((tally.served, tally.dropped), (0, Some(0)));
}

#[test]
fn what_is_no_total_is_refused_wherever_it_stands() {
    for value in NO_TOTALS {
        for (kind, text, key) in [
            (Kind::Nsd, NSD, "num.queries=7"),
            (Kind::Knot, KNOT, "server-operation[query] = 7"),
            (Kind::Unbound, UNBOUND, "total.num.queries=7"),
            (Kind::Unbound, UNBOUND, "total.requestlist.exceeded=0"),
        ] {
            let (name, _) = key.split_once('=').unwrap();
            // The last: those of single processes and threads end alike.
            let at = text.rfind(&format!("\n{key}")).or_else(|| text.rfind(key)).unwrap();
            let text = format!("{}{}", &text[..at], text[at..].replacen(key, &format!("{name}={value}"), 1));
            assert!(control(kind).read(&text).is_err(), "{kind} {name}={value}");
        }
        let text = BIND.replace("\"Requestv6\":7", &format!("\"Requestv6\":\"{value}\""));
        assert!(bind::read(&text).is_err(), "{value}");
    }
    for value in ["-1", "1e30", "null", "[]", "18446744073709551615"] {
        assert!(bind::read(&BIND.replace("\"Requestv6\":7", &format!("\"Requestv6\":{value}"))).is_err(), "{value}");
        assert!(nftables().read(&NFT.replace("\"packets\": 3", &format!("\"packets\": {value}"))).is_err(), "{value}");
    }
}

#[test]
fn output_without_the_wanted_figure_is_refused_with_its_name() {
    let knot = control(Kind::Knot).read("server.zone-count = 1\n").unwrap_err();
    assert_eq!(knot.0, "no mod-stats.server-operation[query] is told");
    for text in ["", "error: connect refused", "\0\u{1}", "num.queries", "{}", "[]", "{\"nftables\": 7}", "null"] {
        for kind in [Kind::Nsd, Kind::Knot, Kind::Unbound] {
            assert!(control(kind).read(text).is_err(), "{kind}: {text}");
        }
        assert!(bind::read(text).is_err(), "{text}");
        assert!(nftables().read(text).is_err(), "{text}");
    }
    let other = Nftables { counter: "web".into(), ..nftables() };
    assert_eq!(other.read(NFT).unwrap_err().0, "no packets of counter ip6 speaker web are told");
}

#[test]
fn every_prefix_of_a_real_output_is_refused_or_has_the_figures() {
    for end in (0..NSD.len()).filter(|end| NSD.is_char_boundary(*end)) {
        let text = &NSD[..end];
        let tally = control(Kind::Nsd).read(text);
        assert!(tally.is_err() || text.contains("num.queries=7\ntime.boot=2"), "{text}");
    }
    assert!((0..BIND.len()).all(|end| bind::read(&BIND[..end]).is_err()));
}

#[test]
fn the_control_programs_are_run_without_a_reset() {
    let knot = Control {
        program: Some("/opt/knotc".into()),
        config: Some("/etc/k.conf".into()),
        socket: Some("/run/k.sock".into()),
        ..control(Kind::Knot)
    };
    let words = "/opt/knotc -c /etc/k.conf -s /run/k.sock -f stats mod-stats.server-operation";
    assert_eq!(knot.command().join(" "), words);
    assert_eq!(control(Kind::Nsd).command(), ["nsd-control", "stats_noreset"]);
    assert_eq!(control(Kind::Unbound).command(), ["unbound-control", "stats_noreset"]);
    assert_eq!(nftables().command(), ["nft", "-j", "list", "counter", "ip6", "speaker", "dns"]);
}

fn metrics() -> PrometheusCounts {
    PrometheusCounts {
        target: HttpTarget::new("http://[::1]:9/metrics", None, Trust::Host).unwrap(),
        served: "queries_total".parse().unwrap(),
        dropped: Some("drops_total".parse().unwrap()),
        busy: Some("busy_seconds_total{mode=\"user\"}".parse().unwrap()),
        workers: 4,
    }
}

#[test]
fn metrics_are_summed_and_busy_time_is_shared_among_the_workers() {
    let text = "queries_total{p=\"udp\"} 5\nqueries_total{p=\"tcp\"} 2\ndrops_total 1\nbusy_seconds_total{mode=\"user\"} 6.5\n";
    let tally = metrics().tally(text).unwrap();
    assert_eq!(tally, Tally { served: 7, dropped: Some(1), busy: Some(1_625_000), ..Tally::default() });
}

#[test]
fn a_metric_that_is_missing_or_no_total_is_named() {
    let text = "queries_total 5\ndrops_total 1\nbusy_seconds_total{mode=\"user\"} 6.5\n";
    for value in ["-1", "NaN", "+Inf", "1e30"] {
        for (metric, number) in
            [("queries_total", "5"), ("drops_total", "1"), ("busy_seconds_total{mode=\"user\"}", "6.5")]
        {
            let wrong = text.replace(&format!("{metric} {number}"), &format!("{metric} {value}"));
            let error = metrics().tally(&wrong).unwrap_err();
            assert!(error.0.starts_with(&format!("{metric}: ")), "{error}");
        }
    }
    assert_eq!(metrics().tally("queries_total 5\n").unwrap_err().0, "no drops_total is told");
}
