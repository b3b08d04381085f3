//! One outcome a request: counted, timed and logged when the last byte of its
//! answer is handed to the socket, or when the client went away before.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use hyper::{
    Method,
    body::{Body as HttpBody, Frame, SizeHint},
};
use tracing::info;

use crate::{http::Body, metrics as names};

/// The status that is counted for a client that went away.
const CLIENT_WENT_AWAY: u16 = 499;

/// A request being answered.
pub(super) struct Observed {
    request_id: String,
    method: Method,
    route: &'static str,
    started: Instant,
    status: u16,
}

impl Observed {
    pub(super) fn start(request_id: String, method: Method, route: &'static str) -> Self {
        metrics::gauge!(names::HTTP_IN_FLIGHT).increment(1);
        Self { request_id, method, route, started: Instant::now(), status: CLIENT_WENT_AWAY }
    }

    /// Ties the outcome to an answer's body.
    pub(super) fn body(self, status: u16, inner: Body) -> ObservedBody {
        let head_only = self.method == Method::HEAD;
        let mut body = ObservedBody { inner, status, observed: self };
        if head_only || body.inner.is_end_stream() {
            body.observed.status = status;
        }
        body
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let Self { request_id, method, route, started, status } = self;
        let seconds = started.elapsed().as_secs_f64();
        metrics::gauge!(names::HTTP_IN_FLIGHT).decrement(1);
        metrics::counter!(names::HTTP_REQUESTS, "route" => *route, "status" => status.to_string())
            .increment(1);
        metrics::histogram!(names::HTTP_SECONDS, "route" => *route).record(seconds);
        let milliseconds = seconds * 1e3;
        let outcome = match *status {
            CLIENT_WENT_AWAY => "left by its client".to_owned(),
            status => format!("answered {status}"),
        };
        info!(
            request.id = %request_id,
            http.method = %method,
            http.route = %route,
            http.status = *status,
            duration_ms = milliseconds,
            "{method} {route} {outcome} after {milliseconds:.1} ms",
        );
    }
}

/// A body that knows when it has been read.
pub(super) struct ObservedBody {
    inner: Body,
    status: u16,
    observed: Observed,
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if frame.is_none() || self.inner.is_end_stream() {
            self.observed.status = self.status;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
