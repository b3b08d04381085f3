//! Quirks of EDGAR: who may ask, older files, windows, amendments, trust in names.

use lake::{Ask, Kind};

use super::{Bench, Route, Step, body, payload, reasons, recorded, route, show};

const LATER: &str = "2023-06-30T12:00:00Z";

fn ask(symbol: &str, from: Option<&str>) -> Ask {
    let from = from.map(|day| day.parse().unwrap());
    Ask { symbols: vec![symbol.to_owned()], from, to: None }
}

/// The recorded answers, and the amendment of the recorded form.
fn routes() -> Vec<Route> {
    let amendment = payload("form4.xml").replace(
        "<documentType>4</documentType>",
        "<documentType>4/A</documentType><dateOfOriginalSubmission>2023-05-12</dateOfOriginalSubmission>",
    );
    let path = "/Archives/edgar/data/320193/000032019323000070/wf-form4_2.xml";
    let mut routes = recorded();
    routes.push(route(path, &[], vec![body(amendment)]));
    routes
}

async fn start() -> Bench {
    let mut bench = Bench::start("edgar", routes()).await;
    bench.now = LATER.to_owned();
    bench
}

#[tokio::test]
async fn filings_facts_texts_and_insider_forms_of_a_ticker() {
    let bench = start().await;
    let report = bench.ask(&ask("AAPL", Some("2022-01-01"))).await.unwrap();
    assert_eq!((report.failed.len(), report.missing.len()), (0, 0), "{report:?}");
    let mut targets: Vec<String> = bench.seen().into_iter().map(|s| s.target).collect();
    targets.sort();
    assert_eq!(
        targets,
        [
            "/Archives/edgar/data/320193/000032019322000108/aapl-20220924.htm",
            "/Archives/edgar/data/320193/000032019323000064/wf-form4_1.xml",
            "/Archives/edgar/data/320193/000032019323000070/wf-form4_2.xml",
            "/api/xbrl/companyfacts/CIK0000320193.json",
            "/files/company_tickers.json",
            "/submissions/CIK0000320193-submissions-001.json",
            "/submissions/CIK0000320193.json",
        ]
    );
    let mut rows = bench.rows();
    assert_eq!(rows.kinds(), [Kind::Filings, Kind::FilingTexts, Kind::Facts, Kind::Insider]);
    let (filings, _) = rows.table(Kind::Filings).unwrap();
    // Labels of both kinds of zone: the evening of New York, and UTC.
    assert_eq!(
        show(&filings, &["record_id", "form", "known_at"]),
        [
            "AAPL:0000320193-15-000001 8-K 2015-07-21T20:30:00Z",
            "AAPL:0000320193-22-000108 10-K 2022-10-28T10:00:00Z",
            "AAPL:0000320193-23-000064 4 2023-05-12T22:30:25Z",
            "AAPL:0000320193-23-000070 4/A 2023-05-16T22:30:25Z",
        ]
    );
    // A fact is known when its filing is.
    let (facts, _) = rows.table(Kind::Facts).unwrap();
    assert_eq!(facts.num_rows(), 3);
    assert!(show(&facts, &["known_at"]).iter().all(|t| t == "2022-10-28T10:00:00Z"));
    let (texts, _) = rows.table(Kind::FilingTexts).unwrap();
    assert!(texts.num_rows() >= 1);
    let (insider, _) = rows.table(Kind::Insider).unwrap();
    let forms = show(&insider, &["form", "known_at"]);
    assert!(forms.contains(&"4 2023-05-12T22:30:25Z".to_owned()), "{forms:?}");
    assert!(forms.contains(&"4/A 2023-05-16T22:30:25Z".to_owned()), "{forms:?}");
}

#[tokio::test]
async fn documents_are_those_of_the_window_and_are_fetched_once() {
    let mut bench = start().await;
    let report = bench.ask(&ask("AAPL", None)).await.unwrap();
    assert_eq!(report.fetched, 4, "without a first day, lists and facts only");
    let report = bench.ask(&ask("AAPL", Some("2023-05-15"))).await.unwrap();
    assert_eq!((report.fetched, report.kept), (1, 4), "the amendment");
    bench.seen();
    // A filed document never changes: it is not asked for even in a refresh.
    bench.refresh = true;
    bench.ask(&ask("AAPL", Some("2023-05-15"))).await.unwrap();
    let targets: Vec<String> = bench.seen().into_iter().map(|s| s.target).collect();
    assert_eq!(targets.len(), 4, "{targets:?}");
    assert!(targets.iter().all(|t| !t.contains("Archives")), "{targets:?}");
}

#[tokio::test]
async fn a_caller_without_name_and_address_is_refused_with_the_remedy() {
    let bench = start().await;
    let ask = ask("AAPL", None);
    for contact in [None, Some("somebody")] {
        let error = bench.ask_as(&ask, contact).await.unwrap_err().to_string();
        assert!(error.contains("Jane Doe jane@example.org"), "{error}");
    }
    assert!(bench.seen().is_empty());
    bench.fetch(&["AAPL"]).await.unwrap();
    for request in bench.seen() {
        assert!(request.headers["user-agent"].contains("Jane Doe jane@example.org"));
    }
}

#[tokio::test]
async fn a_ticker_of_nobody_today_is_missing_and_can_be_named_by_its_registrant() {
    let bench = start().await;
    let report = bench.fetch(&["AAPL", "GONE"]).await.unwrap();
    assert_eq!((report.missing.len(), report.failed.len()), (1, 0));
    assert!(report.missing[0].1.contains("GONE=CIK"), "{:?}", report.missing);
    bench.seen();
    let bench = start().await;
    let report = bench.fetch(&["OLD=320193"]).await.unwrap();
    assert_eq!((report.fetched, report.failed.len()), (3, 0));
    assert!(bench.seen().iter().all(|s| !s.target.contains("company_tickers")));
    let (filings, _) = bench.table(Kind::Filings);
    assert_eq!(show(&filings, &["ticker"])[0], "OLD");
    for bad in ["AAPL=", "AAPL=x", "AAPL=0", "AAPL=12345678901", "=1"] {
        assert!(bench.fetch(&[bad]).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn names_in_an_answer_do_not_lead_elsewhere() {
    let hostile = payload("edgar_submissions.json")
        .replace("CIK0000320193-submissions-001.json", "../../etc/passwd")
        .replace("aapl-20220924.htm", "../../../secret.htm")
        .replace("xslF345X04/wf-form4_1.xml", "xslF345X04/?x=1");
    let mut routes = routes();
    let list = routes.iter_mut().find(|r| r.path == "/submissions/CIK0000320193.json").unwrap();
    list.steps = vec![body(hostile)];
    let mut bench = Bench::start("edgar", routes).await;
    bench.now = LATER.to_owned();
    bench.ask(&ask("AAPL", Some("2022-01-01"))).await.unwrap();
    let targets: Vec<String> = bench.seen().into_iter().map(|s| s.target).collect();
    assert_eq!(targets.len(), 4, "tickers, filings, facts and the amendment: {targets:?}");
    let (_, rejected) = bench.table(Kind::Filings);
    assert_eq!(reasons(&rejected), ["it names no file"]);
}

#[tokio::test]
async fn one_damaged_document_does_not_hold_up_the_others() {
    let mut routes = routes();
    let form = routes.iter_mut().find(|r| r.path.ends_with("wf-form4_1.xml")).unwrap();
    form.steps = vec![body("<html>not a form</html>")];
    let missing = routes.iter_mut().find(|r| r.path.ends_with(".htm")).unwrap();
    missing.steps = vec![Step { status: 404, ..body("<Error>NoSuchKey</Error>") }];
    let mut bench = Bench::start("edgar", routes).await;
    bench.now = LATER.to_owned();
    let report = bench.ask(&ask("AAPL", Some("2022-01-01"))).await.unwrap();
    assert_eq!((report.failed.len(), report.missing.len()), (0, 1));
    let mut rows = bench.rows();
    assert_eq!(rows.kinds(), [Kind::Filings, Kind::Facts, Kind::Insider]);
    let (_, rejected) = rows.table(Kind::Insider).unwrap();
    let damaged: Vec<_> = rejected.iter().filter(|r| r.place.contains("wf-form4_1.xml")).collect();
    assert!(damaged[0].reason.contains("ownershipDocument"), "{damaged:?}");
}
