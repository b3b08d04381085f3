//! `GET /v1/healthz` and `GET /v1/tickers`.

use chrono::NaiveDate;
use domain::{Digest, Ticker};
use hyper::{Response, StatusCode};
use inference::EngineState;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{App, http::Body, problem::ApiError};

/// Whether the server lives and can answer, and with what.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// The process answers. Always true in an answer.
    live: bool,
    /// Theses can be written; the status is 503 when not.
    ready: bool,
    /// State of the engine: `starting`, `ready` or `down`.
    #[schema(value_type = String, example = "ready")]
    state: &'static str,
    /// The model.
    model: ModelHealth,
    /// The data.
    snapshot: SnapshotHealth,
    /// SHA-256 over everything that decides what is read and may be written.
    #[schema(value_type = String)]
    contract_digest: Digest,
    /// Version of r2r.
    #[schema(value_type = String)]
    version: &'static str,
    /// The worker process.
    worker: WorkerHealth,
}

/// The model that is served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelHealth {
    /// Name of its manifest.
    name: String,
    /// SHA-256 of the file.
    #[schema(value_type = String)]
    digest: Digest,
}

/// The snapshot that is read.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SnapshotHealth {
    /// Its id.
    #[schema(value_type = String)]
    id: Digest,
    /// First session of any ticker.
    #[schema(value_type = Option<String>, format = Date)]
    first: Option<NaiveDate>,
    /// Last session of any ticker.
    #[schema(value_type = Option<String>, format = Date)]
    last: Option<NaiveDate>,
    /// Number of tickers.
    tickers: usize,
}

/// The worker process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerHealth {
    /// Times it was replaced.
    restarts: u64,
    /// Theses being decoded.
    active: u32,
    /// Requests waiting for a lane.
    queued: u32,
    /// Its process id.
    pid: Option<u32>,
    /// Process id of the one that stands by.
    standby_pid: Option<u32>,
}

/// A ticker and the span of its data.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TickerSpan {
    /// Exchange symbol.
    #[schema(value_type = String, example = "AAPL")]
    ticker: Ticker,
    /// Company name.
    company: String,
    /// First date a thesis can be asked for.
    #[schema(value_type = String, format = Date)]
    first: NaiveDate,
    /// Last date a thesis can be asked for.
    #[schema(value_type = String, format = Date)]
    last: NaiveDate,
}

pub(super) fn healthz(app: &App) -> Result<Response<Body>, ApiError> {
    let theses = app.theses();
    let status = theses.writer().engine().status();
    let ready = status.state == EngineState::Ready;
    let range = theses.snapshot().range();
    let health = Health {
        live: true,
        ready,
        state: match status.state {
            EngineState::Starting => "starting",
            EngineState::Ready => "ready",
            EngineState::Down => "down",
        },
        model: ModelHealth { name: status.model.name.clone(), digest: status.model.digest },
        snapshot: SnapshotHealth {
            id: theses.snapshot().id(),
            first: range.map(|(first, _)| first),
            last: range.map(|(_, last)| last),
            tickers: theses.snapshot().tickers().len(),
        },
        contract_digest: theses.contract(),
        version: env!("CARGO_PKG_VERSION"),
        worker: WorkerHealth {
            restarts: status.restarts,
            active: status.active,
            queued: status.queued,
            pid: status.worker_pid,
            standby_pid: status.standby_pid,
        },
    };
    let mut response = answer(&health)?;
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

pub(super) fn tickers(app: &App) -> Result<Response<Body>, ApiError> {
    let infos = app.theses().snapshot().tickers().iter();
    let spans: Vec<TickerSpan> = infos
        .map(|info| TickerSpan {
            ticker: info.ticker.clone(),
            company: info.company.clone(),
            first: info.first,
            last: info.last,
        })
        .collect();
    answer(&spans)
}

fn answer(value: &impl Serialize) -> Result<Response<Body>, ApiError> {
    let bytes = serde_json::to_vec(value);
    let bytes = bytes.map_err(|_| ApiError::Internal("an answer does not serialise"))?;
    Ok(super::json(bytes.into()))
}
