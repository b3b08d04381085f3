//! Recommendations in files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use backtest::{Config, strategies::Decision};
use contract::Receipt;
use domain::{Digest, Label, LabelProbs};
use study::{KeptDecisions, Recommendation, Recommendations, in_sample};

fn receipt(seed: u64) -> Receipt {
    Receipt {
        model: "small".to_owned(),
        model_digest: Digest::of("model"),
        snapshot_id: Digest::of("snapshot"),
        contract_digest: Digest::of("contract"),
        seed,
        temperature: 0.4,
        min_p: 0.1,
        calibration: "identity".to_owned(),
        code_version: "0".to_owned(),
        build: "native".to_owned(),
    }
}

fn row(ticker: &str, as_of: &str) -> Recommendation {
    let probs = LabelProbs::new([0.1, 0.2, 0.1, 0.5, 0.1]).unwrap();
    let decision = Decision { label: Label::Buy, probs: Some(probs) };
    Recommendation { ticker: ticker.parse().unwrap(), as_of: as_of.parse().unwrap(), decision }
}

#[test]
fn a_run_that_was_killed_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = KeptDecisions::open(dir.path(), &receipt(1)).unwrap();
    kept.keep(row("AAPL", "2020-01-02")).unwrap();
    kept.keep(row("MSFT", "2020-01-02")).unwrap();
    let path = kept.path().to_owned();
    let locked = KeptDecisions::open(dir.path(), &receipt(1)).unwrap_err().to_string();
    assert!(locked.starts_with("another run writes to "), "{locked}");
    drop(kept);
    // Killed in the middle of a line.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 20]).unwrap();
    let mut kept = KeptDecisions::open(dir.path(), &receipt(1)).unwrap();
    let [aapl, msft] = ["AAPL", "MSFT"].map(|ticker| ticker.parse().unwrap());
    let as_of = "2020-01-02".parse().unwrap();
    assert!(kept.has(&aapl, as_of) && !kept.has(&msft, as_of));
    kept.keep(row("MSFT", "2020-01-02")).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert_eq!(kept.finish().rows.len(), 2);
    let read = KeptDecisions::read(dir.path(), &receipt(1)).unwrap().unwrap();
    assert_eq!((read.model.as_str(), read.rows.len()), ("small", 2));
}

#[test]
fn another_receipt_has_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = KeptDecisions::open(dir.path(), &receipt(1)).unwrap();
    kept.keep(row("AAPL", "2020-01-02")).unwrap();
    assert_eq!(KeptDecisions::read(dir.path(), &receipt(2)).unwrap(), None);
    let other = KeptDecisions::open(dir.path(), &receipt(2)).unwrap();
    assert_eq!(KeptDecisions::read(dir.path(), &receipt(2)).unwrap(), None);
    let (path, from) = (other.path().to_owned(), kept.path().to_owned());
    drop((kept, other));
    std::fs::copy(from, path).unwrap();
    let error = KeptDecisions::open(dir.path(), &receipt(2)).unwrap_err().to_string();
    assert!(error.contains("another receipt than its name says"), "{error}");
}

#[test]
fn what_a_model_had_seen_is_said_of_the_spans_that_it_had() {
    let until = "2018-12-26".parse().unwrap();
    let from = |start: &str| Config::new(start.parse().unwrap(), "2022-12-28".parse().unwrap());
    let said = in_sample(until, &from("2014-06-02")).unwrap();
    assert!(said.contains("to 2018-12-26") && said.contains("not out of sample"), "{said}");
    assert_eq!(in_sample(until, &from("2018-12-27")), None);
}

fn read(text: &str) -> Result<Recommendations, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Recommendations::read(file.path()).map_err(|error| error.to_string())
}

#[test]
fn lines_that_are_no_answers_are_refused_by_number() {
    let line = |ticker: &str| {
        format!(
            r#"{{"ticker":"{ticker}","as_of":"2020-01-02","decision":{{"label":"Buy"}},"receipt":{{"model":"m"}}}}"#
        )
    };
    let (aapl, msft) = (line("AAPL"), line("MSFT"));
    let found = read(&format!("{aapl}\n\n{msft}\n")).unwrap();
    assert_eq!((found.model.as_str(), found.rows.len()), ("m", 2));
    for (text, part) in [
        (format!("{aapl}\n{aapl}"), ":2: AAPL as of 2020-01-02 stands in line 1 too"),
        (format!("{aapl}\n{{}}"), ":2: missing field"),
        (format!("{aapl}\n{{\"receipt\":{{}}}}"), ":2: missing field"),
        (
            aapl.replace(r#""Buy"}"#, r#""Buy","probs":[0.1,0.1,0.5,0.2,0.1]}"#),
            ":1: Buy is recommended where Hold is most probable",
        ),
        ("nothing".to_owned(), ":1: "),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.contains(part), "{part}: {error}");
    }
}
