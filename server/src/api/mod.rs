//! The API: one table of routes, one conversion from error to response.

mod backtest;
mod batch;
mod health;
mod observe;
mod openapi;
pub(crate) mod request;
mod stream;

use std::{error::Error, panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue},
};
use tracing::{Instrument as _, error, info_span, warn};

pub(crate) use self::openapi::document as openapi_document;
use self::{observe::Observed, request::ThesisQuery};
use crate::{
    App,
    fairness::Tenant,
    http::{self, Body, Rejection, X_REQUEST_ID, full},
    problem::{self, ApiError},
    theses::{Caller, Patience},
};

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// Answers a request, whatever happens.
pub(crate) async fn answer(
    app: Arc<App>,
    tenant: Tenant,
    request: Request<Incoming>,
) -> Response<Body> {
    let request_id = http::request_id(request.headers());
    let method = request.method().clone();
    let observed = Observed::start(request_id.clone(), method, label(request.uri().path()));
    let span = info_span!("request", request.id = %request_id);
    let routed = AssertUnwindSafe(route(app, &request_id, tenant, request)).catch_unwind();
    let result = routed.instrument(span).await;
    let result = result.unwrap_or(Err(ApiError::Internal("a handler panicked")));
    finish(result, observed, &request_id)
}

/// Answers a request whose head was refused.
pub(crate) fn reject(rejection: Rejection) -> Response<Body> {
    let request_id = http::request_id(&HeaderMap::new());
    let observed = Observed::start(request_id.clone(), Method::GET, "rejected");
    finish(Err(rejection.into()), observed, &request_id)
}

/// The routes.
async fn route(
    app: Arc<App>,
    request_id: &str,
    tenant: Tenant,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/thesis") => thesis(app, request_id, tenant, request).await,
        (&Method::POST, "/v1/batch/thesis") => {
            batch::answer(app, request_id, tenant, request).await
        }
        (&Method::GET | &Method::HEAD, "/v1/backtest") => {
            backtest::ask(&app, tenant, request.uri().query().unwrap_or_default()).await
        }
        (method, path) if path.starts_with(backtest::JOBS) => {
            backtest::job(&app, request_id, method, &path[backtest::JOBS.len()..]).await
        }
        (&Method::GET | &Method::HEAD, "/v1/healthz") => health::healthz(&app),
        (&Method::GET | &Method::HEAD, "/v1/tickers") => health::tickers(&app),
        (&Method::GET | &Method::HEAD, "/v1/metrics") => metrics(&app).await,
        (&Method::GET | &Method::HEAD, "/v1/openapi.json") => Ok(json(app.openapi())),
        (method, "/v1/thesis" | "/v1/batch/thesis") => {
            Err(ApiError::Method { method: method.clone(), allow: "POST" })
        }
        (
            method,
            "/v1/backtest" | "/v1/healthz" | "/v1/tickers" | "/v1/metrics" | "/v1/openapi.json",
        ) => Err(ApiError::Method { method: method.clone(), allow: "GET, HEAD" }),
        (_, path) => Err(ApiError::UnknownPath(path.chars().take(80).collect())),
    }
}

/// Names a route in metrics and logs. A path that is not a route could be
/// anything and gets no label of its own.
fn label(path: &str) -> &'static str {
    const ROUTES: [&str; 7] = [
        "/v1/thesis",
        "/v1/batch/thesis",
        "/v1/backtest",
        "/v1/healthz",
        "/v1/tickers",
        "/v1/metrics",
        "/v1/openapi.json",
    ];
    if path.starts_with(backtest::JOBS) {
        return "/v1/backtest/jobs/{id}";
    }
    ROUTES.into_iter().find(|route| *route == path).unwrap_or("unknown")
}

async fn thesis(
    app: Arc<App>,
    request_id: &str,
    tenant: Tenant,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let (head, body) = request.into_parts();
    let limits = &app.config().http;
    let within = limits.body();
    let mut body = http::read(&head.headers, body, limits.thesis_body_bytes_max, within).await?;
    let ThesisQuery { ticker, as_of, seed } = ThesisQuery::parse(&mut body)?;
    let ask = app.theses().ask(&ticker, as_of, seed).await?;
    let caller = Caller { tenant, patience: Patience::Deadline };
    if accepts(&head.headers, "text/event-stream") {
        return stream::answer(app, ask, caller, request_id).await;
    }
    let answer = app.theses().get(&ask, caller).await?;
    let mut response = json(answer.bytes);
    let cache = HeaderValue::from_static(if answer.hit { "hit" } else { "miss" });
    response.headers_mut().insert(X_CACHE, cache);
    Ok(response)
}

/// Tells whether the client asks for a media type by name.
fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let ranges = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = ranges.flat_map(|ranges| ranges.split(',')).map(|range| {
        let kind = range.split(';').next().unwrap_or_default();
        kind.trim().to_ascii_lowercase()
    });
    kinds.any(|asked| asked == kind)
}

async fn metrics(app: &App) -> Result<Response<Body>, ApiError> {
    app.theses().publish_cache_sizes().await;
    app.backtests().publish_cache_sizes().await;
    let mut response = Response::new(full(app.metrics().render()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

fn json(bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Makes the answer of a result: the one place where an error becomes a
/// problem, and where its causes are logged.
fn finish(
    result: Result<Response<Body>, ApiError>,
    observed: Observed,
    request_id: &str,
) -> Response<Body> {
    let mut response = result.unwrap_or_else(|error| {
        log_failure(&error, request_id);
        let status = error.status();
        let body = serde_json::to_vec(&error.problem(request_id)).unwrap_or_default();
        let mut response = Response::new(full(body));
        *response.status_mut() = status;
        let kind = HeaderValue::from_static(problem::MEDIA_TYPE);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        error.add_headers(response.headers_mut());
        response
    });
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    let status = response.status().as_u16();
    response.map(|body| observed.body(status, body).boxed_unsync())
}

/// Logs an error of the server's side with its chain of causes.
fn log_failure(failure: &ApiError, request_id: &str) {
    let status = failure.status();
    if !status.is_server_error() {
        return;
    }
    let causes = std::iter::successors(failure.source(), |cause| (*cause).source());
    let causes = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        error!(request.id = %request_id, causes, "a request failed inside: {failure}");
    } else {
        warn!(request.id = %request_id, causes, "a request was turned away: {failure}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_asked_for_by_name() {
        let accepts = |ranges: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append(ACCEPT, HeaderValue::from_static("text/plain"));
            headers.append(ACCEPT, HeaderValue::from_static(ranges));
            super::accepts(&headers, "application/x-ndjson")
        };
        assert!(accepts("application/x-ndjson"));
        assert!(accepts("text/html, Application/X-NDJSON;q=0.9"));
        assert!(!accepts("*/*"));
        assert!(!accepts("application/json"));
    }
}
