//! The board: what is stale, what is excused, what the law gets, from monitors that say what a test tells them to.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ospf_proto::time::Instant;
use server_speaker::monitor::{Board, Counts, Monitor, Queue, Reading, Said, Unreadable};
use server_speaker::sample::{Health, Load, Sample};

const VALID: Duration = Duration::from_secs(3);

/// A monitor's next words, shared with its test.
#[derive(Clone, Debug)]
struct Words(Rc<RefCell<Result<(Instant, Said), Unreadable>>>);

impl Words {
    fn new() -> Self {
        Words(Rc::new(RefCell::new(Err(Unreadable("not yet read".into())))))
    }

    fn say(&self, at: f64, said: Said) {
        *self.0.borrow_mut() = Ok((moment(at), said));
    }

    fn fail(&self, why: &str) {
        *self.0.borrow_mut() = Err(Unreadable(why.into()));
    }
}

#[derive(Debug)]
struct Fake {
    name: &'static str,
    tells_health: bool,
    words: Words,
}

impl Monitor for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn tells_health(&self) -> bool {
        self.tells_health
    }

    fn read(&mut self, _now: Instant) -> Result<Reading, Unreadable> {
        let (at, said) = self.words.0.borrow().clone()?;
        Ok(Reading::new(at, VALID, said))
    }

    fn pulse(&mut self) -> Option<Health> {
        self.words.0.borrow().as_ref().ok()?.1.health.clone()
    }
}

fn moment(seconds: f64) -> Instant {
    Instant::from_epoch(Duration::from_secs_f64(seconds))
}

/// A board of a health monitor `probe`, and `counts`, which tells none.
fn board() -> (Board, Words, Words) {
    let (probe, counts) = (Words::new(), Words::new());
    let fake = |name, tells_health, words: &Words| -> Box<dyn Monitor> {
        Box::new(Fake { name, tells_health, words: words.clone() })
    };
    (Board::new("dns", vec![fake("probe", true, &probe), fake("counts", false, &counts)]), probe, counts)
}

fn health(health: Health) -> Said {
    Said { health: Some(health), ..Said::default() }
}

fn counted(served: u64, waiting: u64) -> Said {
    Said {
        counts: Some(Counts { served, ..Counts::default() }),
        queue: Some(Queue { waiting, room: 100, ..Queue::default() }),
        ..Said::default()
    }
}

fn silent() -> Said {
    health(Health::Silent("no answer within 1000 ms".into()))
}

fn at(board: &mut Board, seconds: f64) -> Sample {
    board.sample(moment(seconds))
}

#[test]
fn a_monitor_that_cannot_be_read_changes_nothing_until_its_last_word_is_stale() {
    let (mut board, probe, _) = board();
    assert!(matches!(at(&mut board, 0.0).health, Health::Unknown(_)));
    probe.say(1.0, health(Health::Alive));
    assert_eq!(at(&mut board, 1.0).health, Health::Alive);
    probe.fail("no descriptors");
    assert_eq!(at(&mut board, 3.9).health, Health::Alive);
    let row = board.rows(moment(3.9)).remove(0);
    assert_eq!((row.stale, row.error.as_deref(), row.failures), (false, Some("no descriptors"), 2));
    let Health::Unknown(why) = at(&mut board, 4.0).health else { panic!("not stale") };
    assert_eq!(why, "probe: no descriptors (stale)");
    probe.say(5.0, health(Health::Alive));
    assert_eq!(at(&mut board, 5.0).health, Health::Alive);
    assert_eq!(board.rows(moment(5.0)).remove(0).error, None);
}

#[test]
fn a_source_of_load_that_fails_says_nothing_of_the_health() {
    let (mut board, probe, counts) = board();
    probe.say(0.0, health(Health::Alive));
    counts.fail("connection refused");
    assert_eq!(at(&mut board, 0.0).health, Health::Alive);
    assert_eq!(at(&mut board, 0.1).load, None);
}

#[test]
fn the_worst_of_the_healths_counts() {
    let order = [
        Health::Alive,
        Health::Unknown("u".into()),
        Health::Slow("s".into()),
        Health::Silent("q".into()),
        Health::Dead("d".into()),
    ];
    assert!(order.is_sorted());
}

#[test]
fn counts_go_to_the_law_once_with_the_time_at_which_they_were_read() {
    let (mut board, _, counts) = board();
    counts.say(1.0, counted(100, 7));
    let sample = at(&mut board, 1.4);
    assert_eq!(sample.load, Some(Load { served: 100, queue: 7, buffer: 100, ..Load::default() }));
    assert_eq!(sample.counted, Some(moment(1.0)));
    assert_eq!(at(&mut board, 1.5).load, None, "nothing new was counted");
    counts.say(2.0, counted(150, 7));
    assert_eq!(at(&mut board, 2.0).load.map(|load| load.served), Some(150));
}

#[test]
fn a_probe_without_answer_beside_a_full_queue_that_moves_has_found_an_overload() {
    let (mut board, probe, counts) = board();
    for tenths in 0..20_u32 {
        let now = f64::from(tenths) / 10.0;
        probe.say(now, silent());
        counts.say(now, counted(u64::from(tenths) * 10, 90));
        let found = at(&mut board, now).health;
        assert!(tenths == 0 || found == Health::Alive, "{tenths}: {found:?}");
    }
    assert!(board.excuse().is_some());
}

#[test]
fn a_full_queue_that_does_not_move_is_no_excuse() {
    let (mut board, probe, counts) = board();
    counts.say(0.0, counted(10, 90));
    at(&mut board, 0.0);
    counts.say(0.5, counted(20, 90));
    at(&mut board, 0.5);
    for tenths in 6..40_u32 {
        let now = f64::from(tenths) / 10.0;
        probe.say(now, silent());
        counts.say(now, counted(20, 90));
        let found = at(&mut board, now).health;
        // Two seconds without progress, and it is hung.
        assert!(tenths == 25 || matches!(found, Health::Silent(_)) == (tenths > 25), "{tenths}: {found:?}");
    }
}

#[test]
fn death_and_wrong_answers_are_never_excused() {
    let (mut board, probe, counts) = board();
    for tenths in 0..10_u32 {
        let now = f64::from(tenths) / 10.0;
        probe.say(now, health(Health::Dead("connection refused".into())));
        counts.say(now, counted(u64::from(tenths) * 10, 90));
        assert!(matches!(at(&mut board, now).health, Health::Dead(_)));
    }
}

#[test]
fn silence_beside_saturation_steps_back_where_nobody_counts_the_answers() {
    let (mut board, probe, counts) = board();
    probe.say(0.0, silent());
    counts.say(0.0, Said { utilisation: Some(1.0), ..Said::default() });
    assert!(matches!(at(&mut board, 0.0).health, Health::Slow(_)));
}

#[test]
fn utilisations_add_up_to_busy_time_and_a_stale_one_to_none() {
    let (mut board, probe, counts) = board();
    for tenths in 0..=10_u32 {
        let now = f64::from(tenths) / 10.0;
        probe.say(now, Said { utilisation: Some(0.25), ..Said::default() });
        counts.say(now, Said { utilisation: Some(0.75), ..counted(u64::from(tenths), 0) });
        at(&mut board, now);
    }
    counts.say(1.1, Said { utilisation: Some(0.75), ..counted(11, 0) });
    let busy = at(&mut board, 1.1).load.unwrap().busy.unwrap();
    assert!((824_000..826_000).contains(&busy), "1.1 s at the greater of the two: {busy}");
    counts.say(5.0, counted(12, 0));
    assert_eq!(at(&mut board, 5.0).load.unwrap().busy, None);
}

#[test]
fn a_pulse_tells_a_death_without_another_reading() {
    let (mut board, probe, _) = board();
    probe.say(0.0, health(Health::Alive));
    at(&mut board, 0.0);
    probe.say(0.01, health(Health::Dead("gone".into())));
    assert_eq!(board.pulse(moment(0.01)), Health::Dead("gone".into()));
}

#[test]
fn an_overload_in_which_the_counter_is_slow_too_is_no_death() {
    let (mut board, probe, counts) = board();
    counts.say(0.0, counted(10, 90));
    at(&mut board, 0.0);
    counts.fail("no answer within 2000 ms");
    let queue = || Said { queue: Some(Queue { waiting: 90, room: 100, ..Queue::default() }), ..silent() };
    for tenths in 1..100_u32 {
        let now = f64::from(tenths) / 10.0;
        probe.say(now, queue());
        let found = at(&mut board, now).health;
        // First the last word holds; then nobody knows whether it moves, and the law weighs a slow service.
        assert!(matches!(found, Health::Alive | Health::Slow(_)), "{tenths}: {found:?}");
    }
}

#[test]
fn any_full_queue_explains_a_late_answer() {
    let (mut board, probe, counts) = board();
    for tenths in 0..20_u32 {
        let now = f64::from(tenths) / 10.0;
        let accept = Queue { waiting: 128, room: 128, ..Queue::default() };
        probe.say(now, Said { queue: Some(accept), ..silent() });
        counts.say(now, counted(u64::from(tenths) * 10, 0));
        let sample = at(&mut board, now);
        assert!(tenths == 0 || sample.health == Health::Alive, "{tenths}: {:?}", sample.health);
        assert_eq!(sample.load.map(|load| load.buffer), Some(100), "the law gets the queue of the source that counts");
    }
}
