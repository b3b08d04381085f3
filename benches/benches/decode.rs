//! Theses a minute under different sizes of the contexts, on prompts of the real
//! snapshot. Variants alternate, so that a disturbance hits all of them. Not a
//! criterion bench: one run of a variant takes seconds and is a figure in itself.
//! `DECODE_VARIANTS=default` runs those whose names contain this.

#![allow(clippy::print_stdout, reason = "a bench talks to its terminal")]

use std::{env, process::ExitCode, time::Instant};

use benches::{engine_config, reads, request};
use domain::AsOfRead;
use futures::future::join_all;
use inference::{ContextConfig, Engine, Generation};

/// Theses of one variant in one round.
const COUNT: usize = 40;
const ROUNDS: usize = 3;

fn variants() -> Vec<(&'static str, ContextConfig)> {
    let default = ContextConfig { prompt_cache_bytes: 0, ..ContextConfig::default() };
    let cpus = default.lanes;
    let one_lane = ContextConfig { lanes: 1, threads: cpus, ..default };
    vec![
        ("default", default),
        ("chunk 64", ContextConfig { chunk: 64, ..default }),
        ("chunk 128", ContextConfig { chunk: 128, ..default }),
        ("chunk 256", ContextConfig { chunk: 256, ..default }),
        ("one lane, all threads", one_lane),
        ("prompts kept", ContextConfig { prompt_cache_bytes: 1 << 30, ..default }),
    ]
}

/// What one variant did in all rounds.
#[derive(Default)]
struct Figures {
    theses_per_min: Vec<f64>,
    generations: Vec<Generation>,
}

async fn measure(context: ContextConfig, reads: &[AsOfRead], figures: &mut Figures) {
    let mut config = engine_config();
    config.context = context;
    config.max_in_flight = COUNT;
    let engine = Engine::start(config).await.expect("the engine starts");
    // Where prompts are kept, all are asked before.
    let before = if context.prompt_cache_bytes > 0 { reads } else { &reads[..1] };
    for run in join_all(before.iter().map(|read| engine.generate(request(read, 0)))).await {
        run.expect("a thesis");
    }
    let started = Instant::now();
    let runs = reads.iter().take(COUNT).map(|read| engine.generate(request(read, 1)));
    let generations = join_all(runs).await;
    let seconds = started.elapsed().as_secs_f64();
    figures.theses_per_min.push(COUNT as f64 / seconds * 60.0);
    figures.generations.extend(generations.into_iter().map(|g| g.expect("a thesis")));
    engine.shutdown().await;
}

fn report(name: &str, figures: &mut Figures) {
    figures.theses_per_min.sort_by(f64::total_cmp);
    let median = figures.theses_per_min[figures.theses_per_min.len() / 2];
    let n = figures.generations.len() as f64;
    let mean = |of: fn(&Generation) -> f64| figures.generations.iter().map(of).sum::<f64>() / n;
    println!(
        "{name:<24}{median:7.1}/min  ms: prompt {:4.0} choose {:3.0} write {:3.0} (masks {:.1}) decide {:3.0}  \
         tokens: prompt {:3.0} forced {:2.0} sampled {:2.0} decision {:3.0}  steps {:.1}",
        mean(|g| f64::from(g.timings.prefill_ms)),
        mean(|g| f64::from(g.timings.choose_ms)),
        mean(|g| f64::from(g.timings.write_ms)),
        mean(|g| g.timings.mask_us_total as f64 / 1e3),
        mean(|g| f64::from(g.timings.decide_ms)),
        mean(|g| f64::from(g.usage.prompt_tokens)),
        mean(|g| f64::from(g.usage.forced_tokens)),
        mean(|g| f64::from(g.usage.sampled_tokens)),
        mean(|g| f64::from(g.usage.decision_tokens)),
        mean(|g| g.step_tokens.len() as f64),
    );
}

fn main() -> ExitCode {
    // The engine starts this program again as its worker.
    let filter = env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if filter.as_deref() == Some("worker") {
        return inference::worker::main();
    }
    if filter.is_some_and(|filter| !"decode".contains(&filter)) {
        return ExitCode::SUCCESS;
    }
    let reads = reads(COUNT);
    let wanted = env::var("DECODE_VARIANTS").unwrap_or_default();
    let variants: Vec<_> =
        variants().into_iter().filter(|(name, _)| name.contains(&wanted)).collect();
    let mut figures: Vec<Figures> = variants.iter().map(|_| Figures::default()).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    for _ in 0..ROUNDS {
        for ((_, context), figures) in variants.iter().zip(&mut figures) {
            runtime.block_on(measure(*context, &reads, figures));
        }
    }
    for ((name, _), figures) in variants.iter().zip(&mut figures) {
        report(name, figures);
    }
    ExitCode::SUCCESS
}
