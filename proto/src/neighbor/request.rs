//! The Link State Request process (RFC 2328 §10.9).

use crate::ctx::{Ctx, Timer};
use crate::id::LsaKey;
use crate::neighbor::{Local, Neighbor};
use crate::packet::{LsReq, LsRequest, PacketBody};
use crate::state::NeighborState;

/// A Link State Request entry on the wire (RFC 5340 §A.3.4).
const ENTRY: usize = 12;

impl Neighbor {
    /// Asks for as many LSAs of the request list as fit into one packet; repeated until all of these have come.
    pub fn request_next(&mut self, ctx: &mut Ctx, local: &Local) {
        let room = (local.body_room() / ENTRY).max(1);
        self.outstanding = self.requests.keys().take(room).copied().collect();
        if self.outstanding.is_empty() {
            ctx.timers.clear(Timer::LsReqRxmt(self.id));
            return;
        }
        let requests = self
            .outstanding
            .iter()
            .map(|key| LsRequest { ls_type: key.ls_type, link_state_id: key.link_state_id, adv_router: key.adv_router })
            .collect();
        local.send(ctx, self.address, PacketBody::LsReq(LsReq { requests }));
        ctx.timers.set(Timer::LsReqRxmt(self.id), ctx.now + local.retransmit_interval);
    }

    /// An LSA has come (from whomever): it need not be asked for any more. Says whether it was on the list.
    pub fn request_satisfied(&mut self, key: &LsaKey) -> bool {
        self.outstanding.remove(key);
        self.requests.remove(key).is_some()
    }

    /// After a Link State Update: asks for the next part, or says that loading is done.
    pub fn continue_loading(&mut self, ctx: &mut Ctx, local: &Local) -> bool {
        if !matches!(self.state, NeighborState::Exchange | NeighborState::Loading) {
            return false;
        }
        if self.requests.is_empty() {
            ctx.timers.clear(Timer::LsReqRxmt(self.id));
            return self.state == NeighborState::Loading;
        }
        if self.outstanding.is_empty() {
            self.request_next(ctx, local);
        }
        false
    }
}
