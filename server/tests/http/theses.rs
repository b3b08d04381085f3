//! Theses, batches, caches and the documents about them.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    thread,
};

use contract::Schema;
use serde_json::{Value, json};

use crate::{
    client::{connect, get, post, raw, request},
    server::Server,
};

fn tickers(server: &Server) -> Vec<String> {
    let spans = get(server.address(), "/v1/tickers").json();
    spans.as_array().unwrap().iter().map(|s| s["ticker"].as_str().unwrap().to_owned()).collect()
}

/// A date every name of R20 has data for.
const AS_OF: &str = "2022-09-30";

#[test]
fn a_thesis_is_valid_and_cached() {
    let server = Server::start();
    // As curl sends it.
    let fields = "Content-Type: application/x-www-form-urlencoded\r\nAccept: */*\r\n";
    let body = br#"{"ticker":"AAPL","as_of":"2022-09-30"}"#;
    let bytes = request("POST", "/v1/thesis", fields, body);
    let first = raw(server.address(), &bytes);
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.header("x-cache"), Some("miss"));
    let thesis = first.json();
    Schema::compile().unwrap().validate(&thesis).unwrap();
    let health = server.health();
    assert_eq!(thesis["receipt"]["model_digest"], health["model"]["digest"]);
    assert_eq!(thesis["receipt"]["snapshot_id"], health["snapshot"]["id"]);
    assert_eq!(thesis["receipt"]["contract_digest"], health["contract_digest"]);
    let second = raw(server.address(), &bytes);
    assert_eq!(second.header("x-cache"), Some("hit"));
    assert_eq!(second.body, first.body);
    assert_eq!(server.metric("r2r_thesis_schema_valid_total"), 1.0);
    assert_eq!(server.metric("r2r_thesis_schema_invalid_total"), 0.0);
    assert_eq!(server.metric("r2r_theses_total{outcome=\"written\"}"), 1.0);
    assert_eq!(server.metric("r2r_theses_total{outcome=\"hit\"}"), 1.0);
    // Without a date it is the last one there is.
    let latest = post(server.address(), "/v1/thesis", br#"{"ticker":"AAPL"}"#).json();
    let spans = get(server.address(), "/v1/tickers").json();
    let apple = spans.as_array().unwrap().iter().find(|s| s["ticker"] == "AAPL").unwrap();
    assert_eq!(latest["as_of"], apple["last"]);
}

/// Whatever becomes of requests, the sums of their outcomes are their number.
#[test]
fn each_request_has_one_outcome() {
    let server = Server::start_with(&[("ENGINE__LATENCY_MAX_MS", "1")]);
    let address = server.address();
    let ask = |seed: u32| {
        json!({ "ticker": "AAPL", "as_of": AS_OF, "seed": seed }).to_string().into_bytes()
    };
    // Some are written, some refused.
    let callers: Vec<_> = (0..6)
        .map(|seed| thread::spawn(move || post(address, "/v1/thesis", &ask(seed)).status))
        .collect();
    let statuses: Vec<u16> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    let of = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count() as f64;
    assert_eq!(of(200) + of(503), 6.0, "{statuses:?}");
    assert!(of(200) > 0.0 && of(503) > 0.0, "{statuses:?}");
    // One leaves.
    let mut leaver = connect(address);
    leaver.write_all(&request("POST", "/v1/thesis", "", &ask(100))).unwrap();
    server.until("the decode", |s| s.metric("r2r_engine_active") == 1.0);
    drop(leaver);
    let cancelled = "r2r_theses_total{outcome=\"cancelled\"}";
    server.until("the end of the decode", |s| s.metric(cancelled) == 1.0);
    // A date beyond the data, and a batch: three are new, one repeated, one unknown.
    let early = br#"{"ticker":"AAPL","as_of":"1901-01-01"}"#;
    assert_eq!(post(address, "/v1/thesis", early).status, 422);
    let batch = json!({ "tickers": ["KO", "PG", "KO", "GE", "ZZZZ"], "as_of": AS_OF });
    post(address, "/v1/batch/thesis", batch.to_string().as_bytes());

    for (outcome, count) in [
        ("written", of(200) + 3.0),
        ("hit", 1.0),
        ("overloaded", of(503)),
        ("cancelled", 1.0),
        ("refused", 1.0),
    ] {
        let sample = format!("r2r_theses_total{{outcome=\"{outcome}\"}}");
        assert_eq!(server.metric(&sample), count, "{outcome}");
    }
    assert_eq!(server.sum("r2r_theses_total"), 6.0 + 1.0 + 1.0 + 4.0);
    // What was refused a place or found in the cache is no request to the engine.
    let finished = "r2r_engine_requests_total{outcome=\"finished\"}";
    assert_eq!(server.metric(finished), of(200) + 3.0);
    assert_eq!(server.sum("r2r_engine_requests_total"), of(200) + 3.0 + 1.0);
    assert_eq!(server.metric("r2r_thesis_schema_valid_total"), of(200) + 3.0);
    assert_eq!(server.metric("r2r_verify_seconds_count"), of(200) + 3.0);
}

/// The events of a stream: name and data.
fn events(body: &str) -> Vec<(&str, Value)> {
    let blocks = body.split("\n\n").filter(|block| !block.is_empty());
    blocks
        .map(|block| {
            let (name, data) = block.split_once('\n').unwrap();
            let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            (name.strip_prefix("event: ").unwrap(), data)
        })
        .collect()
}

#[test]
fn claims_are_streamed_before_the_thesis() {
    let server = Server::start();
    let body = br#"{"ticker":"AAPL","as_of":"2022-09-30"}"#;
    let bytes = request("POST", "/v1/thesis", "Accept: text/event-stream\r\n", body);
    let streamed = raw(server.address(), &bytes);
    assert_eq!(streamed.status, 200, "{}", streamed.text());
    assert_eq!(streamed.header("content-type"), Some("text/event-stream"));
    let text = streamed.text();
    let mut events = events(&text);
    let (name, thesis) = events.pop().unwrap();
    assert_eq!(name, "thesis");
    let mut claims: Vec<(String, String)> = Vec::new();
    for (name, claim) in events {
        assert_eq!(name, "claim");
        let id = claim["evidence"]["claim_id"].as_str().unwrap().to_owned();
        let same = thesis["thesis"]["evidence"].as_array().unwrap();
        assert!(same.contains(&claim["evidence"]), "{id}");
        claims.push((id, claim["text"].as_str().unwrap().to_owned()));
    }
    let mut whole: Vec<(String, String)> = Vec::new();
    for (section, letter) in [
        ("market", 'M'),
        ("fundamentals", 'F'),
        ("sentiment", 'S'),
        ("technicals", 'T'),
        ("insider", 'I'),
        ("risks", 'R'),
    ] {
        let texts = thesis["thesis"][section].as_array().unwrap();
        whole.extend(
            texts
                .iter()
                .enumerate()
                .map(|(i, text)| (format!("{letter}{}", i + 1), text.as_str().unwrap().to_owned())),
        );
    }
    claims.sort();
    whole.sort();
    assert_eq!(claims, whole);
    // The same answer as without a stream, now from the cache and at once.
    let plain = post(server.address(), "/v1/thesis", body);
    assert_eq!(plain.header("x-cache"), Some("hit"));
    assert_eq!(plain.json(), thesis);
    let again = raw(server.address(), &bytes).text();
    assert_eq!(self::events(&again), [("thesis", thesis)]);
    // What is wrong with the request is a problem, not an event.
    let unknown =
        request("POST", "/v1/thesis", "Accept: text/event-stream\r\n", br#"{"ticker":"AAPLX"}"#);
    assert_eq!(raw(server.address(), &unknown).status, 404);
    let early = request(
        "POST",
        "/v1/thesis",
        "Accept: text/event-stream\r\n",
        br#"{"ticker":"AAPL","as_of":"1901-01-01"}"#,
    );
    assert_eq!(raw(server.address(), &early).status, 422);
}

#[test]
fn identical_requests_share_one_decode() {
    let server = Server::start();
    let address = server.address();
    let body = br#"{"ticker":"MSFT","as_of":"2022-09-30"}"#;
    let callers: Vec<_> =
        (0..20).map(|_| thread::spawn(move || post(address, "/v1/thesis", body))).collect();
    let answers: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    assert!(answers.iter().all(|a| a.status == 200 && a.body == answers[0].body));
    assert_eq!(server.metric("r2r_thesis_schema_valid_total"), 1.0);
    let misses = answers.iter().filter(|a| a.header("x-cache") == Some("miss")).count();
    assert_eq!(misses, 1);
}

/// The one who asked first leaves; the other still gets an answer.
#[test]
fn a_waiter_outlives_the_leader() {
    let server = Server::start();
    let address = server.address();
    let bytes = request("POST", "/v1/thesis", "", br#"{"ticker":"KO","as_of":"2022-09-30"}"#);
    let mut leader = connect(address);
    leader.write_all(&bytes).unwrap();
    server.until("the decode", |s| s.metric("r2r_engine_active") > 0.0);
    let waiter = thread::spawn(move || raw(address, &bytes));
    server.until("the waiter", |s| s.metric("r2r_http_requests_in_flight") >= 3.0);
    drop(leader);
    assert_eq!(waiter.join().unwrap().status, 200);
    let left = "r2r_http_requests_total{route=\"/v1/thesis\",status=\"499\"}";
    assert_eq!(server.metric(left), 1.0);
}

#[test]
fn a_batch_answers_in_order_with_errors_inside() {
    let server = Server::start();
    let known = tickers(&server);
    let asked = [&known[3], "ZZZZ", &known[1], &known[3], "no such thing", "aapl"];
    let body = json!({ "tickers": asked, "as_of": AS_OF }).to_string();
    let answer = post(server.address(), "/v1/batch/thesis", body.as_bytes());
    assert_eq!(answer.status, 200);
    let elements = answer.json();
    let elements = elements.as_array().unwrap();
    let found: Vec<&str> = elements.iter().map(|e| e["ticker"].as_str().unwrap()).collect();
    assert_eq!(found, asked);
    let statuses: Vec<Option<u64>> =
        elements.iter().map(|e| e["problem"]["status"].as_u64()).collect();
    assert_eq!(statuses, [None, Some(404), None, None, Some(400), Some(404)]);
    assert_eq!(elements[0], elements[3]);
    let schema = Schema::compile().unwrap();
    for i in [0, 2, 3] {
        schema.validate(&elements[i]).unwrap();
    }
    // The same bytes as alone.
    let alone = json!({ "ticker": asked[0], "as_of": AS_OF }).to_string();
    let alone = post(server.address(), "/v1/thesis", alone.as_bytes());
    assert_eq!(alone.header("x-cache"), Some("hit"));
    assert_eq!(alone.json(), elements[0]);
}

#[test]
fn lines_come_as_they_finish() {
    let server = Server::start();
    let mut asked = tickers(&server);
    asked.truncate(6);
    asked.push("ZZZZ".to_owned());
    let body = json!({ "tickers": asked, "as_of": AS_OF }).to_string();
    let accept = "Accept: application/x-ndjson\r\n";
    let answer =
        raw(server.address(), &request("POST", "/v1/batch/thesis", accept, body.as_bytes()));
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> = BufReader::new(answer.body.as_slice())
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    let by_ticker: BTreeMap<&str, &Value> =
        lines.iter().map(|line| (line["ticker"].as_str().unwrap(), line)).collect();
    assert_eq!((lines.len(), by_ticker.len()), (asked.len(), asked.len()));
    assert_eq!(by_ticker["ZZZZ"]["problem"]["status"], 404);
    let last = lines.last().unwrap();
    assert_ne!(last["ticker"], "ZZZZ", "a refusal does not wait for the decodes before it");
    assert_eq!(server.metric("r2r_thesis_schema_valid_total"), (asked.len() - 1) as f64);
}

#[test]
fn the_documents_describe_the_server() {
    let server = Server::start();
    let health = get(server.address(), "/v1/healthz");
    assert_eq!(health.status, 200);
    let health = health.json();
    for field in ["live", "ready"] {
        assert_eq!(health[field], true, "{health}");
    }
    let openapi = get(server.address(), "/v1/openapi.json").json();
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths: Vec<&String> = openapi["paths"].as_object().unwrap().keys().collect();
    for path in paths.iter().filter(|path| !path.contains("thesis") && !path.contains('{')) {
        let status = get(server.address(), path).status;
        // A backtest that takes longer than a second, as on a busy machine, is a job.
        let is_fine = status == 200 || *path == "/v1/backtest" && status == 202;
        assert!(is_fine, "{path}: {status}");
    }
    let mut socket = connect(server.address());
    socket.write_all(b"HEAD /v1/healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut head = String::new();
    socket.read_to_string(&mut head).unwrap();
    assert!(head.contains(" 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    let metrics = get(server.address(), "/v1/metrics").text();
    for name in ["r2r_http_requests_total", "r2r_http_request_seconds_bucket", "r2r_cache_bytes"] {
        assert!(metrics.contains(name), "{name}");
    }
}
