//! The id that joins a request, its log lines and its problem.

use hyper::{HeaderMap, header::HeaderName};
use uuid::Uuid;

/// The header field that carries it, in and out.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Takes the client's id when it is short and plain, else makes one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    let sane = |id: &&str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        (1..=64).contains(&id.len()) && id.bytes().all(plain)
    };
    let sent = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).filter(sane);
    sent.map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_plain_ids() {
        let id = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, value.parse().unwrap());
            request_id(&headers)
        };
        assert_eq!(id("run-7.a_B"), "run-7.a_B");
        for bad in ["", "a b", "a\"b", &"x".repeat(65)] {
            assert_eq!(id(bad).len(), 32, "{bad:?}");
        }
    }
}
