//! A user's own load and configuration, tried before roll-out.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use server_speaker::config::{ServerConfig, ServiceConfig};

use super::agent::{Policy, Setup};
use super::scenario::{LoadCurve, Scenario};

/// The scenario of `servers` servers with the first service of a server-speaker configuration, under a load trace.
pub fn scenario(config: &Path, trace: &Path, servers: usize) -> Result<(Scenario, Setup)> {
    let source = ospfd_lite::config::Source::read(config).map_err(|error| anyhow::anyhow!("{error}"))?;
    let config = ServerConfig::load(&source).map_err(|error| anyhow::anyhow!("{error}"))?;
    let service: &ServiceConfig = config.services.first().context("the configuration has no [[service]]")?;
    let Some(capacity) = service.capacity else {
        bail!("service {}: set `capacity` (queries per second); the simulated servers need one", service.name)
    };
    ensure!((1..=1024).contains(&servers), "--servers {servers} is not within 1 to 1024");
    let text = std::fs::read_to_string(trace).with_context(|| format!("reading {}", trace.display()))?;
    let steps = parse(&text).with_context(|| format!("in {}", trace.display()))?;
    let whole = capacity * servers as f64;
    let duration = steps.last().map_or(0.0, |(at, _)| *at) + 1.0;
    let policy = match service.policy {
        server_speaker::law::Policy::Goodput => Policy::Goodput,
        server_speaker::law::Policy::Static => Policy::EqualCost,
        server_speaker::law::Policy::Naive => Policy::Naive,
    };
    let scenario = Scenario {
        name: service.name.clone(),
        about: format!("{servers} servers of {capacity} q/s under a trace of {duration:.0} s"),
        servers: vec![capacity; servers],
        load: LoadCurve::Steps(steps.into_iter().map(|(at, rate)| (at, rate / whole)).collect()),
        width: config.ecmp_width.map_or(16, usize::from),
        ..Scenario::parse("name = \"trace\"\nservers = [1]\nduration = 1\nload = 0.0")?
    };
    Ok((Scenario { duration, ..scenario }, Setup { tuning: service.tuning, ..Setup::new(policy) }))
}

/// Lines of `SECONDS,QUERIES_PER_SECOND` for the whole farm, in the order of time; a first line of words is passed over.
fn parse(text: &str) -> Result<Vec<(f64, f64)>> {
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let heading = number == 1 && line.chars().any(char::is_alphabetic);
        if line.is_empty() || line.starts_with('#') || heading {
            continue;
        }
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let values: Vec<f64> = fields.iter().filter_map(|field| field.parse().ok()).collect();
        let (&[at, rate], 2) = (values.as_slice(), fields.len()) else {
            bail!("line {number}: `{line}` is not SECONDS,QUERIES_PER_SECOND")
        };
        ensure!(at.is_finite() && at >= 0.0, "line {number}: the time {at} is not a number of seconds");
        ensure!((0.0..=1e9).contains(&rate), "line {number}: the rate {rate} is not within 0 to 1000000000 q/s");
        ensure!(
            steps.last().is_none_or(|(last, _)| *last < at),
            "line {number}: the time {at} is not after the one before"
        );
        steps.push((at, rate));
    }
    ensure!(!steps.is_empty(), "there is no line SECONDS,QUERIES_PER_SECOND");
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_and_a_bad_line_is_named() {
        assert_eq!(parse("time,rate\n0, 100\n# night\n60,250.5\n").unwrap(), vec![(0.0, 100.0), (60.0, 250.5)]);
        let of = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(of("0,1\n5\n"), "line 2: `5` is not SECONDS,QUERIES_PER_SECOND");
        assert_eq!(of("0,1\n0,2\n"), "line 2: the time 0 is not after the one before");
        assert!(of("0,1\n1,NaN\n").contains("line 2: the rate NaN"));
        assert!(of("\n").contains("no line"));
    }

    #[test]
    fn a_configuration_and_a_trace_make_a_scenario() {
        let directory = tempfile::tempdir().unwrap();
        let (config, trace) = (directory.path().join("s.toml"), directory.path().join("load.csv"));
        std::fs::write(&trace, "0,1000\n30,2000\n").unwrap();
        let text = "router-id = \"192.0.2.1\"\n[[interface]]\nname = \"eth0\"\n[[service]]\nname = \"dns\"\n\
                    prefixes = [\"2001:db8:53::53/128\"]\nmonitor = [{ socket = { protocol = \"udp\", port = 53 } }]\n";
        std::fs::write(&config, text).unwrap();
        assert!(scenario(&config, &trace, 4).unwrap_err().to_string().contains("set `capacity`"));
        std::fs::write(&config, format!("{text}capacity = 1000.0\nlaw = {{ gain = 0.5 }}\n")).unwrap();
        let (scenario, setup) = scenario(&config, &trace, 4).unwrap();
        assert_eq!(setup.tuning.gain, 0.5);
        assert_eq!((setup.policy, scenario.servers.len(), scenario.duration), (Policy::Goodput, 4, 31.0));
        assert_eq!((scenario.load.at(0.0), scenario.load.at(30.0)), (0.25, 0.5));
    }
}
