use ospfd_lite::config::Source;

use super::*;
use crate::config::ServerConfig;
use crate::monitor::MonitorConfig;

const HEAD: &str = "router-id = \"192.0.2.11\"\n[[interface]]\nname = \"eth0\"\n[[service]]\nname = \"dns\"\n";

/// The probe of a service with this prefix; line 7 is that of the monitor.
fn load(prefix: &str, probe: &str) -> Result<ProbeConfig, String> {
    let text = format!("{HEAD}prefixes = [\"{prefix}\"]\nmonitor = [{{ probe = {{ {probe} }} }}]\n");
    let text = if prefix.ends_with("/128") { text } else { format!("allow-prefixes = [\"{prefix}\"]\n{text}") };
    let mut config = ServerConfig::load(&Source::new("s.toml", text)).map_err(|error| error.to_string())?;
    match config.services.remove(0).monitors.remove(0) {
        MonitorConfig::Probe(probe) => Ok(*probe),
        other => panic!("{other:?}"),
    }
}

fn good(probe: &str) -> ProbeConfig {
    load("2001:db8::53/128", probe).unwrap()
}

#[test]
fn a_probe_has_defaults_and_asks_the_services_own_address() {
    let probe = good("dns = { name = \"example\" }");
    let second = Duration::from_secs(1);
    let timing = Timing { interval: second, fast: second / 4, timeout: second, slow: None, rise: 2, fall: 3 };
    assert_eq!(probe.timing, timing);
    assert_eq!(probe.own, Some("2001:db8::53".parse().unwrap()));
    let ProbeKind::Dns(dns) = probe.kind else { panic!() };
    assert_eq!(dns.address, "[2001:db8::53]:53".parse().unwrap());
    assert_eq!((dns.name.to_string().as_str(), dns.record_type, dns.edns), ("example.", RecordType::SOA, Some(1232)));
    assert_eq!((dns.transport, dns.recursion, dns.rcodes), (Transport::Udp, false, vec![Rcode::NoError]));
    // Never slower than usual.
    assert_eq!(good("tcp = { port = 1 }, interval = 0.1").timing.fast, Duration::from_millis(100));
}

#[test]
fn every_key_arrives() {
    let probe = good(
        "dns = { name = \"a.example.\", type = \"aaaa\", rcode = [\"noerror\", \"nxdomain\"], answer = \"2001:DB8:0::1\", \
         edns = 512, recursion = true, transport = \"tcp\", address = \"::1\", port = 5353 }, interval = 2, timeout = 3, \
         fast-interval = 0.5, slow = 0.25, rise = 4, fall = 5",
    );
    assert_eq!(probe.own, None);
    let millis = Duration::from_millis;
    let timing = Timing {
        interval: millis(2000),
        fast: millis(500),
        timeout: millis(3000),
        slow: Some(millis(250)),
        rise: 4,
        fall: 5,
    };
    assert_eq!(probe.timing, timing);
    let ProbeKind::Dns(dns) = probe.kind else { panic!() };
    assert_eq!((dns.address, dns.transport), ("[::1]:5353".parse().unwrap(), Transport::Tcp));
    assert_eq!((dns.record_type, dns.edns, dns.recursion), (RecordType::AAAA, Some(512), true));
    assert_eq!((dns.rcodes, dns.answer.as_deref()), (vec![Rcode::NoError, Rcode::NxDomain], Some("2001:db8::1")));

    let http =
        good("http = { url = \"https://a.example/\", status = [204, \"300-399\"], body = \"x\", verify = false }");
    assert_eq!(http.own, Some("2001:db8::53".parse().unwrap()));
    let ProbeKind::Http(http) = http.kind else { panic!() };
    assert_eq!((http.target.address(), http.target.is_secure()), ("[2001:db8::53]:443".parse().unwrap(), true));
    assert_eq!((http.status, http.body.as_deref()), (vec![204..=204, 300..=399], Some("x")));
    assert_eq!(good("http = { url = \"http://[::1]:80/\" }").own, None);

    let tls = good("tls = { port = 853, server-name = \"a.example\", ca = \"/ca.pem\", min-days = 14 }");
    let ProbeKind::Tls(tls) = tls.kind else { panic!() };
    let name = ServerName::try_from("a.example").unwrap();
    let expected = Tls::new(name, Trust::File("/ca.pem".into()), None);
    assert_eq!((tls.address, tls.min_days, tls.tls), ("[2001:db8::53]:853".parse().unwrap(), 14, expected));

    let exec = good("exec = { command = [\"/bin/check\", \"-v\"] }");
    assert_eq!(exec.own, None);
    let command = ExecProbe { program: "/bin/check".into(), arguments: vec!["-v".into()] };
    assert_eq!(exec.kind, ProbeKind::Exec(command));
}

#[test]
fn an_error_names_file_line_key_and_what_is_allowed() {
    let dns = "dns = { name = \"example.\"";
    for (probe, expected) in [
        ("interval = 1".to_owned(), "a probe without its question; one of `dns`, `http`, `tcp`, `tls` and `exec`"),
        (
            format!("{dns} }}, tcp = {{ port = 53 }}"),
            "a probe with two questions; one of `dns`, `http`, `tcp`, `tls` and `exec` in each",
        ),
        (format!("{dns} }}, interval = 0.01"), "0.01 is not allowed; 0.05..=3600 seconds"),
        (format!("{dns} }}, timeout = 61"), "61 is not allowed; 0.01..=60 seconds"),
        (format!("{dns} }}, fast-interval = 1.5"), "fast-interval 1.5 is not allowed; at most the interval, 1"),
        (format!("{dns} }}, slow = 1"), "slow 1 is not allowed; less than the timeout, 1"),
        (format!("{dns} }}, rise = 0"), "0 is not allowed; 1..=100"),
        (format!("{dns} }}, colour = 1"), "unknown field `colour`, expected one of"),
        (format!("{dns}, edns = 100 }}"), "100 is not allowed; 512..=65535"),
        (format!("{dns}, edns = true }}"), "true is not allowed; a payload size in 512..=65535, or false"),
        (format!("{dns}, type = \"AXFR\" }}"), "\"AXFR\" is not allowed; a record type such as \"SOA\" or \"AAAA\""),
        (format!("{dns}, type = \"S O A\" }}"), "\"S O A\" is not allowed; a record type"),
        (format!("{dns}, rcode = \"fine\" }}"), "unknown variant `fine`, expected one of `noerror`"),
        (format!("{dns}, rcode = [] }}"), "[] is not allowed; at least one rcode"),
        (
            format!("{dns}, type = \"AAAA\", answer = \"here\" }}"),
            "\"here\" is not allowed; an IPv6 address, as the type is AAAA",
        ),
        ("dns = { name = \"a..b\" }".into(), "\"a..b\" is not allowed ("),
        ("http = { url = \"ftp://a/\" }".into(), "\"ftp://a/\" is not allowed; a URL such as"),
        (
            "http = { url = \"http://[::1]/\", status = [99] }".into(),
            "99 is not allowed; a status in 100..=599, or a range such as \"200-299\"",
        ),
        (
            "http = { url = \"http://[::1]/\", status = [\"299-200\"] }".into(),
            "\"299-200\" is not allowed; a status in 100..=599",
        ),
        (
            "http = { url = \"http://[::1]/\", verify = false }".into(),
            "`verify` and `ca` are not allowed with http; https, or neither of them",
        ),
        (
            "tls = { port = 853, verify = false, ca = \"/ca.pem\" }".into(),
            "`ca` beside `verify = false` is not allowed; one of them",
        ),
        ("tls = { port = 853, server-name = \"a b\" }".into(), "\"a b\" is not allowed; a name such as"),
        (
            "exec = { command = [\"check\"] }".into(),
            "a command is an absolute path and its arguments, such as [\"/usr/local/bin/check\", \"-v\"]",
        ),
        ("exec = { command = [] }".into(), "a command is an absolute path"),
    ] {
        let error = load("2001:db8::53/128", &probe).unwrap_err();
        let place = "s.toml:7: service[0].monitor";
        assert!(error.starts_with(place) && error.contains(expected), "{probe}\n{error}\nwanted {expected}");
    }
}

#[test]
fn without_an_address_of_its_own_a_service_needs_one_for_its_probes() {
    for probe in ["dns = { name = \"example.\" }", "tcp = { port = 53 }", "tls = { port = 53 }"] {
        let error = load("2001:db8::/48", probe).unwrap_err();
        assert!(error.contains("a probe needs `address` where no prefix is a /128"), "{error}");
    }
    let error = load("2001:db8::/48", "http = { url = \"http://a.example/\" }").unwrap_err();
    assert!(error.contains("names its host, and no name is looked up; an `address` beside it"), "{error}");
    assert!(load("2001:db8::/48", "tcp = { port = 53, address = \"2001:db8::1\" }").is_ok());
}
