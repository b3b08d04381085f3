//! What a point-in-time read of the real snapshot costs.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use benches::data_dir;
use criterion::{Criterion, criterion_group, criterion_main};
use domain::{AsOf, Ticker};
use lake::Snapshot;
use tokio::runtime::Runtime;

/// A name with every kind of record, and one with prices only.
const READS: [(&str, &str, &str); 2] =
    [("every kind", "AAPL", "2022-09-30"), ("prices only", "XOM", "2012-03-30")];

fn as_of_read(c: &mut Criterion) {
    let data = data_dir();
    let runtime = Runtime::new().expect("a runtime starts");
    let snapshot = runtime.block_on(Snapshot::open_current(&data));
    let snapshot = snapshot.expect("a snapshot, which `r2r data build` makes");
    for (kind, ticker, as_of) in READS {
        let ticker: Ticker = ticker.parse().expect("a ticker");
        let as_of: AsOf = as_of.parse().expect("a date");
        c.bench_function(&format!("as-of read, {kind}"), |b| {
            b.iter(|| {
                let read = runtime.block_on(snapshot.read(black_box(&ticker), as_of));
                read.expect("the snapshot has it")
            });
        });
    }
    c.bench_function("open snapshot", |b| {
        b.iter(|| runtime.block_on(Snapshot::open_current(&data)).expect("it opened before"));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = as_of_read
}
criterion_main!(benches);
