//! A TCP connection: the service accepts, or its kernel does as long as the queue has room.

use std::net::SocketAddr;

use super::Found;
use crate::monitor::net::{self, ExchangeError};

/// Connects and hangs up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpProbe {
    /// Where to.
    pub address: SocketAddr,
}

impl TcpProbe {
    /// One connection.
    pub async fn ask(&self) -> Result<Found, ExchangeError> {
        net::tcp(self.address).await?;
        Ok(Found::good("connected"))
    }
}
