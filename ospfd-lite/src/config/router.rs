//! `ospfd-lite.toml`.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ospf_proto::engine::Config;
use ospf_proto::id::RouterId;
use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, EngineKeys, InterfaceTable, LimitsTable, Ranged, Seconds, Source, Text, engine_config};
use crate::netio::fib::{FibOptions, SLOTS, Sharing, Sysctls};
use crate::share::Weights;

/// The file of ospfd-lite.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RouterFile {
    /// Our Router ID.
    pub router_id: Spanned<Text<RouterId>>,
    /// The control socket; the command line wins.
    pub control: Option<PathBuf>,
    /// Where state is kept over a restart; the command line wins.
    pub state_dir: Option<PathBuf>,
    /// MinLSInterval of prefix and Router-Information LSAs, seconds.
    pub min_ls_interval: Option<Seconds<1_200, 3_600_000>>,
    /// MinLSInterval of Router-, Network- and Link-LSAs, seconds.
    pub min_ls_interval_topology: Option<Seconds<1_200, 3_600_000>>,
    /// Where to listen for scrapes of the metrics; nowhere, if none.
    pub metrics: Option<Text<SocketAddr>>,
    /// Limits.
    #[serde(default)]
    pub limits: LimitsTable,
    /// The interfaces.
    #[serde(default)]
    pub interface: Vec<InterfaceTable>,
    /// Kernel routes.
    #[serde(default)]
    pub fib: FibTable,
    /// The check of the data path; none, if there is no such table.
    pub probe: Option<ProbeTable>,
}

/// The `[probe]` table: echo requests to the services by each of their next hops.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProbeTable {
    /// From one round to the next, seconds.
    pub interval: Seconds<1_000, 3_600_000>,
}

/// The `[fib]` table: our routes in the kernel, and how they share packets.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FibTable {
    /// The route protocol number.
    pub protocol: Option<Spanned<Ranged<5, 255>>>,
    /// The metric.
    pub metric: Option<Ranged<1, 4_294_967_295>>,
    /// The routing table.
    pub table: Option<Ranged<1, 4_294_967_295>>,
    /// The source address of packets of this host that use our routes.
    pub preferred_source: Option<Spanned<Ipv6Addr>>,
    /// How next hops are shared.
    #[serde(default)]
    pub sharing: Sharing,
    /// Slots of a slot group, and buckets of a resilient one.
    pub slots: Option<Ranged<{ *SLOTS.start() as i64 }, { *SLOTS.end() as i64 }>>,
    /// What next hops are weighed by.
    #[serde(default)]
    pub weights: Weights,
    /// Of resilient groups, seconds.
    pub idle_timer: Option<Ranged<0, 86_400>>,
    /// Of resilient groups, seconds.
    pub unbalanced_timer: Option<Ranged<0, 86_400>>,
    /// Whether `net.ipv6.fib_multipath_hash_policy` is set to 1 where it is 0.
    pub set_hash_policy: Option<bool>,
    /// Whether `net.ipv4.nexthop_compat_mode` is set to 0.
    pub set_compat_mode: Option<bool>,
}

impl FibTable {
    /// The route protocol number: the protocol number of OSPF, unless configured.
    fn protocol(&self) -> u8 {
        self.protocol.as_ref().map_or(89, |protocol| protocol.get_ref().get())
    }

    /// What the kernel's side of it is.
    pub fn options(&self) -> FibOptions {
        let standard = FibOptions::default();
        FibOptions {
            protocol: self.protocol(),
            metric: self.metric.map_or(standard.metric, Ranged::get),
            table: self.table.map_or(standard.table, Ranged::get),
            preferred_source: self.preferred_source.as_ref().map(|source| *source.get_ref()),
            sharing: self.sharing,
            slots: self.slots.map_or(standard.slots, Ranged::get),
            idle_timer: self.idle_timer.map_or(standard.idle_timer, Ranged::get),
            unbalanced_timer: self.unbalanced_timer.map_or(standard.unbalanced_timer, Ranged::get),
            watch_buffer: standard.watch_buffer,
        }
    }

    /// Which settings of the kernel may be changed: that for slots only where there are slots.
    pub fn sysctls(&self) -> Sysctls {
        Sysctls {
            hash_policy: self.set_hash_policy.unwrap_or(true),
            compat_mode: (self.sharing == Sharing::Stable).then(|| self.set_compat_mode.unwrap_or(true)),
        }
    }
}

impl RouterFile {
    /// Decodes and checks the whole file.
    pub fn load(source: &Source) -> Result<(Self, Config), ConfigError> {
        let file: RouterFile = source.parse()?;
        let keys = EngineKeys {
            router_id: &file.router_id,
            min_ls_interval: file.min_ls_interval,
            min_ls_interval_topology: file.min_ls_interval_topology,
            limits: file.limits,
            interfaces: &file.interface,
            priority: 1,
            forwarding: true,
        };
        let config = engine_config(source, keys)?;
        if let Some(protocol) = &file.fib.protocol
            && let Some(owner) = owner(file.fib.protocol())
        {
            let number = file.fib.protocol();
            let message = format!("{number} is not allowed: {owner} marks its routes so; 5..=255, such as 89");
            return Err(source.error(protocol.span(), message));
        }
        if let Some(address) = &file.fib.preferred_source
            && (address.get_ref().is_unicast_link_local()
                || address.get_ref().is_multicast()
                || address.get_ref().is_unspecified())
        {
            let message =
                format!("{} is not allowed; a global or unique local address of this host", address.get_ref());
            return Err(source.error(address.span(), message));
        }
        Ok((file, config))
    }
}

/// Who uses a route protocol number, by `rtnetlink.h` of Linux: its routes would be taken for ours and removed.
fn owner(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        8..=10 => "a router daemon of old",
        11 | 186..=189 | 192 => "FRRouting",
        12 => "BIRD",
        16 => "a DHCP client",
        18 => "keepalived",
        42 => "babeld",
        99 => "OpenR",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ospf_proto::engine::NetworkType;

    use super::*;

    fn load(text: &str) -> Result<(RouterFile, Config), String> {
        RouterFile::load(&Source::new("ospfd-lite.toml", text)).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        let (file, config) =
            load("router-id = \"192.0.2.1\"\n[[interface]]\nname = \"eth0\"\nhello-interval = 2\n").unwrap();
        let iface = &config.interfaces[0];
        assert_eq!((iface.hello_interval, iface.dead_interval, iface.priority, iface.cost), (2, 8, 1, 10));
        assert_eq!(iface.network_type, NetworkType::Broadcast);
        assert_eq!(config.min_ls_interval, Duration::from_secs(5));
        assert_eq!(file.fib.options(), FibOptions::default());
        assert_eq!(file.fib.weights, Weights::Capacity);
        assert!(file.probe.is_none());
        assert_eq!(file.fib.sysctls(), Sysctls { hash_policy: true, compat_mode: Some(true) });
        assert!(config.forwarding);
    }

    #[test]
    fn every_key_arrives() {
        let (file, config) = load(
            r#"
router-id = "192.0.2.1"
control = "/run/x.sock"
state-dir = "/var/lib/x"
metrics = "[::1]:9343"
min-ls-interval = 1.2
min-ls-interval-topology = 2
[[interface]]
name = "eth0"
area = "0.0.0.7"
type = "point-to-point"
cost = 65535
priority = 255
hello-interval = 1
dead-interval = 4
retransmit-interval = 0.5
instance-id = 3
passive = true
mtu-ignore = true
[limits]
max-lsas = 1000
max-lsas-per-router = 100
max-neighbors = 5
max-originations = 7
[fib]
protocol = 90
metric = 30
table = 1000
preferred-source = "2001:db8::1"
sharing = "hash-threshold"
slots = 256
weights = "originators"
idle-timer = 5
unbalanced-timer = 6
set-hash-policy = false
[probe]
interval = 2.5
"#,
        )
        .unwrap();
        let iface = &config.interfaces[0];
        assert_eq!(iface.area.0, 7);
        assert_eq!(iface.network_type, NetworkType::PointToPoint);
        assert_eq!((iface.cost, iface.priority, iface.instance_id), (65535, 255, 3));
        assert_eq!(iface.retransmit_interval, Duration::from_millis(500));
        assert!(iface.passive && iface.mtu_ignore);
        assert_eq!(config.min_ls_interval, Duration::from_millis(1200));
        assert_eq!(config.min_ls_interval_topology, Duration::from_secs(2));
        assert_eq!((config.limits.lsas, config.limits.lsas_per_router), (1000, 100));
        assert_eq!((config.max_neighbors, config.max_originations), (5, 7));
        let expected = FibOptions {
            protocol: 90,
            metric: 30,
            table: 1000,
            preferred_source: Some("2001:db8::1".parse().unwrap()),
            sharing: Sharing::HashThreshold,
            slots: 256,
            idle_timer: 5,
            unbalanced_timer: 6,
            ..FibOptions::default()
        };
        assert_eq!(file.fib.options(), expected);
        assert_eq!(file.fib.weights, Weights::Originators);
        assert_eq!(file.fib.sysctls(), Sysctls { hash_policy: false, compat_mode: None });
        assert_eq!(file.probe.unwrap().interval.get(), Duration::from_millis(2500));
        assert_eq!(file.control.unwrap().to_str(), Some("/run/x.sock"));
        assert_eq!(file.metrics.unwrap().0, "[::1]:9343".parse().unwrap());
        assert_eq!(file.state_dir.unwrap().to_str(), Some("/var/lib/x"));
    }

    #[test]
    fn errors_name_file_line_key_and_what_is_allowed() {
        let id = "router-id = \"192.0.2.1\"\n";
        for (text, expected) in [
            (
                "[[interface]]\nname = \"a\"\ncost = 0\n",
                "ospfd-lite.toml:4: interface[0].cost: 0 is not allowed; 1..=65535",
            ),
            (
                "[[interface]]\nname = \"a\"\ncost = \"x\"\n",
                "ospfd-lite.toml:4: interface[0].cost: invalid type: string \"x\", expected an integer in 1..=65535",
            ),
            (
                "[[interface]]\nname = \"a\"\ntype = \"nbma\"\n",
                "ospfd-lite.toml:4: interface[0].type: unknown variant `nbma`, expected `broadcast` or `point-to-point`",
            ),
            (
                "[[interface]]\nname = \"a\"\nhello-interval = 4\ndead-interval = 4\n",
                "ospfd-lite.toml:5: interface[0].dead-interval: 4 is not allowed; more than the hello-interval of 4, commonly 4 times as much",
            ),
            (
                "[[interface]]\nname = \"a\"\n[[interface]]\nname = \"a\"\n",
                "ospfd-lite.toml:5: interface[1].name: a second table for a; one is allowed",
            ),
            (
                "[[interface]]\nname = \"a\"\n[[interface]]\nname = \"b\"\narea = \"0.0.0.1\"\n",
                "ospfd-lite.toml:6: interface[1].area: area 0.0.0.1 is not allowed beside area 0.0.0.0 of a; all interfaces must be in one area (border routers are not supported)",
            ),
            (
                "[[interface]]\nname = \"a b\"\n",
                "ospfd-lite.toml:3: interface[0].name: \"a b\" is not allowed; an interface's name has 1..=15 bytes, no blank, `/` or `:`",
            ),
            (
                "[[interface]]\nname = \"a\"\nretransmit-interval = 0\n",
                "ospfd-lite.toml:4: interface[0].retransmit-interval: 0 is not allowed; 0.1..=65535 seconds",
            ),
            (
                "[[interface]]\nname = \"a\"\narea = \"x\"\n",
                "ospfd-lite.toml:4: interface[0].area: \"x\" is not allowed (invalid IPv4 address syntax); an area ID such as \"0.0.0.0\"",
            ),
            (
                "[[interface]]\nname = \"a\"\n[fib]\nprotocol = 188\n",
                "ospfd-lite.toml:5: fib.protocol: 188 is not allowed: FRRouting marks its routes so; 5..=255, such as 89",
            ),
            (
                "[[interface]]\nname = \"a\"\n[fib]\nsharing = \"fair\"\n",
                "ospfd-lite.toml:5: fib.sharing: unknown variant `fair`, expected one of `stable`, `resilient`, `hash-threshold`, `multipath`",
            ),
            (
                "[[interface]]\nname = \"a\"\n[fib]\nslots = 8\n",
                "ospfd-lite.toml:5: fib.slots: 8 is not allowed; 16..=4000",
            ),
            (
                "[[interface]]\nname = \"a\"\n[fib]\npreferred-source = \"fe80::1\"\n",
                "ospfd-lite.toml:5: fib.preferred-source: fe80::1 is not allowed; a global or unique local address of this host",
            ),
            (
                "[[interface]]\nname = \"a\"\n[probe]\ninterval = 0.5\n",
                "ospfd-lite.toml:5: probe.interval: 0.5 is not allowed; 1..=3600 seconds",
            ),
            (
                "min-ls-interval = 1\n[[interface]]\nname = \"a\"\n",
                "ospfd-lite.toml:2: min-ls-interval: 1 is not allowed; 1.2..=3600 seconds",
            ),
            ("", "ospfd-lite.toml: no [[interface]]; at least one is needed"),
        ] {
            assert_eq!(load(&format!("{id}{text}")).unwrap_err(), expected);
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_the_known_ones() {
        let error = load("router-id = \"1.1.1.1\"\n[[interface]]\nname = \"a\"\ncots = 3\n").unwrap_err();
        assert!(
            error.starts_with("ospfd-lite.toml:4: interface[0].cots: unknown field `cots`, expected one of"),
            "{error}"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = load("[[interface]]\ncost = 3\n").unwrap_err();
        assert!(error.contains("missing field `router-id`") || error.contains("missing field `name`"), "{error}");
        let error = load("router-id = \"0.0.0.0\"\n[[interface]]\nname = \"a\"\n").unwrap_err();
        assert_eq!(
            error,
            "ospfd-lite.toml:1: router-id: 0.0.0.0 is not allowed; any other, unique in the routing domain"
        );
    }
}
