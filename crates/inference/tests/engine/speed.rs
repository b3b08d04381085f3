use std::{fs, time::Instant};

use futures::future::join_all;
use inference::{Engine, Probe, probe};

use super::{engine_with, request, unified};

/// Seconds of CPU the worker has used: what the wall clock would show on a
/// machine of our own with one thread.
fn cpu(engine: &Engine) -> f64 {
    let pid = engine.status().worker_pid.unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |i: usize| fields[i].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

async fn measure(engine: &Engine, concurrency: u32, max_tokens: u32) -> (Probe, f64) {
    let before = cpu(engine);
    let probe = probe(engine, concurrency, max_tokens).await.unwrap();
    (probe, cpu(engine) - before)
}

/// What masks cost with slices that fit the free text of the grammar.
#[tokio::test]
#[ignore = "a measurement"]
async fn mask_slices() {
    for slices in [&[][..], &["[a-z0-9 ,%-]{1,10}", "[a-z0-9 ,%-]{1,30}", "[a-z0-9 ,%-]+"]] {
        let started = Instant::now();
        let engine = engine_with(|config| {
            config.mask_slices = slices.iter().map(|slice| (*slice).to_owned()).collect();
        })
        .await;
        let wall = started.elapsed().as_secs_f64();
        println!("{slices:?}: start {wall:.2} s, {:.2} s CPU", cpu(&engine));
        let mut generation = engine.generate(request(0)).await.unwrap();
        for i in 1..4 {
            generation = engine.generate(request(i)).await.unwrap();
        }
        println!("  {:?} {:?} {}", generation.timings, generation.usage, generation.text);
    }
}

/// Prints figures; asserts only that there are some. Run by hand with
/// `cargo nextest run --release -p inference --run-ignored only --no-capture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn figures() {
    for kv_unified in [false, true] {
        let started = Instant::now();
        let engine = engine_with(|config| {
            config.context.max_sequences = 16;
            if kv_unified {
                config.context = unified(config.context);
            }
        })
        .await;
        let wall = started.elapsed().as_secs_f64();
        println!("kv_unified {kv_unified}: start {wall:.2} s, {:.2} s CPU", cpu(&engine));
        for n in [1, 2, 4, 8, 16] {
            let (prompt, prompt_cpu) = measure(&engine, n, 1).await;
            let (both, both_cpu) = measure(&engine, n, 64).await;
            let decode_cpu = both_cpu - prompt_cpu;
            println!(
                "  {n:2} at once: prefill {:5.0} tok/s CPU, decode {:5.0} tok/s CPU; wall {:.0} and {:.0}",
                f64::from(prompt.prompt_tokens) / prompt_cpu,
                f64::from(both.output_tokens) / decode_cpu,
                both.prefill_tokens_per_second,
                both.decode_tokens_per_second,
            );
        }
        let before = cpu(&engine);
        let started = Instant::now();
        let generations = join_all((0..32).map(|i| engine.generate(request(i)))).await;
        let wall = started.elapsed().as_secs_f64();
        let generations: Vec<_> = generations.into_iter().map(Result::unwrap).collect();
        let masks: u64 = generations.iter().map(|g| g.timings.mask_us_total).sum();
        let tokens: u32 =
            generations.iter().map(|g| g.usage.sampled_tokens + g.usage.forced_tokens).sum();
        let cpu = cpu(&engine) - before;
        println!("  32 claims: {wall:.2} s, {cpu:.2} s CPU, {tokens} tokens, {masks} us of masks");
    }
}
