//! Quirks of Stooq.

use lake::{Ask, Kind};

use super::{Bench, body, payload, reasons, recorded, route, show};

const PATH: &str = "/q/d/l/";

#[tokio::test]
async fn prices_are_marked_as_adjusted_and_cells_without_value_set_aside() {
    let bench = Bench::start("stooq", recorded()).await;
    bench.fetch(&["AAPL"]).await.unwrap();
    let (bars, rejected) = bench.table(Kind::Bars);
    let columns = ["ticker", "session", "close", "volume", "price_basis", "known_at"];
    assert_eq!(
        show(&bars, &columns),
        [
            "AAPL 2020-08-28 122.812 191272000.0 total_return_adjusted 2020-08-28T20:00:00Z",
            "AAPL 2020-08-31 126.976 229497000.0 total_return_adjusted 2020-08-31T20:00:00Z",
            "AAPL 2020-09-01 132.034 154502000.0 total_return_adjusted 2020-09-01T20:00:00Z",
        ]
    );
    assert_eq!(reasons(&rejected), ["it has no close"]);
    assert!(rejected[0].place.ends_with("line 5"), "{}", rejected[0].place);
}

#[tokio::test]
async fn symbols_are_spelled_its_way() {
    let bench = Bench::start("stooq", recorded()).await;
    let day = |text: &str| Some(text.parse().unwrap());
    let symbols = ["BRK.B", "^SPX"].map(str::to_owned).to_vec();
    let ask = Ask { symbols, from: day("2020-08-01"), to: day("2020-08-15") };
    let report = bench.ask(&ask).await.unwrap();
    assert_eq!(report.missing.len(), 2);
    let targets: Vec<String> = bench.seen().into_iter().map(|s| s.target).collect();
    assert_eq!(
        targets,
        [
            "/q/d/l/?s=brk-b.us&i=d&d1=20200801&d2=20200815",
            "/q/d/l/?s=%5Espx&i=d&d1=20200801&d2=20200815"
        ]
    );
}

#[tokio::test]
async fn an_index_without_volume_is_read() {
    let text = "\u{feff}Date,Open,High,Low,Close\r\n2020-08-31,3509.7,3514.8,3493.2,3500.3\r\nsoon,1,1,1,1\r\n";
    let bench = Bench::start("stooq", vec![route(PATH, &[], vec![body(text)])]).await;
    bench.fetch(&["^SPX"]).await.unwrap();
    let (index, rejected) = bench.table(Kind::Index);
    assert_eq!(show(&index, &["record_id", "close"]), ["^SPX-2020-08-31 3500.3"]);
    assert_eq!(reasons(&rejected), ["its date is not YYYY-MM-DD"]);
}

#[tokio::test]
async fn what_is_wrong_comes_as_text_with_status_200() {
    for (text, said) in [
        ("No data", "No data"),
        ("No data\r\n", "No data"),
        ("Date,Open,High,Low,Close,Volume\r\n", "no sessions in the window"),
    ] {
        let bench = Bench::start("stooq", vec![route(PATH, &[], vec![body(text)])]).await;
        let report = bench.fetch(&["AAPL"]).await.unwrap();
        assert_eq!(report.missing, [("AAPL".to_owned(), said.to_owned())]);
        assert!(bench.rows().kinds().is_empty());
    }
    let page = "<!DOCTYPE html><html><title>Checking your browser</title>";
    for (text, said) in
        [("Exceeded the daily hits limit", "go on tomorrow"), (page, "a web page instead of CSV")]
    {
        let steps = vec![body(payload("stooq_aapl.csv")), body(text)];
        let bench = Bench::start("stooq", vec![route(PATH, &[], steps)]).await;
        let error = bench.fetch(&["AAPL", "MSFT", "IBM"]).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!(bench.seen().len(), 2, "the third is not asked for");
        let (bars, _) = bench.table(Kind::Bars);
        assert_eq!(bars.num_rows(), 3, "what came before is kept");
        assert_eq!(bench.verify().problems, []);
    }
}

/// Prices of two days are adjusted to two days: put together they would show a
/// jump that never was.
#[tokio::test]
async fn only_the_newest_answer_of_a_symbol_is_read() {
    let newer = "Date,Open,High,Low,Close,Volume\r\n2020-09-01,65.1,66.3,64.2,66.0,309004000\r\n2020-09-02,68.0,68.9,63.5,65.7,400000000\r\n";
    let steps = vec![body(payload("stooq_aapl.csv")), body(newer)];
    let mut bench = Bench::start("stooq", vec![route(PATH, &[], steps)]).await;
    bench.fetch(&["AAPL"]).await.unwrap();
    bench.now = "2020-09-03T12:00:00Z".to_owned();
    bench.fetch(&["AAPL"]).await.unwrap();
    let (bars, _) = bench.table(Kind::Bars);
    assert_eq!(show(&bars, &["session", "close"]), ["2020-09-01 66.0", "2020-09-02 65.7"]);
    assert_eq!(bench.verify().responses, 2, "the older one stays in the archive");
}
