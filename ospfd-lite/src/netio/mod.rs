//! The world outside: clock, raw sockets, links, kernel routes, and the driver that runs the engine among them.

mod clock;
mod driver;
mod error;
pub mod fib;
mod inlet;
mod link;
mod netlink;
pub mod probe;
mod report;
mod socket;
mod sys;

pub use clock::Clock;
pub use driver::{Driver, DriverEvent, Options, Signal, Turn};
pub use error::{EXIT_CONFIG, EXIT_PRIVILEGE, EXIT_RUNTIME, Error};
pub use link::LinkLocals;
pub use report::{Counters, IfaceCounters};
pub use sys::{free_at_once, register_fd, register_netlink};
