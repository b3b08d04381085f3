//! Checks of a request head that hyper leaves out: hyper answers 200 to bare
//! line feeds, to a missing or second Host and to Content-Length beside
//! Transfer-Encoding, each a way to make two servers read one stream
//! differently.

use thiserror::Error;

/// Most header fields of a request.
const FIELDS_MAX: usize = 64;
/// Longest request target in bytes.
const TARGET_BYTES_MAX: usize = 4096;

/// How the body behind a head is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes, often none.
    Length(u64),
    /// Chunks up to an empty one.
    Chunked,
}

/// A head that must not reach hyper. The connection ends after the answer,
/// because the place where the next request starts is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Rejection {
    /// The bytes are not an HTTP/1 request.
    #[error("{0}")]
    Malformed(&'static str),
    /// The request line names another protocol version.
    #[error("this server speaks HTTP/1.1 and HTTP/1.0")]
    Version,
    /// The target is longer than any route.
    #[error("the request target is longer than {TARGET_BYTES_MAX} bytes")]
    TargetTooLong,
    /// The head is too large.
    #[error("the request head is too large: at most {limit_bytes} bytes and {FIELDS_MAX} fields")]
    TooLarge {
        /// Most bytes of a head.
        limit_bytes: usize,
    },
    /// A transfer coding other than chunked.
    #[error("the only transfer coding this server reads is chunked")]
    TransferCoding,
    /// The head did not arrive in time.
    #[error("the request head was not complete within {0:?}")]
    Timeout(std::time::Duration),
}

/// Returns the end of the head, one past its empty line, or `None` while it
/// is incomplete. `seen` bytes were searched before.
pub(super) fn end_of_head(bytes: &[u8], seen: usize) -> Result<Option<usize>, Rejection> {
    let mut from = seen.saturating_sub(3);
    while let Some(offset) = bytes[from..].iter().position(|&b| b == b'\n') {
        let at = from + offset;
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(Rejection::Malformed("a line ends without a carriage return"));
        }
        if at >= 3 && bytes[at - 3] == b'\r' && bytes[at - 2] == b'\n' {
            return Ok(Some(at + 1));
        }
        from = at + 1;
    }
    Ok(None)
}

/// Checks a complete head and returns how its body is delimited.
pub(super) fn check(head: &[u8], limit_bytes: usize) -> Result<Framing, Rejection> {
    let text = head.strip_suffix(b"\r\n\r\n").ok_or(Rejection::Malformed("the head has no end"))?;
    let mut lines = Lines(Some(text));
    let is_1_1 = check_request_line(lines.next().unwrap_or_default())?;
    let mut fields = Fields::default();
    for (count, line) in lines.enumerate() {
        if count == FIELDS_MAX {
            return Err(Rejection::TooLarge { limit_bytes });
        }
        let (name, value) = split_field(line)?;
        fields.add(name, value)?;
    }
    fields.framing(is_1_1)
}

/// The lines between CRLF pairs.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0.take()?;
        match rest.windows(2).position(|pair| pair == b"\r\n") {
            Some(at) => {
                self.0 = Some(&rest[at + 2..]);
                Some(&rest[..at])
            }
            None => Some(rest),
        }
    }
}

/// Returns whether the version is 1.1.
fn check_request_line(line: &[u8]) -> Result<bool, Rejection> {
    const MALFORMED: Rejection =
        Rejection::Malformed("the request line is not `METHOD target HTTP/1.1`");
    let mut parts = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(MALFORMED);
    };
    if method.is_empty() || method.len() > 32 || !method.iter().all(|&b| is_token(b)) {
        return Err(MALFORMED);
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(Rejection::TargetTooLong);
    }
    // No proxy requests: the origin form, and `*` for OPTIONS.
    let origin_form = target.starts_with(b"/") && target.iter().all(u8::is_ascii_graphic);
    let asterisk_form = target == b"*" && method == b"OPTIONS";
    if !origin_form && !asterisk_form {
        return Err(Rejection::Malformed("the request target is not a path"));
    }
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        other if other.starts_with(b"HTTP/") => Err(Rejection::Version),
        _ => Err(MALFORMED),
    }
}

fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), Rejection> {
    let colon = line.iter().position(|&b| b == b':');
    let Some((name, value)) = colon.map(|at| (&line[..at], &line[at + 1..])) else {
        return Err(Rejection::Malformed("a header field has no colon"));
    };
    // Also refuses folded lines and white space before the colon.
    if name.is_empty() || !name.iter().all(|&b| is_token(b)) {
        return Err(Rejection::Malformed("a header field name is not a token"));
    }
    if value.iter().any(|&b| b.is_ascii_control() && b != b'\t') {
        return Err(Rejection::Malformed("a header field value holds a control character"));
    }
    Ok((name, value.trim_ascii()))
}

/// The characters of RFC 9110's token.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What the fields say about the message's frame.
#[derive(Default)]
struct Fields {
    host: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Rejection> {
        if name.eq_ignore_ascii_case(b"host") {
            if self.host {
                return Err(Rejection::Malformed("there is more than one Host field"));
            }
            let is_host = |b: &u8| b.is_ascii_alphanumeric() || b".-_:[]%".contains(b);
            if value.is_empty() || !value.iter().all(is_host) {
                return Err(Rejection::Malformed("the Host field is not a host"));
            }
            self.host = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err(Rejection::Malformed("there is more than one Content-Length field"));
            }
            self.length = Some(length(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Rejection::TransferCoding);
            }
            self.chunked = true;
        }
        Ok(())
    }

    fn framing(&self, is_1_1: bool) -> Result<Framing, Rejection> {
        if is_1_1 && !self.host {
            return Err(Rejection::Malformed("the Host field is missing"));
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => {
                Err(Rejection::Malformed("Content-Length and Transfer-Encoding exclude each other"))
            }
            (true, None) if !is_1_1 => {
                Err(Rejection::Malformed("HTTP/1.0 has no Transfer-Encoding"))
            }
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

fn length(value: &[u8]) -> Result<u64, Rejection> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or(Rejection::Malformed("the Content-Length field is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(head: &str) -> Result<Framing, Rejection> {
        let end = end_of_head(head.as_bytes(), 0)?.expect("a complete head");
        check(&head.as_bytes()[..end], 16_384)
    }

    #[test]
    fn takes_what_clients_send() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("GET /x?y=1 HTTP/1.0\r\n\r\n", Framing::Length(0)),
            ("OPTIONS * HTTP/1.1\r\nhost:[::1]:80\r\n\r\n", Framing::Length(0)),
            ("POST / HTTP/1.1\r\nHost: a:1\r\nContent-Length: 12\r\n\r\n", Framing::Length(12)),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
        ] {
            assert_eq!(framing(head), Ok(expected), "{head:?}");
        }
    }

    #[test]
    fn refuses_what_two_servers_could_read_differently() {
        let host = "POST / HTTP/1.1\r\nHost: a\r\n";
        for head in [
            "GET / HTTP/1.1\nHost: a\n\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: a\r\nX: 1\n\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nX: 1\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned(),
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "GET /\r\nHost: a\r\n\r\n".to_owned(),
            format!("{host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            format!("{host}Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
            format!("{host}Content-Length: +1\r\n\r\n"),
            format!("{host}Content-Length: 99999999999999999999\r\n\r\n"),
            format!("{host}Content-Length : 1\r\n\r\n"),
            format!("{host}X: 1\r\n folded\r\n\r\n"),
            format!("{host}X: 1\r2\r\n\r\n"),
            format!("{host}X: \0\r\n\r\n"),
            format!("{host}nocolon\r\n\r\n"),
        ] {
            assert!(matches!(framing(&head), Err(Rejection::Malformed(_))), "{head:?}");
        }
        let gzip = format!("{host}Transfer-Encoding: gzip, chunked\r\n\r\n");
        assert_eq!(framing(&gzip), Err(Rejection::TransferCoding));
        assert_eq!(framing("GET / HTTP/2.0\r\n\r\n"), Err(Rejection::Version));
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(5000));
        assert_eq!(framing(&long), Err(Rejection::TargetTooLong));
        let many = format!("{host}{}\r\n", "a: b\r\n".repeat(64));
        assert!(matches!(framing(&many), Err(Rejection::TooLarge { .. })));
    }

    /// The end is found wherever the stream was cut before.
    #[test]
    fn finds_the_end_from_any_resume_point() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for seen in 0..head.len() - 4 {
            assert_eq!(end_of_head(head, seen), Ok(Some(head.len() - 4)), "{seen}");
        }
        assert_eq!(end_of_head(&head[..20], 0), Ok(None));
    }
}
