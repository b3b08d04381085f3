//! Every row of "what bad input gets", and random bodies.

use std::time::{Duration, Instant};

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::{
    client::{post, raw, request},
    server::Server,
};

/// Bad input is answered within this, the process being busy with nothing else.
const QUICK: Duration = Duration::from_millis(50);

/// Sends a request and compares status and problem with the snapshot `name`.
pub(crate) fn check(server: &Server, name: &str, bytes: &[u8], status: u16) {
    let started = Instant::now();
    let answer = raw(server.address(), bytes);
    let took = started.elapsed();
    assert_eq!(answer.status, status, "{name}: {}", answer.text());
    insta::assert_json_snapshot!(name.replace(' ', "_"), answer.problem());
    // A busy machine gets a second chance: the claim is about the server.
    let again = || {
        let started = Instant::now();
        raw(server.address(), bytes);
        started.elapsed()
    };
    assert!(took < QUICK || again() < QUICK || again() < QUICK, "{name} took {took:?}");
}

fn thesis(body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST", "/v1/thesis", "", body.as_ref())
}

fn batch(body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST", "/v1/batch/thesis", "", body.as_ref())
}

#[test]
fn bad_input_gets_a_problem_that_helps() {
    let server = Server::start();
    let deep = format!(r#"{{"ticker":{}"x"{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    let large = format!(r#"{{"ticker":"{}"}}"#, "A".repeat(70_000));
    let large_batch = format!(r#"{{"tickers":["{}"]}}"#, "A".repeat(1 << 20));
    let many = format!(r#"{{"tickers":[{}]}}"#, vec![r#""AAPL""#; 1001].join(","));
    for (name, bytes, status) in [
        ("unknown ticker", thesis(r#"{"ticker":"APPL"}"#), 404),
        ("lower case ticker", thesis(r#"{"ticker":"aapl"}"#), 404),
        ("not a ticker", thesis(r#"{"ticker":"DROP TABLE; --"}"#), 400),
        ("as_of in the future", thesis(r#"{"ticker":"AAPL","as_of":"2099-01-01"}"#), 422),
        ("as_of before history", thesis(r#"{"ticker":"AAPL","as_of":"1901-01-01"}"#), 422),
        ("as_of not a date", thesis(r#"{"ticker":"AAPL","as_of":"yesterday"}"#), 400),
        ("malformed", thesis(r#"{"ticker":"AAPL""#), 400),
        ("empty", thesis(""), 400),
        ("not an object", thesis(r#"["AAPL"]"#), 400),
        ("duplicate key", thesis(r#"{"ticker":"AAPL","ticker":"MSFT"}"#), 400),
        ("deeply nested", thesis(deep), 400),
        ("oversized", thesis(large), 413),
        ("not utf-8", thesis(b"{\"ticker\":\"AA\xff\"}"), 400),
        ("unknown field", thesis(r#"{"ticker":"AAPL","asof":"2022-09-30"}"#), 400),
        ("wrong type", thesis(r#"{"ticker":"AAPL","seed":"7"}"#), 400),
        ("missing field", thesis(r#"{"seed":7}"#), 400),
        ("content coding", request("POST", "/v1/thesis", "Content-Encoding: gzip\r\n", b"x"), 415),
        ("batch too many tickers", batch(many), 422),
        ("batch empty", batch(r#"{"tickers":[]}"#), 400),
        ("batch wrong element", batch(r#"{"tickers":["AAPL",7]}"#), 400),
        ("batch oversized", batch(large_batch), 413),
        ("wrong method thesis", request("GET", "/v1/thesis", "", b""), 405),
        ("wrong method healthz", request("POST", "/v1/healthz", "", b""), 405),
        ("unknown path", request("GET", "/v2/thesis", "", b""), 404),
        ("the stand-in path", request("GET", "/.r2r-rejected", "", b""), 404),
    ] {
        check(&server, name, &bytes, status);
    }
    let answer = raw(server.address(), &request("DELETE", "/v1/tickers", "", b""));
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    // The log tells what happened, and never what a body held.
    assert!(!server.log().join("\n").contains("DROP TABLE"));
}

#[test]
fn the_request_id_comes_back() {
    let server = Server::start();
    let sent = request("POST", "/v1/thesis", "X-Request-Id: test-42\r\n", b"{}");
    assert_eq!(raw(server.address(), &sent).header("x-request-id"), Some("test-42"));
    let insane = request("POST", "/v1/thesis", "X-Request-Id: a b\r\n", b"{}");
    assert_eq!(raw(server.address(), &insane).header("x-request-id").unwrap().len(), 32);
    server.until("the log line", |s| s.log().iter().any(|line| line.contains("\"test-42\"")));
}

/// 1,000 bodies, random bytes and mutations of good ones: no 5xx, and the server
/// is as well as before.
#[test]
fn random_bodies_never_cause_a_5xx() {
    // An answerable body would cost a decode; a tiny deadline is not a 5xx of
    // the body's making, so seeds of the corpus ask for what does not exist.
    let corpus: [&[u8]; 4] = [
        br#"{"ticker":"ZZZZ","as_of":"2022-09-30","seed":7}"#,
        br#"{"ticker":"AAPL","as_of":"2099-09-30","seed":7}"#,
        br#"{"tickers":["ZZZZ","QQQQ"],"as_of":"2022-09-30"}"#,
        br#"{"ticker":[[[[{"a":"\ud800"}]]]],"seed":1e999}"#,
    ];
    let server = Server::start();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for round in 0..1_000 {
        let mut body = match round % 5 {
            4 => {
                let mut bytes = vec![0; random.random_range(0..300)];
                random.fill_bytes(&mut bytes);
                bytes
            }
            i => corpus[i].to_vec(),
        };
        for _ in 0..random.random_range(1..6) {
            if body.is_empty() {
                break;
            }
            let at = random.random_range(0..body.len());
            match random.random_range(0..4) {
                0 => body[at] = random.random(),
                1 => drop(body.remove(at)),
                2 => {
                    body.insert(at, *b"{}[]\",:\\0 \n\xff".get(random.random_range(0..12)).unwrap())
                }
                _ => body.truncate(at),
            }
        }
        let path = ["/v1/thesis", "/v1/batch/thesis"][round % 2];
        let answer = post(server.address(), path, &body);
        assert!(answer.status < 500, "{}: {}", String::from_utf8_lossy(&body), answer.text());
    }
    assert_eq!(server.health()["ready"], true);
    assert_eq!(server.health()["worker"]["restarts"], 0);
}
