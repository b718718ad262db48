//! Whether the host leaves a virtual machine its memory, where times below a millisecond count.
//!
//! A host that looks which memory its guests use, or moves it, takes it away piece by piece, mostly by its large pages of 2 MiB. Whoever
//! touches such a piece next waits until it is back: 150 us each time was seen, each piece taken once a second. A daemon at rest has its code
//! and data in hundreds of pages of 4 KiB, all over the memory, and the kernel its own; so it is late by milliseconds, whatever it computes.
//! Nothing inside the machine tells of this, neither stolen time nor page faults: only the touch itself does.

use std::{
    fmt,
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

/// A large page.
const PIECE: usize = 2 << 20;
/// How many of them are touched.
const PIECES: usize = 64;
/// How long they rest before.
const REST: Duration = Duration::from_secs(1);
/// A touch that takes longer did not wait for memory alone, which takes less than 2 us even where no cache has anything of it.
const LATE: Duration = Duration::from_micros(20);

/// What touching memory cost that had been at rest.
#[derive(Clone, Copy, Debug)]
pub struct Touched {
    late: u32,
    /// All late touches together.
    waited: Duration,
}

impl Touched {
    /// Lets 128 MiB rest for a second and touches each 2 MiB of them once.
    pub fn measure() -> Self {
        // Not zeros, which the kernel would only promise; nor known to the compiler, which would not look.
        let memory = black_box(vec![1_u8; PIECES * PIECE]);
        thread::sleep(REST);
        let mut touched = Touched { late: 0, waited: Duration::ZERO };
        for piece in memory.chunks_exact(PIECE) {
            let from = Instant::now();
            black_box(piece.get(PIECE / 2).copied());
            let took = from.elapsed();
            if took > LATE {
                touched.late += 1;
                touched.waited += took;
            }
        }
        touched
    }
}

impl fmt::Display for Touched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Touched { late, waited } = self;
        write!(f, "of {PIECES} pieces of memory at rest for {REST:?} the host gave back {late} late")?;
        match waited.checked_div(*late) {
            Some(each) => write!(f, ", after {each:?} each (docs/labs.md, \"Many servers, many prefixes\")"),
            None => Ok(()),
        }
    }
}
