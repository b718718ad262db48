//! The story: what happens to the farm, what is claimed, and how it is measured.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Act, Measurement, Router,
    stage::{CAPACITY, HALF, OVERLOAD, SERVERS, Stage},
};

/// The dead interval of the demo.
const DEAD: f64 = 4.0;

/// The acts in their order.
pub(super) fn story(router: Router) -> Vec<Act> {
    let reaction = router.reaction().as_secs_f64();
    let full = CAPACITY * SERVERS as f64;
    let dead_limit = DEAD + 0.5 + reaction;
    vec![
        Act {
            title: "1 equal sharing",
            claim: format!(
                "at {HALF:.0} q/s (50 % of the farm) each server answers 33 +- 5 %, at most 0.5 % lost, no cost changes"
            ),
            play: equal_sharing,
        },
        Act {
            title: "2 one server slows down to a third",
            claim: "it leaves within 20 s; then at most 1 % lost and the two others answer everything".into(),
            play: slow_server,
        },
        Act {
            title: "3 it recovers",
            claim: "it comes back within 50 s; then each server answers 33 +- 6 %, at most 0.5 % lost".into(),
            play: recovery,
        },
        Act {
            title: "4 a service process is killed",
            claim: format!("its next hop is gone within {reaction:.1} s; it returns when the service does"),
            play: killed_service,
        },
        Act {
            title: "5 a whole server is cut off",
            claim: format!(
                "its next hop is gone after the dead interval: 2.9 to {dead_limit:.1} s; it returns with its cable"
            ),
            play: cut_off,
        },
        Act {
            title: "6 every server is overloaded",
            claim: format!(
                "at {OVERLOAD:.0} q/s nobody runs away: goodput at least 0.95 of {full:.0} q/s, no cost change, no route change"
            ),
            play: overload,
        },
    ]
}

/// Joins conditions with their words: all must hold, the failed ones are marked.
fn all_of(parts: &[(bool, String)]) -> Measurement {
    let text = |(holds, text): &(bool, String)| if *holds { text.clone() } else { format!("[{text}]") };
    Measurement {
        holds: parts.iter().all(|(holds, _)| *holds),
        text: parts.iter().map(text).collect::<Vec<_>>().join(", "),
    }
}

/// Shares of the answers of a period, each against what it should be.
fn shares(stage: &mut Stage, seconds: f64, wanted: &[(usize, f64)], loss_limit: f64) -> Result<Vec<(bool, String)>> {
    let summary = stage.measure(Duration::from_secs_f64(seconds))?;
    let mut parts = vec![];
    for (server, share, tolerance) in wanted.iter().map(|(server, tolerance)| {
        let among = wanted.len() as f64;
        (*server, 1.0 / among, *tolerance)
    }) {
        let name = stage.name(server)?;
        let seen = summary.share(&name);
        parts.push(((seen - share).abs() <= tolerance, format!("{name} {:.1} %", 100.0 * seen)));
    }
    let loss = summary.loss();
    parts.push((loss <= loss_limit, format!("{:.2} % of {} lost", 100.0 * loss, summary.sent)));
    parts.push((summary.answered() > 0, format!("p99 {:.0} ms", summary.p99.as_secs_f64() * 1e3)));
    Ok(parts)
}

fn equal_sharing(stage: &mut Stage) -> Result<Measurement> {
    let before = stage.prefix_lsas()?;
    let mut parts = shares(stage, 8.0, &[(0, 0.05), (1, 0.05), (2, 0.05)], 0.005)?;
    let changed = stage.prefix_lsas()?.difference(&before).count();
    parts.push((changed == 0, format!("{changed} cost changes")));
    Ok(all_of(&parts))
}

fn slow_server(stage: &mut Stage) -> Result<Measurement> {
    let start = Instant::now();
    stage.set_capacity(1, CAPACITY / 3.0)?;
    let left = stage.wait_members(&[0, 2], start, Duration::from_secs(30))? - start;
    let during = stage.summary_until_now(start)?;
    // What was queued and sent before must have had its time.
    stage.idle(Duration::from_secs(1))?;
    let mut parts = vec![(left <= Duration::from_secs(20), format!("left after {:.1} s", left.as_secs_f64()))];
    parts.push((true, format!("{} lost until then", during.lost)));
    parts.extend(shares(stage, 5.0, &[(0, 0.07), (2, 0.07)], 0.01)?);
    Ok(all_of(&parts))
}

fn recovery(stage: &mut Stage) -> Result<Measurement> {
    if stage.is_member(1)? {
        stage.set_capacity(1, CAPACITY)?;
        stage.idle(Duration::from_secs(2))?;
        return Ok(Measurement { holds: false, text: "it never left, so it cannot come back".into() });
    }
    let start = Instant::now();
    stage.set_capacity(1, CAPACITY)?;
    let back = stage.wait_members(&[0, 1, 2], start, Duration::from_secs(60))? - start;
    stage.idle(Duration::from_secs(1))?;
    let mut parts = vec![(back <= Duration::from_secs(50), format!("back after {:.1} s", back.as_secs_f64()))];
    parts.extend(shares(stage, 5.0, &[(0, 0.06), (1, 0.06), (2, 0.06)], 0.005)?);
    Ok(all_of(&parts))
}

fn killed_service(stage: &mut Stage) -> Result<Measurement> {
    let limit = stage.router.reaction();
    let start = Instant::now();
    stage.kill_service(2)?;
    let gone = stage.wait_members(&[0, 1], start, Duration::from_secs(20))? - start;
    stage.idle(Duration::from_millis(1500))?;
    let lost = stage.summary_until_now(start)?.lost;
    let restart = Instant::now();
    stage.start_service(2)?;
    let back = stage.wait_members(&[0, 1, 2], restart, Duration::from_secs(30))? - restart;
    Ok(all_of(&[
        (gone <= limit, format!("gone after {:.0} ms", gone.as_secs_f64() * 1e3)),
        (true, format!("{lost} queries lost")),
        (true, format!("back {:.1} s after the service", back.as_secs_f64())),
    ]))
}

fn cut_off(stage: &mut Stage) -> Result<Measurement> {
    let limits = 2.9..DEAD + 0.5 + stage.router.reaction().as_secs_f64();
    let start = Instant::now();
    stage.set_plugged(0, false)?;
    let gone = (stage.wait_members(&[1, 2], start, Duration::from_secs(20))? - start).as_secs_f64();
    stage.idle(Duration::from_millis(1500))?;
    let lost = stage.summary_until_now(start)?.lost;
    let plugged = Instant::now();
    stage.set_plugged(0, true)?;
    let back = stage.wait_members(&[0, 1, 2], plugged, Duration::from_secs(30))? - plugged;
    Ok(all_of(&[
        (limits.contains(&gone), format!("gone after {gone:.1} s")),
        (true, format!("{lost} queries lost")),
        (true, format!("back {:.1} s after its cable", back.as_secs_f64())),
    ]))
}

fn overload(stage: &mut Stage) -> Result<Measurement> {
    stage.set_rate(OVERLOAD);
    stage.idle(Duration::from_secs(4))?;
    let (before, start) = (stage.prefix_lsas()?, Instant::now());
    let seconds = 10.0;
    let summary = stage.measure(Duration::from_secs_f64(seconds))?;
    let changed: BTreeSet<_> = stage.prefix_lsas()?.difference(&before).cloned().collect();
    let moves = stage.route_changes_since(start);
    stage.set_rate(HALF);
    let goodput = summary.answered() as f64 / seconds;
    let fraction = goodput / (CAPACITY * SERVERS as f64);
    Ok(all_of(&[
        (fraction >= 0.95, format!("goodput {goodput:.0} q/s = {fraction:.3} of capacity")),
        (changed.is_empty(), format!("{} cost changes", changed.len())),
        (moves == 0, format!("{moves} route changes")),
        (true, format!("{:.1} % lost of necessity", 100.0 * summary.loss())),
    ]))
}
