//! The reconciler over a kernel that refuses, forgets and is changed by others.

use std::future::poll_fn;
use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::libc::{EINVAL, EOPNOTSUPP};
use ospf_proto::lsa::Prefix;

use super::groups::Lacks;
use super::ids::slot_id;
use super::model::{GroupKind, Object};
use super::plan::Op;
use super::reconciler::{AUDIT, FIGHT, FIGHT_PAUSE, Port, RETRY_MAX, Reconciler};
use super::state::State;
use super::tables::{Refused, Statistics};
use super::testing::{apply, possible};
use super::*;

type Refuse = fn(&Op) -> Option<i32>;

/// A kernel in memory.
struct Fake {
    state: State,
    refuse: Refuse,
    /// Notifications wait.
    told: bool,
}

impl Fake {
    fn new(refuse: Refuse) -> Self {
        let mut state = State::new(FibOptions::default(), 1);
        state.links.insert(1, true);
        (state.stale, state.disturbed) = (false, false);
        Fake { state, refuse, told: false }
    }
}

impl Port for Fake {
    fn state(&self) -> &State {
        &self.state
    }

    fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    fn refresh(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.state.stale) {
            self.state.reads += 1;
            self.state.disturbed = true;
        }
        Ok(())
    }

    fn execute(&mut self, ops: &[Op]) -> io::Result<Vec<Refused>> {
        let mut refused = Vec::new();
        for op in ops {
            match (self.refuse)(op) {
                Some(code) => refused.push(Refused { op: op.clone(), code, error: format!("errno {code}") }),
                // What depends on something that was refused is refused as well.
                None if !possible(&self.state.kernel, op) => {
                    refused.push(Refused { op: op.clone(), code: EINVAL, error: "no such object".to_owned() });
                }
                None => apply(&mut self.state.kernel, op),
            }
        }
        Ok(refused)
    }

    fn poll_changed(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.told) {
            self.state.disturbed = true;
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn statistics(&mut self) -> io::Result<Statistics> {
        Err(io::Error::from_raw_os_error(EINVAL))
    }
}

fn member(n: u16) -> Member {
    Member { iface: 1, gateway: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n) }
}

fn prefix() -> Prefix {
    "2001:db8:53::53/128".parse().unwrap()
}

fn install(ns: &[u16]) -> Vec<FibChange> {
    let shares = ns.iter().map(|n| (member(*n), 1)).collect();
    vec![FibChange { prefix: prefix(), wanted: Some(Wanted { shares: Arc::new(shares), originators: ns.len() }) }]
}

fn reconciler(refuse: Refuse) -> Reconciler<Fake> {
    let options = FibOptions { slots: 16, ..FibOptions::default() };
    Reconciler::new(Fake::new(refuse), &options, Lacks::default())
}

/// Lets everything happen that is due within a time.
async fn pass(reconciler: &mut Reconciler<Fake>, time: Duration) {
    let follow = poll_fn(|cx| reconciler.poll_follow(cx));
    assert!(tokio::time::timeout(time, follow).await.is_err(), "it never ends by itself");
}

fn gateways(reconciler: &Reconciler<Fake>) -> Vec<Member> {
    reconciler.port.state.kernel.spread(&prefix()).unwrap_or_default().into_keys().collect()
}

#[tokio::test(start_paused = true)]
async fn without_resilient_groups_prefixes_share_by_hash_threshold_and_say_so() {
    let mut reconciler =
        reconciler(|op| matches!(op, Op::CreateGroup(_, GroupKind::Resilient(_), _)).then_some(EOPNOTSUPP));
    reconciler.apply(install(&[1, 2]));
    let installed = reconciler.installed(&prefix()).unwrap();
    assert_eq!(installed.sharing, "hash-threshold");
    assert_eq!(installed.why.as_deref(), Some("this kernel has no resilient groups: errno 95"));
    assert_eq!(gateways(&reconciler), [member(1), member(2)]);
    assert_eq!(reconciler.status(&prefix()).as_deref(), Some("installed"));
    pass(&mut reconciler, Duration::from_secs(120)).await;
    assert!(reconciler.port.state.kernel.slots.is_empty(), "the slots of the attempt are gone");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_refused_is_left_out_shown_and_tried_again() {
    fn refuse(op: &Op) -> Option<i32> {
        let gateway = match op {
            Op::CreateGateway(_, member) | Op::ReplaceGateway(_, member) => member.gateway,
            _ => return None,
        };
        (gateway == member(2).gateway).then_some(EINVAL)
    }
    let mut reconciler = reconciler(refuse);
    reconciler.apply(install(&[1, 2, 3]));
    assert_eq!(gateways(&reconciler), [member(1), member(3)]);
    let status = reconciler.status(&prefix()).unwrap();
    assert_eq!(status, "installed in part (refused: errno 22)");
    let refused = reconciler.counters().refused;
    pass(&mut reconciler, Duration::from_secs(1)).await;
    assert!(reconciler.counters().refused > refused, "it is tried again");
    // Ever more rarely: 0.1, 0.2 ... 25.6, 30, 30 s.
    let before = reconciler.counters().refused;
    pass(&mut reconciler, Duration::from_secs(300)).await;
    let tries = reconciler.counters().refused - before;
    assert!(tries < 600, "{tries} refusals in five minutes");
    reconciler.port.refuse = |_| None;
    pass(&mut reconciler, RETRY_MAX).await;
    assert_eq!(gateways(&reconciler), [member(1), member(2), member(3)]);
    assert_eq!(reconciler.status(&prefix()).as_deref(), Some("installed"));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_changes_is_put_right_and_a_fight_is_slowed_down() {
    let mut reconciler = reconciler(|_| None);
    reconciler.apply(install(&[1, 2]));
    let tamper = |reconciler: &mut Reconciler<Fake>| {
        reconciler.port.state.kernel.set_object(slot_id(0, Some(3)), Object::Gateway(member(9)));
        reconciler.port.told = true;
    };
    for _ in 0..FIGHT {
        tamper(&mut reconciler);
        pass(&mut reconciler, Duration::from_millis(1)).await;
        assert_eq!(gateways(&reconciler), [member(1), member(2)], "at once");
    }
    assert_eq!(reconciler.counters().fights, 0);
    for _ in 0..5 {
        tamper(&mut reconciler);
        pass(&mut reconciler, Duration::from_millis(1)).await;
        assert_eq!(gateways(&reconciler).len(), 3, "not at once any more");
        pass(&mut reconciler, FIGHT_PAUSE).await;
        assert_eq!(gateways(&reconciler), [member(1), member(2)], "but soon");
    }
    assert_eq!(reconciler.counters().fights, 5);
    // A minute of peace, and it is mended at once again.
    pass(&mut reconciler, Duration::from_secs(61)).await;
    tamper(&mut reconciler);
    pass(&mut reconciler, Duration::from_millis(1)).await;
    assert_eq!(gateways(&reconciler), [member(1), member(2)]);
}

#[tokio::test(start_paused = true)]
async fn what_changes_in_silence_is_found_by_the_audit() {
    let mut reconciler = reconciler(|_| None);
    reconciler.apply(install(&[1, 2]));
    reconciler.port.state.kernel.set_object(slot_id(0, Some(3)), Object::Gateway(member(9)));
    pass(&mut reconciler, AUDIT + Duration::from_millis(1)).await;
    assert_eq!(gateways(&reconciler), [member(1), member(2)]);
    assert_eq!(reconciler.counters().repairs, 1);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_goes_down_takes_its_gateways_out_of_the_slots() {
    let mut reconciler = reconciler(|_| None);
    let far = Member { iface: 2, ..member(7) };
    let shares = [(member(1), 1), (far, 1)].into_iter().collect();
    let wanted = Some(Wanted { shares: Arc::new(shares), originators: 2 });
    reconciler.apply(vec![FibChange { prefix: prefix(), wanted }]);
    assert_eq!(
        (gateways(&reconciler), reconciler.status(&prefix()).as_deref()),
        (vec![member(1)], Some("installed in part (link down)"))
    );
    reconciler.port.state.links.insert(2, true);
    reconciler.port.told = true;
    pass(&mut reconciler, Duration::from_millis(1)).await;
    assert_eq!(gateways(&reconciler), [member(1), far]);
    // The kernel forgets the objects of a link without carrier in silence; an interface that comes back has another index.
    for index in 0..16 {
        let slot = slot_id(0, Some(index));
        if reconciler.port.state.kernel.slots[&0].slots.get(index) == Some(Some(far)) {
            reconciler.port.state.kernel.remove_object(slot);
        }
    }
    reconciler.port.state.links.remove(&2);
    (reconciler.port.state.stale, reconciler.port.told) = (true, true);
    pass(&mut reconciler, Duration::from_millis(1)).await;
    assert_eq!(gateways(&reconciler), [member(1)]);
}
