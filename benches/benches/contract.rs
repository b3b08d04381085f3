//! What one thesis of the real snapshot costs in `contract`: everything around
//! the decode.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use benches::{picks, read, receipt, writing};
use contract::{Schema, assemble, plan, render, verify};
use criterion::{Criterion, criterion_group, criterion_main};

fn before_the_decode(c: &mut Criterion) {
    let read = read();
    c.bench_function("prompt render", |b| b.iter(|| render(black_box(&read))));
    c.bench_function("plan", |b| b.iter(|| plan(black_box(&read))));
}

fn after_the_decode(c: &mut Criterion) {
    let read = read();
    let plan = plan(&read);
    let picks = picks(&plan);
    let claims = plan.claims(&picks).expect("picks of this plan");
    for claim in &claims {
        verify(&read, claim).expect("the claims stand");
    }
    c.bench_function("text before the decision", |b| b.iter(|| plan.decision(black_box(&picks))));
    c.bench_function("verify all claims", |b| {
        b.iter(|| claims.iter().all(|claim| verify(black_box(&read), claim).is_ok()));
    });
}

fn answer(c: &mut Criterion) {
    let (read, schema) = (read(), Schema::compile().expect("the schema compiles"));
    let writing = writing(&read);
    let to_json = || {
        let thesis = assemble(black_box(&read), &writing, receipt(&read));
        serde_json::to_vec(&thesis).expect("a thesis serialises")
    };
    let bytes = to_json();
    let check = |bytes: &[u8]| {
        let value = serde_json::from_slice(bytes).expect("it is JSON");
        schema.validate(&value).expect("the thesis is valid");
    };
    check(&bytes);
    c.bench_function("assemble to JSON", |b| b.iter(to_json));
    c.bench_function("schema validation", |b| b.iter(|| check(black_box(&bytes))));
    c.bench_function("assemble and validate", |b| b.iter(|| check(&to_json())));
    c.bench_function("schema compile", |b| b.iter(Schema::compile));
}

criterion_group!(benches, before_the_decode, after_the_decode, answer);
criterion_main!(benches);
