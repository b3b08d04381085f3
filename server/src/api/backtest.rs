//! `GET /v1/backtest` and the jobs of what takes longer.

use std::sync::Arc;

use bytes::Bytes;
use domain::Digest;
use hyper::{
    Method, Response, StatusCode,
    header::{HeaderValue, LOCATION, RETRY_AFTER},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{X_CACHE, json};
use crate::{
    App,
    backtests::{BacktestQuery, Found, Job, Outcome, Reply},
    fairness::Tenant,
    http::Body,
    problem::{ApiError, Problem},
};

/// Where jobs are.
pub(super) const JOBS: &str = "/v1/backtest/jobs/";
/// Seconds after which a client may look again.
const LOOK_AGAIN: HeaderValue = HeaderValue::from_static("1");

/// A backtest that takes longer. It lives in memory, and a restart forgets it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BacktestJob {
    /// Its id, the same for equal questions.
    id: String,
    /// `queued`, `running`, `done`, `cancelled` or `failed`.
    #[schema(value_type = String, example = "running")]
    state: &'static str,
    /// Share of the intervals that are computed.
    #[schema(minimum = 0, maximum = 1)]
    progress: f64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
    /// The answer of `GET /v1/backtest`, once it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
}

/// Answers a question, or says where its answer will be.
pub(super) async fn ask(
    app: &App,
    tenant: Tenant,
    query: &str,
) -> Result<Response<Body>, ApiError> {
    let query = BacktestQuery::read(query)?;
    match app.backtests().get(tenant, &query).await? {
        Reply::Answer(bytes, hit) => {
            let mut response = json(bytes);
            let cache = HeaderValue::from_static(if hit { "hit" } else { "miss" });
            response.headers_mut().insert(X_CACHE, cache);
            Ok(response)
        }
        Reply::Job(job) => {
            let mut response = json(bytes(&view(&job))?);
            *response.status_mut() = StatusCode::ACCEPTED;
            let location = HeaderValue::from_str(&format!("{JOBS}{}", job.id()));
            let location = location.map_err(|_| ApiError::Internal("an id is no header"))?;
            response.headers_mut().insert(LOCATION, location);
            response.headers_mut().insert(RETRY_AFTER, LOOK_AGAIN);
            Ok(response)
        }
    }
}

/// Shows a job, or stops it.
pub(super) async fn job(
    app: &App,
    request_id: &str,
    method: &Method,
    id: &str,
) -> Result<Response<Body>, ApiError> {
    let backtests = app.backtests();
    let found = match *method {
        Method::GET | Method::HEAD => backtests.find(id).await?,
        Method::DELETE => backtests.cancel(id).await?,
        _ => {
            let method = method.clone();
            return Err(ApiError::Method { method, allow: "GET, HEAD, DELETE" });
        }
    };
    let outcome = match &found {
        Found::Active(job) => match job.outcome() {
            Some(outcome) => outcome,
            None => return Ok(json(bytes(&view(job))?)),
        },
        Found::Ended(outcome) => outcome,
    };
    let (progress, result, problem) = match outcome {
        Outcome::Done(answer) => (1.0, Some(value(answer)?), None),
        Outcome::Cancelled => (0.0, None, None),
        Outcome::Failed(error) => (0.0, None, Some(error.problem(request_id))),
    };
    let (id, state) = (id.to_owned(), outcome.name());
    Ok(json(bytes(&BacktestJob { id, state, progress, problem, result })?))
}

fn view(job: &Arc<Job>) -> BacktestJob {
    let id: Digest = job.id();
    let (id, state, progress) = (id.to_string(), job.state(), job.progress());
    BacktestJob { id, state, progress, problem: None, result: None }
}

fn value(answer: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(answer).map_err(|_| ApiError::Internal("a kept backtest is no JSON"))
}

fn bytes(job: &BacktestJob) -> Result<Bytes, ApiError> {
    let bytes = serde_json::to_vec(job);
    bytes.map(Bytes::from).map_err(|_| ApiError::Internal("a job does not serialise"))
}
