//! What is counted of asks for theses and of the caches before them.

use moka::notification::RemovalCause;
use tokio::time::Instant;

use crate::{metrics as names, problem::ApiError, theses::Answer};

/// Counts one outcome a thesis, also when nobody waits for it any more.
pub(crate) struct Outcome {
    started: Instant,
    name: &'static str,
}

impl Outcome {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), name: "cancelled" }
    }

    pub(crate) fn settle(&mut self, result: &Result<Answer, ApiError>) {
        self.name = match result {
            Ok(answer) if answer.hit => "hit",
            Ok(_) => "written",
            Err(error) => error.outcome(),
        };
        if let Ok(answer) = result {
            let cache = if answer.hit { "hit" } else { "miss" };
            let seconds = self.started.elapsed().as_secs_f64();
            metrics::histogram!(names::THESIS_SECONDS, "cache" => cache).record(seconds);
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        metrics::counter!(names::THESES, "outcome" => self.name).increment(1);
    }
}

pub(crate) fn lookup(cache: &'static str, hit: bool) {
    let result = if hit { "hit" } else { "miss" };
    metrics::counter!(names::CACHE_LOOKUPS, "cache" => cache, "result" => result).increment(1);
}

pub(crate) fn evicted(cache: &'static str, cause: RemovalCause) {
    if cause == RemovalCause::Size {
        metrics::counter!(names::CACHE_EVICTIONS, "cache" => cache).increment(1);
    }
}
