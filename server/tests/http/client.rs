//! A small HTTP client over a plain socket: it sends exactly the bytes given
//! and shares no code with the server.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;
use tokio::net::TcpSocket;

/// An answer, its framing removed.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The problem, checked for what every problem has, its request id redacted.
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let id = self.header("x-request-id").unwrap();
        let mut problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["instance"], format!("urn:r2r:request:{id}"));
        problem["instance"] = "urn:r2r:request:[id]".into();
        problem
    }
}

/// Opens a connection that gives up after 90 s of silence.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    socket
}

/// As [`connect`], from another address of this machine.
pub(crate) fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let socket = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    socket
}

/// Sends bytes, reads one answer on a connection of its own.
pub(crate) fn raw(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut socket = connect(address);
    // The server may refuse before it has read everything.
    let _ = socket.write_all(bytes);
    read_answer(&mut socket).expect("an answer")
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    raw(address, request("GET", path, "", b"").as_slice())
}

pub(crate) fn post(address: SocketAddr, path: &str, body: &[u8]) -> Answer {
    raw(address, &request("POST", path, "", body))
}

/// The bytes of a request; `fields` are whole lines.
pub(crate) fn request(method: &str, path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Reads one answer; none when the server closes first.
pub(crate) fn read_answer(socket: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        read_some(socket, &mut bytes)?;
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut rest = bytes.split_off(end + 4);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = Answer { status, head, body: Vec::new() };
    if answer.header("transfer-encoding") == Some("chunked") {
        while let Some(chunk) = read_chunk(socket, &mut rest)? {
            answer.body.extend(chunk);
        }
    } else {
        let length: usize = answer.header("content-length").unwrap_or("0").parse().unwrap();
        while rest.len() < length {
            read_some(socket, &mut rest)?;
        }
        answer.body = rest[..length].to_vec();
    }
    Some(answer)
}

/// Reads a chunk off the front of `rest`; `Some(None)` is the last one.
pub(crate) fn read_chunk(socket: &mut TcpStream, rest: &mut Vec<u8>) -> Option<Option<Vec<u8>>> {
    let line = loop {
        if let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
            break end;
        }
        read_some(socket, rest)?;
    };
    let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
    while rest.len() < line + 2 + size + 2 {
        read_some(socket, rest)?;
    }
    let chunk = rest[line + 2..line + 2 + size].to_vec();
    rest.drain(..line + 2 + size + 2);
    Some((size > 0).then_some(chunk))
}

fn read_some(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 65_536];
    match socket.read(&mut chunk) {
        Ok(0) | Err(_) => None,
        Ok(count) => {
            bytes.extend_from_slice(&chunk[..count]);
            Some(())
        }
    }
}
