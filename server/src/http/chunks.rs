//! Finds the end of a chunked body, so that the next head can be checked.
//! Stricter than hyper's own decoder, which decodes the same bytes afterwards:
//! what passes here has one reading only.

/// Longest chunk-size line with its extensions, and longest trailer line.
const LINE_BYTES_MAX: usize = 256;
/// Most bytes of all trailers.
const TRAILER_BYTES_MAX: usize = 4096;

/// The body is not a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadChunk;

/// Where in a chunked body the stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chunks {
    /// In a size line; what is there of it so far.
    Size(Vec<u8>),
    /// In data, so many bytes and the CRLF behind them left.
    Data(u64),
    /// In the trailers: the current line so far, and bytes of all lines.
    Trailer(Vec<u8>, usize),
    /// Past the end.
    Done,
}

impl Chunks {
    /// Starts before the first size line.
    pub(super) const fn new() -> Self {
        Self::Size(Vec::new())
    }

    /// Walks over `bytes` and returns how many belong to the body.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut used = 0;
        while used < bytes.len() && *self != Self::Done {
            match self {
                Self::Data(left) if *left > 2 => {
                    let step =
                        (bytes.len() - used).min(usize::try_from(*left - 2).unwrap_or(usize::MAX));
                    *left -= step as u64;
                    used += step;
                }
                _ => {
                    self.byte(bytes[used])?;
                    used += 1;
                }
            }
        }
        Ok(used)
    }

    fn byte(&mut self, byte: u8) -> Result<(), BadChunk> {
        match self {
            Self::Size(line) => {
                if let Some(size) = end_of_line(line, byte)? {
                    let size = chunk_size(&size)?;
                    *self =
                        if size == 0 { Self::Trailer(Vec::new(), 0) } else { Self::Data(size + 2) };
                }
            }
            Self::Data(left) => {
                if byte != if *left == 2 { b'\r' } else { b'\n' } {
                    return Err(BadChunk);
                }
                *left -= 1;
                if *left == 0 {
                    *self = Self::new();
                }
            }
            Self::Trailer(line, total) => {
                *total += 1;
                if *total > TRAILER_BYTES_MAX {
                    return Err(BadChunk);
                }
                if end_of_line(line, byte)?.is_some_and(|line| line.is_empty()) {
                    *self = Self::Done;
                }
            }
            Self::Done => {}
        }
        Ok(())
    }
}

/// Adds a byte to a line and returns the line when it is complete.
fn end_of_line(line: &mut Vec<u8>, byte: u8) -> Result<Option<Vec<u8>>, BadChunk> {
    match (line.last(), byte) {
        (Some(b'\r'), b'\n') => {
            line.pop();
            Ok(Some(std::mem::take(line)))
        }
        (Some(b'\r'), _) | (_, b'\n') => Err(BadChunk),
        (_, b'\t' | b'\r' | b' '..=b'~') if line.len() < LINE_BYTES_MAX => {
            line.push(byte);
            Ok(None)
        }
        _ => Err(BadChunk),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, BadChunk> {
    let digits = line.split(|&b| b == b';').next().unwrap_or_default();
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(BadChunk);
    }
    let text = std::str::from_utf8(digits).map_err(|_| BadChunk)?;
    u64::from_str_radix(text, 16).map_err(|_| BadChunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same end, however the stream is cut.
    #[test]
    fn finds_the_end_in_any_cut() {
        let body = b"4;a=b\r\nWiki\r\n5\r\npedia\r\n0\r\nX: y\r\n\r\n";
        let stream = [body.as_slice(), b"GET /"].concat();
        for cut in 0..stream.len() {
            let mut chunks = Chunks::new();
            let mut used = chunks.advance(&stream[..cut]).unwrap();
            used += chunks.advance(&stream[used..]).unwrap();
            assert_eq!((used, &chunks), (body.len(), &Chunks::Done), "cut at {cut}");
        }
    }

    #[test]
    fn refuses_other_readings() {
        for bad in [
            "4\nWiki",
            "0x4\r\n",
            "\r\n",
            " 4\r\n",
            "4\r\nWikiX",
            "123456789\r\n",
            "-1\r\n",
            "0\r\n\n",
        ] {
            assert_eq!(Chunks::new().advance(bad.as_bytes()), Err(BadChunk), "{bad:?}");
        }
    }
}
