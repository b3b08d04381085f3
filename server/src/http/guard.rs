//! The stream between the socket and hyper: it lets a request head through
//! only when it is complete and checked, cuts connections that stall, and
//! closes without losing the last answer.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::{
    chunks::Chunks,
    head::{self, Framing, Rejection},
};

/// The path of the request that stands in for a rejected one, see [`Guard`].
pub(super) const REJECTED_PATH: &str = "/.r2r-rejected";
const STAND_IN: &[u8] = b"GET /.r2r-rejected HTTP/1.1\r\nHost: r2r\r\nConnection: close\r\n\r\n";
/// How much of what a client still sends is read and dropped at the end.
const LINGER_BYTES_MAX: usize = 1 << 20;
const LINGER: Duration = Duration::from_secs(1);

/// Limits of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most bytes of a request head.
    pub(super) head_bytes_max: usize,
    /// A connection that has not sent a byte by then is closed.
    pub(super) first_byte: Duration,
    /// From the first byte of a head to its end.
    pub(super) head: Duration,
    /// A client that takes no byte of an answer for so long is cut.
    pub(super) write_stall: Duration,
}

/// Why the guard refused, told to the service of the same connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusal(Arc<Mutex<Option<Rejection>>>);

impl Refusal {
    /// Takes the rejection, if there is one.
    pub(super) fn take(&self) -> Option<Rejection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, rejection: Rejection) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(rejection);
    }
}

/// Wraps a socket for hyper.
///
/// A rejected head is replaced by a stand-in request that asks for
/// [`REJECTED_PATH`] and closes: hyper then writes the problem in its turn,
/// after the answers of pipelined requests, through the one conversion from
/// error to response.
pub(super) struct Guard<S> {
    io: S,
    limits: Limits,
    refusal: Refusal,
    buffer: BytesMut,
    /// Bytes at the front of `buffer` that hyper may have.
    passed: usize,
    /// Whether the client has sent a byte.
    begun: bool,
    phase: Phase,
    read_deadline: Pin<Box<Sleep>>,
    write_deadline: Option<Pin<Box<Sleep>>>,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

enum Phase {
    /// Before or in a head; this many bytes were searched for its end.
    Head {
        seen: usize,
    },
    Length(u64),
    Chunked(Chunks),
    /// The stand-in was passed on and nothing follows it. That is not the end of
    /// the stream: hyper takes an end for a client that left, and answers no more.
    Refused,
    /// The stream has ended.
    Ended,
}

impl<S> Guard<S> {
    /// Wraps a fresh connection.
    pub(super) fn new(io: S, limits: Limits, refusal: Refusal) -> Self {
        Self {
            io,
            limits,
            refusal,
            buffer: BytesMut::new(),
            passed: 0,
            begun: false,
            phase: Phase::Head { seen: 0 },
            read_deadline: Box::pin(sleep(limits.first_byte)),
            write_deadline: None,
            linger: None,
        }
    }

    /// Decides about buffered bytes. Afterwards `passed > 0`, or more bytes
    /// are needed, or the stream has ended.
    fn scan(&mut self) {
        if let Err(rejection) = self.try_scan() {
            self.reject(rejection);
        }
    }

    fn reject(&mut self, rejection: Rejection) {
        self.refusal.set(rejection);
        self.buffer.clear();
        self.buffer.extend_from_slice(STAND_IN);
        self.passed = STAND_IN.len();
        self.phase = Phase::Refused;
    }

    fn try_scan(&mut self) -> Result<(), Rejection> {
        match &mut self.phase {
            Phase::Head { seen } => {
                // RFC 9112, 2.2: an empty line before a request is ignored.
                while *seen == 0 && self.buffer.starts_with(b"\r\n") {
                    self.buffer.advance(2);
                }
                let limit_bytes = self.limits.head_bytes_max;
                let window = &self.buffer[..self.buffer.len().min(limit_bytes)];
                let Some(end) = head::end_of_head(window, *seen)? else {
                    if self.buffer.len() >= limit_bytes {
                        return Err(Rejection::TooLarge { limit_bytes });
                    }
                    *seen = self.buffer.len();
                    return Ok(());
                };
                self.phase = match head::check(&self.buffer[..end], limit_bytes)? {
                    Framing::Length(0) => Phase::Head { seen: 0 },
                    Framing::Length(length) => Phase::Length(length),
                    Framing::Chunked => Phase::Chunked(Chunks::new()),
                };
                self.passed = end;
            }
            Phase::Length(left) => {
                let step = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX).min(*left);
                *left -= step;
                self.passed = usize::try_from(step).unwrap_or(usize::MAX);
                if *left == 0 {
                    self.phase = Phase::Head { seen: 0 };
                }
            }
            Phase::Chunked(chunks) => match chunks.advance(&self.buffer) {
                Ok(used) => {
                    self.passed = used;
                    if *chunks == Chunks::Done {
                        self.phase = Phase::Head { seen: 0 };
                    }
                }
                // The head has been passed on: its service sees a body that
                // ends early, and answers that.
                Err(_) => self.phase = Phase::Ended,
            },
            Phase::Refused | Phase::Ended => {}
        }
        Ok(())
    }

    /// Applies the deadline of a head when no byte is there to be read.
    fn check_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        // Between requests it is hyper that knows whether an answer is still
        // being written, so the time of a kept-alive connection is its matter.
        let in_head = matches!(self.phase, Phase::Head { .. });
        let waiting = in_head && (!self.begun || !self.buffer.is_empty());
        if !waiting || self.read_deadline.as_mut().poll(cx).is_pending() {
            return false;
        }
        if self.buffer.is_empty() {
            self.phase = Phase::Ended;
        } else {
            self.reject(Rejection::Timeout(self.limits.head));
        }
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.passed == 0 && !this.buffer.is_empty() {
                this.scan();
            }
            if this.passed > 0 {
                let count = this.passed.min(out.remaining());
                out.put_slice(&this.buffer[..count]);
                this.buffer.advance(count);
                this.passed -= count;
                if this.passed == 0 && !this.buffer.is_empty() {
                    this.start_head_deadline();
                }
                return Poll::Ready(Ok(()));
            }
            match this.phase {
                Phase::Refused => return Poll::Pending,
                Phase::Ended => return Poll::Ready(Ok(())),
                _ => {}
            }
            let mut chunk = [0u8; 8192];
            let mut chunk = ReadBuf::new(&mut chunk);
            match Pin::new(&mut this.io).poll_read(cx, &mut chunk) {
                Poll::Pending if this.check_deadline(cx) => {}
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if chunk.filled().is_empty() => this.phase = Phase::Ended,
                Poll::Ready(Ok(())) => {
                    this.begun = true;
                    if this.buffer.is_empty() {
                        this.start_head_deadline();
                    }
                    this.buffer.extend_from_slice(chunk.filled());
                }
            }
        }
    }
}

impl<S> Guard<S> {
    fn start_head_deadline(&mut self) {
        if matches!(self.phase, Phase::Head { .. }) {
            self.read_deadline.as_mut().reset(Instant::now() + self.limits.head);
        }
    }

    /// Bounds how long a write may make no progress.
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_deadline = None;
            return written;
        }
        let stall = self.limits.write_stall;
        let deadline = self.write_deadline.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watch_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.watch_write(cx, flushed)
    }

    /// Ends our side, then reads and drops what the client still sends for a
    /// moment: closing on unread bytes resets the connection, and the client
    /// loses the answer that explains why.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            this.linger = Some((Box::pin(sleep(LINGER)), 0));
        }
        let Some((deadline, dropped)) = &mut this.linger else { return Poll::Ready(Ok(())) };
        loop {
            let mut chunk = [0u8; 8192];
            let mut chunk = ReadBuf::new(&mut chunk);
            match Pin::new(&mut this.io).poll_read(cx, &mut chunk) {
                Poll::Pending => return deadline.as_mut().poll(cx).map(Ok),
                Poll::Ready(Ok(())) if !chunk.filled().is_empty() => {
                    *dropped += chunk.filled().len();
                    if *dropped > LINGER_BYTES_MAX {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::timeout,
    };

    use super::*;

    const LIMITS: Limits = Limits {
        head_bytes_max: 1024,
        first_byte: Duration::from_millis(50),
        head: Duration::from_millis(50),
        write_stall: Duration::from_millis(50),
    };

    /// Sends `input` in pieces of `step` bytes and returns what hyper would see.
    async fn through(input: &[u8], step: usize) -> (Vec<u8>, Option<Rejection>) {
        let (mut client, server) = duplex(64);
        let refusal = Refusal::default();
        let mut guard = Guard::new(server, LIMITS, refusal.clone());
        let input = input.to_vec();
        let sender = tokio::spawn(async move {
            for piece in input.chunks(step) {
                // The guard may have stopped reading.
                if client.write_all(piece).await.is_err() {
                    return;
                }
            }
        });
        let mut seen = Vec::new();
        // A refusing guard does not end the stream.
        let _ = timeout(Duration::from_millis(200), guard.read_to_end(&mut seen)).await;
        drop(guard);
        sender.await.unwrap();
        (seen, refusal.take())
    }

    #[tokio::test]
    async fn passes_pipelined_requests_unchanged() {
        let stream = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
            POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
            GET /c HTTP/1.1\r\nHost: a\r\n\r\n";
        for step in [1, 7, 1000] {
            assert_eq!(through(stream, step).await, (stream.to_vec(), None), "{step}");
        }
    }

    #[tokio::test]
    async fn checks_every_head_of_a_connection() {
        let good = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        let (seen, rejection) =
            through(&[good.as_slice(), b"GET /b HTTP/1.1\r\n\r\n"].concat(), 5).await;
        assert_eq!(seen, [good.as_slice(), STAND_IN].concat());
        assert!(matches!(rejection, Some(Rejection::Malformed(_))));
    }

    #[tokio::test]
    async fn cuts_silence_and_half_heads() {
        let (client, server) = duplex(64);
        let mut guard = Guard::new(server, LIMITS, Refusal::default());
        assert_eq!(guard.read(&mut [0; 8]).await.unwrap(), 0);
        drop(client);

        let (mut client, server) = duplex(64);
        let refusal = Refusal::default();
        let mut guard = Guard::new(server, LIMITS, refusal.clone());
        client.write_all(b"GET / HT").await.unwrap();
        let mut seen = vec![0; 200];
        let count = guard.read(&mut seen).await.unwrap();
        assert_eq!(&seen[..count], STAND_IN);
        assert!(matches!(refusal.take(), Some(Rejection::Timeout(_))));
    }

    /// An answer may take longer than any deadline of a head.
    #[tokio::test]
    async fn leaves_the_time_between_requests_alone() {
        let (mut client, server) = duplex(64);
        let mut guard = Guard::new(server, LIMITS, Refusal::default());
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut seen = [0; 64];
        assert!(guard.read(&mut seen).await.unwrap() > 0);
        let quiet = timeout(Duration::from_millis(200), guard.read(&mut seen)).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }

    #[tokio::test]
    async fn bounds_the_head() {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(2000));
        let (seen, rejection) = through(head.as_bytes(), 64).await;
        assert_eq!(seen, STAND_IN);
        assert_eq!(rejection, Some(Rejection::TooLarge { limit_bytes: 1024 }));
    }

    #[tokio::test]
    async fn cuts_a_client_that_takes_nothing() {
        let (_client, server) = duplex(8);
        let mut guard = Guard::new(server, LIMITS, Refusal::default());
        let error = guard.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
