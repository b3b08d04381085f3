//! `POST /v1/thesis` with `Accept: text/event-stream`: an event `claim` for each
//! claim as soon as it stands, then `thesis` with the whole answer, or `problem`.
//! A thesis that need not be written comes as a single event. A claim that comes
//! again, because the model was replaced meanwhile, replaces the earlier one.

use std::sync::Arc;

use bytes::Bytes;
use contract::Claim;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use hyper::{
    Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::{
    App,
    http::{self, Body},
    problem::ApiError,
    theses::{Answer, Ask, Caller},
};

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// What is still to come.
struct Coming {
    answer: BoxFuture<'static, Result<Answer, ApiError>>,
    claims: UnboundedReceiver<Claim>,
    request_id: String,
}

/// Waits for the first event: what goes wrong before it is an ordinary problem.
pub(super) async fn answer(
    app: Arc<App>,
    ask: Ask,
    caller: Caller,
    request_id: &str,
) -> Result<Response<Body>, ApiError> {
    let (sender, claims) = mpsc::unbounded_channel();
    let answer = async move { app.theses().get_telling(&ask, caller, Some(sender)).await };
    let coming = Coming { answer: answer.boxed(), claims, request_id: request_id.to_owned() };
    let (first, coming) = next(coming).await?;
    let rest = stream::unfold(coming, |coming| async move {
        let coming = coming?;
        let request_id = coming.request_id.clone();
        Some(next(coming).await.unwrap_or_else(|error| {
            super::log_failure(&error, &request_id);
            let problem = serde_json::to_vec(&error.problem(&request_id));
            (event("problem", &problem.unwrap_or_default()), None)
        }))
    });
    let events = stream::once(async { first }).chain(rest);
    let mut response = Response::new(http::stream(events));
    response.headers_mut().insert(CONTENT_TYPE, EVENT_STREAM);
    response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
    Ok(response)
}

/// Waits for the next claim, or for the answer with the claims that came with it.
async fn next(mut coming: Coming) -> Result<(Bytes, Option<Coming>), ApiError> {
    tokio::select! {
        biased;
        Some(claim) = coming.claims.recv() => Ok((claim_event(&claim), Some(coming))),
        answer = &mut coming.answer => {
            let answer = answer?;
            let mut events = Vec::new();
            while let Ok(claim) = coming.claims.try_recv() {
                events.extend(claim_event(&claim));
            }
            events.extend(event("thesis", &answer.bytes));
            Ok((events.into(), None))
        }
    }
}

fn claim_event(claim: &Claim) -> Bytes {
    event("claim", &serde_json::to_vec(claim).unwrap_or_default())
}

/// Writes one event; JSON holds no line break of its own.
fn event(name: &str, data: &[u8]) -> Bytes {
    [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"].concat().into()
}
