//! Hearing Hellos: silence is judged only when all has been taken that has come, and nobody is judged by one that came later.

use std::net::Ipv6Addr;
use std::task::{Context, Poll};
use std::time::Duration;

use ospf_proto::engine::Input;
use ospf_proto::id::IfaceId;
use ospf_proto::packet::PacketType;
use ospf_proto::time::Instant;

use super::{Driver, took};
use crate::netio::inlet::Arrived;

/// How long Hellos are heard at a stretch before whatever else is due has its turn: a flood of them shall not keep our own
/// from going out, whose interval is a second or more.
const HEARING: Duration = Duration::from_millis(500);

/// A Hello that was taken from its socket.
#[derive(Debug)]
struct Heard {
    iface: IfaceId,
    arrived: Instant,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    bytes: Vec<u8>,
}

impl Driver {
    /// Waits for Hellos and takes a batch of them.
    pub(super) fn poll_hellos(&mut self, cx: &mut Context<'_>) -> Poll<IfaceId> {
        for iface in self.in_turn() {
            let Some(socket) = self.sockets.get_mut(&iface) else { continue };
            let polled = socket.poll_hellos(cx, &mut self.hellos);
            if took(socket, polled, cx) {
                self.heard_last = true;
                return Poll::Ready(iface);
            }
        }
        Poll::Pending
    }

    /// Gives the engine the Hellos that wait, for [`HEARING`] at a stretch at most.
    pub(super) fn hear(&mut self) {
        let until = self.clock.now() + HEARING;
        while self.clock.now() < until {
            let mut heard = Vec::new();
            if !self.take_of_each(&mut heard) {
                return;
            }
            self.give(heard);
        }
    }

    /// Gives the engine the batch of Hellos that was taken of an interface.
    pub(super) fn on_hellos(&mut self, iface: IfaceId) {
        let mut heard = Vec::new();
        self.keep(iface, &mut heard);
        if self.is_due() {
            // With these the timers fire; what others have sent in time counts as well.
            self.take_of_each(&mut heard);
        }
        self.give(heard);
    }

    /// Before the other packets that were taken of an interface the engine hears the Hellos that rest there, if there is a
    /// Database Description among them: taken for one of the adjacency before, it would be lost, and a restart would take a
    /// HelloInterval longer. Whatever else a neighbor says means the same on either side of its Hello, and does not wait for
    /// those of all others: to hear a crowd took longer than the rest of what a cost change takes.
    pub(super) fn hear_before(&mut self, iface: IfaceId) {
        let describes = |packet: Arrived<'_>| packet.bytes.get(1) == Some(&(PacketType::DbDesc as u8));
        if !self.batch.packets().any(describes) {
            return;
        }
        let socket = self.sockets.get_mut(&iface);
        if socket.is_some_and(|socket| socket.hellos_rest() && socket.hellos_now(&mut self.hellos)) {
            self.on_hellos(iface);
        }
    }

    /// Takes a batch of each interface; says whether there were any.
    fn take_of_each(&mut self, heard: &mut Vec<Heard>) -> bool {
        let mut any = false;
        for iface in self.in_turn() {
            if self.sockets.get_mut(&iface).is_some_and(|socket| socket.hellos_now(&mut self.hellos)) {
                any = true;
                self.keep(iface, heard);
            }
        }
        any
    }

    /// Keeps the batch that was taken of an interface.
    fn keep(&self, iface: IfaceId, heard: &mut Vec<Heard>) {
        let taken = self.clock.now().since_epoch();
        heard.extend(self.hellos.packets().map(|packet| Heard {
            iface,
            arrived: Instant::from_epoch(taken.saturating_sub(packet.waited)),
            src: packet.src,
            dst: packet.dst,
            bytes: packet.bytes.to_vec(),
        }));
    }

    /// Gives the engine Hellos, each at the time of its arrival (or of the last turn, if that was later): what was due by then
    /// has its turn before it, and what is due since comes after it.
    fn give(&mut self, mut heard: Vec<Heard>) {
        heard.sort_by_key(|hello| hello.arrived);
        for Heard { iface, arrived, src, dst, bytes } in heard {
            if let Some(name) = self.names.get(&iface) {
                self.reporter.received(name, &bytes);
            }
            self.engine.handle(arrived, Input::Packet { iface, src, dst, bytes: &bytes });
            self.turn.get_or_insert_default();
            self.drain();
        }
    }
}
