//! What hyper would let pass, over a raw socket.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::{connect, get, raw, read_answer, request},
    server::Server,
};

#[test]
fn ambiguous_requests_are_refused() {
    let server = Server::start();
    let body = r#"{"ticker":"ZZZZ"}"#;
    let post = "POST /v1/thesis HTTP/1.1\r\nHost: a\r\n";
    let giant =
        format!("GET /v1/healthz HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(500_000));
    let many = format!("GET /v1/healthz HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(200));
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8_000));
    for (name, bytes, status) in [
        ("bare line feeds", "GET /v1/healthz HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        ("missing host", "GET /v1/healthz HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("two hosts", "GET /v1/healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        (
            "length and chunked",
            format!("{post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        ("two lengths", format!("{post}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd"), 400),
        ("gzip coding", format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n"), 501),
        ("broken chunk", format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n{body}\r\n"), 400),
        ("giant head", giant, 431),
        ("many fields", many, 431),
        ("long target", long, 414),
        ("http/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 400),
        ("another version", "GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("not http", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(), 400),
    ] {
        let answer = raw(server.address(), bytes.as_bytes());
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        answer.problem();
        assert_eq!(answer.header("connection"), Some("close"), "{name}");
    }
    let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n11\r\n{body}\r\n0\r\n\r\n");
    assert_eq!(raw(server.address(), chunked.as_bytes()).status, 404);
    let old = "GET /v1/tickers HTTP/1.0\r\n\r\n";
    assert_eq!(raw(server.address(), old.as_bytes()).status, 200);
}

#[test]
fn every_request_of_a_connection_is_checked() {
    let server = Server::start();
    let mut socket = connect(server.address());
    let good = request("GET", "/v1/tickers", "", b"");
    let bad = b"GET /v1/tickers HTTP/1.1\r\n\r\n";
    socket.write_all(&[good.as_slice(), &good, bad, &good].concat()).unwrap();
    let mut answers = String::new();
    socket.read_to_string(&mut answers).unwrap();
    let statuses: Vec<&str> =
        answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "400"], "nothing behind the bad request is answered");
}

/// Returns when the server closes, and what it said.
fn until_closed(mut socket: TcpStream) -> (Duration, String) {
    let started = Instant::now();
    let mut text = Vec::new();
    let _ = socket.read_to_end(&mut text);
    (started.elapsed(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn slow_clients_are_cut() {
    let server = Server::start_with(&[
        ("HTTP__FIRST_BYTE_MS", "300"),
        ("HTTP__HEAD_MS", "300"),
        ("HTTP__BODY_MS", "300"),
        ("HTTP__IDLE_MS", "600"),
    ]);
    let (took, text) = until_closed(connect(server.address()));
    assert!(took < Duration::from_secs(3) && text.is_empty(), "no byte: {took:?} {text}");

    let mut socket = connect(server.address());
    socket.write_all(b"GET /v1/healthz HTTP/1.1\r\nHo").unwrap();
    let (took, text) = until_closed(socket);
    assert!(
        took < Duration::from_secs(3) && text.contains(" 408 "),
        "half a head: {took:?} {text}"
    );

    // A byte now and then does not help.
    let mut socket = connect(server.address());
    let mut writer = socket.try_clone().unwrap();
    let drip = thread::spawn(move || {
        for byte in b"GET /v1/healthz HTTP/1.1\r\nHost: a\r\nX: 0123456789".iter() {
            if writer.write_all(&[*byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(read_answer(&mut socket).unwrap().status, 408);
    drip.join().unwrap();

    let mut socket = connect(server.address());
    socket
        .write_all(b"POST /v1/thesis HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{")
        .unwrap();
    let (took, text) = until_closed(socket);
    assert!(
        took < Duration::from_secs(3) && text.contains(" 408 "),
        "half a body: {took:?} {text}"
    );

    let mut socket = connect(server.address());
    socket.write_all(&request("GET", "/v1/tickers", "", b"")).unwrap();
    assert_eq!(read_answer(&mut socket).unwrap().status, 200);
    let (took, text) = until_closed(socket);
    assert!(took < Duration::from_secs(4) && text.is_empty(), "idle: {took:?} {text}");
}

#[test]
fn connections_are_bounded() {
    let server = Server::start_with(&[("HTTP__CONNECTIONS_MAX", "3")]);
    let held: Vec<TcpStream> = (0..3).map(|_| connect(server.address())).collect();
    let mut refused = connect(server.address());
    let answer = read_answer(&mut refused).unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    drop(held);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(get(server.address(), "/v1/healthz").status, 200);
}
