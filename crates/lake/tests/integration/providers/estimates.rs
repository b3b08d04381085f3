//! Quirks of Financial Modeling Prep.

use lake::Kind;

use super::{Bench, Step, body, payload, recorded, route, show};

#[tokio::test]
async fn the_history_of_an_estimate_is_the_history_of_asking() {
    let mut routes = recorded();
    let estimates = routes.iter_mut().find(|r| r.path.contains("analyst-estimates")).unwrap();
    let later = payload("fmp_estimates.json").replace("7.3,", "7.4,");
    estimates.steps.push(body(later));
    let mut bench = Bench::start("fmp", routes).await;
    bench.fetch(&["AAPL"]).await.unwrap();
    bench.now = "2020-09-03T18:00:00Z".to_owned();
    bench.refresh = true;
    bench.fetch(&["AAPL"]).await.unwrap();
    let (estimates, rejected) = bench.table(Kind::Estimates);
    let lines = show(&estimates, &["metric", "broker", "mean", "known_at"]);
    for line in [
        "price_target Broker 515.0 2020-08-26T13:13:00Z",
        "eps consensus 7.3 2020-09-02T18:00:00Z",
        "eps consensus 7.4 2020-09-03T18:00:00Z",
    ] {
        assert!(lines.contains(&line.to_owned()), "{lines:?}");
    }
    assert!(rejected.is_empty(), "{rejected:?}");
}

#[tokio::test]
async fn errors_come_with_any_status_and_nothing_is_an_empty_list() {
    let path = "/api/v3/analyst-estimates/AAPL";
    for (status, text) in [
        (403, r#"{"Error Message":"Exclusive Endpoint : upgrade your plan"}"#),
        (200, r#"{"Error Message":"Limit Reach . Please upgrade your plan"}"#),
    ] {
        let step = Step { status, ..body(text) };
        let bench = Bench::start("fmp", vec![route(path, &[], vec![step])]).await;
        let error = bench.fetch(&["AAPL"]).await.unwrap_err().to_string();
        assert!(error.contains("upgrade your plan"), "{error}");
    }
    let mut routes = recorded();
    routes
        .iter_mut()
        .filter(|r| r.path.contains("price-target"))
        .for_each(|r| r.steps = vec![body("[]")]);
    let bench = Bench::start("fmp", routes).await;
    let report = bench.fetch(&["AAPL"]).await.unwrap();
    assert_eq!((report.fetched, report.missing.len()), (3, 2));
    assert_eq!(bench.rows().kinds(), [Kind::Estimates]);
}
