//! Times of the engine's parts: `cargo bench -p ospf-proto --bench micro`. See docs/microbenchmarks.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a measurement that goes wrong may end"
)]

mod work;

use std::time::Duration;

use criterion::{Criterion, Throughput};

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    for task in work::tasks() {
        let mut group = criterion.benchmark_group(task.name.as_str());
        group.throughput(Throughput::Elements(task.items.into()));
        group.bench_function("run", |bencher| {
            let mut run = (task.prepare)(task.size);
            bencher.iter(&mut run);
        });
        group.finish();
    }
    criterion.final_summary();
}
