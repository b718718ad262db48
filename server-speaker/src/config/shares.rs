//! `share-router-ids`, `share-link-local` and the `shares` of a service: the routers that a server appears as.

use std::net::{Ipv4Addr, Ipv6Addr};

use ospf_proto::engine::{Config, NetworkType};
use ospf_proto::id::RouterId;
use ospfd_lite::config::{ConfigError, InterfaceTable, Source, Text};
use toml::{Spanned, Value};

use crate::law::{HOPS_MAX, Shares};

/// One of the routers that a server appears as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShareRouter {
    /// Its Router ID: of the first, the server's own.
    pub id: RouterId,
    /// The address it speaks from on each interface.
    pub link_local: Ipv6Addr,
}

/// The keys at the top of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShareKeys<'a> {
    pub(super) router_ids: Option<&'a Spanned<String>>,
    pub(super) link_local: Option<&'a Spanned<Text<Ipv6Addr>>>,
}

impl ShareKeys<'_> {
    /// All routers that this server could appear as, itself first; none without `share-router-ids`.
    pub(super) fn routers(&self, source: &Source, own: RouterId) -> Result<Vec<ShareRouter>, ConfigError> {
        let Some(key) = self.router_ids else {
            return match self.link_local {
                Some(key) => Err(source.error(key.span(), "share-link-local needs share-router-ids beside it")),
                None => Ok(Vec::new()),
            };
        };
        let refuse = |message: String| Err(source.error(key.span(), message));
        let text = key.get_ref();
        let Some((first, length)) = block(text) else {
            return refuse(format!(
                "\"{text}\" is not allowed; a block of 1 to 256 Router IDs such as \"192.0.2.16/28\" (/24 to /32)"
            ));
        };
        let ids = (0..=u32::MAX.checked_shr(length).unwrap_or(0)).map(|i| RouterId(first | i));
        let ids: Vec<RouterId> = ids.take(HOPS_MAX as usize - 1).collect();
        if first == own.0 & u32::MAX.checked_shl(32 - length).unwrap_or(0) {
            return refuse(format!("\"{text}\" is not allowed: it holds the router-id {own}; a block beside it"));
        }
        if ids.contains(&RouterId(0)) {
            return refuse(format!("\"{text}\" is not allowed: it begins with 0.0.0.0, which no router may have"));
        }
        let base = self.base(source, own)?;
        let router = |(place, id): (u128, RouterId)| ShareRouter { id, link_local: (base + place).into() };
        Ok((0..).zip(std::iter::once(own).chain(ids)).map(router).collect())
    }

    /// The first link-local address.
    fn base(&self, source: &Source, own: RouterId) -> Result<u128, ConfigError> {
        let Some(key) = self.link_local else {
            // fe80::5a:<router-id>:0, so that no two servers of a link have one in common.
            return Ok(0xfe80_u128 << 112 | 0x5a << 48 | u128::from(own.0) << 16);
        };
        let address = key.get_ref().0;
        let bits = u128::from(address);
        let (network, host) = (bits >> 64, bits & u128::from(u64::MAX));
        if network == 0xfe80 << 48 && host != 0 && host + u128::from(HOPS_MAX) <= u128::from(u64::MAX) {
            return Ok(bits);
        }
        let message = format!(
            "{address} is not allowed; the first of {HOPS_MAX} addresses in fe80::/64, such as \"fe80::5a:0:10\""
        );
        Err(source.error(key.span(), message))
    }
}

fn block(text: &str) -> Option<(u32, u32)> {
    let (first, length) = text.split_once('/')?;
    let (first, length) = (u32::from(first.parse::<Ipv4Addr>().ok()?), length.parse::<u32>().ok()?);
    let host = u32::MAX.checked_shr(length).unwrap_or(0);
    ((24..=32).contains(&length) && first & host == 0).then_some((first, length))
}

/// How many of `routers` a service may appear as: `shares` beside `policy = "shares"`.
pub(super) fn shares(source: &Source, key: Option<&Spanned<Value>>, routers: usize) -> Result<Shares, ConfigError> {
    let available = u32::try_from(routers).unwrap_or(HOPS_MAX).min(HOPS_MAX);
    let Some(key) = key else { return Ok(Shares::Auto(available)) };
    let refuse = |message: String| Err(source.error(key.span(), message));
    match key.get_ref() {
        Value::String(word) if word == "auto" => Ok(Shares::Auto(available)),
        Value::Integer(count) => match u32::try_from(*count).ok().filter(|count| (1..=HOPS_MAX).contains(count)) {
            Some(count) if count > available => refuse(format!(
                "{count} is not allowed: share-router-ids has {} Router IDs beside the own; at most {available}",
                available.saturating_sub(1)
            )),
            Some(count) => Ok(Shares::Fixed(count)),
            None => refuse(format!("{count} is not allowed; \"auto\" or 1..={HOPS_MAX}")),
        },
        other => refuse(format!("{other} is not allowed; \"auto\" or 1..={HOPS_MAX}")),
    }
}

/// What the share routers ask of the interfaces.
pub(super) fn check_interfaces(source: &Source, config: &Config, tables: &[InterfaceTable]) -> Result<(), ConfigError> {
    for (iface, table) in config.interfaces.iter().zip(tables).filter(|(iface, _)| !iface.passive) {
        if iface.network_type == NetworkType::PointToPoint {
            let message = format!(
                "{} is a point-to-point link, which has room for one router here; policy \"shares\" needs a broadcast link",
                iface.name
            );
            return Err(source.error(table.name.span(), message));
        }
        if iface.priority > 0 {
            let message = format!(
                "priority {} is not allowed on {} with policy \"shares\": a Designated Router must not come and go with the \
                 load; 0",
                iface.priority, iface.name
            );
            return Err(source.error(table.name.span(), message));
        }
    }
    Ok(())
}
