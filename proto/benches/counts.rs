//! One run of one task, for `lab counts`, which has callgrind count the instructions of `measured`. Without a name: all names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a measurement that goes wrong may end"
)]

mod work;

use std::hint::black_box;

/// Beyond this size callgrind takes too long.
const MOST: u32 = 10_000;

fn main() {
    let tasks = work::tasks().into_iter().filter(|task| task.size <= MOST);
    let wanted = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let Some(wanted) = wanted else {
        return tasks.for_each(|task| println!("{}", task.name));
    };
    let task = tasks.into_iter().find(|task| task.name == wanted).expect("a task of this name");
    let mut run = (task.prepare)(task.size);
    // Once before, so that nothing is counted that happens once only.
    run();
    measured(&mut run);
}

#[inline(never)]
fn measured(run: &mut work::Run) {
    run();
    black_box(());
}
