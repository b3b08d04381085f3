//! Names of all metrics of this crate, as literals that can be searched for.

use std::time::Duration;

use contract::VerdictKind;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::{engine::Generation, protocol::Progress};

/// Describes the metrics to the installed recorder.
pub fn describe() {
    describe_counter!("r2r_worker_restarts_total", "Worker processes replaced");
    describe_counter!("r2r_model_swaps_total", "Models that served or were refused");
    describe_counter!("r2r_engine_requests_total", "Admitted requests by outcome, one each");
    describe_counter!("r2r_engine_retried_total", "Requests begun again on a new worker");
    describe_counter!("r2r_engine_refused_total", "Places refused because the engine was busy");
    describe_counter!(
        "r2r_tokens_total",
        "Tokens by kind: prompt, cached, forced, sampled, decision"
    );
    describe_counter!("r2r_batch_tokens_total", "Tokens passed to llama_decode");
    describe_counter!("r2r_batches_total", "Calls of llama_decode");
    describe_gauge!("r2r_engine_active", "Theses being decoded");
    describe_gauge!("r2r_engine_queued", "Theses waiting for a lane");
    describe_gauge!("r2r_worker_rss_bytes", "Resident memory of the worker");
    describe_counter!("r2r_claims_total", "Claims by verdict");
    describe_histogram!("r2r_queue_seconds", "Wait for a lane");
    describe_histogram!("r2r_prefill_seconds", "Decoding of the prompt");
    describe_histogram!("r2r_choose_seconds", "Choice of the evidence");
    describe_histogram!("r2r_write_seconds", "Writing of the claims");
    describe_histogram!("r2r_decide_seconds", "Reading of the answer, and the decision");
    describe_histogram!("r2r_mask_seconds", "Token masks and sampling of one thesis");
    describe_histogram!("r2r_step_tokens", "Tokens of one call of llama_decode");
    describe_histogram!("r2r_verify_seconds", "Verification, assembly and invariants");
}

pub(crate) fn worker_restarted() {
    counter!("r2r_worker_restarts_total").increment(1);
}

/// Counts the end of a swap: the new model `served` or was `refused`.
pub(crate) fn model_swapped(outcome: &'static str) {
    counter!("r2r_model_swaps_total", "outcome" => outcome).increment(1);
}

/// Counts the end of a request that was admitted, by the one outcome it has.
pub(crate) fn request_ended(outcome: &'static str) {
    counter!("r2r_engine_requests_total", "outcome" => outcome).increment(1);
}

pub(crate) fn request_retried() {
    counter!("r2r_engine_retried_total").increment(1);
}

pub(crate) fn place_refused() {
    counter!("r2r_engine_refused_total").increment(1);
}

pub(crate) fn claim_verified(verdict: VerdictKind) {
    let verdict = match verdict {
        VerdictKind::Supported => "supported",
        VerdictKind::Abstained => "abstained",
        VerdictKind::Withheld => "withheld",
    };
    counter!("r2r_claims_total", "verdict" => verdict).increment(1);
}

pub(crate) fn worker_memory(bytes: u64) {
    #[allow(clippy::cast_precision_loss, reason = "exact below 8 PiB")]
    gauge!("r2r_worker_rss_bytes").set(bytes as f64);
}

/// Publishes how much is in all workers.
pub(crate) fn in_engine(active: u32, queued: u32) {
    gauge!("r2r_engine_active").set(f64::from(active));
    gauge!("r2r_engine_queued").set(f64::from(queued));
}

/// Counts a step; `before` is the last state of the same worker.
pub(crate) fn progress(before: &Progress, now: &Progress) {
    let tokens = now.batch_tokens.saturating_sub(before.batch_tokens);
    counter!("r2r_batch_tokens_total").increment(tokens);
    counter!("r2r_batches_total").increment(now.batches.saturating_sub(before.batches));
}

pub(crate) fn finished(generation: &Generation) {
    let usage = &generation.usage;
    for (kind, n) in [
        ("prompt", usage.prompt_tokens - usage.cached_tokens),
        ("cached", usage.cached_tokens),
        ("forced", usage.forced_tokens),
        ("sampled", usage.sampled_tokens),
        ("decision", usage.decision_tokens),
    ] {
        counter!("r2r_tokens_total", "kind" => kind).increment(u64::from(n));
    }
    let timings = &generation.timings;
    let seconds = |ms: f32| f64::from(ms) / 1e3;
    histogram!("r2r_queue_seconds").record(seconds(timings.queue_ms));
    histogram!("r2r_prefill_seconds").record(seconds(timings.prefill_ms));
    histogram!("r2r_choose_seconds").record(seconds(timings.choose_ms));
    histogram!("r2r_write_seconds").record(seconds(timings.write_ms));
    histogram!("r2r_decide_seconds").record(seconds(timings.decide_ms));
    for &tokens in &generation.step_tokens {
        histogram!("r2r_step_tokens").record(f64::from(tokens));
    }
    histogram!("r2r_mask_seconds").record(Duration::from_micros(timings.mask_us_total));
}

/// Records how long the checks of an answer took.
pub(crate) fn verified(took: Duration) {
    histogram!("r2r_verify_seconds").record(took);
}
