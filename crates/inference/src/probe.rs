//! A quick measurement of a running engine.

use std::time::{Duration, Instant};

use futures::future;

use crate::{Engine, GenerationRequest, InferenceError, Sampling};

/// What a probe measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// Requests at the same time.
    pub concurrency: u32,
    /// Prompt tokens of all requests, the shared prefix left out.
    pub prompt_tokens: u32,
    /// Output tokens of all requests.
    pub output_tokens: u32,
    /// Prompt tokens a second, over all requests.
    pub prefill_tokens_per_second: f64,
    /// Output tokens a second, over all requests, while outputs are decoded.
    pub decode_tokens_per_second: f64,
    /// Wall time of the probe in seconds.
    pub wall_seconds: f64,
}

/// Decodes `concurrency` different prompts of about 500 tokens to `max_tokens`
/// of free text each, and measures prompt and output tokens a second. With one
/// request at a time the two are the model's own speeds.
///
/// # Errors
/// Returns the first error of the engine.
pub async fn probe(
    engine: &Engine,
    concurrency: u32,
    max_tokens: u32,
) -> Result<Probe, InferenceError> {
    let started = Instant::now();
    let runs = (0..concurrency).map(|i| engine.generate(request(i, max_tokens)));
    let generations = future::try_join_all(runs).await?;
    let wall_seconds = started.elapsed().as_secs_f64();
    let prompt: u32 = generations.iter().map(|g| g.usage.prompt_tokens).sum();
    let output: u32 =
        generations.iter().map(|g| g.usage.forced_tokens + g.usage.sampled_tokens).sum();
    // From the start until the last prompt is decoded, and from the first
    // decoded prompt until the end.
    let prompts_done = |g: &crate::Generation| f64::from(g.timings.queue_ms + g.timings.prefill_ms);
    let last_prompt = generations.iter().map(prompts_done).fold(0.0, f64::max) / 1e3;
    let first_prompt = generations.iter().map(prompts_done).fold(f64::INFINITY, f64::min) / 1e3;
    Ok(Probe {
        concurrency,
        prompt_tokens: prompt,
        output_tokens: output,
        prefill_tokens_per_second: f64::from(prompt) / last_prompt,
        decode_tokens_per_second: f64::from(output) / (wall_seconds - first_prompt),
        wall_seconds,
    })
}

fn request(i: u32, max_tokens: u32) -> GenerationRequest {
    let lines = (0..34).map(|line| {
        let value = (i * 7 + line * 13) % 97;
        format!("E{line}: revenue rose {value} percent from a year earlier.\n")
    });
    GenerationRequest {
        user: lines.collect(),
        prefill: String::new(),
        grammar: "start: /[a-zA-Z0-9 ,.%-]{4000}/".to_owned(),
        codes: None,
        seed: u64::from(i),
        sampling: Sampling::GREEDY,
        max_tokens,
        timeout: Duration::from_secs(600),
    }
}
