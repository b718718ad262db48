//! The demo with each link router, and the demo with its law broken: that one must fail.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use interop::{
    demo::{self, Break, Options, Router},
    harness::{self, Needs},
    lab::Lab,
    lab_tests,
};

fn main() -> ExitCode {
    let mut tests = lab_tests![
        the_farm_works_with_ospfd_lite,
        the_farm_works_with_frr,
        the_farm_works_with_bird,
        a_naive_law_fails_the_demo,
    ];
    for test in &mut tests {
        test.limit = Duration::from_secs(300);
    }
    harness::main(Needs::Daemons, &tests)
}

fn play(router: Router, broken: Option<Break>) -> Result<bool> {
    demo::run(&Options { router, pcap: None, plot: None, r#break: broken })
}

fn the_farm_works_with_ospfd_lite(_lab: &mut Lab) -> Result<()> {
    ensure!(play(Router::OspfdLite, None)?, "a claim did not hold");
    Ok(())
}

fn the_farm_works_with_frr(_lab: &mut Lab) -> Result<()> {
    ensure!(play(Router::Frr, None)?, "a claim did not hold");
    Ok(())
}

fn the_farm_works_with_bird(_lab: &mut Lab) -> Result<()> {
    ensure!(play(Router::Bird, None)?, "a claim did not hold");
    Ok(())
}

fn a_naive_law_fails_the_demo(_lab: &mut Lab) -> Result<()> {
    ensure!(!play(Router::OspfdLite, Some(Break::ClassRule))?, "every claim held although the law is broken");
    Ok(())
}
