//! Exchanges with a service over the network, and whose fault it is when one fails.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use tokio::net::{TcpStream, UdpSocket};

use super::reading::Unreadable;

/// Why an exchange failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// On our side: it says nothing about the other.
    #[error("{0}")]
    Local(String),
    /// On the other side.
    #[error("{0}")]
    Peer(String),
}

impl From<ExchangeError> for Unreadable {
    fn from(error: ExchangeError) -> Self {
        Unreadable(error.to_string())
    }
}

impl ExchangeError {
    /// Whose fault `error` is. What the other side or a router said is the other side's: refused, reset, ICMP
    /// "unreachable". Everything else that the kernel says is ours: no descriptor, no buffer, no route, no permission.
    pub fn of(operation: &str, error: &io::Error) -> Self {
        let Some(code) = error.raw_os_error() else {
            // Made above the kernel, from what the other side sent: a short read, a broken handshake.
            return ExchangeError::Peer(format!("{operation}: {error}"));
        };
        // EHOSTUNREACH is "address unreachable", told by ICMP or found by Neighbor Discovery. ENETUNREACH and EACCES may
        // come by ICMP as well, but our own routing table and packet filter speak so too.
        match Errno::from_raw_os_error(code) {
            Errno::CONNREFUSED => ExchangeError::Peer("refused".into()),
            Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE => ExchangeError::Peer("reset".into()),
            Errno::HOSTUNREACH | Errno::TIMEDOUT | Errno::PROTO => ExchangeError::Peer(format!("{operation}: {error}")),
            _ => ExchangeError::Local(format!("{operation}: {error}")),
        }
    }
}

/// Whether packets to `address` stay on this host: only then does an exchange tell anything of the service here, and
/// nothing of another server with the same anycast address. Sends nothing.
pub async fn is_own(address: Ipv6Addr) -> Result<bool, ExchangeError> {
    // The source of a packet to an address of this host is that address; discard, as no packet is sent.
    let socket = udp((address, 9).into()).await?;
    let source = socket.local_addr().map_err(|error| ExchangeError::of("getsockname", &error))?;
    Ok(source.ip() == address)
}

/// A connected UDP socket with a port of its own.
pub async fn udp(address: SocketAddr) -> Result<UdpSocket, ExchangeError> {
    let any: SocketAddr = if address.is_ipv6() { (Ipv6Addr::UNSPECIFIED, 0).into() } else { ([0, 0, 0, 0], 0).into() };
    let socket = UdpSocket::bind(any).await.map_err(|error| ExchangeError::of("bind", &error))?;
    socket.connect(address).await.map_err(|error| ExchangeError::of("connect", &error))?;
    Ok(socket)
}

/// A TCP connection.
pub async fn tcp(address: SocketAddr) -> Result<TcpStream, ExchangeError> {
    let stream = TcpStream::connect(address).await.map_err(|error| ExchangeError::of("connect", &error))?;
    stream.set_nodelay(true).map_err(|error| ExchangeError::of("TCP_NODELAY", &error))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_other_side_said_is_its_fault() {
        let of = |code: Errno| ExchangeError::of("connect", &io::Error::from_raw_os_error(code.raw_os_error()));
        for code in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::PIPE, Errno::HOSTUNREACH, Errno::TIMEDOUT] {
            assert!(matches!(of(code), ExchangeError::Peer(_)), "{code:?}");
        }
        for code in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::NOMEM,
            Errno::NETUNREACH,
            Errno::NETDOWN,
            Errno::ADDRNOTAVAIL,
            Errno::ACCESS,
            Errno::PERM,
            Errno::INVAL,
        ] {
            assert!(matches!(of(code), ExchangeError::Local(_)), "{code:?}");
        }
    }

    #[tokio::test]
    async fn an_address_of_this_host_is_known_as_such() {
        assert_eq!(is_own(Ipv6Addr::LOCALHOST).await, Ok(true));
        // Documentation address: no route, or one that leads away.
        let away = is_own("2001:db8:ffff::1".parse().unwrap()).await;
        assert!(matches!(away, Ok(false) | Err(ExchangeError::Local(_))), "{away:?}");
    }
}
