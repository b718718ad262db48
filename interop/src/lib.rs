//! Labs for the OSPFv3 farm speaker: rootless network namespaces, real peers (FRR, BIRD, and our own daemons), an
//! independent observer of the kernel's routes, a DNS farm with its clients, the demo, and a simulator in virtual time.

pub mod apart;
pub mod attack;
pub mod bench;
pub mod capture;
pub mod conformance;
pub mod containers;
pub mod counts;
pub mod daemons;
pub mod demo;
pub mod dns;
pub mod engines;
pub mod fib;
pub mod flows;
pub mod fuzz;
pub mod harness;
pub mod lab;
pub mod matrix;
pub mod monitor;
pub mod netns;
pub mod nl;
pub mod originations;
pub mod peer;
pub mod policy;
pub mod process;
pub mod raw;
pub mod root;
pub mod sandbox;
pub mod shown;
pub mod sim;
pub mod stamp;
pub mod suite;
pub mod tamper;
pub mod topology;
pub mod wait;
pub mod watch;
