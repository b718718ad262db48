//! Target of the configuration files: any text is refused with a message or accepted as something that can run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is a finding")]

use std::time::Duration;

use ospf_proto::engine::{Config, Engine, Input, LinkEvent, LinkState};
use ospf_proto::id::IfaceId;
use ospf_proto::time::Instant;
use ospfd_lite::config::{ConfigError, RouterFile, Source};
use server_speaker::config::ServerConfig;
use server_speaker::monitor::{MonitorConfig, Schedule};

/// A file of ospfd-lite and one of server-speaker.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Source::new("fuzz.toml", text);
    match RouterFile::load(&source) {
        Ok((file, config)) => {
            check_engine(&config);
            let fib = file.fib.options();
            assert!(fib.protocol >= 5 && fib.metric >= 1 && fib.table >= 1 && fib.slots >= 16);
            assert!(config.forwarding);
            assert!(file.probe.is_none_or(|probe| probe.interval.get() >= Duration::from_secs(1)));
        }
        Err(error) => check_error(&error, text),
    }
    match ServerConfig::load(&source) {
        Ok(config) => check_server(&config),
        Err(error) => check_error(&error, text),
    }
}

/// An error names the file, says something, and its line is one of the text's.
fn check_error(error: &ConfigError, text: &str) {
    assert_eq!(error.file, "fuzz.toml");
    assert!(!error.message.is_empty());
    assert!(error.to_string().starts_with("fuzz.toml:"));
    if let Some(line) = error.line {
        assert!((1..=text.matches('\n').count() + 1).contains(&line), "{error}: no such line");
    }
}

fn check_engine(config: &Config) {
    assert_ne!(config.router_id.0, 0);
    assert!(config.min_ls_interval >= Duration::from_millis(1200));
    assert!(config.min_ls_interval_topology >= Duration::from_millis(1200));
    assert!(!config.interfaces.is_empty());
    assert!(config.limits.lsas >= 100 && config.limits.lsas_per_router >= 10);
    assert!(config.max_neighbors >= 1 && config.max_originations >= 1);
    for (nth, iface) in config.interfaces.iter().enumerate() {
        assert!((1..=15).contains(&iface.name.len()));
        assert!(iface.cost >= 1 && iface.hello_interval >= 1);
        assert!(iface.dead_interval > iface.hello_interval);
        assert!(iface.retransmit_interval >= Duration::from_millis(100));
        assert!(
            config.interfaces.iter().skip(nth + 1).all(|other| other.name != iface.name && other.area == iface.area)
        );
    }
    check_runs(config);
}

/// The engine starts with it and wakes up later, not at once again.
fn check_runs(config: &Config) {
    let mut engine = Engine::new(config.clone(), 1, Instant::EPOCH);
    for (nth, iface) in config.interfaces.iter().take(4).enumerate() {
        let state = LinkState {
            iface: IfaceId(nth as u32 + 1),
            name: iface.name.clone(),
            up: true,
            mtu: 1500,
            link_local: Some("fe80::1".parse().unwrap()),
            prefixes: Vec::new(),
        };
        engine.handle(Instant::EPOCH, Input::Link(LinkEvent::State(state)));
    }
    for _ in 0..4 {
        let Some(at) = engine.next_timeout() else { break };
        engine.handle(at, Input::Tick);
        engine.check_invariants(usize::MAX).unwrap();
    }
}

fn check_server(config: &ServerConfig) {
    check_engine(&config.engine);
    assert!(!config.engine.forwarding);
    assert!(!config.services.is_empty());
    assert!(config.linger >= Duration::from_secs(2));
    assert!(config.ecmp_width.is_none_or(|width| width >= 1));
    let prefixes: Vec<_> = config.services.iter().flat_map(|service| &service.prefixes).collect();
    assert!((1..=24).contains(&prefixes.len()));
    for (nth, prefix) in prefixes.iter().enumerate() {
        assert_ne!(prefix.length(), 0, "a server never originates a default route");
        assert!(!prefix.address().is_multicast() && !prefix.address().is_unicast_link_local());
        assert!(!prefixes.iter().skip(nth + 1).any(|other| other == prefix), "{prefix} twice");
    }
    for service in &config.services {
        assert!(!service.prefixes.is_empty() && !service.monitors.is_empty() && !service.name.is_empty());
        assert!(service.capacity.is_none_or(|rate| rate.is_finite() && rate > 0.0));
        assert!(!service.manage_address || service.prefixes.iter().all(|prefix| prefix.length() == 128));
        for monitor in &service.monitors {
            match monitor {
                MonitorConfig::Socket(socket) => assert!(socket.port >= 1 && !socket.addresses.is_empty()),
                MonitorConfig::Process(_) => {}
                MonitorConfig::Counts(counts) => check_schedule(&counts.schedule),
                MonitorConfig::Load(load) => check_schedule(&load.schedule),
                MonitorConfig::Probe(probe) => {
                    let timing = &probe.timing;
                    assert!(timing.fast >= Duration::from_millis(50) && timing.fast <= timing.interval);
                    assert!(!timing.timeout.is_zero() && timing.slow.is_none_or(|slow| slow < timing.timeout));
                    assert!(timing.rise >= 1 && timing.fall >= 1);
                }
            }
        }
    }
    assert!(config.services.iter().filter(|service| service.counts_udp()).count() <= 1);
}

fn check_schedule(schedule: &Schedule) {
    assert!(schedule.interval >= Duration::from_millis(200) && schedule.timeout >= Duration::from_millis(50));
    assert!(schedule.stale > schedule.interval);
}
