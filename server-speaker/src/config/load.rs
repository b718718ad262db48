//! `{ load = { … } }`: who tells how much of the capacity is in use.

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use ospfd_lite::config::{ConfigError, Seconds};
use serde::Deserialize;
use toml::Spanned;

use crate::monitor::load::{CgroupConfig, LoadSource, Place, Teller};
use crate::monitor::{LoadConfig, Schedule};

use super::monitor::{Context, endpoint, selector};

/// How often unless configured.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long one may take unless configured.
const TIMEOUT: Duration = Duration::from_secs(1);
/// What the scale may be: 0.01 for percents, 1e-9 for nanoseconds.
const SCALES: std::ops::RangeInclusive<f64> = 1e-12..=1e12;
/// How many CPUs.
const CPUS: std::ops::RangeInclusive<f64> = 0.1..=1024.0;

/// The table as it is written: one kind, and how often it is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct LoadTable {
    cgroup: Option<Spanned<CgroupTable>>,
    file: Option<FileTable>,
    prometheus: Option<PrometheusTable>,
    exec: Option<ExecTable>,
    interval: Option<Seconds<500, 60_000>>,
    timeout: Option<Seconds<50, 60_000>>,
    stale: Option<Spanned<Seconds<500, 3_600_000>>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CgroupTable {
    path: Option<PathBuf>,
    unit: Option<String>,
    #[serde(default)]
    psi: bool,
    cpus: Option<Spanned<f64>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FileTable {
    path: Spanned<PathBuf>,
    scale: Option<Spanned<f64>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PrometheusTable {
    url: Spanned<String>,
    address: Option<IpAddr>,
    metric: Spanned<String>,
    scale: Option<Spanned<f64>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ExecTable {
    command: Spanned<Vec<String>>,
    scale: Option<Spanned<f64>>,
}

impl LoadTable {
    /// The monitor, if its keys make sense.
    pub(super) fn check(&self, context: &Context<'_>, span: Range<usize>) -> Result<LoadConfig, ConfigError> {
        let scale = |value: &Option<Spanned<f64>>| match value {
            Some(value) => within(context, value, SCALES),
            None => Ok(1.0),
        };
        let mut sources = Vec::new();
        if let Some(table) = &self.cgroup {
            sources.push(LoadSource::Cgroup(table.get_ref().check(context, table.span())?));
        }
        if let Some(table) = &self.file {
            let path = table.path.get_ref();
            if !path.is_absolute() {
                return Err(context.source.error(table.path.span(), "an absolute path is needed"));
            }
            sources.push(LoadSource::Told(Teller::File(path.clone()), scale(&table.scale)?));
        }
        if let Some(table) = &self.prometheus {
            let target = Box::new(endpoint(context, &table.url, table.address)?);
            let teller = Teller::Prometheus(target, selector(context, &table.metric)?);
            sources.push(LoadSource::Told(teller, scale(&table.scale)?));
        }
        if let Some(table) = &self.exec {
            let command = table.command.get_ref();
            if command.first().is_none_or(String::is_empty) {
                return Err(context.source.error(table.command.span(), "a program is needed, and its arguments"));
            }
            sources.push(LoadSource::Told(Teller::Exec(command.clone()), scale(&table.scale)?));
        }
        match (sources.pop(), sources.is_empty()) {
            (Some(source), true) => Ok(LoadConfig { source, schedule: self.schedule(context)? }),
            _ => {
                let message = "exactly one of `cgroup`, `file`, `prometheus` and `exec` is needed";
                Err(context.source.error(span, message))
            }
        }
    }

    fn schedule(&self, context: &Context<'_>) -> Result<Schedule, ConfigError> {
        let interval = self.interval.map_or(INTERVAL, Seconds::get);
        let timeout = self.timeout.map_or(TIMEOUT, Seconds::get);
        let schedule = Schedule::every(interval, timeout);
        let Some(stale) = &self.stale else { return Ok(schedule) };
        if stale.get_ref().get() <= interval {
            let message = format!("not allowed; more than the interval of {} s", interval.as_secs_f64());
            return Err(context.source.error(stale.span(), message));
        }
        Ok(Schedule { stale: stale.get_ref().get(), ..schedule })
    }
}

impl CgroupTable {
    fn check(&self, context: &Context<'_>, span: Range<usize>) -> Result<CgroupConfig, ConfigError> {
        let place = match (&self.unit, &self.path) {
            (Some(unit), None) if !unit.is_empty() && !unit.contains('/') => Place::Unit(unit.clone()),
            (None, Some(path)) if path.is_absolute() => Place::Path(path.clone()),
            _ => {
                let message = "one of `unit` (its name) and `path` (absolute) is needed";
                return Err(context.source.error(span, message));
            }
        };
        let cpus = self.cpus.as_ref().map(|cpus| within(context, cpus, CPUS)).transpose()?;
        Ok(CgroupConfig { place, psi: self.psi, cpus })
    }
}

fn within(
    context: &Context<'_>,
    value: &Spanned<f64>,
    allowed: std::ops::RangeInclusive<f64>,
) -> Result<f64, ConfigError> {
    let number = *value.get_ref();
    if allowed.contains(&number) {
        return Ok(number);
    }
    let message = format!("{number} is not allowed; {}..={}", allowed.start(), allowed.end());
    Err(context.source.error(value.span(), message))
}

#[cfg(test)]
mod tests {
    use super::super::tests::monitors;
    use super::*;
    use crate::monitor::MonitorConfig;

    fn load(table: &str) -> Result<LoadConfig, String> {
        let mut monitors = monitors(&format!("{{ load = {table} }}"))?;
        match monitors.pop() {
            Some(MonitorConfig::Load(config)) => Ok(config),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_source_arrives_with_its_keys() {
        let config = load("{ cgroup = { unit = \"knot.service\", psi = true, cpus = 2 } }").unwrap();
        let unit = CgroupConfig { place: Place::Unit("knot.service".into()), psi: true, cpus: Some(2.0) };
        assert_eq!(config.source, LoadSource::Cgroup(unit));
        assert_eq!(config.schedule, Schedule::every(INTERVAL, TIMEOUT));
        let config = load("{ cgroup = { path = \"/g\" }, interval = 2, timeout = 0.5, stale = 30 }").unwrap();
        let group = CgroupConfig { place: Place::Path("/g".into()), psi: false, cpus: None };
        assert_eq!(config.source, LoadSource::Cgroup(group));
        let schedule = Schedule::every(Duration::from_secs(2), Duration::from_millis(500));
        assert_eq!(config.schedule, Schedule { stale: Duration::from_secs(30), ..schedule });
        let config = load("{ file = { path = \"/f\", scale = 0.01 } }").unwrap();
        assert_eq!(config.source, LoadSource::Told(Teller::File("/f".into()), 0.01));
        let config = load("{ exec = { command = [\"/x\", \"y\"] } }").unwrap();
        assert_eq!(config.source, LoadSource::Told(Teller::Exec(vec!["/x".into(), "y".into()]), 1.0));
        let config = load("{ prometheus = { url = \"http://[::1]:9/\", metric = \"m\", scale = 2 } }").unwrap();
        assert_eq!(config.source.to_string(), "prometheus [::1]:9 m");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_is_allowed() {
        for (table, part) in [
            ("{}", "exactly one of `cgroup`, `file`"),
            ("{ file = { path = \"/f\" }, exec = { command = [\"x\"] } }", "exactly one of `cgroup`, `file`"),
            ("{ file = { path = \"f\" } }", "an absolute path"),
            ("{ file = { path = \"/f\", scale = 0 } }", "0 is not allowed; 0.000000000001..=1000000000000"),
            ("{ file = { path = \"/f\", scale = nan } }", "NaN is not allowed"),
            ("{ exec = { command = [] } }", "a program is needed"),
            ("{ exec = { command = [\"\"] } }", "a program is needed"),
            ("{ cgroup = {} }", "one of `unit` (its name) and `path`"),
            ("{ cgroup = { unit = \"a\", path = \"/b\" } }", "one of `unit` (its name) and `path`"),
            ("{ cgroup = { unit = \"../a\" } }", "one of `unit` (its name) and `path`"),
            ("{ cgroup = { unit = \"a\", cpus = 0 } }", "0 is not allowed; 0.1..=1024"),
            ("{ file = { path = \"/f\" }, interval = 0.1 }", "0.5..=60 seconds"),
            ("{ file = { path = \"/f\" }, interval = 5, stale = 5 }", "more than the interval of 5 s"),
        ] {
            let error = load(table).unwrap_err();
            assert!(error.contains(part) && error.starts_with("s.toml:7"), "{table}: {error}");
        }
    }

    #[test]
    fn a_service_watched_by_no_more_than_its_load_is_refused() {
        let text = "router-id = \"192.0.2.1\"\n[[interface]]\nname = \"e\"\n[[service]]\nname = \"d\"\n\
                    prefixes = [\"2001:db8::1/128\"]\nmonitor = [{ load = { file = { path = \"/f\" } } }]\n";
        let source = ospfd_lite::config::Source::new("s.toml", text);
        let error = crate::config::ServerConfig::load(&source).unwrap_err().to_string();
        assert!(error.contains("none of these monitors tells whether the service lives"), "{error}");
    }
}
