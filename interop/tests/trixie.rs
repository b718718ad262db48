//! The newer peers: FRR 10 and BIRD 2.17 and 3 from the Debian root that `lab root trixie` makes.

mod common;

use std::process::ExitCode;

use anyhow::Result;
use common::{agree_on_a_broadcast_link, share_an_address, shares::four_routers_of_one_server};
use interop::{
    harness::{self, LabTest, Needs},
    lab::Lab,
    lab_tests,
    peer::Version,
    root::trixie,
};

fn main() -> ExitCode {
    let mut tests = lab_tests![
        frr_10_and_bird_2_17_agree,
        bird_3_and_the_hosts_frr_agree,
        frr_10_shares_an_address_over_three_servers,
        four_routers_of_one_server_behind_frr_10,
        four_routers_of_one_server_behind_bird_2_17,
    ];
    tests.push(LabTest::new("frr_10_and_bird_2_17_agree_without_root", frr_10_and_bird_2_17_agree).rootless());
    harness::main(Needs::Peers, &tests)
}

fn frr_10_and_bird_2_17_agree(lab: &mut Lab) -> Result<()> {
    agree_on_a_broadcast_link(lab, &Version::Frr(Some(trixie()?)), &Version::Bird(Some(trixie()?))).map(drop)
}

fn bird_3_and_the_hosts_frr_agree(lab: &mut Lab) -> Result<()> {
    agree_on_a_broadcast_link(lab, &Version::Frr(None), &Version::Bird3(trixie()?)).map(drop)
}

fn frr_10_shares_an_address_over_three_servers(lab: &mut Lab) -> Result<()> {
    share_an_address(lab, &Version::Frr(Some(trixie()?)), &Version::Bird(None))
}

fn four_routers_of_one_server_behind_frr_10(lab: &mut Lab) -> Result<()> {
    four_routers_of_one_server(lab, &Version::Frr(Some(trixie()?)))
}

fn four_routers_of_one_server_behind_bird_2_17(lab: &mut Lab) -> Result<()> {
    four_routers_of_one_server(lab, &Version::Bird(Some(trixie()?)))
}
