//! `{ counts = { … } }`: who counts the queries.

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use ospfd_lite::config::{ConfigError, Ranged, Seconds};
use serde::Deserialize;
use toml::Spanned;

use crate::monitor::counts::{Control, CountsSource, Kind, Nftables, PrometheusCounts};
use crate::monitor::http::HttpTarget;
use crate::monitor::{CountsConfig, Schedule};

use super::monitor::{Context, endpoint, selector};

/// How often unless configured.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long one may take unless configured: where the service is overloaded, its control program is slow too.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Where BIND has the statistics of the server alone, without those of each zone and socket.
const BIND_PATH: &str = "/json/v1/server";

/// The table as it is written: one kind, and how often it is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct CountsTable {
    nsd: Option<ControlTable>,
    knot: Option<KnotTable>,
    unbound: Option<ControlTable>,
    bind: Option<BindTable>,
    prometheus: Option<PrometheusTable>,
    nftables: Option<NftablesTable>,
    // A longer pause would break the law's series of samples.
    interval: Option<Seconds<200, 2_000>>,
    timeout: Option<Seconds<50, 4_000>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ControlTable {
    program: Option<PathBuf>,
    config: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct KnotTable {
    program: Option<PathBuf>,
    config: Option<PathBuf>,
    socket: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct BindTable {
    url: Spanned<String>,
    address: Option<IpAddr>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PrometheusTable {
    url: Spanned<String>,
    address: Option<IpAddr>,
    served: Spanned<String>,
    dropped: Option<Spanned<String>>,
    busy: Option<Spanned<String>>,
    workers: Option<Ranged<1, 1024>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct NftablesTable {
    family: Option<Family>,
    table: Spanned<String>,
    counter: Spanned<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Family {
    #[default]
    Inet,
    Ip6,
    Netdev,
}

impl CountsTable {
    /// The monitor, if its keys make sense.
    pub(super) fn check(&self, context: &Context<'_>, span: Range<usize>) -> Result<CountsConfig, ConfigError> {
        let control = |kind, table: &ControlTable| Control {
            kind,
            program: table.program.clone(),
            config: table.config.clone(),
            socket: None,
        };
        let mut sources = Vec::new();
        sources.extend(self.nsd.as_ref().map(|table| CountsSource::Control(control(Kind::Nsd, table))));
        sources.extend(self.unbound.as_ref().map(|table| CountsSource::Control(control(Kind::Unbound, table))));
        sources.extend(self.knot.as_ref().map(|table| CountsSource::Control(table.control())));
        if let Some(table) = &self.bind {
            sources.push(CountsSource::Bind(table.check(context)?));
        }
        if let Some(table) = &self.prometheus {
            sources.push(CountsSource::Prometheus(Box::new(table.check(context)?)));
        }
        if let Some(table) = &self.nftables {
            sources.push(CountsSource::Nftables(table.check(context)?));
        }
        let interval = self.interval.map_or(INTERVAL, Seconds::get);
        let timeout = self.timeout.map_or(TIMEOUT, Seconds::get);
        match (sources.pop(), sources.is_empty()) {
            (Some(source), true) => Ok(CountsConfig { source, schedule: Schedule::every(interval, timeout) }),
            _ => Err(context
                .source
                .error(span, "exactly one of `nsd`, `knot`, `unbound`, `bind`, `prometheus` and `nftables` is needed")),
        }
    }
}

impl KnotTable {
    fn control(&self) -> Control {
        Control {
            kind: Kind::Knot,
            program: self.program.clone(),
            config: self.config.clone(),
            socket: self.socket.clone(),
        }
    }
}

impl BindTable {
    fn check(&self, context: &Context<'_>) -> Result<HttpTarget, ConfigError> {
        let url = format!("{}{BIND_PATH}", self.url.get_ref().trim_end_matches('/'));
        endpoint(context, &Spanned::new(self.url.span(), url), self.address)
    }
}

impl PrometheusTable {
    fn check(&self, context: &Context<'_>) -> Result<PrometheusCounts, ConfigError> {
        let maybe = |text: &Option<Spanned<String>>| text.as_ref().map(|text| selector(context, text)).transpose();
        Ok(PrometheusCounts {
            target: endpoint(context, &self.url, self.address)?,
            served: selector(context, &self.served)?,
            dropped: maybe(&self.dropped)?,
            busy: maybe(&self.busy)?,
            workers: self.workers.map_or(1, Ranged::get),
        })
    }
}

impl NftablesTable {
    fn check(&self, context: &Context<'_>) -> Result<Nftables, ConfigError> {
        let family = match self.family.unwrap_or_default() {
            Family::Inet => "inet",
            Family::Ip6 => "ip6",
            Family::Netdev => "netdev",
        };
        for name in [&self.table, &self.counter] {
            let text = name.get_ref();
            // nft joins its arguments to one text: anything else would be commands of its language.
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '\\');
            if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') || !text.chars().all(plain) {
                return Err(context
                    .source
                    .error(name.span(), format!("\"{text}\" is not allowed; a name of nftables such as \"dns\"")));
            }
        }
        Ok(Nftables { family, table: self.table.get_ref().clone(), counter: self.counter.get_ref().clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::monitors;
    use super::*;
    use crate::monitor::MonitorConfig;

    fn counts(table: &str) -> Result<CountsConfig, String> {
        let mut monitors = monitors(&format!("{{ counts = {table} }}"))?;
        match monitors.pop() {
            Some(MonitorConfig::Counts(config)) => Ok(config),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_source_arrives_with_its_keys() {
        let config = counts("{ knot = { program = \"/k\", config = \"/c\", socket = \"/s\" } }").unwrap();
        let CountsSource::Control(control) = &config.source else { panic!("{config:?}") };
        assert_eq!(control.command()[..5], ["/k", "-c", "/c", "-s", "/s"]);
        assert_eq!(config.schedule, Schedule::every(INTERVAL, TIMEOUT));
        let config = counts("{ unbound = { config = \"/c\" }, interval = 0.5, timeout = 0.1 }").unwrap();
        let CountsSource::Control(control) = &config.source else { panic!("{config:?}") };
        assert_eq!(control.command(), ["unbound-control", "-c", "/c", "stats_noreset"]);
        assert_eq!(config.schedule, Schedule::every(Duration::from_millis(500), Duration::from_millis(100)));
        assert_eq!(counts("{ nsd = {} }").unwrap().source.to_string(), "nsd");
        assert_eq!(
            counts("{ bind = { url = \"http://[::1]:8053/\" } }").unwrap().source.to_string(),
            "bind [::1]:8053"
        );
        let config = counts("{ nftables = { table = \"t\", counter = \"c\" } }").unwrap();
        assert_eq!(config.source.to_string(), "nftables inet t c");
        let text = "{ prometheus = { url = \"http://ns.example/\", address = \"::1\", served = \"a\", dropped = \"b\", \
                    busy = \"c{d='e'}\", workers = 3 } }";
        let config = counts(&text.replace('\'', "\\\"")).unwrap();
        let CountsSource::Prometheus(source) = &config.source else { panic!("{config:?}") };
        assert_eq!((source.workers, source.target.address()), (3, "[::1]:80".parse().unwrap()));
        assert_eq!(source.busy.as_ref().unwrap().to_string(), "c{d=\"e\"}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_is_allowed() {
        for (table, part) in [
            ("{}", "exactly one of `nsd`, `knot`"),
            ("{ nsd = {}, knot = {} }", "exactly one of `nsd`, `knot`"),
            ("{ nsd = {}, interval = 3 }", "0.2..=2 seconds"),
            ("{ nsd = {}, timeout = 5 }", "0.05..=4 seconds"),
            ("{ nsd = { socket = \"/s\" } }", "unknown field `socket`"),
            ("{ bind = { url = \"http://ns.example\" } }", "names its host, and no name is looked up"),
            ("{ prometheus = { url = \"http://[::1]/\" } }", "missing field `served`"),
            ("{ prometheus = { url = \"http://[::1]/\", served = \"a b\" } }", "a metric such as"),
            ("{ prometheus = { url = \"http://[::1]/\", served = \"a\", workers = 0 } }", "1..=1024"),
            ("{ nftables = { table = \"t\", counter = \"c; flush ruleset\" } }", "a name of nftables such as"),
            ("{ nftables = { table = \"\", counter = \"c\" } }", "a name of nftables such as"),
            ("{ nftables = { family = \"arp\", table = \"t\", counter = \"c\" } }", "unknown variant `arp`"),
        ] {
            let error = counts(table).unwrap_err();
            assert!(error.contains(part) && error.starts_with("s.toml:7"), "{table}: {error}");
        }
        let two = "{ counts = { nsd = {} } }, { counts = { knot = {} } }";
        assert!(monitors(two).unwrap_err().contains("a second monitor that counts queries is not allowed"));
    }
}
