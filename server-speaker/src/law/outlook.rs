//! What would change the cost: the capacities of this server at which the class rule would decide otherwise, all else being
//! as it is. For people (`explain`); the law itself does not use it.

use serde::{Deserialize, Serialize};

use super::farm::{Claim, Farm, Peer};
use super::goodput::Assessment;
use super::{CLASS_COST, Params};

/// A bisection this fine: 1/1000 of the range.
const STEPS: u32 = 20;

/// The thresholds, queries per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// In the class: it would want to leave with less capacity than this; none: with no capacity at all, or not at this
    /// load.
    pub leaves_below: Option<f64>,
    /// Out of the class: it would want to return with this capacity or more; none: not at this load.
    pub returns_above: Option<f64>,
}

impl Outlook {
    /// Weighs the farm with other capacities of `me`.
    pub fn new(params: &Params, farm: &Farm, me: &Peer) -> Outlook {
        let known = me.claim.and_then(|claim| claim.nominal.or(claim.mu)).filter(|mu| *mu > 0.0);
        let Some(most) = known else { return Outlook::default() };
        let wants = |mu: f64| {
            let claim = me.claim.map(|claim| Claim { mu: Some(mu), nominal: claim.nominal.or(Some(most)), ..claim });
            let members = farm.members(&Peer { claim, ..*me }, &params.tuning)?;
            Some(Assessment::new(&members, (farm.width, params.router), &params.tuning))
        };
        let tuning = &params.tuning;
        if me.cost == CLASS_COST {
            let leaves = |mu| {
                wants(mu).is_some_and(|a| {
                    !a.idle && !a.best.contains(&params.router) && a.goodput_best > a.goodput + tuning.gain * a.unit
                })
            };
            return Outlook { leaves_below: edge(leaves, most), returns_above: None };
        }
        let stays_out = |mu| {
            !wants(mu).is_some_and(|a| {
                !a.idle && a.best.contains(&params.router) && a.goodput_best >= a.goodput - tuning.equal * a.unit
            })
        };
        Outlook { leaves_below: None, returns_above: edge(stays_out, 2.0 * most) }
    }
}

/// The capacity up to `most` at which `what` ceases to hold, if it holds for small ones.
fn edge(what: impl Fn(f64) -> bool, most: f64) -> Option<f64> {
    let (mut low, mut high) = (most / 1000.0, most);
    if !what(low) || what(high) {
        return None;
    }
    for _ in 0..STEPS {
        let middle = (low + high) / 2.0;
        if what(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use ospf_proto::id::RouterId;

    use super::super::{Policy, Tuning};
    use super::*;

    fn outlook(x: f64, mine: f64, cost: u16) -> Outlook {
        let claim = |mu, x| Some(Claim { mu: Some(mu), x: Some(x), nominal: Some(1000.0) });
        let peer = |id, cost, claim| Peer { router: RouterId(id), cost, claim, hops: 1 };
        let peers = (1..8).map(|id| peer(id, CLASS_COST, claim(1000.0, x))).collect();
        let farm = Farm { peers, width: 16, by_capacity: false };
        let params = Params {
            policy: Policy::Goodput,
            router: RouterId(9),
            nominal: Some(1000.0),
            shares: None,
            tuning: Tuning::default(),
            min_serving: 1,
        };
        Outlook::new(&params, &farm, &peer(9, cost, claim(mine, if cost == CLASS_COST { x } else { 0.0 })))
    }

    #[test]
    fn in_the_class_the_edge_lies_where_it_can_no_longer_carry_its_share() {
        let edge = outlook(600.0, 1000.0, CLASS_COST).leaves_below.unwrap();
        // t mu < x - 0.2 g1 with t = 0.9.
        assert!((500.0..667.0).contains(&edge), "{edge}");
    }

    #[test]
    fn in_an_overloaded_farm_nothing_makes_it_leave() {
        assert_eq!(outlook(1200.0, 1000.0, CLASS_COST).leaves_below, None);
    }

    #[test]
    fn out_of_the_class_the_edge_lies_where_it_can_carry_a_share() {
        let edge = outlook(600.0, 300.0, 20).returns_above.unwrap();
        assert!((500.0..760.0).contains(&edge), "{edge}");
    }
}
