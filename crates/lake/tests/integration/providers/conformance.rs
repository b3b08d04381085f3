//! What holds for every provider: each trouble a server can make, and that it
//! makes no difference to what is read afterwards.

use std::time::{Duration, Instant};

use lake::{Ask, LakeError, RawRows};

use super::{Bench, KEY, Step, body, contents, recorded, route, show};

/// A provider and a symbol the recorded answers have.
const CASES: [(&str, &str); 7] = [
    ("yahoo", "AAPL"),
    ("stooq", "AAPL"),
    ("fred", "GDP"),
    ("edgar", "AAPL"),
    ("yahoo-news", "AAPL"),
    ("newsapi", "AAPL=Apple"),
    ("fmp", "AAPL"),
];

/// All rows, as text.
fn all(mut rows: RawRows) -> Vec<String> {
    let mut lines = Vec::new();
    for kind in rows.kinds() {
        let (batch, rejected) = rows.table(kind).unwrap();
        let schema = batch.schema();
        let columns: Vec<&str> =
            schema.fields().iter().map(|f| &**f.name()).filter(|name| *name != "url").collect();
        lines.extend(show(&batch, &columns));
        lines.extend(rejected.into_iter().map(|r| r.reason));
    }
    lines
}

/// A server that makes trouble once on every path, then answers as recorded.
async fn troubled(provider: &str, trouble: &Step) -> Bench {
    let mut routes = recorded();
    for route in &mut routes {
        let mut first = Step { file: route.steps[0].file.clone(), ..trouble.clone() };
        if first.status != 200 || !trouble.body.is_empty() {
            first.file = None;
        }
        route.steps.insert(0, first);
    }
    Bench::start(provider, routes).await
}

#[tokio::test]
async fn trouble_that_passes_leaves_no_trace() {
    let status =
        |status| Step { status, body: "<html>try later</html>".to_owned(), ..Step::default() };
    let troubles = [
        ("rate limit", Step { retry_after: Some("0".to_owned()), ..status(429) }),
        ("overload", Step { retry_after: Some("soon".to_owned()), ..status(503) }),
        ("server error", status(500)),
        ("bad gateway", status(502)),
        ("cut by length", Step { truncate: Some(20), ..Step::default() }),
        ("cut at once", Step { truncate: Some(0), ..Step::default() }),
        ("cut in chunks", Step { truncate: Some(20), chunked: true, ..Step::default() }),
        ("cut in a compressed body", Step { truncate: Some(30), gzip: true, ..Step::default() }),
        ("compression that ends early", Step { cut_gzip: true, ..Step::default() }),
        ("another body", body("Will be right back...")),
    ];
    for (provider, symbol) in CASES {
        let calm = Bench::start(provider, recorded()).await;
        let report = calm.fetch(&[symbol]).await.unwrap();
        let requests = calm.seen().len();
        assert_eq!(report.fetched, requests, "{provider}");
        let expected = all(calm.rows());
        assert!(expected.len() >= 4, "{provider}: {expected:?}");
        for (name, trouble) in &troubles {
            let bench = troubled(provider, trouble).await;
            let report = bench.fetch(&[symbol]).await.unwrap();
            assert_eq!(report.failed, [], "{provider}, {name}");
            assert_eq!(bench.seen().len(), 2 * requests, "{provider}, {name}");
            assert_eq!(all(bench.rows()), expected, "{provider}, {name}");
            let verified = bench.verify();
            let counts = (verified.requests, verified.responses, verified.objects);
            assert_eq!(counts, (requests, requests, requests), "{provider}, {name}");
            assert_eq!(verified.problems, [], "{provider}, {name}");
        }
    }
}

#[tokio::test]
async fn trouble_that_stays_is_told_and_ends_the_request() {
    let status = |status| Step { status, body: "<p>No.</p>".to_owned(), ..Step::default() };
    let elsewhere = Some("https://example.org/?api_key=1".to_owned());
    for (step, parts, requests) in [
        (status(500), &["500", "5 times"][..], 5),
        (Step { truncate: Some(10), ..body("0123456789abcdef") }, &["cut short", "5 times"], 5),
        (Step { location: elsewhere, ..status(302) }, &["redirects to example.org", "base_url"], 1),
        (
            Step { location: Some("/loop".to_owned()), ..status(302) },
            &["redirects to 127.0.0.1"],
            4,
        ),
        (body("x".repeat((1 << 20) + 1)), &["larger than 1 MiB"], 1),
        (status(403), &["access is denied", "No."], 1),
        (status(401), &["API key", "No."], 1),
        (status(418), &["unexpected status 418"], 1),
    ] {
        for (provider, symbol) in CASES {
            let mut routes = recorded();
            routes.iter_mut().for_each(|route| route.steps = vec![step.clone()]);
            routes.push(route("/loop", &[], vec![step.clone()]));
            let mut bench = Bench::start(provider, routes).await;
            bench.provider.body_mib_max = 1;
            let told = match bench.fetch(&[symbol]).await {
                Ok(report) => {
                    assert_eq!((report.failed.len(), report.fetched), (1, 0), "{provider}");
                    report.failed[0].1.clone()
                }
                Err(error) => error.to_string(),
            };
            for part in parts {
                assert!(told.contains(part), "{provider}: {told:?} lacks {part:?}");
            }
            assert!(!told.contains("api_key"), "{told}");
            // FMP is asked three things at once.
            let asked = bench.seen().len();
            assert!(asked == requests || provider == "fmp", "{provider}: {told}, {asked} requests");
            assert!(bench.rows().kinds().is_empty());
            assert_eq!(bench.verify().problems, []);
        }
    }
}

#[tokio::test]
async fn what_is_archived_is_asked_for_again_only_when_stale_and_then_with_conditions() {
    for (provider, symbol) in CASES {
        let mut routes = recorded();
        for step in routes.iter_mut().flat_map(|route| &mut route.steps) {
            step.etag = Some("W/\"1\"".to_owned());
            step.last_modified = None;
        }
        let mut bench = Bench::start(provider, routes).await;
        let first = bench.fetch(&[symbol]).await.unwrap();
        let (requests, rows) = (bench.seen().len(), all(bench.rows()));
        let archived = contents(bench.dir.path());

        let again = bench.fetch(&[symbol]).await.unwrap();
        assert_eq!((again.kept, again.fetched), (first.fetched, 0), "{provider}");
        assert!(bench.seen().is_empty(), "{provider}");
        assert_eq!(contents(bench.dir.path()), archived, "{provider}");

        bench.refresh = true;
        bench.now = "2020-09-02T18:30:00Z".to_owned();
        let refreshed = bench.fetch(&[symbol]).await.unwrap();
        assert_eq!((refreshed.unchanged, refreshed.fetched), (first.fetched, 0), "{provider}");
        for request in bench.seen() {
            assert_eq!(request.headers["if-none-match"], "W/\"1\"");
        }
        assert_eq!(all(bench.rows()), rows, "{provider}: as known at the first fetch");

        // A 304 counts as fresh, too: the clock runs from it.
        bench.refresh = false;
        bench.now = "2020-09-03T06:00:00Z".to_owned();
        let at_dawn = bench.fetch(&[symbol]).await.unwrap();
        if provider == "fred" {
            assert_eq!((at_dawn.kept, bench.seen().len()), (requests, 0));
        }
        bench.now = "2020-09-03T08:00:00Z".to_owned();
        let stale = bench.fetch(&[symbol]).await.unwrap();
        if provider == "fred" {
            assert_eq!(stale.unchanged, requests);
        }
        assert_eq!(bench.verify().problems, []);
    }
}

#[tokio::test]
async fn the_rate_limit_and_the_wait_a_provider_asks_for_are_kept() {
    let mut bench = Bench::start("yahoo", recorded()).await;
    bench.provider.requests_per_minute = 600.try_into().unwrap();
    bench.provider.burst = 1.try_into().unwrap();
    let start = Instant::now();
    bench.fetch(&["AAPL", "^GSPC", "GONE", "AAA", "BBB"]).await.unwrap();
    assert_eq!(bench.seen().len(), 5);
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());

    let bench = Bench::start("yahoo", recorded()).await;
    let start = Instant::now();
    let report = bench.fetch(&["BUSY"]).await.unwrap();
    assert_eq!((report.fetched, bench.seen().len()), (1, 2));
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());

    let long = Step { status: 429, retry_after: Some("3600".to_owned()), ..Step::default() };
    let bench = Bench::start("yahoo", vec![route("/v8/finance/chart/AAPL", &[], vec![long])]).await;
    let error = bench.fetch(&["AAPL"]).await.unwrap_err().to_string();
    assert!(error.contains("try again in 3600 s"), "{error}");
    assert_eq!(bench.seen().len(), 1);
}

#[tokio::test]
async fn a_server_that_hangs_or_is_not_there_is_given_up() {
    let slow = Step { delay_ms: 5000, ..body("{}") };
    let mut bench =
        Bench::start("yahoo", vec![route("/v8/finance/chart/AAPL", &[], vec![slow])]).await;
    bench.provider.timeout_s = 1;
    let start = Instant::now();
    let report = tokio::time::timeout(Duration::from_secs(20), bench.fetch(&["AAPL"])).await;
    let report = report.unwrap().unwrap();
    assert!(report.failed[0].1.contains("timed out"), "{:?}", report.failed);
    assert!(start.elapsed() >= Duration::from_secs(5), "five attempts of a second each");

    bench.server.abort();
    let mut gone = Bench::start("yahoo", Vec::new()).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    gone.url = format!("http://{free}");
    // Not all of many symbols are tried in vain.
    let error = gone.fetch(&["AAA", "BBB", "CCC", "DDD", "EEE", "FFF"]).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("3 requests in a row failed"), "{error}");
    assert!(error.contains("run the same command again"), "{error}");
}

#[tokio::test]
async fn a_caller_says_who_it_is_where_that_is_demanded() {
    let mut routes = recorded();
    routes.iter_mut().for_each(|r| r.needs_user_agent = Some("jane@example.org".to_owned()));
    let bench = Bench::start("yahoo", routes).await;
    assert_eq!(bench.fetch(&["AAPL"]).await.unwrap().fetched, 1);
    let agent = bench.seen()[0].headers["user-agent"].clone();
    assert!(agent.starts_with("r2r/") && agent.contains("Jane Doe"), "{agent}");

    let mut routes = recorded();
    routes.iter_mut().for_each(|r| r.needs_user_agent = Some("somebody else".to_owned()));
    let bench = Bench::start("yahoo", routes).await;
    let error = bench.fetch(&["AAPL"]).await.unwrap_err().to_string();
    assert!(error.contains("access is denied") && error.contains("Undeclared"), "{error}");
}

#[tokio::test]
async fn the_api_key_is_sent_and_shown_nowhere() {
    for (provider, symbol, header) in [
        ("fred", "GDP", None),
        ("newsapi", "AAPL=Apple", Some("x-api-key")),
        ("fmp", "AAPL", Some("apikey")),
    ] {
        // As recorded; a refusal that repeats the key; a server that fails.
        let echo = format!(
            "{{\"error_code\":400,\"error_message\":\"api_key {KEY}\",\"error\":\"{KEY}\"}}"
        );
        for step in
            [None, Some(Step { status: 400, ..body(echo) }), Some(Step { status: 500, ..body("") })]
        {
            let mut routes = recorded();
            if let Some(step) = step {
                routes.iter_mut().for_each(|route| route.steps = vec![step.clone()]);
            }
            let bench = Bench::start(provider, routes).await;
            let told = format!("{:?}", bench.fetch(&[symbol]).await);
            assert!(!told.contains(KEY), "{told}");
            for request in bench.seen() {
                let in_query = request.target.contains(&format!("api_key={KEY}"));
                let in_header = header.is_some_and(|name| request.headers[name] == KEY);
                assert!(in_query != in_header, "{}", request.target);
                assert_eq!(request.target.contains(KEY), header.is_none(), "{}", request.target);
            }
            for (path, bytes) in contents(bench.dir.path()) {
                let plain = zstd::decode_all(&*bytes).unwrap_or(bytes);
                let text = String::from_utf8_lossy(&plain).into_owned();
                assert!(!text.contains(KEY) && !text.contains("api_key="), "{}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn an_override_that_is_not_safe_for_a_key_is_refused() {
    for provider in ["fred", "edgar"] {
        let mut bench = Bench::start(provider, recorded()).await;
        for url in ["http://example.org", "ftp://127.0.0.1", "https://me:pw@example.org", "example"]
        {
            bench.url = url.to_owned();
            let error = bench.fetch(&["AAPL"]).await.unwrap_err();
            assert!(matches!(error, LakeError::Provider { .. }), "{url}: {error}");
        }
    }
}

#[tokio::test]
async fn bad_asks_are_refused_before_anything_is_sent() {
    let bench = Bench::start("yahoo", recorded()).await;
    let day = |text: &str| Some(text.parse().unwrap());
    for (symbols, from, to, part) in [
        (&[][..], None, None, "name at least one"),
        (&["aapl"], None, None, "did you mean AAPL?"),
        (&["AAPL/../x"], None, None, "is not a ticker"),
        (&["^gspc"], None, None, "is not a ticker"),
        (&["AAPL"], day("2020-02-01"), day("2020-01-01"), "is after the last, 2020-01-01"),
        (&["AAPL"], day("2030-01-01"), None, "is after the last, 2020-09-02"),
    ] {
        let symbols = symbols.iter().map(|&s: &&str| s.to_owned()).collect();
        let error = bench.ask(&Ask { symbols, from, to }).await.unwrap_err();
        assert!(matches!(error, LakeError::Provider { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let fred = Bench::start("fred", recorded()).await;
    let error = fred.fetch(&["gdp"]).await.unwrap_err().to_string();
    assert!(error.contains("FRED series id"), "{error}");
    let mut abroad = Bench::start("yahoo", recorded()).await;
    abroad.url = "http://example.org".to_owned();
    let error = abroad.fetch(&["AAPL"]).await.unwrap_err().to_string();
    assert!(error.contains("https://"), "{error}");
    assert!(bench.seen().is_empty() && fred.seen().is_empty());
}
