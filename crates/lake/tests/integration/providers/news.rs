//! Quirks of feeds and of NewsAPI.

use lake::{Ask, Kind};

use super::{Bench, Step, body, payload, recorded, route, show};

const FEED: &str = "/rss/2.0/headline";
const SEARCH: &str = "/v2/everything";
const LATER: &str = "2022-09-30T12:00:00Z";

#[tokio::test]
async fn what_a_feed_has_forgotten_is_still_read_as_it_was_known_first() {
    let item = |n: u32, hour: u32| {
        format!(
            "<item><title>News {n}</title><link>https://wire.example/{n}</link><pubDate>Thu, 29 Sep 2022 {hour}:00:00 GMT</pubDate><description>Text {n}.</description></item>"
        )
    };
    let feed = |items: &[String]| {
        format!("<rss version=\"2.0\"><channel><title>W</title>{}</channel></rss>", items.concat())
    };
    let steps =
        vec![body(feed(&[item(1, 10), item(2, 11)])), body(feed(&[item(2, 11), item(3, 12)]))];
    let mut bench = Bench::start("yahoo-news", vec![route(FEED, &[], steps)]).await;
    bench.now = LATER.to_owned();
    bench.fetch(&["AAPL"]).await.unwrap();
    bench.now = "2022-09-30T14:00:00Z".to_owned();
    bench.fetch(&["AAPL"]).await.unwrap();
    let (news, rejected) = bench.table(Kind::News);
    let mut lines = show(&news, &["title", "known_at"]);
    lines.sort();
    assert_eq!(
        lines,
        [
            "News 1 2022-09-30T12:00:00Z",
            "News 2 2022-09-30T12:00:00Z",
            "News 3 2022-09-30T14:00:00Z",
        ]
    );
    assert!(rejected.is_empty(), "{rejected:?}");
    assert_eq!(bench.seen()[0].target, "/rss/2.0/headline?s=AAPL&region=US&lang=en-US");
}

#[tokio::test]
async fn a_feed_that_is_cut_without_notice_is_asked_for_again() {
    let whole = payload("rss.xml");
    let cut = whole[..whole.len() / 2].to_owned();
    let bench =
        Bench::start("yahoo-news", vec![route(FEED, &[], vec![body(cut), body(whole)])]).await;
    bench.fetch(&["AAPL"]).await.unwrap();
    assert_eq!((bench.seen().len(), bench.verify().objects), (2, 1));
    let page = body("<!DOCTYPE html><html>consent, please</html>");
    let bench = Bench::start("yahoo-news", vec![route(FEED, &[], vec![page])]).await;
    let error = bench.fetch(&["AAPL"]).await.unwrap_err().to_string();
    assert!(error.contains("a web page instead of a feed"), "{error}");
}

#[tokio::test]
async fn a_search_goes_on_from_page_to_page_as_far_as_the_plan_allows() {
    let page = |total: u32, n: u32| {
        body(format!(
            r#"{{"status":"ok","totalResults":{total},"articles":[{{"source":{{"name":"W"}},"title":"Apple {n}","description":"Apple.","url":"https://wire.example/{n}","publishedAt":"2022-09-29T14:00:00Z"}}]}}"#
        ))
    };
    let end = r#"{"status":"error","code":"maximumResultsReached","message":"You have requested too many results."}"#;
    let routes = vec![
        route(SEARCH, &[("page", "1")], vec![page(250, 1)]),
        route(SEARCH, &[("page", "2")], vec![page(250, 2)]),
        route(SEARCH, &[("page", "3")], vec![Step { status: 426, ..body(end) }]),
    ];
    let mut bench = Bench::start("newsapi", routes).await;
    bench.now = LATER.to_owned();
    let report = bench.fetch(&["AAPL=Apple"]).await.unwrap();
    assert_eq!((report.fetched, report.failed.len(), report.missing.len()), (3, 0, 1));
    let (news, _) = bench.table(Kind::News);
    let mut titles = show(&news, &["ticker", "title"]);
    titles.sort();
    assert_eq!(titles, ["AAPL Apple 1", "AAPL Apple 2"]);
    let target = bench.seen()[0].target.clone();
    assert!(target.contains("q=%22Apple%22&from=2022-08-31&to=2022-09-30"), "{target}");
}

#[tokio::test]
async fn errors_of_a_search_end_the_fetch_with_their_words() {
    for (status, code) in
        [(401, "apiKeyInvalid"), (200, "apiKeyExhausted"), (400, "parameterInvalid")]
    {
        let text = format!(r#"{{"status":"error","code":"{code}","message":"Look here."}}"#);
        let step = Step { status, ..body(text) };
        let bench = Bench::start("newsapi", vec![route(SEARCH, &[], vec![step])]).await;
        let error = bench.fetch(&["AAPL"]).await.unwrap_err().to_string();
        assert!(error.contains(code) && error.contains("Look here."), "{error}");
    }
    let bench = Bench::start("newsapi", recorded()).await;
    for bad in ["AAPL=", "AAPL= ", "AAPL=\u{7}", "aapl=Apple"] {
        let ask = Ask { symbols: vec![bad.to_owned()], from: None, to: None };
        assert!(bench.ask(&ask).await.is_err(), "{bad:?}");
    }
    assert!(bench.seen().is_empty());
}
