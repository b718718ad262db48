//! A packet capture in a namespace, without root and without tcpdump: an AF_PACKET socket into a pcap file.

use std::{
    fs::File,
    io::BufWriter,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt::RcvBuf,
    },
};
use pcap_file::pcap::{PcapPacket, PcapWriter};

use crate::netns::Netns;

/// What to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Everything.
    All,
    /// OSPF over IPv6 (next header 89 behind a plain IPv6 header).
    Ospf,
}

impl Keep {
    fn wants(self, frame: &[u8]) -> bool {
        let ospf = || matches!(frame.get(12..14), Some([0x86, 0xdd])) && frame.get(20) == Some(&89);
        self == Self::All || ospf()
    }
}

/// A running capture; the file is complete when it has been finished.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    packets: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Capture {
    /// Captures what passes `interface`, in both directions, into a pcap file.
    pub fn start(netns: &Netns, interface: &str, file: &Path, keep: Keep) -> Result<Self> {
        let index = usize::try_from(netns.rtnl()?.index(interface)?)?;
        let socket = netns
            .run(|| socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll))?
            .context("opening a packet socket")?;
        setsockopt(&socket, RcvBuf, &(4 << 20)).context("sizing the capture's buffer")?;
        let file = File::create(file).with_context(|| format!("creating {}", file.display()))?;
        let mut writer = PcapWriter::new(BufWriter::new(file)).context("writing a pcap header")?;
        let (stop, packets) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&packets));
        let thread = thread::Builder::new().name("capture".into()).spawn(move || {
            let mut buffer = vec![0; 65536];
            while !stopped.load(Ordering::Relaxed) {
                let Some((length, from)) = receive(&socket, &mut buffer)? else { continue };
                let frame = buffer.get(..length).unwrap_or_default();
                if from != index || !keep.wants(frame) {
                    continue; // the socket hears every interface of the namespace
                }
                let at = SystemTime::now().duration_since(UNIX_EPOCH)?;
                writer.write_packet(&PcapPacket::new(at, u32::try_from(length)?, frame)).context("writing a packet")?;
                counted.fetch_add(1, Ordering::Relaxed);
            }
            writer.into_writer().into_inner().map_err(|error| anyhow!("{error}")).context("completing the capture")?;
            Ok(())
        })?;
        Ok(Self { stop, packets, thread: Some(thread) })
    }

    /// Packets so far.
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// Ends the capture and completes the file; the number of packets in it.
    pub fn finish(mut self) -> Result<u64> {
        self.end()?;
        Ok(self.packets())
    }

    fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |thread| thread.join().map_err(|_| anyhow!("the capture panicked"))?)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("capture: {error:#}");
        }
    }
}

/// One frame and the index of its interface; `None` after a short while without one.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<(usize, usize)>> {
    if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(50u8))? == 0 {
        return Ok(None);
    }
    let (length, from) = recvfrom::<LinkAddr>(socket.as_raw_fd(), buffer).context("receiving a frame")?;
    Ok(from.map(|from| (length, from.ifindex())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ospf_is_told_from_the_rest() {
        let mut frame = vec![0; 54];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        assert!(!Keep::Ospf.wants(&frame));
        frame[20] = 89;
        assert!(Keep::Ospf.wants(&frame));
        assert!(!Keep::Ospf.wants(&frame[..20]));
        assert!(Keep::All.wants(&[]));
    }
}
