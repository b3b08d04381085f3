//! Recommendations in files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use backtest::{
    Bar, Config, Detail, History, Market, Source, run,
    strategies::{Decision, EqualWeight, find},
};
use chrono::{Days, NaiveDate};
use contract::Receipt;
use domain::{Digest, Label, LabelProbs};
use study::{KeptDecisions, Recommendation, Recommendations, warn};

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

/// The bias line of a result that follows one recommendation, by what is known of the model.
fn told(as_of: &str, trained_until: Option<&[(&str, &str)]>) -> String {
    let day = |text: &str| text.parse::<NaiveDate>().unwrap();
    let bars = (0..60).map(|i| Bar {
        session: day("2020-01-01") + Days::new(i),
        close: 1.0,
        adjusted: 1.0,
        volume: None,
    });
    let history = History {
        ticker: "AAPL".parse().unwrap(),
        sector: None,
        half_spread_bps: None,
        bars: bars.collect(),
        actions: Vec::new(),
    };
    let source =
        Source { universe: "R20".to_owned(), snapshot: None, bias: "Survivors.".to_owned() };
    let market = Market::new(source, vec![history]).unwrap();
    let line = |ticker: &str, as_of: &str| {
        format!(r#"{{"ticker":"{ticker}","as_of":"{as_of}","decision":{{"label":"Buy"}}}}"#)
    };
    // Of another span and another name.
    let text = [line("AAPL", as_of), line("AAPL", "2019-06-28"), line("ZZ", as_of)].join("\n");
    let mut found = read(&text).unwrap();
    let pair = |(universe, until): &(&str, &str)| ((*universe).to_owned(), day(until));
    found.trained_until = trained_until.map(|known| known.iter().map(pair).collect());
    let config = Config::new(day("2020-01-20"), day("2020-02-20"));
    let followed = found.follow(&market, &config, 10);
    assert_eq!(followed.strangers(), 1);
    let follows = find("decisions").unwrap();
    let mut strategy = EqualWeight;
    let mut run = run(&market, &mut strategy, &config, Detail::Equity).unwrap();
    warn(&mut run, find("equal_weight").unwrap(), Some(&followed));
    assert_eq!(run.provenance.bias, "Survivors.");
    warn(&mut run, follows, Some(&followed));
    run.provenance.bias
}

#[test]
fn a_result_says_what_the_model_it_follows_had_seen() {
    let of = |until| Some([("R20", until)]);
    for (as_of, trained_until, says) in [
        ("2020-01-20", of("2020-01-19").as_ref(), None),
        ("2020-01-19", of("2020-01-19").as_ref(), Some("to 2020-01-19: what it")),
        // It is followed from before the span.
        ("2020-01-11", of("2020-01-19").as_ref(), Some("to 2020-01-19: what it")),
        ("2020-01-20", Some(&[("SYN10", "2019-01-01")]), Some("SYN10 to 2019-01-01: what it")),
        ("2020-01-20", None, Some("is not known")),
    ] {
        let told = told(as_of, trained_until.map(|known| &known[..]));
        assert!(told.contains("before its own release"), "{told}");
        assert!(says.is_none_or(|says| told.contains(says)), "{told}");
        assert_eq!(says.is_none(), !told.contains("trained"), "{told}");
    }
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
        (
            format!("{aapl}\n{}", msft.replace(r#""m""#, r#""n""#)),
            ":2: it is of model n, lines before it of m",
        ),
        ("nothing".to_owned(), ":1: "),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.contains(part), "{part}: {error}");
    }
}
