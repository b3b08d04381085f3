//! `POST /v1/batch/thesis`: many theses in one answer, streamed as fast as the
//! client reads; an error of one ticker stands in its place and harms no other.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use domain::AsOf;
use futures::{Stream, StreamExt as _, stream};
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::json;
use tokio::task::JoinSet;

use super::request::BatchQuery;
use crate::{
    App,
    fairness::Tenant,
    http::{self, Body},
    problem::ApiError,
    theses::{Caller, Patience},
};

/// Elements that are read while the engine decodes those before them.
const READ_AHEAD: usize = 4;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

pub(super) async fn answer(
    app: Arc<App>,
    request_id: &str,
    tenant: Tenant,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let (head, body) = request.into_parts();
    let config = app.config();
    let (limit, within) = (config.http.batch_body_bytes_max, config.http.body());
    let mut body = http::read(&head.headers, body, limit, within).await?;
    let query = BatchQuery::parse(&mut body, config.batch.tickers_max)?;
    let as_lines = super::accepts(&head.headers, "application/x-ndjson");
    let elements = elements(&app, query, tenant, request_id);
    // The elements beyond those in the engine have their reads ready.
    let width = app.theses().writer().engine().batch_width() + READ_AHEAD;
    let (kind, body) = if as_lines {
        let lines = elements.buffer_unordered(width).map(|element| join(&[&element, b"\n"]));
        (NDJSON, http::stream(lines))
    } else {
        (JSON, http::stream(array(elements.buffered(width))))
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// The futures of all elements; none has started.
fn elements(
    app: &Arc<App>,
    query: BatchQuery,
    tenant: Tenant,
    request_id: &str,
) -> impl Stream<Item = impl Future<Output = Bytes> + Send + use<>> + Send + use<> {
    let (app, request_id) = (Arc::clone(app), request_id.to_owned());
    let BatchQuery { tickers, as_of, seed } = query;
    let caller = Caller { tenant, patience: Patience::Batch };
    stream::iter(tickers).map(move |ticker| {
        let (app, request_id) = (Arc::clone(&app), request_id.clone());
        async move {
            // A task of its own, ended with this future: a client that reads
            // slowly must not hold a place in the engine with half a thesis.
            let mut task = JoinSet::new();
            let (name, id) = (ticker.clone(), request_id.clone());
            task.spawn(async move { element(&app, caller, &name, as_of, seed, &id).await });
            match task.join_next().await {
                Some(Ok(element)) => element,
                _ => in_place(&ticker, &ApiError::Internal("an element panicked"), &request_id),
            }
        }
    })
}

/// Returns a thesis, or the problem in its place.
async fn element(
    app: &App,
    caller: Caller,
    ticker: &str,
    as_of: Option<AsOf>,
    seed: u64,
    request_id: &str,
) -> Bytes {
    let result = async {
        let ask = app.theses().ask(ticker, as_of, seed).await?;
        app.theses().get(&ask, caller).await
    };
    match result.await {
        Ok(answer) => answer.bytes,
        Err(error) => in_place(ticker, &error, request_id),
    }
}

/// Returns the problem in the place of a thesis.
fn in_place(ticker: &str, error: &ApiError, request_id: &str) -> Bytes {
    super::log_failure(error, request_id);
    let ticker: String = ticker.chars().take(24).collect();
    let problem = error.problem(request_id);
    json!({ "ticker": ticker, "problem": problem }).to_string().into()
}

/// Writes the brackets and commas of an array around its elements.
fn array(elements: impl Stream<Item = Bytes> + Send + 'static) -> impl Stream<Item = Bytes> + Send {
    let separated = elements
        .enumerate()
        .map(|(i, element)| join(&[if i == 0 { b"[" } else { b",\n" }, &element]));
    separated.chain(stream::once(async { Bytes::from_static(b"]\n") }))
}

fn join(parts: &[&[u8]]) -> Bytes {
    let mut joined = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        joined.put_slice(part);
    }
    joined.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_array_has_its_brackets_and_commas() {
        let elements = stream::iter([Bytes::from_static(b"1"), Bytes::from_static(b"2")]);
        let chunks: Vec<Bytes> = array(elements).collect().await;
        assert_eq!(chunks.concat(), b"[1,\n2]\n");
    }
}
