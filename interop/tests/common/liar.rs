//! A server of the farm that tells the others whatever it likes: an engine of ours, driven by the test, beside a service
//! like any other.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use interop::{
    attack::neighbor::{Attacker, Parties},
    peer::Kind,
    process::Proc,
    topology::{link_local, net},
};
use ospf_proto::{
    engine::{Command, Companion},
    id::RouterId,
    lsa::{FarmTlv, Prefix, ServiceRecord, Tlv},
};

use super::{ONE, PATIENCE, SERVICE, ours::Node};

/// What it says about itself, rates in 0.001 queries per second; `None` is unknown (all-ones on the wire).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub mu: Option<u32>,
    pub x: Option<u32>,
    pub nominal: Option<u32>,
}

/// The liar; it answers queries as long as it lives.
pub(crate) struct Liar {
    pub router_id: Ipv4Addr,
    attacker: Attacker,
    _service: Proc,
}

impl Liar {
    /// Takes the place of a server whose service runs and whose speaker does not.
    pub(crate) fn start(node: Node) -> Result<Self> {
        let Node { place, router_id, service, .. } = node;
        let service = service.context("the liar's service")?;
        place.netns.rtnl()?.add_address("lo", net(SERVICE)?)?;
        let parties = Parties {
            router: router_id,
            address: place.address,
            victim: ONE,
            victim_address: link_local(1),
            kind: Kind::Broadcast,
        };
        let attacker = Attacker::start(&place.netns, parties)?;
        attacker.wait_full(PATIENCE)?;
        let prefix = SERVICE.parse::<Prefix>()?;
        attacker.say(Command::Advertise { prefixes: [(prefix, 10)].into(), companion: Companion::None });
        Ok(Self { router_id, attacker, _service: service })
    }

    /// Tells this.
    pub(crate) fn claim(&self, claim: Claim) -> Result<()> {
        self.tell(self.record(claim)?.to_tlv());
        Ok(())
    }

    /// Tells a Farm TLV that says it has one record more than there are bytes.
    pub(crate) fn stutter(&self, claim: Claim) -> Result<()> {
        let mut tlv = self.record(claim)?.to_tlv();
        // # records, behind magic, version, sharing mode and ECMP width.
        *tlv.value.get_mut(9).context("a short TLV")? += 1;
        self.tell(tlv);
        Ok(())
    }

    fn tell(&self, tlv: Tlv) {
        self.attacker.say(Command::RouterInformation(vec![tlv]));
    }

    fn record(&self, claim: Claim) -> Result<FarmTlv> {
        let prefix = SERVICE.parse::<Prefix>()?;
        let Claim { mu, x, nominal } = claim;
        let record = ServiceRecord { mu, x, nominal, ..ServiceRecord::new(&prefix, RouterId(self.router_id.into())) };
        Ok(FarmTlv { services: vec![record], ..FarmTlv::default() })
    }
}
