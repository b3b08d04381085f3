//! The raw archive: what it keeps, damage, two writers, a fetch that is stopped.

use std::{fs, time::Duration};

use lake::LakeError;

use super::{Bench, Step, body, chart_of, contents, payload, recorded, route};

const CHART: &str = "/v8/finance/chart/AAPL";

#[tokio::test]
async fn every_different_answer_is_kept_and_the_newest_is_read() {
    let later =
        payload("yahoo_aapl.json").replace("\"volume\":[202428900", "\"volume\":[202428904");
    assert_ne!(later, payload("yahoo_aapl.json"));
    let steps =
        vec![body(payload("yahoo_aapl.json")), body(later), Step { status: 404, ..body("gone") }];
    let mut bench = Bench::start("yahoo", vec![route(CHART, &[], steps)]).await;
    bench.refresh = true;
    let first_volume = |bench: &Bench| {
        let (batch, _) = bench.table(lake::Kind::Bars);
        super::show(&batch, &["session", "volume"])[0].clone()
    };
    bench.fetch(&["AAPL"]).await.unwrap();
    assert_eq!(first_volume(&bench), "2020-08-06 50607225.0");
    bench.now = "2020-09-02T19:00:00Z".to_owned();
    bench.fetch(&["AAPL"]).await.unwrap();
    assert_eq!(first_volume(&bench), "2020-08-06 50607226.0");
    let verified = bench.verify();
    assert_eq!((verified.requests, verified.responses, verified.objects), (1, 2, 2));
    // A provider that has nothing any more: its last word counts, all are kept.
    let report = bench.fetch(&["AAPL"]).await.unwrap();
    assert_eq!(report.missing, [("AAPL".to_owned(), "gone".to_owned())]);
    assert!(bench.rows().kinds().is_empty());
    assert_eq!(bench.verify().responses, 3);
}

#[tokio::test]
async fn a_changed_byte_is_found_and_named() {
    let bench = Bench::start("yahoo", recorded()).await;
    bench.fetch(&["AAPL", "^GSPC", "GONE"]).await.unwrap();
    let verified = bench.verify();
    assert_eq!((verified.requests, verified.objects, verified.unreferenced), (3, 3, 0));
    assert_eq!(verified.problems, []);
    let files = contents(bench.dir.path());
    for (path, bytes) in files.iter().filter(|(path, _)| !path.ends_with(".lock")) {
        for at in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(path, changed).unwrap();
            let problems = bench.verify().problems;
            assert_eq!(problems.len(), 1, "{}, byte {at}", path.display());
            assert_eq!(&problems[0].0, path);
            assert!(problems[0].1.contains("fetch again"), "{}", problems[0].1);
        }
        fs::write(path, bytes).unwrap();
    }
    // A body that is gone, one that is damaged: both are fetched again.
    let objects: Vec<_> =
        files.keys().filter(|p| p.extension().is_some_and(|e| e == "zst")).collect();
    fs::remove_file(objects[0]).unwrap();
    fs::write(objects[1], "damaged").unwrap();
    assert_eq!(bench.verify().problems.len(), 2);
    let report = bench.fetch(&["AAPL", "^GSPC", "GONE"]).await.unwrap();
    assert_eq!((report.fetched, report.kept), (2, 1));
    assert_eq!(bench.verify().problems, []);
    assert_eq!(contents(bench.dir.path()).len(), files.len());
    // A request that is damaged stops a fetch: it may hold what cannot be had again.
    let record = files.keys().find(|p| p.extension().is_some_and(|e| e == "json")).unwrap();
    fs::write(record, "{}").unwrap();
    let error = bench.fetch(&["AAPL", "^GSPC", "GONE"]).await.unwrap_err();
    assert!(matches!(error, LakeError::RawArchive { .. }), "{error}");
    assert!(error.to_string().contains(&*record.to_string_lossy()), "{error}");
}

#[tokio::test]
async fn two_fetches_take_turns() {
    let mut routes = recorded();
    routes.iter_mut().flat_map(|r| &mut r.steps).for_each(|step| step.delay_ms = 150);
    let bench = Bench::start("yahoo", routes).await;
    let symbols = ["AAPL", "^GSPC", "GONE"];
    let (a, b) = tokio::join!(bench.fetch(&symbols), bench.fetch(&symbols));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!((a.fetched + b.fetched, a.kept + b.kept), (3, 3));
    assert_eq!(bench.seen().len(), 3);
    assert_eq!(bench.verify().problems, []);
}

#[tokio::test]
async fn a_fetch_that_is_stopped_goes_on_where_it_was() {
    let symbols: Vec<String> = (0..20).map(|n| format!("T{n}")).collect();
    let steps = |n: usize| vec![Step { delay_ms: 20, ..body(chart_of(&format!("T{n}"))) }];
    let routes = (0..20).map(|n| route(&format!("/v8/finance/chart/T{n}"), &[], steps(n)));
    let bench = Bench::start("yahoo", routes.collect()).await;
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let stopped = tokio::time::timeout(Duration::from_millis(120), bench.fetch(&symbols)).await;
    assert!(stopped.is_err(), "it was stopped");
    let kept = bench.verify();
    assert_eq!(kept.problems, []);
    assert!(kept.requests < 20, "{kept:?}");
    let report = bench.fetch(&symbols).await.unwrap();
    assert_eq!((report.kept, report.kept + report.fetched), (kept.requests, 20));
    assert_eq!(bench.verify().objects, 20);
    let leftovers = fs::read_dir(bench.dir.path().join("raw/yahoo/tmp")).unwrap().count();
    assert_eq!(leftovers, 0);
}
