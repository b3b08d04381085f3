//! Bodies: reading one within its bounds, and the type of an answer's.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::Stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap,
    body::{Body as _, Frame, Incoming},
    header::CONTENT_ENCODING,
};
use tokio::time::timeout;

use crate::problem::ApiError;

/// The body of an answer: bytes at once, or a stream that waits for its reader.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Makes a body of bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// Makes a body of chunks. A chunk is asked for only when the socket has room
/// for it, and dropping the body drops the stream.
pub(crate) fn stream(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    use futures::StreamExt as _;
    StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync()
}

/// Reads a body into memory that simd-json may parse in place.
///
/// # Errors
/// Fails on a content coding, on more than `limit_bytes` (before reading, when
/// Content-Length says so), on a broken stream, and when it takes too long.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Incoming,
    limit_bytes: usize,
    within: Duration,
) -> Result<Vec<u8>, ApiError> {
    let coding = headers.get(CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(ApiError::ContentCoding);
    }
    let too_large = ApiError::BodyTooLarge { limit_bytes };
    if body.size_hint().lower() > limit_bytes as u64 {
        return Err(too_large);
    }
    let all = async {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ApiError::BodyBroken)?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > limit_bytes {
                return Err(too_large);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    timeout(within, all).await.map_err(|_| ApiError::BodyTimeout(within))?
}
