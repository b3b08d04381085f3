//! Names of all metrics of the front, as literals, and their recorder.

use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Requests by `route` and `status`: exactly one outcome a request; 499 is a
/// client that went away.
pub const HTTP_REQUESTS: &str = "r2r_http_requests_total";
/// Seconds from head to answer by `route`.
pub const HTTP_SECONDS: &str = "r2r_http_request_seconds";
/// Requests being answered.
pub const HTTP_IN_FLIGHT: &str = "r2r_http_requests_in_flight";
/// Open connections.
pub const CONNECTIONS: &str = "r2r_http_connections";
/// Connections refused because there are too many.
pub const CONNECTIONS_REFUSED: &str = "r2r_http_connections_refused_total";
/// Theses of known tickers asked for, by `outcome`: exactly one each. An element of a batch
/// is asked for when its turn comes; those of a client that left before are none.
pub const THESES: &str = "r2r_theses_total";
/// Seconds from asking for a thesis to having it, by `cache`.
pub const THESIS_SECONDS: &str = "r2r_thesis_seconds";
/// Answers that the schema guard let through.
pub const SCHEMA_VALID: &str = "r2r_thesis_schema_valid_total";
/// Answers that the schema guard stopped.
pub const SCHEMA_INVALID: &str = "r2r_thesis_schema_invalid_total";
/// Backtests that were computed, by `outcome`: `done`, `cancelled` or `failed`.
pub const BACKTEST_JOBS: &str = "r2r_backtest_jobs_total";
/// Backtests that wait or run.
pub const BACKTEST_JOBS_ACTIVE: &str = "r2r_backtest_jobs_active";
/// Seconds of computing a backtest, the time it waits for its turn not counted.
pub const BACKTEST_SECONDS: &str = "r2r_backtest_seconds";
/// Lookups by `cache` (`reads`, `answers`, `backtests`) and `result` (`hit`, `miss`).
pub const CACHE_LOOKUPS: &str = "r2r_cache_lookups_total";
/// Entries pushed out by `cache`.
pub const CACHE_EVICTIONS: &str = "r2r_cache_evictions_total";
/// Bytes held by `cache`.
pub const CACHE_BYTES: &str = "r2r_cache_bytes";

/// Buckets from a cache hit to the deadline.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
/// Buckets of the tokens of one decode, up to the largest chunk by default.
const TOKENS: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];

/// Installs the process's recorder and describes the metrics.
///
/// # Errors
/// Fails when a recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_tokens".to_owned()), &TOKENS)?
        .install_recorder()?;
    describe_counter!(
        HTTP_REQUESTS,
        "Requests by route and status; 499 is a client that went away."
    );
    describe_histogram!(HTTP_SECONDS, Unit::Seconds, "Time from request head to answer.");
    describe_gauge!(HTTP_IN_FLIGHT, "Requests being answered.");
    describe_gauge!(CONNECTIONS, "Open connections.");
    describe_counter!(CONNECTIONS_REFUSED, "Connections refused because there are too many.");
    describe_counter!(
        THESES,
        "Theses of known tickers asked for, alone or by a batch when their turn came, by outcome."
    );
    describe_histogram!(THESIS_SECONDS, Unit::Seconds, "Time to a thesis, by cache hit or miss.");
    describe_counter!(SCHEMA_VALID, "Answers the schema guard let through.");
    describe_counter!(SCHEMA_INVALID, "Answers the schema guard stopped.");
    describe_counter!(BACKTEST_JOBS, "Backtests that were computed, by outcome.");
    describe_gauge!(BACKTEST_JOBS_ACTIVE, "Backtests that wait or run.");
    describe_histogram!(BACKTEST_SECONDS, Unit::Seconds, "Time of computing a backtest.");
    describe_counter!(CACHE_LOOKUPS, "Cache lookups by cache and result.");
    describe_counter!(CACHE_EVICTIONS, "Entries pushed out, by cache.");
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "Bytes held, by cache.");
    metrics::counter!(SCHEMA_VALID).absolute(0);
    metrics::counter!(SCHEMA_INVALID).absolute(0);
    Ok(handle)
}

/// Moves recorded samples into their buckets every few seconds, so that memory
/// does not grow while nobody scrapes. Runs until dropped.
pub async fn upkeep(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}
