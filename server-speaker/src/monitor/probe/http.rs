//! An HTTP(S) GET and the status (and text) that it must bring.

use std::ops::RangeInclusive;

use super::Found;
use crate::monitor::http::HttpTarget;
use crate::monitor::net::ExchangeError;

/// So much of a body is searched.
const BODY_MAX: usize = 64 << 10;

/// Fetches a page.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// Which.
    pub target: HttpTarget,
    /// The statuses that are right.
    pub status: Vec<RangeInclusive<u16>>,
    /// What the first 64 KiB of the body must contain.
    pub body: Option<String>,
}

impl HttpProbe {
    /// One GET.
    pub async fn ask(&mut self) -> Result<Found, ExchangeError> {
        let limit = if self.body.is_some() { BODY_MAX } else { 0 };
        let answer = self.target.ask(limit).await?;
        if !self.status.iter().any(|range| range.contains(&answer.status)) {
            return Err(ExchangeError::Peer(format!("status {}", answer.status)));
        }
        if let Some(text) = &self.body {
            let within = |body: &[u8]| body.windows(text.len()).any(|window| window == text.as_bytes());
            if !within(&answer.body) {
                return Err(ExchangeError::Peer(format!("status {} without {text:?}", answer.status)));
            }
        }
        Ok(Found::good(format!("status {}", answer.status)))
    }
}
