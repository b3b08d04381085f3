//! Accepts connections, bounds their number, and drains.

use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    Body,
    guard::{Guard, Limits, REJECTED_PATH, Refusal},
};
use crate::{App, api, fairness::Tenant, metrics as names};

/// What a connection beyond the limit reads.
const REFUSED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\n\
    content-length: 155\r\n\r\n\
    {\"type\":\"urn:r2r:problem:overloaded\",\"title\":\"Overloaded\",\"status\":503,\
    \"detail\":\"the server has too many open connections\",\"instance\":\"\",\"retry_after_s\":1}";

/// Serves `app` on a bound listener until `shutdown` completes, then lets what
/// is in flight end within `http.drain_ms`.
pub async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()>, app: Arc<App>) {
    let http = &app.config().http;
    let places = Arc::new(Semaphore::new(http.connections_max));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            // Ended connections are forgotten as they end.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (socket, tenant) = match accepted {
            Ok((socket, peer)) => (socket, Tenant::from(peer.ip())),
            Err(error) => {
                // Out of descriptors, mostly: wait for a connection to end.
                warn!(
                    error = &error as &dyn std::error::Error,
                    "a connection could not be accepted"
                );
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            metrics::counter!(names::CONNECTIONS_REFUSED).increment(1);
            let _ = socket.try_write(REFUSED);
            continue;
        };
        let connection = graceful.watch(connection(socket, tenant, Arc::clone(&app)));
        connections.spawn(async move {
            let _place = place;
            metrics::gauge!(names::CONNECTIONS).increment(1);
            if let Err(error) = connection.await {
                debug!(error = &error as &dyn std::error::Error, "a connection ended early");
            }
            metrics::gauge!(names::CONNECTIONS).decrement(1);
        });
    }
    drop(listener);
    let limit = Duration::from_millis(http.drain_ms);
    info!(drain.limit_ms = http.drain_ms, "no new connections; requests in flight may end");
    if timeout(limit, graceful.shutdown()).await.is_err() {
        warn!(connections.cut = connections.len(), "the drain limit passed; the rest is cut");
    }
}

type Served<F> = http1::Connection<TokioIo<Guard<TcpStream>>, F>;

fn connection(
    socket: TcpStream,
    tenant: Tenant,
    app: Arc<App>,
) -> Served<
    impl hyper::service::HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send>,
> {
    let _ = socket.set_nodelay(true);
    let http = app.config().http.clone();
    let limits = Limits {
        head_bytes_max: http.head_bytes_max,
        first_byte: Duration::from_millis(http.first_byte_ms),
        head: Duration::from_millis(http.head_ms),
        write_stall: Duration::from_millis(http.write_stall_ms),
    };
    let refusal = Refusal::default();
    let guard = Guard::new(socket, limits, refusal.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        // Taken now, when hyper has parsed the stand-in and nothing later.
        let is_stand_in = request.uri().path() == REJECTED_PATH;
        let rejection = if is_stand_in { refusal.take() } else { None };
        let app = Arc::clone(&app);
        async move {
            let response: Response<Body> = match rejection {
                Some(rejection) => api::reject(rejection),
                None => api::answer(app, tenant, request).await,
            };
            Ok::<_, Infallible>(response)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        // The guard cuts slow heads; this closes kept-alive connections in which
        // no next request begins.
        .header_read_timeout(Duration::from_millis(http.idle_ms))
        .max_buf_size((http.head_bytes_max * 2).max(64 << 10))
        .serve_connection(TokioIo::new(guard), service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_states_its_length() {
        let text = std::str::from_utf8(REFUSED).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
