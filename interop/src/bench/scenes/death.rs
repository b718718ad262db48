//! B6: three servers on one link and a fourth behind another one share a prefix. The service of the first dies, which its speaker
//! tells by flushing the prefix; the host of the second falls silent; the link to the fourth loses its carrier.

use std::{
    collections::BTreeSet,
    net::Ipv6Addr,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::servers::{HELLO, address, inject, service};
use crate::{
    bench::{
        cell::{Row, Told},
        device::{Device, IFACE, iface},
        graph::SERVICE,
        routes::Routes,
    },
    lab::Lab,
    netns::Netns,
    topology::{PointToPoint, net},
};

/// The device's interface to the fourth.
const OTHER: &str = "eth1";
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(lab: &mut Lab, told: &Told<'_>) -> Result<()> {
    let pair = PointToPoint::build("device", "injector")?;
    let behind = Netns::create("other")?;
    pair.a.join(OTHER, &behind, "eth0")?;
    pair.a.rtnl()?.add_address(OTHER, net("fe80::1/64")?)?;
    let prefix = net(SERVICE)?;
    let routes = Routes::start(&pair.a, &[prefix])?;
    let interfaces = vec![iface(IFACE, HELLO, 1), iface(OTHER, HELLO, 1)];
    let device = Device::start(lab, told.which.device, &pair.a, interfaces)?;
    told.version(&device.version)?;
    let (first, second) = (pair.a.rtnl()?.index(IFACE)?, pair.a.rtnl()?.index(OTHER)?);
    let link = inject(&pair.b, &[0, 1, 2], first)?;
    let fourth = inject(&behind, &[3], second)?;
    link.wait_full(PATIENCE)?;
    fourth.wait_full(PATIENCE)?;
    let over = |servers: &[usize]| -> BTreeSet<Ipv6Addr> { servers.iter().map(|server| address(*server)).collect() };
    routes.wait_gateways(prefix, &over(&[0, 1, 2, 3]), PATIENCE)?;
    // What was said at first may not be said anew before MinLSInterval, nor heard before MinLSArrival.
    device.settle();
    let reaction = |what: &str, at: Instant, left: &[usize]| -> Result<()> {
        let gone = routes.wait_gateways(prefix, &over(left), PATIENCE)?;
        told.time(Row::B6, what, gone.saturating_duration_since(at))
    };

    let [flushed, companion] = service(0, 1)?;
    let at = link.flood(0, [(flushed, true), (companion, false)])?;
    reaction("service flushed to FIB", at, &[1, 2, 3])?;

    let at = link.silence(1)?;
    reaction("last Hello of a host to FIB", at, &[2, 3])?;

    let at = Instant::now();
    behind.rtnl()?.down("eth0")?;
    reaction("carrier lost to FIB", at, &[2])
}
