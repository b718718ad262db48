//! One entry of `monitor`: a table with one key, its kind.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use ospfd_lite::config::{ConfigError, Ranged, Source, Text};
use serde::Deserialize;
use toml::Spanned;

use crate::monitor::http::HttpTarget;
use crate::monitor::tls::Trust;
use crate::monitor::{MonitorConfig, ProcessTarget, Protocol, Selector, Target};

use super::counts::CountsTable;
use super::load::LoadTable;
use super::probe::ProbeTable;

/// The entry as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum MonitorTable {
    /// The service's sockets.
    Socket(Spanned<SocketTable>),
    /// The service's main process.
    Process(Spanned<ProcessTable>),
    /// Totals of queries.
    Counts(Spanned<CountsTable>),
    /// The utilisation.
    Load(Spanned<LoadTable>),
    /// A question asked of the service.
    Probe(Box<Spanned<ProbeTable>>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct SocketTable {
    protocol: Protocol,
    port: Ranged<1, 65535>,
    address: Option<Text<Ipv6Addr>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ProcessTable {
    unit: Option<String>,
    pid_file: Option<PathBuf>,
}

/// What a monitor is checked against.
pub(super) struct Context<'a> {
    /// The file, for errors.
    pub(super) source: &'a Source,
    /// The service's addresses: its prefixes that are /128.
    pub(super) hosts: &'a [Ipv6Addr],
}

impl MonitorTable {
    /// The monitor, if its keys make sense.
    pub(super) fn check(&self, context: &Context<'_>) -> Result<MonitorConfig, ConfigError> {
        match self {
            MonitorTable::Socket(table) => table.get_ref().check(context, table.span()).map(MonitorConfig::Socket),
            MonitorTable::Process(table) => table.get_ref().check(context, table.span()).map(MonitorConfig::Process),
            MonitorTable::Counts(table) => table.get_ref().check(context, table.span()).map(MonitorConfig::Counts),
            MonitorTable::Load(table) => table.get_ref().check(context, table.span()).map(MonitorConfig::Load),
            MonitorTable::Probe(table) => {
                let probe = table.as_ref().get_ref().check(context, table.span())?;
                Ok(MonitorConfig::Probe(Box::new(probe)))
            }
        }
    }
}

impl SocketTable {
    fn check(&self, context: &Context<'_>, span: std::ops::Range<usize>) -> Result<Target, ConfigError> {
        let addresses = self.address.as_ref().map_or_else(|| context.hosts.to_vec(), |address| vec![address.0]);
        if addresses.is_empty() {
            return Err(context.source.error(span, "a socket monitor needs `address` where no prefix is a /128"));
        }
        Ok(Target { protocol: self.protocol, port: self.port.get(), addresses })
    }
}

impl ProcessTable {
    fn check(&self, context: &Context<'_>, span: std::ops::Range<usize>) -> Result<ProcessTarget, ConfigError> {
        match (&self.unit, &self.pid_file) {
            (Some(unit), None) if !unit.is_empty() => Ok(ProcessTarget::Unit(unit.clone())),
            (None, Some(path)) if path.is_absolute() => Ok(ProcessTarget::PidFile(path.clone())),
            _ => {
                Err(context.source.error(span, "one of `unit` (not empty) and `pid-file` (an absolute path) is needed"))
            }
        }
    }
}

/// What monitors of one service must not have in common, and what they must have together.
pub(super) fn check_together(
    source: &Source,
    span: std::ops::Range<usize>,
    monitors: &[MonitorConfig],
) -> Result<(), ConfigError> {
    let refuse = |message: &str| Err(source.error(span.clone(), message));
    if monitors.is_empty() {
        return refuse("[] is not allowed; at least one, such as { socket = { protocol = \"udp\", port = 53 } }");
    }
    if !monitors.iter().any(MonitorConfig::tells_health) {
        return refuse(
            "none of these monitors tells whether the service lives; add a `socket`, a `probe` or a `process`",
        );
    }
    if monitors.iter().filter(|monitor| monitor.counts()).count() > 1 {
        return refuse("a second monitor that counts queries is not allowed; one");
    }
    let udp = monitors.iter().filter(|monitor| monitor.counts_namespace()).count();
    if udp > 1 {
        return refuse("a second UDP monitor is not allowed: datagrams are counted for the whole namespace");
    }
    Ok(())
}

/// Where metrics are fetched.
pub(super) fn endpoint(
    context: &Context<'_>,
    url: &Spanned<String>,
    address: Option<IpAddr>,
) -> Result<HttpTarget, ConfigError> {
    HttpTarget::new(url.get_ref(), address, Trust::Host).map_err(|message| context.source.error(url.span(), message))
}

/// Which of them.
pub(super) fn selector(context: &Context<'_>, text: &Spanned<String>) -> Result<Selector, ConfigError> {
    text.get_ref().parse().map_err(|message: String| context.source.error(text.span(), message))
}
