//! Configuration files (TOML): what the two daemons share, and ospfd-lite's own file.
//!
//! Every key is documented in `docs/configuration.md`; an unknown key is an error. An error names the file, the line,
//! the key and what is allowed.

mod interface;
mod router;
mod source;
mod value;

pub use interface::{EngineKeys, InterfaceTable, LimitsTable, Type, engine_config};
pub use router::{FibTable, RouterFile};
pub use source::{ConfigError, Source};
pub use value::{Ranged, Seconds, Text};
