//! Quirks of the Yahoo chart.

use lake::{Ask, Kind};

use super::{Bench, Step, body, chart_of, payload, reasons, recorded, route, show};

const CHART: &str = "/v8/finance/chart/AAPL";

async fn fetched(text: String) -> Bench {
    let bench = Bench::start("yahoo", vec![route(CHART, &[], vec![body(text)])]).await;
    bench.fetch(&["AAPL"]).await.unwrap();
    bench
}

#[tokio::test]
async fn prices_are_as_traded_and_actions_are_records() {
    let bench = Bench::start("yahoo", recorded()).await;
    let report = bench.fetch(&["AAPL", "^GSPC"]).await.unwrap();
    assert_eq!((report.fetched, report.missing.len(), report.failed.len()), (2, 0, 0));
    let mut rows = bench.rows();
    assert_eq!(rows.kinds(), [Kind::Bars, Kind::Actions, Kind::Index]);
    let (bars, rejected) = rows.table(Kind::Bars).unwrap();
    let columns = ["session", "open", "high", "low", "close", "volume", "price_basis", "known_at"];
    assert_eq!(
        show(&bars, &columns),
        [
            "2020-08-06 441.62 457.65 439.19 455.61 50607225.0 raw 2020-08-06T20:00:00Z",
            "2020-08-07 452.82 454.7 441.17 444.45 49511403.0 raw 2020-08-07T20:00:00Z",
            "2020-08-28 504.05 505.77 498.31 499.23 46907479.0 raw 2020-08-28T20:00:00Z",
            "2020-08-31 127.58 131.0 126.0 129.04 225702700.0 raw 2020-08-31T20:00:00Z",
            "2020-09-01 132.76 134.8 130.53 134.18 151948100.0 raw 2020-09-01T20:00:00Z",
        ]
    );
    assert_eq!(
        reasons(&rejected),
        ["it has no close (null)", "its session was not over when it was fetched"]
    );
    let place = &rejected[1].place;
    assert!(place.starts_with(&bench.url) && place.ends_with("timestamp[6]"), "{place}");
    let (actions, _) = rows.table(Kind::Actions).unwrap();
    assert_eq!(
        show(&actions, &["ticker", "ex_date", "action", "value", "known_at"]),
        [
            "AAPL 2020-08-07 dividend 0.82 2020-08-07T13:30:00Z",
            "AAPL 2020-08-31 split 4.0 2020-08-31T13:30:00Z",
        ]
    );
    let (index, _) = rows.table(Kind::Index).unwrap();
    assert_eq!(
        show(&index, &["record_id", "close", "source"]),
        ["^GSPC-2020-08-31 3500.31 Yahoo Finance", "^GSPC-2020-09-01 3526.65 Yahoo Finance"]
    );
}

#[tokio::test]
async fn the_question_runs_to_the_present_whatever_window_is_wanted() {
    let bench = Bench::start("yahoo", recorded()).await;
    let day = |text: &str| Some(text.parse().unwrap());
    let (from, to) = (day("2020-08-01"), day("2020-08-15"));
    bench.ask(&Ask { symbols: vec!["AAPL".to_owned()], from, to }).await.unwrap();
    let target = bench.seen()[0].target.clone();
    // 2020-08-01, and the midnight after NOW: a split on 2020-08-31 is in the answer.
    let window = "period1=1596240000&period2=1599091200";
    assert!(target.contains(window), "{target}");
    assert!(target.contains("events=div%2Csplits%2CcapitalGains"), "{target}");
}

#[tokio::test]
async fn a_share_class_is_asked_for_with_a_dash() {
    let steps = vec![body(chart_of("BRK-B"))];
    let bench = Bench::start("yahoo", vec![route("/v8/finance/chart/BRK-B", &[], steps)]).await;
    bench.fetch(&["BRK.B"]).await.unwrap();
    let (bars, _) = bench.table(Kind::Bars);
    assert_eq!(show(&bars, &["ticker"])[0], "BRK.B");
}

#[tokio::test]
async fn the_quote_after_the_close_repeats_its_session() {
    // The last quote, now of the session before: its time is after the close.
    let text = payload("yahoo_aapl.json").replace("1599068713", "1598990402");
    let bench = fetched(text).await;
    let (bars, rejected) = bench.table(Kind::Bars);
    assert_eq!(show(&bars, &["session", "close"])[4], "2020-09-01 134.18", "the first stays");
    assert_eq!(reasons(&rejected), ["it has no close (null)", "repeats an earlier record"]);
}

#[tokio::test]
async fn a_symbol_without_data_is_missing_and_no_failure() {
    let none = r#"{"chart":{"result":[],"error":null}}"#;
    let early = r#"{"chart":{"result":null,"error":{"code":"Bad Request","description":"Data doesn't exist for startDate = 1"}}}"#;
    for (step, said) in [
        (Step { status: 404, ..body(payload("yahoo_delisted.json")) }, "may be delisted"),
        (body(payload("yahoo_delisted.json")), "may be delisted"),
        (body(none), "has no result"),
        (Step { status: 400, ..body(early) }, "Data doesn't exist"),
    ] {
        let bench = Bench::start("yahoo", vec![route(CHART, &[], vec![step])]).await;
        let report = bench.fetch(&["AAPL"]).await.unwrap();
        assert_eq!((report.fetched, report.failed.len()), (1, 0));
        assert!(report.missing[0].1.contains(said), "{:?}", report.missing);
        assert!(bench.rows().kinds().is_empty());
        // It is remembered for a while, too.
        let again = bench.fetch(&["AAPL"]).await.unwrap();
        assert_eq!((again.kept, again.missing), (1, report.missing));
        assert_eq!(bench.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_page_is_no_word_that_there_is_no_such_symbol() {
    let page = Step { status: 404, ..body("<html>Oops</html>") };
    let steps = vec![body(payload("yahoo_aapl.json")), page];
    let mut bench = Bench::start("yahoo", vec![route(CHART, &[], steps)]).await;
    bench.fetch(&["AAPL"]).await.unwrap();
    bench.refresh = true;
    let report = bench.fetch(&["AAPL"]).await.unwrap();
    assert!(report.failed[0].1.contains("a page"), "{:?}", report.failed);
    assert_eq!(bench.rows().kinds(), [Kind::Bars, Kind::Actions], "the bars stay");
}

#[tokio::test]
async fn a_refusal_ends_the_fetch_and_is_archived_but_never_read() {
    let text = r#"{"chart":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Crumb"}}}"#;
    let steps = vec![Step { status: 401, ..body(text) }, body(payload("yahoo_aapl.json"))];
    let bench = Bench::start("yahoo", vec![route(CHART, &[], steps)]).await;
    let error = bench.fetch(&["AAPL", "MSFT", "IBM"]).await.unwrap_err().to_string();
    assert!(error.contains("Unauthorized: Invalid Crumb"), "{error}");
    assert_eq!(bench.verify().problems, []);
    assert!(bench.rows().kinds().is_empty());
    // A refusal is not taken for an answer later.
    bench.fetch(&["AAPL"]).await.unwrap();
    assert_eq!(bench.rows().kinds(), [Kind::Bars, Kind::Actions]);
}

#[tokio::test]
async fn an_answer_of_another_form_is_set_aside_and_not_guessed_at() {
    let good = payload("yahoo_aapl.json");
    for (from, to, says) in [
        ("America/New_York", "Europe/London", "only daily rows of America/New_York"),
        ("\"dataGranularity\":\"1d\"", "\"dataGranularity\":\"1wk\"", "rows of 1wk"),
        ("\"symbol\":\"AAPL\"", "\"symbol\":\"MSFT\"", "it is about MSFT, and AAPL was asked for"),
        ("\"timestamp\":[1596720600,", "\"timestamp\":[", "7 values for 6 timestamps"),
    ] {
        let bench = fetched(good.replacen(from, to, 1)).await;
        let (bars, rejected) = bench.table(Kind::Bars);
        assert_eq!((bars.num_rows(), rejected.len()), (0, 1));
        assert!(rejected[0].reason.contains(says), "{}", rejected[0].reason);
        assert!(rejected[0].place.starts_with(&bench.url), "{}", rejected[0].place);
    }
    // A window without sessions has no timestamps and an empty quote.
    let meta = r#""meta":{"exchangeTimezoneName":"America/New_York","dataGranularity":"1d"}"#;
    let empty = format!(
        r#"{{"chart":{{"result":[{{{meta},"indicators":{{"quote":[{{}}],"adjclose":[{{}}]}}}}],"error":null}}}}"#
    );
    let bench = fetched(empty).await;
    assert!(bench.rows().kinds().is_empty());
}

#[tokio::test]
async fn answers_of_several_days_are_put_together_and_the_newest_stays() {
    let old = payload("yahoo_aapl.json");
    // The next day the session is complete, and an old volume was corrected.
    let new = old.replace("1599068713", "1599053400").replace("202428900", "202428904");
    let mut bench =
        Bench::start("yahoo", vec![route(CHART, &[], vec![body(old), body(new)])]).await;
    bench.fetch(&["AAPL"]).await.unwrap();
    bench.now = "2020-09-03T12:00:00Z".to_owned();
    bench.fetch(&["AAPL"]).await.unwrap();
    assert_eq!(bench.verify().requests, 2);
    let (bars, rejected) = bench.table(Kind::Bars);
    let shown = show(&bars, &["session", "close", "volume"]);
    assert_eq!(shown.len(), 6);
    assert_eq!(shown[0], "2020-08-06 455.61 50607226.0");
    assert_eq!(shown[5], "2020-09-02 131.4 120000000.0");
    assert!(!reasons(&rejected).contains(&"repeats an earlier record"));
}

#[tokio::test]
async fn a_split_of_a_day_to_come_is_set_aside() {
    // 2020-09-08, and the answer is of 2020-09-02.
    let splits = "\"splits\":{\"2\":{\"date\":1599571800,\"numerator\":2.0,\"denominator\":1.0},";
    let text = payload("yahoo_aapl.json").replace("\"splits\":{", splits);
    let bench = fetched(text).await;
    let mut rows = bench.rows();
    let (actions, rejected) = rows.table(Kind::Actions).unwrap();
    assert_eq!(show(&actions, &["action", "value"]), ["dividend 0.82", "split 4.0"]);
    assert_eq!(reasons(&rejected), ["its day is after that of the answer"]);
    let (bars, _) = rows.table(Kind::Bars).unwrap();
    assert_eq!(show(&bars, &["close"])[4], "134.18");
}

#[tokio::test]
async fn splits_of_a_day_are_one_and_count_once() {
    // The split of 2020-08-31 again, and one of 1 for 2.
    let splits = "\"splits\":{\"2\":{\"date\":DATE,\"numerator\":8.0,\"denominator\":2.0},\
                  \"3\":{\"date\":DATE,\"numerator\":1.0,\"denominator\":2.0},"
        .replace("DATE", "1598880600");
    let bench = fetched(payload("yahoo_aapl.json").replace("\"splits\":{", &splits)).await;
    let mut rows = bench.rows();
    let (actions, rejected) = rows.table(Kind::Actions).unwrap();
    assert_eq!(show(&actions, &["action", "value"]), ["dividend 0.41", "split 2.0"]);
    assert_eq!(reasons(&rejected), Vec::<&str>::new());
}

#[tokio::test]
async fn a_reverse_split_and_a_payment_of_two_parts() {
    let text = payload("yahoo_aapl.json")
        .replace("\"numerator\":4.0,\"denominator\":1.0", "\"numerator\":1.0,\"denominator\":8.0")
        .replace(
            "\"splits\"",
            "\"capitalGains\":{\"1\":{\"amount\":1.0,\"date\":1596807000}},\"splits\"",
        );
    let bench = fetched(text).await;
    let mut rows = bench.rows();
    let (actions, _) = rows.table(Kind::Actions).unwrap();
    assert_eq!(
        show(&actions, &["action", "value"]),
        ["dividend 0.150625", "split 0.125"],
        "(0.205 + 1.0) / 8"
    );
    let (bars, _) = rows.table(Kind::Bars).unwrap();
    // 499.23 was a quarter in the answer, and is an eighth of that again.
    assert_eq!(show(&bars, &["close"])[2..4], ["15.6009", "129.04"]);
}
