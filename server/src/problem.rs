//! Errors as the outside sees them: RFC 9457 problem details, made in one place.
//! What the outside reads is written here; what happened inside is logged and
//! never travels.

use std::{sync::Arc, time::Duration};

use contract::SchemaError;
use domain::{AsOf, Ticker};
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER},
};
use inference::WriteError;
use lake::LakeError;
use serde::Serialize;
use serde_json::{Map, Value, json};
use study::StudyError;
use thiserror::Error;
use utoipa::ToSchema;

use crate::http::Rejection;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Everything a request can fail with.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The request head was refused before routing.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No route has this path.
    #[error("there is no {0}; GET /v1/openapi.json describes what there is")]
    UnknownPath(String),
    /// The path has no such method.
    #[error("{method} is not a method of this path; it takes {allow}")]
    Method {
        /// The method asked for.
        method: Method,
        /// The methods there are.
        allow: &'static str,
    },
    /// The body is in a content coding.
    #[error("the body must be sent without a content coding")]
    ContentCoding,
    /// The body is larger than the route takes.
    #[error("the body is larger than {limit_bytes} bytes")]
    BodyTooLarge {
        /// Most bytes of a body.
        limit_bytes: usize,
    },
    /// The body did not arrive in time.
    #[error("the body was not complete within {0:?}")]
    BodyTimeout(Duration),
    /// The body ended early or broke its framing.
    #[error("the body is incomplete or broken")]
    BodyBroken,
    /// The body is not the JSON that the route reads.
    #[error("{0}")]
    Json(String),
    /// A field is unknown, duplicated, missing or of the wrong type.
    #[error("{detail}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A parameter of a query is unknown, occurs twice or is out of its range.
    #[error("{detail}")]
    Parameter {
        /// The parameter.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
    /// No backtest has this id.
    #[error(
        "there is no backtest job {0}: it is forgotten, or never was; GET /v1/backtest asks anew"
    )]
    UnknownJob(String),
    /// As many backtests wait or run as may, or as many as are fair to others who wait.
    #[error(
        "no more backtests may wait or run ({limit} at once, shared by address); come back, or \
         DELETE one of yours"
    )]
    TooManyJobs {
        /// Most jobs.
        limit: usize,
        /// When to come back.
        retry_after: Duration,
    },
    /// What a backtest is made of could not be read.
    #[error("what the backtest is made of could not be read")]
    Backtest(#[source] StudyError),
    /// The batch has too many tickers.
    #[error("the batch has {found} tickers; at most {limit} are answered")]
    TooManyTickers {
        /// Tickers sent.
        found: usize,
        /// Most tickers.
        limit: usize,
    },
    /// The universe has no such ticker.
    #[error("ticker {ticker} is not in the universe{}", near_text(near))]
    UnknownTicker {
        /// The ticker.
        ticker: String,
        /// Similar ones.
        near: Vec<Ticker>,
    },
    /// The data do not reach to the date.
    #[error("as_of {as_of} is outside the data of {ticker}, {first} to {last}")]
    OutOfRange {
        /// The ticker.
        ticker: Ticker,
        /// The date asked for.
        as_of: AsOf,
        /// First date there is.
        first: String,
        /// Last date there is.
        last: String,
    },
    /// The engine has no room.
    #[error("the server is at its capacity; POST /v1/batch/thesis waits for its turn")]
    Overloaded(Duration),
    /// The engine is starting or restarting.
    #[error("the model is not ready")]
    NotReady(Duration),
    /// The thesis was not written in time.
    #[error("the thesis was not written within {0:?}")]
    Deadline(Duration),
    /// The answer does not fit the schema; it must not leave.
    #[error("the answer does not fit the schema")]
    Schema(#[source] SchemaError),
    /// Reading the snapshot failed.
    #[error("reading the snapshot failed")]
    Lake(#[source] LakeError),
    /// Writing the thesis failed.
    #[error("writing the thesis failed")]
    Write(#[source] WriteError),
    /// Anything else that must not happen.
    #[error("{0}")]
    Internal(&'static str),
    /// An error shared by several requests for the same thesis.
    #[error(transparent)]
    Shared(Arc<ApiError>),
}

/// Problem details of RFC 9457, with the members some problems add.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is.
    #[serde(rename = "type")]
    #[schema(example = "urn:r2r:problem:unknown-ticker")]
    pub kind: String,
    /// The kind in words.
    #[schema(value_type = String, example = "Unknown ticker")]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// The request, as `X-Request-Id` names it.
    #[schema(example = "urn:r2r:request:3f0a")]
    pub instance: String,
    /// `field`, `near`, `first`, `last`, `limit`, `retry_after_s`, ...
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub more: Map<String, Value>,
}

/// What an error is to the outside: status, kind, title and additional members.
struct Outside {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    more: Value,
}

impl ApiError {
    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.outside().status
    }

    /// Returns the problem for the request with this id.
    #[must_use]
    pub fn problem(&self, request_id: &str) -> Problem {
        let Outside { status, kind, title, more } = self.outside();
        let detail = if status == StatusCode::INTERNAL_SERVER_ERROR {
            "Something went wrong inside the server; its log holds the cause under this request id."
                .to_owned()
        } else {
            self.to_string()
        };
        let more = match more {
            Value::Object(more) => more,
            _ => Map::new(),
        };
        Problem {
            kind: format!("urn:r2r:problem:{kind}"),
            title,
            status: status.as_u16(),
            detail,
            instance: format!("urn:r2r:request:{request_id}"),
            more,
        }
    }

    /// Names the outcome of a thesis that failed so, for metrics.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Shared(error) => error.outcome(),
            Self::Overloaded(_) => "overloaded",
            Self::NotReady(_) => "not_ready",
            Self::Deadline(_) => "deadline",
            Self::UnknownTicker { .. } | Self::OutOfRange { .. } | Self::Field { .. } => "refused",
            _ => "failed",
        }
    }

    /// Adds the header fields that go with the problem.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        match self {
            Self::Shared(error) => error.add_headers(headers),
            Self::Method { allow, .. } => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Self::Overloaded(after)
            | Self::NotReady(after)
            | Self::TooManyJobs { retry_after: after, .. } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds(*after)));
            }
            Self::Rejected(_)
            | Self::BodyTooLarge { .. }
            | Self::BodyTimeout(_)
            | Self::BodyBroken => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
    }

    fn outside(&self) -> Outside {
        let (code, kind, title, more) = match self {
            Self::Shared(error) => return error.outside(),
            Self::Rejected(rejection) => return rejected(*rejection),
            Self::UnknownPath(_) => (404, "unknown-path", "Unknown path", Value::Null),
            Self::Method { allow, .. } => {
                (405, "method-not-allowed", "Method not allowed", json!({ "allow": allow }))
            }
            Self::ContentCoding => {
                (415, "content-coding", "Content coding not supported", Value::Null)
            }
            Self::BodyTooLarge { limit_bytes } => {
                (413, "body-too-large", "Body too large", json!({ "limit_bytes": limit_bytes }))
            }
            Self::BodyTimeout(_) => (408, "body-timeout", "Body too slow", Value::Null),
            Self::BodyBroken => (400, "broken-body", "Broken body", Value::Null),
            Self::Json(_) => (400, "malformed-json", "Malformed JSON", Value::Null),
            Self::Field { field, .. } => {
                (400, "invalid-field", "Invalid field", json!({ "field": field }))
            }
            Self::Parameter { name, .. } => {
                (422, "invalid-parameter", "Invalid parameter", json!({ "parameter": name }))
            }
            Self::UnknownJob(_) => (404, "unknown-job", "Unknown job", Value::Null),
            Self::TooManyTickers { limit, .. } => {
                (422, "too-many-tickers", "Too many tickers", json!({ "limit": limit }))
            }
            Self::UnknownTicker { ticker, near } => {
                let more = json!({ "ticker": ticker, "near": near });
                (404, "unknown-ticker", "Unknown ticker", more)
            }
            Self::OutOfRange { as_of, first, last, .. } => {
                let more = json!({ "as_of": as_of, "first": first, "last": last });
                (422, "as-of-out-of-range", "Date outside the data", more)
            }
            Self::Overloaded(after) => {
                (503, "overloaded", "Overloaded", json!({ "retry_after_s": seconds(*after) }))
            }
            Self::NotReady(after) => {
                (503, "not-ready", "Model not ready", json!({ "retry_after_s": seconds(*after) }))
            }
            Self::TooManyJobs { limit, retry_after } => {
                let more = json!({ "limit": limit, "retry_after_s": seconds(*retry_after) });
                (503, "too-many-jobs", "Too many backtests", more)
            }
            Self::Deadline(limit) => {
                let more = json!({ "deadline_s": limit.as_secs_f64() });
                (504, "deadline-exceeded", "Deadline exceeded", more)
            }
            Self::Schema(_)
            | Self::Lake(_)
            | Self::Write(_)
            | Self::Backtest(_)
            | Self::Internal(_) => (500, "internal", "Internal error", Value::Null),
        };
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Outside { status, kind, title, more }
    }
}

fn rejected(rejection: Rejection) -> Outside {
    let (status, kind, title) = match rejection {
        Rejection::Malformed(_) => {
            (StatusCode::BAD_REQUEST, "malformed-request", "Malformed request")
        }
        Rejection::Version => {
            (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "http-version", "HTTP version not supported")
        }
        Rejection::TargetTooLong => {
            (StatusCode::URI_TOO_LONG, "target-too-long", "Target too long")
        }
        Rejection::TooLarge { .. } => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head-too-large",
            "Request head too large",
        ),
        Rejection::TransferCoding => {
            (StatusCode::NOT_IMPLEMENTED, "transfer-coding", "Transfer coding not supported")
        }
        Rejection::Timeout(_) => (StatusCode::REQUEST_TIMEOUT, "head-timeout", "Request too slow"),
    };
    Outside { status, kind, title, more: Value::Null }
}

fn near_text(near: &[Ticker]) -> String {
    let names: Vec<&str> = near.iter().map(Ticker::as_str).collect();
    if names.is_empty() {
        "; GET /v1/tickers lists those that are".to_owned()
    } else {
        format!("; near: {}", names.join(", "))
    }
}

/// Rounds up to whole seconds, at least one: `Retry-After` has no fractions.
fn seconds(after: Duration) -> u64 {
    after.as_millis().div_ceil(1000).clamp(1, 3600).try_into().unwrap_or(3600)
}
