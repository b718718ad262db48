//! What a monitor yields and the law consumes: one reading of a service, with its time and whether it may be used.

use ospf_proto::time::Instant;
use serde::Serialize;

/// What is known of a service at one moment, from all of its sources together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// When they were read.
    #[serde(serialize_with = "seconds")]
    pub at: Instant,
    /// Whether the service can answer.
    pub health: Health,
    /// Its counters, when the source that counts has said something new; none between, and where nobody counts.
    pub load: Option<Load>,
    /// When those were read; it may be a while before they are looked at.
    #[serde(serialize_with = "maybe_seconds")]
    pub counted: Option<Instant>,
}

/// Whether a service can answer. The later in this list, the more it counts where sources differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It can.
    Alive,
    /// The source could not be read, and why: neither proof of life nor of death.
    Unknown(String),
    /// It answers, but too late to be of use, and a full queue does not explain it.
    Slow(String),
    /// Nothing came back in time, and a full queue that moves does not explain it.
    Silent(String),
    /// It cannot, and why.
    Dead(String),
}

impl Health {
    /// What is wrong, if anything.
    pub fn why(&self) -> Option<&str> {
        match self {
            Health::Alive => None,
            Health::Unknown(why) | Health::Slow(why) | Health::Silent(why) | Health::Dead(why) => Some(why),
        }
    }
}

/// Counters of a service at one moment. All counts are totals since an origin that stays while `generation` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Queries taken out of the queue by the service.
    pub served: u64,
    /// Queries dropped because the queue was full.
    pub dropped: u64,
    /// Microseconds in which the service was busy, over the number of its workers; none where nobody tells.
    pub busy: Option<u64>,
    /// Bytes of buffer in use.
    pub queue: u64,
    /// Bytes of buffer there are.
    pub buffer: u64,
    /// Which sockets were counted: another value means that the counts have a new origin.
    pub generation: u64,
}

impl Load {
    /// How full the buffer is, 0.0 to 1.0 (a little above is possible: the kernel lets the last packet in).
    pub fn fill(&self) -> f64 {
        if self.buffer == 0 { 0.0 } else { self.queue as f64 / self.buffer as f64 }
    }
}

/// Serialises a point in time as seconds since the epoch of the process.
pub fn seconds<S: serde::Serializer>(at: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(at.since_epoch().as_secs_f64())
}

/// As [`seconds`], where there may be none.
pub fn maybe_seconds<S: serde::Serializer>(at: &Option<Instant>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.serialize_some(&at.since_epoch().as_secs_f64()),
        None => serializer.serialize_none(),
    }
}
