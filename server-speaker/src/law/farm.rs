//! The view of the farm: who advertises the prefix at which cost (from the LSDB) and what each says about itself (from
//! its farm TLV), with honest clamps: nobody gets traffic for a claim that the farm finds absurd.

use ospf_proto::id::RouterId;
use serde::{Serialize, Serializer};

use super::tuning::Tuning;

/// What a server says about its service in its farm TLV (docs/farm-tlv.md), rates in queries per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Claim {
    /// Its capacity, if it knows.
    pub mu: Option<f64>,
    /// Its offered rate.
    pub x: Option<f64>,
    /// Its nominal capacity.
    pub nominal: Option<f64>,
}

/// Another server that advertises the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Peer {
    /// Who.
    #[serde(serialize_with = "text")]
    pub router: RouterId,
    /// The cost in the LSDB.
    pub cost: u16,
    /// Its record; none for a plain router.
    pub claim: Option<Claim>,
    /// How many next hops it stands for at routers that share equally.
    pub hops: u32,
}

/// The farm as one server sees it, itself left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Farm {
    /// Everybody else who advertises the prefix and is reachable.
    pub peers: Vec<Peer>,
    /// How many equal-cost next hops the routers install.
    pub width: usize,
    /// Every router of the link shares by capacity instead of equally.
    pub by_capacity: bool,
}

/// A server with figures that can be counted with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Member {
    /// Who.
    #[serde(serialize_with = "text")]
    pub router: RouterId,
    /// Its cost.
    pub cost: u16,
    /// In the lowest-cost class.
    pub in_class: bool,
    /// Capacity, clamped or assumed.
    pub mu: f64,
    /// Offered rate, as told or assumed.
    pub x: f64,
    /// Shares of the traffic it gets beside the others (next hops, or capacity where routers weigh).
    pub m: f64,
    /// Next hops of a router that it takes.
    pub hops: u32,
}

impl Farm {
    /// Everybody, `me` instead of my echo in the LSDB, lowest Router ID first.
    fn with<'a>(&'a self, me: &'a Peer) -> Vec<&'a Peer> {
        let mut all: Vec<&Peer> = self.peers.iter().filter(|p| p.router != me.router).chain([me]).collect();
        all.sort_by_key(|p| p.router);
        all
    }

    /// The nominal capacities of all with `me`, as far as they are told, lowest Router ID first.
    pub fn nominals(&self, me: &Peer) -> Vec<f64> {
        let all = self.with(me);
        all.iter().filter_map(|p| p.claim?.nominal).filter(|nominal| nominal.is_finite() && *nominal > 0.0).collect()
    }

    /// How many next hops the routers' width leaves for `me` beside the others of my cost, and whether the farm has more than
    /// fit and it is mine to give some back: of several servers with more than one next hop that of the highest Router ID.
    pub fn room(&self, me: &Peer) -> (u32, bool) {
        let others = || self.peers.iter().filter(|p| p.router != me.router && p.cost == me.cost);
        let taken: usize = others().map(|p| p.hops.max(1) as usize).sum();
        let room = u32::try_from(self.width.saturating_sub(taken)).unwrap_or(u32::MAX);
        let last = others().filter(|p| p.hops > 1).all(|p| p.router < me.router);
        (room, me.hops > room && last)
    }

    /// The members with `me` among them, lowest router ID first. None while nobody knows any capacity.
    pub fn members(&self, me: &Peer, tuning: &Tuning) -> Option<Vec<Member>> {
        let all = self.with(me);
        let lowest = all.iter().map(|p| p.cost).min()?;
        let typical = median(all.iter().filter_map(|p| p.claim?.mu).collect())?;
        let told: Vec<f64> = all.iter().filter(|p| p.cost == lowest).filter_map(|p| p.claim?.x).collect();
        let typical_x = lower_median(told.clone()).filter(|_| told.len() > 2);
        let x_of = |peer: &Peer, mu| {
            let x = peer.claim.and_then(|claim| claim.x).unwrap_or(0.0);
            if peer.router == me.router { x } else { trusted_x(x, typical_x.unwrap_or(mu), tuning) }
        };
        let mu_of = |peer: &Peer| trusted_mu(peer.claim, typical, tuning);
        let known: Vec<f64> = all
            .iter()
            .filter(|p| p.cost == lowest && p.claim.is_some_and(|claim| claim.x.is_some()))
            .map(|p| x_of(p, mu_of(p)))
            .collect();
        let mean_x = if known.is_empty() { 0.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
        let member = |peer: &&Peer| {
            let in_class = peer.cost == lowest;
            let mu = mu_of(peer);
            let x = match peer.claim {
                Some(claim) if claim.x.is_some() || peer.router == me.router => x_of(peer, mu),
                _ if in_class => mean_x,
                _ => 0.0,
            };
            let m = if self.by_capacity { mu.max(f64::MIN_POSITIVE) } else { f64::from(peer.hops.max(1)) };
            Member { router: peer.router, cost: peer.cost, in_class, mu, x, m, hops: peer.hops.max(1) }
        };
        Some(all.iter().map(member).collect())
    }
}

/// The claimed offered rate, at most 4 times the typical one. Routers share about equally, so nobody is offered far more than
/// the others of the class; in a farm of two that says nothing, and the claim is held against the capacity.
fn trusted_x(x: f64, typical: f64, tuning: &Tuning) -> f64 {
    if x.is_finite() { x.clamp(0.0, (tuning.claim * typical).max(0.0)) } else { 0.0 }
}

/// The claimed capacity, at most 4 times the nominal and at most 4 times the farm's median. One server that is believed to
/// be as strong as all others together would empty an overloaded farm.
fn trusted_mu(claim: Option<Claim>, typical: f64, tuning: &Tuning) -> f64 {
    let Some(claim) = claim else { return typical };
    let Some(mu) = claim.mu.filter(|mu| mu.is_finite()) else { return typical };
    // A nominal is a claim too.
    mu.clamp(0.0, tuning.claim * claim.nominal.unwrap_or(typical).min(typical))
}

/// The median of the known that are of use, the lower one of two.
fn lower_median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|v| v.is_finite() && *v >= 0.0);
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// The median of the capacities that are any.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|v| v.is_finite() && *v > 0.0);
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    values.get(values.len() / 2 - 1).map(|lower| (lower + upper) / 2.0)
}

/// Serialises a Router ID as people write it.
pub fn text<S: Serializer>(router: &RouterId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(router)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(router: u32, cost: u16, claim: Option<(Option<f64>, f64)>) -> Peer {
        let claim = claim.map(|(mu, x)| Claim { mu, x: Some(x), nominal: None });
        Peer { router: RouterId(router), cost, claim, hops: 1 }
    }

    fn members(peers: Vec<Peer>, me: Peer) -> Vec<Member> {
        Farm { peers, width: 16, by_capacity: false }.members(&me, &Tuning::default()).unwrap()
    }

    #[test]
    fn without_any_known_capacity_there_is_nothing_to_count_with() {
        let farm = Farm { peers: vec![peer(2, 10, None)], width: 16, by_capacity: false };
        assert_eq!(farm.members(&peer(1, 10, Some((None, 5.0))), &Tuning::default()), None);
    }

    #[test]
    fn an_unknown_capacity_is_the_median_of_the_known() {
        let peers = vec![peer(2, 10, Some((Some(100.0), 1.0))), peer(3, 10, Some((Some(300.0), 1.0)))];
        let all = members(peers, peer(1, 10, Some((None, 1.0))));
        assert_eq!(all[0].mu, 200.0);
    }

    #[test]
    fn a_peer_without_record_carries_the_mean_of_the_class_only_while_in_it() {
        let peers = vec![peer(2, 10, Some((Some(100.0), 30.0))), peer(3, 10, None), peer(4, 25, None)];
        let all = members(peers, peer(1, 10, Some((Some(100.0), 50.0))));
        assert_eq!((all[2].x, all[2].mu, all[2].in_class), (40.0, 100.0, true));
        assert_eq!((all[3].x, all[3].mu, all[3].in_class), (0.0, 100.0, false));
    }

    #[test]
    fn a_claim_above_four_times_the_median_or_the_nominal_is_clamped() {
        let peers = vec![peer(2, 10, Some((Some(100.0), 1.0))), peer(3, 10, Some((Some(9000.0), 1.0)))];
        let all = members(peers, peer(1, 10, Some((Some(100.0), 1.0))));
        assert_eq!(all[2].mu, 400.0);
        let mut bold = peer(3, 10, Some((Some(9000.0), 1.0)));
        bold.claim = bold.claim.map(|c| Claim { nominal: Some(90.0), ..c });
        let all = members(vec![peer(2, 10, Some((Some(100.0), 1.0))), bold], peer(1, 10, Some((Some(100.0), 1.0))));
        assert_eq!(all[2].mu, 360.0);
    }

    #[test]
    fn an_echo_of_myself_in_the_lsdb_does_not_count_twice() {
        let all = members(vec![peer(1, 30, None), peer(2, 10, None)], peer(1, 10, Some((Some(100.0), 50.0))));
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].cost, 10);
    }

    #[test]
    fn routers_that_weigh_by_capacity_make_the_shares_proportional_to_it() {
        let farm = Farm { peers: vec![peer(2, 10, Some((Some(100.0), 1.0)))], width: 16, by_capacity: true };
        let all = farm.members(&peer(1, 10, Some((Some(400.0), 1.0))), &Tuning::default()).unwrap();
        assert_eq!((all[0].m, all[1].m), (400.0, 100.0));
    }

    #[test]
    fn an_offered_rate_far_above_the_others_is_clamped_and_our_own_is_not() {
        let of = |router, x| peer(router, 10, Some((Some(1000.0), x)));
        let all = members(vec![of(2, 500.0), of(3, 400.0), of(4, 4e6)], of(1, 450.0));
        assert_eq!(all[3].x, 4.0 * 450.0, "the median of the class, four times");
        let all = members(vec![of(2, 10.0), of(3, 10.0)], of(1, 900.0));
        assert_eq!(all[0].x, 900.0, "what we measure ourselves is no claim");
        let all = members(vec![of(2, 4e6)], of(1, 0.0));
        assert_eq!(all[1].x, 4000.0, "of two, by its capacity");
    }

    #[test]
    fn figures_that_are_no_numbers_are_as_unknown() {
        let all = members(vec![peer(2, 10, Some((Some(f64::NAN), f64::NAN)))], peer(1, 10, Some((Some(100.0), 50.0))));
        assert_eq!((all[1].mu, all[1].x), (100.0, 0.0));
    }

    #[test]
    fn a_nominal_is_a_claim_too() {
        let of = |router, mu| peer(router, 10, Some((Some(mu), 1.0)));
        let mut bold = of(3, 1e6);
        bold.claim = bold.claim.map(|c| Claim { nominal: Some(1e6), ..c });
        let all = members(vec![of(2, 100.0), bold], of(1, 100.0));
        assert_eq!(all[2].mu, 400.0);
    }

    #[test]
    fn the_last_server_of_several_next_hops_makes_up_for_too_many() {
        let of = |router, hops| Peer { hops, ..peer(router, 10, None) };
        let farm = |others: [Peer; 3]| Farm { peers: others.to_vec(), width: 8, by_capacity: false };
        let out = Peer { cost: 21, ..of(9, 4) };
        assert_eq!(farm([of(2, 3), of(3, 1), out]).room(&of(1, 4)), (4, false));
        assert_eq!(farm([of(2, 3), of(3, 2), out]).room(&of(1, 4)), (3, false), "3 is behind me and has two");
        assert_eq!(farm([of(2, 3), of(3, 1), out]).room(&of(4, 5)), (4, true));
        assert_eq!(farm([of(2, 6), of(3, 4), out]).room(&of(4, 1)), (0, true));
    }
}
