//! One LSA in the database.

use std::time::Duration;

use crate::consts::MAX_AGE;
use crate::lsa::{Lsa, LsaHeader};
use crate::lsdb::aged;
use crate::time::Instant;

/// How an instance came to us; MinLSArrival looks only at flooded ones (RFC 2328 §13 (5)(a)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// We originated (or flushed) it.
    Ours,
    /// Ours, and flushed only since its sequence numbers are used up (RFC 2328 §12.1.6): what it says still holds for us.
    Wrapping,
    /// A neighbor flooded it.
    Flooded,
    /// A neighbor sent it because we asked for it: no flooding, and no reason to hold a newer one off.
    Requested,
}

/// An instance in the database: the LSA, and when and how it was installed.
#[derive(Clone, Debug)]
pub struct Entry {
    lsa: Lsa,
    source: Source,
    installed: Instant,
}

impl Entry {
    pub(super) fn new(lsa: Lsa, source: Source, now: Instant) -> Self {
        Entry { lsa, source, installed: now }
    }

    /// The LSA; its header's age is the age at installation.
    pub fn lsa(&self) -> &Lsa {
        &self.lsa
    }

    /// The LSA, taken out.
    pub fn into_lsa(self) -> Lsa {
        self.lsa
    }

    /// How it came.
    pub fn source(&self) -> Source {
        self.source
    }

    /// When it was installed.
    pub fn installed(&self) -> Instant {
        self.installed
    }

    /// Its age at `now`, in seconds, at most MaxAge.
    pub fn age(&self, now: Instant) -> u16 {
        aged(self.lsa.header.age, now.since(self.installed).as_secs())
    }

    /// Whether it is at MaxAge: to be flushed, and not to be used by SPF (RFC 2328 §14).
    pub fn is_max_age(&self, now: Instant) -> bool {
        self.age(now) >= MAX_AGE
    }

    /// Whether routing looks at it: not at MaxAge (RFC 2328 §16.1 (2)(b)).
    ///
    /// Differs: one of our own that is flushed to begin its sequence numbers anew counts; somebody who forges the last one
    /// would take our routes away for the time that the flush needs.
    pub fn counts(&self, now: Instant) -> bool {
        self.source == Source::Wrapping || !self.is_max_age(now)
    }

    /// The header with the age it has at `now`.
    pub fn header(&self, now: Instant) -> LsaHeader {
        LsaHeader { age: self.age(now), ..self.lsa.header }
    }

    /// The bytes to send at `now`: the age is advanced by `delay` seconds (InfTransDelay, RFC 2328 §13.3), at most MaxAge.
    pub fn wire_bytes(&self, now: Instant, delay: u16) -> Vec<u8> {
        self.lsa.wire_bytes(aged(self.age(now), u64::from(delay)))
    }

    /// When it reaches MaxAge.
    pub fn expires(&self) -> Instant {
        self.installed + Duration::from_secs(u64::from(MAX_AGE.saturating_sub(self.lsa.header.age)))
    }

    /// Whether both say the same to a routing table calculation (RFC 2328 §13.2).
    pub(super) fn same_meaning(&self, other: &Entry, now: Instant) -> bool {
        self.is_max_age(now) == other.is_max_age(now) && self.lsa.same_content(&other.lsa)
    }
}
