//! A loopback server that answers as a provider would, by a script: for each path
//! a list of steps, one per request, the last one repeated.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use tokio::net::TcpListener;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What a provider answers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Script {
    #[serde(default, rename = "route")]
    pub(crate) routes: Vec<Route>,
}

/// A path, and what must be in the query; the first route that fits answers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    /// 403 for a User-Agent without this text.
    pub(crate) needs_user_agent: Option<String>,
    pub(crate) steps: Vec<Step>,
}

/// One answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    pub(crate) status: u16,
    /// Body, from a file of the script's directory.
    pub(crate) file: Option<String>,
    /// Body, as it stands here.
    pub(crate) body: String,
    pub(crate) content_type: Option<String>,
    /// Also the 304 to a request that has it.
    pub(crate) etag: Option<String>,
    /// Also the 304 to a request that has it.
    pub(crate) last_modified: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) location: Option<String>,
    /// Compress the body.
    pub(crate) gzip: bool,
    /// Give no length in advance.
    pub(crate) chunked: bool,
    /// End the connection after so many bytes of the body.
    pub(crate) truncate: Option<usize>,
    /// Send a compressed body that ends too early, in a message that is whole.
    pub(crate) cut_gzip: bool,
    pub(crate) delay_ms: u64,
}

impl Default for Step {
    fn default() -> Self {
        Self {
            status: 200,
            file: None,
            body: String::new(),
            content_type: None,
            etag: None,
            last_modified: None,
            retry_after: None,
            location: None,
            gzip: false,
            chunked: false,
            truncate: None,
            cut_gzip: false,
            delay_ms: 0,
        }
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
}

/// A script, how far it is, and what came.
#[derive(Debug)]
pub(crate) struct Replay {
    dir: PathBuf,
    routes: Vec<Route>,
    progress: Mutex<BTreeMap<usize, usize>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
}

impl Replay {
    /// Plays a script whose files lie in `dir`.
    pub(crate) fn new(dir: &Path, script: Script) -> Arc<Self> {
        let (progress, seen) = (Mutex::default(), Mutex::default());
        Arc::new(Self { dir: dir.to_owned(), routes: script.routes, progress, seen })
    }

    /// Answers until the future is dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) -> io::Result<Infallible> {
        loop {
            let (stream, _) = listener.accept().await?;
            let replay = self.clone();
            let service = service_fn(move |request| replay.clone().answer(request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away, or is sent away, is no failure here.
            tokio::spawn(async move { drop(connection.await) });
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (path, query) = (request.uri().path().to_owned(), query(&request));
        let headers = request.headers().iter().map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let seen = Seen { target: request.uri().to_string(), headers: headers.collect() };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
        let fits = |route: &Route| {
            let asks = |(key, value): (&String, &String)| query.get(key) == Some(value);
            route.path == path && route.query.iter().all(asks)
        };
        let Some(at) = self.routes.iter().position(fits) else {
            return plain(404, "no such path in the script");
        };
        let route = &self.routes[at];
        let agent = seen.headers.get("user-agent").map_or("", String::as_str);
        if route.needs_user_agent.as_ref().is_some_and(|text| !agent.contains(text)) {
            return plain(
                403,
                "<html>Your Request Originates from an Undeclared Automated Tool</html>",
            );
        }
        let Some(step) = self.next_step(at) else {
            return plain(404, "the script has no step for this path");
        };
        tokio::time::sleep(Duration::from_millis(step.delay_ms)).await;
        self.play(&step, &seen)
    }

    fn next_step(&self, at: usize) -> Option<Step> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let done = progress.entry(at).or_default();
        let steps = &self.routes[at].steps;
        let step = steps.get(*done).or(steps.last()).cloned();
        *done += 1;
        step
    }

    fn play(&self, step: &Step, seen: &Seen) -> io::Result<Response<Body>> {
        let has = |name: &str, value: &Option<String>| {
            value.is_some() && seen.headers.get(name) == value.as_ref()
        };
        let is_known =
            has("if-none-match", &step.etag) || has("if-modified-since", &step.last_modified);
        let mut response = Response::builder().status(if is_known { 304 } else { step.status });
        for (name, value) in [
            (header::ETAG, &step.etag),
            (header::LAST_MODIFIED, &step.last_modified),
            (header::RETRY_AFTER, &step.retry_after),
            (header::LOCATION, &step.location),
            (header::CONTENT_TYPE, &step.content_type),
        ] {
            if let Some(value) = value {
                response = response.header(name, value);
            }
        }
        if is_known {
            return response.body(whole(Bytes::new())).map_err(io::Error::other);
        }
        let mut body = match &step.file {
            Some(file) => std::fs::read(self.dir.join(file))?,
            None => step.body.clone().into_bytes(),
        };
        if step.gzip || step.cut_gzip {
            body = gzip(&body)?;
            response = response.header(header::CONTENT_ENCODING, "gzip");
        }
        if step.cut_gzip {
            body.truncate(body.len() * 2 / 3);
        }
        if !step.chunked {
            response = response.header(header::CONTENT_LENGTH, body.len());
        }
        let body = match step.truncate {
            Some(bytes) => cut(Bytes::from(body), bytes),
            None if step.chunked => {
                let frame = Ok(Frame::data(Bytes::from(body)));
                StreamBody::new(stream::iter([frame])).boxed_unsync()
            }
            None => whole(Bytes::from(body)),
        };
        response.body(body).map_err(io::Error::other)
    }
}

fn query(request: &Request<Incoming>) -> BTreeMap<String, String> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn plain(status: u16, text: &'static str) -> io::Result<Response<Body>> {
    let body = whole(Bytes::from_static(text.as_bytes()));
    Response::builder().status(status).body(body).map_err(io::Error::other)
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body that ends with the connection. The pause lets its beginning arrive.
fn cut(bytes: Bytes, at: usize) -> Body {
    let begin = bytes.slice(..at.min(bytes.len()));
    let end = stream::once(async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        Err(io::Error::other("the script ends the connection here"))
    });
    let frames = stream::iter([Ok(Frame::data(begin))]).chain(end);
    StreamBody::new(frames).boxed_unsync()
}

/// Compresses a body in two members, as servers that join files do.
fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    use std::io::Write as _;
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut packed = Vec::new();
    for part in [first, second] {
        let mut encoder = flate2::write::GzEncoder::new(packed, flate2::Compression::default());
        encoder.write_all(part)?;
        packed = encoder.finish()?;
    }
    Ok(packed)
}
