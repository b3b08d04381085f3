//! What the grammar of the claims of one thesis costs: compiling its rules, and the mask
//! of each step.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::{hint::black_box, sync::Arc};

use benches::{engine_config, read};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use inference::serving::Grammars;
use llama_cpp_2::{
    LogOptions,
    llama_backend::LlamaBackend,
    model::{LlamaModel, params::LlamaModelParams},
    send_logs_to_tracing,
};
use llguidance::Matcher;

fn grammars(c: &mut Criterion) {
    send_logs_to_tracing(LogOptions::default().with_logs_enabled(false));
    let backend = LlamaBackend::init().expect("llama.cpp starts");
    let params = LlamaModelParams::default();
    let config = engine_config();
    let model = LlamaModel::load_from_file(&backend, config.model.path(), &params);
    let model = Arc::new(model.expect("the model loads"));
    let mut grammars = Grammars::new(&model).expect("the vocabulary is known");
    let plan = contract::plan(&read());
    let choices = plan.sections.iter().flat_map(|section| &section.choices);
    let rules = choices.filter_map(|choice| choice.rule.as_ref());
    let rules: Vec<String> = rules.map(|rule| plan.grammar(rule)).collect();

    c.bench_function("index of the vocabulary", |b| b.iter(|| Grammars::new(&model)));
    // A comment makes a text that no compiled one has.
    let mut n = 0_u64;
    let mut unknown = || {
        n += 1;
        format!("{}\n// {n}\n", rules[n as usize % rules.len()])
    };
    c.bench_function("grammar build", |b| {
        b.iter_batched(&mut unknown, |text| grammars.matcher(&text), BatchSize::SmallInput);
    });
    c.bench_function("grammar kept", |b| b.iter(|| grammars.matcher(black_box(&rules[0]))));

    let matcher = begun(&mut grammars, &rules[0]);
    c.bench_function("mask", |b| {
        b.iter_batched(
            || matcher.deep_clone(),
            |mut matcher| matcher.compute_mask().expect("a mask"),
            BatchSize::SmallInput,
        );
    });
    c.bench_function("phrase: all masks and forced runs", |b| {
        b.iter_batched(|| matcher.deep_clone(), walk, BatchSize::SmallInput);
    });
}

/// Returns a grammar at its first choice.
fn begun(grammars: &mut Grammars, rule: &str) -> Matcher {
    let mut matcher = grammars.matcher(rule).expect("it compiles");
    let forced = matcher.compute_ff_tokens();
    matcher.consume_tokens(&forced).expect("forced tokens are allowed");
    matcher
}

/// Follows a grammar to its end, by the first token that each mask allows.
fn walk(mut matcher: Matcher) -> usize {
    let mut n = 0;
    while !matcher.is_stopped() {
        let mask = matcher.compute_mask().expect("a mask");
        let token = mask.first_bit_set().expect("a token may follow");
        matcher.consume_token(token as u32).expect("an allowed token");
        let forced = matcher.compute_ff_tokens();
        matcher.consume_tokens(&forced).expect("forced tokens are allowed");
        n += 1 + forced.len();
    }
    n
}

criterion_group!(benches, grammars);
criterion_main!(benches);
