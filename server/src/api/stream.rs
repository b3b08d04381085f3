//! `POST /v1/thesis` with `Accept: text/event-stream`: an event `claim` for each
//! claim as soon as it stands, then `thesis` with the whole answer, or `problem`.
//! A thesis that need not be written comes as a single event.

use std::sync::Arc;

use bytes::Bytes;
use contract::Claim;
use futures::{FutureExt as _, future::BoxFuture, stream};
use hyper::{
    Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::{
    App,
    http::{self, Body},
    problem::ApiError,
    theses::{Answer, Ask, Patience},
};

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// What is still to come.
struct Coming {
    answer: BoxFuture<'static, Result<Answer, ApiError>>,
    claims: UnboundedReceiver<Claim>,
    request_id: String,
}

pub(super) fn answer(app: Arc<App>, ask: Ask, request_id: &str) -> Response<Body> {
    let (sender, claims) = mpsc::unbounded_channel();
    let answer =
        async move { app.theses().get_telling(&ask, Patience::Deadline, Some(sender)).await };
    let coming = Coming { answer: answer.boxed(), claims, request_id: request_id.to_owned() };
    let events = stream::unfold(Some(coming), |coming| async move {
        let (event, coming) = next(coming?).await;
        Some((event, coming))
    });
    let mut response = Response::new(http::stream(events));
    response.headers_mut().insert(CONTENT_TYPE, EVENT_STREAM);
    response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
    response
}

/// Waits for the next event; claims come before the answer they belong to.
async fn next(mut coming: Coming) -> (Bytes, Option<Coming>) {
    tokio::select! {
        biased;
        Some(claim) = coming.claims.recv() => {
            let data = serde_json::to_vec(&claim).unwrap_or_default();
            (event("claim", &data), Some(coming))
        }
        result = &mut coming.answer => match result {
            Ok(answer) => (event("thesis", &answer.bytes), None),
            Err(error) => {
                super::log_failure(&error, &coming.request_id);
                let problem = error.problem(&coming.request_id);
                (event("problem", &serde_json::to_vec(&problem).unwrap_or_default()), None)
            }
        },
    }
}

/// Writes one event; JSON holds no line break of its own.
fn event(name: &str, data: &[u8]) -> Bytes {
    [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"].concat().into()
}
