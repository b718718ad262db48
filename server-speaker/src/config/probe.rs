//! A `probe` among the monitors: one question, and when it is asked.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};
use ospfd_lite::config::{ConfigError, Ranged, Seconds, Text};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use tokio_rustls::rustls::pki_types::ServerName;
use toml::Spanned;

use crate::monitor::http::HttpTarget;
use crate::monitor::probe::dns::{Rcode, Transport};
use crate::monitor::probe::{DnsProbe, ExecProbe, HttpProbe, ProbeConfig, ProbeKind, TcpProbe, Timing, TlsProbe};
use crate::monitor::tls::{Tls, Trust};

use super::monitor::Context;

/// EDNS payload sizes: no smaller than a datagram without EDNS, no larger than a datagram.
type EdnsSize = Ranged<512, 65535>;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ProbeTable {
    dns: Option<Spanned<DnsTable>>,
    http: Option<Spanned<HttpTable>>,
    tcp: Option<Spanned<TcpTable>>,
    tls: Option<Spanned<TlsTable>>,
    exec: Option<Spanned<ExecTable>>,
    interval: Option<Seconds<50, 3_600_000>>,
    timeout: Option<Seconds<10, 60_000>>,
    fast_interval: Option<Spanned<Seconds<50, 3_600_000>>>,
    slow: Option<Spanned<Seconds<1, 60_000>>>,
    rise: Option<Ranged<1, 100>>,
    fall: Option<Ranged<1, 100>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct DnsTable {
    name: Spanned<String>,
    #[serde(rename = "type")]
    record_type: Option<Spanned<String>>,
    rcode: Option<Spanned<Rcodes>>,
    answer: Option<Spanned<String>>,
    edns: Option<Edns>,
    #[serde(default)]
    recursion: bool,
    transport: Option<Transport>,
    address: Option<Text<Ipv6Addr>>,
    port: Option<Ranged<1, 65535>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct HttpTable {
    url: Spanned<String>,
    status: Option<Spanned<Vec<Status>>>,
    body: Option<Spanned<String>>,
    address: Option<Text<IpAddr>>,
    verify: Option<bool>,
    ca: Option<Spanned<PathBuf>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct TcpTable {
    port: Ranged<1, 65535>,
    address: Option<Text<Ipv6Addr>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct TlsTable {
    port: Ranged<1, 65535>,
    address: Option<Text<Ipv6Addr>>,
    server_name: Option<Spanned<String>>,
    verify: Option<bool>,
    ca: Option<Spanned<PathBuf>>,
    min_days: Option<Ranged<0, 3650>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ExecTable {
    command: Spanned<Vec<String>>,
}

/// One rcode or a list of them.
#[derive(Clone, Debug)]
struct Rcodes(Vec<Rcode>);

impl<'de> Deserialize<'de> for Rcodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Rcodes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an rcode such as \"noerror\", or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rcodes, E> {
                Rcode::deserialize(de::value::StrDeserializer::new(text)).map(|rcode| Rcodes(vec![rcode]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Rcodes, A::Error> {
                let mut rcodes = Vec::new();
                while let Some(rcode) = list.next_element()? {
                    rcodes.push(rcode);
                }
                Ok(Rcodes(rcodes))
            }
        }

        deserializer.deserialize_any(List)
    }
}

/// `false`, or a size.
#[derive(Clone, Copy, Debug)]
struct Edns(Option<u16>);

impl<'de> Deserialize<'de> for Edns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;

        impl Visitor<'_> for Size {
            type Value = Edns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a payload size in 512..=65535, or false")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Edns, E> {
                if on {
                    Err(E::custom("true is not allowed; a payload size in 512..=65535, or false"))
                } else {
                    Ok(Edns(None))
                }
            }

            fn visit_i64<E: de::Error>(self, size: i64) -> Result<Edns, E> {
                EdnsSize::deserialize(de::value::I64Deserializer::new(size)).map(|size| Edns(Some(size.get())))
            }
        }

        deserializer.deserialize_any(Size)
    }
}

/// A status or a range of them.
#[derive(Clone, Debug)]
struct Status(RangeInclusive<u16>);

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Code;

        const ALLOWED: &str = "a status in 100..=599, or a range such as \"200-299\"";

        fn range<E: de::Error>(shown: &dyn fmt::Display, (low, high): (i64, i64)) -> Result<Status, E> {
            match (u16::try_from(low), u16::try_from(high)) {
                (Ok(low), Ok(high)) if 100 <= low && low <= high && high <= 599 => Ok(Status(low..=high)),
                _ => Err(E::custom(format_args!("{shown} is not allowed; {ALLOWED}"))),
            }
        }

        impl Visitor<'_> for Code {
            type Value = Status;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(ALLOWED)
            }

            fn visit_i64<E: de::Error>(self, code: i64) -> Result<Status, E> {
                range(&code, (code, code))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Status, E> {
                let ends = text.split_once('-').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
                range(&format_args!("\"{text}\""), ends.unwrap_or((0, 0)))
            }
        }

        deserializer.deserialize_any(Code)
    }
}

/// Where to connect, and whether that is the service's own address.
struct Place {
    address: Ipv6Addr,
    own: Option<Ipv6Addr>,
}

impl Place {
    fn at(&self, port: Option<Ranged<1, 65535>>, default: u16) -> SocketAddr {
        (self.address, port.map_or(default, Ranged::get)).into()
    }
}

impl ProbeTable {
    /// The probe, if its keys make sense.
    pub(super) fn check(&self, context: &Context<'_>, span: Range<usize>) -> Result<ProbeConfig, ConfigError> {
        let timing = self.timing(context)?;
        let refuse = |message: &str| Err(context.source.error(span.clone(), message));
        let (kind, own) = match (&self.dns, &self.http, &self.tcp, &self.tls, &self.exec) {
            (Some(table), None, None, None, None) => table.get_ref().check(context, table.span())?,
            (None, Some(table), None, None, None) => table.get_ref().check(context)?,
            (None, None, Some(table), None, None) => {
                let place = place(context, table.get_ref().address, table.span())?;
                let address = place.at(Some(table.get_ref().port), 0);
                (ProbeKind::Tcp(TcpProbe { address }), place.own)
            }
            (None, None, None, Some(table), None) => table.get_ref().check(context, table.span())?,
            (None, None, None, None, Some(table)) => (table.get_ref().check(context)?, None),
            (None, None, None, None, None) => {
                return refuse("a probe without its question; one of `dns`, `http`, `tcp`, `tls` and `exec`");
            }
            _ => return refuse("a probe with two questions; one of `dns`, `http`, `tcp`, `tls` and `exec` in each"),
        };
        Ok(ProbeConfig { kind, timing, own })
    }

    fn timing(&self, context: &Context<'_>) -> Result<Timing, ConfigError> {
        let seconds = Duration::as_secs_f64;
        let interval = self.interval.map_or(Duration::from_secs(1), Seconds::get);
        let timeout = self.timeout.map_or(Duration::from_secs(1), Seconds::get);
        let fast = self.fast_interval.as_ref().map(|fast| (fast.get_ref().get(), fast.span()));
        if let Some((fast, span)) = &fast
            && *fast > interval
        {
            let message =
                format!("fast-interval {} is not allowed; at most the interval, {}", seconds(fast), seconds(&interval));
            return Err(context.source.error(span.clone(), message));
        }
        let slow = self.slow.as_ref().map(|slow| (slow.get_ref().get(), slow.span()));
        if let Some((slow, span)) = &slow
            && *slow >= timeout
        {
            let message =
                format!("slow {} is not allowed; less than the timeout, {}", seconds(slow), seconds(&timeout));
            return Err(context.source.error(span.clone(), message));
        }
        Ok(Timing {
            interval,
            timeout,
            fast: fast.map_or(interval.min(Duration::from_millis(250)), |(fast, _)| fast),
            slow: slow.map(|(slow, _)| slow),
            rise: self.rise.map_or(2, |rise| usize::from(rise.get::<u16>())),
            fall: self.fall.map_or(3, |fall| usize::from(fall.get::<u16>())),
        })
    }
}

fn place(context: &Context<'_>, given: Option<Text<Ipv6Addr>>, span: Range<usize>) -> Result<Place, ConfigError> {
    match (given, context.hosts.first()) {
        (Some(given), _) => Ok(Place { address: given.0, own: None }),
        (None, Some(own)) => Ok(Place { address: *own, own: Some(*own) }),
        (None, None) => Err(context.source.error(span, "a probe needs `address` where no prefix is a /128")),
    }
}

fn trust(context: &Context<'_>, (verify, ca): (Option<bool>, &Option<Spanned<PathBuf>>)) -> Result<Trust, ConfigError> {
    match (verify, ca) {
        (Some(false), Some(ca)) => {
            Err(context.source.error(ca.span(), "`ca` beside `verify = false` is not allowed; one of them"))
        }
        (Some(false), None) => Ok(Trust::Anything),
        (_, Some(ca)) => Ok(Trust::File(ca.get_ref().clone())),
        (_, None) => Ok(Trust::Host),
    }
}

impl DnsTable {
    fn check(&self, context: &Context<'_>, span: Range<usize>) -> Result<(ProbeKind, Option<Ipv6Addr>), ConfigError> {
        let place = place(context, self.address, span)?;
        let mut name = Name::from_ascii(self.name.get_ref()).map_err(|error| {
            let message = format!("\"{}\" is not allowed ({error}); a name such as \"example.\"", self.name.get_ref());
            context.source.error(self.name.span(), message)
        })?;
        name.set_fqdn(true);
        let record_type = self.record_type(context)?;
        let dns = DnsProbe {
            address: place.at(self.port, 53),
            transport: self.transport.unwrap_or(Transport::Udp),
            name,
            record_type,
            recursion: self.recursion,
            edns: self.edns.map_or(Some(1232), |edns| edns.0),
            rcodes: self.rcodes(context)?,
            answer: self.answer(context, record_type)?,
        };
        Ok((ProbeKind::Dns(dns), place.own))
    }

    fn record_type(&self, context: &Context<'_>) -> Result<RecordType, ConfigError> {
        let Some(given) = &self.record_type else { return Ok(RecordType::SOA) };
        let text = given.get_ref().to_ascii_uppercase();
        match text.parse() {
            // No data, but transfers and signatures of messages.
            Ok(RecordType::AXFR | RecordType::IXFR | RecordType::OPT | RecordType::TSIG) | Err(_) => {
                let message =
                    format!("\"{}\" is not allowed; a record type such as \"SOA\" or \"AAAA\"", given.get_ref());
                Err(context.source.error(given.span(), message))
            }
            Ok(record_type) => Ok(record_type),
        }
    }

    fn rcodes(&self, context: &Context<'_>) -> Result<Vec<Rcode>, ConfigError> {
        let Some(rcode) = &self.rcode else { return Ok(vec![Rcode::NoError]) };
        if rcode.get_ref().0.is_empty() {
            return Err(context.source.error(rcode.span(), "[] is not allowed; at least one rcode"));
        }
        Ok(rcode.get_ref().0.clone())
    }

    /// Addresses in the one form in which they are compared.
    fn answer(&self, context: &Context<'_>, record_type: RecordType) -> Result<Option<String>, ConfigError> {
        let Some(answer) = &self.answer else { return Ok(None) };
        let text = answer.get_ref();
        let refuse =
            |allowed: &str| Err(context.source.error(answer.span(), format!("\"{text}\" is not allowed; {allowed}")));
        match record_type {
            RecordType::AAAA => match text.parse::<Ipv6Addr>() {
                Ok(address) => Ok(Some(address.to_string())),
                Err(_) => refuse("an IPv6 address, as the type is AAAA"),
            },
            RecordType::A => match text.parse::<std::net::Ipv4Addr>() {
                Ok(address) => Ok(Some(address.to_string())),
                Err(_) => refuse("an IPv4 address, as the type is A"),
            },
            _ if text.is_empty() => refuse("the data of a record, or no `answer`"),
            _ => Ok(Some(text.clone())),
        }
    }
}

impl HttpTable {
    fn check(&self, context: &Context<'_>) -> Result<(ProbeKind, Option<Ipv6Addr>), ConfigError> {
        let trust = trust(context, (self.verify, &self.ca))?;
        let given = self.address.map(|address| address.0);
        let url = self.url.get_ref();
        // The service's own address, unless the file names one, here or in the URL.
        let own = context.hosts.first().copied().filter(|_| given.is_none());
        let (target, own) = match HttpTarget::new(url, given, trust.clone()) {
            Ok(target) => (Ok(target), None),
            Err(error) => match own {
                Some(own) => (HttpTarget::new(url, Some(own.into()), trust), Some(own)),
                None => (Err(error), None),
            },
        };
        let target = target.map_err(|message| context.source.error(self.url.span(), message))?;
        if !target.is_secure() && (self.verify.is_some() || self.ca.is_some()) {
            let message = "`verify` and `ca` are not allowed with http; https, or neither of them";
            return Err(context.source.error(self.url.span(), message));
        }
        let status = match &self.status {
            None => vec![200..=299],
            Some(list) if list.get_ref().is_empty() => {
                return Err(context.source.error(list.span(), "[] is not allowed; at least one status"));
            }
            Some(list) => list.get_ref().iter().map(|status| status.0.clone()).collect(),
        };
        if let Some(body) = self.body.as_ref().filter(|body| body.get_ref().is_empty()) {
            return Err(context.source.error(body.span(), "\"\" is not allowed; a text, or no `body`"));
        }
        let body = self.body.as_ref().map(|body| body.get_ref().clone());
        Ok((ProbeKind::Http(HttpProbe { target, status, body }), own))
    }
}

impl TlsTable {
    fn check(&self, context: &Context<'_>, span: Range<usize>) -> Result<(ProbeKind, Option<Ipv6Addr>), ConfigError> {
        let place = place(context, self.address, span)?;
        let trust = trust(context, (self.verify, &self.ca))?;
        let server_name = match &self.server_name {
            None => Tls::name_of(place.address),
            Some(name) => ServerName::try_from(name.get_ref().clone()).map_err(|_| {
                let message = format!("\"{}\" is not allowed; a name such as \"www.example.org\"", name.get_ref());
                context.source.error(name.span(), message)
            })?,
        };
        let tls = TlsProbe {
            address: place.at(Some(self.port), 0),
            tls: Tls::new(server_name, trust, None),
            min_days: self.min_days.map_or(0, Ranged::get),
        };
        Ok((ProbeKind::Tls(tls), place.own))
    }
}

impl ExecTable {
    fn check(&self, context: &Context<'_>) -> Result<ProbeKind, ConfigError> {
        let command = self.command.get_ref();
        let program = command.first().filter(|program| program.starts_with('/'));
        // What the kernel takes for an argument's end.
        match program.filter(|_| command.iter().all(|word| !word.contains('\0'))) {
            Some(program) => Ok(ProbeKind::Exec(ExecProbe {
                program: program.into(),
                arguments: command.iter().skip(1).cloned().collect(),
            })),
            None => {
                let message =
                    "a command is an absolute path and its arguments, such as [\"/usr/local/bin/check\", \"-v\"]";
                Err(context.source.error(self.command.span(), message))
            }
        }
    }
}

#[cfg(test)]
mod tests;
