//! One GET: rate limited, bounded, repeated where that may help, and judged.
//!
//! The API key is added when a request is sent and nowhere else: addresses that
//! are shown, logged or archived never had it, and where a body repeats it, it is
//! blotted out before anybody sees the body.

use std::{error::Error as _, fmt, io::Read as _, sync::Mutex, sync::PoisonError, time::Duration};

use domain::Clock;
use flate2::read::MultiGzDecoder;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use reqwest::{
    Response, StatusCode, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    redirect::{Attempt as Redirect, Policy},
};
use tokio::time::Instant;

use super::{
    Provider, RetryPolicy,
    adapter::{Host, Judgement, KeyPlace, Part, Request},
    config::{check_base_url, is_loopback},
    fetch::FetchOptions,
    retry::retry_after,
};
use crate::LakeError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REDIRECTS_MAX: usize = 3;
/// The only compression that is asked for.
const GZIP: &str = "gzip";
/// Shorter texts are no API keys, and blotting them out would harm bodies.
const KEY_CHARS_MIN: usize = 8;

/// What the archive knows of the newest answer, for a conditional request.
#[derive(Debug, Clone, Default)]
pub(super) struct Validators {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

/// A complete answer.
#[derive(Debug)]
pub(super) enum Reply {
    /// The newest archived answer still holds.
    NotModified,
    /// A body, judged.
    Complete(Complete),
}

/// A body, its judgement and what a later conditional request needs.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) body: Vec<u8>,
    pub(super) judgement: Judgement,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// This request failed; others may not.
    Request(String),
    /// No request will do better.
    Provider(String),
}

/// Why one attempt gave no answer.
enum Trouble {
    /// Another attempt may; the provider asks to wait this long.
    Again(String, Option<Duration>),
    /// Another attempt will not.
    Never(String),
}

/// An API key. It has no way to be printed.
struct ApiKey(String);

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// Asks one provider.
#[derive(Debug)]
pub(super) struct Client<'a> {
    provider: &'a Provider,
    base_url: &'a str,
    files_url: &'a str,
    http: reqwest::Client,
    key: Option<ApiKey>,
    limiter: DefaultDirectRateLimiter,
    policy: RetryPolicy,
    random: Mutex<ChaCha8Rng>,
    /// No request before, since the provider asked to wait.
    resume_at: Mutex<Instant>,
    clock: SharedClock<'a>,
}

struct SharedClock<'a>(&'a dyn Clock);

impl fmt::Debug for SharedClock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl<'a> Client<'a> {
    /// Prepares to ask a provider.
    ///
    /// # Errors
    /// Refuses a provider that demands a contact or an API key without one, and a
    /// base URL a key must not be sent to.
    pub(super) fn new(options: &FetchOptions<'a>) -> Result<Self, LakeError> {
        let provider = options.provider;
        let files_url = provider.files_url.as_ref().unwrap_or(&provider.base_url);
        // One address stands for all of a provider's.
        let files_url = options.base_url.unwrap_or(files_url).trim_end_matches('/');
        let base_url = options.base_url.unwrap_or(&provider.base_url).trim_end_matches('/');
        let refuse = |reason| LakeError::Provider { provider: provider.id.clone(), reason };
        check_base_url(base_url).map_err(refuse)?;
        let url = Url::parse(base_url).map_err(|e| refuse(e.to_string()))?;
        let mut builder = reqwest::Client::builder()
            .user_agent(user_agent(provider, options.contact).map_err(refuse)?)
            .timeout(Duration::from_secs(provider.timeout_s.into()))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(Policy::custom(stay_on_host))
            // A referer would carry the address with the key to the next page.
            .referer(false)
            // Bodies are unpacked here: reqwest reads the first of several members only.
            .gzip(false)
            .default_headers(HeaderMap::from_iter([(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static(GZIP),
            )]));
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|e| refuse(told(e)))?;
        let quota = Quota::per_minute(provider.requests_per_minute).allow_burst(provider.burst);
        Ok(Self {
            provider,
            base_url,
            files_url,
            http,
            key: api_key(provider, options.env).map_err(refuse)?,
            limiter: RateLimiter::direct(quota),
            policy: options.retry,
            random: Mutex::new(ChaCha8Rng::seed_from_u64(options.seed)),
            resume_at: Mutex::new(Instant::now()),
            clock: SharedClock(options.clock),
        })
    }

    /// Returns the address of a request, without the API key.
    pub(super) fn url(&self, request: &Request) -> Result<Url, String> {
        let base = match request.host {
            Host::Base => self.base_url,
            Host::Files => self.files_url,
        };
        let text = format!("{base}{}", request.path);
        let mut url = Url::parse(&text).map_err(|e| format!("{text:?} is not a URL: {e}"))?;
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        Ok(url)
    }

    /// Sends a request until there is a complete answer or no hope for one.
    pub(super) async fn get(
        &self,
        part: Part,
        url: &Url,
        validators: &Validators,
    ) -> Result<Reply, Failure> {
        let mut attempts = 0;
        loop {
            self.turn().await;
            attempts += 1;
            let (reason, asked) = match self.attempt(part, url, validators).await {
                Ok(reply) => return Ok(reply),
                Err(Trouble::Never(reason)) => return Err(Failure::Request(reason)),
                Err(Trouble::Again(reason, asked)) => (reason, asked),
            };
            if let Some(asked) = asked.filter(|asked| *asked > self.policy.retry_after_max) {
                let seconds = asked.as_secs();
                return Err(Failure::Provider(format!("{reason}; try again in {seconds} s")));
            }
            if attempts >= self.policy.attempts_max {
                return Err(Failure::Request(format!("{reason}, {attempts} times")));
            }
            let wait = self.wait(attempts, asked);
            tracing::warn!(
                provider = self.provider.id, url = %url, reason, attempts,
                wait_ms = wait.as_millis() as u64, "request failed, trying again"
            );
            tokio::time::sleep(wait).await;
        }
    }

    /// Waits until the rate limit and the provider allow a request.
    async fn turn(&self) {
        loop {
            let resume_at = *self.resume_at.lock().unwrap_or_else(PoisonError::into_inner);
            if resume_at <= Instant::now() {
                break;
            }
            tokio::time::sleep_until(resume_at).await;
        }
        self.limiter.until_ready().await;
    }

    /// Returns how long to wait; what a provider asks for holds for all requests.
    fn wait(&self, attempts: u32, asked: Option<Duration>) -> Duration {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.policy.backoff(attempts, &mut random);
        let Some(asked) = asked else {
            return wait;
        };
        let mut resume_at = self.resume_at.lock().unwrap_or_else(PoisonError::into_inner);
        *resume_at = (*resume_at).max(Instant::now() + asked);
        wait.max(asked)
    }

    async fn attempt(
        &self,
        part: Part,
        url: &Url,
        validators: &Validators,
    ) -> Result<Reply, Trouble> {
        let sent = self.prepared(url, validators).send().await;
        let mut response = sent.map_err(|error| {
            let never = error.is_builder() || error.is_redirect();
            let reason = told(error);
            if never { Trouble::Never(reason) } else { Trouble::Again(reason, None) }
        })?;
        let status = response.status();
        match status {
            StatusCode::NOT_MODIFIED => return Ok(Reply::NotModified),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let asked = text(response.headers(), &header::RETRY_AFTER);
                let asked = asked.and_then(|a| retry_after(&a, self.clock.0.now()));
                return Err(Trouble::Again(format!("it answers {status}"), asked));
            }
            StatusCode::REQUEST_TIMEOUT => {
                return Err(Trouble::Again(format!("it answers {status}"), None));
            }
            _ if status.is_server_error() => {
                return Err(Trouble::Again(format!("it answers {status}"), None));
            }
            _ if status.is_redirection() => return Err(Trouble::Never(redirected(&response))),
            _ => {}
        }
        let body = self.body(&mut response).await?;
        let judgement = self.provider.adapter.judge(part, status.as_u16(), &body);
        if let Judgement::Broken(reason) = judgement {
            return Err(Trouble::Again(reason, None));
        }
        let headers = response.headers();
        Ok(Reply::Complete(Complete {
            status: status.as_u16(),
            etag: text(headers, &header::ETAG),
            last_modified: text(headers, &header::LAST_MODIFIED),
            content_type: text(headers, &header::CONTENT_TYPE),
            body,
            judgement,
        }))
    }

    fn prepared(&self, url: &Url, validators: &Validators) -> reqwest::RequestBuilder {
        let mut url = url.clone();
        let mut header = None;
        match (&self.key, self.provider.adapter.key_place()) {
            (Some(key), Some(KeyPlace::Query(name))) => {
                url.query_pairs_mut().append_pair(name, &key.0);
            }
            (Some(key), Some(KeyPlace::Header(name))) => header = Some((name, &key.0)),
            (_, None) | (None, _) => {}
        }
        let mut request = self.http.get(url);
        if let Some((name, key)) = header {
            request = request.header(name, key);
        }
        if let Some(etag) = &validators.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if let Some(date) = &validators.last_modified {
            request = request.header(header::IF_MODIFIED_SINCE, date);
        }
        request
    }

    /// Reads a body to its end. One that is cut short is an error of the
    /// connection or of its compression, never a short body.
    async fn body(&self, response: &mut Response) -> Result<Vec<u8>, Trouble> {
        let mib_max = self.provider.body_mib_max;
        let bytes_max = (mib_max as usize) << 20;
        let too_large =
            || Trouble::Never(format!("its body is larger than {mib_max} MiB (body_mib_max)"));
        let cut = |told: String| Trouble::Again(format!("its body is cut short: {told}"), None);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| cut(told(e)))? {
            body.extend_from_slice(&chunk);
            if body.len() > bytes_max {
                return Err(too_large());
            }
        }
        let packing = text(response.headers(), &header::CONTENT_ENCODING);
        match packing.map(|packing| packing.to_ascii_lowercase()).as_deref() {
            None | Some("identity") => {}
            Some(GZIP) if body.is_empty() => {}
            Some(GZIP) => {
                let packed = std::mem::take(&mut body);
                let plain = MultiGzDecoder::new(packed.as_slice());
                plain
                    .take(bytes_max as u64 + 1)
                    .read_to_end(&mut body)
                    .map_err(|e| cut(e.to_string()))?;
                if body.len() > bytes_max {
                    return Err(too_large());
                }
            }
            Some(other) => {
                return Err(Trouble::Never(format!("its body is packed with {other:?}, not gzip")));
            }
        }
        if let Some(ApiKey(key)) = &self.key {
            blot(&mut body, key.as_bytes());
        }
        Ok(body)
    }
}

/// Follows a redirect on the same host only: another one must not get the key.
fn stay_on_host(redirect: Redirect<'_>) -> reqwest::redirect::Action {
    let is_same = redirect.previous().last().is_some_and(|from| {
        let to = redirect.url();
        (from.scheme(), from.host(), from.port()) == (to.scheme(), to.host(), to.port())
    });
    if is_same && redirect.previous().len() <= REDIRECTS_MAX {
        redirect.follow()
    } else {
        redirect.stop()
    }
}

/// Says where a redirect leads, by host: the rest may hold a key.
fn redirected(response: &Response) -> String {
    let to = text(response.headers(), &header::LOCATION);
    let to = to.and_then(|to| response.url().join(&to).ok());
    let host = to.as_ref().and_then(Url::host_str).unwrap_or("nowhere");
    format!("it redirects to {host}; if that is right, change base_url")
}

/// An error of a connection with its causes, without the address.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn blot(body: &mut [u8], key: &[u8]) {
    let mut at = 0;
    while at + key.len() <= body.len() {
        if body[at..].starts_with(key) {
            body[at..at + key.len()].fill(b'*');
            at += key.len();
        } else {
            at += 1;
        }
    }
}

fn user_agent(provider: &Provider, contact: Option<&str>) -> Result<String, String> {
    let product = concat!("r2r/", env!("CARGO_PKG_VERSION"));
    let contact = contact.map(str::trim).filter(|c| !c.is_empty());
    let Some(contact) = contact else {
        return if provider.needs_contact {
            Err("it serves only callers who say who they are: set R2R_CONTACT (or --contact) to your name and e-mail address, as in \"Jane Doe jane@example.org\"".to_owned())
        } else {
            Ok(product.to_owned())
        };
    };
    let is_plain = contact.bytes().all(|b| matches!(b, b' '..=b'~'));
    let has_mail = contact.split_whitespace().any(|word| {
        let mail = word.trim_matches(|c: char| "<>(),;".contains(c));
        mail.split_once('@').is_some_and(|(who, host)| !who.is_empty() && host.contains('.'))
    });
    if !is_plain || !has_mail || contact.split_whitespace().count() < 2 {
        return Err(format!(
            "the contact {contact:?} is not a name and an e-mail address in plain letters, as in \"Jane Doe jane@example.org\""
        ));
    }
    Ok(format!("{product} ({contact})"))
}

fn api_key(
    provider: &Provider,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<ApiKey>, String> {
    let Some(name) = &provider.key_env else {
        return Ok(None);
    };
    let key = env(name).map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
    let Some(key) = key else {
        return Err(format!(
            "it needs an API key: get one from {} and set the environment variable {name}",
            provider.title
        ));
    };
    if key.len() < KEY_CHARS_MIN || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!(
            "{name} does not hold an API key: expected at least {KEY_CHARS_MIN} visible characters"
        ));
    }
    Ok(Some(ApiKey(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProviderList;

    #[test]
    fn a_contact_is_a_name_and_an_address() {
        let list = ProviderList::builtin().unwrap();
        let open = list.get("yahoo").unwrap();
        let strict = Provider { needs_contact: true, ..open.clone() };
        assert!(user_agent(open, None).unwrap().starts_with("r2r/"));
        let error = user_agent(&strict, Some(" ")).unwrap_err();
        assert!(error.contains("R2R_CONTACT"), "{error}");
        let agent = user_agent(&strict, Some("Jane Doe jane@example.org")).unwrap();
        assert!(agent.ends_with("(Jane Doe jane@example.org)"), "{agent}");
        for bad in
            ["Jane Doe", "jane@example.org", "Jane @", "J\u{e4}ne j@x.org", "J j@x.org\r\nX: y"]
        {
            assert!(user_agent(&strict, Some(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_demanded_by_name_and_never_shown() {
        let list = ProviderList::builtin().unwrap();
        let fred = list.get("fred").unwrap();
        let error = api_key(fred, &|_| None).unwrap_err();
        assert!(error.contains("FRED_API_KEY"), "{error}");
        let error = api_key(fred, &|_| Some("s3cret".to_owned())).unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
        let key = api_key(fred, &|_| Some(" 0123456789abcdef\n".to_owned())).unwrap().unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(***)");
        let mut body = b"a 0123456789abcdef0123456789abcdef b".to_vec();
        blot(&mut body, key.0.as_bytes());
        assert_eq!(body, [&b"a "[..], &[b'*'; 32], b" b"].concat());
    }
}
