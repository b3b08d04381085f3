//! Theses of another model, from an API on loopback to a corpus.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
};

use serde_json::{Value, json};

use crate::{rft::Fixture, succeed};

const SOURCES: &str = "data.sources=[{universe: SYN10, every: 40}]";

/// Answers the first request about a context with prose or, every other one, with nothing,
/// and later ones with a thesis in the form that was asked for; refuses who has no key.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut seen = BTreeSet::new();
        for stream in listener.incoming() {
            answer(stream.unwrap(), &mut seen);
        }
    });
    url
}

fn answer(stream: TcpStream, seen: &mut BTreeSet<String>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut length, mut has_key) = (0, false);
    for line in reader.by_ref().lines() {
        let line = line.unwrap().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        has_key |= line == "authorization: bearer secret";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let request: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(request["model"], "teacher");
    let prompt = request["messages"][1]["content"].as_str().unwrap().to_owned();
    let (status, answer) = if !has_key {
        ("401 Unauthorized", json!({ "error": { "message": "no key" } }))
    } else {
        let is_first = seen.insert(prompt.clone());
        let content = match (is_first, seen.len() % 2) {
            (true, 0) => Value::Null,
            (true, _) => json!("I would buy it"),
            (false, _) => json!(thesis(&prompt)),
        };
        ("200 OK", json!({ "choices": [{ "message": { "content": content } }] }))
    };
    let answer = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        answer.len()
    );
    let mut stream = stream;
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(answer.as_bytes()).unwrap();
}

/// Does what the prompt asks for: of each list of codes the first that is left, with the
/// first phrase of it.
fn thesis(prompt: &str) -> String {
    let mut wanted: Vec<(&str, Vec<Vec<&str>>)> = Vec::new();
    let mut text = String::new();
    let mut phrases: Vec<(&str, &str, &str)> = Vec::new();
    for line in prompt.lines() {
        if let Some((name, lists)) = line.split_once(" of these lines, citing one of ") {
            let (section, _) = name.split_once(':').unwrap();
            let codes = lists.split("; one of ").map(|list| list.split(", ").collect());
            wanted.push((section, codes.collect()));
        } else if let Some((code, all)) = line.trim_start().split_once(" with \"") {
            let (section, _) = wanted.last().unwrap();
            phrases.push((section, code, all.split('"').next().unwrap()));
        }
    }
    for (section, lists) in wanted {
        let mut taken = BTreeSet::new();
        for list in lists {
            let code = list.into_iter().find(|code| taken.insert(*code)).unwrap();
            let is_own = |(s, c, _): &&(&str, &str, &str)| (*s, *c) == (section, code);
            let (.., phrase) = phrases.iter().find(is_own).unwrap();
            text.push_str(&format!("{section}:{code}{phrase}\n"));
        }
    }
    text
}

fn distill(fixture: &Fixture, url: &str, out: &Path, contexts: &str) -> Command {
    let mut command = fixture.program("distill");
    command.args(["--url", url, "--model", "teacher", "--samples", "2", "--contexts", contexts]);
    command.args(["--set", SOURCES, "--out"]).arg(out);
    command
}

#[test]
fn theses_of_another_model_are_kept_where_serving_could_have_written_them() {
    let fixture = Fixture::new();
    let url = serve();
    let file = fixture.directory.path().join("distilled.jsonl");

    let output = distill(&fixture, &url, &file, "4").output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("chat/completions answers 401 Unauthorized: no key"), "{message}");

    let ask = |contexts| {
        let mut command = distill(&fixture, &url, &file, contexts);
        succeed(command.env("R2R_DISTILL_API_KEY", "secret"))
    };
    let printed = ask("4");
    let reasons = ["a line without a section", "another number of claims"];
    let expected = format!("4 theses kept; rejected: 2 for {}, 2 for {}", reasons[0], reasons[1]);
    assert!(printed.starts_with(&expected), "{printed}");
    // It goes on from what is there.
    let printed = ask("6");
    assert!(printed.starts_with("2 theses kept; rejected: 1 for"), "{printed}");
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 6);

    // One that fits no context.
    let mut lines = fs::read_to_string(&file).unwrap();
    let mut first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    first["as_of"] = json!("1999-01-04");
    lines.push_str(&format!("{first}\n"));
    fs::write(&file, lines).unwrap();
    let corpus = fixture.directory.path().join("corpus");
    let mut command = fixture.program("corpus");
    command.args(["--set", SOURCES, "--distill"]).arg(&file).arg("--out").arg(&corpus);
    let printed = succeed(&mut command);
    let expected = "6 theses kept; rejected: 1 for not a context of this corpus\n";
    assert!(printed.starts_with(expected), "{printed}");
    let statistics = fs::read_to_string(corpus.join("statistics.json")).unwrap();
    let statistics: Value = serde_json::from_str(&statistics).unwrap();
    assert_eq!(statistics["distilled"]["kept"], 6);
    assert_eq!(statistics["distilled"]["rejected"], json!({ "context": 1 }));
    assert_theses_are_in(&file, &corpus);
}

/// Every phrase of a kept thesis stands in the example of its context.
fn assert_theses_are_in(file: &Path, corpus: &Path) {
    let examples = fs::read_to_string(corpus.join("train/mixture.jsonl")).unwrap();
    let mut found = 0;
    for line in fs::read_to_string(file).unwrap().lines() {
        let thesis: Value = serde_json::from_str(line).unwrap();
        let is_of = |example: &Value| {
            ["ticker", "as_of", "universe"].iter().all(|key| example[key] == thesis[key])
        };
        let mut examples = examples.lines().map(|line| serde_json::from_str(line).unwrap());
        let Some(example) = examples.find(is_of) else { continue };
        let text = example["completions"].to_string();
        for claim in thesis["text"].as_str().unwrap().lines() {
            let (_, claim) = claim.split_once(':').unwrap();
            let phrase = json!(claim.get(1..).unwrap()).to_string();
            assert!(text.contains(&phrase), "{phrase} is not in {text}");
        }
        found += 1;
    }
    assert_eq!(found, 6);
}

#[test]
fn a_server_that_is_away_is_named() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let file = fixture.directory.path().join("distilled.jsonl");
    let output = distill(&fixture, &url, &file, "1").output().unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = format!("{url}/chat/completions does not answer: is the server up");
    assert!(message.contains(&expected), "{message}");
}
