//! The kernel's word that a socket is gone (`sock_diag` multicast, no capability needed): the death of a service is an
//! event, not something found at the next look.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use netlink_packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::AF_INET6;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use ospfd_lite::netio::register_netlink;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::warn;

use super::MonitorError;

/// Multicast groups of `enum sknetlink_groups` (linux/sock_diag.h).
const INET6_TCP_DESTROY: u32 = 3;
const INET6_UDP_DESTROY: u32 = 4;
/// A busy TCP service ends thousands of connections a second on the port that it listens on: one look for all of this time.
const CALM: Duration = Duration::from_millis(2);

/// Wakes somebody when an IPv6 socket with one of these local ports goes. The task ends with this value.
#[derive(Debug)]
pub struct DestroyWatch {
    task: JoinHandle<()>,
}

impl DestroyWatch {
    /// Starts listening in this thread's network namespace. Needs a tokio runtime.
    pub fn open(ports: BTreeSet<u16>, wake: Arc<Notify>) -> Result<Self, MonitorError> {
        let open = || -> io::Result<AsyncFd<Socket>> {
            let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            socket.add_membership(INET6_UDP_DESTROY)?;
            socket.add_membership(INET6_TCP_DESTROY)?;
            socket.set_non_blocking(true)?;
            register_netlink(socket)
        };
        let socket =
            open().map_err(|source| MonitorError::Netlink { operation: "listen for destroyed sockets", source })?;
        Ok(DestroyWatch { task: tokio::spawn(listen(socket, ports, wake)) })
    }
}

impl Drop for DestroyWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(socket: AsyncFd<Socket>, ports: BTreeSet<u16>, wake: Arc<Notify>) {
    let mut buffer: Vec<u8> = Vec::with_capacity(64 * 1024);
    loop {
        let mut guard = match socket.readable().await {
            Ok(guard) => guard,
            Err(error) => return warn!("no more notice of destroyed sockets, looking every 20 ms instead: {error}"),
        };
        let received = guard.try_io(|socket| {
            buffer.clear();
            socket.get_ref().recv(&mut buffer, 0)
        });
        match received {
            Err(_would_block) => {}
            Ok(Ok(_)) if !concerns(&buffer, &ports) => {}
            // What was lost on the way (ENOBUFS) may have been ours.
            Ok(_) => {
                wake.notify_one();
                tokio::time::sleep(CALM).await;
            }
        }
    }
}

fn concerns(mut bytes: &[u8], ports: &BTreeSet<u16>) -> bool {
    while !bytes.is_empty() {
        let Ok(length) = NetlinkBuffer::new_checked(&bytes).map(|message| message.length() as usize) else {
            return true;
        };
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(bytes);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        match message.map(|message| message.payload) {
            Ok(NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)))
                if response.header.family == AF_INET6 && !ports.contains(&response.header.socket_id.source_port) => {}
            // Ours, or nothing that this can read: one look too many does no harm.
            _ => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[tokio::test]
    async fn a_closed_socket_of_the_port_wakes_and_another_does_not() {
        let service = UdpSocket::bind("[::1]:0").unwrap();
        let other = UdpSocket::bind("[::1]:0").unwrap();
        let wake = Arc::new(Notify::new());
        let port = service.local_addr().unwrap().port();
        let _watch = DestroyWatch::open([port].into(), wake.clone()).unwrap();
        let patience = Duration::from_secs(5);
        drop(other);
        assert!(tokio::time::timeout(Duration::from_millis(200), wake.notified()).await.is_err());
        drop(service);
        tokio::time::timeout(patience, wake.notified()).await.expect("woken by the end of the service's socket");
    }
}
