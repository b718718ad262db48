//! What a monitor yields and the law consumes: one reading of a service, with its time and whether it may be used.

use ospf_proto::time::Instant;
use serde::Serialize;

/// One reading of a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// When it was read.
    #[serde(serialize_with = "seconds")]
    pub at: Instant,
    /// Whether the service can answer at all.
    pub health: Health,
    /// Its counters; none where the source tells health only, or could not be read.
    pub load: Option<Load>,
}

/// Whether a service can answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It listens.
    Alive,
    /// It does not, and why.
    Dead(String),
    /// The source could not be read, and why: neither proof of life nor of death.
    Unknown(String),
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
